//! Reports: one AT line each, in canonical form, and the order that decides which of two is newer.
//!
//! In: an IAMAT just received, or an AT from another server. Out: the line `AT <server>
//! <difference> <client> <location> <stamp>` with single blanks and no delimiter, and its
//! fields. The line itself is the record: clients get it as the reply, the table stores it, and neighbours
//! receive it, byte for byte the same at every server.
//!
//! The order is `(stamp, line)`. It is total and the same wherever reports are compared. The stamp
//! alone is not enough: two servers that each took a report of the same stamp would keep their own
//! for ever, as did all earlier servers of this kind that we examined.
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

/// An AT line in canonical form, and its last three fields.
///
/// The fields may borrow from the command instead of the new line: a read of bytes that were just written
/// stalls the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    line: &'a [u8],
    client: &'a [u8],
    location: Location<'a>,
    stamp: Stamp,
    stamp_text: &'a [u8],
}

impl<'a> Report<'a> {
    /// Makes the report of an IAMAT that this server received.
    ///
    /// `server`: this server's name, at most 64 bytes. `received`: the wall clock at receipt.
    /// `scratch`: overwritten with the AT line.
    /// Source: the original paper, section 3.2.
    #[inline]
    pub fn taken(
        iamat: &Iamat<'a>,
        server: &[u8],
        received: Stamp,
        scratch: &'a mut Vec<u8>,
    ) -> Report<'a> {
        let Iamat { client, location, stamp, stamp_text, operands } = *iamat;
        let difference = received.since(stamp);
        scratch.clear();
        match operands {
            Some(operands) => write_at(scratch, server, difference, &[operands]),
            None => write_at(scratch, server, difference, &[client, location.text, stamp_text]),
        }
        Report { line: scratch, client, location, stamp, stamp_text }
    }

    /// Makes the report of an AT line that is in canonical form already; `None` if it is not.
    #[inline]
    pub fn canonical(at: &At<'a>) -> Option<Report<'a>> {
        let At { client, location, stamp, stamp_text, .. } = *at;
        at.line.map(|line| Report { line, client, location, stamp, stamp_text })
    }

    /// Makes the report of an AT line from another server; server and difference stay as they are.
    ///
    /// `scratch`: overwritten with the AT line, its fields joined by single blanks; not used if the line
    /// already has only single blanks. Source: the original paper, section 3.3.
    #[inline]
    pub fn relayed(at: &At<'a>, scratch: &'a mut Vec<u8>) -> Report<'a> {
        if let Some(report) = Report::canonical(at) {
            return report;
        }
        let At { server, difference, client, location, stamp, stamp_text, .. } = *at;
        scratch.clear();
        scratch.extend_from_slice(b"AT");
        for field in [server, difference, client, location.text, stamp_text] {
            scratch.push(b' ');
            scratch.extend_from_slice(field);
        }
        Report { line: scratch, client, location, stamp, stamp_text }
    }

    /// Returns the whole line, without a delimiter.
    pub fn line(&self) -> &'a [u8] {
        self.line
    }

    /// Returns the time at which the client was there, by its own clock.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Returns the client's id.
    pub fn client(&self) -> &'a [u8] {
        self.client
    }

    /// Returns where the client was.
    pub fn location(&self) -> Location<'a> {
        self.location
    }

    /// Returns the stamp's text.
    pub fn stamp_text(&self) -> &'a [u8] {
        self.stamp_text
    }

    /// Compares this report with another one of the same client, given how their stamps compare (`stamps`)
    /// and the other's `line`. The greater report replaces the other.
    ///
    /// Source: docs/protocol.md "Peer port".
    pub(crate) fn order(&self, stamps: Ordering, line: &[u8]) -> Ordering {
        stamps.then_with(|| self.line.cmp(line))
    }

    /// Compares this report's stamp with that of a stored report.
    #[inline]
    pub(crate) fn order_of_stamps(&self, stored: &Stored<'_>) -> Ordering {
        self.stamp.cmp_texts(self.stamp_text, stored.stamp_text())
    }

    /// Returns the position of the client's id in the line.
    pub(crate) fn client_range(&self) -> Range<usize> {
        let behind = 1 + self.location.text.len() + 1 + self.stamp_text.len();
        let end = self.line.len() - behind;
        end - self.client.len()..end
    }
}

/// A report's line in the table. Its stamp is parsed on demand only: usually the texts of two stamps
/// show which one is later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    line: &'a [u8],
    client_start: usize,
    client_end: usize,
    stamp_start: usize,
}

