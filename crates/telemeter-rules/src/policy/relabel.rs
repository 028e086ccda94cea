//! Translates a whitelist and the steps that follow it into Prometheus' `write_relabel_configs`.
//!
//! Relabelling has no "or" and no "not", and its expressions match label values that are joined by a separator, which may
//! also occur in a value. So each rule becomes a small state machine: its state is kept in a temporary label, and each of its
//! steps tests one label. For the third rule, `{__name__="ALERTS",alertstate="firing",severity!="none"}`:
//!
//! ```text
//! __name__                   ALERTS            -> __tmp_telemeter_rule="3-1"
//! __tmp_telemeter_rule;severity    3-1;none    -> __tmp_telemeter_rule="no"
//! __tmp_telemeter_rule;alertstate  3-1;firing  -> __tmp_telemeter_keep="1"
//! ```
//!
//! The state never has the separator, so that the text after the first separator is the label's whole value. An expression
//! with an assertion such as `^` cannot be tested together with the state: it is tested on the value alone, and its result
//! is kept in a second temporary label. States and results have the number of their rule, so that those of an earlier rule
//! have no effect. At the end, a series is kept if any rule selected it. Rules of one matcher on the metric name are joined.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.

use std::fmt;

use telemeter_wire::series::{NAME_LABEL, is_label_name};

use super::normal::NormalizedSelector;
use crate::{
    matcher::{Matcher, Op},
    selector::Selector,
};

#[cfg(test)]
mod tests;

/// The temporary label that is set once a rule has selected the series.
const KEEP: &str = "__tmp_telemeter_keep";
/// The temporary label with the state of the last rule.
const STATE: &str = "__tmp_telemeter_rule";
/// The temporary label with the last matcher that was met by a value alone.
const MET: &str = "__tmp_telemeter_met";
/// The temporary label with the new metric name, until all renames were tested.
const NAME: &str = "__tmp_telemeter_name";
/// How many metric names are joined in one expression.
const NAMES_PER_STEP: usize = 10;

/// The steps to be translated, in the order in which they are applied.
#[derive(Clone, Debug, Default)]
pub struct RelabelSteps<'a> {
    /// The whitelist, with at least one selector.
    pub selectors: &'a [Selector],
    /// The place where each selector is written, for the comments.
    pub sources: &'a [String],
    /// Old and new metric names.
    pub renames: &'a [(String, String)],
    /// Labels that are set on every series; an empty value removes the label.
    pub labels: &'a [(String, String)],
    /// The names of labels that are removed.
    pub elided: &'a [String],
    /// Labels that are set at the end: the identity of the sender.
    pub identity: &'a [(String, String)],
}

/// One element of `write_relabel_configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelabelConfig {
    /// The lines of the comment above the element.
    pub comment: Vec<String>,
    /// The names of the labels whose values are joined by `;`.
    pub source_labels: Vec<String>,
    /// The expression that has to match the whole joined value; `None` for the default, which matches every value.
    pub regex: Option<String>,
    /// What is done where the expression matches.
    pub action: RelabelAction,
}

/// What a [`RelabelConfig`] does where its expression matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RelabelAction {
    /// Sets a label; an empty value removes it.
    Replace {
        /// The name of the label.
        target_label: String,
        /// Its value, in which `$1` is the first group and `$$` a dollar.
        replacement: String,
    },
    /// Keeps the series; all others are dropped.
    #[default]
    Keep,
    /// Removes the labels whose names match.
    LabelDrop,
}

/// A selector that relabelling cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// The index of the selector.
    pub rule: usize,
    /// The reason, to be printed after the selector.
    pub reason: String,
}

