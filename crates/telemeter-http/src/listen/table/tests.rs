#![allow(clippy::unwrap_used)]
use super::reporter::{HandlerWork, LARGE_BUFFER_BYTES, LONG_HEADER_BYTES, REQUEST_BYTES, UNWRITTEN_BYTES};
use super::*;

mod balancer;
mod idle;

fn table(change: impl FnOnce(&mut ListenLimits)) -> (Arc<ConnectionTable>, MemoryBudget) {
    let mut limits = ListenLimits { budget: MemoryBudget::new(10 << 20), ..ListenLimits::default() };
    change(&mut limits);
    (ConnectionTable::new(&limits), limits.budget)
}

fn owner(last: u8) -> Owner {
    Owner { client: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)).into(), proxy: false }
}

fn is_open(admitted: &AdmittedConnection) -> bool {
    admitted.record.ending.load(Ordering::Relaxed) == Ending::No as u8
}

fn open(all: &[AdmittedConnection]) -> usize {
    all.iter().filter(|admitted| is_open(admitted)).count()
}

/// Advances the clock without a check of the deadlines.
fn advance(table: &ConnectionTable, ms: u64) {
    table.now_ms.fetch_add(ms, Ordering::Relaxed);
}

#[test]
fn who_holds_most_makes_room_and_gives_back_once() {
    let (table, budget) = table(|limits| limits.connections = 64);
    let honest: Vec<_> = (1..=8).map(|client| table.admit(owner(client), false).unwrap()).collect();
    let greedy: Vec<_> = (0..200).filter_map(|_| table.admit(owner(99), false)).collect();
    assert_eq!((open(&honest), greedy.len()), (8, 200));
    assert!(open(&greedy) <= 56);
    assert_eq!(budget.used_bytes(MemoryShare::Connections), (8 + open(&greedy)) * CONNECTION_BYTES);
    drop(greedy);
    assert_eq!(budget.used_bytes(MemoryShare::Connections), 8 * CONNECTION_BYTES);
    drop(honest);
    assert_eq!(budget.used_bytes(MemoryShare::Connections), 0);
    assert!(table.open.lock().clients() == 0);
}

#[test]
fn nobody_s_work_is_broken_off_for_another_who_holds_as_much() {
    let (table, _) = table(|limits| limits.connections = 8);
    let all: Vec<_> = (0..8).map(|client| table.admit(owner(client), false).unwrap()).collect();
    let working: Vec<_> = all.iter().map(|admitted| admitted.reporter().begin(100, None).unwrap()).collect();
    assert!(table.admit(owner(50), false).is_none(), "all are worked for");
    assert_eq!(open(&all), 8);
    advance(&table, 1);
    let mut waiting = working[3].waiting().unwrap();
    waiting.set(true);
    let _first = table.admit(owner(50), false).expect("one whose body does not come makes room");
    assert!(!is_open(&all[3]));
    assert_eq!(open(&all), 7);
    drop(working);
    advance(&table, 1);
    let _second = table.admit(owner(51), false).expect("idle ones make room");
    assert_eq!(open(&all), 6);
}

#[test]
fn requests_that_wait_for_their_peers_make_room() {
    let (table, budget) = table(|limits| limits.connections = 1000);
    let capacity = budget.capacity_bytes(MemoryShare::Requests);
    let hostile: Vec<_> = (0..4).map(|_| table.admit(owner(9), true).unwrap()).collect();
    let mut answers = Vec::new();
    for _ in 0..100 {
        for admitted in &hostile {
            admitted.speaks_http2();
            answers.extend(admitted.reporter().begin(1000, None).and_then(HandlerWork::answered));
        }
        assert!(budget.used_bytes(MemoryShare::Requests) <= capacity);
    }
    let honest = table.admit(owner(1), true).unwrap();
    for _ in 0..100 {
        honest.speaks_http2();
        drop(honest.reporter().begin(1000, None).expect("room is made").answered());
    }
    assert!(is_open(&honest));
    drop((answers, hostile, honest));
    assert_eq!((budget.used_bytes(MemoryShare::Requests), budget.used_bytes(MemoryShare::Connections)), (0, 0));
}

