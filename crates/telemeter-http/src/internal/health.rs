//! The readiness of a program: named conditions, all of which must hold.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

/// The reason of a program that is shutting down, which is not logged as a warning.
const DRAINING: &str = "draining";

/// The conditions of one program. Cheap to clone; clones share them. A program without conditions is ready.
#[derive(Clone, Debug, Default)]
pub struct Health {
    conditions: Arc<Mutex<Vec<ConditionState>>>,
}

#[derive(Debug)]
struct ConditionState {
    name: &'static str,
    /// The reason why it does not hold; `None` where it holds.
    reason: Option<Cow<'static, str>>,
}

/// The handle to set one condition of a [`Health`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HealthCondition {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Starts without conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the condition of that name; a new one does not hold until [`HealthCondition::ready`].
    pub fn condition(&self, name: &'static str) -> HealthCondition {
        let mut conditions = self.conditions.lock();
        if !conditions.iter().any(|state| state.name == name) {
            conditions.push(ConditionState { name, reason: Some(Cow::Borrowed("starting")) });
        }
        HealthCondition { health: self.clone(), name }
    }

    /// Makes the program not ready for good, since it is shutting down.
    pub fn drain(&self) {
        self.condition("serving").not_ready(DRAINING);
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.conditions.lock().iter().all(|state| state.reason.is_none())
    }

    /// A line `name: reason` for each condition that does not hold.
    pub fn reasons(&self) -> Vec<String> {
        let conditions = self.conditions.lock();
        conditions.iter().filter_map(|state| Some(format!("{}: {}", state.name, state.reason.as_ref()?))).collect()
    }
}

impl HealthCondition {
    /// Marks the condition as holding.
    pub fn ready(&self) {
        self.set_reason(None);
    }

    /// Marks the condition as not holding, with the reason. Every caller can read the reason, so it must not contain a
    /// secret.
    pub fn not_ready(&self, reason: impl Into<Cow<'static, str>>) {
        self.set_reason(Some(reason.into()));
    }

    /// Sets the reason why the condition does not hold; `None` where it holds. Only a change is logged: `None` and a
    /// shutdown at level info, any other reason as a warning.
    fn set_reason(&self, reason: Option<Cow<'static, str>>) {
        let mut conditions = self.health.conditions.lock();
        let Some(state) = conditions.iter_mut().find(|state| state.name == self.name) else { return };
        if state.reason != reason {
            match &reason {
                None => tracing::info!(condition = self.name, "ready"),
                Some(reason) if reason == DRAINING => tracing::info!(condition = self.name, %reason, "not ready"),
                Some(reason) => tracing::warn!(condition = self.name, %reason, "not ready"),
            }
            state.reason = reason;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_condition_holds() {
        let health = Health::new();
        assert!(health.is_ready());
        let (keys, oidc) = (health.condition("keys"), health.condition("oidc"));
        keys.ready();
        assert!(!health.is_ready());
        assert_eq!(health.reasons(), ["oidc: starting"]);
        oidc.not_ready("the provider does not answer");
        assert_eq!(health.reasons(), ["oidc: the provider does not answer"]);
        oidc.ready();
        assert!(health.is_ready());
        health.condition("oidc");
        assert!(health.is_ready(), "asking for a condition again does not reset it");
        health.drain();
        assert_eq!(health.reasons(), ["serving: draining"]);
    }
}
