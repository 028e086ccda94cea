//! What is wrong or odd in lists of rules.

use telemeter_rules::policy::findings::{RuleFinding, findings};

use crate::source::{RuleFile, SourcePosition};

/// How much a remark weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It could be written more plainly.
    Note,
    /// A rule does not do what its author may think.
    Warning,
    /// It cannot be read.
    Error,
}

/// What is wrong or odd at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How much it weighs.
    pub severity: Severity,
    /// The file, as counted from 0 in the order given.
    pub file: usize,
    /// Where in it.
    pub place: SourcePosition,
    /// What is wrong, in words.
    pub problem: String,
}

/// Checks each file by itself; or, `together`, as one list. In the order of files and places.
#[must_use]
pub fn check(files: &[RuleFile], together: bool) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (file, rules) in files.iter().enumerate() {
        for fault in &rules.faults {
            remarks.push(Remark {
                severity: Severity::Error,
                file,
                place: fault.place,
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
                format!("{}: {}", files[file].at(rule.place), rule.text)
            };
            let (severity, problem) = words(&finding, named);
            remarks.push(Remark { severity, file, place: files[file].rules[rule].place, problem });
        }
    }
    remarks.sort_by_key(|remark| (remark.file, remark.place));
    remarks
}

fn words(finding: &RuleFinding, named: impl Fn(usize) -> String) -> (Severity, String) {
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