#[test]
fn a_long_header_counts_until_its_request_begins() {
    let (table, budget) = table(|_| ());
    let admitted = table.admit(owner(1), false).unwrap();
    let reporter = admitted.reporter();
    assert!(reporter.read(8 << 10));
    assert_eq!(budget.used_bytes(MemoryShare::Connections), CONNECTION_BYTES);
    assert!(reporter.read(1) && reporter.read(4000));
    assert_eq!(budget.used_bytes(MemoryShare::Connections), CONNECTION_BYTES + LONG_HEADER_BYTES);
    let working = reporter.begin(12_000, None).unwrap();
    assert!(reporter.read(1 << 20), "what comes now is a body");
    assert_eq!(budget.used_bytes(MemoryShare::Connections), CONNECTION_BYTES);
    assert_eq!(budget.used_bytes(MemoryShare::Requests), 12_000 + REQUEST_BYTES);
    let answering = working.answered();
    assert_eq!(budget.used_bytes(MemoryShare::Requests), 12_000 + REQUEST_BYTES, "until the answer is sent");
    drop(answering);
    assert_eq!(budget.used_bytes(MemoryShare::Requests), 0);
}

#[test]
fn a_large_buffer_counts_until_its_connection_ends_and_half_of_the_share_is_for_others() {
    let (table, budget) = table(|_| ());
    let capacity = budget.capacity_bytes(MemoryShare::Connections);
    let all: Vec<_> = (0..20).map(|client| table.admit(owner(client), false).unwrap()).collect();
    let large = all.iter().filter(|admitted| admitted.reporter().may_read_much()).count();
    let used = budget.used_bytes(MemoryShare::Connections);
    assert!(large > 0 && large < 20, "{large}");
    assert_eq!(used, 20 * CONNECTION_BYTES + large * LARGE_BUFFER_BYTES);
    assert!(used <= capacity / 2);
    drop(all[0].reporter().begin(100, None).unwrap().answered());
    assert!(all[0].reporter().may_read_much());
    assert_eq!(budget.used_bytes(MemoryShare::Connections), used, "once, and also while it is idle");
    drop(all);
    assert_eq!(budget.used_bytes(MemoryShare::Connections), 0);
}

#[test]
fn answers_that_are_not_read_count_until_they_are() {
    let (table, budget) = table(|_| ());
    let admitted = table.admit(owner(1), false).unwrap();
    let (reporter, capacity) = (admitted.reporter(), budget.capacity_bytes(MemoryShare::Connections));
    for _ in 0..3 {
        assert!(reporter.blocked() && reporter.blocked());
        assert_eq!(budget.used_bytes(MemoryShare::Connections), CONNECTION_BYTES + UNWRITTEN_BYTES);
        reporter.flushed();
        assert_eq!(budget.used_bytes(MemoryShare::Connections), CONNECTION_BYTES);
    }
    let many: Vec<_> = (0..50).map(|_| table.admit(owner(2), false).unwrap()).collect();
    for unread in &many {
        unread.reporter().blocked();
        assert!(budget.used_bytes(MemoryShare::Connections) <= capacity);
    }
    assert!(open(&many) < 50 && is_open(&admitted), "they make room for each other");
    drop((admitted, many));
    assert_eq!(budget.used_bytes(MemoryShare::Connections), 0);
}

#[test]
fn what_is_remembered_of_headers_counts_until_it_is_given_up() {
    let (table, budget) = table(|_| ());
    let admitted = table.admit(owner(1), false).unwrap();
    let reporter = admitted.reporter();
    for bytes in [64 << 10, 192 << 10, 32 << 10, 0] {
        assert!(reporter.remembers(bytes));
        assert_eq!(budget.used_bytes(MemoryShare::Connections), CONNECTION_BYTES + bytes);
    }
    assert!(reporter.remembers(64 << 10));
    let other = table.admit(owner(2), false).unwrap();
    assert!(!reporter.remembers(8 << 20), "more than the share: who holds most makes room");
    assert!(!is_open(&admitted));
    assert_eq!(budget.used_bytes(MemoryShare::Connections), if is_open(&other) { CONNECTION_BYTES } else { 0 });
    drop((admitted, other));
    assert_eq!(budget.used_bytes(MemoryShare::Connections), 0);
}

#[test]
fn a_handshake_has_a_deadline_of_its_own() {
    let (table, _) = table(|limits| {
        (limits.handshake_timeout, limits.header_timeout) = (Duration::from_millis(40), Duration::from_millis(1));
    });
    let (half, done) = (table.admit(owner(1), true).unwrap(), table.admit(owner(2), true).unwrap());
    done.established();
    std::thread::sleep(Duration::from_millis(10));
    table.sweep();
    assert!(is_open(&half) && !half.is_late(), "no request is due before it");
    assert!(!is_open(&done) && !done.is_late(), "the deadline of its first request has passed");
    std::thread::sleep(Duration::from_millis(50));
    table.sweep();
    assert!(!is_open(&half) && half.is_late());
}

