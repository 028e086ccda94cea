//! Tests that connections and requests from a trusted load balancer count for the clients behind it.

use super::*;

fn client(last: u8) -> ClientNetwork {
    owner(last).client
}

fn balancer() -> Owner {
    Owner { proxy: true, ..owner(200) }
}

/// A connection of the load balancer and the open requests on it, with the last byte of each client's address; each
/// handler waits for its body.
struct Carrying {
    admitted: AdmittedConnection,
    requests: Vec<(u8, HandlerWork, BodyWait)>,
}

impl Carrying {
    fn new(table: &Arc<ConnectionTable>, clients: impl IntoIterator<Item = u8>) -> Self {
        let admitted = table.admit(balancer(), false).expect("room");
        admitted.speaks_http2();
        let requests = clients.into_iter().map(|last| {
            let working = admitted.reporter().begin(100, Some(client(last))).expect("room");
            let mut waiting = working.waiting().unwrap();
            waiting.set(true);
            (last, working, waiting)
        });
        let requests = requests.collect();
        Self { admitted, requests }
    }

    fn is_open(&self) -> bool {
        is_open(&self.admitted)
    }

    /// The number of requests of a client that were not ended.
    fn going_on(&self, of: u8) -> usize {
        self.requests.iter().filter(|(last, working, _)| *last == of && !working.is_ended()).count()
    }
}

/// The name of the case, the clients of the requests on each connection, and whether each connection stays open.
type Case<'c> = (&'c str, &'c [&'c [u8]], &'c [bool]);

/// Checks which of the load balancer's connections are closed where a client with one connection opens another.
#[test]
fn whose_connections_make_room() {
    #[rustfmt::skip]
    let cases: [Case<'_>; 7] = [
        ("idle ones stay where a client holds more",   &[&[], &[9], &[9], &[]],        &[true, false, true, true]),
        ("the client with most makes room",            &[&[1], &[9], &[9], &[9], &[9]], &[true, false, true, true, true]),
        ("one that carries several stays",             &[&[9, 1], &[9], &[9]],          &[true, false, true]),
        ("also where all its clients hold much",       &[&[9, 8], &[9, 8], &[9], &[9]], &[true, true, false, true]),
        ("several requests of one client are one's",   &[&[9, 9, 9], &[9], &[1]],       &[false, true, true]),
        ("an older one that carries several stays",     &[&[9, 1], &[]],                    &[true, false]),
        ("an idle one goes where there is no other",   &[&[], &[9, 1], &[9, 1]],        &[false, true, true]),
    ];
    for (name, carried, expected) in cases {
        let (table, _) = table(|limits| limits.connections = carried.len());
        let all: Vec<_> = carried.iter().map(|clients| Carrying::new(&table, clients.iter().copied())).collect();
        advance(&table, 1);
        assert!(table.admit(owner(50), false).is_some(), "{name}");
        assert_eq!(all.iter().map(Carrying::is_open).collect::<Vec<_>>(), expected, "{name}");
    }
    let (table, _) = table(|limits| limits.connections = 2);
    let all = [Carrying::new(&table, [9, 1]), Carrying::new(&table, [9, 1])];
    advance(&table, 1);
    assert!(table.admit(owner(50), false).is_none(), "where all carry several there is no room");
    assert!(all.iter().all(Carrying::is_open));
}

#[test]
fn strangers_without_a_balancer_make_room_before_its_idle_connections() {
    let (table, _) = table(|limits| limits.connections = 64);
    let idle: Vec<_> = (0..40).map(|_| Carrying::new(&table, [])).collect();
    let strangers: Vec<_> = (0..24).map(|_| table.admit(owner(9), false).unwrap()).collect();
    advance(&table, 1);
    let more: Vec<_> = (0..20).map(|_| table.admit(balancer(), false).expect("room")).collect();
    assert!(idle.iter().all(Carrying::is_open) && open(&more) == 20);
    assert!(open(&strangers) <= 4);
}

#[test]
fn a_request_makes_room_and_not_the_connection_that_it_shares() {
    let (table, budget) = table(|_| ());
    let fitting = budget.capacity_bytes(MemoryShare::Requests) / (100 + REQUEST_BYTES);
    let clients = (0..fitting).map(|at| if at % 10 == 0 { 1 } else { 9 });
    let shared = Carrying::new(&table, clients);
    let (of_one, of_other) = (shared.going_on(1), shared.going_on(9));
    assert!(of_one > 5 && of_other > 50, "{of_one} {of_other}");
    advance(&table, 1);
    let other = Carrying::new(&table, [2]);
    assert!(shared.is_open() && other.going_on(2) == 1);
    assert_eq!(shared.going_on(1), of_one, "they are nobody's trouble");
    let ended = of_other - shared.going_on(9);
    assert!((1..of_other).contains(&ended), "{ended}");
    assert_eq!(budget.used_bytes(MemoryShare::Requests), (fitting - ended + 1) * (100 + REQUEST_BYTES));
    drop((shared, other));
    assert_eq!(
        (budget.used_bytes(MemoryShare::Requests), budget.used_bytes(MemoryShare::Connections)),
        (0, 0),
        "given back once"
    );
}

#[test]
fn behind_a_balancer_that_names_nobody_the_quietest_make_room() {
    let (table, budget) = table(|_| ());
    let header_bytes = 50_000;
    let fitting = budget.capacity_bytes(MemoryShare::Requests) / (header_bytes + REQUEST_BYTES);
    let all: Vec<_> = (0..fitting).map(|_| table.admit(balancer(), false).unwrap()).collect();
    let working: Vec<_> = all.iter().map(|admitted| admitted.reporter().begin(header_bytes, None).unwrap()).collect();
    let mut waiting: Vec<_> = working.iter().map(|working| working.waiting().unwrap()).collect();
    waiting.iter_mut().for_each(|waiting| waiting.set(true));
    advance(&table, 1);
    let last = table.admit(balancer(), false).unwrap();
    assert!(last.reporter().begin(header_bytes, None).is_some());
    assert!(open(&all) < fitting);
}

#[tokio::test]
async fn the_handler_of_a_request_is_notified_that_it_is_to_end() {
    let (table, budget) = table(|_| ());
    let shared = Carrying::new(&table, [9]);
    let (_, working, _) = &shared.requests[0];
    let bytes = budget.capacity_bytes(MemoryShare::Requests);
    let admitted = table.admit(owner(1), false).unwrap();
    advance(&table, 1);
    let mut ended = std::pin::pin!(working.ended());
    assert!(tokio::time::timeout(Duration::from_millis(10), ended.as_mut()).await.is_err(), "nothing happened yet");
    assert!(admitted.reporter().begin(bytes - REQUEST_BYTES, None).is_some());
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it hears");
    assert!(shared.is_open());
}
