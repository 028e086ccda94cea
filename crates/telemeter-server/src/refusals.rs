//! What a refusal means and what to do about it: one text for the pages, the API and `docs/operations.md`.

use telemeter_fleet::Reason;

/// What a reason means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonExplanation {
    /// The statuses of the responses.
    pub statuses: &'static str,
    /// What happened, as a clause that can follow a colon.
    pub meaning: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

/// The explanation of a reason.
#[must_use]
pub const fn explain(reason: Reason) -> ReasonExplanation {
    let (statuses, meaning, action) = match reason {
        Reason::AuthorityRateLimited => {
            ("429", "the authority limits how often this cluster is asked about", "ask the authority's operator")
        }
        Reason::AuthorityRefused => (
            "401, 403, 404, 409, other 4xx",
            "the authority does not accept this token for this cluster: 401 the token is not known, 403 the cluster may \
             not report, 404 the cluster is not known, 409 it is known under another token",
            "compare the cluster's token with what the authority has; ask the authority's operator",
        ),
        Reason::AuthorityUnavailable => (
            "503",
            "the authority gave no usable answer, and this caller is not known from before",
            "look at the authority, the way to it and, with OIDC, our token for it; senders try again by themselves",
        ),
        Reason::Body => (
            "503",
            "the body did not arrive within 30 seconds, or its sender hung up",
            "look at the sender's network and at load balancers between",
        ),
        Reason::Concurrency => (
            "503",
            "the cluster has `--limit-concurrent-per-cluster` requests under way",
            "look for several senders under one ID, or a store that is slow; senders try again by themselves",
        ),
        Reason::Credentials => (
            "401, 400",
            "there was no bearer token, or a malformed one; with 400 a composite token that is not base64, JSON or complete",
            "correct the sender's configuration; the answer says what a right token looks like",
        ),
        Reason::Draining => {
            ("503", "this replica is shutting down", "nothing: senders try again, and another replica takes it")
        }
        Reason::Form => (
            "400",
            "the id of /authorize is missing, empty, longer than 256 bytes or holds a control character",
            "correct the sender's `--id` or `--to-auth`",
        ),
        Reason::Framing => (
            "400",
            "the chunks of the body cannot be told apart; the connection ends",
            "look at the sender's HTTP library and at proxies between",
        ),
        Reason::Identity => (
            "400",
            "the partition label or a required label is missing, or has a value that the credentials do not allow",
            "let the sender set the label to its own cluster ID; a delegate that sends for others needs \
             `--receive-identity presence` here",
        ),
        Reason::Internal => (
            "503, 500",
            "a failure of the server itself",
            "look at the log for the cause; a panic (500) is a bug: please report it",
        ),
        Reason::Labels => (
            "400",
            "a series has a duplicate label, or no metric name",
            "correct the sender's relabeling; a label beside the partition label that a store would read as the same name \
             counts as a duplicate",
        ),
        Reason::Limit => (
            "400",
            "the request is over a limit on series or labels; the log says which",
            "send less at once, or fewer and shorter labels",
        ),
        Reason::Method => ("405", "the method was not POST", "correct what the sender calls"),
        Reason::Overloaded => (
            "503",
            "there was no room for the body, or too much waits for the store",
            "look at the store first: what it does not take in time waits here; then more replicas",
        ),
        Reason::RateLimited => (
            "429",
            "the cluster uploaded less than `--ratelimit` ago",
            "look for two clients under one ID, or a client with a shorter `--interval`",
        ),
        Reason::StoreRefused => (
            "400, 409, 413, 422",
            "the store refused the data for good",
            "look at the cause in the log, and at the store's log: often a sample older than one it has, or its limits",
        ),
        Reason::StoreUnavailable => (
            "503",
            "the store did not take the data this time",
            "look at the cause in the log: the store is down or slow, or our token, tenant or URL is wrong; senders try \
             again by themselves",
        ),
        Reason::Timestamps => (
            "400",
            "a sample has no time, is not sorted by time, is over 24 hours old, or over 10 minutes ahead",
            "correct the sender's clock; where many senders have it, ours",
        ),
        Reason::Token => (
            "401",
            "a token of ours that has expired, is not valid, or names no cluster",
            "give all replicas the same `--shared-key` and clocks within a minute; a client gets another token by itself",
        ),
        Reason::TooLarge => (
            "413",
            "the body is over a byte cap: `--limit-bytes` or `--limit-receive-bytes`",
            "narrow what the sender selects, or raise the cap",
        ),
        Reason::Undecodable => (
            "400",
            "the body is not of the format that it is said to be",
            "look at the sender's program and at proxies that change bodies",
        ),
        Reason::Unsupported => (
            "415",
            "an unknown Content-Type or Content-Encoding",
            "let the sender speak remote write 1.0 or 2.0 in snappy, or an exposition format",
        ),
    };
    ReasonExplanation { statuses, meaning, action }
}

/// Why a request was refused, as a short text for people: `the authority does not know this token (401)`.
#[must_use]
pub fn describe(reason: Reason, status: u16) -> String {
    let text = match (reason, status) {
        (Reason::AuthorityRefused, 401) => "the token is not known to the authority",
        (Reason::AuthorityRefused, 403) => "the authority does not allow this cluster to report",
        (Reason::AuthorityRefused, 404) => "the cluster is not known to the authority",
        (Reason::AuthorityRefused, 409) => "the authority knows this cluster under another token",
        (Reason::AuthorityRefused, _) => "the authority refused",
        (Reason::Credentials, 400) => "the composite token is malformed",
        (Reason::Credentials, _) => "there is no bearer token, or a malformed one",
        _ => explain(reason).meaning,
    };
    format!("{text} ({status})")
}

/// The table of all reasons, as `docs/operations.md` has it.
#[must_use]
pub fn table() -> String {
    let mut table = "| `reason` | status | means | what to do |\n|---|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let ReasonExplanation { statuses, meaning, action } = explain(reason);
        table += &format!("| `{}` | {statuses} | {meaning} | {action} |\n", reason.name());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_operators_has_exactly_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        let page = std::fs::read_to_string(path).expect("docs/operations.md");
        let (_, section) = page.split_once("### Refusals by reason\n").expect("the heading");
        let rows: Vec<&str> = section.lines().skip_while(|line| !line.starts_with('|')).collect();
        let rows: Vec<&str> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
        assert_eq!(rows.join("\n") + "\n", table(), "docs/operations.md, Refusals by reason");
    }
}
