//! One report as an app states it, and the check that turns it into the texts of an IAMAT.
//!
//! In: a [`ReportDraft`], whose values are texts, and the rules of this server. Out: a [`PhoneReport`], or a [`Fault`] with
//! the outcome to count and the reason to log.

use super::number::{self, NotDegrees};
use crate::http::percent_decode;
use crate::places::Json;
use crate::wire::command::{CommandLimits, Iamat};
use crate::wire::location::Location;
use crate::wire::stamp::Stamp;
use std::borrow::Cow;

/// What became of a report. The first three were taken; those from `Malformed` on are lost for good, because no
/// repetition would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportOutcome {
    /// It is the client's latest report now.
    New,
    /// The table had this report already.
    Same,
    /// The table has a later report of the client.
    Older,
    /// There is no report in the message.
    NoLocation,
    /// The table has no room for another client.
    Full,
    /// The journal is not sound.
    Journal,
    /// A value is missing, malformed or out of range.
    Malformed,
    /// The report names no client.
    NoId,
    /// The report is older than `expire_after_s` allows.
    Late,
    /// The report is stamped further ahead than `max_future_ms` or `ahead_max_s` allows.
    Early,
    /// OwnTracks has encrypted the report.
    Encrypted,
    /// The sender may not report this client.
    Forbidden,
}

impl ReportOutcome {
    /// The names of the outcomes as values of labels, in their order.
    pub const NAMES: [&str; 12] = [
        "new",
        "same",
        "older",
        "no_location",
        "full",
        "journal",
        "malformed",
        "no_id",
        "late",
        "early",
        "encrypted",
        "forbidden",
    ];
}

/// Why a message yields no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to count.
    pub outcome: ReportOutcome,
    /// The reason, such as `lat is not a number`, for the log and for the sender.
    pub why: &'static str,
    /// Where it is in the JSON of a PUT (RFC 6901), such as `/lat`; empty for the whole.
    pub pointer: &'static str,
}

impl Fault {
    /// A fault of the message as a whole.
    pub fn new(outcome: ReportOutcome, why: &'static str) -> Fault {
        Fault { outcome, why, pointer: "" }
    }

    pub(super) fn malformed(why: &'static str, pointer: &'static str) -> Fault {
        Fault { outcome: ReportOutcome::Malformed, why, pointer }
    }
}

/// The rules that a report must satisfy.
#[derive(Clone, Copy, Debug)]
pub struct ReportRules {
    /// The time of receipt. A report without a time gets it.
    pub received: Stamp,
    /// The latest stamp that is accepted.
    pub newest: Stamp,
    /// The longest id and location.
    pub limits: CommandLimits,
}

/// A report as the texts of an IAMAT, without the id, which the caller keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneReport {
    /// The location and the time, without anything between them.
    text: Vec<u8>,
    location_bytes: usize,
    stamp: Stamp,
}

impl PhoneReport {
    /// Returns the report of `client` as the operands of an IAMAT.
    pub fn iamat<'a>(&'a self, client: &'a [u8]) -> Iamat<'a> {
        let (location, stamp_text) = self.text.split_at(self.location_bytes);
        let location = Location::known(location);
        Iamat { client, location, stamp: self.stamp, stamp_text, operands: None }
    }

    /// The order of two reports of a client, of which the greater one wins. Like the table's order it is total.
    pub(super) fn order(&self) -> (Stamp, &[u8]) {
        (self.stamp, &self.text)
    }
}

/// A value of a message as text: a string without its quotation marks and without white space around it, or a value as
/// JSON writes it. `None` if it is not there, null or empty.
pub(super) type Given<'b> = Option<Cow<'b, [u8]>>;

/// The value of a form, or a string.
pub(super) fn given_text(text: &[u8]) -> Given<'static> {
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| text.to_vec().into())
}

