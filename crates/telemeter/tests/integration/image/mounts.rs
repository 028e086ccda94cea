//! Mounts folders as Kubernetes does: the files are in a folder of their own, `..data` is a link to it, and each name
//! is a link through `..data`, so that all files change at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Mounts the files over the content of the folder, or replaces those of an earlier mount.
pub(super) fn mount(folder: &Path, files: &[(&str, &str)]) {
    static VERSION: AtomicU32 = AtomicU32::new(0);
    if !folder.join("..data").is_symlink() {
        remove(folder);
        fs::create_dir_all(folder).expect("the image's root can be written");
    }
    let version = format!("..2026_{}", VERSION.fetch_add(1, Ordering::Relaxed));
    fs::create_dir(folder.join(&version)).expect("the image's root can be written");
    for (name, text) in files {
        fs::write(folder.join(&version).join(name), text).expect("the image's root can be written");
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(format!("..data/{name}"), link).expect("the image's root can be written");
        }
    }
    let next = folder.join("..data_tmp");
    symlink(version, &next).expect("the image's root can be written");
    fs::rename(next, folder.join("..data")).expect("the image's root can be written");
}

/// Removes a folder with its content.
pub(super) fn remove(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("the image's root can be written");
    }
}
