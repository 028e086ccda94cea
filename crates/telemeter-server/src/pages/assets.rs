//! The style sheet and the script: both stand in the program, under names that hold a hash of their content.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

pub(super) const STYLE: &str = include_str!("../../templates/style.css");
pub(super) const SCRIPT: &str = include_str!("../../templates/refresh.js");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| format!("style-{:016x}.css", hash(STYLE)));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| format!("refresh-{:016x}.js", hash(SCRIPT)));

/// FNV-1a: it has only to differ when the content does.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

pub(super) fn style_name() -> &'static str {
    &STYLE_NAME
}

pub(super) fn script_name() -> &'static str {
    &SCRIPT_NAME
}

/// `/assets/{name}`. What is there may be kept for ever: another content has another name.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, content) = match name {
        name if name == *STYLE_NAME => ("text/css; charset=utf-8", STYLE),
        name if name == *SCRIPT_NAME => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content).into_response()
}