/// A value of JSON. A number in it has no trailing zeros.
pub(super) fn given(json: Json<'_>) -> Given<'_> {
    let text = json.as_str();
    if text.starts_with('"') {
        return given_text(json.text()?.as_bytes());
    }
    let is_plain = text.contains('.') && !text.contains(['e', 'E']);
    let text = if is_plain { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    (!["", "null"].contains(&text)).then(|| text.as_bytes().into())
}

/// An id in JSON: a string, or a number.
pub(super) fn given_id(json: Json<'_>) -> Given<'_> {
    given(json).filter(|_| json.as_str().starts_with(|it: char| it == '"' || it.is_ascii_digit()))
}

/// One report as a message states it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportDraft<'b> {
    pub(super) id: Given<'b>,
    pub(super) latitude: Given<'b>,
    pub(super) longitude: Given<'b>,
    pub(super) time: Given<'b>,
}

/// How faults name a value: its pointer, and the messages that it is missing, not a number, or out of range.
type ValueNames = [&'static str; 4];

const LATITUDE: ValueNames =
    ["/lat", "lat is missing", "lat is not a number", "lat must be from -90 to 90"];
const LONGITUDE: ValueNames =
    ["/lon", "lon is missing", "lon is not a number", "lon must be from -180 to 180"];

impl ReportDraft<'_> {
    /// Checks all but the id.
    pub(super) fn check(&self, rules: &ReportRules) -> Result<PhoneReport, Fault> {
        if self.latitude.is_none() && self.longitude.is_none() {
            let why = "lat and lon are missing";
            return Err(Fault { outcome: ReportOutcome::NoLocation, why, pointer: "/lat" });
        }
        let mut text = Vec::with_capacity(48);
        write_degrees(&self.latitude, 90, LATITUDE, &mut text)?;
        write_degrees(&self.longitude, 180, LONGITUDE, &mut text)?;
        let location_bytes = text.len();
        if location_bytes > rules.limits.location_bytes {
            return Err(Fault::malformed("the location is longer than location_bytes", "/lat"));
        }
        let stamp = match &self.time {
            None => {
                number::write_stamp(rules.received, &mut text);
                rules.received
            }
            Some(time) => read_time(time, &mut text).ok_or(Fault::malformed(
                "time is neither POSIX seconds nor ISO 8601, from 1970 to 2286",
                "/time",
            ))?,
        };
        if stamp > rules.newest {
            let why = "time is further ahead than max_future_ms or ahead_max_s allows";
            return Err(Fault { outcome: ReportOutcome::Early, why, pointer: "/time" });
        }
        Ok(PhoneReport { text, location_bytes, stamp })
    }
}

fn write_degrees(
    value: &Given<'_>,
    limit: u64,
    [pointer, missing, no_number, out_of_range]: ValueNames,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let text = value.as_deref().ok_or(Fault::malformed(missing, pointer))?;
    number::degrees(text, limit, out).map_err(|why| match why {
        NotDegrees::NotANumber => Fault::malformed(no_number, pointer),
        NotDegrees::OutOfRange => Fault::malformed(out_of_range, pointer),
    })
}

/// Appends a time as POSIX seconds. GPSLogger percent-encodes it even in JSON.
pub(super) fn read_time(text: &[u8], out: &mut Vec<u8>) -> Option<Stamp> {
    number::time(&percent_decode(text)?, out)
}

/// Makes an id of the name that an app reports. White space and control characters become `_`.
pub(super) fn app_id(text: &[u8], limits: &CommandLimits) -> Result<Vec<u8>, Fault> {
    if text.is_empty() {
        return Err(Fault::new(ReportOutcome::NoId, "the message names no client"));
    }
    if text.len() > limits.client_id_bytes {
        return Err(Fault::malformed("the id is longer than client_id_bytes allows", ""));
    }
    let fit = |byte: &u8| if byte.is_ascii_graphic() || *byte > 0x7f { *byte } else { b'_' };
    Ok(text.iter().map(fit).collect())
}

/// Checks an id in a request to the API, which is not changed.
///
/// # Errors
/// The id is empty, is longer than `client_id_bytes`, or contains white space or a control character.
pub fn check_id(id: &[u8], limits: &CommandLimits) -> Result<(), Fault> {
    match app_id(id, limits)? == id {
        true => Ok(()),
        false => Err(Fault::malformed("the id contains white space or a control character", "")),
    }
}
