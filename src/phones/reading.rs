//! Reads one request of an app, in slices, and keeps the newest report of each client.
//!
//! In: the request; then its body again for each slice. Out: the [`Kept`] reports, how many had which outcome, and the
//! worst fault.
//!
//! A body that begins with `{` or `[` is JSON, whatever its Content-Type says: GPSLogger and curl label JSON as a form or
//! not at all. Any other body of `/report` is a form.

use super::draft::{Fault, PhoneReport, ReportDraft, ReportOutcome, ReportRules, app_id, given_id};
use super::json_parts::{JsonParts, Unreadable, VALUE_BYTES_MAX, members_of};
use super::{App, PhoneRequest, fields, overland, owntracks};
use crate::places::Json;
use std::collections::BTreeMap;

/// A slice reads this many bytes of JSON, or a few more. A release build reads about a hundred bytes in a microsecond.
pub const SLICE_BYTES: usize = 32 * 1024;

/// How many parts of JSON a slice reads.
const SLICE_PARTS: usize = 128;

/// The member that is a list of reports in Traccar Client 9, and in Overland.
const LISTS: [&str; 2] = ["location", "locations"];

/// The newest report of each client in a request, by id.
pub type Kept = BTreeMap<Vec<u8>, PhoneReport>;

/// One request that is being read.
#[derive(Debug)]
pub struct PhoneReading {
    app: App,
    rules: ReportRules,
    /// The id in the path, which all reports of the request get.
    path_id: Option<Vec<u8>>,
    /// The id that a report without an id gets.
    default_id: Option<Vec<u8>>,
    parts: JsonParts,
    /// Whether the body is too long, or nested too deep, to be read as a single report; it may be a list of them.
    is_long: bool,
    is_done: bool,
    /// The newest report of each client so far. Reports without an id have the empty id.
    pub kept: Kept,
    /// How many reports had each outcome so far, by [`ReportOutcome`].
    pub outcomes: [u32; ReportOutcome::NAMES.len()],
    /// The first fault that has dropped a report; if none has, the first fault.
    pub fault: Option<Fault>,
}

impl PhoneReading {
    /// Begins to read `request`. A form is read at once, JSON by [`read`](PhoneReading::read).
    pub fn new(request: &PhoneRequest<'_>, rules: ReportRules) -> PhoneReading {
        let mut reading = PhoneReading {
            app: request.app,
            rules,
            path_id: request.path_id.map(<[u8]>::to_vec),
            default_id: None,
            parts: JsonParts::new(LISTS[usize::from(request.app == App::Overland)]),
            is_long: false,
            is_done: false,
            kept: Kept::new(),
            outcomes: Default::default(),
            fault: None,
        };
        if request.app == App::OwnTracks {
            reading.default_id = owntracks::id_of_head(request);
        } else if request.app == App::Report {
            let is_json = matches!(request.body.trim_ascii_start().first(), Some(b'{' | b'['));
            // A form is read in one turn.
            let is_long = !is_json && request.body.len() > VALUE_BYTES_MAX;
            let form = if is_json || is_long { b"" } else { request.body };
            let draft = fields::of_form(request.query, form);
            reading.default_id = draft.id.as_deref().map(<[u8]>::to_vec);
            if !is_json {
                let too_long = Fault::malformed(Unreadable::TOO_LONG, "");
                reading.keep(if is_long { Err(too_long) } else { Ok(draft) });
            }
            reading.is_done = !is_json;
        }
        let of_user = request.basic_user.filter(|user| !user.is_empty()).map(<[u8]>::to_vec);
        reading.default_id = reading.default_id.take().or(of_user);
        if reading.is_done {
            reading.end();
        }
        reading
    }

