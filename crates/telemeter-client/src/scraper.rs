//! From a scrape to an upload: requests it, cuts it into pieces as it arrives, applies the rules to each piece, packs.
//!
//! A cycle, a check and a preview run this. A preview also watches each series before and after the rules.

use telemeter_http::client::Outbound;
use telemeter_wire::{
    UploadAccepts,
    exposition::{NativeHistograms, PIECE_BYTES, Pieces},
};

use crate::{
    config::Config,
    federate::{Federate, FederateError, Head},
    matches::Selectors,
    metrics::Metrics,
    outcome::SetupError,
    pipeline::{ClientRules, Packed, PackedForm, Packer, SeriesWatch},
};

/// Scrapes and packs, by the rules that it read from the files of the configuration.
pub(crate) struct Scraper {
    federate: Federate,
    rules: ClientRules,
    packer: Packer,
    buffer: Vec<u8>,
    head: Option<Head>,
}

impl Scraper {
    /// Reads the files of selectors and of the salt, and logs a warning for each selector that cannot be read.
    pub(crate) fn new(config: &Config, from: Outbound, metrics: Metrics) -> Result<Self, SetupError> {
        let selectors = Selectors::read(config)?;
        selectors.warn();
        let rules = ClientRules::new(config, &selectors).map_err(SetupError::Salt)?;
        let federate = Federate::new(config, &selectors, from, metrics);
        let form = if config.to.receive.is_some() { PackedForm::WriteRequests } else { PackedForm::Families };
        Ok(Self { federate, rules, packer: Packer::new(form), buffer: Vec::new(), head: None })
    }

    /// Scrapes, applies the rules to each piece as it arrives, and packs what they keep.
    ///
    /// `server_labels` are set on each series, as the server requires. `accepts` says what it accepts besides samples.
    /// `now_ms` gives the Unix time in milliseconds; it is called once, when Prometheus has answered.
    pub(crate) async fn scrape(
        &mut self,
        server_labels: &[(String, String)],
        accepts: UploadAccepts,
        now_ms: impl Fn() -> i64,
        watch: Option<&dyn SeriesWatch>,
    ) -> Result<Packed, FederateError> {
        let mut scrape = self.federate.open(accepts.utf8_names).await?;
        self.head = Some(scrape.head());
        let native = if accepts.native_histograms { NativeHistograms::Keep } else { NativeHistograms::AsClassic };
        let mut packing = self.packer.begin(&self.rules, server_labels, native, now_ms(), watch);
        let mut pieces = Pieces::new(scrape.format, PIECE_BYTES, &mut self.buffer);
        let format = scrape.format;
        while let Some(chunk) = scrape.next().await? {
            packing.count_bytes(chunk.len());
            pieces.push(&chunk, |piece| packing.add(format, piece)).map_err(|error| scrape.undecodable(error))?;
        }
        pieces.finish(|piece| packing.add(format, piece)).map_err(|error| scrape.undecodable(error))?;
        Ok(packing.end())
    }

    /// The head of the last answer of Prometheus.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Clears the buffer of the scrape, and returns its memory where the scrape was large.
    pub(crate) fn release_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(2 * PIECE_BYTES);
    }
}
