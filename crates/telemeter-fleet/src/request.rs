//! The facts about one request that the registry records: an accepted one with its report, or a refused one.

use std::net::IpAddr;

use crate::outcome::{Reason, ReportRoute};

/// A request that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedRequest<'a> {
    /// The verified ID of its cluster.
    pub cluster: &'a str,
    /// The route of the request.
    pub route: ReportRoute,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// The address of the caller.
    pub peer: IpAddr,
    /// The `User-Agent` header; empty where there is none. Truncated to 128 bytes.
    pub user_agent: &'a str,
    /// The report in the body; `None` on [`ReportRoute::Authorize`].
    pub report: Option<ReportSummary<'a>>,
}

/// The figures and labels of one report.
#[derive(Clone, Copy, Debug)]
pub struct ReportSummary<'a> {
    /// Series that were kept.
    pub series: usize,
    /// Series that no rule of the whitelist allows.
    pub filtered: usize,
    /// Bytes of the body as it came.
    pub bytes: usize,
    /// How far the newest sample was ahead of our clock, in milliseconds; negative where it was behind.
    pub drift_ms: Option<i64>,
    /// The values of [`RegistryConfig::labels`](crate::RegistryConfig::labels), in that order; `None` leaves a label as it is.
    pub labels: &'a [Option<&'a str>],
}

/// A request that was refused or failed.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest<'a> {
    /// The ID of its cluster: verified for [`Registry::refuse`](crate::Registry::refuse), claimed for
    /// [`Registry::refuse_claimed`](crate::Registry::refuse_claimed), where it is empty if the caller gave none.
    pub cluster: &'a str,
    /// The route of the request.
    pub route: ReportRoute,
    /// The reason of the refusal.
    pub reason: Reason,
    /// The HTTP status of the response.
    pub status: u16,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// The address of the caller.
    pub peer: IpAddr,
    /// The `User-Agent` header; empty where there is none.
    pub user_agent: &'a str,
}
