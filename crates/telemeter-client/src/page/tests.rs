use telemeter_auth::Secret;
use telemeter_wire::NativeHistograms;

use super::*;
use crate::{
    config::{AnonymizeSettings as Hashes, Credential, SourceSettings, TargetSettings},
    pipeline::{ClientRules, PackedForm, Packer},
    status::{LastFailure, Scraped, Uploaded},
};

const NOW_MS: i64 = 1_795_330_870_734;

fn config() -> Config {
    let url = |text: &str| text.parse::<url::Url>().expect("a URL");
    let to = TargetSettings {
        authorize: url("http://to.test/authorize"),
        upload: url("http://user:hunter2@to.test/upload?key=hunter2"),
        receive: None,
        ca_file: None,
        token: Credential::Value(Secret::from("hunter2")),
    };
    let mut config = Config::new(SourceSettings::new(url("http://user:hunter2@from.test/federate")), to, "c<1>");
    let salt = Credential::Value(Secret::from("hunter2"));
    config.anonymize = Some(Hashes { labels: vec!["pod".to_owned()], salt });
    config
}

/// What a cycle packs of `body`.
fn packed(config: &Config, body: &str) -> Packed {
    let selectors = crate::matches::Selectors::read(config).expect("no file");
    let rules = ClientRules::new(config, &selectors).expect("no file");
    let mut packer = Packer::new(PackedForm::Families);
    let mut packing =
        packer.begin(&rules, &[("_id".to_owned(), "c1".to_owned())], NativeHistograms::Keep, NOW_MS, None);
    packing.add(telemeter_wire::exposition::ExpositionFormat::Text, body.as_bytes()).expect("a text");
    packing.end()
}

fn page(status: &StatusSnapshot, last: Option<&Packed>) -> String {
    let text = Page::new(&config(), status, last, NOW_MS).render().expect("a page");
    assert!(!text.contains("hunter2"), "{text}");
    text
}

#[test]
fn before_the_first_cycle_the_page_says_so() {
    let text = page(&StatusSnapshot { next_ms: Some(NOW_MS + 9_000), ..StatusSnapshot::default() }, None);
    for part in ["Nothing was reported yet", "<dd>never</dd>", "<dd>in 9s</dd>", "No metric has left", "c&#60;1&#62;"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn what_leaves_is_listed_and_what_looks_sensitive_is_marked() {
    let body = format!(
        "up{{instance=\"10.0.0.1:9100\",pod=\"a\",evil=\"<script>\"}} 1 {NOW_MS}\n\
         up{{instance=\"10.0.0.2:9100\",pod=\"b\",evil=\"<script>\"}} 1 {NOW_MS}\ndown 1\n"
    );
    let last = packed(&config(), &body);
    let left_out = last.left_out;
    let status = StatusSnapshot {
        scrape: Some(Scraped { at_ms: NOW_MS - 61_000, series: 3, bytes: 20_480, left_out }),
        upload: Some(Uploaded { at_ms: NOW_MS - 60_000, series: 2, bytes: 180, took: Duration::from_millis(40) }),
        failure: Some(LastFailure { at_ms: NOW_MS - 7_200_000, text: "the server refused".to_owned() }),
        next_ms: Some(NOW_MS + 210_000),
        ..StatusSnapshot::default()
    };
    let text = page(&status, Some(&last));
    for part in [
        "<span class=\"state good\">Reports get through</span>",
        "<dd>1m1s ago</dd><dd class=\"note\">3 series, 20.0 KiB, 10 % of --limit-bytes</dd>",
        "<dd>1m ago</dd><dd class=\"note\">2 series, 180 B, in 40ms</dd>",
        "<dd>in 3m30s</dd>",
        "2h ago; reports have got through since",
        "<span class=\"label sensitive\">instance <b>2</b></span>",
        "<span class=\"label\">pod <b>2 hashed</b></span>",
        "label instance names a machine and leaves in clear",
        "--anonymize-labels=instance hashes it",
        "Of the last scrape, 1 series did not leave: 1 without a time.",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("<script"), "{text}");
}

#[test]
fn a_failure_that_stands_is_the_headline() {
    let cause = "the server was not reached to upload: connection refused".to_owned();
    let failure = Some(LastFailure { at_ms: NOW_MS - 5_000, text: cause.clone() });
    let text = page(&StatusSnapshot { failure, failures_in_a_row: 4, ..StatusSnapshot::default() }, None);
    assert!(text.contains("state bad\">Reports do not get through") && text.contains(&cause), "{text}");
    assert!(
        text.contains("<section class=\"box bad\">\n<h2>Last error <span class=\"muted\">5s ago</span></h2>"),
        "{text}"
    );
    let no_upload_reason = Some("nothing matched".to_owned());
    let text = page(&StatusSnapshot { no_upload_reason, ..StatusSnapshot::default() }, None);
    assert!(
        text.contains("There is nothing to report") && text.contains("<p class=\"words\">nothing matched</p>"),
        "{text}"
    );
}

#[test]
fn a_large_upload_makes_no_large_page() {
    let mut body = String::new();
    for metric in 0..600 {
        body.push_str(&format!("metric_{metric:03} 1 {NOW_MS}\n"));
    }
    for series in 0..300 {
        body.push_str(&format!("many{{series=\"{series}\"}} 1 {NOW_MS}\n"));
    }
    let text = page(&StatusSnapshot::default(), Some(&packed(&config(), &body)));
    assert!(text.contains("And 101 metrics more"), "{text}");
    assert!(text.contains("series <b>100+</b>"), "{text}");
    assert!(text.len() < 200 * 1024, "{} bytes", text.len());
}
