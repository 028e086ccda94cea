//! The last hour: requests and samples a second by route, minute by minute.

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_fleet::ReportRoute;

use super::{FleetView, Time};

/// The rates of the last hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// The length of a step, in seconds.
    pub step_seconds: u32,
    /// At most 60 whole minutes and the one that is under way, oldest first. There are none from before the start.
    pub minutes: Vec<MinuteRow>,
}

/// The rates of one minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MinuteRow {
    /// When it began.
    pub at: Time,
    /// Rates by route.
    pub routes: BTreeMap<&'static str, MinuteRates>,
}

/// The rates of one route in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MinuteRates {
    /// Accepted requests.
    pub accepted_per_second: f64,
    /// Refused requests.
    pub refused_per_second: f64,
    /// Samples of accepted requests.
    pub samples_per_second: f64,
}

/// How long a step is, in seconds.
const STEP_SECONDS: u32 = 60;

/// How many steps are shown: an hour, and the minute that is under way.
const STEPS: usize = 61;

impl FleetView {
    /// Reads the rates of the last hour.
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
