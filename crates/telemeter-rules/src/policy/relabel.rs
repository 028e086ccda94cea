//! The same as a whitelist and the steps behind it, as Prometheus' `write_relabel_configs`.
//!
//! Relabelling has no "or" and no "not", and its expressions see labels joined by a separator that may stand in a value
//! too. So each rule is a small machine whose state is kept in a label of our own, and each of its steps looks at one
//! label alone. For the third rule, `{__name__="ALERTS",alertstate="firing",severity!="none"}`:
//!
//! ```text
//! __name__                   ALERTS            -> __tmp_telemeter_rule="3-1"
//! __tmp_telemeter_rule;severity    3-1;none    -> __tmp_telemeter_rule="no"
//! __tmp_telemeter_rule;alertstate  3-1;firing  -> __tmp_telemeter_keep="1"
//! ```
//!
//! The state never holds the separator, so that what stands behind the first one is the label's whole value. An expression
//! that asks where a value begins (`^`) cannot stand behind the state: it looks at the value alone, and notes in a label
//! what it met. States and notes name their rule, so that what an earlier one left there counts for none. At the end a series is kept if any rule said
//! so; rules that are one matcher on the metric name are joined.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.

use std::fmt;

use telemeter_wire::series::NAME_LABEL;

use super::normal::NormalizedSelector;
use crate::{
    matcher::{Matcher, Op},
    selector::{Selector, is_label_name},
};

#[cfg(test)]
mod tests;

/// Says that a rule selected the series.
const KEEP: &str = "__tmp_telemeter_keep";
/// How far the last rule got.
const STATE: &str = "__tmp_telemeter_rule";
/// Which matcher the last value met that was looked at alone.
const MET: &str = "__tmp_telemeter_met";
/// The new metric name, while the old one is looked at.
const NAME: &str = "__tmp_telemeter_name";
/// How many metric names stand in one expression.
const NAMES_A_STEP: usize = 10;

/// What is to be said in relabelling. The order is that of the fields.
#[derive(Clone, Debug, Default)]
pub struct RelabelSteps<'a> {
    /// A series is kept if one of these selects it; at least one.
    pub selectors: &'a [Selector],
    /// Where each selector is written, for the comments; as many.
    pub sources: &'a [String],
    /// Old and new metric names.
    pub renames: &'a [(String, String)],
    /// Labels that every series gets; an empty value takes one away.
    pub labels: &'a [(String, String)],
    /// Labels that are taken away.
    pub elided: &'a [String],
    /// Labels that every series gets at last: who sends it.
    pub identity: &'a [(String, String)],
}

/// One element of `write_relabel_configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelabelConfig {
    /// What it is for, a line each.
    pub comment: Vec<String>,
    /// The labels whose values are joined by `;`.
    pub source_labels: Vec<String>,
    /// What they have to match, whole; `None`: the default, which everything matches.
    pub regex: Option<String>,
    /// What is done then.
    pub action: RelabelAction,
}

/// What a [`RelabelConfig`] does where its expression matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RelabelAction {
    /// Gives a label a value, in which `$1` is the first group and `$$` a dollar; an empty one takes it away.
    Replace {
        /// The label.
        target_label: String,
        /// Its value.
        replacement: String,
    },
    /// Keeps the series; the others are gone.
    #[default]
    Keep,
    /// Takes away the labels whose names match.
    LabelDrop,
}

/// A selector that relabelling cannot say, counted from 0, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// The selector.
    pub rule: usize,
    /// The reason, to stand behind its text.
    pub reason: String,
}

/// Says `steps` in relabelling; what cannot be said is left out, and stands in the second list.
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
    for names in names.chunks(NAMES_A_STEP) {
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
    let ours = format!("{KEEP}|{STATE}|{MET}|{NAME}");
    let dropped = steps.elided.iter().map(|name| quote(name)).chain([ours]).collect::<Vec<_>>().join("|");
    configs.push(RelabelConfig { regex: Some(dropped), action: RelabelAction::LabelDrop, ..RelabelConfig::default() });
    for (name, value) in steps.identity {
        configs.push(set(name, value).with("Who sends it: the server holds a sender to its own ID.".to_owned()));
    }
    (configs, inexpressible)
}

