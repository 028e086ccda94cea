//! TLS connections whose bytes a test passes on in memory.

use std::ops::DerefMut;

use rustls::{ConnectionCommon, SideData};

/// Passes all bytes that `from` has to write to `to`, which processes them.
pub(crate) fn pass<F: SideData, T: SideData>(
    from: &mut impl DerefMut<Target = ConnectionCommon<F>>,
    to: &mut impl DerefMut<Target = ConnectionCommon<T>>,
) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory takes all bytes");
    }
    let mut unread = &bytes[..];
    while !unread.is_empty() {
        to.read_tls(&mut unread).expect("memory gives all bytes");
        to.process_new_packets().expect("bytes of TLS");
    }
}
