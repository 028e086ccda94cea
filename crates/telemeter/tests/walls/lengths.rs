//! Checks that no Rust source file is longer than one purpose takes.

use std::{fs, path::Path};

use crate::sources::rust_files;

/// The largest number of lines of a file.
const MAX_LINES: usize = 400;

/// Returns a line for each Rust file below `folder` that is too long.
fn too_long(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust_files(folder) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > MAX_LINES {
            found.push(format!("{}: {lines} lines", file.strip_prefix(folder).unwrap().display()));
        }
    }
    found.sort();
    found
}

#[test]
fn no_file_has_more_than_400_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["crates", "fuzz/src", "fuzz/fuzz_targets", "tests"] {
        let folder = root.join(folder);
        assert!(!rust_files(&folder).is_empty(), "{} has no sources", folder.display());
        let found = too_long(&folder);
        assert!(found.is_empty(), "split these files below {}: {found:#?}", folder.display());
    }
}

#[test]
fn a_file_of_401_lines_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    for (name, lines) in [("short.rs", 1), ("src/at_most.rs", 400), ("src/one_more.rs", 401), ("src/prose.md", 500)] {
        fs::write(folder.path().join(name), "//\n".repeat(lines)).unwrap();
    }
    assert_eq!(too_long(folder.path()), ["src/one_more.rs: 401 lines"]);
}
