//! The status table: how each error is answered and logged, a row for each variant.
//!
//! A sender reads a status as an order: it drops the data for good after a 4xx, and tries again after a 5xx. So 4xx is only for
//! what can never succeed; every failure of ours or of a dependency is 503 with `Retry-After`. No `match` has a `_` arm: a new
//! variant does not compile before all five columns of its row are chosen.

use std::time::Duration;

use http::StatusCode;
use telemeter_auth::Error as AuthError;
use telemeter_fleet::Reason;
use telemeter_http::body::BodyError;
use telemeter_rules::Refusal;
use telemeter_wire::Error as WireError;
use tracing::Level;

use self::ErrorText::{Fixed, Own, WithStatus};
use super::Error;

/// The wait where no dependency asked for another one.
const RETRY_AFTER: Option<Duration> = Some(Duration::from_secs(30));
/// The wait where there is too much to do just now.
const RETRY_SOON: Option<Duration> = Some(Duration::from_secs(5));
/// No `Retry-After`: the same request never succeeds.
const NEVER: Option<Duration> = None;

/// How an error is answered and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRow {
    /// The status of the response.
    pub status: StatusCode,
    /// The level of the line in the log: `WARN` where the operator has to act, `INFO` where the sender has to.
    pub level: Level,
    /// What the response asks the caller to wait; always there with 429 and 503, and only there.
    pub retry_after: Option<Duration>,
    /// Why, in one word of a closed set: the same in metrics, in the log, on pages and in the API.
    pub reason: Reason,
    /// The body of the response.
    body: ErrorText,
}

/// A body, written only once it is needed: most readers of a row ask for other columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorText {
    /// The error's own text: it holds nothing that an upstream said.
    Own,
    /// This text.
    Fixed(&'static str),
    /// This text, and the status.
    WithStatus(&'static str),
}

const fn row(
    status: StatusCode,
    level: Level,
    retry_after: Option<Duration>,
    reason: Reason,
    body: ErrorText,
) -> StatusRow {
    StatusRow { status, level, retry_after, reason, body }
}

impl Error {
    /// The row of this error.
    #[must_use]
    pub fn row(&self) -> StatusRow {
        const TRY_LATER: ErrorText = Fixed("the store did not take the data; try again later");
        const MANY: ErrorText = Fixed("too many requests of this cluster at once; try again later");
        const REFUSED: ErrorText = WithStatus("the store refused the data with status ");
        match self {
            Self::Auth(error) => auth_row(error),
            Self::Body(error) => body_row(error),
            Self::Wire(error) => wire_row(error),
            Self::Refused(refusal) => row(STATUS_400, INFO, NEVER, refusal_reason(refusal), Own),
            Self::PartialWrite(partial) => {
                let reason = partial.refusal().map_or(Reason::Undecodable, refusal_reason);
                row(STATUS_400, INFO, NEVER, reason, Own)
            }
            Self::Method => row(STATUS_405, INFO, NEVER, Reason::Method, Own),
            Self::TokenWithoutCluster => row(STATUS_401, INFO, NEVER, Reason::Token, Own),
            Self::Form(_) => row(STATUS_400, INFO, NEVER, Reason::Form, Own),
            Self::Format(_) => row(STATUS_415, INFO, NEVER, Reason::Unsupported, Own),
            Self::Unsupported(_) => row(STATUS_415, INFO, NEVER, Reason::Unsupported, Own),
            Self::RateLimited { retry_after, .. } => {
                row(STATUS_429, INFO, Some(*retry_after), Reason::RateLimited, Own)
            }
            Self::StoreRefused { status, .. } => row(*status, INFO, NEVER, Reason::StoreRefused, REFUSED),
            Self::StoreUnavailable { retry_after, .. } => {
                row(STATUS_503, WARN, retry_after.or(RETRY_AFTER), Reason::StoreUnavailable, TRY_LATER)
            }
            Self::Overloaded => row(STATUS_503, WARN, RETRY_SOON, Reason::Overloaded, OVERLOADED),
            Self::ManyAtOnce => row(STATUS_503, WARN, RETRY_SOON, Reason::Concurrency, MANY),
            Self::Draining => row(STATUS_503, WARN, RETRY_SOON, Reason::Draining, Fixed("shutting down; try again")),
            Self::Panic => row(STATUS_500, WARN, NEVER, Reason::Internal, Fixed("internal error")),
        }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// How long the caller should wait; sent with 429 and 503.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.row().retry_after
    }

    /// Why, in one word of a closed set.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.row().reason
    }

    /// What the caller reads: one short line without a word of an upstream's.
    #[must_use]
    pub fn body(&self) -> String {
        let StatusRow { status, body, .. } = self.row();
        match body {
            Own => self.to_string(),
            Fixed(text) => text.to_owned(),
            WithStatus(text) => format!("{text}{status}"),
        }
    }

    /// Whether the failure is ours or a dependency's, so that the sender has nothing to mend.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.status().is_server_error()
    }
}

