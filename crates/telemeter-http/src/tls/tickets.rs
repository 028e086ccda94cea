//! Session tickets: with a ticket, a client resumes its TLS session instead of a full handshake, on any replica.
//!
//! A ticket is the encrypted state of a session. For TLS 1.3, the key is derived from a secret that the replicas share,
//! from the certificates, and from the time: anyone with the secret can decrypt the ticket, now and later. This does
//! not reveal the traffic, since each TLS 1.3 session, a resumed one too, agrees on a new secret (`psk_dhe_ke`). In TLS
//! 1.2 it would: the ticket contains the keys of the session that it came from. So a ticket of TLS 1.2 is encrypted
//! with a random key that only this process has, and that it discards after a while.
//!
//! Each ticket has a key of its own: with one key for all, 2^32 tickets, an hour of 100 million clusters, would be too
//! many for random nonces. Source: RFC 8446, 2.2, 4.6.1 and 8; RFC 5869; RFC 5077, 5.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// The lifetime of a ticket, which is also the length of one epoch.
const LIFETIME_S: u32 = 12 * 60 * 60;
/// The largest difference between the clocks of two replicas.
const CLOCKS_APART_S: u64 = 5 * 60;

const KIND_TLS13: u8 = 3;
const KIND_TLS12: u8 = 2;
const TLS13: [u8; 2] = [3, 4];
const HEADER_BYTES: usize = 1 + 4 + 2 * NONCE_LEN;
const TIME_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
/// The cap on the length of a ticket. No session without a client certificate needs more: a name of 255 bytes, a secret
/// of 48, and some numbers.
const MAX_BYTES: usize = 1024;

/// Encrypts and decrypts the tickets of one listener.
pub(super) struct SessionTickets {
    sources: Mutex<KeySources>,
    keys: ArcSwap<TicketKeys>,
    clock: Clock,
}

/// The inputs that the keys are derived from.
struct KeySources {
    secret: Zeroizing<[u8; 32]>,
    certificates: [u8; 32],
}

struct TicketKeys {
    tls13: Prk,
    /// `None` where the system had no random bytes for it.
    tls12: Option<Arc<dyn ProducesTickets>>,
}

impl SessionTickets {
    /// Starts with a random secret that no other process has; `None` where the system has no random bytes.
    pub(super) fn new(certificates: &[u8; 32], clock: Clock) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).ok()?;
        let sources = KeySources { secret, certificates: *certificates };
        Some(Self { keys: ArcSwap::from_pointee(sources.keys()), sources: Mutex::new(sources), clock })
    }

    /// Sets the secret. The keys stay where it is the same as before.
    pub(super) fn set_secret(&self, secret: Zeroizing<[u8; 32]>) {
        self.change(|sources| std::mem::replace(&mut *sources.secret, *secret) != *secret);
    }

    /// Sets the fingerprint of the certificates. The keys stay where it is the same as before.
    pub(super) fn set_fingerprint(&self, certificates: &[u8; 32]) {
        self.change(|sources| std::mem::replace(&mut sources.certificates, *certificates) != *certificates);
    }

    fn change(&self, is_changed: impl FnOnce(&mut KeySources) -> bool) {
        let mut sources = self.sources.lock();
        if is_changed(&mut sources) {
            self.keys.store(Arc::new(sources.keys()));
        }
    }

    fn now_s(&self) -> u64 {
        u64::try_from(self.clock.now_ms() / 1000).unwrap_or(0)
    }
}

impl KeySources {
    fn keys(&self) -> TicketKeys {
        let tls13 = Salt::new(HKDF_SHA256, &self.certificates).extract(&*self.secret);
        TicketKeys { tls13, tls12: Ticketer::new().ok() }
    }
}

