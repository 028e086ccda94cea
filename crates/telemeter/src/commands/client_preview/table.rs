//! Prints a preview, and the changes since an earlier one, in 80 columns.

use std::{io, path::Path};

use telemeter_client::preview::{
    Diff, LabelUse, LeftOutMetrics, MetricChange, PLACEHOLDER, Preview, PreviewMetric, Warning,
};

use crate::output::{Printer, Tone, human};

/// A no-break space, at which lines are not wrapped.
const NO_BREAK_SPACE: char = '\u{a0}';
/// The width of most terminals.
const WIDTH: usize = 80;
/// How many metrics a warning or a reason lists.
const MAX_METRICS: usize = 4;
/// How many selectors are listed that matched nothing.
const MAX_UNMATCHED: usize = 20;
/// How many selectors are listed for one metric.
const MAX_SELECTORS: usize = 3;

/// Prints the whole preview.
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
        printer.line(&row(&human::safe(&metric.name), &count_text(metric.series), &count_text(metric.bytes)))?;
        details(metric, preview, printer)?;
    }
    print_totals(preview, printer)?;
    let none: Vec<_> = preview.selectors.iter().filter(|selector| selector.series == 0).collect();
    if !none.is_empty() {
        print_heading("Selectors that matched nothing", printer)?;
        for selector in none.iter().take(MAX_UNMATCHED) {
            paragraph(&format!("{} {}", selector.flag, selector.selector), 2, printer)?;
        }
        if let Some(more @ 1..) = none.len().checked_sub(MAX_UNMATCHED) {
            paragraph(&format!("and {} more; -o json has them all", count_text(more)), 2, printer)?;
        }
    }
    if !preview.left_out.is_empty() {
        print_heading("Left out", printer)?;
        for left_out in &preview.left_out {
            paragraph(&left_out_text(left_out), 2, printer)?;
        }
    }
    print_warnings(&preview.warnings, printer)
}

/// Prints the changes since an earlier preview.
pub(super) fn diff(earlier: &Path, diff: &Diff, now: &Preview, printer: &mut Printer) -> io::Result<()> {
    let earlier = human::safe(&earlier.display().to_string());
    if diff.is_empty() {
        printer.line(&format!("Nothing changed since {earlier}: {} metrics.", count_text(diff.unchanged)))?;
        return print_warnings(&now.warnings, printer);
    }
    printer.line(&format!("What changed since {earlier}:"))?;
    if !diff.new.is_empty() {
        print_heading("New", printer)?;
        for metric in &diff.new {
            let labels: Vec<_> = metric.labels.iter().map(label).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("; labels: {}", labels.join(", ")) };
            paragraph(&format!("{}: {}{labels}", metric.name, series_count(metric.series)), 2, printer)?;
        }
    }
    if !diff.gone.is_empty() {
        print_heading("Gone", printer)?;
        for (name, had) in &diff.gone {
            paragraph(&format!("{name}: it had {}", series_count(*had)), 2, printer)?;
        }
    }
    if !diff.changed.is_empty() {
        print_heading("Changed", printer)?;
        for change in &diff.changed {
            paragraph(&format!("{}: {}", change.name, change_texts(change).join("; ")), 2, printer)?;
        }
    }
    printer.line(&format!(
        "\n{} of {} metrics are as they were.",
        count_text(diff.unchanged),
        count_text(now.metrics.len())
    ))?;
    print_warnings(&now.warnings, printer)
}

/// Prints the lines below the row of a metric.
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
    let more = asked.len().saturating_sub(MAX_SELECTORS);
    asked.truncate(MAX_SELECTORS);
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

