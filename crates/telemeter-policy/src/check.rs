//! Checks lists of rules: errors, and findings that are worth a warning or a note.

use telemeter_rules::policy::findings::{RuleFinding, findings};

use crate::source::{RuleFile, SourcePosition};

/// The severity of a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A rule could be written more plainly.
    Note,
    /// A rule may not do what its author expects.
    Warning,
    /// A rule cannot be parsed.
    Error,
}

/// An error or a finding at one position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The severity.
    pub severity: Severity,
    /// The index of the file.
    pub file: usize,
    /// The position in the file.
    pub position: SourcePosition,
    /// A description of the problem.
    pub problem: String,
}

/// Checks each file as a list of its own or, `together`, all files as one list. The remarks are in the order of files and
/// positions.
#[must_use]
pub fn check(files: &[RuleFile], together: bool) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (file, rules) in files.iter().enumerate() {
        for fault in &rules.faults {
            remarks.push(Remark {
                severity: Severity::Error,
                file,
                position: fault.position,
                problem: fault.problem.clone(),
            });
        }
    }
    let lists: Vec<Vec<usize>> =
        if together { vec![(0..files.len()).collect()] } else { (0..files.len()).map(|file| vec![file]).collect() };
    for list in lists {
        let rules: Vec<(usize, usize)> =
            list.iter().flat_map(|&file| (0..files[file].rules.len()).map(move |rule| (file, rule))).collect();
        let selectors: Vec<_> = rules.iter().map(|&(file, rule)| files[file].rules[rule].selector.clone()).collect();
        for (index, finding) in findings(&selectors) {
            let (file, rule) = rules[index];
            let named = |index: usize| {
                let (file, rule) = rules[index];
                let rule = &files[file].rules[rule];
                format!("{}: {}", files[file].at(rule.position), rule.text)
            };
            let (severity, problem) = describe(&finding, named);
            remarks.push(Remark { severity, file, position: files[file].rules[rule].position, problem });
        }
    }
    remarks.sort_by_key(|remark| (remark.file, remark.position));
    remarks
}

/// The severity and the description of a finding; `named` describes another rule by its index.
fn describe(finding: &RuleFinding, named: impl Fn(usize) -> String) -> (Severity, String) {
    use Severity::{Note, Warning};
    match finding {
        RuleFinding::Duplicate { of } => (Warning, format!("a duplicate: it selects the same as {}", named(*of))),
        RuleFinding::Covered { by } => {
            let by: Vec<String> = by.iter().map(|rule| named(*rule)).collect();
            (Warning, format!("not needed: all that it selects is selected by {}", by.join(", and by ")))
        }
        RuleFinding::Never { label } => {
            (Warning, format!("selects nothing: no value of {label} meets all that is asked of it"))
        }
        RuleFinding::Nameless => (Warning, "selects nothing: every series has a metric name".to_owned()),
        RuleFinding::SelectsEmpty => (
            Warning,
            "selects a series without labels too: a Prometheus refuses it as match[]; ask for a value of one label at least"
                .to_owned(),
        ),
        RuleFinding::PlainValue { matcher, instead } => {
            (Note, format!("{matcher} is no pattern: {instead} says the same"))
        }
        RuleFinding::PlainNames { matcher, names } => {
            let what = if names.len() == 1 { "one metric name".to_owned() } else { format!("{} metric names", names.len()) };
            (Note, format!("{matcher} is no pattern, but {what}: a rule for each is easier to find and to take away"))
        }
    }
}
