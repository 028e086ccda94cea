//! Reads the headers that say how a body is encoded.

use http::{HeaderMap, header::HeaderName};

use crate::error::Error;

/// The one value of a header, as text; `None` where the header is missing.
///
/// # Errors
/// [`Error::Unsupported`] where the header is there more than once, or is not text.
pub(crate) fn single_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::Unsupported("there is more than one Content-Type or Content-Encoding header"));
    }
    first
        .map(|value| value.to_str().map_err(|_| Error::Unsupported("a Content-Type or Content-Encoding is no text")))
        .transpose()
}
