//! Runs what the README shows: each block that is marked `sh test`, by `sh`, in an empty directory. A comment behind a
//! line of a block is what the block is to print last.

use std::{fs, path::Path, process::Command};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");

fn blocks(text: &str) -> Vec<&str> {
    let marked = text.split("\n```sh test\n").skip(1);
    marked.map(|rest| rest.split("\n```").next().unwrap_or(rest)).collect()
}

#[test]
fn what_the_readme_shows_runs() {
    let readme = fs::read_to_string(README).expect("the README");
    let blocks = blocks(&readme);
    assert!(blocks.len() >= 4, "the README shows only {} blocks that run", blocks.len());
    for block in blocks {
        let directory = tempfile::tempdir().expect("a directory");
        // The same program, built already.
        let script = block.replace("cargo run --quiet --", env!("CARGO_BIN_EXE_telemeter"));
        let run = Command::new("sh").args(["-euc", &script]).current_dir(&directory).output().expect("sh");
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{block}\n{out}{err}");
        if let Some((_, expected)) = block.rsplit_once(" # ") {
            assert_eq!(out.trim_end().lines().last().unwrap_or(""), expected.trim(), "{block}");
        }
    }
}

#[test]
fn what_the_readme_links_to_is_there() {
    let readme = fs::read_to_string(README).expect("the README");
    let root = Path::new(README).parent().expect("a directory");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links: Vec<_> = links.filter(|link| !link.contains("://") && !link.starts_with('#')).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        let file = link.split('#').next().unwrap_or(link);
        assert!(root.join(file).exists(), "{link}");
    }
}
