//! The inputs that each target begins with.

use std::{env, fs, io, path::PathBuf};

use prost::Message as _;

use crate::oracle::random::SplitMix64;

/// How many random messages of each kind are among the seeds.
const RANDOM_SEEDS: u64 = 40;

/// The seeds of each target, by its name.
pub fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let targets = [
        telemeter_wire::fuzzing::targets(),
        telemeter_rules::fuzzing::targets(),
        telemeter_policy::fuzzing::targets(),
        telemeter_fleet::fuzzing::targets(),
        telemeter_http::fuzzing::targets(),
        telemeter_auth::fuzzing::targets(),
        telemeter::fuzzing::targets(),
    ];
    let mut seeds: Vec<_> = targets.into_iter().flatten().map(|(name, _, seeds)| (name, seeds)).collect();
    for (name, seeds) in &mut seeds {
        let random =
            |make: fn(&mut SplitMix64) -> Vec<u8>| (0..RANDOM_SEEDS).map(move |seed| make(&mut SplitMix64::new(seed)));
        match *name {
            "remote_write_1_0" => seeds.extend(random(|random| random.write_request().encode_to_vec())),
            "remote_write_2_0" => seeds.extend(random(|random| random.request().encode_to_vec())),
            "delimited" => seeds.extend(random(SplitMix64::families)),
            _ => {}
        }
    }
    seeds
}

/// Writes each seed to `$FUZZ_CORPUS/TARGET/seed-NUMBER`, prints the names of the targets, and ends the program.
pub fn write_and_exit() {
    let written = write();
    if let Err(error) = &written {
        eprintln!("write_seeds: {error}");
    }
    std::process::exit(i32::from(written.is_err()));
}

fn write() -> io::Result<()> {
    let corpus = PathBuf::from(env::var_os("FUZZ_CORPUS").ok_or_else(|| io::Error::other("FUZZ_CORPUS is not set"))?);
    for (name, seeds) in all() {
        let folder = corpus.join(name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
        println!("{name}");
    }
    Ok(())
}
