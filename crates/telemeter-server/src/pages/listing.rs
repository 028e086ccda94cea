//! A list's query: reads search, filters, order and page from a URI, and writes links to other pages of the list.

use url::form_urlencoded::{Serializer, parse};

use super::human;
use crate::fleet_view::ListPart;

/// Rows on a page.
pub(super) const ROWS: usize = 100;

/// A longer search is cut.
const SEARCH_BYTES: usize = 1024;
/// A longer value of a filter is ignored.
const FILTER_BYTES: usize = 256;

/// The query of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) path: String,
    pub(super) search: String,
    pub(super) sort: String,
    pub(super) is_descending: bool,
    /// The page, counted from 1.
    pub(super) page: usize,
    /// The values of the filters, by the parameter's name.
    pub(super) filters: Vec<(&'static str, String)>,
}

impl Listing {
    /// Reads `?search=&sort=&order=&page=` and these filters; values that are not valid are ignored.
    pub(super) fn of(path: &str, query: Option<&str>, filters: &[&'static str]) -> Self {
        let mut listing = Self { path: path.to_owned(), page: 1, ..Self::default() };
        for (key, value) in parse(query.unwrap_or("").as_bytes()) {
            match &*key {
                "search" => value[..value.floor_char_boundary(SEARCH_BYTES)].trim().clone_into(&mut listing.search),
                "sort" if value.len() <= 16 => listing.sort = value.into_owned(),
                "order" => listing.is_descending = value == "desc",
                "page" => listing.page = value.parse().unwrap_or(1).clamp(1, 1_000_000),
                key => {
                    if let Some(name) = filters.iter().find(|name| **name == key)
                        && !value.is_empty()
                        && value.len() <= FILTER_BYTES
                    {
                        listing.set(name, &value);
                    }
                }
            }
        }
        listing
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.filters.retain(|(have, _)| *have != name);
        if !value.is_empty() {
            self.filters.push((name, value.to_owned()));
        }
    }

    /// The value of a filter; empty where it is not set.
    pub(super) fn filter(&self, name: &str) -> &str {
        self.filters.iter().find(|(have, _)| *have == name).map_or("", |(_, value)| value)
    }

    /// This list without a filter whose value is not valid.
    pub(super) fn without(mut self, name: &'static str) -> Self {
        self.set(name, "");
        self
    }

    /// The link to the first page of this list with a filter set; an empty value removes it.
    pub(super) fn link_with(&self, name: &'static str, value: &str) -> String {
        let mut other = Self { page: 1, ..self.clone() };
        other.set(name, value);
        other.link()
    }

    /// The link to this list without search and filters.
    pub(super) fn cleared(&self) -> String {
        Self { search: String::new(), filters: Vec::new(), page: 1, ..self.clone() }.link()
    }

    /// Whether there is a search or a filter.
    pub(super) fn is_narrowed(&self) -> bool {
        !self.search.is_empty() || !self.filters.is_empty()
    }

    /// The part of the list that this page shows.
    pub(super) const fn part(&self) -> ListPart {
        ListPart { offset: (self.page - 1) * ROWS, limit: ROWS }
    }

    /// The headings of the columns, each with the link that sorts by it. Without `sort` the list is sorted by `default`, in
    /// ascending order.
    pub(super) fn columns<const N: usize>(&self, columns: [SortColumn; N], default: &str) -> [Heading; N] {
        let is_known = columns.iter().any(|column| column.sort == self.sort);
        let sorted = if is_known { &self.sort } else { default };
        columns.map(|column| {
            let is_sorted = column.sort == sorted;
            // The first click sorts numbers from the largest and names from A; the second click reverses the order.
            let descending = if is_sorted { !self.is_descending } else { column.largest_first };
            let direction = match (is_sorted, self.is_descending) {
                (false, _) => "",
                (true, false) => "ascending",
                (true, true) => "descending",
            };
            let other = Self { sort: column.sort.to_owned(), is_descending: descending, page: 1, ..self.clone() };
            Heading { text: column.text, hint: column.hint, is_number: column.is_number, direction, link: other.link() }
        })
    }

    /// The link to this page of the list.
    fn link(&self) -> String {
        let query = self.query(&[]);
        let query = if self.page > 1 { self.query(&[("page", &self.page.to_string())]) } else { query };
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }

    /// The query of this list, followed by more parameters.
    pub(super) fn query(&self, more: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        if !self.search.is_empty() {
            query.append_pair("search", &self.search);
        }
        for (name, value) in &self.filters {
            query.append_pair(name, value);
        }
        if !self.sort.is_empty() {
            query.append_pair("sort", &self.sort);
        }
        if self.is_descending {
            query.append_pair("order", "desc");
        }
        query.extend_pairs(more);
        query.finish()
    }

    /// Which of the `matched` rows this page shows, and links to other pages; `None` where one page holds all.
    pub(super) fn pager(&self, matched: usize) -> Option<Pager> {
        let pages = matched.div_ceil(ROWS);
        let to = |page| Self { page, ..self.clone() }.link();
        let ListPart { offset, limit } = self.part();
        (pages > 1 || self.page > 1).then(|| Pager {
            page: human::count(self.page),
            pages: human::count(pages),
            first: human::count((offset + 1).min(matched)),
            last: human::count((offset + limit).min(matched)),
            matched: human::count(matched),
            previous: (self.page > 1).then(|| to((self.page - 1).min(pages.max(1)))),
            next: (self.page < pages).then(|| to(self.page + 1)),
        })
    }
}

/// A column that can be sorted by.
pub(super) struct SortColumn {
    pub(super) sort: &'static str,
    pub(super) text: String,
    pub(super) hint: &'static str,
    pub(super) is_number: bool,
    /// Whether the first click sorts from the largest.
    pub(super) largest_first: bool,
}

impl SortColumn {
    pub(super) fn new(
        sort: &'static str,
        text: &str,
        hint: &'static str,
        is_number: bool,
        largest_first: bool,
    ) -> Self {
        Self { sort, text: text.to_owned(), hint, is_number, largest_first }
    }
}

/// The heading of such a column.
pub(super) struct Heading {
    pub(super) text: String,
    pub(super) hint: &'static str,
    pub(super) is_number: bool,
    /// For `aria-sort`; empty where another column is sorted by.
    pub(super) direction: &'static str,
    pub(super) link: String,
}

/// Links to the pages around this one.
pub(super) struct Pager {
    pub(super) page: String,
    pub(super) pages: String,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) matched: String,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

/// One value of a filter, as a link.
pub(super) struct Choice {
    pub(super) text: String,
    /// How many rows it finds; may be empty.
    pub(super) count: String,
    pub(super) link: String,
    pub(super) is_chosen: bool,
    /// For tests and scripts: `data-choice`.
    pub(super) name: &'static str,
}

/// A text as one segment of a path: all but letters, digits, `-` and `_` is percent-encoded.
pub(super) fn path_segment(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The link to the page of a cluster.
pub(super) fn cluster_link(id: &str) -> String {
    format!("/clusters/{}", path_segment(id))
}

/// The link to the page of a metric.
pub(super) fn family_link(name: &str) -> String {
    format!("/families/{}", path_segment(name))
}

/// The link to the page of refusals, with these filters.
pub(super) fn refused_link(parameters: &[(&str, &str)]) -> String {
    format!("/refused?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written() {
        let query = "search=%20a%26b&sort=seen&order=desc&page=3&else=1&status=silent&status=new";
        let listing = Listing::of("/", Some(query), &["status", "route"]);
        assert_eq!((listing.search.as_str(), listing.sort.as_str(), listing.page), ("a&b", "seen", 3));
        assert_eq!((listing.filter("status"), listing.filter("route")), ("new", ""));
        assert_eq!(listing.part(), ListPart { offset: 200, limit: 100 });
        assert_eq!(listing.link(), "/?search=a%26b&status=new&sort=seen&order=desc&page=3");
        assert_eq!(listing.link_with("route", "upload"), "/?search=a%26b&status=new&route=upload&sort=seen&order=desc");
        assert_eq!(listing.link_with("status", ""), "/?search=a%26b&sort=seen&order=desc");
        assert_eq!(listing.cleared(), "/?sort=seen&order=desc");
        assert!(listing.is_narrowed() && !Listing::of("/", None, &[]).is_narrowed());
        assert_eq!(listing.query(&[("format", "csv")]), "search=a%26b&status=new&sort=seen&order=desc&format=csv");
        assert_eq!(Listing::of("/", None, &[]).link(), "/");
        assert_eq!(Listing::of("/", Some("page=0"), &[]).page, 1);
        assert_eq!(Listing::of("/", Some("page=99999999999999999999"), &[]).page, 1);
        assert_eq!(Listing::of("/", Some(&format!("search={}", "é".repeat(2000))), &[]).search.len(), 1024);
    }

    #[test]
    fn the_pager_shows_which_rows_a_page_has() {
        let pager = |page, matched| {
            let pager = Listing { page, ..Listing::of("/", None, &[]) }.pager(matched)?;
            Some((pager.first, pager.last, pager.pages, pager.previous, pager.next))
        };
        let expected = |first: &str, last: &str, pages: &str, previous: Option<&str>, next: Option<&str>| {
            Some((first.into(), last.into(), pages.into(), previous.map(str::to_owned), next.map(str::to_owned)))
        };
        assert_eq!(pager(1, 100), None);
        assert_eq!(pager(1, 101), expected("1", "100", "2", None, Some("/?page=2")));
        assert_eq!(pager(2, 101), expected("101", "101", "2", Some("/"), None));
        assert_eq!(pager(9, 101), expected("101", "101", "2", Some("/?page=2"), None));
        assert_eq!(pager(9, 0), expected("0", "0", "0", Some("/"), None));
        assert_eq!(pager(20, 123_456), expected("1,901", "2,000", "1,235", Some("/?page=19"), Some("/?page=21")));
    }

    #[test]
    fn a_path_segment_stays_one_segment() {
        assert_eq!(path_segment("a-1_B"), "a-1_B");
        assert_eq!(path_segment("../\"é?"), "%2E%2E%2F%22%C3%A9%3F");
        assert_eq!(refused_link(&[("cluster", "a&b")]), "/refused?cluster=a%26b");
    }
}
