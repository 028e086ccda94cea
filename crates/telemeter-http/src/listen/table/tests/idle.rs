//! Tests of which connections release their buffers.

use super::*;
use crate::listen::table::record::IDLE_BUFFERS_MS;

/// Asks the connection to release its buffers after it has done `what`; returns whether it does.
fn releases(admitted: &AdmittedConnection, later_ms: u64) -> bool {
    admitted.record.ask_for_buffers(admitted.table.now_ms() + later_ms);
    admitted.record.take_buffer_request() && admitted.reporter().release_buffers()
}

#[test]
fn only_a_connection_that_waits_for_its_next_request_releases_its_buffers() {
    fn begin(admitted: &AdmittedConnection) -> HandlerWork {
        admitted.reporter().begin(0, None).unwrap()
    }
    type Act = fn(&AdmittedConnection);
    #[rustfmt::skip]
    let cases: [(&str, Act, bool); 10] = [
        ("before its first request",      |_| (),                                                                        true),
        ("after a request",               |admitted| { let work = begin(admitted); work.waiting().unwrap().ended(); drop(work.answered()); }, true),
        ("while a handler works",         |admitted| std::mem::forget(begin(admitted)),                                  false),
        ("while an answer is sent",       |admitted| std::mem::forget(begin(admitted).answered()),                       false),
        ("a body that was not read",      |admitted| { let work = begin(admitted); drop(work.waiting()); drop(work.answered()); }, false),
        ("half a header",                 |admitted| assert!(admitted.reporter().read(1)),                               false),
        ("an answer that is not read",    |admitted| assert!(admitted.reporter().blocked()),                             false),
        ("an answer that was read",       |admitted| { admitted.reporter().blocked(); admitted.reporter().flushed(); },  true),
        ("HTTP/2",                        |admitted| admitted.speaks_http2(),                                            false),
        ("after it was closed for others", |admitted| admitted.record.held.lock().give_back(&admitted.table.budget),     false),
    ];
    for (what, act, expected) in cases {
        let (table, _) = table(|_| ());
        let admitted = table.admit(owner(1), true).unwrap();
        assert!(!releases(&admitted, 60_000), "{what}: before its handshake is done");
        admitted.established();
        act(&admitted);
        assert!(!releases(&admitted, IDLE_BUFFERS_MS), "{what}: too early");
        assert_eq!(releases(&admitted, IDLE_BUFFERS_MS + 1), expected, "{what}");
        assert!(!releases(&admitted, 60_000), "{what}: once");
    }
}

#[test]
fn released_buffers_count_again_from_the_next_byte_on() {
    for (tls, bytes, idle_bytes) in
        [(false, CONNECTION_BYTES, IDLE_BYTES), (true, CONNECTION_BYTES + TLS_BYTES, IDLE_BYTES + IDLE_TLS_BYTES)]
    {
        let (table, budget) = table(|_| ());
        let used = || budget.used_bytes(MemoryShare::Connections);
        let admitted = table.admit(owner(1), tls).unwrap();
        admitted.established();
        for _ in 0..3 {
            assert_eq!(used(), bytes);
            assert!(admitted.reporter().may_read_much());
            assert_eq!(used(), bytes + LARGE_BUFFER_BYTES);
            assert!(releases(&admitted, IDLE_BUFFERS_MS + 1));
            assert_eq!(used(), idle_bytes, "the large buffer is released, too");
            assert!(admitted.reporter().reserve_buffers());
        }
        drop(admitted);
        assert_eq!(used(), 0);
    }
}

#[test]
fn many_are_idle_where_few_can_be_served_and_others_make_room_for_one_that_goes_on() {
    let (table, budget) = table(|_| ());
    let capacity = budget.capacity_bytes(MemoryShare::Connections);
    let fitting = capacity / CONNECTION_BYTES;
    let many = 3 * fitting / 2;
    let all: Vec<_> = (0..many)
        .map(|_| {
            let admitted = table.admit(owner(1), false).unwrap();
            admitted.established();
            assert!(releases(&admitted, IDLE_BUFFERS_MS + 1));
            admitted
        })
        .collect();
    assert_eq!(open(&all), many, "no connection was closed for another");
    advance(&table, 1);
    let goes_on = all.iter().rev().take(fitting).filter(|admitted| admitted.reporter().reserve_buffers()).count();
    assert!(goes_on > fitting * 3 / 4, "{goes_on} of {fitting}: only idle ones make room");
    assert!(open(&all) < many);
    assert!(budget.used_bytes(MemoryShare::Connections) <= capacity);
    let closed = all.iter().find(|admitted| !is_open(admitted)).unwrap();
    assert!(!closed.reporter().reserve_buffers(), "it has given back all");
    drop(all);
    assert_eq!(budget.used_bytes(MemoryShare::Connections), 0);
}
