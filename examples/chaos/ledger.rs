//! What clients were told, and therefore what must be true.
//!
//! In: each reply, with the server that gave it. Out: how new at least the report of a client must be that
//! a server gives, now and at the end. It knows no connection.
//!
//! The idea: whatever a server has said it knows, be it by acknowledging a report or by answering a
//! question, it knows from then on, or something newer. That ends only when its memory is taken from it: it is
//! killed and has no journal. Then nothing that it has said counts any more; what others have said does.
//! At the end all know the same, so what counts of any of them all must know.

use std::fmt::Write;

/// A time as clients give it: nanoseconds since 1970. It also says which location was reported: see [`location_at`].
pub(crate) type Stamp = u64;

/// Mistakes that are kept to be shown; further ones are counted.
const SHOWN: usize = 10;

/// What was said by whom.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By server, then by client: the newest it has said it knows. 0: nothing.
    said: Vec<Vec<Stamp>>,
    /// By client: the newest that was acknowledged by anybody, whatever became of it.
    newest: Vec<Stamp>,
    last: Stamp,
    /// Reports acknowledged.
    pub(crate) acknowledged: u64,
    /// Questions answered.
    pub(crate) answered: u64,
    /// Commands that were not answered before their connection was lost.
    pub(crate) unanswered: u64,
    /// Replies that nobody may give.
    pub(crate) wrong: Mistakes,
    /// Replies older than what the same server had said before.
    pub(crate) went_back: Mistakes,
}

/// How often something happened that must not, and what it was at first.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    pub(crate) count: u64,
    pub(crate) shown: Vec<String>,
}

impl Mistakes {
    /// Notes one.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(what());
        }
    }
}

impl Ledger {
    /// Of so many servers and clients. `now`: nanoseconds since 1970.
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

    /// A stamp that was never given before: `now`, or as little later as it takes.
    pub(crate) fn stamp(&mut self, now: Stamp) -> Stamp {
        self.last = now.max(self.last + 1);
        self.last
    }

    /// `server` has acknowledged a report. `counts`: its memory was not taken since it was asked.
    pub(crate) fn acknowledge(&mut self, server: usize, client: usize, at: Stamp, counts: bool) {
        self.acknowledged += 1;
        self.newest[client] = self.newest[client].max(at);
        self.note(server, client, at, counts);
    }

    /// `server` has given the report of `client`.
    pub(crate) fn answer(&mut self, server: usize, client: usize, at: Stamp, counts: bool) {
        self.answered += 1;
        self.note(server, client, at, counts);
    }

    fn note(&mut self, server: usize, client: usize, at: Stamp, counts: bool) {
        let said = &mut self.said[server][client];
        *said = if counts { at.max(*said) } else { *said };
    }

    /// What `server` must know of `client`; 0 = nothing.
    pub(crate) fn must_know(&self, server: usize, client: usize) -> Stamp {
        self.said[server][client]
    }

    /// What all must know of `client` when they are equal; 0 = nothing.
    pub(crate) fn all_must_know(&self, client: usize) -> Stamp {
        self.said.iter().map(|said| said[client]).max().unwrap_or(0)
    }

    /// The newest that was acknowledged of `client`, whether it must still be known or not.
    pub(crate) fn newest(&self, client: usize) -> Stamp {
        self.newest[client]
    }

    /// The memory of `server` is gone.
    pub(crate) fn forget(&mut self, server: usize) {
        self.said[server].fill(0);
    }
}

/// The location that is reported at `stamp`: in the Pacific, where no town or airport is near, so that an answer
/// is short; another one for each stamp, so that a stamp with another's location is found out.
pub(crate) fn location_at(stamp: Stamp) -> String {
    let mixed = stamp.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    format!("-48.{:06}-123.{:06}", mixed % 1_000_000, mixed / 1_000_000 % 1_000_000)
}

/// Writes `stamp` as a client does: seconds, point, nine digits.
pub(crate) fn write_stamp(out: &mut String, stamp: Stamp) {
    let _ = write!(out, "{}.{:09}", stamp / 1_000_000_000, stamp % 1_000_000_000);
}

/// Reads what [`write_stamp`] has written.
pub(crate) fn read_stamp(text: &str) -> Option<Stamp> {
    let (seconds, nanos) = text.split_once('.').filter(|(_, nanos)| nanos.len() == 9)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)
}

/// The client and stamp that an AT line of ours tells of; nothing if no report of ours reads so.
///
/// `by`: the only server that may be named in it, if there is only one.
pub(crate) fn read_at(line: &str, by: Option<&str>) -> Option<(usize, Stamp)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let ["AT", server, _, client, location, stamp] = fields[..] else { return None };
    let stamp = read_stamp(stamp)?;
    let ours = by.is_none_or(|by| by == server) && location == location_at(stamp);
    let client = client.strip_prefix('c')?.parse().ok()?;
    ours.then_some((client, stamp))
}