/// Prints the sums below the list of metrics: what is uploaded, and how large the scrape is, also as a percentage of
/// `--limit-bytes`. A sentence names the labels that are added to every series, where there are any.
fn print_totals(preview: &Preview, printer: &mut Printer) -> io::Result<()> {
    let totals = &preview.totals;
    let size = |bytes: usize| human::bytes(bytes as u64);
    printer.line(&format!(
        "{}{}, {}: {} as text, {} as it is uploaded.",
        if preview.metrics.is_empty() { "" } else { "\n" },
        plural(totals.metrics, "metric"),
        series_count(totals.series),
        size(totals.bytes),
        size(totals.upload_bytes),
    ))?;
    let percent = 100.0 * totals.scraped_bytes as f64 / totals.limit_bytes.max(1) as f64;
    printer.line(&format!(
        "The scrape: {}, {}, {} % of --limit-bytes ({}).",
        series_count(totals.scraped_series),
        size(totals.scraped_bytes),
        human::number(percent),
        count_text(totals.limit_bytes),
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

/// Prints each warning with the first few metrics that it is about and with its advice; `No warnings.` where there are
/// none. If a warning is about a label, the last line names the flag that allows the label.
fn print_warnings(warnings: &[Warning], printer: &mut Printer) -> io::Result<()> {
    if warnings.is_empty() {
        return printer.line("\nNo warnings.");
    }
    print_heading("Warnings", printer)?;
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

/// Prints a blank line, then `text` and a colon, highlighted.
fn print_heading(text: &str, printer: &mut Printer) -> io::Result<()> {
    let text = printer.toned(Tone::Heading, &format!("{text}:"));
    printer.line(&format!("\n{text}"))
}

/// The text on the series that are left out for one reason: their number, the reason, and the first few of their
/// metrics, those with the most series first.
fn left_out_text(left_out: &LeftOutMetrics) -> String {
    let mut metrics: Vec<_> = left_out.metrics.iter().collect();
    metrics.sort_by_key(|(name, series)| (std::cmp::Reverse(**series), *name));
    let names = names(metrics.into_iter().map(|(name, series)| match (name.as_str(), series) {
        ("", _) => "without a name".to_owned(),
        (name, 1) => name.to_owned(),
        (name, series) => format!("{name} ({})", count_text(*series)),
    }));
    format!("{} {}: {names}", series_count(left_out.series), left_out.reason.as_str())
}

/// The first few, and how many more.
fn names(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_METRICS);
    names.truncate(MAX_METRICS);
    let listed = names.join(", ");
    if more > 0 { format!("{listed} and {} more", count_text(more)) } else { listed }
}

/// `instance 3`, or `instance 3 hashed`.
fn label(label: &LabelUse) -> String {
    let hashed = if label.anonymized { format!("{NO_BREAK_SPACE}hashed") } else { String::new() };
    format!("{}{NO_BREAK_SPACE}{}{hashed}", label.name, count_text(label.values))
}

/// What changed about one metric, a phrase for each change: its number of series, and labels that are new, gone,
/// hashed, no longer hashed, or have another number of values. Empty where nothing changed.
fn change_texts(change: &MetricChange) -> Vec<String> {
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
        words.push(format!("{}, before {}", series_count(*now), count_text(*old)));
    }
    words.extend(new_labels.iter().map(|new| {
        let hashed = if new.anonymized { ", hashed" } else { "" };
        let plural = if new.values == 1 { "" } else { "s" };
        format!("label {} is new ({} value{plural}{hashed})", new.name, count_text(new.values))
    }));
    words.extend(gone_labels.iter().map(|name| format!("label {name} is gone")));
    words.extend(no_longer_anonymized.iter().map(|name| format!("label {name} leaves in clear, before hashed")));
    words.extend(newly_anonymized.iter().map(|name| format!("label {name} is hashed, before in clear")));
    let values = values.iter().map(|(name, [old, now])| format!("label {name} has {now} values, before {old}"));
    words.extend(values);
    words
}

/// A metric's name with two numbers at the end of the line; the numbers are on a line of their own below a long name.
fn row(name: &str, series: &str, bytes: &str) -> String {
    let numbers = format!("{series:>9} {bytes:>10}");
    let name_width = WIDTH - numbers.len() - 1;
    if name.chars().count() > name_width {
        return format!("{name}\n{:name_width$} {numbers}", "");
    }
    format!("{name:name_width$} {numbers}")
}

/// Prints a text from outside, wrapped into lines that start with `indent` blanks.
fn paragraph(text: &str, indent: usize, printer: &mut Printer) -> io::Result<()> {
    printer.line(&wrapped(&human::safe(text), indent).replace(NO_BREAK_SPACE, " "))
}

/// Wraps `text` at blanks into lines of at most [`WIDTH`] characters; all but the first are indented by two more blanks. A
/// longer word gets a line of its own.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    let mut has_word = false;
    for word in text.split(' ') {
        if has_word && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(indent + 2);
            has_word = false;
        }
        if has_word {
            line.push(' ');
        }
        line.push_str(word);
        has_word = true;
    }
    lines + &line
}

/// The number as people read it, with separators between thousands.
fn count_text(number: usize) -> String {
    human::count(number as u64)
}

/// `1,234 series`.
fn series_count(number: usize) -> String {
    format!("{} series", count_text(number))
}

/// `1 metric`, `1,234 metrics`: the number and `word`, with an `s` unless the number is one.
fn plural(number: usize, word: &str) -> String {
    format!("{} {word}{}", count_text(number), if number == 1 { "" } else { "s" })
}
