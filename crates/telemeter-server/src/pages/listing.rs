//! What a list shows: the search, the order and the page that stand in an address, and links to others.

use std::ops::Range;

use telemeter_fleet::recent_store::Order;
use url::form_urlencoded::{Serializer, parse};

/// Rows on a page.
pub(super) const ROWS: usize = 100;

/// A longer search is cut.
const SEARCH_BYTES: usize = 1024;

/// The query of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) path: String,
    pub(super) search: String,
    pub(super) sort: String,
    pub(super) order: Order,
    /// Counted from 1.
    pub(super) page: usize,
}

impl Listing {
    /// Reads `?q=&sort=&dir=&page=`; what it does not understand is as if it was not there.
    pub(super) fn of(path: &str, query: Option<&str>) -> Self {
        let mut listing = Self { path: path.to_owned(), page: 1, ..Self::default() };
        for (key, value) in parse(query.unwrap_or("").as_bytes()) {
            match &*key {
                "q" => value[..value.floor_char_boundary(SEARCH_BYTES)].trim().clone_into(&mut listing.search),
                "sort" if value.len() <= 16 => listing.sort = value.into_owned(),
                "dir" => listing.order = if value == "desc" { Order::Descending } else { Order::Ascending },
                "page" => listing.page = value.parse().unwrap_or(1).clamp(1, 1_000_000),
                _ => {}
            }
        }
        listing
    }

    /// The rows of this page.
    pub(super) const fn rows(&self) -> Range<usize> {
        (self.page - 1) * ROWS..self.page * ROWS
    }

    pub(super) fn is_descending(&self) -> bool {
        self.order == Order::Descending
    }

    /// Which columns can be sorted by, each with its link.
    pub(super) fn columns<const N: usize>(&self, columns: [Column; N]) -> [Heading; N] {
        let sorted = columns.iter().find(|column| column.sort == self.sort).unwrap_or(&columns[0]).sort;
        columns.map(|column| {
            let is_sorted = column.sort == sorted;
            // A first click shows the largest of what is a number, and A of what is a name; a second turns it around.
            let next = match (is_sorted, self.order) {
                (true, Order::Ascending) => Order::Descending,
                (true, Order::Descending) => Order::Ascending,
                (false, _) => column.first,
            };
            let direction = match (is_sorted, self.order) {
                (false, _) => "",
                (true, Order::Ascending) => "ascending",
                (true, Order::Descending) => "descending",
            };
            let link = Self { sort: column.sort.to_owned(), order: next, page: 1, ..self.clone() }.link();
            Heading { text: column.text, hint: column.hint, direction, link }
        })
    }

    /// Where this list is.
    fn link(&self) -> String {
        let mut query = Serializer::new(String::new());
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if !self.sort.is_empty() {
            query.append_pair("sort", &self.sort);
        }
        if self.is_descending() {
            query.append_pair("dir", "desc");
        }
        if self.page > 1 {
            query.append_pair("page", &self.page.to_string());
        }
        let query = query.finish();
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }

    /// Where one stands among `matched` rows, and how to go on; `None` where one page holds all.
    pub(super) fn pager(&self, matched: usize) -> Option<Pager> {
        let pages = matched.div_ceil(ROWS);
        let to = |page| Self { page, ..self.clone() }.link();
        (pages > 1 || self.page > 1).then(|| Pager {
            page: self.page,
            pages,
            first: (self.rows().start + 1).min(matched),
            last: self.rows().end.min(matched),
            matched,
            previous: (self.page > 1).then(|| to((self.page - 1).min(pages.max(1)))),
            next: (self.page < pages).then(|| to(self.page + 1)),
        })
    }
}

/// A column that can be sorted by.
pub(super) struct Column {
    pub(super) sort: &'static str,
    pub(super) text: &'static str,
    pub(super) hint: &'static str,
    pub(super) first: Order,
}

/// The head of such a column.
pub(super) struct Heading {
    pub(super) text: &'static str,
    pub(super) hint: &'static str,
    /// For `aria-sort`; empty where another column is sorted by.
    pub(super) direction: &'static str,
    pub(super) link: String,
}

/// Links to the pages around this one.
pub(super) struct Pager {
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) matched: usize,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

/// An ID as one piece of a path: all but letters, digits, `-` and `_` is percent-encoded.
pub(super) fn path_segment(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written() {
        let listing = Listing::of("/", Some("q=%20a%26b&sort=seen&dir=desc&page=3&else=1"));
        assert_eq!((listing.search.as_str(), listing.sort.as_str(), listing.page), ("a&b", "seen", 3));
        assert_eq!(listing.rows(), 200..300);
        assert_eq!(listing.link(), "/?q=a%26b&sort=seen&dir=desc&page=3");
        assert_eq!(Listing::of("/", None).link(), "/");
        assert_eq!(Listing::of("/", Some("page=0")).page, 1);
        assert_eq!(Listing::of("/", Some("page=99999999999999999999")).page, 1);
        assert_eq!(Listing::of("/", Some(&format!("q={}", "é".repeat(2000)))).search.len(), 1024);
    }

    #[test]
    fn the_pager_knows_where_one_stands() {
        let pager = |page, matched| {
            let pager = Listing { page, ..Listing::of("/", None) }.pager(matched)?;
            Some((pager.first, pager.last, pager.pages, pager.previous, pager.next))
        };
        assert_eq!(pager(1, 100), None);
        assert_eq!(pager(1, 101), Some((1, 100, 2, None, Some("/?page=2".into()))));
        assert_eq!(pager(2, 101), Some((101, 101, 2, Some("/".into()), None)));
        assert_eq!(pager(9, 101), Some((101, 101, 2, Some("/?page=2".into()), None)));
        assert_eq!(pager(9, 0), Some((0, 0, 0, Some("/".into()), None)));
    }

    #[test]
    fn a_path_segment_has_no_way_out() {
        assert_eq!(path_segment("a-1_B"), "a-1_B");
        assert_eq!(path_segment("../\"é?"), "%2E%2E%2F%22%C3%A9%3F");
    }
}