#[test]
fn deadlines() {
    let check =
        |what: &str, go: &dyn Fn(&ConnectionTable, &AdmittedConnection), after_ms: u64, expected: Option<Ending>| {
            let (table, _) = table(|_| ());
            let admitted = table.admit(owner(1), false).unwrap();
            admitted.established();
            go(&table, &admitted);
            let now_ms = table.now_ms() + after_ms;
            let overdue = admitted.record.overdue(now_ms, &table.limits).map(|(ending, _)| ending);
            assert_eq!(overdue, expected, "{what}, {after_ms} ms later");
        };
    check("silent", &|_, _| (), 10_000, None);
    check("silent", &|_, _| (), 10_001, Some(Ending::Now));
    let half = |table: &ConnectionTable, admitted: &AdmittedConnection| {
        drop(admitted.reporter().begin(0, None).unwrap().answered());
        advance(table, 9_000);
        admitted.reporter().read(1);
        advance(table, 9_000);
        admitted.reporter().read(1);
    };
    check("half a header", &half, 1_000, None);
    check("half a header", &half, 1_001, Some(Ending::Now));
    let idle = |_: &ConnectionTable, admitted: &AdmittedConnection| {
        drop(admitted.reporter().begin(0, None).unwrap().answered())
    };
    check("idle", &idle, 30_000, None);
    check("idle", &idle, 30_001, Some(Ending::Graceful));
    let working = |_: &ConnectionTable, admitted: &AdmittedConnection| {
        std::mem::forget(admitted.reporter().begin(0, None).unwrap())
    };
    check("worked for", &working, 1_000_000, None);
    let blocked = |table: &ConnectionTable, admitted: &AdmittedConnection| {
        working(table, admitted);
        admitted.reporter().blocked();
        advance(table, 5_000);
        admitted.reporter().blocked();
    };
    check("not reading", &blocked, 5_000, None);
    check("not reading", &blocked, 5_001, Some(Ending::Now));
    let trickling = |table: &ConnectionTable, admitted: &AdmittedConnection| {
        blocked(table, admitted);
        admitted.reporter().wrote(5000);
    };
    check("reading next to nothing", &trickling, 5_001, Some(Ending::Now));
    let slow = |table: &ConnectionTable, admitted: &AdmittedConnection| {
        blocked(table, admitted);
        admitted.reporter().wrote(6000);
    };
    check("reading slowly", &slow, 5_001, None);
    let flushed = |table: &ConnectionTable, admitted: &AdmittedConnection| {
        blocked(table, admitted);
        admitted.reporter().flushed();
    };
    check("read at last", &flushed, 1_000_000, None);
    let unread = |_: &ConnectionTable, admitted: &AdmittedConnection| {
        admitted.speaks_http2();
        std::mem::forget(admitted.reporter().begin(0, None).unwrap().answered());
    };
    check("a closed window", &unread, 10_000, None);
    check("a closed window", &unread, 10_001, Some(Ending::Now));
}

/// Accepting a connection costs as much where its client has 20,000 connections as where it has 20.
#[test]
fn a_client_s_many_connections_do_not_make_the_next_one_slow() {
    let time = |per_client: usize| {
        let (table, _) = table(|limits| {
            limits.connections = 30_000;
            limits.connections_per_peer = per_client;
            limits.budget = MemoryBudget::unlimited();
        });
        let all: Vec<_> = (0..per_client).map(|_| table.admit(owner(9), false).unwrap()).collect();
        let others: Vec<_> =
            (0..20_000 - per_client).map(|_| table.admit(Owner { proxy: true, ..owner(8) }, false).unwrap()).collect();
        let mut more = Vec::new();
        let times = (0..5).map(|_| {
            let began = Instant::now();
            more.extend((0..500).map(|_| table.admit(owner(9), false).unwrap()));
            assert_eq!(table.open.lock().count(owner(9).client), per_client);
            began.elapsed()
        });
        let least = times.min().unwrap();
        assert!(!is_open(&all[0]) && open(&others) == others.len());
        least
    };
    let (few, many) = (time(20), time(19_999));
    assert!(many < few * 20, "{many:?} where it has 19,999, {few:?} where it has 20");
}

#[test]
fn of_one_client_the_quiet_make_room_before_those_that_are_worked_for() {
    let (table, _) = table(|limits| {
        limits.connections = 10_000;
        limits.connections_per_peer = 1_000;
        limits.budget = MemoryBudget::unlimited();
    });
    let working: Vec<_> = (0..100).map(|_| table.admit(owner(9), false).unwrap()).collect();
    let requests: Vec<_> = working.iter().map(|admitted| admitted.reporter().begin(0, None).unwrap()).collect();
    let silent: Vec<_> = (0..3_000).map(|_| table.admit(owner(9), false).unwrap()).collect();
    assert_eq!((open(&working), open(&silent)), (100, 900));
    drop(requests);
}
