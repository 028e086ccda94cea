//! Golden files: what a program prints or sends, kept in the repository. `UPDATE=1` in the environment writes them again.

use std::{env, fs, path::Path};

/// Compares `actual` with the content of the file at `path`. With `UPDATE=1` it is written there first.
///
/// # Panics
/// Where they differ, with the first line that does; where the file cannot be written.
pub fn check(path: impl AsRef<Path>, actual: impl AsRef<[u8]>) {
    let update = env::var_os("UPDATE").is_some();
    if let Err(difference) = compare(path.as_ref(), actual.as_ref(), update) {
        panic!("{}: {difference}; UPDATE=1 rewrites it", path.as_ref().display());
    }
}

fn compare(path: &Path, actual: &[u8], update: bool) -> Result<(), String> {
    if update {
        let folder = path.parent().ok_or("it has no folder")?;
        fs::create_dir_all(folder).and_then(|()| fs::write(path, actual)).map_err(|error| error.to_string())?;
    }
    let expected = fs::read(path).map_err(|error| error.to_string())?;
    if expected == actual {
        return Ok(());
    }
    let mut lines = 1;
    let (mut expected, mut actual) = (expected.split(|byte| *byte == b'\n'), actual.split(|byte| *byte == b'\n'));
    loop {
        let (expected, actual) = (expected.next(), actual.next());
        if expected != actual {
            let shown = |line: Option<&[u8]>| {
                line.map_or_else(|| "the end".to_owned(), |line| format!("{:?}", String::from_utf8_lossy(line)))
            };
            return Err(format!("line {lines} is not {} but {}", shown(expected), shown(actual)));
        }
        lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_by_its_line_and_gone_after_an_update() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/file");
        assert!(compare(&path, b"a\nb\n", false).is_err(), "there is no file");
        assert_eq!(compare(&path, b"a\nb\n", true), Ok(()));
        assert_eq!(compare(&path, b"a\nb\n", false), Ok(()));
        let said = |actual: &[u8]| compare(&path, actual, false).expect_err("another content");
        assert_eq!(said(b"a\nc\n"), "line 2 is not \"b\" but \"c\"");
        assert_eq!(said(b"a\nb"), "line 3 is not \"\" but the end");
        assert_eq!(said(b"a\nb\n\xff"), "line 3 is not \"\" but \"\u{fffd}\"");
    }
}
