//! A second parser for AT lines, which shares no code with the tested one.

use std::collections::{BTreeMap, BTreeSet};

/// An AT line. The derived order is that of the protocol: the greater line is the newer one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AtLine {
    pub(crate) stamp_nanos: u64,
    pub(crate) line: String,
    pub(crate) client: String,
    pub(crate) location: String,
}

impl AtLine {
    /// Reads an AT line without its end.
    pub(crate) fn read(line: &str) -> Option<AtLine> {
        let words: Vec<&str> = line.split(' ').collect();
        let [at, _server, _difference, client, location, stamp] = words[..] else { return None };
        let (seconds, part) = stamp.split_once('.').unwrap_or((stamp, ""));
        let stamp_nanos = format!("{seconds}{part:0<9}").parse().ok().filter(|_| at == "AT")?;
        let [line, client, location] = [line, client, location].map(str::to_owned);
        Some(AtLine { stamp_nanos, line, client, location })
    }

    /// Whether this line is at least as new as `wanted`. `repeated`: the stamps with which a client was
    /// reported more than once at one location; any line with such a stamp will do.
    pub(crate) fn is_as_new_as(&self, wanted: &AtLine, repeated: &BTreeSet<(String, u64)>) -> bool {
        let is_repeated = || repeated.contains(&(wanted.client.clone(), wanted.stamp_nanos));
        self >= wanted || self.stamp_nanos == wanted.stamp_nanos && is_repeated()
    }

    /// Returns the time at which the server of the line received the report, by that server's clock.
    pub(crate) fn received_nanos(&self) -> Option<u64> {
        let difference = self.line.split(' ').nth(2)?;
        let nanos: i64 = difference.replace('.', "").parse().ok()?;
        self.stamp_nanos.checked_add_signed(nanos)
    }

    /// Returns the name of the server that took it.
    pub(crate) fn server(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// The newest line of each client.
pub(crate) type Newest = BTreeMap<String, AtLine>;

/// Puts `report` into `newest` if it is newer than the client's line there.
pub(crate) fn raise(newest: &mut Newest, report: AtLine) {
    match newest.get_mut(&report.client) {
        Some(known) if *known >= report => {}
        Some(known) => *known = report,
        None => drop(newest.insert(report.client.clone(), report)),
    }
}
