//! Writes the registry to a file and reads it back, so that it survives a restart.
//!
//! The format begins with a magic number. All that follows are blocks, each with its length and its CRC-32C. The first block
//! has the names of routes, reasons and fleet labels, so that a version that knows other ones can read the file. Each
//! further block has some records and the texts that these refer to. The last block is empty: a file without it is
//! truncated. Numbers are little-endian.

use std::io::{self, Read, Write};

use crate::{
    outcome::{Reason, ReportRoute, RequestOutcome},
    record::{ClusterRecord, RecordedRefusal, RecordedRefusals},
    registry::{Registry, SHARDS},
    shard::RegistryShard,
    symbols::{MAX_BYTES, OVERFLOW, SymbolId, TextTable},
};

const MAGIC: &[u8; 8] = b"TMFLEET2";
/// The number of records in a block. A shard is locked while a block is encoded.
const RECORDS: usize = 1024;
/// The largest block; a larger length is damaged.
const MAX_BLOCK_BYTES: usize = 16 << 20;
/// The longest cluster ID.
const MAX_ID_BYTES: usize = 256;

/// Why a file cannot be read completely. The messages follow the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file does not begin with the magic number.
    #[error("it is not a file of the fleet's registry")]
    Foreign,
    /// The file ends before its last block.
    #[error("it is cut off")]
    CutOff,
    /// A checksum does not match, or a number cannot be right.
    #[error("it is damaged")]
    Damaged,
}

/// Writes all records to `out`. A report that arrives meanwhile may or may not be included.
///
/// # Errors
/// The error of writing to `out`.
pub fn write(registry: &Registry, out: &mut impl Write) -> io::Result<()> {
    let mut head = Vec::new();
    write_names(&mut head, ReportRoute::ALL.map(ReportRoute::name));
    write_names(&mut head, Reason::ALL.map(Reason::name));
    write_names(&mut head, registry.config().labels.iter().map(String::as_str));
    out.write_all(MAGIC)?;
    write_block(out, &head)?;
    let mut bytes = Vec::new();
    for number in 0..SHARDS {
        let mut first = 0;
        loop {
            // The lock is released between two blocks: a record may then be in both, or move to the end and be in a later one.
            let done = {
                let shard = registry.shard(number);
                let slots: Vec<u32> = shard.oldest_first().skip(first).take(RECORDS).collect();
                encode(&shard, &registry.symbols, &slots, &mut bytes);
                slots.len() < RECORDS
            };
            first += RECORDS;
            if !bytes.is_empty() {
                write_block(out, &bytes)?;
            }
            if done {
                break;
            }
        }
    }
    write_block(out, &[])?;
    out.flush()
}

/// Reads a file that [`write()`] wrote into an empty registry; returns the number of clusters.
///
/// # Errors
/// [`SnapshotError`]; the registry then has the records before the damage.
pub fn read(registry: &Registry, input: &mut impl Read) -> Result<usize, SnapshotError> {
    let outcome = read_blocks(registry, input);
    registry.finish_restore();
    outcome.map(|()| registry.len())
}

/// Reads the whole file, block by block, into the registry. After an error, the records that were read before it stay
/// there.
fn read_blocks(registry: &Registry, input: &mut impl Read) -> Result<(), SnapshotError> {
    let mut magic = [0; MAGIC.len()];
    read_exact(input, &mut magic).map_err(|error| match error {
        SnapshotError::CutOff => SnapshotError::Foreign,
        other => other,
    })?;
    if magic != *MAGIC {
        return Err(SnapshotError::Foreign);
    }
    let mut bytes = Vec::new();
    read_block(input, &mut bytes)?;
    let mut head = BlockReader(&bytes);
    let translation = Translation::read(&mut head, registry).ok_or(SnapshotError::Damaged)?;
    loop {
        read_block(input, &mut bytes)?;
        if bytes.is_empty() {
            return Ok(());
        }
        decode(registry, &translation, &bytes).ok_or(SnapshotError::Damaged)?;
    }
}

/// Writes the length of the bytes, their CRC, and the bytes.
fn write_block(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(&crc32c::crc32c(bytes).to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads the next block into `bytes`, whose earlier content is replaced; empty for the block that marks the end.
/// [`SnapshotError::Damaged`] where it is too long or its CRC is wrong.
fn read_block(input: &mut impl Read, bytes: &mut Vec<u8>) -> Result<(), SnapshotError> {
    let mut head = [0; 8];
    read_exact(input, &mut head)?;
    let mut head = BlockReader(&head);
    let (len, crc) = (head.u32().unwrap_or(0) as usize, head.u32().unwrap_or(0));
    if len > MAX_BLOCK_BYTES {
        return Err(SnapshotError::Damaged);
    }
    bytes.clear();
    bytes.resize(len, 0);
    read_exact(input, bytes)?;
    if crc32c::crc32c(bytes) == crc { Ok(()) } else { Err(SnapshotError::Damaged) }
}

/// Fills `bytes` from the input; [`SnapshotError::CutOff`] where the input ends before.
fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), SnapshotError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::CutOff,
        _ => SnapshotError::Io(error),
    })
}

