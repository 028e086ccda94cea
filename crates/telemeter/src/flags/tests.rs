//! The flags of every program, from argv to `Config`.

#![allow(clippy::unwrap_used)]

mod defaults;
mod each_flag;
mod golden;
mod lists;
mod refusals;
mod secrets;
mod shared;

use std::{collections::BTreeSet, path::Path, time::Duration};

use telemeter_benchmark::config::Tokens;
use telemeter_client::config::Credential;
use telemeter_http::tls::CertificateFiles;
use telemeter_server::config::{
    AuthorizationMode, FleetLabel, ForwardProtocol, MemcachedSettings, ReceiveIdentity, RecentStoreSettings,
};
use telemeter_wire::exposition::Escaping;

use super::*;
use crate::{
    commands,
    flags::{authority::AuthorizationServerConfig, quickstart::QuickstartStore},
    logs::{Level, LogFormat},
};

const SERVER: &[&str] = &["--authorize=http://authority/", "--forward-url=http://store/write"];
const CLIENT: &[&str] = &["--from=http://prometheus:9090", "--to=https://server/", "--to-token=t", "--id=i"];
const BENCHMARK: &[&str] = &["--to=https://server", "--to-token=t", "--metrics-file=m"];

fn argv<'a>(base: &'a [&'a str], more: &'a [&'a str]) -> impl Iterator<Item = OsString> + 'a {
    std::iter::once("program").chain(base.iter().copied()).chain(more.iter().copied()).map(OsString::from)
}

fn parsed<T>(program: Program, base: &[&str], more: &[&str], pick: fn(ProgramFlags) -> Option<T>) -> T {
    let flags =
        ProgramFlags::parse(Some(program), argv(base, more)).unwrap_or_else(|error| panic!("{more:?}: {error}"));
    pick(flags).unwrap()
}

fn server_flags(base: &[&str], more: &[&str]) -> ServerFlags {
    parsed(
        Program::Server,
        base,
        more,
        |flags| if let ProgramFlags::Server(flags) = flags { Some(*flags) } else { None },
    )
}

fn server(more: &[&str]) -> telemeter_server::Config {
    server_flags(SERVER, more).config().unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

fn client_flags(base: &[&str], more: &[&str]) -> ClientFlags {
    parsed(
        Program::Client,
        base,
        more,
        |flags| if let ProgramFlags::Client(flags) = flags { Some(*flags) } else { None },
    )
}

fn client(more: &[&str]) -> telemeter_client::Config {
    client_flags(CLIENT, more).config().unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

fn benchmark(base: &[&str], more: &[&str]) -> Result<telemeter_benchmark::Config, FlagError> {
    let pick = |flags| if let ProgramFlags::Benchmark(flags) = flags { Some(*flags) } else { None };
    parsed(Program::Benchmark, base, more, pick).config()
}

fn quickstart(more: &[&str]) -> Result<quickstart::QuickstartConfig, FlagError> {
    let pick = |flags| if let ProgramFlags::Quickstart(flags) = flags { Some(*flags) } else { None };
    parsed(Program::Quickstart, &[], more, pick).config()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn secret(credential: &Credential) -> &str {
    match credential {
        Credential::Value(secret) => secret.expose(),
        Credential::File(_) => panic!("a file, not a value"),
    }
}

fn file(credential: &Credential) -> &Path {
    match credential {
        Credential::File(path) => path,
        Credential::Value(_) => panic!("a value, not a file"),
    }
}
