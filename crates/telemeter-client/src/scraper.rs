//! A scrape on its way to an upload: asked for, cut into pieces as it arrives, taken through the rules, packed.
//!
//! A cycle and a preview both run this; a preview watches the series on their way, and sends nothing.

use telemeter_http::client::Outbound;
use telemeter_wire::exposition::{NativeHistograms, PIECE_BYTES, Pieces};

use crate::{
    config::Config,
    federate::{Federate, FederateError, Head},
    matches::Selectors,
    metrics::Metrics,
    pipeline::{ClientRules, Packed, Packer, SeriesWatch},
    worker::SetupError,
};

/// Scrapes and packs. Holds what it read from its files.
pub(crate) struct Scraper {
    federate: Federate,
    rules: ClientRules,
    packer: Packer,
    buffer: Vec<u8>,
    head: Option<Head>,
}

impl Scraper {
    /// Reads the files of the side of Prometheus and of the rules, and warns of selectors that we cannot read.
    pub(crate) fn new(config: &Config, from: Outbound, metrics: Metrics) -> Result<Self, SetupError> {
        let selectors = Selectors::read(config)?;
        selectors.warn();
        let rules = ClientRules::new(config, &selectors).map_err(SetupError::Salt)?;
        let federate = Federate::new(config, &selectors, from, metrics);
        Ok(Self { federate, rules, packer: Packer::default(), buffer: Vec::new(), head: None })
    }

    /// Scrapes, applies the rules to each piece as it arrives, and packs what they leave. `granted` are the labels that the
    /// server wants on each series, `native` says what native histograms become, and `now_ms` the time, asked for once Prometheus has answered.
    pub(crate) async fn scrape(
        &mut self,
        granted: &[(String, String)],
        native: NativeHistograms,
        now_ms: impl Fn() -> i64,
        watch: Option<&dyn SeriesWatch>,
    ) -> Result<Packed, FederateError> {
        let mut scrape = self.federate.open().await?;
        self.head = Some(scrape.head());
        let mut packing = self.packer.begin(&self.rules, granted, native, now_ms(), watch);
        let mut pieces = Pieces::new(scrape.format, PIECE_BYTES, &mut self.buffer);
        let format = scrape.format;
        while let Some(chunk) = scrape.next().await? {
            packing.count_bytes(chunk.len());
            pieces.push(&chunk, |piece| packing.add(format, piece)).map_err(|error| scrape.undecodable(error))?;
        }
        pieces.finish(|piece| packing.add(format, piece)).map_err(|error| scrape.undecodable(error))?;
        Ok(packing.end())
    }

    /// What the head of the last scrape's answer said.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Lets go of the room of a large scrape, or of one that broke off.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(2 * PIECE_BYTES);
    }
}