/// The matchers that say something, those on the metric name first, then the positive ones.
fn rule_matchers(selector: &Selector) -> Vec<&Matcher> {
    let telling = |matcher: &&Matcher| !NormalizedSelector::of(&Selector::new(vec![(*matcher).clone()])).covers_all();
    let mut matchers: Vec<&Matcher> = selector.matchers().iter().filter(telling).collect();
    matchers.sort_by_key(|matcher| (matcher.op().is_negative(), matcher.name() != NAME_LABEL));
    matchers
}

/// The steps of the rule of this number, whose matchers are such as [`rule_matchers`] gives.
fn machine(number: usize, selector: &Selector, source: &str, matchers: &[&Matcher]) -> Vec<RelabelConfig> {
    let comment = if source.is_empty() { selector.to_string() } else { format!("{source}: {selector}") };
    let positive = matchers.iter().filter(|matcher| !matcher.op().is_negative()).count();
    let (wanted, unwanted) = matchers.split_at(positive);
    let state = |at: usize| format!("{number}-{at}");
    let mut configs = Vec::new();
    let mut at = 0;
    let mut wanted = wanted.iter();
    match wanted.next() {
        // All that one matcher asks for.
        Some(matcher) if matchers.len() == 1 => {
            return vec![replace(&[matcher.name()], Some(expression(matcher)), KEEP, "1").with(comment)];
        }
        Some(matcher) => {
            at = 1;
            configs.push(replace(&[matcher.name()], Some(expression(matcher)), STATE, &state(at)));
        }
        None => configs.push(replace(&[], None, STATE, &state(at))),
    }
    for (index, matcher) in unwanted.iter().enumerate() {
        step(&mut configs, &state(at), matcher, &format!("{number}-not-{index}"), STATE, "no");
    }
    let mut left = wanted.len();
    for matcher in wanted {
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

/// Sets `target` where the state is `state` and the value meets a matcher's positive form; `met` is a note that no other step
/// writes.
fn step(configs: &mut Vec<RelabelConfig>, state: &str, matcher: &Matcher, met: &str, target: &str, replacement: &str) {
    let expression = expression(matcher);
    if ["^", "\\A", "\\b", "\\B"].iter().any(|assertion| expression.contains(assertion)) {
        configs.push(replace(&[matcher.name()], Some(expression), MET, met));
        configs.push(replace(&[STATE, MET], Some(format!("{state};{met}")), target, replacement));
    } else {
        configs.push(replace(&[STATE, matcher.name()], Some(format!("{state};{expression}")), target, replacement));
    }
}

/// Renames whole names, each once: what one pair made is not changed by the next.
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

/// Gives every series this label.
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

/// A label that Prometheus 2 does not take as a source.
fn foreign_label(selector: &Selector) -> Option<String> {
    let foreign = selector.matchers().iter().map(Matcher::name).find(|name| !is_label_name(name))?;
    Some(format!("source_labels take no name like {foreign:?}: letters, digits and _ only"))
}

/// What a value has to match for the positive form of a matcher, as Go reads it; fit to stand behind other text, and as one
/// of several.
fn expression(matcher: &Matcher) -> String {
    match matcher.op() {
        // An empty expression could be taken for one that is not given.
        Op::Equal | Op::NotEqual if matcher.value().is_empty() => "(?:)".to_owned(),
        Op::Equal | Op::NotEqual => quote(matcher.value()),
        // In a selector a dot matches a line break too.
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
    /// An element of a YAML list, with its comment in front.
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

/// A text in YAML: in single quotes where each of its characters may stand there, else in double ones.
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
