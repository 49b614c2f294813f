//! The form of a log line: text for people, JSON for programs, with or without journald's prefix.
//!
//! In: an event, as the `log` crate's [`Record`], or a line that was received or sent. Out: one line of bytes. It knows
//! neither files nor levels that are off.
//!
//! ```text
//! text              2026-11-22T10:16:39.123456Z INFO  Chatserver,12 < IAMAT kiwi +34.0689-118.4451 1479.5
//! text on stderr    2026-11-22T10:16:39.123456Z WARN  Alford: limit: connections = 1: 72 clients turned away
//! for journald      <4>Alford: limit: connections = 1: 72 clients turned away
//! JSON              {"time":"2026-11-22T10:16:39.123456Z","level":"WARN","server":"Alford", ... ,"text":"limit: ..."}
//! ```
//!
//! The idea: an event is one value, a [`Record`] with a text and with members (`info!(client:% = id; "...")`). The text
//! form prints the text, and JSON the members and the same text. Whatever a form escapes, the text stays one line.
//! journald reads the prefix `<3>` to `<7>` as a priority (sd-daemon(3)) and adds the time itself.

use std::fmt::Display;
use std::io::Write as _;

use ::log::kv::{self, Key, Value, VisitSource};
use ::log::{Level, Record};
use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

use super::OneLine;
use super::stamp::TimestampCache;

/// The form of the lines of one log.
#[derive(Clone, Debug)]
pub(super) struct LineForm {
    pub(super) is_json: bool,
    journal: bool,
    /// The server's name; empty in a text file, whose name says it.
    server: String,
    stamp: TimestampCache,
}

impl LineForm {
    /// The form of the lines of `server`. `stderr` has lines of several servers; `journal`: journald reads it.
    pub(super) fn new(is_json: bool, stderr: bool, journal: bool, server: &str) -> LineForm {
        let server = if is_json || stderr { server } else { "" };
        LineForm { is_json, journal, server: server.to_owned(), stamp: TimestampCache::new() }
    }

    /// Appends an event as a whole line.
    pub(super) fn event(&mut self, record: &Record<'_>, unix_ns: u64, out: &mut Vec<u8>) {
        // Writing to a Vec never fails.
        if self.is_json {
            let _ = self.object(record, unix_ns, out);
        } else {
            // The text is ours, but may contain foreign text, which must not start a new line.
            self.begin(record.level(), unix_ns, out);
            let _ = write!(out, "{}", OneLine(record.args()));
        }
        out.push(b'\n');
    }

    fn object(
        &mut self,
        record: &Record<'_>,
        unix_ns: u64,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        if self.journal {
            out.extend_from_slice(words(record.level()).0);
        }
        let mut writer = serde_json::Serializer::new(out);
        let mut object = writer.serialize_map(None)?;
        if !self.journal {
            object.serialize_entry("time", &String::from_utf8_lossy(self.stamp.at(unix_ns)))?;
        }
        object.serialize_entry("level", record.level().as_str())?;
        object.serialize_entry("server", &self.server)?;
        let _ = record.key_values().visit(&mut Members(&mut object));
        object.serialize_entry("text", &OneLine(record.args()))?;
        object.end()
    }

    /// Appends the beginning of a text line: prefix or time and level, and the server.
    pub(super) fn begin(&mut self, level: Level, unix_ns: u64, out: &mut Vec<u8>) {
        let (priority, word) = words(level);
        if self.journal {
            out.extend_from_slice(priority);
        } else {
            out.extend_from_slice(self.stamp.at(unix_ns));
            out.extend_from_slice(word);
        }
        if !self.server.is_empty() {
            out.extend_from_slice(self.server.as_bytes());
            out.extend_from_slice(b": ");
        }
    }
}

/// The level for journald and for people.
fn words(level: Level) -> (&'static [u8], &'static [u8]) {
    match level {
        Level::Error => (b"<3>", b" ERROR "),
        Level::Warn => (b"<4>", b" WARN  "),
        Level::Info => (b"<6>", b" INFO  "),
        Level::Debug => (b"<7>", b" DEBUG "),
        Level::Trace => (b"<7>", b" TRACE "),
    }
}

/// Takes the members of an event.
struct Members<'m, M>(&'m mut M);

impl<'kvs, M: SerializeMap> VisitSource<'kvs> for Members<'_, M> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let whole = value.to_u64().map(Json::from).or(value.to_i64().map(Json::from));
        let number = whole.or(value.to_f64().map(Json::from));
        let _ = match number.or(value.to_bool().map(Json::from)) {
            Some(json) => self.0.serialize_entry(key.as_str(), &json),
            None => self.0.serialize_entry(key.as_str(), &OneLine(&value)),
        };
        Ok(())
    }
}

impl<T: Display> Serialize for OneLine<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::one_line;
    use proptest::prelude::*;
    use serde_json::json;

    const TIME_NS: u64 = 1_795_342_599_123_456_789;

    fn event(form: &LineForm, level: Level, text: &str, members: &[(&str, Value<'_>)]) -> String {
        let mut out = Vec::new();
        let args = format_args!("{text}");
        let record = Record::builder().level(level).args(args).key_values(&members).build();
        form.clone().event(&record, TIME_NS, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_event_has_a_form_for_each_reader() {
        let members =
            [("client", Value::from("k\"iwi\n")), ("ms", 0.5.into()), ("count", 3.into())];
        let text = "low on \"it\"\n";
        for (stderr, journal, line) in [
            (false, false, "2026-11-22T10:16:39.123456Z WARN  low on \"it\"\\x0a\n"),
            (true, false, "2026-11-22T10:16:39.123456Z WARN  Alford: low on \"it\"\\x0a\n"),
            (true, true, "<4>Alford: low on \"it\"\\x0a\n"),
        ] {
            let form = LineForm::new(false, stderr, journal, "Alford");
            assert_eq!(event(&form, Level::Warn, text, &members), line);
        }
        for (journal, prefix) in [(false, ""), (true, "<4>")] {
            let line =
                event(&LineForm::new(true, true, journal, "A\"B"), Level::Warn, text, &members);
            let object = line.strip_prefix(prefix).expect("the prefix comes first");
            let mut expected = json!({
                "level": "WARN", "server": "A\"B", "client": "k\"iwi\\x0a", "ms": 0.5, "count": 3,
                "text": "low on \"it\"\\x0a",
            });
            if !journal {
                expected["time"] = "2026-11-22T10:16:39.123456Z".into();
            }
            assert_eq!(serde_json::from_str::<Json>(object).expect("JSON"), expected);
        }
    }

    #[test]
    fn journald_gets_the_priority_of_each_level() {
        let form = LineForm::new(false, true, true, "Alford");
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        let lines = levels.map(|level| event(&form, level, "x", &[]));
        assert_eq!(lines, [3, 4, 6, 7, 7].map(|number| format!("<{number}>Alford: x\n")));
    }

    proptest! {
        #[test]
        fn any_event_is_one_object_with_its_members(text: String, client: String, number: i64, share: f64) {
            let form = LineForm::new(true, false, false, "A");
            let members = [("client", Value::from(&*client)), ("n", number.into()), ("share", share.into())];
            let line = event(&form, Level::Info, &text, &members);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let read: Json = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["text"].as_str(), Some(&*one_line(&text)));
            prop_assert_eq!(read["client"].as_str(), Some(&*one_line(&client)));
            prop_assert_eq!(read["n"].as_i64(), Some(number));
            prop_assert_eq!(read["share"].is_number(), share.is_finite());
        }
    }
}
