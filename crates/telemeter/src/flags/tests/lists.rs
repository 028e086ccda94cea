//! Flags that hold a list: white space, repetition, and an element that is refused.

use super::*;

/// A list flag of a program: a value with white space in every place where it may be, the same without, and a value with
/// an element that cannot be meant, with that element. `None` where only the program's start can tell.
type ListFlagCase = (Program, &'static str, &'static str, &'static str, Option<(&'static str, &'static str)>);

/// What was meant, without the program's name; or why it could not be.
fn meant(program: Program, more: &[&str]) -> Result<String, String> {
    let base = match program {
        Program::Server => SERVER,
        Program::Client => &[CLIENT, &["--anonymize-salt=s"]].concat(),
        Program::AuthorizationServer => &["localhost:9001", "t.json"],
        Program::Benchmark => BENCHMARK,
        Program::Quickstart => &[],
    };
    let flags =
        ProgramFlags::parse(Some(program), argv(base, more)).unwrap_or_else(|error| panic!("{more:?}: {error}"));
    flags.config().map(|(config, _)| format!("{config:?}")).map_err(|error| error.to_string())
}

#[test]
fn every_list_flag_trims_and_refuses() {
    const SELECTOR: &str = r#"{a="1",b=" 2 "}"#;
    const PADDED_SELECTOR: &str = " {a=\"1\",b=\" 2 \"}\n";
    let table: &[ListFlagCase] = &[
        (Program::Server, "label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b c", "b c"))),
        (Program::Server, "required-label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b-c=1", "b-c=1"))),
        (Program::Server, "memcached", " a:1, b:2\n,", "a:1,b:2", Some(("a:1,b", "b"))),
        (
            Program::Server,
            "trusted-proxies",
            " ::1, 10.0.0.0/8\n,",
            "::1,10.0.0.0/8",
            Some(("::1,10.0.0.0/33", "10.0.0.0/33")),
        ),
        (Program::Server, "internal-allowed-hosts", " a, [::1]\n,", "a,[::1]", Some(("a,b c", "b c"))),
        (Program::Client, "internal-allowed-hosts", " a, [::1]\n,", "a,[::1]", Some(("a,b c", "b c"))),
        (Program::Server, "elide-label", " a\n", "a", Some(("a,b", "a,b"))),
        (Program::Server, "whitelist", PADDED_SELECTOR, SELECTOR, None),
        (Program::Server, "fleet-label", " v = m{a=\"b\"} /\tl\n", "v=m{a=\"b\"}/l", Some(("v=m", "v=m"))),
        (Program::Server, "shared-key", " a key\n", "a key", None),
        (Program::Server, "tls-crt", " a file\n", "a file", None),
        (Program::Server, "tls-key", " a file\n", "a file", None),
        (Program::Server, "internal-tls-crt", " a file\n", "a file", None),
        (Program::Server, "internal-tls-key", " a file\n", "a file", None),
        (Program::Client, "label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b c", "b c"))),
        (Program::Client, "rename", " a=b,\tc = d \n, ", "a=b,c=d", Some(("a=b,c d", "c d"))),
        (Program::Client, "anonymize-labels", " instance, pod\n,", "instance,pod", Some(("instance,po d", "po d"))),
        (Program::Client, "match", PADDED_SELECTOR, SELECTOR, None),
        (Program::Quickstart, "match", PADDED_SELECTOR, SELECTOR, None),
        (Program::Quickstart, "label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b c", "b c"))),
        (Program::Quickstart, "rename", " a=b,\tc = d \n, ", "a=b,c=d", Some(("a=b,c d", "c d"))),
        (Program::Quickstart, "anonymize-labels", " instance, pod\n,", "instance,pod", Some(("instance,po d", "po d"))),
    ];
    for &(program, flag, padded, plain, impossible) in table {
        // What does not go without another flag.
        let beside: &[&str] = match flag {
            "tls-crt" => &["--tls-key=k"],
            "tls-key" => &["--tls-crt=c"],
            "internal-tls-crt" => &["--internal-tls-key=k"],
            "internal-tls-key" => &["--internal-tls-crt=c"],
            _ => &[],
        };
        let meant = |program, more: &[&str]| meant(program, &[beside, more].concat());
        let typed = |value: &str| meant(program, &[&format!("--{flag}"), value]);
        assert_eq!(typed(padded), typed(plain), "{program:?} --{flag}");
        assert_ne!(typed(plain), meant(program, &[]), "{program:?} --{flag}");
        // Another occurrence, and one with nothing in it.
        let twice = meant(program, &[&format!("--{flag}={padded}"), &format!("--{flag}= ")]);
        assert_eq!(twice, typed(plain), "{program:?} --{flag}");
        let Some((value, element)) = impossible else { continue };
        let error = typed(value).unwrap_err();
        assert!(error.starts_with(&format!("--{flag} has {element:?}")), "{error}");
        assert!(
            ["digits and _", "=region=eu", "ALERTS=alerts", "cache:11211", "no host", "network", "NAME=SELECTOR/LABEL"]
                .iter()
                .any(|right| error.contains(right)),
            "{error}"
        );
    }
    for program in Program::ALL {
        let command = program.command();
        let lists = command.get_arguments().filter(|arg| matches!(arg.get_action(), clap::ArgAction::Append));
        for name in lists.filter_map(|arg| arg.get_long()) {
            assert!(table.iter().any(|(of, flag, ..)| (*of, *flag) == (program, name)), "{program:?} --{name}: no row");
        }
    }
}