    /// Reads the next slice of `body`, the body of the request. Returns whether more follows.
    ///
    /// # Errors
    /// The body is not JSON, or is a single report that is too long. No report of it counts.
    pub fn read(&mut self, body: &[u8]) -> Result<bool, Unreadable> {
        if !self.is_done
            && self.parts.at == 0
            && let Some(draft) = self.single(body)?
        {
            self.keep(draft);
            self.end();
        }
        let until = self.parts.at + SLICE_BYTES;
        for _ in 0..SLICE_PARTS {
            if self.is_done || self.parts.at >= until {
                break;
            }
            match self.parts.next(body)? {
                Some((None, None)) => self.fault(Fault::malformed(Unreadable::TOO_LONG, "")),
                Some((None, Some(item))) => self.item(item),
                Some((Some(key), item)) if self.app == App::Overland && key == "current" => {
                    match item {
                        Some(item) => self.item(item),
                        None => self.fault(Fault::malformed(Unreadable::TOO_LONG, "")),
                    }
                }
                Some((Some(key), Some(id))) if fields::NAMES[fields::ID].contains(&&*key) => {
                    self.default_id =
                        given_id(id).map(|id| id.into_owned()).or(self.default_id.take());
                }
                Some(_) => {}
                None => {
                    if self.is_long && self.kept.is_empty() && self.fault.is_none() {
                        self.fault(Fault::malformed(Unreadable::TOO_LONG, ""));
                    }
                    self.end();
                }
            }
        }
        Ok(!self.is_done)
    }

