//! Says which revision of the source a release is built from: `TELEMETER_REVISION`, else what git says. Other builds are of
//! whatever lies there, and would be built anew with every commit.
//!
//! And has the linker pack what the loader has to adjust at start: 600 KiB in a few, which would stay in memory.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TELEMETER_REVISION");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        // Since glibc 2.36. A linker that does not know it passes it over.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if std::env::var_os("TELEMETER_REVISION").is_some() || std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    // What HEAD says, and what the branch that it names says: whichever of these files there are.
    for path in [git(&["rev-parse", "--git-path", "HEAD"]), branch()].into_iter().flatten() {
        if std::fs::exists(&path).unwrap_or(false) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rustc-env=TELEMETER_REVISION={revision}");
}

fn branch() -> Option<String> {
    git(&["rev-parse", "--git-path", &git(&["symbolic-ref", "--quiet", "HEAD"])?])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
