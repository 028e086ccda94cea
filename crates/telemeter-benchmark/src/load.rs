//! One simulated client: it exchanges the token under an ID of its own, and uploads the same metrics with new timestamps.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use telemeter_client::{
    ServerRefusal,
    config::TargetSettings,
    metrics::Metrics,
    schedule::PseudoRandom,
    token::{AccessToken, AccessTokens, TokenError},
    upload::{UploadError, Uploads},
};
use telemeter_http::{
    client::{Outbound, OutboundError},
    clock::Clock,
    file,
};
use telemeter_wire::{
    Arena, DecodeLimits, Points, Sample, SeriesSet,
    exposition::{self, ExpositionFormat},
    snappy,
};
use tokio::time::Instant;

use super::tally::UploadFailure;

/// Cap on the file of metrics.
const MAX_FILE_BYTES: usize = 1024 * 1024 * 1024;

/// The metrics that every client uploads, and buffers in which uploads are prepared.
pub(super) struct UploadPayload {
    /// The metrics as delimited protobuf, which is quicker to decode than the text of the file.
    families: Vec<u8>,
    series: usize,
    buffers: Mutex<Vec<UploadBuffers>>,
}

#[derive(Default)]
struct UploadBuffers {
    arena: Arena,
    encoded: Vec<u8>,
    snappy: snappy::Encoder,
}

impl UploadPayload {
    /// Reads a file in the text format.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let describe = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
        let text = file::read(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?;
        let (arena, mut families) = (Arena::new(), Vec::new());
        let mut set = SeriesSet::new_in(&arena);
        exposition::decode(ExpositionFormat::Text, &text, &DecodeLimits::default(), &mut set)
            .map_err(|cause| describe(&cause))?;
        if set.is_empty() {
            return Err(describe(&"holds no metrics"));
        }
        exposition::delimited::encode(&set, &mut families);
        Ok(Self { families, series: set.len(), buffers: Mutex::default() })
    }

    /// How many series an upload holds.
    pub(super) fn series(&self) -> usize {
        self.series
    }

    /// The compressed body of an upload: each sample at `now_ms` (Unix milliseconds), each series with `labels`.
    fn body(&self, labels: &[(String, String)], now_ms: i64) -> Result<Bytes, telemeter_wire::Error> {
        let mut buffers = self.buffers.lock().pop().unwrap_or_default();
        let UploadBuffers { arena, encoded, snappy } = &mut buffers;
        arena.reset();
        encoded.clear();
        self.encode_at(labels, now_ms, arena, encoded)?;
        let mut body = Vec::with_capacity(encoded.len() / 4);
        snappy.framed(encoded, &mut body);
        self.buffers.lock().push(buffers);
        Ok(body.into())
    }

    /// The body before compression.
    pub(super) fn plain(&self, labels: &[(String, String)], now_ms: i64) -> Result<Vec<u8>, telemeter_wire::Error> {
        let mut plain = Vec::new();
        self.encode_at(labels, now_ms, &Arena::new(), &mut plain)?;
        Ok(plain)
    }

    /// Encodes the metrics as delimited protobuf: each sample at `now_ms`, each series with `labels` in place of its own of these
    /// names.
    fn encode_at(
        &self,
        labels: &[(String, String)],
        now_ms: i64,
        arena: &Arena,
        encoded: &mut Vec<u8>,
    ) -> Result<(), telemeter_wire::Error> {
        let mut set = SeriesSet::new_in(arena);
        exposition::decode(ExpositionFormat::Delimited, &self.families, &DecodeLimits::default(), &mut set)?;
        set.retain_mut(|series| {
            if let Points::Sample(sample) = series.points() {
                series.set_points(Points::Sample(Sample { timestamp_ms: Some(now_ms), ..sample }));
            }
            for (name, value) in labels {
                // The file may have been recorded from another cluster, with labels of the same names.
                series.retain_labels(|label| label.name != name);
                series.push_label(telemeter_wire::Label::new(name, arena.text().alloc_str(value)));
            }
            true
        });
        exposition::delimited::encode(&set, encoded);
        Ok(())
    }
}

/// A client with an ID of its own.
pub(super) struct SimulatedClient {
    pub(super) id: String,
    access_tokens: AccessTokens,
    uploads: Uploads,
    clock: Clock,
    payload: Arc<UploadPayload>,
}

/// An upload that the server accepted.
pub(super) struct AcceptedUpload {
    pub(super) bytes: usize,
    pub(super) took: Duration,
}

/// An upload that failed: how, why, and how long the server asks to wait.
pub(super) struct FailedUpload {
    pub(super) failure: UploadFailure,
    pub(super) cause: String,
    pub(super) retry_after: Option<Duration>,
}

