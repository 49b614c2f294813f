//! The metrics of servers as text, in Prometheus' format or as OpenMetrics.
//!
//! In: the status JSON of each server, and the tables in `metrics.rs`. Out: text. A member that a status lacks, such as
//! one of an older server, has no sample. The samples of both formats are the same.
//!
//! | | Prometheus | OpenMetrics |
//! |---|---|---|
//! | TYPE and HELP of a counter name | the family with `_total` | the family without |
//! | `herd_build_info` is | a gauge | an info, whose family has no `_info` |
//! | the unit | | is named by UNIT |
//! | the end | | is `# EOF` |
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>, text format 0.0.4 and OpenMetrics 1.0.0.

use super::metrics::{METRICS, Metric, NEIGHBOUR_METRICS, per_second};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// All metrics of the servers with these names and statuses. Each sample has the label `server`.
pub fn exposition(format: MetricsFormat, statuses: &[(&str, Value)]) -> String {
    // Prometheus accepts a family only once, so the samples are sorted by it.
    let mut families = BTreeMap::<&str, (String, String)>::new();
    for (number, [member, name, unit, help]) in rows().enumerate() {
        let family = name.split('{').next().unwrap_or_default();
        let labels = name[family.len()..].replace('{', ",").replace('}', "");
        let head = || (head(format, family, unit), String::new());
        let (head, text) = families.entry(family).or_insert_with(head);
        head.push_str(help);
        let mut samples = Samples { text, family, unit, per_second: per_second(member, unit) };
        let path = format!("/{}", member.replace('.', "/"));
        let of_link =
            |link: &Value| Some((link["name"].as_str()?.to_owned(), link.pointer(&path)?.clone()));
        for (server, status) in statuses {
            let links = status["links"].as_array().into_iter().flatten();
            let value: Value = match number < METRICS.len() {
                true => status.pointer(&path).cloned().into(),
                false => links.filter_map(of_link).collect(),
            };
            samples.add(&format!("server=\"{}\"", escaped(server)), &labels, &value);
        }
    }
    let families = families.into_values().filter(|(_, samples)| !samples.is_empty());
    let text: String = families.map(|(head, samples)| head + "\n" + &samples).collect();
    text + if format == MetricsFormat::OpenMetrics { "# EOF\n" } else { "" }
}

/// The lines before the samples of a family, up to the text of its help.
fn head(format: MetricsFormat, family: &str, unit: &str) -> String {
    let kind = kind(family, unit);
    if format == MetricsFormat::Prometheus {
        return format!("# TYPE {family} {kind}\n# HELP {family}");
    }
    let (name, kind) = match (family.strip_suffix("_total"), family.strip_suffix("_info")) {
        (Some(name), _) => (name, kind),
        (None, Some(name)) => (name, "info"),
        (None, None) => (family, kind),
    };
    let unit = match unit.replace("histogram", "seconds") {
        unit if unit.is_empty() => unit,
        unit => format!("# UNIT {name} {unit}\n"),
    };
    format!("# TYPE {name} {kind}\n{unit}# HELP {name}")
}

/// The rows of all tables, those of links last: member, name, unit, help.
pub(super) fn rows() -> impl Iterator<Item = [&'static str; 4]> {
    fn row<R>(&Metric { status, name, unit, help, .. }: &Metric<R>) -> [&'static str; 4] {
        [status, name, unit, help]
    }
    METRICS.iter().map(row).chain(NEIGHBOUR_METRICS.iter().map(row))
}

/// The type of a family.
fn kind(name: &str, unit: &str) -> &'static str {
    match unit {
        "histogram" => "histogram",
        _ if name.ends_with("_total") => "counter",
        _ => "gauge",
    }
}

/// The value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The samples of one row.
struct Samples<'t> {
    text: &'t mut String,
    family: &'t str,
    unit: &'static str,
    per_second: f64,
}

