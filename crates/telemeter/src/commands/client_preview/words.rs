//! A preview, and what changed since another one, in 80 columns.

use std::{io, path::Path};

use telemeter_client::preview::{
    Diff, LabelUse, LeftOutMetrics, MetricChange, PLACEHOLDER, Preview, PreviewMetric, Warning,
};

use crate::output::{Printer, Tone, human};

/// A blank where no line is broken.
const GLUE: char = '\u{a0}';
/// As wide as most terminals are.
const WIDTH: usize = 80;
/// So many names of metrics are listed behind a warning or a reason.
const NAMES: usize = 4;
/// So many selectors that matched nothing.
const UNMATCHED: usize = 20;
/// So many selectors that name one metric.
const SELECTORS: usize = 3;

/// The whole preview.
pub(super) fn preview(preview: &Preview, printer: &mut Printer) -> io::Result<()> {
    paragraph(
        &format!("What the client would send of {}. Behind each label: how many values it has.", preview.source),
        0,
        printer,
    )?;
    printer.line("")?;
    if !preview.metrics.is_empty() {
        let heading = row("METRIC", "SERIES", "BYTES");
        printer.line(&printer.toned(Tone::Heading, &heading))?;
    }
    for metric in &preview.metrics {
        printer.line(&row(&human::safe(&metric.name), &count(metric.series), &count(metric.bytes)))?;
        details(metric, preview, printer)?;
    }
    totals(preview, printer)?;
    let none: Vec<_> = preview.selectors.iter().filter(|selector| selector.series == 0).collect();
    if !none.is_empty() {
        heading("Selectors that matched nothing", printer)?;
        for selector in none.iter().take(UNMATCHED) {
            paragraph(&format!("{} {}", selector.flag, selector.selector), 2, printer)?;
        }
        if let Some(more @ 1..) = none.len().checked_sub(UNMATCHED) {
            paragraph(&format!("and {} more; -o json has them all", count(more)), 2, printer)?;
        }
    }
    if !preview.left_out.is_empty() {
        heading("Left out", printer)?;
        for left_out in &preview.left_out {
            paragraph(&reason(left_out), 2, printer)?;
        }
    }
    warnings(&preview.warnings, printer)
}

/// What changed.
pub(super) fn diff(earlier: &Path, diff: &Diff, now: &Preview, printer: &mut Printer) -> io::Result<()> {
    let earlier = human::safe(&earlier.display().to_string());
    if diff.is_empty() {
        printer.line(&format!("Nothing changed since {earlier}: {} metrics.", count(diff.unchanged)))?;
        return warnings(&now.warnings, printer);
    }
    printer.line(&format!("What changed since {earlier}:"))?;
    if !diff.new.is_empty() {
        heading("New", printer)?;
        for metric in &diff.new {
            let labels: Vec<_> = metric.labels.iter().map(label).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("; labels: {}", labels.join(", ")) };
            paragraph(&format!("{}: {}{labels}", metric.name, series(metric.series)), 2, printer)?;
        }
    }
    if !diff.gone.is_empty() {
        heading("Gone", printer)?;
        for (name, had) in &diff.gone {
            paragraph(&format!("{name}: it had {}", series(*had)), 2, printer)?;
        }
    }
    if !diff.changed.is_empty() {
        heading("Changed", printer)?;
        for change in &diff.changed {
            paragraph(&format!("{}: {}", change.name, changes(change).join("; ")), 2, printer)?;
        }
    }
    printer.line(&format!("\n{} of {} metrics are as they were.", count(diff.unchanged), count(now.metrics.len())))?;
    warnings(&now.warnings, printer)
}

/// What stands below the row of a metric.
fn details(metric: &PreviewMetric, preview: &Preview, printer: &mut Printer) -> io::Result<()> {
    if let Some(old) = &metric.scraped_as {
        paragraph(&format!("scraped as {old}"), 2, printer)?;
    }
    let own_name = metric.scraped_as.as_ref().unwrap_or(&metric.name);
    let selectors = metric.selectors.iter().filter_map(|number| preview.selectors.get(number - 1));
    let by_name = [own_name.clone(), format!("{{__name__=\"{own_name}\"}}")];
    let mut asked: Vec<_> = selectors
        .map(|used| if by_name.contains(&used.selector) { "its name".to_owned() } else { used.selector.clone() })
        .collect();
    let more = asked.len().saturating_sub(SELECTORS);
    asked.truncate(SELECTORS);
    if more > 0 {
        asked.push(format!("{more} more"));
    }
    match asked[..] {
        [] => paragraph("asked for by no selector", 2, printer)?,
        _ => paragraph(&format!("asked for by {}", asked.join(" and ")), 2, printer)?,
    }
    let is_added = |label: &&LabelUse| preview.added_labels.iter().any(|added| added.name == label.name);
    let labels: Vec<_> = metric.labels.iter().filter(|label| !is_added(label)).map(label).collect();
    if labels.is_empty() {
        return Ok(());
    }
    paragraph(&format!("labels: {}", labels.join(", ")), 2, printer)
}

