//! Sightings: one AT line each, in canonical form, and the order in which they are newer than each
//! other.
//!
//! In: an IAMAT just received, or an AT another server sent. Out: the line `AT <server>
//! <difference> <client> <location> <stamp>` with single blanks and no delimiter, and what has to
//! be looked up in it. The line itself is the record: it is what a client gets as its answer, what
//! the table stores, and what neighbours are told, byte for byte the same at every server.
//!
//! The order is `(stamp, line)`, total, and the same wherever sightings are compared. The stamp
//! alone would not do: two servers that each took a report of the same stamp would keep their own
//! for ever, as all earlier servers of this kind do that we looked at.
//!
//! ```text
//! AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450
//!                        '---- client --' '---- location -----' '----- stamp ------'
//! ```

use std::cmp::Ordering;
use std::ops::Range;

use super::command::{At, Iamat, write_at};
use super::location::Location;
use super::stamp::Stamp;

/// An AT line in canonical form, and where its last three fields stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting<'a> {
    line: &'a [u8],
    stamp: Stamp,
    client_start: usize,
    client_end: usize,
    stamp_start: usize,
}

impl<'a> Sighting<'a> {
    /// The sighting that an IAMAT is to the server that got it.
    ///
    /// `server`: that server's name, at most 64 bytes. `received`: the wall clock when it got the
    /// line. `scratch`: overwritten with the AT line.
    /// Source: the report, section 3.2.
    pub fn taken(
        iamat: &Iamat<'_>,
        server: &[u8],
        received: Stamp,
        scratch: &'a mut Vec<u8>,
    ) -> Sighting<'a> {
        let Iamat { client, location, stamp, stamp_text } = *iamat;
        scratch.clear();
        write_at(scratch, server, received.since(stamp), client, location.text, stamp_text);
        Sighting::ending_in(scratch, client, location.text, stamp, stamp_text)
    }

    /// The sighting that another server tells of; its server and difference stay.
    ///
    /// `scratch`: overwritten with the AT line, fields joined by single blanks.
    /// Source: the report, section 3.3.
    pub fn relayed(at: &At<'_>, scratch: &'a mut Vec<u8>) -> Sighting<'a> {
        scratch.clear();
        scratch.extend_from_slice(b"AT");
        let At { server, difference, client, location, stamp, stamp_text } = *at;
        for field in [server, difference, client, location.text, stamp_text] {
            scratch.push(b' ');
            scratch.extend_from_slice(field);
        }
        Sighting::ending_in(scratch, client, location.text, stamp, stamp_text)
    }

    /// A line just written that ends in these three fields.
    fn ending_in(
        line: &'a [u8],
        client: &[u8],
        location_text: &[u8],
        stamp: Stamp,
        stamp_text: &[u8],
    ) -> Sighting<'a> {
        let stamp_start = line.len() - stamp_text.len();
        let client_end = stamp_start - 1 - location_text.len() - 1;
        let client_start = client_end - client.len();
        Sighting { line, stamp, client_start, client_end, stamp_start }
    }

    /// A line that was a sighting's before, with the same range of the client and length of the
    /// stamp.
    pub(super) fn stored(line: &'a [u8], client: Range<usize>, stamp_len: usize) -> Sighting<'a> {
        let stamp_start = line.len() - stamp_len;
        Sighting {
            line,
            stamp: Stamp::parse(&line[stamp_start..]).expect("a sighting's line ends in a stamp"),
            client_start: client.start,
            client_end: client.end,
            stamp_start,
        }
    }

    /// The whole line, without a delimiter.
    pub fn line(&self) -> &'a [u8] {
        self.line
    }

    /// When the client was there, by its own clock.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The client's id.
    pub fn client(&self) -> &'a [u8] {
        &self.line[self.client_range()]
    }

    /// The location's text.
    pub fn location_text(&self) -> &'a [u8] {
        &self.line[self.client_end + 1..self.stamp_start - 1]
    }

    /// Where the client was, for a query.
    pub fn location(&self) -> Location<'a> {
        Location::known(self.location_text())
    }

    /// The stamp's text.
    pub fn stamp_text(&self) -> &'a [u8] {
        &self.line[self.stamp_start..]
    }

    /// Does this sighting replace `other`, of the same client? The one order: stamp, then line.
    ///
    /// Source: docs/protocol.md "Peer port".
    pub fn newer_than(&self, other: &Sighting<'_>) -> bool {
        self.order(other) == Ordering::Greater
    }

    pub(super) fn order(&self, other: &Sighting<'_>) -> Ordering {
        (self.stamp, self.line).cmp(&(other.stamp, other.line))
    }

    pub(super) fn client_range(&self) -> Range<usize> {
        self.client_start..self.client_end
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Command, CommandLimits};
    use super::*;

    fn at<'a>(line: &str, scratch: &'a mut Vec<u8>) -> Sighting<'a> {
        match Command::parse(line.as_bytes(), &CommandLimits::default()) {
            Ok(Command::At(at)) => Sighting::relayed(&at, scratch),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_iamat_becomes_the_at_line_of_the_specification() {
        let line = b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";
        let Ok(Command::Iamat(iamat)) = Command::parse(line, &CommandLimits::default()) else {
            panic!()
        };
        let mut scratch = b"what was there before".to_vec();
        let received = Stamp(1_479_413_884_655_887_836);
        let sighting = Sighting::taken(&iamat, b"Alford", received, &mut scratch);
        assert_eq!(
            sighting.line(),
            b"AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450"
        );
        assert_eq!(sighting.client(), b"kiwi.cs.ucla.edu");
        assert_eq!(sighting.location_text(), b"+34.068930-118.445127");
        assert_eq!(sighting.stamp_text(), b"1479413884.392014450");
        assert_eq!(sighting.stamp(), Stamp(1_479_413_884_392_014_450));
    }

    #[test]
    fn a_relayed_at_has_single_blanks_and_is_otherwise_verbatim() {
        let mut scratch = Vec::new();
        let sighting =
            at("\tAT  Bolden\x0b-9.5e-05 \r kiwi +027.5-086.0  0012.50 \r", &mut scratch);
        assert_eq!(sighting.line(), b"AT Bolden -9.5e-05 kiwi +027.5-086.0 0012.50");
        assert_eq!(sighting.client(), b"kiwi");
        assert_eq!(sighting.location_text(), b"+027.5-086.0");
        assert_eq!(sighting.stamp(), Stamp(12_500_000_000));
    }

    #[test]
    fn the_stamp_decides_and_then_the_line() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for (older, newer) in [
            ("AT Z +0.5 c +1+1 999999999.5", "AT A +0.5 c +1+1 1000000000.25"),
            ("AT Z +0.5 c +1+1 5.000000001", "AT A +0.5 c +1+1 5.000000002"),
            ("AT A +0.5 c +1+1 5", "AT B +0.5 c +1+1 5"),
            ("AT A +0.5 c +1+1 5", "AT A +0.5 c +1+1 5.0"),
        ] {
            let (older, newer) = (at(older, &mut one), at(newer, &mut two));
            assert!(newer.newer_than(&older) && !older.newer_than(&newer));
            assert!(!newer.newer_than(&newer));
        }
    }
}