impl Samples<'_> {
    /// Adds the samples of `value`. `labels`: those that are complete; `rest`: the others, with a `*` for each value.
    fn add(&mut self, labels: &str, rest: &str, value: &Value) {
        let (start, after) = rest.split_once('*').unwrap_or((rest, ""));
        let with = |name: &str| format!("{labels}{start}{}", escaped(name));
        match value {
            Value::Object(_) if self.unit == "histogram" => {
                for bucket in value["buckets"].as_array().into_iter().flatten() {
                    let bound = format!("{labels},le=\"{}\"", bucket[0]);
                    self.sample("_bucket", &bound, &bucket[1]);
                }
                self.sample("_bucket", &format!("{labels},le=\"+Inf\""), &value["count"]);
                self.sample("_sum", labels, &value["sum_s"]);
                self.sample("_count", labels, &value["count"]);
            }
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| self.add(&with(name), after, value));
            }
            Value::String(text) => self.sample("", &(with(text) + after), &true.into()),
            number => self.sample("", &format!("{labels}{rest}"), number),
        }
    }

    /// Writes one sample: a number, 1 for yes or 0 for no; nothing for null.
    fn sample(&mut self, suffix: &str, labels: &str, value: &Value) {
        let number = value.as_bool().map(f64::from).or(value.as_f64());
        if let Some(number) = number.map(|number| number / self.per_second) {
            // Writing to a text does not fail.
            let _ = writeln!(self.text, "{}{suffix}{{{labels}}} {number}", self.family);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::metrics::LIMITS;
    use serde_json::json;
    use std::path::Path;
    use std::{env, fs};

    #[test]
    fn the_metrics_of_several_servers_stand_under_each_family_once() {
        let status = json!({
            "version": "1", "journal": null, "uptime_s": 1.5, "longest_lag_ms": 2.5, "health": {"healthy": true},
            "connections": {"accepted": {"client": 3}},
            "loop_lag": {"buckets": [[0.5, 1]], "count": 2, "sum_s": 3.25},
            "links": [{"name": "*", "at_lines": {"in": 4, "out": 5}}, {"name": "buckets", "linked": true}],
        });
        let statuses = [("Alford", status), ("a\\\"\n", json!({"uptime_s": 2}))];
        let text = exposition(MetricsFormat::Prometheus, &statuses);
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples.join("\n"),
            r#"herd_build_info{server="Alford",version="1"} 1
herd_connections_accepted_total{server="Alford",port="client"} 3
herd_healthy{server="Alford"} 1
herd_longest_loop_lag_seconds{server="Alford"} 0.0025
herd_loop_lag_seconds_bucket{server="Alford",le="0.5"} 1
herd_loop_lag_seconds_bucket{server="Alford",le="+Inf"} 2
herd_loop_lag_seconds_sum{server="Alford"} 3.25
herd_loop_lag_seconds_count{server="Alford"} 2
herd_neighbour_reports_total{server="Alford",neighbour="*",direction="in"} 4
herd_neighbour_reports_total{server="Alford",neighbour="*",direction="out"} 5
herd_neighbour_up{server="Alford",neighbour="buckets"} 1
herd_uptime_seconds{server="Alford"} 1.5
herd_uptime_seconds{server="a\\\"\n"} 2"#
        );
        let head = "# TYPE herd_uptime_seconds gauge\n# HELP herd_uptime_seconds How long the server has run.\n";
        assert!(text.contains(&format!("\n{head}herd_uptime_seconds{{")), "{text}");

        let open = exposition(MetricsFormat::OpenMetrics, &statuses);
        let is_sample = |line: &&str| !line.starts_with('#');
        assert!(open.lines().filter(is_sample).eq(text.lines().filter(is_sample)), "{open}");
        for lines in [
            "# TYPE herd_build info\n# HELP herd_build Always",
            "# TYPE herd_neighbour_reports counter\n# HELP herd_neighbour_reports Reports",
            "# TYPE herd_loop_lag_seconds histogram\n# UNIT herd_loop_lag_seconds seconds\n# HELP herd_loop_lag_seconds How",
        ] {
            assert!(open.contains(lines), "{lines}\n{open}");
        }
        assert!(open.ends_with("\n# EOF\n") && !text.contains("# EOF"));
    }

    /// The part of docs/status.md that the tables of metrics decide.
    fn tables() -> String {
        let table = |title: &str, rows: &[[&str; 4]]| {
            let rows = rows.iter().map(|[member, name, unit, help]| {
                let kind = kind(name.split('{').next().unwrap_or_default(), unit);
                let unit = unit.replace("histogram", "seconds");
                format!("| `{member}` | `{name}` | {kind} | {unit} |{help} |\n")
            });
            let head = "| member | name | type | unit | meaning |\n|---|---|---|---|---|\n";
            format!("{title}\n\n{head}{}\n", rows.collect::<String>())
        };
        let rows: Vec<_> = rows().collect();
        let (server, links) = rows.split_at(METRICS.len());
        let limits = LIMITS.iter().map(|(key, help)| format!("| `{key}` |{help} |\n"));
        let limits: String = limits.collect();
        let (server, links) =
            (table("### Of a server", server), table("### Of each neighbour, in `links`", links));
        let title = "### Limits, in `limit_hits`\n\n| limit | what is counted |\n|---|---|\n";
        format!("{server}{links}{title}{limits}")
    }

    #[test]
    fn the_page_of_the_status_has_the_tables_of_metrics() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.md");
        let mut text = fs::read_to_string(&page).expect("the page is there");
        let start = text.find("### Of a server\n").expect("the first table");
        if env::var_os("UPDATE_EXPECTED").is_some() {
            text = text[..start].to_owned() + &tables();
            fs::write(&page, &text).expect("it can be written");
        }
        let command = "UPDATE_EXPECTED=1 cargo test --lib the_page_of_the_status";
        assert!(text[start..] == tables(), "the page is old; run: {command}");
    }
}
