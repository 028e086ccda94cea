//! The pure pipeline, bytes in to bytes out, on one core: each part and all together, compared with snappy alone over the same
//! body in the same run (decompressed and compressed again, and nothing else: by the library's own reader of frames, and by
//! ours). Compare ratios, not absolutes.
//!
//! `TELEMETER_SAMPLE` and `TELEMETER_RULES` name a text exposition and a list of selectors to use in place of the made-up
//! ones; `BENCH_JSON` a file for the results.

#![allow(clippy::print_stdout, missing_docs)]

mod kept;
mod measure;
mod payload;

use std::{hint::black_box, io::Write as _};

use telemeter_auth::jwt::Caller;
use telemeter_rules::StepCounts;
use telemeter_server::{Config, config::AuthorizationMode, gateway::Workspace, rules::ServerRules};
use telemeter_wire::{
    DecodeLimits, SeriesSet,
    exposition::{self, ExpositionFormat},
    remote_write, snappy,
};

use self::{
    measure::MeasuredPart,
    payload::{BenchBodies, CLUSTER},
};

const NOW: i64 = 1_795_330_870_734;
const CAP: usize = 64 << 20;

fn main() {
    let sample = payload::sample();
    let one = BenchBodies::new(&sample, NOW);
    let [once, tenfold] = [1, 10].map(|times: usize| {
        let copies: Vec<String> = (0..times).map(|copy| copy.to_string()).collect();
        BenchBodies::copies(&sample, &copies, NOW)
    });
    let rules = payload::rules();
    let others = |count: usize| -> String {
        let others = (0..count).map(|index| format!("{{__name__=\"other_{index}\",a=\"b\"}}\n"));
        rules.clone() + &others.collect::<String>()
    };
    println!(
        "{} series, {} bytes as families, {} bytes as remote write, {} rules",
        one.series,
        one.families.len(),
        one.message.len(),
        rules.lines().filter(|line| !line.is_empty()).count()
    );
    let pushes = kept::Pushes::new(&sample);
    let mut parts = floors(&one);
    parts.extend(stages(&one, &rules));
    let snappy = |way: &str| vec![format!("{way}: snappy, library"), format!("{way}: snappy, ours")];
    let mut framed = snappy("upload");
    framed.push("upload: snappy, library, framed both ways".to_owned());
    parts.push(upload("upload: whole", framed, &one, &rules));
    parts.push(receive("receive: whole", snappy("receive"), &one, &rules));
    // One family less, so that it has to be encoded again.
    let less = rules_without_a_family(&rules, &one);
    parts.push(receive("receive: whole, one family filtered", snappy("receive"), &one, &less));
    let of_1_0 = ["receive: whole, one family filtered".to_owned()];
    parts.push(receive_v2("receive: 2.0 in, 1.0 out", of_1_0.to_vec(), &one, &rules));
    parts.push(receive_v2("receive: 2.0 in, 1.0 out, one family filtered", of_1_0.to_vec(), &one, &less));
    for (suffix, rules) in [("", &rules), (", one family filtered", &less)] {
        let (name, beside) = (|version: &str| format!("receive: {version} in, 2.0 out{suffix}"), of_1_0.to_vec());
        parts.push(receive_to_v2(&name("2.0"), beside.clone(), &one.receive_v2, rules, true));
        parts.push(receive_to_v2(&name("1.0"), beside, &one.receive, rules, false));
    }
    parts.push(kept::upload("upload: whole, recent store", "upload: whole", &one, &rules));
    for (what, rules) in [("", &rules), (", one family filtered", &less)] {
        let [without, with] = ["", ", recent store"].map(|store| format!("receive: pushes{what}{store}"));
        parts.push(kept::receive(&without, None, &pushes, rules));
        parts.push(kept::receive(&with, Some(&without), &pushes, rules));
    }
    for (count, beside) in [(20, None), (2000, Some(" +20 rules"))] {
        let rules = others(count);
        let beside = |way: &str| beside.map(|suffix| format!("{way}: whole{suffix}")).into_iter().collect();
        parts.push(upload(&format!("upload: whole +{count} rules"), beside("upload"), &one, &rules));
        parts.push(receive(&format!("receive: whole +{count} rules"), beside("receive"), &one, &rules));
    }
    let labelled = |way: &str| format!("{way}: whole, a label more");
    for (suffix, payload) in [("", &once), (", 10 times the series", &tenfold)] {
        let beside = |way: &str| if suffix.is_empty() { vec![] } else { vec![labelled(way)] };
        parts.push(upload(&(labelled("upload") + suffix), beside("upload"), payload, &rules));
        parts.push(receive(&(labelled("receive") + suffix), beside("receive"), payload, &rules));
    }
    measure::report(parts);
}

