//! Reads files that the configuration names: certificates, keys, tokens, lists of rules.
//!
//! Only regular files, and symbolic links to them, are read, and only up to a cap, so that a pipe, a device or a wrong
//! path is an error at once and never a wait. A byte-order mark at the start is skipped.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The cap for a bundle of certificates or a list of rules: 16 MiB.
pub const LARGE: usize = 16 * MIB;
/// The cap for a key, a token or a salt: 1 MiB.
pub const SMALL: usize = MIB;

const MIB: usize = 1024 * 1024;
/// The byte-order mark, U+FEFF, in UTF-8, which some editors put at the start of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The byte-order mark in UTF-16, in both byte orders.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The reason why a file cannot be used. Its text names the file and contains nothing of its content.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct FileError {
    /// The path of the file.
    pub path: PathBuf,
    /// The problem with it.
    pub problem: FileProblem,
}

/// The problem with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The file is missing, or this process may not read it.
    #[error("cannot be read: {}", io_error_text(.0))]
    Unreadable(io::Error),
    /// It is not a regular file but a directory, a pipe, a socket or a device, as the text says.
    #[error("cannot be read: it is a {0}, not a file")]
    NotAFile(&'static str),
    /// The file is longer than the cap.
    #[error("is too large: more than {cap_bytes} bytes")]
    TooLarge {
        /// The cap; a file of exactly this length is within it.
        cap_bytes: usize,
    },
    /// The file begins with the byte-order mark of UTF-16.
    #[error("is text in UTF-16: save it as UTF-8")]
    Utf16,
    /// The file is not UTF-8, where text is needed.
    #[error("is not text in UTF-8: line {line} holds another byte")]
    NotText {
        /// The line of the first invalid byte, counted from 1.
        line: usize,
    },
}

impl FileError {
    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, FileProblem::Unreadable(cause) if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file of at most `cap_bytes`; returns its content without a byte-order mark.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path, cap_bytes: usize) -> Result<Vec<u8>, FileError> {
    bytes(path, cap_bytes).map_err(|problem| FileError { path: path.to_owned(), problem })
}

/// Reads a file as [`read`] does, for text in UTF-8.
///
/// # Errors
/// [`FileError`].
pub fn read_text(path: &Path, cap_bytes: usize) -> Result<String, FileError> {
    String::from_utf8(read(path, cap_bytes)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        FileError { path: path.to_owned(), problem: FileProblem::NotText { line } }
    })
}

/// The size and form of a file, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its size in bytes.
    pub bytes: usize,
    /// Whether it begins with a byte-order mark, which is skipped.
    pub has_byte_order_mark: bool,
    /// Whether there is white space around its text.
    pub has_blanks: bool,
    /// The number of its lines that are not blank; `None` where it is not text.
    pub lines: Option<usize>,
}

/// Reads a file of at most `cap_bytes`, and returns its size and form.
///
/// # Errors
/// [`FileError`], as [`read`].
pub fn describe(path: &Path, cap_bytes: usize) -> Result<Description, FileError> {
    let whole = read_bytes(path, cap_bytes).map_err(|problem| FileError { path: path.to_owned(), problem })?;
    let whole = zeroize::Zeroizing::new(whole);
    let content = whole.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&whole);
    let text = std::str::from_utf8(content).ok();
    Ok(Description {
        bytes: whole.len(),
        has_byte_order_mark: content.len() < whole.len(),
        // The line end of the last line does not count.
        has_blanks: content.trim_ascii().len() < content.strip_suffix(b"\n").unwrap_or(content).len(),
        lines: text.map(|text| text.lines().filter(|line| !line.trim().is_empty()).count()),
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, has_byte_order_mark, has_blanks, lines } = self;
        write!(f, "{bytes} bytes")?;
        match lines {
            None => f.write_str(", no text")?,
            Some(1) => f.write_str(" in one line")?,
            Some(lines) => write!(f, " in {lines} lines")?,
        }
        if *has_byte_order_mark {
            f.write_str("; its byte-order mark is passed over")?;
        }
        if *has_blanks {
            f.write_str("; the blanks around it are passed over")?;
        }
        Ok(())
    }
}

