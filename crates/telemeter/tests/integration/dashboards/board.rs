//! Reads a dashboard from its file: its panels with their queries. Checks everything that can be checked without a
//! store.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::query::{QueryTimes, duration, regex};

/// The panel types that these dashboards may use; Grafana has them without a plugin.
const PANEL_TYPES: [&str; 4] = ["stat", "timeseries", "bargauge", "table"];
/// The number of columns of Grafana's grid.
const WIDTH: u64 = 24;

/// A dashboard of `dashboards/`.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) uid: String,
    json: Value,
}

/// A panel with queries.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) queries: Vec<PanelQuery>,
    json: Value,
}

/// One query of a panel.
#[derive(Clone, Debug)]
pub(crate) struct PanelQuery {
    pub(crate) ref_id: String,
    pub(crate) expression: String,
    pub(crate) legend: String,
    /// Whether it is evaluated over the dashboard's time range, or only at the end of the range.
    pub(crate) over_range: bool,
    pub(crate) times: QueryTimes,
}

/// A variable with values from a query to the store.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) regex: String,
}

impl Board {
    /// Reads all files of the folder, in the order of their names.
    pub(crate) fn all(folder: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(folder).expect("the dashboards are there");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
        files.sort();
        let read = |file: &std::path::PathBuf| {
            let text = std::fs::read_to_string(file).expect("a dashboard is text");
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            Self { uid: text_of(&json["uid"]), json }
        };
        files.iter().map(read).collect()
    }

    /// The length of the dashboard's time range.
    pub(crate) fn range(&self) -> Duration {
        let from = text_of(&self.json["time"]["from"]);
        from.strip_prefix("now-").and_then(duration).unwrap_or_else(|| panic!("{}: time from {from:?}", self.uid))
    }

    pub(crate) fn panels(&self) -> Vec<Panel> {
        let shows = |panel: &&Value| panel["type"] != "row";
        list(&self.json["panels"]).iter().filter(shows).map(|json| self.panel(json)).collect()
    }

    fn panel(&self, json: &Value) -> Panel {
        let query = |target: &Value| PanelQuery {
            ref_id: text_of(&target["refId"]),
            expression: text_of(&target["expr"]),
            legend: text_of(&target["legendFormat"]),
            over_range: target["range"] == true,
            times: QueryTimes::new(self.range(), target["interval"].as_str().and_then(duration)),
        };
        Panel {
            title: text_of(&json["title"]),
            kind: text_of(&json["type"]),
            unit: text_of(&json["fieldConfig"]["defaults"]["unit"]),
            queries: list(&json["targets"]).iter().map(query).collect(),
            json: json.clone(),
        }
    }

    pub(crate) fn variables(&self) -> Vec<Variable> {
        let asked = list(&self.json["templating"]["list"]).iter().filter(|variable| variable["type"] == "query");
        let variable = |json: &Value| Variable {
            name: text_of(&json["name"]),
            query: text_of(&json["query"]["query"]),
            regex: text_of(&json["regex"]),
        };
        asked.map(variable).collect()
    }

    /// Returns the dashboards that its links refer to.
    pub(crate) fn links(&self) -> BTreeSet<String> {
        let text = self.json.to_string();
        regex(r"/d/([\w-]+)").captures_iter(&text).map(|found| found[1].to_owned()).collect()
    }

    /// Returns a description of each error in the dashboard; empty where there is none.
    pub(crate) fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        let mut hold = |holds: bool, flaw: &str| {
            if !holds {
                flaws.push(format!("{}: {flaw}", self.uid))
            }
        };
        let json = &self.json;
        hold(json["schemaVersion"].as_u64().is_some_and(|version| version >= 38), "schemaVersion is not of Grafana 10");
        hold(json["id"].is_null(), "it has the id of one Grafana's database");
        hold(regex(r"^[a-z-]{1,40}$").is_match(&self.uid), "its uid");
        hold(!text_of(&json["title"]).is_empty() && is_sentence(&json["description"]), "title and description");
        hold(list(&json["tags"]).contains(&json!("telemeter")), "the tag that links find it by");
        hold(json["refresh"].as_str().and_then(duration).is_some(), "refresh");
        hold(json["time"]["to"] == "now" && self.range() > Duration::ZERO, "its time range");
        let by_tag = |link: &Value| link["type"] == "dashboards" && link["tags"] == json!(["telemeter"]);
        hold(list(&json["links"]).iter().any(by_tag), "no links to the others");
        let source = &json["templating"]["list"][0];
        let named = (&source["name"], &source["type"], &source["query"]);
        hold(
            named == (&json!("datasource"), &json!("datasource"), &json!("prometheus")),
            "its data source is not a variable",
        );
        for variable in &list(&json["templating"]["list"])[1..] {
            let name = text_of(&variable["name"]);
            hold(is_source(&variable["datasource"]), &format!("${name}: its data source"));
            hold(
                is_sentence(&variable["description"]) && variable["label"].is_string(),
                &format!("${name}: what it is"),
            );
            hold(
                variable["definition"] == variable["query"]["query"],
                &format!("${name}: definition and query differ"),
            );
        }
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in list(&json["panels"]) {
            let title = text_of(&panel["title"]);
            hold(!title.is_empty() && titles.insert(title.clone()), &format!("{title}: a duplicate title, or none"));
            hold(ids.insert(panel["id"].as_u64()), &format!("{title}: a duplicate id"));
            flaws_of_panel(panel, &mut |holds, flaw| hold(holds, &format!("{title}: {flaw}")));
        }
        flaws.extend(overlaps(list(&json["panels"])).into_iter().map(|flaw| format!("{}: {flaw}", self.uid)));
        flaws
    }
}