/// Snappy alone.
fn floors(payload: &BenchBodies) -> Vec<MeasuredPart<'_>> {
    let BenchBodies { upload, receive, .. } = payload;
    let (mut plain, mut out, mut raw) = (vec![], vec![0; CAP], snap::raw::Encoder::new());
    let library_upload = move || {
        plain.clear();
        let mut frames = snap::read::FrameDecoder::new(black_box(&upload[..]));
        std::io::copy(&mut frames, &mut plain).expect("frames");
        black_box(raw.compress(&plain, &mut out).expect("room"));
    };
    let (mut plain, mut framed) = (vec![], vec![]);
    let library_framed = move || {
        plain.clear();
        framed.clear();
        std::io::copy(&mut snap::read::FrameDecoder::new(black_box(&upload[..])), &mut plain).expect("frames");
        snap::write::FrameEncoder::new(&mut framed).write_all(&plain).expect("room");
        black_box(&framed);
    };
    let (mut plain, mut out) = (vec![0; CAP], vec![0; CAP]);
    let (mut decoder, mut raw) = (snap::raw::Decoder::new(), snap::raw::Encoder::new());
    let library_receive = move || {
        let len = decoder.decompress(black_box(receive), &mut plain).expect("a block");
        black_box(raw.compress(&plain[..len], &mut out).expect("room"));
    };
    let (mut plain, mut out, mut encoder) = (vec![], vec![], snappy::Encoder::new());
    let our_upload = move || {
        snappy::decode_framed(black_box(upload), CAP, &mut plain).expect("frames");
        out.clear();
        encoder.block(&plain, &mut out);
        black_box(&out);
    };
    let (mut plain, mut out, mut encoder) = (vec![], vec![], snappy::Encoder::new());
    let our_receive = move || {
        snappy::decode_block(black_box(receive), CAP, &mut plain).expect("a block");
        out.clear();
        encoder.block(&plain, &mut out);
        black_box(&out);
    };
    vec![
        part("upload: snappy, library", library_upload),
        part("upload: snappy, library, framed both ways", library_framed),
        part("upload: snappy, ours", our_upload),
        part("receive: snappy, library", library_receive),
        part("receive: snappy, ours", our_receive),
    ]
}

