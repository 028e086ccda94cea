use telemeter_fleet::Reason;

use super::*;

#[test]
fn each_error_has_its_status_and_its_wait() {
    fn check(error: Error, status: u16, retry_after: Option<u64>) {
        assert_eq!(error.status().as_u16(), status, "{error:?}");
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), retry_after, "{error:?}");
        let waits = matches!(status, 429 | 503);
        assert_eq!(error.retry_after().is_some(), waits, "a wait goes with 429 and 503 alone: {error:?}");
        let level = if status >= 500 { tracing::Level::WARN } else { tracing::Level::INFO };
        assert_eq!(error.row().level, level, "{error:?}");
        assert!(!error.body().contains('\n') && error.body().len() < 300, "{:?}", error.body());
    }
    check(Error::Method, 405, None);
    let auth = |error| Error::Auth(error);
    check(auth(AuthError::CredentialsMissing), 401, None);
    check(auth(AuthError::CredentialsMalformed("x")), 401, None);
    check(auth(AuthError::Token(telemeter_auth::jwt::TokenFault::Expired)), 401, None);
    check(auth(AuthError::CompositeToken("x")), 400, None);
    for status in [401, 403, 404, 409, 418] {
        check(auth(AuthError::Refused { status, excerpt: "secret".into() }), status, None);
    }
    check(auth(AuthError::RateLimited { retry_after: Duration::from_secs(300) }), 429, Some(300));
    let unavailable = |retry_after| AuthError::AuthorityUnavailable { reason: "secret".into(), retry_after };
    check(auth(unavailable(None)), 503, Some(30));
    check(auth(unavailable(Some(Duration::from_secs(9)))), 503, Some(9));
    let too_many = |retry_after| auth(AuthError::TooManyQuestions { reason: "x", retry_after });
    check(too_many(Duration::from_millis(2_500)), 503, Some(2));
    check(auth(AuthError::ProviderUnavailable { reason: "secret".into() }), 503, Some(30));
    check(auth(AuthError::Key("secret".into())), 503, Some(30));
    check(auth(AuthError::Tokens("secret".into())), 503, Some(30));
    check(Error::TokenWithoutCluster, 401, None);
    check(Error::Form("x"), 400, None);
    check(Error::Format(UnknownFormat), 415, None);
    check(Error::Unsupported("x"), 415, None);
    check(Error::Body(BodyError::TooLarge { cap_bytes: 7 }), 413, None);
    check(Error::Body(BodyError::Timeout), 503, Some(30));
    check(Error::Body(BodyError::Aborted("x".into())), 503, Some(30));
    check(Error::Body(BodyError::TooSlow { min_bytes_per_second: 512 }), 503, Some(30));
    check(Error::Body(BodyError::Malformed("x".into())), 400, None);
    check(Error::ManyAtOnce, 503, Some(5));
    check(Error::Wire(WireError::TooLong { cap_bytes: 7 }), 413, None);
    check(Error::Wire(WireError::Snappy("x")), 400, None);
    check(Error::Wire(WireError::Protobuf("x")), 400, None);
    check(Error::Wire(WireError::Text { line: 1, reason: "x" }), 400, None);
    check(Error::Wire(WireError::DuplicateLabel { line: 1, label: "x".into() }), 400, None);
    check(Error::Wire(WireError::Limit { what: "series", limit: 7 }), 400, None);
    check(Error::Refused(Refusal::NoName), 400, None);
    check(Error::PartialWrite(Box::default()), 400, None);
    let limited =
        |millis| Error::RateLimited { period: Duration::from_secs(270), retry_after: Duration::from_millis(millis) };
    check(limited(7_000), 429, Some(7));
    for status in [400, 409, 413, 422] {
        let refused = StatusCode::from_u16(status).expect("a status");
        check(Error::StoreRefused { status: refused, store_message: "secret".into() }, status, None);
    }
    check(Error::StoreUnavailable { cause: "secret".into(), retry_after: None }, 503, Some(30));
    check(Error::StoreUnavailable { cause: "secret".into(), retry_after: Some(Duration::from_secs(3)) }, 503, Some(3));
    check(Error::Overloaded, 503, Some(5));
    check(Error::Body(BodyError::NoMemory), 503, Some(5));
    check(Error::Draining, 503, Some(5));
    check(Error::Panic, 500, None);
}

/// The names that a caller sent are shown to it escaped, and cut.
#[test]
fn a_text_that_is_not_utf_8_is_named_in_a_short_line() {
    let line = [&[b'm'; 1000][..], b"{", &[b'l'; 1000], b"=\"\xff\"} 1"].concat();
    let arena = telemeter_wire::Arena::new();
    let mut set = telemeter_wire::SeriesSet::new_in(&arena);
    let error = telemeter_wire::exposition::text::decode(&line, &telemeter_wire::DecodeLimits::default(), &mut set);
    let error = Error::from(error.expect_err("a byte that is no text"));
    assert_eq!((error.status().as_u16(), error.reason()), (400, Reason::Undecodable));
    let (label, metric) = ("l".repeat(128), "m".repeat(128));
    let place = format!("the value of label \"{label}...\" of metric \"{metric}...\"");
    assert_eq!(error.body(), format!("not valid text format: line 1: text that is not UTF-8 in {place}"));
}

#[test]
fn a_caller_reads_no_cause_of_ours() {
    let unavailable = AuthError::AuthorityUnavailable { reason: "secret".into(), retry_after: None };
    for error in [
        Error::Auth(unavailable),
        Error::Auth(AuthError::ProviderUnavailable { reason: "secret".into() }),
        Error::Auth(AuthError::Key("secret".into())),
        Error::StoreUnavailable { cause: "secret".into(), retry_after: None },
        Error::Body(BodyError::Aborted("secret".into())),
        Error::Auth(AuthError::Refused { status: 403, excerpt: "secret".into() }),
        Error::StoreRefused { status: StatusCode::CONFLICT, store_message: "secret".into() },
    ] {
        assert!(!error.body().contains("secret"), "{}", error.body());
        assert!(error.to_string().contains("secret"), "the log has it: {error}");
    }
    for status in [400, 401, 403, 404, 409, 418] {
        let refused = Error::Auth(AuthError::Refused { status, excerpt: "secret".into() });
        assert!(!refused.body().contains("secret"), "{}", refused.body());
        assert!(refused.to_string().contains("secret"), "the log has it: {refused}");
    }
}

#[test]
fn a_wait_is_rounded_up_to_whole_seconds() {
    assert_eq!(seconds(Duration::ZERO), 1);
    assert_eq!(seconds(Duration::from_millis(1)), 1);
    assert_eq!(seconds(Duration::from_millis(1001)), 2);
}