impl<'a> Stored<'a> {
    /// Wraps a stored line. `client`, `stamp_len`: the position of the id and the length of the stamp in it.
    #[inline]
    pub(crate) fn new(line: &'a [u8], client: Range<usize>, stamp_len: usize) -> Stored<'a> {
        let stamp_start = line.len() - stamp_len;
        Stored { line, client_start: client.start, client_end: client.end, stamp_start }
    }

    pub(crate) fn line(&self) -> &'a [u8] {
        self.line
    }

    pub(crate) fn location_text(&self) -> &'a [u8] {
        &self.line[self.client_end + 1..self.stamp_start - 1]
    }

    fn stamp_text(&self) -> &'a [u8] {
        &self.line[self.stamp_start..]
    }

    /// Returns the report, with its stamp parsed.
    pub(crate) fn report(&self) -> Report<'a> {
        let stamp_text = self.stamp_text();
        Report {
            line: self.line,
            client: &self.line[self.client_start..self.client_end],
            location: Location::known(self.location_text()),
            stamp: Stamp::parse(stamp_text).expect("a report's line ends in a stamp"),
            stamp_text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, CommandLimits};

    fn at<'a>(line: &'a str, scratch: &'a mut Vec<u8>) -> Report<'a> {
        match Command::parse(line.as_bytes(), &CommandLimits::default()) {
            Ok(Command::At(at)) => Report::relayed(&at, scratch),
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
        let report = Report::taken(&iamat, b"Alford", received, &mut scratch);
        assert_eq!(
            report.line(),
            b"AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450"
        );
        assert_eq!(report.client(), b"kiwi.cs.ucla.edu");
        assert_eq!(report.location().text, b"+34.068930-118.445127");
        assert_eq!(report.stamp_text(), b"1479413884.392014450");
        assert_eq!(report.stamp(), Stamp(1_479_413_884_392_014_450));
    }

    #[test]
    fn what_came_with_other_white_space_becomes_the_same_line() {
        let expected = "AT Alford +0.000000000 kiwi +34.068930-118.445127 5.25";
        for gaps in [[" ", " ", " "], ["  ", " ", " "], [" ", "\t", " "], [" ", " ", " \x0b "]] {
            let [first, second, third] = gaps;
            for (before, after) in [("", ""), ("", "\r"), (" ", ""), ("\t", " \t")] {
                let operands = format!("kiwi{second}+34.068930-118.445127{third}5.25{after}");
                let line = format!("{before}IAMAT{first}{operands}");
                let Ok(Command::Iamat(iamat)) =
                    Command::parse(line.as_bytes(), &CommandLimits::default())
                else {
                    panic!("{line:?}")
                };
                let mut scratch = Vec::new();
                let taken = Report::taken(&iamat, b"Alford", iamat.stamp, &mut scratch);
                assert_eq!(str::from_utf8(taken.line()).unwrap(), expected, "{line:?}");
                let line = format!("{before}AT{first}Alford +0.000000000 {operands}");
                let mut scratch = Vec::new();
                let relayed = at(&line, &mut scratch);
                assert_eq!(relayed, taken, "{line:?}");
                assert_eq!(&relayed.line()[relayed.client_range()], b"kiwi");
            }
        }
    }

    #[test]
    fn a_line_that_came_with_single_blanks_is_not_copied() {
        let line = "AT Bolden -9.5e-05 kiwi +027.5-086.0 0012.50";
        let mut scratch = Vec::new();
        assert_eq!(at(line, &mut scratch).line().as_ptr(), line.as_ptr());
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn a_relayed_at_has_single_blanks_and_is_otherwise_verbatim() {
        let mut scratch = Vec::new();
        let report = at("\tAT  Bolden\x0b-9.5e-05 \r kiwi +027.5-086.0  0012.50 \r", &mut scratch);
        assert_eq!(report.line(), b"AT Bolden -9.5e-05 kiwi +027.5-086.0 0012.50");
        assert_eq!(report.client(), b"kiwi");
        assert_eq!(report.location().text, b"+027.5-086.0");
        assert_eq!(report.stamp(), Stamp(12_500_000_000));
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
            let order = |one: &Report<'_>, other: &Report<'_>| {
                one.order(one.stamp.cmp(&other.stamp), other.line)
            };
            assert!(order(&newer, &older).is_gt() && order(&older, &newer).is_lt());
            assert!(order(&newer, &newer).is_eq());
        }
    }
}
