//! Families: runs of series of one metric name.

/// The name of the series before. For the series of one request: where a name stood in another, any name may stand.
#[derive(Debug)]
pub(crate) struct LastName {
    name: String,
    /// Where this name stands, its address and its length: the series of an upload's family share one text, those of a remote write have a copy each.
    at: (usize, usize),
}

/// As long as names mostly are.
const USUAL_BYTES: usize = 128;

impl LastName {
    /// None yet, which is an empty name.
    pub(crate) fn new() -> Self {
        Self { name: String::with_capacity(USUAL_BYTES), at: (0, 0) }
    }

    /// Takes the next series' name. Whether another family begins.
    #[inline]
    pub(crate) fn begins(&mut self, name: &str) -> bool {
        let at = (name.as_ptr().addr(), name.len());
        if std::mem::replace(&mut self.at, at) == at || self.name == name {
            return false;
        }
        self.name.clear();
        self.name.push_str(name);
        true
    }
}