/// The stages after decompression: each row holds those before it.
fn stages<'p>(payload: &'p BenchBodies, rules: &str) -> Vec<MeasuredPart<'p>> {
    let BenchBodies { families, message, .. } = payload;
    let limits = DecodeLimits::default();
    let mut room = Workspace::default();
    let upload_decode = move || {
        let mut set = SeriesSet::new_in(&room.arena);
        exposition::decode(ExpositionFormat::Delimited, black_box(families), &limits, &mut set).expect("families");
        black_box(set.len());
        drop(set);
        room.arena.reset();
    };
    let (mut room, compiled) = (Workspace::default(), compile(rules));
    let upload_rules = move || {
        let (caller, mut report) = (caller(), StepCounts::default());
        let steps = compiled.of_upload(&caller, NOW);
        let mut set = SeriesSet::new_in(&room.arena);
        exposition::decode(ExpositionFormat::Delimited, black_box(families), &limits, &mut set).expect("families");
        steps.upload(&mut set, &mut report).expect("good series");
        black_box(set.len());
        drop(set);
        room.arena.reset();
    };
    let (mut room, compiled) = (Workspace::default(), compile(rules));
    let upload_encode = move || {
        let (caller, mut report) = (caller(), StepCounts::default());
        let steps = compiled.of_upload(&caller, NOW);
        let mut set = SeriesSet::new_in(&room.arena);
        exposition::decode(ExpositionFormat::Delimited, black_box(families), &limits, &mut set).expect("families");
        steps.upload(&mut set, &mut report).expect("good series");
        room.encoded.clear();
        black_box(room.deduplicator.encode(&set, NOW, &mut report, &mut room.encoded, None));
        drop(set);
        room.arena.reset();
    };
    let mut room = Workspace::default();
    let receive_decode = move || {
        let mut set = SeriesSet::new_in(&room.arena);
        remote_write::decode(black_box(message), &limits, &mut set).expect("a message");
        black_box(set.len());
        drop(set);
        room.arena.reset();
    };
    let (mut room, compiled) = (Workspace::default(), compile(rules));
    let receive_rules = move || {
        let steps = compiled.of_receive(CLUSTER, NOW);
        let mut set = SeriesSet::new_in(&room.arena);
        remote_write::decode(black_box(message), &limits, &mut set).expect("a message");
        steps.receive(&mut set, &mut StepCounts::default()).expect("good series");
        black_box(set.len());
        drop(set);
        room.arena.reset();
    };
    vec![
        part("upload: decode", upload_decode),
        part("upload: decode, rules", upload_rules),
        part("upload: decode, rules, encode", upload_encode),
        part("receive: decode", receive_decode),
        part("receive: decode, rules", receive_rules),
    ]
}

/// A whole upload, as the server processes it.
fn upload<'p>(name: &str, beside: Vec<String>, payload: &'p BenchBodies, rules: &str) -> MeasuredPart<'p> {
    let (mut room, rules, mut out) = (Workspace::default(), compile(rules), vec![]);
    let work = move || {
        let Workspace { arena, plain, deduplicator, encoded, encoder, .. } = &mut room;
        let (caller, mut report) = (caller(), StepCounts::default());
        let steps = rules.of_upload(&caller, NOW);
        snappy::decode_framed(black_box(&payload.upload), CAP, plain).expect("frames");
        let mut set = SeriesSet::new_in(arena);
        exposition::decode(ExpositionFormat::Delimited, plain, &DecodeLimits::default(), &mut set).expect("families");
        steps.upload(&mut set, &mut report).expect("good series");
        encoded.clear();
        deduplicator.encode(&set, NOW, &mut report, encoded, None);
        drop(set);
        arena.reset();
        out.clear();
        encoder.block(encoded, &mut out);
        black_box(&out);
    };
    MeasuredPart { name: name.to_owned(), beside, work: Box::new(work) }
}

/// A whole remote write, as the server processes it: one that no rule changed is forwarded as it came.
fn receive<'p>(name: &str, beside: Vec<String>, payload: &'p BenchBodies, rules: &str) -> MeasuredPart<'p> {
    let (mut room, rules, mut out) = (Workspace::default(), compile(rules), vec![]);
    let work = move || {
        let Workspace { arena, plain, encoded, encoder, .. } = &mut room;
        let steps = rules.of_receive(CLUSTER, NOW);
        snappy::decode_block(black_box(&payload.receive), CAP, plain).expect("a block");
        let mut set = SeriesSet::new_in(arena);
        remote_write::decode(plain, &DecodeLimits::default(), &mut set).expect("a message");
        steps.receive(&mut set, &mut StepCounts::default()).expect("good series");
        out.clear();
        if remote_write::is_unchanged(&set) {
            out.extend_from_slice(&payload.receive);
        } else {
            encoded.clear();
            remote_write::encode(&set, encoded);
            encoder.block(encoded, &mut out);
        }
        black_box(&out);
        drop(set);
        arena.reset();
    };
    MeasuredPart { name: name.to_owned(), beside, work: Box::new(work) }
}

