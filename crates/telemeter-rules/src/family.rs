//! Detects where a family begins in a list of series: a family is a run of series with one metric name.

/// The metric name of the previous series.
///
/// The names of an upload's family are one and the same text in memory, so that comparing addresses and lengths is enough
/// for nearly all series; a remote write brings a copy of the name with each series, and these are compared byte by byte.
/// An address proves equality only as long as the text stays where it is: one value serves the series of one request.
#[derive(Debug)]
pub(crate) struct LastName {
    name: String,
    /// The address and the length of the previous series' name.
    location: (usize, usize),
}

/// Most names are shorter than this.
const INITIAL_CAPACITY: usize = 128;

impl LastName {
    /// The state before the first series: the empty name.
    pub(crate) fn new() -> Self {
        Self { name: String::with_capacity(INITIAL_CAPACITY), location: (0, 0) }
    }

    /// Compares `name` with the name of the previous series and remembers it. `true` where they differ: a family begins.
    #[inline]
    pub(crate) fn begins_family(&mut self, name: &str) -> bool {
        let location = (name.as_ptr().addr(), name.len());
        if std::mem::replace(&mut self.location, location) == location || self.name == name {
            return false;
        }
        self.name.clear();
        self.name.push_str(name);
        true
    }
}
