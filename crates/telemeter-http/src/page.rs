//! Shared code for HTML pages: the check whether a browser asks, the headers, and style sheets that may be cached for
//! ever.

use axum::{
    extract::Path,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The headers of a page that loads nothing from other hosts, runs no scripts, and may not be put in a frame.
pub const HEADERS: [(HeaderName, HeaderValue); 6] = headers(
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// The headers of a page with this Content-Security-Policy. `Vary` is set, since the same URL responds to programs in
/// another format.
#[must_use]
pub const fn headers(policy: &'static str) -> [(HeaderName, HeaderValue); 6] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept")),
    ]
}

/// Whether a request comes from a browser: its `Accept` names `text/html`, and does not prefer JSON.
#[must_use]
pub fn wants_html(headers: &HeaderMap) -> bool {
    let mut likes = [0.0_f32; 2];
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let at = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
            "text/html" => 0,
            "application/json" => 1,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        likes[at] = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
    }
    likes[0] > 0.0 && likes[0] >= likes[1]
}

/// The name of a file for pages, `STEM-HASH.EXTENSION`, with a hash of its content, so that it may be cached for ever.
#[must_use]
pub fn asset_name(stem: &str, extension: &str, content: &str) -> String {
    // The hash is FNV-1a: it only has to differ where the content differs.
    let hash = content
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{stem}-{hash:016x}.{extension}")
}

/// The response with a file for pages, under its [`asset_name`].
pub fn asset(content_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content).into_response()
}

/// The response where no file has the name.
pub fn no_such_asset() -> Response {
    (StatusCode::NOT_FOUND, "no such file\n").into_response()
}

/// The [`asset_name`] of a style sheet.
#[must_use]
pub fn style_name(style: &str) -> String {
    asset_name("style", "css", style)
}

/// The Content-Type of a style sheet.
pub const STYLE_TYPE: &str = "text/css; charset=utf-8";

/// The route of `GET /assets/{name}`: the style sheet, under its [`style_name`].
pub fn style_route<S: Clone + Send + Sync + 'static>(style: &'static str) -> MethodRouter<S> {
    let name = style_name(style);
    get(move |Path(asked): Path<String>| {
        let answer = if asked == name { asset(STYLE_TYPE, style) } else { no_such_asset() };
        async move { answer }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_from_machines() {
        let check = |accept: &'static str, expected| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_html(&headers), expected, "{accept}");
        };
        assert!(!wants_html(&HeaderMap::new()));
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true);
        check("*/*", false);
        check("application/json", false);
        check("text/html;q=0.5, application/json", false);
        check("text/html;q=0", false);
    }
}
