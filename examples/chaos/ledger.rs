//! The record of all replies, and the promises that follow from them.
//!
//! In: each reply, with the server that sent it. Out: the oldest report of a client that a server may still return,
//! now and at the end. It knows no connection.
//!
//! The idea: a server that has shown a report, by acknowledging it or in an answer, must from then on return that
//! report or a newer one. The promise ends only when the server loses its memory: it is killed and has no journal.
//! Then its own replies count no longer; those of other servers still do. At the end all tables are equal, so all
//! servers must know each report that still counts.

use std::fmt::Write;

/// A client's time stamp: nanoseconds since 1970. It also determines the reported location: see [`location_at`].
pub(crate) type Stamp = u64;

/// Maximum mistakes that are kept to be printed; further ones are only counted.
const SHOWN: usize = 10;

/// The record of all replies.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The newest stamp that each server has shown of each client; 0 if none.
    said: Vec<Vec<Stamp>>,
    /// The newest stamp of each client that any server has acknowledged, even if it was lost since.
    newest: Vec<Stamp>,
    last: Stamp,
    /// Reports acknowledged.
    pub(crate) acknowledged: u64,
    /// Questions answered.
    pub(crate) answered: u64,
    /// Commands that were not answered before their connection was lost.
    pub(crate) unanswered: u64,
    /// Replies that are wrong in any case.
    pub(crate) wrong: Mistakes,
    /// Replies older than an earlier one of the same server.
    pub(crate) went_back: Mistakes,
}

/// Mistakes of one kind: their number, and the first of them as texts.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    pub(crate) count: u64,
    pub(crate) shown: Vec<String>,
}

impl Mistakes {
    /// Counts a mistake; `what` describes it.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(what());
        }
    }
}

impl Ledger {
    /// Creates the record for this number of servers and clients. `now` is in nanoseconds since 1970.
    pub(crate) fn new(servers: usize, clients: usize, now: Stamp) -> Ledger {
        Ledger {
            said: vec![vec![0; clients]; servers],
            newest: vec![0; clients],
            last: now,
            acknowledged: 0,
            answered: 0,
            unanswered: 0,
            wrong: Mistakes::default(),
            went_back: Mistakes::default(),
        }
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.newest.len()
    }

    /// Returns a unique stamp: `now`, or the next free one after it.
    pub(crate) fn stamp(&mut self, now: Stamp) -> Stamp {
        self.last = now.max(self.last + 1);
        self.last
    }

    /// Notes that `server` acknowledged a report. `counts`: the server has not lost its memory since the
    /// connection was made.
    pub(crate) fn acknowledge(&mut self, server: usize, client: usize, at: Stamp, counts: bool) {
        self.acknowledged += 1;
        self.newest[client] = self.newest[client].max(at);
        self.note(server, client, at, counts);
    }

    /// Notes that `server` answered a question with the report of `client`. `counts`: the server has not
    /// lost its memory since the connection was made.
    pub(crate) fn answer(&mut self, server: usize, client: usize, at: Stamp, counts: bool) {
        self.answered += 1;
        self.note(server, client, at, counts);
    }

    fn note(&mut self, server: usize, client: usize, at: Stamp, counts: bool) {
        let said = &mut self.said[server][client];
        *said = if counts { at.max(*said) } else { *said };
    }

    /// The oldest stamp of `client` that `server` may return; 0 = it need not know the client.
    pub(crate) fn must_know(&self, server: usize, client: usize) -> Stamp {
        self.said[server][client]
    }

    /// The oldest stamp of `client` that any server may return when all tables are equal; 0 = no server need know it.
    pub(crate) fn all_must_know(&self, client: usize) -> Stamp {
        self.said.iter().map(|said| said[client]).max().unwrap_or(0)
    }

    /// The newest acknowledged stamp of `client`, whether a promise still covers it or not.
    pub(crate) fn newest(&self, client: usize) -> Stamp {
        self.newest[client]
    }

    /// Notes that `server` has lost its memory.
    pub(crate) fn forget(&mut self, server: usize) {
        self.said[server].fill(0);
    }
}

/// The location that is reported with `stamp`. It is in the Pacific, where no town or airport is near, so that answers
/// are short. It differs for each stamp, so that a stamp with the location of another is detected. Neither number ends in 0,
/// so that a report by HTTP has the same text.
pub(crate) fn location_at(stamp: Stamp) -> String {
    let [latitude, longitude] = degrees_at(stamp);
    latitude + &longitude
}

/// The latitude and the longitude of [`location_at`].
pub(crate) fn degrees_at(stamp: Stamp) -> [String; 2] {
    let mixed = stamp.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let digits = |mixed: u64| format!("{:05}{}", mixed % 100_000, 1 + mixed / 100_000 % 9);
    [format!("-48.{}", digits(mixed)), format!("-123.{}", digits(mixed / 1_000_000))]
}

/// Writes `stamp` as a client does: seconds, point, nine digits.
pub(crate) fn write_stamp(out: &mut String, stamp: Stamp) {
    let _ = write!(out, "{}.{:09}", stamp / 1_000_000_000, stamp % 1_000_000_000);
}

/// Reads a stamp that [`write_stamp`] has written, or a server that was sent a number of microseconds.
pub(crate) fn read_stamp(text: &str) -> Option<Stamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{fraction:0<9}");
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)
}

/// Returns the client and stamp of an AT line; `None` if the line cannot stem from a report of this program.
///
/// `by`: the server that the line must name, if that is known.
pub(crate) fn read_at(line: &str, by: Option<&str>) -> Option<(usize, Stamp)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let ["AT", server, _, client, location, stamp] = fields[..] else { return None };
    let stamp = read_stamp(stamp)?;
    let ours = by.is_none_or(|by| by == server) && location == location_at(stamp);
    let client = client.strip_prefix('c')?.parse().ok()?;
    ours.then_some((client, stamp))
}
