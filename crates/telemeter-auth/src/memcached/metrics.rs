//! The metrics of the shared cache: reads and writes, by result.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadResult {
    /// A value of ours was there.
    Hit,
    /// Nothing was there.
    Miss,
    /// Memcached was unavailable, or its answer was no answer to the command.
    Error,
    /// Memcached did not answer in time.
    Timeout,
    /// A value was there that none of our replicas wrote.
    Forged,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteResult {
    /// It was written.
    Success,
    /// Memcached was unavailable, or did not store it.
    Error,
    /// Memcached did not answer in time.
    Timeout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CommandLabel(&'static str);

impl EncodeLabelValue for CommandLabel {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    result: CommandLabel,
}

impl ReadResult {
    /// The label values, in the order of the variants.
    const LABEL_VALUES: [&str; 5] = ["hit", "miss", "error", "timeout", "forged"];
}

impl WriteResult {
    /// The label values, in the order of the variants.
    const LABEL_VALUES: [&str; 3] = ["success", "error", "timeout"];
}

/// The two counters, a child for each result. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    reads: [Counter; 5],
    writes: [Counter; 3],
}

impl CacheMetrics {
    /// Registers both counters, with every result at zero.
    pub fn register(registry: &mut Registry) -> Self {
        let reads: Family<CacheLabels, Counter> = Family::default();
        let writes: Family<CacheLabels, Counter> = Family::default();
        registry.register("cache_reads", "Reads of the shared cache of authorizations, by result", reads.clone());
        registry.register("cache_writes", "Writes to the shared cache of authorizations, by result", writes.clone());
        let child = |family: &Family<CacheLabels, Counter>, value| {
            family.get_or_create(&CacheLabels { result: CommandLabel(value) }).clone()
        };
        Self {
            reads: ReadResult::LABEL_VALUES.map(|value| child(&reads, value)),
            writes: WriteResult::LABEL_VALUES.map(|value| child(&writes, value)),
        }
    }

    /// Counts one read with this result.
    pub(crate) fn read(&self, result: ReadResult) {
        self.reads[result as usize].inc();
    }

    /// Counts one write with this result.
    pub(crate) fn written(&self, result: WriteResult) {
        self.writes[result as usize].inc();
    }

    #[cfg(test)]
    pub(crate) fn reads(&self, result: ReadResult) -> u64 {
        self.reads[result as usize].get()
    }

    #[cfg(test)]
    pub(crate) fn writes(&self, result: WriteResult) -> u64 {
        self.writes[result as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_exported_from_the_start() {
        let mut registry = Registry::default();
        let metrics = CacheMetrics::register(&mut registry);
        metrics.read(ReadResult::Forged);
        metrics.written(WriteResult::Success);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes everything");
        for line in [
            "cache_reads_total{result=\"hit\"} 0",
            "cache_reads_total{result=\"miss\"} 0",
            "cache_reads_total{result=\"error\"} 0",
            "cache_reads_total{result=\"timeout\"} 0",
            "cache_reads_total{result=\"forged\"} 1",
            "cache_writes_total{result=\"success\"} 1",
            "cache_writes_total{result=\"error\"} 0",
            "cache_writes_total{result=\"timeout\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