/// Translates `steps`. Selectors that relabelling cannot express are left out, and returned in the second list.
#[must_use]
pub fn configs(steps: &RelabelSteps<'_>) -> (Vec<RelabelConfig>, Vec<Inexpressible>) {
    let (mut configs, mut inexpressible) = (Vec::new(), Vec::new());
    let mut names: Vec<(String, &str)> = Vec::new();
    let mut machines = Vec::new();
    for (index, selector) in steps.selectors.iter().enumerate() {
        let source = steps.sources.get(index).map_or("", String::as_str);
        if let Some(reason) = foreign_label(selector) {
            inexpressible.push(Inexpressible { rule: index, reason });
            continue;
        }
        if NormalizedSelector::of(selector).never().is_some() {
            continue;
        }
        match rule_matchers(selector)[..] {
            [matcher] if matcher.name() == NAME_LABEL && !matcher.op().is_negative() => {
                names.push((expression(matcher), source));
            }
            ref matchers => machines.append(&mut machine(index + 1, selector, source, matchers)),
        }
    }
    for names in names.chunks(NAMES_PER_STEP) {
        let (first, last) = (names[0].1, names[names.len() - 1].1);
        let comment = if names.len() == 1 { first.to_owned() } else { format!("{first} to {last}") };
        let regex = names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("|");
        configs.push(replace(&[NAME_LABEL], Some(regex), KEEP, "1").with(comment));
    }
    configs.append(&mut machines);
    let keep =
        RelabelConfig { source_labels: vec![KEEP.to_owned()], regex: Some("1".to_owned()), ..RelabelConfig::default() };
    configs.push(keep.with("What no rule selects is not sent.".to_owned()));
    configs.append(&mut renames(steps.renames));
    for (name, value) in steps.labels {
        configs.push(set(name, value));
    }
    let temporary = format!("{KEEP}|{STATE}|{MET}|{NAME}");
    let dropped = steps.elided.iter().map(|name| quote(name)).chain([temporary]).collect::<Vec<_>>().join("|");
    configs.push(RelabelConfig { regex: Some(dropped), action: RelabelAction::LabelDrop, ..RelabelConfig::default() });
    for (name, value) in steps.identity {
        configs.push(set(name, value).with("The sender: the server requires its own ID.".to_owned()));
    }
    (configs, inexpressible)
}

/// The matchers that restrict something: the positive ones first, and among these those on the metric name.
fn rule_matchers(selector: &Selector) -> Vec<&Matcher> {
    let restricts = |matcher: &&Matcher| !NormalizedSelector::of(&Selector::new(vec![(*matcher).clone()])).covers_all();
    let mut matchers: Vec<&Matcher> = selector.matchers().iter().filter(restricts).collect();
    matchers.sort_by_key(|matcher| (matcher.op().is_negative(), matcher.name() != NAME_LABEL));
    matchers
}

/// The state machine of a rule: `number` is unique for it, and `matchers` are those of [`rule_matchers`].
fn machine(number: usize, selector: &Selector, source: &str, matchers: &[&Matcher]) -> Vec<RelabelConfig> {
    let comment = if source.is_empty() { selector.to_string() } else { format!("{source}: {selector}") };
    let positive = matchers.iter().filter(|matcher| !matcher.op().is_negative()).count();
    let (positive_matchers, negative_matchers) = matchers.split_at(positive);
    let state = |at: usize| format!("{number}-{at}");
    let mut configs = Vec::new();
    let mut at = 0;
    let mut remaining = positive_matchers.iter();
    match remaining.next() {
        // The rule is this matcher alone.
        Some(matcher) if matchers.len() == 1 => {
            return vec![replace(&[matcher.name()], Some(expression(matcher)), KEEP, "1").with(comment)];
        }
        Some(matcher) => {
            at = 1;
            configs.push(replace(&[matcher.name()], Some(expression(matcher)), STATE, &state(at)));
        }
        None => configs.push(replace(&[], None, STATE, &state(at))),
    }
    for (index, matcher) in negative_matchers.iter().enumerate() {
        step(&mut configs, &state(at), matcher, &format!("{number}-not-{index}"), STATE, "no");
    }
    let mut left = remaining.len();
    for matcher in remaining {
        let (before, met) = (state(at), format!("{number}-met-{at}"));
        left -= 1;
        at += 1;
        let (target, value) = if left == 0 { (KEEP, "1".to_owned()) } else { (STATE, state(at)) };
        step(&mut configs, &before, matcher, &met, target, &value);
    }
    if positive < 2 {
        configs.push(replace(&[STATE], Some(state(at)), KEEP, "1"));
    }
    configs[0].comment.push(comment);
    configs
}

/// Sets `target` where the state is `state` and the value meets the positive form of a matcher; `met` is a value of
/// [`MET`] that no other step sets.
fn step(configs: &mut Vec<RelabelConfig>, state: &str, matcher: &Matcher, met: &str, target: &str, replacement: &str) {
    let expression = expression(matcher);
    if ["^", "\\A", "\\b", "\\B"].iter().any(|assertion| expression.contains(assertion)) {
        configs.push(replace(&[matcher.name()], Some(expression), MET, met));
        configs.push(replace(&[STATE, MET], Some(format!("{state};{met}")), target, replacement));
    } else {
        configs.push(replace(&[STATE, matcher.name()], Some(format!("{state};{expression}")), target, replacement));
    }
}