/// Reads a file of at most `cap_bytes`, without the byte-order mark at its start.
fn bytes(path: &Path, cap_bytes: usize) -> Result<Vec<u8>, FileProblem> {
    let mut content = read_bytes(path, cap_bytes)?;
    if content.starts_with(BYTE_ORDER_MARK) {
        content.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(content)
}

/// Reads a whole file, with its byte-order mark; empty for the null device. Returns an error for anything but a regular
/// file, for one over `cap_bytes`, and for UTF-16.
fn read_bytes(path: &Path, cap_bytes: usize) -> Result<Vec<u8>, FileProblem> {
    // The type is checked before the file is opened, since opening a pipe waits for its other end.
    let found = fs::metadata(path).map_err(FileProblem::Unreadable)?;
    if is_null(&found) {
        return Ok(Vec::new());
    }
    if !found.is_file() {
        return Err(FileProblem::NotAFile(kind_name(&found)));
    }
    let file = File::open(path).map_err(FileProblem::Unreadable)?;
    let length = file.metadata().map_err(FileProblem::Unreadable)?.len();
    let too_large = FileProblem::TooLarge { cap_bytes };
    if length > cap_bytes as u64 {
        return Err(too_large);
    }
    // The buffer is allocated once, since a buffer that grows leaves copies of a secret in memory.
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(cap_bytes as u64 + 1).read_to_end(&mut content).map_err(FileProblem::Unreadable)?;
    if content.len() > cap_bytes {
        return Err(too_large);
    }
    if UTF_16.iter().any(|mark| content.starts_with(mark)) {
        return Err(FileProblem::Utf16);
    }
    Ok(content)
}

/// Whether the file is `/dev/null`, the usual name for an empty file: the device 1:3 of Linux.
fn is_null(found: &Metadata) -> bool {
    found.file_type().is_char_device() && found.rdev() == 0x103
}

/// The word for something that is not a regular file: `directory`, `pipe`, `socket`, or else `device`.
fn kind_name(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

/// The text of an I/O error, without the number that the standard library adds.
pub(crate) fn io_error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_described_without_what_it_holds() {
        for (content, expected) in [
            (&b"token\n"[..], "6 bytes in one line"),
            (b"token", "5 bytes in one line"),
            (b" token \n", "8 bytes in one line; the blanks around it are passed over"),
            (b"token\r\n", "7 bytes in one line; the blanks around it are passed over"),
            (
                b"\xef\xbb\xbfa\nb\n\n",
                "8 bytes in 2 lines; its byte-order mark is passed over; the blanks around it are passed over",
            ),
            (b"", "0 bytes in 0 lines"),
            (b"\x30\x82\xff", "3 bytes, no text"),
        ] {
            let (_folder, path) = written(content);
            assert_eq!(describe(&path, SMALL).unwrap().to_string(), expected, "{content:?}");
        }
        let (_folder, path) = written(&[0; 11]);
        assert!(describe(&path, 10).is_err());
    }

    fn written(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        for (content, expected) in [
            (&b"\xef\xbb\xbftoken\n"[..], &b"token\n"[..]),
            (b"token\n", b"token\n"),
            (b"\xef\xbb\xbf", b""),
            (b"", b""),
            // Only one byte-order mark, at the start, is skipped.
            (b"\xef\xbb\xbf\xef\xbb\xbfx", b"\xef\xbb\xbfx"),
            (b"x\xef\xbb\xbf", b"x\xef\xbb\xbf"),
            // These bytes are the start of a key in DER.
            (b"\x30\x82\x00", b"\x30\x82\x00"),
        ] {
            let (_folder, path) = written(content);
            assert_eq!(read(&path, SMALL).unwrap(), expected, "{content:?}");
        }
    }

    #[test]
    fn text_is_utf_8() {
        let check = |content: &[u8], expected: &str| {
            let (_folder, path) = written(content);
            let error = read_text(&path, SMALL).expect_err("no text").to_string();
            assert_eq!(error, format!("{} {expected}", path.display()));
        };
        check(b"one\ntwo\nthr\xe9e\n", "is not text in UTF-8: line 3 holds another byte");
        check(b"\xff\xfet\0", "is text in UTF-16: save it as UTF-8");
        check(b"\xfe\xff\0t", "is text in UTF-16: save it as UTF-8");
        let (_folder, path) = written("\u{feff}drei\u{e9}".as_bytes());
        assert_eq!(read_text(&path, SMALL).unwrap(), "drei\u{e9}");
    }

    #[test]
    fn exactly_the_cap_is_within_it() {
        let (_folder, path) = written(&[b'x'; 10]);
        assert_eq!(read(&path, 10).unwrap().len(), 10);
        let error = read(&path, 9).expect_err("too large").to_string();
        assert_eq!(error, format!("{} is too large: more than 9 bytes", path.display()));
        // The length of this file is not known before it is read.
        assert!(matches!(
            read(Path::new("/proc/cpuinfo"), 9).expect_err("too large").problem,
            FileProblem::TooLarge { .. }
        ));
        assert!(!read(Path::new("/proc/cpuinfo"), LARGE).unwrap().is_empty());
    }

    #[test]
    fn only_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for (path, expected) in [
            (folder.path(), "cannot be read: it is a directory, not a file"),
            (&pipe, "cannot be read: it is a pipe, not a file"),
            (&link, "cannot be read: it is a pipe, not a file"),
            (&socket, "cannot be read: it is a socket, not a file"),
            (Path::new("/dev/zero"), "cannot be read: it is a device, not a file"),
        ] {
            let (answer, answered) = std::sync::mpsc::channel();
            let asked = path.to_owned();
            std::thread::spawn(move || answer.send(read(&asked, SMALL)));
            let error =
                answered.recv_timeout(std::time::Duration::from_secs(10)).expect("no wait").expect_err("no file");
            assert_eq!(error.to_string(), format!("{} {expected}", path.display()));
            assert!(!error.is_missing());
        }
        assert!(read(Path::new("/nowhere"), SMALL).expect_err("missing").is_missing());
    }

    #[test]
    fn links_and_the_null_device_are_files() {
        // Kubernetes mounts a secret in this way: the name is a link to a file in a directory that is itself a link.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("..2026")).unwrap();
        fs::write(folder.path().join("..2026/token"), "secret").unwrap();
        std::os::unix::fs::symlink("..2026", folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", folder.path().join("token")).unwrap();
        assert_eq!(read(&folder.path().join("token"), SMALL).unwrap(), b"secret");
        assert_eq!(read(Path::new("/dev/null"), SMALL).unwrap(), b"");
    }
}
