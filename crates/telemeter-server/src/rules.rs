//! The operator's rules, compiled once and swapped whole at a reload.

use std::{borrow::Cow, collections::HashSet};

use telemeter_auth::jwt::Caller;
use telemeter_rules::{
    Refusal, Selector, StepCounts, Transform, Whitelist,
    canonical::Canonical,
    run, run_partial,
    transforms::{
        elide::Elide,
        escape::EscapeNames,
        filter::Filter,
        label::SetLabels,
        required::Required,
        timestamps::{CheckAhead, CheckUpload},
    },
};
use telemeter_wire::{
    Series, SeriesSet,
    exposition::{Escaping, NameKind, is_known_name},
};

use crate::{
    config::{self, ReceiveIdentity},
    fleet::{
        dropped::{CountDropped, DroppedNames},
        reserved::is_reserved,
    },
};

/// Added to the error of a selector that cannot be parsed.
const SELECTOR_FORM: &str = r#"a selector is up, or {__name__="up",job=~"a|b"}, one a flag and one a line"#;

/// The operator's rules: which series pass, and how they are changed.
pub struct ServerRules {
    partition_label: String,
    receive_identity: ReceiveIdentity,
    required: Vec<(String, String)>,
    whitelist: Whitelist,
    whitelist_duplicates: usize,
    labels: SetLabels,
    elide: Elide,
    escaping: Option<Escaping>,
    /// Names of labels that `labels` changes: after that a label has another value than the whitelist saw.
    set_labels: Vec<String>,
}

impl ServerRules {
    /// Compiles the rules, reading the whitelist's file.
    ///
    /// ```
    /// use telemeter_server::{Config, config::AuthorizationMode, rules::ServerRules};
    ///
    /// let mut config = Config::new(AuthorizationMode::AnyCluster);
    /// config.rules.whitelist = vec!["up".to_owned(), r#"{__name__="alerts",alertstate="firing"}"#.to_owned()];
    /// assert_eq!(ServerRules::load(&config)?.whitelist_len(), 2);
    ///
    /// config.rules.whitelist.push("{".to_owned());
    /// assert!(ServerRules::load(&config).is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// Which rule or file is wrong, and how.
    pub fn load(config: &config::Config) -> Result<Self, String> {
        let rules = &config.rules;
        let mut selectors = Vec::new();
        for rule in &rules.whitelist {
            selectors.push(Selector::parse(rule).map_err(|error| format!("--whitelist: {error}; {SELECTOR_FORM}"))?);
        }
        if let Some(file) = &rules.whitelist_file {
            let text = telemeter_http::file::read_text(file, telemeter_http::file::LARGE)
                .map_err(|error| format!("--whitelist-file: {error}"))?;
            let more = Selector::parse_lines(&text);
            selectors.extend(
                more.map_err(|error| format!("--whitelist-file {}: {error}; {SELECTOR_FORM}", file.display()))?,
            );
        }
        Ok(Self {
            partition_label: config.partition_label.clone(),
            receive_identity: config.receive_identity,
            required: rules.required_labels.clone(),
            whitelist_duplicates: selectors.len() - selectors.iter().collect::<HashSet<_>>().len(),
            whitelist: Whitelist::new(selectors),
            labels: SetLabels::new(rules.labels.iter().cloned()),
            elide: Elide::new(rules.elide_labels.iter().cloned()),
            escaping: rules.escaping.filter(|escaping| *escaping != Escaping::AllowUtf8),
            set_labels: rules.labels.iter().map(|(name, _)| name.clone()).collect(),
        })
    }

    /// How many rules the whitelist has; with 0 everything passes.
    #[must_use]
    pub fn whitelist_len(&self) -> usize {
        self.whitelist.len()
    }

    /// How many rules of the whitelist are duplicates.
    #[must_use]
    pub const fn whitelist_duplicates(&self) -> usize {
        self.whitelist_duplicates
    }

    /// The steps of one upload: every series has to carry the labels of the caller's token.
    #[must_use]
    pub fn of_upload<'r>(&'r self, caller: &'r Caller, now_ms: i64) -> ServerSteps<'r> {
        let mut required = Required::new();
        for (name, value) in caller.labels() {
            required.require_value(name, value);
        }
        self.steps(required, now_ms)
    }

    /// The steps of one remote write: every series has to carry the cluster's own ID, and the labels that the operator requires.
    #[must_use]
    pub fn of_receive<'r>(&'r self, cluster: &'r str, now_ms: i64) -> ServerSteps<'r> {
        let mut required = Required::new();
        match self.receive_identity {
            ReceiveIdentity::Strict => required.require_value(&self.partition_label, cluster),
            ReceiveIdentity::Presence => required.require_presence(&self.partition_label),
        }
        for (name, value) in &self.required {
            required.require_value(name, value);
        }
        self.steps(required, now_ms)
    }