impl TicketKeys {
    /// Encrypts the state of a session of TLS 1.3 into a ticket, with the time `now_s` in it. `None` where the system
    /// has no random bytes.
    fn seal(&self, state: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let mut ticket = vec![0; HEADER_BYTES];
        ticket.reserve_exact(TIME_BYTES + state.len() + TAG_BYTES);
        ticket[0] = KIND_TLS13;
        ticket[1..5].copy_from_slice(&epoch(now_s)?.to_be_bytes());
        rand::fill(&mut ticket[5..]).ok()?;
        ticket.extend_from_slice(&now_s.to_be_bytes());
        ticket.extend_from_slice(state);
        let (header, sealed) = ticket.split_at_mut(HEADER_BYTES);
        let (key, nonce) = self.key(header)?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Decrypts a ticket of TLS 1.3. `None` for one that is too long, was changed, was encrypted with another key, is
    /// older than [`LIFETIME_S`], or has a time more than [`CLOCKS_APART_S`] ahead of `now_s`.
    fn open(&self, ticket: &[u8], now_s: u64) -> Option<Vec<u8>> {
        if ticket.len() > MAX_BYTES {
            return None;
        }
        let (header, sealed) = ticket.split_at_checked(HEADER_BYTES)?;
        let sealed_in = u32::from_be_bytes(header[1..5].try_into().ok()?);
        // The epoch is checked first: this costs little, and a caller may send many tickets at once.
        if sealed_in.abs_diff(epoch(now_s)?) > 1 {
            return None;
        }
        let (key, nonce) = self.key(header)?;
        let mut sealed = sealed.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(header), &mut sealed).ok()?;
        let (sealed_at, state) = opened.split_at_checked(TIME_BYTES)?;
        let sealed_at = u64::from_be_bytes(sealed_at.try_into().ok()?);
        let is_good = sealed_at <= now_s + CLOCKS_APART_S && now_s <= sealed_at.saturating_add(LIFETIME_S.into());
        is_good.then(|| state.to_vec())
    }

    fn key(&self, header: &[u8]) -> Option<(LessSafeKey, Nonce)> {
        let (named, nonce) = header.split_at_checked(HEADER_BYTES - NONCE_LEN)?;
        let info = [b"telemeter session ticket ".as_slice(), named];
        let key = UnboundKey::from(self.tls13.expand(&info, &AES_256_GCM).ok()?);
        Some((LessSafeKey::new(key), Nonce::try_assume_unique_for_key(nonce).ok()?))
    }
}

fn epoch(now_s: u64) -> Option<u32> {
    u32::try_from(now_s / u64::from(LIFETIME_S)).ok()
}

/// Whether the state of a session, as the library writes it, is for TLS 1.3. It begins with the name of the host, where
/// the client named one (1, length, name; else 0), followed by the version.
fn is_tls13(state: &[u8]) -> bool {
    let version = match state {
        [0, rest @ ..] => Some(rest),
        [1, length, rest @ ..] => rest.get(usize::from(*length)..),
        _ => None,
    };
    version.is_some_and(|version| version.starts_with(&TLS13))
}

impl ProducesTickets for SessionTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        if is_tls13(state) {
            return keys.seal(state, self.now_s());
        }
        let mut ticket = keys.tls12.as_ref()?.encrypt(state)?;
        ticket.insert(0, KIND_TLS12);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        match ticket.split_first()? {
            (&KIND_TLS13, _) => keys.open(ticket, self.now_s()).filter(|state| is_tls13(state)),
            (&KIND_TLS12, ticket) => keys.tls12.as_ref()?.decrypt(ticket).filter(|state| !is_tls13(state)),
            _ => None,
        }
    }
}

