//! The style sheet and the script: part of the program, under names that hold a hash of their content.

use std::sync::LazyLock;

use axum::{extract::Path, response::Response};
use telemeter_http::page;

pub(super) const STYLE: &str = include_str!("../../templates/style.css");
pub(super) const SCRIPT: &str = include_str!("../../templates/refresh.js");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| page::style_name(STYLE));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| page::asset_name("refresh", "js", SCRIPT));

pub(super) fn style_name() -> &'static str {
    &STYLE_NAME
}

pub(super) fn script_name() -> &'static str {
    &SCRIPT_NAME
}

/// `/assets/{name}`. Browsers may cache an asset for ever: changed content has another name.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match name {
        name if name == *STYLE_NAME => page::asset(page::STYLE_TYPE, STYLE),
        name if name == *SCRIPT_NAME => page::asset("text/javascript; charset=utf-8", SCRIPT),
        _ => page::no_such_asset(),
    }
}
