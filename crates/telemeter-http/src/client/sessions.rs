//! TLS sessions of outbound connections, which are kept so that the next connection to the same origin resumes one.
//!
//! The server sends no certificate when a session is resumed, so a check of the certificate counts only for a limited
//! time: until the certificate expires, and at most a day. Where the roots or our own certificate change, a new store
//! is used.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::{HandshakeKind, NamedGroup};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::certificate::validity;
use crate::clock::Clock;

/// The cap on origins whose sessions are kept, since redirects may lead to many.
const MAX_ORIGINS: usize = 16;
/// The cap on TLS 1.3 sessions of one origin: each is used once, and a server may send several.
const MAX_SESSIONS: usize = 4;
/// The time after which a server's certificate is checked again.
const CHECKED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The sessions of one kind of outbound call, by origin.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    origins: Mutex<VecDeque<(String, u16, Arc<OriginSessions>)>>,
    clock: Clock,
}

/// The sessions of one origin.
#[derive(Default)]
pub(super) struct OriginSessions {
    kept: Mutex<Kept>,
    clock: Clock,
}

#[derive(Default)]
struct Kept {
    checked: Option<Checked>,
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

/// The time when the server's certificate was last checked, and the time when it expires.
struct Checked {
    at_monotonic_ms: i64,
    expires_ms: i64,
}

impl Sessions {
    /// The sessions of this origin; empty where the origin is new. The oldest origin is forgotten where there are
    /// [`MAX_ORIGINS`].
    pub(super) fn of(&self, host: &str, port: u16) -> Arc<OriginSessions> {
        let mut origins = self.origins.lock();
        if let Some((_, _, known)) = origins.iter().find(|(known, at, _)| known == host && *at == port) {
            return known.clone();
        }
        if origins.len() >= MAX_ORIGINS {
            origins.pop_front();
        }
        let sessions = Arc::new(OriginSessions { clock: self.clock.clone(), ..OriginSessions::default() });
        origins.push_back((host.to_owned(), port, sessions.clone()));
        sessions
    }
}

impl OriginSessions {
    /// Records a handshake; returns whether it resumed a session. A full handshake has checked the certificate, so its
    /// time is recorded: sessions are resumed for a while from then on.
    pub(super) fn established(&self, kind: Option<HandshakeKind>, certificate: Option<&CertificateDer<'_>>) -> bool {
        if kind == Some(HandshakeKind::Resumed) {
            return true;
        }
        let checked = certificate
            .and_then(validity)
            .map(|valid| Checked { at_monotonic_ms: self.clock.monotonic_ms(), expires_ms: valid.not_after_ms });
        self.kept.lock().checked = checked;
        false
    }

    /// Takes a kept session, after all sessions were removed if their certificate has to be checked again.
    fn take_valid<T>(&self, take: impl FnOnce(&mut Kept) -> Option<T>) -> Option<T> {
        let mut kept = self.kept.lock();
        let is_good = kept.checked.as_ref().is_some_and(|checked| {
            let for_ms = self.clock.monotonic_ms() - checked.at_monotonic_ms;
            self.clock.now_ms() < checked.expires_ms && for_ms < CHECKED_FOR.as_millis() as i64
        });
        if !is_good {
            (kept.tls12, kept.tls13) = (None, VecDeque::new());
        }
        take(&mut kept)
    }
}

impl ClientSessionStore for OriginSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.kept.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept.lock().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.take_valid(|kept| kept.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut kept = self.kept.lock();
        if kept.tls13.len() >= MAX_SESSIONS {
            kept.tls13.pop_front();
        }
        kept.tls13.push_back(session);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.take_valid(|kept| kept.tls13.pop_back())
    }
}

impl fmt::Debug for OriginSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginSessions")
    }
}

#[cfg(test)]
mod tests;
