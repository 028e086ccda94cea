//! Limits how many lines about refused requests are logged: a flood of them must not fill a disk.

use parking_lot::Mutex;
use telemeter_fleet::Reason;

const REASONS: usize = Reason::ALL.len();

/// Allows a number of lines a second for each reason, and counts the lines that were left out.
#[derive(Debug)]
pub struct RefusalLog {
    /// Lines a second for each reason; 0: no limit.
    per_second: u32,
    windows: [Mutex<Window>; REASONS],
}

/// The lines of one reason in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: i64,
    lines: u32,
    left_out: u64,
}

impl RefusalLog {
    /// Allows so many lines a second for each reason; 0: no limit.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, windows: Default::default() }
    }

    /// Whether a line of this reason may be written now; and how many were left out in an earlier second, where that was not
    /// returned before.
    #[must_use]
    pub fn allow(&self, reason: Reason, now_ms: i64) -> (bool, u64) {
        if self.per_second == 0 {
            return (true, 0);
        }
        let second = now_ms.div_euclid(1000);
        let mut window = self.windows[reason as usize].lock();
        let left_out = window.advance(second);
        let is_allowed = window.lines < self.per_second;
        if is_allowed {
            window.lines += 1;
        } else {
            window.left_out += 1;
        }
        (is_allowed, left_out)
    }

    /// How many lines were left out in seconds that are over, where that was not returned before.
    pub fn left_out(&self, now_ms: i64) -> impl Iterator<Item = (Reason, u64)> {
        let second = now_ms.div_euclid(1000);
        Reason::ALL.into_iter().filter_map(move |reason| {
            let left_out = self.windows[reason as usize].lock().advance(second);
            (left_out > 0).then_some((reason, left_out))
        })
    }
}

impl Window {
    /// Begins another second, and returns how many lines were left out before.
    fn advance(&mut self, second: i64) -> u64 {
        if self.second == second {
            return 0;
        }
        std::mem::replace(self, Self { second, ..Self::default() }).left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_for_each_reason() {
        let log = RefusalLog::new(3);
        let lines = |now_ms| (0..10).filter(|_| log.allow(Reason::Token, now_ms).0).count();
        assert_eq!((lines(1000), lines(1500)), (3, 0));
        assert_eq!(log.allow(Reason::Body, 1500), (true, 0), "another reason has its own");
        assert_eq!(log.allow(Reason::Token, 2000), (true, 17), "what was left out is returned once");
        assert_eq!(log.allow(Reason::Token, 2001), (true, 0));
        assert_eq!((lines(2002), lines(500)), (1, 3), "a clock that was set back begins another second");
    }

    #[test]
    fn what_is_left_out_is_returned_once_the_second_is_over() {
        let log = RefusalLog::new(1);
        for _ in 0..5 {
            let _ = log.allow(Reason::Limit, 1000);
        }
        assert_eq!(log.left_out(1999).count(), 0);
        assert_eq!(log.left_out(2000).collect::<Vec<_>>(), [(Reason::Limit, 4)]);
        assert_eq!(log.left_out(3000).count(), 0);
        let all = RefusalLog::new(0);
        assert!((0..1000).all(|_| all.allow(Reason::Limit, 0) == (true, 0)));
    }
}