    /// Whether a step after the whitelist changes labels of this name.
    #[must_use]
    pub fn changes_label(&self, name: &str) -> bool {
        let is_escaped = self.escaping.is_some() && !is_known_name(name, NameKind::Label);
        is_escaped || self.elide.covers(name) || self.set_labels.iter().any(|set| set == name)
    }

    /// Escapes the names of families in metadata as those of series were escaped, once it is settled which go on.
    pub fn escape_families<'a>(&self, set: &mut SeriesSet<'a>) {
        let Some(escaping) = self.escaping.filter(|_| set.has_metadata()) else { return };
        let arena = set.arena();
        set.rename_families(|family| match escaping.escape(family, NameKind::Metric) {
            Cow::Borrowed(_) => family,
            Cow::Owned(escaped) => arena.text().alloc_str(&escaped),
        });
    }

    /// The whitelist.
    #[must_use]
    pub const fn whitelist(&self) -> &Whitelist {
        &self.whitelist
    }

    /// Applies the rules to series of our own: they get the operator's labels as others do. No label is elided: without its
    /// `replica` label a series would be the same as another replica's.
    ///
    /// # Errors
    /// Why they cannot be sent: the operator sets a label that they have already.
    pub fn apply_to_own<'a>(&'a self, canonical: &'a Canonical, set: &mut SeriesSet<'a>) -> Result<(), Refusal> {
        run(set, &[canonical, &self.labels], &mut StepCounts::default())
    }

    /// The steps of one request that comes at `now_ms`, with the labels that its series have to carry.
    fn steps<'r>(&'r self, required: Required<'r>, now_ms: i64) -> ServerSteps<'r> {
        ServerSteps {
            check: CheckUpload::new(now_ms),
            canonical: Canonical::new(),
            required,
            ahead: CheckAhead::new(now_ms),
            filter: CountDropped::new(Filter::new(&self.whitelist).dropping_reserved(is_reserved)),
            labels: &self.labels,
            elide: &self.elide,
            escape: EscapeNames::new(self.escaping),
        }
    }
}

/// How many steps the series of a remote write go through.
const RECEIVE_STEPS: usize = 7;

/// The steps that the series of one request go through, in order.
pub struct ServerSteps<'r> {
    check: CheckUpload,
    canonical: Canonical,
    required: Required<'r>,
    ahead: CheckAhead,
    filter: CountDropped<'r, Filter<'r>>,
    labels: &'r SetLabels,
    elide: &'r Elide,
    escape: EscapeNames,
}

impl<'r> ServerSteps<'r> {
    /// Counts by name what the whitelist drops.
    #[must_use]
    pub fn counting(mut self, names: &'r DroppedNames) -> Self {
        self.filter = self.filter.counting(names);
        self
    }

    /// Applies all steps to an upload.
    ///
    /// # Errors
    /// Why the whole request is refused.
    pub fn upload<'a>(&'a self, set: &mut SeriesSet<'a>, counts: &mut StepCounts) -> Result<(), Refusal> {
        let steps: [&dyn Transform; 7] =
            [&self.check, &self.canonical, &self.required, &self.filter, self.labels, self.elide, &self.escape];
        run(set, &steps[..steps.len() - self.idle()], counts)
    }

    /// Applies all steps to a remote write.
    ///
    /// # Errors
    /// Why the whole request is refused.
    pub fn receive<'a>(&'a self, set: &mut SeriesSet<'a>, counts: &mut StepCounts) -> Result<(), Refusal> {
        run(set, &self.receive_steps()[..RECEIVE_STEPS - self.idle()], counts)
    }

    /// As [`receive`](Self::receive), but a series that a step refuses is left out and passed to `refused`; the others go on.
    pub fn receive_partial<'a>(
        &'a self,
        set: &mut SeriesSet<'a>,
        counts: &mut StepCounts,
        refused: impl FnMut(&Series<'_, 'a>, Refusal),
    ) {
        run_partial(set, &self.receive_steps()[..RECEIVE_STEPS - self.idle()], counts, refused);
    }

    /// The steps of a remote write, in order.
    fn receive_steps(&self) -> [&dyn Transform; RECEIVE_STEPS] {
        [&self.canonical, &self.required, &self.ahead, &self.filter, self.labels, self.elide, &self.escape]
    }

    /// How many of the last steps have nothing to do.
    fn idle(&self) -> usize {
        let idle = [self.escape.is_idle(), self.elide.is_empty(), self.labels.is_empty()];
        idle.iter().take_while(|idle| **idle).count()
    }
}
