//! Removes white space around the values of argv.
//!
//! A YAML block (`|`, `>`), a quoted shell word or a variable may leave blanks and line breaks at the ends of a value, where
//! no value of these programs has any. A secret is not changed: another salt would make other hashes. This happens before
//! the flags are parsed, so that numbers, durations, URLs and paths need no rule of their own.

use std::{
    any::TypeId,
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
};

use clap::Command;
use telemeter_auth::Secret;

/// The arguments without white space around their values; the first one, the name of the program, is not changed.
pub(super) fn trimmed(command: &Command, argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let secrets = secrets(command);
    let is_secret = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| secrets.contains(name));
    let mut next_is_secret = false;
    let mut argv = argv.into_iter();
    let program = argv.next();
    let arguments = argv.map(|argument| {
        if std::mem::take(&mut next_is_secret) {
            return argument;
        }
        let text = trim_blanks(&argument);
        let Some(flag) = text.as_bytes().strip_prefix(b"--") else { return text.to_owned() };
        let Some(at) = flag.iter().position(|byte| *byte == b'=') else {
            next_is_secret = is_secret(flag);
            return text.to_owned();
        };
        let (name, value) = (&flag[..at], &flag[at + 1..]);
        if is_secret(name) {
            return argument;
        }
        let parts = [OsStr::new("--"), OsStr::from_bytes(name), OsStr::new("="), trim_blanks(OsStr::from_bytes(value))];
        parts.into_iter().collect()
    });
    program.into_iter().chain(arguments).collect()
}

/// Removes white space at both ends; of a text that is not UTF-8, only ASCII white space.
fn trim_blanks(text: &OsStr) -> &OsStr {
    text.to_str().map_or_else(|| OsStr::from_bytes(text.as_bytes().trim_ascii()), |text| OsStr::new(text.trim()))
}

/// The names of the flags that hold a secret, of a program and of its subcommands.
pub(super) fn secrets(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter(|arg| arg.get_value_parser().type_id() == TypeId::of::<Secret>());
    let own = own.filter_map(|arg| arg.get_long()).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(secrets)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Program, telemeter};

    #[test]
    fn values_are_trimmed_and_secrets_are_not() {
        fn check(typed: &[&str], expected: &[&str]) {
            let argv = |list: &[&str]| std::iter::once(" p ").chain(list.iter().copied()).map(OsString::from).collect();
            let (typed, expected): (Vec<_>, Vec<_>) = (argv(typed), argv(expected));
            assert_eq!(trimmed(&Program::Client.command(), typed.clone()), expected, "{typed:?}");
            assert_eq!(trimmed(&telemeter(), typed.clone()), expected, "{typed:?}");
        }
        check(&["--from=http://p\n", "--to", " http://s\t", "-v "], &["--from=http://p", "--to", "http://s", "-v"]);
        check(&["--label= a = 1 \r\n", "--listen= ", ""], &["--label=a = 1", "--listen=", ""]);
        check(&["\n--id=i", "x "], &["--id=i", "x"]);
        check(
            &["--anonymize-salt= s\n", "--anonymize-salt", " s ", " x "],
            &["--anonymize-salt= s\n", "--anonymize-salt", " s ", "x"],
        );
    }

    #[test]
    fn paths_of_any_bytes_are_trimmed() {
        let path = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        let found =
            trimmed(&Program::Client.command(), ["p".into(), path(b"--to-token-file= \xff/t\n"), path(b"\xff ")]);
        assert_eq!(found, [path(b"p"), path(b"--to-token-file=\xff/t"), path(b"\xff")]);
    }

    #[test]
    fn the_secrets_are_known() {
        let expected = ["anonymize-salt", "client-secret", "from-token", "to-token"];
        assert_eq!(secrets(&telemeter()), expected.map(str::to_owned).into());
    }
}
