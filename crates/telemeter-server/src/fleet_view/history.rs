//! The last hour: requests and samples a second by route, minute by minute.

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_fleet::ReportRoute;

use super::{FleetView, Time};

/// The last hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// How long each of its steps is.
    pub step_seconds: u32,
    /// At most 60 whole minutes and the one that is under way, oldest first. Those before the start are not there.
    pub minutes: Vec<MinuteRow>,
}

/// One minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MinuteRow {
    /// When it began.
    pub at: Time,
    /// Rates by route.
    pub routes: BTreeMap<&'static str, MinuteRates>,
}

/// What happened on one route in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MinuteRates {
    /// Requests that succeeded.
    pub accepted_per_second: f64,
    /// Requests that did not.
    pub refused_per_second: f64,
    /// Samples of those that succeeded.
    pub samples_per_second: f64,
}

/// How long a step is, in seconds.
const STEP_SECONDS: u32 = 60;

/// So many steps are shown: an hour, and the minute that is under way.
const STEPS: usize = 61;

impl FleetView {
    /// The last hour.
    #[must_use]
    pub fn last_hour(&self) -> History {
        let minutes = self.gateway().fleet.rates.last_hour();
        let first = minutes.len().saturating_sub(STEPS);
        let minutes = minutes[first..].iter().map(|minute| {
            let rates = minute.per_second();
            let routes = ReportRoute::ALL.map(|route| {
                let at = route as usize;
                let rates = MinuteRates {
                    accepted_per_second: rates.accepted[at],
                    refused_per_second: rates.refused[at],
                    samples_per_second: rates.samples[at],
                };
                (route.name(), rates)
            });
            MinuteRow { at: Time(minute.from_ms), routes: routes.into() }
        });
        History { step_seconds: STEP_SECONDS, minutes: minutes.collect() }
    }
}