impl Panel {
    /// Returns the names of a table's columns before they are renamed, and the names of the hidden columns.
    pub(crate) fn columns(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let organize = list(&self.json["transformations"]).iter().find(|step| step["id"] == "organize");
        let options = organize.map_or(&Value::Null, |step| &step["options"]);
        let names = |options: &Value| options.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        (names(&options["renameByName"]), names(&options["excludeByName"]))
    }

    /// Returns the unit of a column: its own, or the panel's.
    pub(crate) fn unit_of(&self, column: &str) -> String {
        let organize = list(&self.json["transformations"]).iter().find(|step| step["id"] == "organize");
        let shown = organize.map(|step| &step["options"]["renameByName"][column]);
        let overrides = list(&self.json["fieldConfig"]["overrides"]).iter();
        let mut own = overrides.filter(|own| Some(&own["matcher"]["options"]) == shown);
        let properties = own.next().map_or(&[][..], |own| list(&own["properties"]));
        let unit = properties.iter().find(|property| property["id"] == "unit");
        unit.map_or_else(|| self.unit.clone(), |property| text_of(&property["value"]))
    }
}

fn flaws_of_panel(panel: &Value, hold: &mut dyn FnMut(bool, &str)) {
    if panel["type"] == "row" {
        return;
    }
    hold(PANEL_TYPES.contains(&text_of(&panel["type"]).as_str()), "a type of panel that is not expected here");
    hold(is_sentence(&panel["description"]), "its description is not a sentence");
    hold(is_source(&panel["datasource"]), "its data source");
    let defaults = &panel["fieldConfig"]["defaults"];
    hold(defaults["unit"].is_string(), "it has no unit");
    let thresholds = list(&defaults["thresholds"]["steps"]);
    let needs_thresholds = panel["type"] == "stat" || panel["type"] == "bargauge";
    hold(!needs_thresholds || thresholds.first().is_some_and(|step| step["value"].is_null()), "it has no thresholds");
    hold(!list(&panel["targets"]).is_empty(), "it asks nothing");
    let mut ref_ids = BTreeSet::new();
    for target in list(&panel["targets"]) {
        hold(is_source(&target["datasource"]), "the data source of a query");
        hold(ref_ids.insert(text_of(&target["refId"])), "two queries of one refId");
        hold(
            (target["range"] == true) != (target["instant"] == true),
            "a query that is both of a range and of an instant",
        );
        hold(
            (target["range"] == true) == (panel["type"] == "timeseries"),
            "a range where an instant is shown, or the reverse",
        );
        let has_legend = !text_of(&target["legendFormat"]).is_empty();
        hold(
            has_legend != (panel["type"] == "stat" || panel["type"] == "table"),
            "a legend that is missing or not shown",
        );
        hold((target["format"] == "table") == (panel["type"] == "table"), "the format of a query");
    }
}

/// Returns the panels that overlap others or exceed the width of the grid.
fn overlaps(panels: &[Value]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut flaws = Vec::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or(0));
        let cells = (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line)));
        if w == 0 || h == 0 || x + w > WIDTH {
            flaws.push(format!("{}: its place", panel["title"]));
        } else if cells.filter(|cell| !taken.insert(*cell)).count() > 0 {
            flaws.push(format!("{}: it lies over another panel", panel["title"]));
        }
    }
    flaws
}

fn is_source(datasource: &Value) -> bool {
    *datasource == json!({"type": "prometheus", "uid": "${datasource}"})
}

fn is_sentence(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.len() > 10 && text.ends_with('.'))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn panels_that_overlap_are_found() {
    let panel = |title: &str, x, y, w, h| json!({"title": title, "gridPos": {"x": x, "y": y, "w": w, "h": h}});
    let check = |panels: &[Value], expected: &[&str]| assert_eq!(overlaps(panels), expected);
    check(&[panel("a", 0, 0, 12, 4), panel("b", 12, 0, 12, 4), panel("c", 0, 4, 24, 1)], &[]);
    check(&[panel("a", 0, 0, 12, 4), panel("b", 11, 3, 12, 4)], &[r#""b": it lies over another panel"#]);
    check(&[panel("a", 20, 0, 5, 4), panel("b", 0, 0, 0, 4)], &[r#""a": its place"#, r#""b": its place"#]);
}