/// The row for an error of `telemeter-auth`.
fn auth_row(error: &AuthError) -> StatusRow {
    const LIMITED: ErrorText = Fixed("too many requests for this cluster; try again later");
    const UNKNOWN: ErrorText = Fixed("who is calling cannot be found out now; try again later");
    const NO_STORE: ErrorText = Fixed("the store cannot be reached now; try again later");
    const OURS: ErrorText = Fixed("a failure of ours; try again later");
    match error {
        AuthError::CredentialsMissing => row(STATUS_401, INFO, NEVER, Reason::Credentials, Own),
        AuthError::CredentialsMalformed(_) => row(STATUS_401, INFO, NEVER, Reason::Credentials, Own),
        AuthError::CompositeToken(_) => row(STATUS_400, INFO, NEVER, Reason::Credentials, Own),
        AuthError::Token(_) => row(STATUS_401, INFO, NEVER, Reason::Token, Own),
        AuthError::Refused { status, .. } => {
            let answered = StatusCode::from_u16(*status).unwrap_or(StatusCode::FORBIDDEN);
            row(answered, INFO, NEVER, Reason::AuthorityRefused, authority_refused(*status))
        }
        AuthError::RateLimited { retry_after } => {
            row(STATUS_429, INFO, Some(*retry_after), Reason::AuthorityRateLimited, LIMITED)
        }
        AuthError::AuthorityUnavailable { retry_after, .. } => {
            row(STATUS_503, WARN, retry_after.or(RETRY_AFTER), Reason::AuthorityUnavailable, UNKNOWN)
        }
        AuthError::TooManyQuestions { retry_after, .. } => {
            row(STATUS_503, WARN, Some(*retry_after), Reason::Overloaded, OVERLOADED)
        }
        AuthError::ProviderUnavailable { .. } => row(STATUS_503, WARN, RETRY_AFTER, Reason::Internal, NO_STORE),
        AuthError::Key(_) => row(STATUS_503, WARN, RETRY_AFTER, Reason::Internal, OURS),
        AuthError::Tokens(_) => row(STATUS_503, WARN, RETRY_AFTER, Reason::Internal, OURS),
    }
}

/// The text of the response where the authority refused with this status.
fn authority_refused(status: u16) -> ErrorText {
    match status {
        401 => Fixed("the authority does not know this token"),
        403 => Fixed("the authority does not allow this cluster"),
        404 => Fixed("the authority does not know this cluster"),
        409 => Fixed("the authority knows this cluster under another token"),
        _ => WithStatus("the authority refused with status "),
    }
}

/// The row for a body that could not be read.
fn body_row(error: &BodyError) -> StatusRow {
    // A caller that sends slowly may have a slow network: what it sends is not wrong.
    const LATE: ErrorText = Fixed("the body did not arrive in time; try again");
    const FRAMING: ErrorText = Fixed("the framing of the body is malformed");
    match error {
        BodyError::TooLarge { .. } => row(STATUS_413, INFO, NEVER, Reason::TooLarge, Own),
        BodyError::Malformed(_) => row(STATUS_400, INFO, NEVER, Reason::Framing, FRAMING),
        BodyError::Timeout => row(STATUS_503, WARN, RETRY_AFTER, Reason::Body, LATE),
        BodyError::TooSlow { .. } => row(STATUS_503, WARN, RETRY_AFTER, Reason::Body, LATE),
        BodyError::Aborted(_) => row(STATUS_503, WARN, RETRY_AFTER, Reason::Body, LATE),
        BodyError::NoMemory => row(STATUS_503, WARN, RETRY_SOON, Reason::Overloaded, OVERLOADED),
    }
}

/// The row for bytes that could not be decoded.
fn wire_row(error: &WireError) -> StatusRow {
    match error {
        WireError::TooLong { .. } => row(STATUS_413, INFO, NEVER, Reason::TooLarge, Own),
        WireError::Limit { .. } => row(STATUS_400, INFO, NEVER, Reason::Limit, Own),
        WireError::DuplicateLabel { .. } => row(STATUS_400, INFO, NEVER, Reason::Labels, Own),
        WireError::Snappy(_) => row(STATUS_400, INFO, NEVER, Reason::Undecodable, Own),
        WireError::Protobuf(_) => row(STATUS_400, INFO, NEVER, Reason::Undecodable, Own),
        WireError::Text { .. } => row(STATUS_400, INFO, NEVER, Reason::Undecodable, Own),
        WireError::NotUtf8(_) => row(STATUS_400, INFO, NEVER, Reason::Undecodable, Own),
        WireError::Reference(_) => row(STATUS_400, INFO, NEVER, Reason::Undecodable, Own),
    }
}

/// Every refusal is 400; only the reason differs.
fn refusal_reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::NoName
        | Refusal::DuplicateLabel { .. }
        | Refusal::SeriesBecomeOne { .. }
        | Refusal::LabelsBecomeOne { .. } => Reason::Labels,
        Refusal::LabelMissing { .. } | Refusal::LabelValue { .. } => Reason::Identity,
        Refusal::NoTimestamp | Refusal::Unsorted | Refusal::TooOld { .. } | Refusal::TooFarAhead { .. } => {
            Reason::Timestamps
        }
        Refusal::NoValue | Refusal::Histogram { .. } => Reason::Undecodable,
    }
}

const INFO: Level = Level::INFO;
const WARN: Level = Level::WARN;

const STATUS_400: StatusCode = StatusCode::BAD_REQUEST;
const STATUS_401: StatusCode = StatusCode::UNAUTHORIZED;
const STATUS_405: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
const STATUS_413: StatusCode = StatusCode::PAYLOAD_TOO_LARGE;
const STATUS_415: StatusCode = StatusCode::UNSUPPORTED_MEDIA_TYPE;
const STATUS_429: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const STATUS_500: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const STATUS_503: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

const OVERLOADED: ErrorText = Fixed("too many requests at once; try again later");