    /// Reads a body that has a single report.
    fn single<'b>(
        &mut self,
        body: &'b [u8],
    ) -> Result<Option<Result<ReportDraft<'b>, Fault>>, Unreadable> {
        Ok(match self.app {
            App::OwnTracks if body.is_empty() => {
                Some(Err(Fault::new(ReportOutcome::NoLocation, "the message is empty")))
            }
            App::OwnTracks => {
                let members = members_of(body, owntracks::NAMES)?.unwrap_or_default();
                Some(owntracks::read(members, self.rules.received))
            }
            App::Report => match members_of(body, fields::NAMES) {
                Err(Unreadable::TooLong) => {
                    self.is_long = true;
                    None
                }
                members => members?
                    .filter(|members| !members[fields::LOCATION].as_str().starts_with('['))
                    .map(|members| Ok(fields::of_json(members))),
            },
            App::Overland => None,
        })
    }

    fn item(&mut self, item: Json<'_>) {
        self.keep(match self.app {
            App::Overland => overland::read(item),
            _ => Ok(fields::of_json(item.members(fields::NAMES))),
        });
    }

    /// Checks one report, and keeps it if no newer one of its client is known.
    fn keep(&mut self, draft: Result<ReportDraft<'_>, Fault>) {
        let checked = draft.and_then(|draft| {
            let report = draft.check(&self.rules)?;
            let id = self.path_id.as_deref().or(draft.id.as_deref());
            let id = id.map(|id| app_id(id, &self.rules.limits)).transpose()?;
            Ok((id.unwrap_or_default(), report))
        });
        match checked {
            Ok((id, report)) => self.insert(id, report),
            Err(fault) => self.fault(fault),
        }
    }

    fn insert(&mut self, id: Vec<u8>, report: PhoneReport) {
        let newest = match self.kept.remove(&id) {
            Some(known) => {
                self.outcomes[ReportOutcome::Older as usize] += 1;
                std::cmp::max_by(known, report, |one, other| one.order().cmp(&other.order()))
            }
            None => report,
        };
        self.kept.insert(id, newest);
    }

    /// Ends the reading. The report without an id gets the id of the whole request.
    fn end(&mut self) {
        self.is_done = true;
        let Some(report) = self.kept.remove(&b""[..]) else { return };
        match app_id(self.default_id.as_deref().unwrap_or_default(), &self.rules.limits) {
            Ok(id) => self.insert(id, report),
            Err(fault) => self.fault(fault),
        }
    }

    /// Counts and notes a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.outcomes[fault.outcome as usize] += 1;
        let is_worse = |known: Fault| {
            known.outcome < ReportOutcome::Malformed && fault.outcome >= ReportOutcome::Malformed
        };
        if self.fault.is_none_or(is_worse) {
            self.fault = Some(fault);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::command::CommandLimits;
    use crate::wire::stamp::Stamp;
    use proptest::prelude::*;

    /// Our clock when a request is received: 2026-11-29T12:15:40.5Z. Reports may be an hour ahead.
    pub(in crate::phones) fn rules() -> ReportRules {
        let received = Stamp(1_795_954_540_500_000_000);
        let newest = Stamp(received.0 + 3_600_000_000_000);
        ReportRules { received, newest, limits: CommandLimits::default() }
    }

    pub(in crate::phones) fn request(app: App, body: &[u8]) -> PhoneRequest<'_> {
        PhoneRequest {
            app,
            path_id: None,
            query: b"",
            user: None,
            device: None,
            basic_user: None,
            body,
        }
    }

    /// Reads `request` to its end. Returns the operands of an IAMAT for each client, and the reading with its outcomes.
    fn whole(request: &PhoneRequest<'_>) -> Result<(Vec<String>, PhoneReading), Unreadable> {
        let mut reading = PhoneReading::new(request, rules());
        while reading.read(request.body)? {}
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kept = std::mem::take(&mut reading.kept);
        let reports = kept.iter().map(|(id, report)| {
            let iamat = report.iamat(id);
            assert_eq!(Stamp::parse(iamat.stamp_text), Some(iamat.stamp));
            let location = crate::wire::location::Location::parse(iamat.location.text);
            assert_eq!(location, Some(iamat.location));
            [text(id), text(iamat.location.text), text(iamat.stamp_text)].join(" ")
        });
        Ok((reports.collect(), reading))
    }

    /// What is read of `request`: its reports, or the outcome and the reason for which it has none.
    pub(in crate::phones) fn read(request: &PhoneRequest<'_>) -> String {
        let (reports, reading) = match whole(request) {
            Ok(read) => read,
            Err(why) => return why.to_string(),
        };
        let fault = reading.fault.filter(|_| reports.is_empty());
        let fault =
            fault.map(|it| format!("{}: {}", ReportOutcome::NAMES[it.outcome as usize], it.why));
        fault.unwrap_or_else(|| reports.join(", "))
    }

    /// The number of reports with this outcome.
    fn count(reading: &PhoneReading, outcome: ReportOutcome) -> u32 {
        reading.outcomes[outcome as usize]
    }

    fn feature(id: &str, longitude: usize, time: &str) -> String {
        format!(
            r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[{longitude},34]}},
            "properties":{{"timestamp":"{time}","device_id":"{id}"}}}}"#
        )
    }

    #[test]
    fn of_a_batch_the_newest_report_of_each_client_is_kept_whatever_their_order() {
        let times = ["2026-11-29T12:15:32Z", "2026-11-29T12:15:34Z", "2026-11-29T12:15:33Z"];
        let features: Vec<_> = (0..2_000)
            .map(|n| feature(["jane", "joe"][n % 2], n % 180, times[n / 2 % 3]))
            .collect();
        let body = format!(r#"{{"trip":{{}},"locations":[{}],"extra":[1]}}"#, features.join(","));
        let request = request(App::Overland, body.as_bytes());
        let mut reading = PhoneReading::new(&request, rules());
        let mut slices = 1;
        while reading.read(request.body).unwrap() {
            slices += 1;
        }
        assert!(slices > 10, "it is read in slices");
        let (reports, reading) = whole(&request).unwrap();
        // Of the latest times the greatest text counts, as in the table.
        assert_eq!(reports, ["jane +34+98 1795954534", "joe +34+99 1795954534"]);
        let superseded =
            count(&reading, ReportOutcome::Older) + count(&reading, ReportOutcome::Same);
        assert_eq!(superseded, 1_998);
    }

    #[test]
    fn a_bad_entry_is_dropped_and_the_others_are_kept() {
        let good = feature("jane", 1, "2026-11-29T12:15:32Z");
        let early = feature("jane", 2, "2027-11-29T12:15:32Z");
        let bad = [
            "7",
            "null",
            "[]",
            "{}",
            r#"{"geometry":null,"properties":{}}"#,
            r#"{"geometry":{"coordinates":[181,34]},"properties":{"device_id":"a"}}"#,
            r#"{"geometry":{"coordinates":[1]},"properties":{"device_id":"a"}}"#,
            r#"{"geometry":{"coordinates":[1,2]},"properties":{"device_id":"a","timestamp":"x"}}"#,
            r#"{"geometry":{"coordinates":[1,2]},"properties":{}}"#,
            &early,
        ];
        for at in 0..=bad.len() {
            let mut entries = bad.to_vec();
            entries.insert(at, &good);
            let body = format!(r#"{{"locations":[{}]}}"#, entries.join(","));
            let (reports, reading) = whole(&request(App::Overland, body.as_bytes())).unwrap();
            assert_eq!(reports, ["jane +34+1 1795954532"]);
            let counts = [
                ReportOutcome::NoLocation,
                ReportOutcome::Malformed,
                ReportOutcome::NoId,
                ReportOutcome::Early,
            ];
            assert_eq!(counts.map(|outcome| count(&reading, outcome)), [5, 3, 1, 1]);
        }
    }

    #[test]
    fn reports_without_an_id_get_that_of_the_request_wherever_it_stands() {
        let list = r#""location":[{"lat":1,"lon":1,"tst":5},{"lat":2,"lon":2,"tst":6}]"#;
        let id = r#""device_id":"48241179""#;
        for body in [format!("{{{list},{id}}}"), format!("{{{id},{list}}}")] {
            let request = request(App::Report, body.as_bytes());
            assert_eq!(read(&request), "48241179 +2+2 6");
            let (_, reading) = whole(&request).unwrap();
            assert_eq!(count(&reading, ReportOutcome::Older), 1);
            assert_eq!(read(&PhoneRequest { path_id: Some(b"jane"), ..request }), "jane +2+2 6");
        }
        let body = format!("{{{list}}}");
        let request = request(App::Report, body.as_bytes());
        let (reports, reading) = whole(&request).unwrap();
        assert!(reports.is_empty());
        assert_eq!(count(&reading, ReportOutcome::NoId), 1, "the older one cannot win");
        assert_eq!(read(&PhoneRequest { query: b"id=joe", ..request }), "joe +2+2 6");
    }

    #[test]
    fn an_id_of_an_app_is_made_fit_for_a_line() {
        let mut request = request(App::Report, b"lat=1&lon=2&t&time=5&id=");
        assert_eq!(read(&request), "no_id: the message names no client");
        for (path_id, id) in [
            (&b"Jane's phone"[..], "Jane's_phone"),
            (b"a\tb\x0bc\x0cd\re\nf", "a_b_c_d_e_f"),
            (b"\0\x01\x7f", "___"),
            ("J\u{e9}r\u{f4}me".as_bytes(), "J\u{e9}r\u{f4}me"),
        ] {
            request.path_id = Some(path_id);
            assert_eq!(read(&request), format!("{id} +1+2 5"));
        }
        let long = vec![b'x'; 4_097];
        request.path_id = Some(&long);
        assert_eq!(read(&request), "malformed: the id is longer than client_id_bytes allows");
        request.path_id = Some(&long[1..]);
        assert!(read(&request).starts_with("xxx"));
    }

    #[test]
    fn a_body_that_is_not_json_has_no_report_at_all() {
        let good = feature("jane", 1, "2026-11-29T12:15:32Z");
        for (app, body) in [
            (App::Overland, format!(r#"{{"locations":[{good}"#)),
            (App::Overland, format!(r#"{{"locations":[{good}]}}x"#)),
            (App::Overland, String::new()),
            (App::Overland, "id=jane".to_owned()),
            (App::OwnTracks, "{".to_owned()),
            (App::OwnTracks, "id=jane".to_owned()),
            (App::Report, r#"{"id":"jane","lat":1,"lon":1"#.to_owned()),
            (App::Report, "[1,]".to_owned()),
        ] {
            let result = whole(&request(app, body.as_bytes()));
            assert!(matches!(result, Err(Unreadable::NotJson(_))), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                "[\\[{](\"(id|lat|lon|tst|location|coords|locations|geometry|properties|_type)\"|[\\]\\[{}:,1 a-]){0,20}"
                    .prop_map(String::into_bytes),
                "((id|lat|lon|time|location)=[-0-9.eE:TZ,%a-f+ ]{0,9}&){0,6}".prop_map(String::into_bytes),
            ],
        ) {
            for app in [App::OwnTracks, App::Overland, App::Report] {
                let request = PhoneRequest { path_id: Some(b"x"), ..request(app, &bytes) };
                read(&request);
                read(&PhoneRequest { path_id: None, query: &bytes, user: Some(&bytes), ..request });
            }
            let _ = crate::phones::read_put(&bytes, &rules());
        }
    }
}
