//! Reads the query of a request: only known parameters, each at most once.

use http::Uri;
use url::form_urlencoded;

use crate::fleet_view::ListPart;

/// How many items an answer holds where the request has no `limit`.
const LIMIT: usize = 100;
/// The largest `limit`; 0 is all.
const MAX_LIMIT: u64 = 10_000;

/// The parameters of a request.
pub(super) struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    /// Reads the query of a URI.
    ///
    /// # Errors
    /// Which parameter is not known or a duplicate.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, String> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()) {
            if !known.contains(&&*name) {
                let known =
                    if known.is_empty() { "none is".to_owned() } else { format!("known are {}", known.join(", ")) };
                return Err(format!("the parameter {name:?} is not known; {known}"));
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(format!("the parameter {name:?} is a duplicate"));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter; `None` where it is missing.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is a number and not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{name} is {text:?}, which is no whole number"))
    }

    /// The value of a parameter that is a word of a closed set.
    pub(super) fn name<T>(&self, name: &str, known: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        known(text).map(Some).ok_or_else(|| format!("{name} cannot be {text:?}"))
    }

    /// Whether `order` is `desc`; false without it. Any other value than `asc` and `desc` is an error.
    pub(super) fn is_descending(&self) -> Result<bool, String> {
        let known = |name: &str| match name {
            "asc" => Some(false),
            "desc" => Some(true),
            _ => None,
        };
        Ok(self.name("order", known)?.unwrap_or(false))
    }

    /// The part that `limit` and `offset` ask for.
    pub(super) fn part(&self) -> Result<ListPart, String> {
        let limit = match self.number("limit")? {
            None => LIMIT,
            Some(0) => usize::MAX,
            Some(limit) if limit > MAX_LIMIT => return Err(format!("limit is at most {MAX_LIMIT}; 0 is all")),
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let offset = usize::try_from(self.number("offset")?.unwrap_or(0)).unwrap_or(usize::MAX);
        Ok(ListPart { offset, limit })
    }
}
