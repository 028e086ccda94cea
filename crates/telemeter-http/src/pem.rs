//! Parses the blocks of a PEM file, each with its line number, broken blocks included.
//!
//! As in Go, text between blocks is skipped, lines may end in CRLF, and headers may come before the base64.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// The content between `-----BEGIN KIND-----` and `-----END KIND-----`.
pub struct PemBlock {
    /// The kind of the block: `CERTIFICATE`, `PRIVATE KEY`, …
    pub kind: String,
    /// The line where it begins, counted from 1.
    pub line: usize,
    /// Whether it has headers (`Proc-Type: …`).
    pub has_headers: bool,
    /// The decoded base64, or the reason why it is broken.
    pub der: Result<Zeroizing<Vec<u8>>, &'static str>,
    encrypted: bool,
}

impl PemBlock {
    /// Whether it is a private key, encrypted or not.
    pub fn is_private_key(&self) -> bool {
        self.kind == "PRIVATE KEY" || self.kind.ends_with(" PRIVATE KEY")
    }

    /// Whether it is encrypted with a password.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted || self.kind == "ENCRYPTED PRIVATE KEY"
    }
}

/// A block without its END line so far.
struct OpenBlock {
    kind: String,
    line: usize,
    has_headers: bool,
    encrypted: bool,
    base64: Zeroizing<Vec<u8>>,
}

/// The blocks of a file, in order; empty where it is not PEM.
pub fn blocks(bytes: &[u8]) -> Vec<PemBlock> {
    let mut found = Vec::new();
    let mut open: Option<OpenBlock> = None;
    for (index, line) in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate() {
        if let Some(kind) = between(line, b"-----BEGIN ") {
            found.extend(open.take().map(OpenBlock::without_end));
            // The buffer is allocated once, so that no copies of a key stay in memory.
            let base64 = Zeroizing::new(Vec::with_capacity(bytes.len().min(64 * 1024)));
            open = Some(OpenBlock { kind, line: index + 1, has_headers: false, encrypted: false, base64 });
        } else if let Some(kind) = between(line, b"-----END ") {
            found.extend(open.take().map(|block| block.end(&kind)));
        } else if let Some(block) = &mut open {
            block.push_line(line);
        }
    }
    found.extend(open.map(OpenBlock::without_end));
    found
}

/// The kind in a line that consists of `start`, a kind, and five hyphens.
fn between(line: &[u8], start: &[u8]) -> Option<String> {
    let kind = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    String::from_utf8(kind.to_vec()).ok()
}

impl OpenBlock {
    /// Adds a line: one with a colon is a header, which may say that the key is encrypted, and any other one is base64.
    fn push_line(&mut self, line: &[u8]) {
        if line.contains(&b':') {
            self.has_headers = true;
            let text = String::from_utf8_lossy(line);
            self.encrypted |= text.starts_with("Proc-Type:") && text.contains("ENCRYPTED");
        } else {
            self.base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
    }

    /// The block, decoded. It has an error instead of bytes where the END line has another kind, or the text is not
    /// base64.
    fn end(self, kind: &str) -> PemBlock {
        if kind != self.kind {
            return self.with(Err("its END line is of another kind"));
        }
        // Bits after the last byte are ignored, as in Go.
        let config = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
        let decoded = GeneralPurpose::new(&STANDARD, config).decode(&*self.base64);
        self.with(decoded.map(Zeroizing::new).map_err(|_hidden| "it is not base64"))
    }

    fn without_end(self) -> PemBlock {
        self.with(Err("it has no END line"))
    }

    fn with(self, der: Result<Zeroizing<Vec<u8>>, &'static str>) -> PemBlock {
        let Self { kind, line, has_headers, encrypted, .. } = self;
        PemBlock { kind, line, has_headers, der, encrypted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a file; returns the kind, the line and the decoded base64 of each block.
    type Found<'a> = (&'a str, usize, Result<&'a [u8], &'a str>);

    fn check(text: &str, expected: &[Found<'_>]) {
        let found = blocks(text.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|block| {
                (block.kind.as_str(), block.line, block.der.as_ref().map(|der| der.as_slice()).map_err(|e| *e))
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn blocks_are_found_with_their_lines() {
        let block = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        check("", &[]);
        check("no PEM at all", &[]);
        check(&block("A", "AAEC"), &[("A", 1, Ok(&[0, 1, 2]))]);
        check(&block("A", "AAEC").replace('\n', "\r\n"), &[("A", 1, Ok(&[0, 1, 2]))]);
        check(block("A", "AAEC").trim_end(), &[("A", 1, Ok(&[0, 1, 2]))]);
        check(&block("A", "AA\nEC \n\n"), &[("A", 1, Ok(&[0, 1, 2]))]);
        check(&block("A", ""), &[("A", 1, Ok(&[]))]);
        // The last bits are ignored.
        check(&block("A", "AAF="), &[("A", 1, Ok(&[0, 1]))]);
        check(
            &format!("# first: one\n{}\nsecond\n{}", block("A B", "AAEC"), block("C", "AA==")),
            &[("A B", 2, Ok(&[0, 1, 2])), ("C", 7, Ok(&[0]))],
        );
        check(&block("A", "K: v\nL: w\n\nAAEC"), &[("A", 1, Ok(&[0, 1, 2]))]);
    }

    #[test]
    fn a_broken_block_does_not_hide_the_next() {
        let good = "-----BEGIN A-----\nAAEC\n-----END A-----\n";
        let ok: Result<&[u8], &str> = Ok(&[0, 1, 2]);
        for (broken, line, reason) in [
            ("-----BEGIN A-----\nA!\n-----END A-----\n", 4, "it is not base64"),
            ("-----BEGIN A-----\nAAE\n-----END A-----\n", 4, "it is not base64"),
            ("-----BEGIN A-----\nAAEC\n-----END B-----\n", 4, "its END line is of another kind"),
            ("-----BEGIN A-----\nAAEC\n", 3, "it has no END line"),
        ] {
            check(&format!("{broken}{good}"), &[("A", 1, Err(reason)), ("A", line, ok)]);
        }
        check(&format!("{good}-----BEGIN A-----\nAAEC"), &[("A", 1, ok), ("A", 4, Err("it has no END line"))]);
        // This block has an END line and no BEGIN line.
        check(&format!("-----END A-----\n{good}"), &[("A", 2, ok)]);
    }

    #[test]
    fn encrypted_keys_are_told() {
        let of = |text: &str| {
            let found = blocks(text.as_bytes());
            (found[0].is_private_key(), found[0].is_encrypted(), found[0].has_headers)
        };
        assert_eq!(of("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"), (true, false, false));
        assert_eq!(of("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----"), (true, false, false));
        assert_eq!(
            of("-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----"),
            (true, true, false)
        );
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAEC\n-----END RSA PRIVATE KEY-----";
        assert_eq!(of(traditional), (true, true, true));
        assert_eq!(of("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), (false, false, false));
    }
}
