//! What the authority answers, and what memcached holds of its answers.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use telemeter_http::client::Answer;

use super::{
    answer::read,
    question::{AuthorityQuestion, QuestionKey, QuestionKind},
    shared::{decode_value, encode_value},
};
use crate::{Error, Secret};

const CLUSTER: &str = "c-1";
const TOKEN: &str = "hunter2-hunter2.x";

/// An approval names an account of a length that fits a token, and is about our cluster; the excerpt of a refusal is short, on one line,
/// and does not show the caller's token. Of an input the first byte says the status, the rest is the body.
pub fn authority_answer(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let statuses = [200, 201, 403, 429, 500, 302, 404, 503];
    let status = StatusCode::from_u16(statuses[usize::from(first & 7)]).expect("a status");
    let kind = if first & 8 == 0 { "application/json" } else { "text/HTML; charset=utf-8" };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let answer = Answer { status, headers, body: body.to_vec().into(), redirect: None, through: None };
    let key = QuestionKey::new(QuestionKind::Register, CLUSTER, TOKEN);
    let question = AuthorityQuestion::register(key, &Secret::from(TOKEN), CLUSTER);
    match read(&answer, &question, &[TOKEN]) {
        Ok(account) => {
            assert!(status.is_success() && first & 8 == 0);
            assert!((1..=256).contains(&account.len()), "{account}");
            if let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) {
                assert!(body["cluster_id"].is_null() || body["cluster_id"] == CLUSTER);
            }
        }
        Err(Error::Refused { status, excerpt }) => {
            assert!((400..500).contains(&status));
            check_shown(&excerpt);
        }
        Err(error) => check_shown(&error.to_string()),
    }
}

fn check_shown(text: &str) {
    assert!(!text.contains(char::is_control) && text.len() < 5000, "{text:?}");
    assert!(!text.contains(TOKEN), "{text}");
}

fn hmac_key() -> &'static Arc<hmac::Key> {
    static HMAC_KEY: OnceLock<Arc<hmac::Key>> = OnceLock::new();
    HMAC_KEY.get_or_init(|| Arc::new(hmac::Key::new(hmac::HMAC_SHA256, b"a key for tests")))
}

/// A value of memcached: one without our tag is rejected. One that we wrote is decoded under its own key, to what was written.
pub fn memcached_value(value: &[u8]) {
    let key = "0123abcd";
    let decoded = decode_value(hmac_key(), key, value);
    if let Some((at_unix_ms, account)) = decoded {
        // It is one of the seeds, or the same bytes that we would write.
        assert_eq!(encode_value(hmac_key(), key, account, at_unix_ms), value);
    }
    let Ok(account) = std::str::from_utf8(value) else { return };
    let at_unix_ms = i64::try_from(value.len()).expect("short") * 1_000_000_007;
    let mut written = encode_value(hmac_key(), key, account, at_unix_ms);
    assert_eq!(decode_value(hmac_key(), key, &written), Some((at_unix_ms, account)));
    assert_eq!(decode_value(hmac_key(), "0123abce", &written), None, "under another key");
    let at = value.len() % written.len();
    written[at] ^= 1;
    assert_eq!(decode_value(hmac_key(), key, &written), None, "changed at {at}");
}

pub(crate) fn value_seeds() -> Vec<Vec<u8>> {
    vec![
        encode_value(hmac_key(), "0123abcd", "acct1", 1_795_330_875_000),
        encode_value(hmac_key(), "0123abcd", "", -1),
        b"\x02acct".to_vec(),
    ]
}

pub(crate) const ANSWER_SEEDS: [&str; 7] = [
    "\0{\"account_id\":\"a\",\"cluster_id\":\"c-1\"}",
    "\u{1}{\"account_id\":\"a\",\"more\":1}",
    "\0{\"account_id\":\"a\",\"cluster_id\":\"another\"}",
    "\u{2}no such cluster: hunter2-hunter2.x\r\n",
    "\u{6}{\"token\":\"hunter2-hunt...\"}",
    "\u{8}<html>sign in</html>",
    "\u{4}out of order",
];