impl SimulatedClient {
    pub(super) fn new(
        id: String,
        to: &TargetSettings,
        outbound: &Outbound,
        clock: &Clock,
        payload: &Arc<UploadPayload>,
    ) -> Self {
        let mut authorize = to.authorize.clone();
        authorize.query_pairs_mut().append_pair("id", &id);
        // Not registered: they count outbound requests of a client; a benchmark has its own metrics.
        let metrics = Metrics::default();
        Self {
            access_tokens: AccessTokens::new(
                outbound.clone(),
                authorize,
                to.token.clone(),
                clock.clone(),
                metrics.clone(),
            ),
            uploads: Uploads::new(outbound.clone(), to.upload.clone(), metrics),
            clock: clock.clone(),
            payload: payload.clone(),
            id,
        }
    }

    /// Uploads once, with a new access token where the server refuses the cached one.
    pub(super) async fn upload(&mut self) -> Result<AcceptedUpload, FailedUpload> {
        let token = self.access_tokens.current().await.map_err(FailedUpload::from)?;
        match self.try_upload(&token).await {
            Err(UploadError::Unauthorized(_)) => {
                self.access_tokens.discard();
                let token = self.access_tokens.current().await.map_err(FailedUpload::from)?;
                self.try_upload(&token).await.map_err(FailedUpload::from)
            }
            outcome => outcome.map_err(FailedUpload::from),
        }
    }

    /// Sends one upload with this token. The latency that is returned does not include its encoding.
    async fn try_upload(&self, token: &AccessToken) -> Result<AcceptedUpload, UploadError> {
        let body = self.payload.body(&token.labels, self.clock.now_ms());
        let body = body.expect("the payload is what our own encoder wrote");
        let (bytes, start) = (body.len(), Instant::now());
        self.uploads.send(token, body).await?;
        Ok(AcceptedUpload { bytes, took: start.elapsed() })
    }
}

impl From<TokenError> for FailedUpload {
    fn from(error: TokenError) -> Self {
        let failure = match &error {
            TokenError::Unreachable(cause) => outbound_failure(cause),
            TokenError::Refused(ServerRefusal { status, .. })
            | TokenError::Failed(ServerRefusal { status, .. })
            | TokenError::NotAServer(ServerRefusal { status, .. })
            | TokenError::WantsHttps(ServerRefusal { status, .. }) => UploadFailure::Authorize(status.as_u16()),
            TokenError::Credential(_) | TokenError::Answer(_) => UploadFailure::Other,
        };
        Self { failure, retry_after: error.retry_after(), cause: error.to_string() }
    }
}

impl From<UploadError> for FailedUpload {
    fn from(error: UploadError) -> Self {
        let failure = match &error {
            UploadError::Unreachable(cause) => outbound_failure(cause),
            UploadError::Unauthorized(refusal)
            | UploadError::TooOften(refusal)
            | UploadError::TooLarge { refusal, .. }
            | UploadError::Refused(refusal)
            | UploadError::NotAServer(refusal)
            | UploadError::Failed(refusal) => UploadFailure::Upload(refusal.status.as_u16()),
        };
        Self { failure, retry_after: error.retry_after(), cause: error.to_string() }
    }
}

/// The kind under which a failed request is counted.
fn outbound_failure(cause: &OutboundError) -> UploadFailure {
    match cause {
        OutboundError::Timeout(_) | OutboundError::ConnectTimeout(_) => UploadFailure::Timeout,
        OutboundError::Connect(_) | OutboundError::Broken(_) => UploadFailure::Connection,
        OutboundError::Setup(_) | OutboundError::Redirect(_) | OutboundError::TooLarge { .. } => UploadFailure::Other,
    }
}

/// A random ID in the form of a UUID, version 4.
pub(super) fn random_id(random: &mut PseudoRandom) -> String {
    let (high, low) = (random.next_number(), random.next_number());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let mut random = PseudoRandom::seeded("a");
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| random_id(&mut random)).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let parts: Vec<_> = id.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
            assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{id}");
        }
    }

    #[test]
    fn a_body_is_stamped_and_labelled() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("metrics.txt");
        std::fs::write(&file, "# TYPE a gauge\na{_id=\"old\",b=\"1\"} 2 1000\na{b=\"2\"} 3\n").expect("written");
        let payload = UploadPayload::read(&file).expect("metrics");
        assert_eq!(payload.series(), 2);
        for now_ms in [5_000, 6_000] {
            let labels = [("_id".to_owned(), "new".to_owned())];
            let body = payload.body(&labels, now_ms).expect("a body");
            let mut plain = Vec::new();
            snappy::decode_framed(&body, 10_000, &mut plain).expect("framed snappy");
            let (arena, mut text) = (Arena::new(), Vec::new());
            let mut set = SeriesSet::new_in(&arena);
            exposition::decode(ExpositionFormat::Delimited, &plain, &DecodeLimits::default(), &mut set)
                .expect("families");
            exposition::text::encode(&set, &mut text);
            let expected =
                format!("# TYPE a gauge\na{{b=\"1\",_id=\"new\"}} 2 {now_ms}\na{{b=\"2\",_id=\"new\"}} 3 {now_ms}\n");
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn a_file_without_metrics_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("metrics.txt");
        std::fs::write(&file, "# nothing\n").expect("written");
        let error = UploadPayload::read(&file).err().expect("no metrics");
        assert_eq!(error, format!("{}: holds no metrics", file.display()));
    }
}