/// A whole remote write of 2.0, as the server processes it: 1.0 is forwarded.
fn receive_v2<'p>(name: &str, beside: Vec<String>, payload: &'p BenchBodies, rules: &str) -> MeasuredPart<'p> {
    let (mut room, rules, mut out) = (Workspace::default(), compile(rules), vec![]);
    let work = move || {
        let Workspace { arena, plain, encoded, encoder, .. } = &mut room;
        let steps = rules.of_receive(CLUSTER, NOW);
        snappy::decode_block(black_box(&payload.receive_v2), CAP, plain).expect("a block");
        let mut set = SeriesSet::new_in(arena);
        remote_write::v2::decode(plain, &DecodeLimits::default(), &mut set).expect("a request");
        steps.receive(&mut set, &mut StepCounts::default()).expect("good series");
        encoded.clear();
        remote_write::encode(&set, encoded);
        out.clear();
        encoder.block(encoded, &mut out);
        black_box(&out);
        drop(set);
        arena.reset();
    };
    MeasuredPart { name: name.to_owned(), beside, work: Box::new(work) }
}

/// All of a remote write of either version, as the server does it: 2.0 goes on, and is compressed when it is sent.
fn receive_to_v2<'p>(name: &str, beside: Vec<String>, body: &'p [u8], rules: &str, is_v2: bool) -> MeasuredPart<'p> {
    let (mut room, rules, mut out) = (Workspace::default(), compile(rules), vec![]);
    let work = move || {
        let Workspace { arena, plain, encoded, encoder, request, .. } = &mut room;
        let steps = rules.of_receive(CLUSTER, NOW);
        snappy::decode_block(black_box(body), CAP, plain).expect("a block");
        let mut set = SeriesSet::new_in(arena);
        if is_v2 {
            let keep = remote_write::v2::Keep { start_timestamps: true, metadata: false };
            remote_write::v2::decode_keeping(plain, keep, &DecodeLimits::default(), &mut set, None).expect("a request");
        } else {
            remote_write::decode(plain, &DecodeLimits::default(), &mut set).expect("a message");
        }
        steps.receive(&mut set, &mut StepCounts::default()).expect("good series");
        request.clear();
        request.add(&set);
        encoded.clear();
        request.put_message(encoded);
        out.clear();
        encoder.block(encoded, &mut out);
        black_box(&out);
        drop(set);
        arena.reset();
    };
    MeasuredPart { name: name.to_owned(), beside, work: Box::new(work) }
}

fn part<'p>(name: &str, work: impl FnMut() + 'p) -> MeasuredPart<'p> {
    MeasuredPart { name: name.to_owned(), beside: vec![], work: Box::new(work) }
}

fn compile(rules: &str) -> ServerRules {
    let mut config = Config::new(AuthorizationMode::AnyCluster);
    config.rules.whitelist = rules.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ServerRules::load(&config).expect("rules")
}

/// These rules, each narrowed so that it does not let the first family of the payload pass.
fn rules_without_a_family(rules: &str, payload: &BenchBodies) -> String {
    let arena = telemeter_wire::Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    remote_write::decode(&payload.message, &DecodeLimits::default(), &mut set).expect("a message");
    let name = set.at(0).name().to_owned();
    let narrow = |rule: &str| match rule.trim().strip_suffix('}') {
        Some(rule) => format!("{rule},__name__!=\"{name}\"}}\n"),
        None => format!("{{__name__=\"{}\",__name__!=\"{name}\"}}\n", rule.trim()),
    };
    rules.lines().filter(|line| !line.trim().is_empty()).map(narrow).collect()
}

fn caller() -> Caller {
    Caller::new("account", [("_id", CLUSTER)], NOW)
}