fn totals(preview: &Preview, printer: &mut Printer) -> io::Result<()> {
    let totals = &preview.totals;
    let size = |bytes: usize| human::bytes(bytes as u64);
    printer.line(&format!(
        "{}{}, {}: {} as text, {} as it is uploaded.",
        if preview.metrics.is_empty() { "" } else { "\n" },
        plural(totals.metrics, "metric"),
        series(totals.series),
        size(totals.bytes),
        size(totals.upload_bytes),
    ))?;
    let percent = 100.0 * totals.scraped_bytes as f64 / totals.limit_bytes.max(1) as f64;
    printer.line(&format!(
        "The scrape: {}, {}, {} % of --limit-bytes ({}).",
        series(totals.scraped_series),
        size(totals.scraped_bytes),
        human::number(percent),
        count(totals.limit_bytes),
    ))?;
    let added = preview.added_labels.iter().map(|label| format!("{}={:?}", label.name, label.value));
    let added: Vec<_> = added.collect();
    if added.is_empty() {
        return Ok(());
    }
    let unknown = preview.added_labels.iter().any(|label| label.value == PLACEHOLDER);
    let more = if unknown { ", and what else the server wants (--with-authorize asks it)" } else { "" };
    paragraph(&format!("Every series also gets {}{more}.", added.join(", ")), 0, printer)
}

fn warnings(warnings: &[Warning], printer: &mut Printer) -> io::Result<()> {
    if warnings.is_empty() {
        return printer.line("\nNo warnings.");
    }
    heading("Warnings", printer)?;
    for warning in warnings {
        let metrics = if warning.metrics.len() < 2 && warning.label.is_none() {
            String::new()
        } else {
            format!(": {}", names(warning.metrics.iter().cloned()))
        };
        let text = wrapped(&human::safe(&format!("! {}{metrics}", warning.message)), 2);
        printer.line(&printer.toned(Tone::Warning, &text))?;
        if let Some(advice) = &warning.advice {
            paragraph(advice, 4, printer)?;
        }
    }
    if warnings.iter().any(|warning| warning.label.is_some()) {
        paragraph("A label that may leave in clear: --allow-label NAME.", 2, printer)?;
    }
    Ok(())
}

fn heading(text: &str, printer: &mut Printer) -> io::Result<()> {
    let text = printer.toned(Tone::Heading, &format!("{text}:"));
    printer.line(&format!("\n{text}"))
}

fn reason(left_out: &LeftOutMetrics) -> String {
    let mut metrics: Vec<_> = left_out.metrics.iter().collect();
    metrics.sort_by_key(|(name, series)| (std::cmp::Reverse(**series), *name));
    let names = names(metrics.into_iter().map(|(name, series)| match (name.as_str(), series) {
        ("", _) => "without a name".to_owned(),
        (name, 1) => name.to_owned(),
        (name, series) => format!("{name} ({})", count(*series)),
    }));
    format!("{} {}: {names}", series(left_out.series), left_out.reason.as_str())
}

/// The first few, and how many more.
fn names(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let listed = names.join(", ");
    if more > 0 { format!("{listed} and {} more", count(more)) } else { listed }
}

/// `instance 3`, or `instance 3 hashed`.
fn label(label: &LabelUse) -> String {
    let hashed = if label.anonymized { format!("{GLUE}hashed") } else { String::new() };
    format!("{}{GLUE}{}{hashed}", label.name, count(label.values))
}

fn changes(change: &MetricChange) -> Vec<String> {
    let MetricChange {
        series: [old, now],
        new_labels,
        gone_labels,
        no_longer_anonymized,
        newly_anonymized,
        values,
        ..
    } = change;
    let mut words = Vec::new();
    if old != now {
        words.push(format!("{}, before {}", series(*now), count(*old)));
    }
    words.extend(new_labels.iter().map(|new| {
        let hashed = if new.anonymized { ", hashed" } else { "" };
        let plural = if new.values == 1 { "" } else { "s" };
        format!("label {} is new ({} value{plural}{hashed})", new.name, count(new.values))
    }));
    words.extend(gone_labels.iter().map(|name| format!("label {name} is gone")));
    words.extend(no_longer_anonymized.iter().map(|name| format!("label {name} leaves in clear, before hashed")));
    words.extend(newly_anonymized.iter().map(|name| format!("label {name} is hashed, before in clear")));
    let values = values.iter().map(|(name, [old, now])| format!("label {name} has {now} values, before {old}"));
    words.extend(values);
    words
}

/// A metric's name, and two numbers at the end of the line; below a name that leaves no room for them.
fn row(name: &str, series: &str, bytes: &str) -> String {
    let numbers = format!("{series:>9} {bytes:>10}");
    let room = WIDTH - numbers.len() - 1;
    if name.chars().count() > room {
        return format!("{name}\n{:room$} {numbers}", "");
    }
    format!("{name:room$} {numbers}")
}

/// Text from anywhere, in lines that begin with `indent` blanks.
fn paragraph(text: &str, indent: usize, printer: &mut Printer) -> io::Result<()> {
    printer.line(&wrapped(&human::safe(text), indent).replace(GLUE, " "))
}

/// Breaks `text` at blanks into lines of at most [`WIDTH`]; those behind the first are two blanks further in. A word that
/// is longer stands in a line of its own.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    let mut begun = false;
    for word in text.split(' ') {
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(indent + 2);
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    lines + &line
}

fn count(number: usize) -> String {
    human::count(number as u64)
}

fn series(number: usize) -> String {
    format!("{} series", count(number))
}

fn plural(number: usize, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}