/// The steps that rename metrics, each once: the new name of one pair is not renamed by the next.
fn renames(pairs: &[(String, String)]) -> Vec<RelabelConfig> {
    let chained = pairs.iter().any(|(_, new)| pairs.iter().any(|(old, _)| old == new));
    let target = if chained { NAME } else { NAME_LABEL };
    let one = |(old, new): &(String, String)| {
        let config = replace(&[NAME_LABEL], Some(quote(old)), target, &new.replace('$', "$$"));
        config.with(format!("Sent as {new}."))
    };
    let mut configs: Vec<RelabelConfig> = pairs.iter().map(one).collect();
    if chained {
        configs.push(replace(&[NAME], Some("(?s:(.+))".to_owned()), NAME_LABEL, "$1"));
    }
    configs
}

/// The step that sets a label of every series.
fn set(name: &str, value: &str) -> RelabelConfig {
    replace(&[], None, name, &value.replace('$', "$$"))
}

fn replace(sources: &[&str], regex: Option<String>, target: &str, replacement: &str) -> RelabelConfig {
    RelabelConfig {
        comment: Vec::new(),
        source_labels: sources.iter().map(|&name| name.to_owned()).collect(),
        regex,
        action: RelabelAction::Replace { target_label: target.to_owned(), replacement: replacement.to_owned() },
    }
}

/// Why relabelling cannot express a selector: it has a label name that Prometheus 2 does not accept in `source_labels`.
fn foreign_label(selector: &Selector) -> Option<String> {
    let foreign = selector.matchers().iter().map(Matcher::name).find(|name| !is_label_name(name))?;
    Some(format!("source_labels take no name like {foreign:?}: letters, digits and _ only"))
}

/// An expression in Go's syntax for the positive form of a matcher, such that it can follow other text and be joined with
/// others by `|`.
fn expression(matcher: &Matcher) -> String {
    match matcher.op() {
        // Prometheus takes an empty expression for an absent one.
        Op::Equal | Op::NotEqual if matcher.value().is_empty() => "(?:)".to_owned(),
        Op::Equal | Op::NotEqual => quote(matcher.value()),
        // In a selector, a dot also matches a line break.
        Op::Matches | Op::NotMatches => format!("(?s:{})", matcher.value()),
    }
}

/// An expression that matches this text alone, in Go's syntax.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if r"\.+*?()|[]{}^$".contains(char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

impl RelabelConfig {
    fn with(mut self, comment: String) -> Self {
        if !comment.is_empty() {
            self.comment.push(comment);
        }
        self
    }
}

impl fmt::Display for RelabelConfig {
    /// An element of a YAML list, after its comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.comment.iter().flat_map(|comment| comment.lines()) {
            writeln!(f, "# {}", line.replace(char::is_control, " "))?;
        }
        let mut fields = Vec::new();
        if !self.source_labels.is_empty() {
            fields.push(format!("source_labels: [{}]", self.source_labels.join(", ")));
        }
        if let Some(regex) = &self.regex {
            fields.push(format!("regex: {}", yaml(regex)));
        }
        match &self.action {
            RelabelAction::Replace { target_label, replacement } => {
                fields.push(format!("target_label: {target_label}"));
                fields.push(format!("replacement: {}", yaml(replacement)));
            }
            RelabelAction::Keep => fields.push("action: keep".to_owned()),
            RelabelAction::LabelDrop => fields.push("action: labeldrop".to_owned()),
        }
        for (index, field) in fields.iter().enumerate() {
            writeln!(f, "{}{field}", if index == 0 { "- " } else { "  " })?;
        }
        Ok(())
    }
}

/// A string in YAML: in single quotes where each character is allowed in these, else in double quotes.
fn yaml(text: &str) -> String {
    let plain = |char: char| !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}'..);
    if text.chars().all(plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if plain(char) => out.push(char),
            char => out.push_str(&match u32::from(char) {
                code @ ..=0xff => format!("\\x{code:02x}"),
                code @ ..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push('"');
    out
}