/// Appends the number of names, at most 255, and each name.
fn write_names<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = &'a str, IntoIter: ExactSizeIterator>) {
    let names = names.into_iter();
    out.push(names.len() as u8);
    names.for_each(|name| write_text(out, name));
}

/// Appends the length of the text, at most 65535 bytes, and the text.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Encodes the records in `slots` into `out`, which is cleared first.
fn encode(shard: &RegistryShard, symbols: &TextTable, slots: &[u32], out: &mut Vec<u8>) {
    out.clear();
    if slots.is_empty() {
        return;
    }
    // The texts of this block, in the order of their symbols.
    let mut used: Vec<SymbolId> = slots
        .iter()
        .flat_map(|slot| std::iter::once(shard.record(*slot).user_agent).chain(shard.labels(*slot).iter().copied()))
        .filter(|symbol| *symbol != 0)
        .collect();
    used.sort_unstable();
    used.dedup();
    let number = |symbol: SymbolId| match used.binary_search(&symbol) {
        Ok(at) => at as u32 + 1,
        Err(_) => 0,
    };
    out.extend_from_slice(&(used.len() as u32).to_le_bytes());
    used.iter().for_each(|symbol| write_text(out, &symbols.text(*symbol)));
    out.extend_from_slice(&(slots.len() as u32).to_le_bytes());
    let mut id = String::new();
    for slot in slots {
        let record = shard.record(*slot);
        shard.write_id(record, &mut id);
        write_text(out, &id);
        out.extend_from_slice(&record.peer);
        for value in number_fields(record) {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&number(record.user_agent).to_le_bytes());
        for label in shard.labels(*slot) {
            out.extend_from_slice(&number(*label).to_le_bytes());
        }
        let exchanges = record.exchanges.raw();
        out.push(record.exchanges.raw().count() as u8);
        exchanges.for_each(|packed| out.extend_from_slice(&packed.to_le_bytes()));
        let none = RecordedRefusals::default();
        let refusals = shard.refusals(record).unwrap_or(&none);
        out.push(refusals.0.len() as u8);
        for one in &refusals.0 {
            out.push(RequestOutcome::Refused(one.route, one.reason).code());
            out.extend_from_slice(&one.status.to_le_bytes());
            for value in [one.count, one.first_s, one.last_s] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
}

const FIELDS: usize = 11;

/// The record's numbers, in the order of the file. [`set_fields`] is the inverse.
fn number_fields(record: &ClusterRecord) -> [u32; FIELDS] {
    [
        record.first_seen,
        record.last_heard,
        record.last_upload,
        record.last_receive,
        record.uploads,
        record.receives,
        record.series,
        record.filtered,
        record.bytes,
        record.interval_ms,
        record.drift_ms.cast_unsigned(),
    ]
}

/// Sets the record's numbers from those of the file; the inverse of [`number_fields`].
fn set_fields(record: &mut ClusterRecord, values: [u32; FIELDS]) {
    let drift_ms;
    [
        record.first_seen,
        record.last_heard,
        record.last_upload,
        record.last_receive,
        record.uploads,
        record.receives,
        record.series,
        record.filtered,
        record.bytes,
        record.interval_ms,
        drift_ms,
    ] = values;
    record.drift_ms = drift_ms.cast_signed();
}

/// The mapping from the file's codes to those of this version and configuration; `None` for what is not known here.
struct Translation {
    /// Outcomes, by their code in the file.
    outcomes: Vec<Option<RequestOutcome>>,
    /// Indices of fleet labels, by their index in the file.
    labels: Vec<Option<usize>>,
}

impl Translation {
    /// Reads the lists of names at the start of a file, and maps each code of the file to what has this name now.
    /// `None` where the bytes are invalid.
    fn read(head: &mut BlockReader<'_>, registry: &Registry) -> Option<Self> {
        let routes: Vec<_> = head.names()?.map(ReportRoute::from_name).collect();
        let reasons: Vec<_> = head.names()?.map(Reason::from_name).collect();
        let known = &registry.config().labels;
        let labels = head.names()?.map(|name| known.iter().position(|label| label == name)).collect();
        let outcomes = routes.iter().flat_map(|route| {
            let accepted = route.map(RequestOutcome::Accepted);
            let refused = reasons.iter().map(move |reason| Some(RequestOutcome::Refused((*route)?, (*reason)?)));
            std::iter::once(accepted).chain(refused)
        });
        Some(Self { outcomes: outcomes.collect(), labels })
    }

    /// The outcome for a code of the file; `None` where this version does not know it.
    fn outcome(&self, code: u8) -> Option<RequestOutcome> {
        self.outcomes.get(usize::from(code)).copied().flatten()
    }

    /// Route and reason for a code of the file; `None` where it is unknown or not a refusal.
    fn refusal(&self, code: u8) -> Option<(ReportRoute, Reason)> {
        match self.outcome(code)? {
            RequestOutcome::Refused(route, reason) => Some((route, reason)),
            RequestOutcome::Accepted(_) => None,
        }
    }
}

/// Adds the records of one block to the registry; `None` where the block is not valid.
fn decode(registry: &Registry, translation: &Translation, bytes: &[u8]) -> Option<()> {
    let mut bytes = BlockReader(bytes);
    let texts: Vec<&str> = (0..bytes.u32()?).map(|_| bytes.text(MAX_BYTES)).collect::<Option<_>>()?;
    let text_of = |number: u32| match number.checked_sub(1) {
        None => Some(""),
        Some(at) => texts.get(at as usize).copied(),
    };
    for _ in 0..bytes.u32()? {
        let id = bytes.text(MAX_ID_BYTES)?;
        let peer = bytes.read_array()?;
        let mut values = [0; FIELDS];
        for value in &mut values {
            *value = bytes.u32()?;
        }
        let user_agent = text_of(bytes.u32()?)?;
        let labels: Vec<&str> = translation.labels.iter().map(|_| text_of(bytes.u32()?)).collect::<Option<_>>()?;
        let exchanges: Vec<u16> = (0..bytes.u8()?).map(|_| bytes.u16()).collect::<Option<_>>()?;
        let mut refusals = RecordedRefusals::default();
        for _ in 0..bytes.u8()? {
            let (code, status) = (bytes.u8()?, bytes.u16()?);
            let (count, first_s, last_s) = (bytes.u32()?, bytes.u32()?, bytes.u32()?);
            let known = translation.refusal(code);
            refusals.0.extend(known.map(|(route, reason)| RecordedRefusal {
                route,
                reason,
                status,
                count,
                first_s,
                last_s,
            }));
        }
        registry.restore_record(id, |shard, slot, symbols| {
            let symbol = |text: &str| symbols.intern(text).or_else(|_| symbols.intern(OVERFLOW)).unwrap_or(0);
            let record = shard.record_mut(slot);
            let ClusterRecord { id, newer, older, refusals: refusals_slot, .. } = *record;
            *record = ClusterRecord { newer, older, refusals: refusals_slot, ..ClusterRecord::new(id, 1) };
            record.peer = peer;
            set_fields(record, values);
            record.user_agent = symbol(user_agent);
            for packed in exchanges {
                // An outcome that this version does not know is left out.
                if let Some(outcome) = translation.outcome((packed >> 9) as u8) {
                    record.exchanges.push_raw(u16::from(outcome.code()) << 9 | packed & 0x1ff);
                }
            }
            for (text, at) in labels.iter().zip(&translation.labels) {
                if let Some(at) = at {
                    shard.labels_mut(slot)[*at] = symbol(text);
                }
            }
            if refusals != RecordedRefusals::default() {
                *shard.refusals_mut(slot) = refusals;
            }
        });
    }
    bytes.0.is_empty().then_some(())
}

/// The rest of a block, to be read.
struct BlockReader<'a>(&'a [u8]);

impl<'a> BlockReader<'a> {
    /// The next bytes; `None` where fewer are left.
    fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// The next byte; `None` at the end.
    fn u8(&mut self) -> Option<u8> {
        self.read_array().map(|[byte]| byte)
    }

    /// The next number of 16 bits; `None` where fewer are left.
    fn u16(&mut self) -> Option<u16> {
        self.read_array().map(u16::from_le_bytes)
    }

    /// The next number of 32 bits; `None` where fewer are left.
    fn u32(&mut self) -> Option<u32> {
        self.read_array().map(u32::from_le_bytes)
    }

    /// The next text; `None` where it is incomplete, longer than `max_bytes`, or not UTF-8.
    fn text(&mut self, max_bytes: usize) -> Option<&'a str> {
        let len = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().filter(|text| text.len() <= max_bytes)
    }

    /// The next list of names; `None` where one of them is invalid.
    fn names(&mut self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let names: Vec<&'a str> = (0..self.u8()?).map(|_| self.text(MAX_ID_BYTES)).collect::<Option<_>>()?;
        Some(names.into_iter())
    }
}

/// Makes all checksums right again, so that the code that decodes the blocks is tested.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reseal(bytes: &mut [u8]) {
    let mut at = MAGIC.len();
    while let Some((head, behind)) = bytes.get_mut(at..).and_then(|rest| rest.split_first_chunk_mut::<8>()) {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(content) = behind.get(..len) else { return };
        head[4..].copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        at += 8 + len;
    }
}

#[cfg(test)]
mod tests;