impl fmt::Debug for SessionTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionTickets")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ClockHandle;

    const NOW_MS: i64 = 1_767_225_600_000;

    fn tickets(secret: u8, certificates: u8) -> (SessionTickets, ClockHandle) {
        let (clock, handle) = Clock::fixed(NOW_MS);
        let tickets = SessionTickets::new(&[certificates; 32], clock).unwrap();
        tickets.set_secret(Zeroizing::new([secret; 32]));
        (tickets, handle)
    }

    /// A session state as the library writes it, for the host `a.b` and this version.
    fn state(version: u8) -> Vec<u8> {
        [&[1, 3][..], b"a.b", &[3, version], &[7; 80]].concat()
    }

    #[test]
    fn replicas_open_what_the_others_sealed_where_secret_and_certificates_are_the_same() {
        let (one, _clock) = tickets(1, 1);
        let ticket = one.encrypt(&state(4)).unwrap();
        assert!(!ticket.windows(3).any(|part| part == b"a.b"), "it is sealed");
        assert_ne!(
            one.encrypt(&state(4)).unwrap()[HEADER_BYTES..],
            ticket[HEADER_BYTES..],
            "each with a key of its own"
        );
        for (secret, certificates, opens) in [(1, 1, true), (2, 1, false), (1, 2, false)] {
            let (other, _clock) = tickets(secret, certificates);
            assert_eq!(other.decrypt(&ticket).is_some(), opens, "{secret} {certificates}");
        }
        let (unshared, _) = (SessionTickets::new(&[1; 32], one.clock.clone()).unwrap(), ());
        assert_eq!(unshared.decrypt(&ticket), None, "a secret of its own");
    }

    #[test]
    fn a_ticket_of_tls_1_2_is_opened_by_the_process_that_sealed_it_alone() {
        let ((one, _), (other, _)) = (tickets(1, 1), tickets(1, 1));
        for state in [state(3), [&[0][..], &[3, 3], &[7; 80]].concat(), vec![9; 80]] {
            let ticket = one.encrypt(&state).unwrap();
            assert_eq!(one.decrypt(&ticket), Some(state));
            // The library refuses a ticket that is longer than those that it encrypted itself.
            drop(other.encrypt(&ticket));
            assert_eq!(other.decrypt(&ticket), None);
        }
    }

    #[test]
    fn a_ticket_has_its_time() {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        for (sealed_after, opened_after, opens) in [
            (hours(0), hours(0), true),
            (hours(1), hours(12), true),
            (hours(11), hours(23), true),
            (hours(0), hours(12) + Duration::from_secs(1), false),
            (hours(0), hours(25), false),
            (hours(0), hours(1000), false),
            // The other replica's clock is ahead.
            (Duration::from_secs(300), hours(0), true),
            (Duration::from_secs(301), hours(0), false),
            (hours(12), hours(0), false),
            (hours(30), hours(0), false),
        ] {
            let ((one, ahead), (other, clock)) = (tickets(1, 1), tickets(1, 1));
            ahead.advance(sealed_after);
            clock.advance(opened_after);
            let ticket = one.encrypt(&state(4)).unwrap();
            assert_eq!(other.decrypt(&ticket).is_some(), opens, "{sealed_after:?} {opened_after:?}");
        }
    }

    #[test]
    fn another_secret_or_certificate_ends_all_sessions_and_the_same_none() {
        for version in [3, 4] {
            let (tickets, _clock) = tickets(1, 1);
            let ticket = tickets.encrypt(&state(version)).unwrap();
            tickets.set_secret(Zeroizing::new([1; 32]));
            tickets.set_fingerprint(&[1; 32]);
            assert!(tickets.decrypt(&ticket).is_some(), "{version}");
            tickets.set_fingerprint(&[2; 32]);
            assert_eq!(tickets.decrypt(&ticket), None, "{version}");
            let ticket = tickets.encrypt(&state(version)).unwrap();
            tickets.set_secret(Zeroizing::new([2; 32]));
            assert_eq!(tickets.decrypt(&ticket), None, "{version}");
        }
    }

    #[test]
    fn what_is_no_ticket_of_ours_opens_nothing() {
        let (tickets, _clock) = tickets(1, 1);
        let ticket = tickets.encrypt(&state(4)).unwrap();
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..length]), None, "{length}");
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "{at}");
        }
        assert_eq!(tickets.decrypt(&[ticket, vec![0; 2000]].concat()), None);
        for kind in 0..=u8::MAX {
            assert_eq!(tickets.decrypt(&[kind; 200]), None, "{kind}");
        }
    }
}
