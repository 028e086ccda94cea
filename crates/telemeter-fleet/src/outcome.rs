//! The outcome of a request: the closed sets of routes and refusal reasons, and a code of seven bits for both.

/// The routes to which clusters send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ReportRoute {
    /// `/authorize`.
    Authorize,
    /// `/upload`.
    Upload,
    /// `/metrics/v1/receive`.
    Receive,
}

impl ReportRoute {
    /// Every route.
    pub const ALL: [Self; 3] = [Self::Authorize, Self::Upload, Self::Receive];

    /// As a label value and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Upload => "upload",
            Self::Receive => "receive",
        }
    }

    /// The route with this [`ReportRoute::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.name() == name)
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// Why a request was refused or failed: the closed set of values of `reason` in metrics, logs, pages and the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, sorted by name.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// As a label value and in logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// The authority limits the rate of this cluster.
    AuthorityRateLimited = "authority_rate_limited",
    /// The authority does not let this cluster report with this token.
    AuthorityRefused = "authority_refused",
    /// The authority could not be reached, and there is no cached approval.
    AuthorityUnavailable = "authority_unavailable",
    /// The body came too slowly or was cut off.
    Body = "body",
    /// The cluster has as many concurrent requests as one may have.
    Concurrency = "concurrency",
    /// No bearer token, or a malformed one.
    Credentials = "credentials",
    /// The server was shutting down.
    Draining = "draining",
    /// The form of `/authorize` names no usable cluster ID.
    Form = "form",
    /// The chunked encoding of the body is not valid.
    Framing = "framing",
    /// The partition label or a required one is missing or has another value.
    Identity = "identity",
    /// A failure of the server itself.
    Internal = "internal",
    /// A duplicate label, or a series without a name.
    Labels = "labels",
    /// A limit on series or labels.
    Limit = "limit",
    /// Another method than POST.
    Method = "method",
    /// Not enough memory, or too much data waits for the store.
    Overloaded = "overloaded",
    /// An upload that came too soon after the previous one.
    RateLimited = "rate_limited",
    /// The store refused the data.
    StoreRefused = "store_refused",
    /// The store is unavailable or did not accept the data this time.
    StoreUnavailable = "store_unavailable",
    /// Samples without a time, unsorted, too old or too far ahead.
    Timestamps = "timestamps",
    /// A token of ours that is not valid, or names no cluster.
    Token = "token",
    /// Over a byte cap.
    TooLarge = "too_large",
    /// The body is not of its format.
    Undecodable = "undecodable",
    /// An unknown Content-Type or Content-Encoding.
    Unsupported = "unsupported",
}

impl Reason {
    /// The reason with this [`Reason::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// The outcome of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The request succeeded.
    Accepted(ReportRoute),
    /// The request was refused or failed.
    Refused(ReportRoute, Reason),
}

/// The number of outcomes of one route: success, and each reason.
const CODES: u8 = 1 + Reason::ALL.len() as u8;
const _: () = assert!(ReportRoute::ALL.len() * (CODES as usize) <= 128, "an outcome has to fit into seven bits");

impl RequestOutcome {
    /// The outcome as a number of seven bits.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Accepted(route) => route as u8 * CODES,
            Self::Refused(route, reason) => route as u8 * CODES + 1 + reason as u8,
        }
    }

    /// The outcome with this [`code`](Self::code).
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        let route = *ReportRoute::ALL.get(usize::from(code / CODES))?;
        Some(match code % CODES {
            0 => Self::Accepted(route),
            reason => Self::Refused(route, *Reason::ALL.get(usize::from(reason - 1))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_code() {
        let mut seen = std::collections::HashSet::new();
        for route in ReportRoute::ALL {
            let refused = Reason::ALL.map(|reason| RequestOutcome::Refused(route, reason));
            for outcome in refused.into_iter().chain([RequestOutcome::Accepted(route)]) {
                assert_eq!(RequestOutcome::from_code(outcome.code()), Some(outcome));
                assert!(outcome.code() < 128 && seen.insert(outcome.code()), "{outcome:?}");
            }
        }
        assert_eq!(RequestOutcome::from_code(127), None);
    }

    #[test]
    fn names_read_back_and_are_sorted() {
        for route in ReportRoute::ALL {
            assert_eq!(ReportRoute::from_name(route.name()), Some(route));
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
        }
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.name()));
        assert_eq!((ReportRoute::from_name("x"), Reason::from_name("x")), (None, None));
    }
}
