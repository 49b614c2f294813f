//! The bus: a bucket of JetStream, which holds every client's latest report, as one more neighbour.
//!
//! In: news of this server's table, what the bucket answers to writes, and what its watch delivers. Out: the writes, as
//! bytes; which reports the bucket has. It knows neither connections nor how a report gets into the table;
//! `server::bus_link` does.
//!
//! The idea: the bucket is owed clients, as a neighbour is: one bit each, and the line that is the latest when its turn
//! comes. Each write expects the sequence of the message whose line was compared with ours. So a write can only
//! conflict, and never costs a newer report; then the watch or the stream's leader says what is there, and the client is
//! owed again if ours is still newer. At most one write of a client is in flight, and `bus_window` in all.
//!
//! ```text
//!   news from a client ───────────────────────▶ due ──put──▶ in flight ──ack──▶ the bucket has it
//!   news from a neighbour ─▶ young ─▶ old ─▶     ▲               │ conflict, no answer
//!                              bus_repair_ms     └───────────────┘
//!   the watch delivers the same line, or a newer one: it is in none of them
//! ```
//!
//! All servers of a herd hear the same news. The one that took the report writes it; the others do so only if the watch
//! has not delivered it meanwhile.
//!
//! Rules: docs/protocol.md "The bus".

use super::acks::Batch;
use super::put_waits::PutWaits;
use crate::nats::{ApiError, Bucket, PutReply, write_key};
use crate::table::backlog::BacklogId;
use crate::table::revisions::Revisions;
use crate::table::{ClientKey, Table};
use herd_reactor::{Core, Moment, Shared};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// How long an answer may take. A reader of the whole bucket delays others' writes for 3 s with a million clients.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// How long a conflict waits for the watch to say what the bucket has, before the stream's leader is asked.
const CONFLICT: Duration = Duration::from_millis(500);

/// How long no write is sent after the server said that it cannot store it now.
const PAUSE: Duration = Duration::from_millis(250);

/// How long no write is sent after a refusal that does not pass by itself.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// Number of clients that are looked at in one turn after the whole bucket was read.
const SLICE: usize = 4_096;

/// The error code of a message that is larger than the stream allows.
const TOO_LARGE: u32 = 10_054;

/// The subject of the answer to a write is the inbox's, this letter, and the write's token.
pub(crate) const PUT_TOKEN: char = 'p';

/// The bytes of a write besides its line and its key; the headers of a number and the names of bucket and inbox.
const PUT_BYTES: usize = 256;

/// The bus, as far as this server knows it; see the head of this file.
#[derive(Debug)]
pub struct Bus {
    bucket: Bucket,
    /// This server's name, with a blank behind it.
    own_name: Vec<u8>,
    /// Written as soon as there is room.
    pub due: BacklogId,
    /// Written if they are still lacking when they have been here for `bus_repair_ms`.
    young: BacklogId,
    old: BacklogId,
    repair: Duration,
    window: usize,
    /// When `old` became due for the last time.
    rotated: Moment,
    /// The writes without an answer, by their token.
    in_flight: BTreeMap<u64, PendingPut>,
    tokens: u64,
    /// Whether the watch has delivered what the bucket had when it began.
    is_live: bool,
    paused_until: Moment,
    /// A write was not answered, so only one is in flight until the next acknowledgement.
    is_slow: bool,
    /// The next client of a pass over the table that finds this server's own reports among the young.
    own_pass: Option<usize>,
    waits: PutWaits,
    batch: u64,
    /// The writes that conflicted and wait for the watch.
    conflicted: Vec<u64>,
    /// Scratch buffers for a key of the bucket and for the subject of an answer.
    key_text: Vec<u8>,
    reply: Vec<u8>,
    /// What has happened so far.
    pub counts: BusCounts,
}

/// What has happened between a server and its bus since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusCounts {
    /// Connections that logged in.
    pub connections: u64,
    /// Times that the whole bucket was read.
    pub reads: u64,
    /// Times that the watch began anew, after a gap or silence.
    pub resumed: u64,
    /// Reports that the watch delivered.
    pub delivered: u64,
    /// Writes sent.
    pub puts: u64,
    /// Writes that the bucket acknowledged.
    pub acknowledged: u64,
    /// Writes that conflicted with another server's.
    pub conflicts: u64,
    /// Writes without an answer within 5 s.
    pub unanswered: u64,
    /// Writes that the server could not store at that time, or refused.
    pub refused: u64,
}

/// A write without an answer.
#[derive(Clone, Copy, Debug)]
struct PendingPut {
    key: ClientKey,
    /// The sequence that it expects; after a conflict, the one that the server names, if it does.
    expected: u64,
    /// When it was sent, or when it reached its stage.
    since: Moment,
    /// The batch of the turn in which it was sent.
    batch: u64,
    stage: PutStage,
}

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PutStage {
    /// The bucket's acknowledgement.
    Sent,
    /// It conflicted: the watch may say what the bucket has.
    Conflicted,
    /// The answer of the stream's leader.
    Asked,
}

impl Bus {
    /// Makes the bus of the server `own_name`, which is not connected. `table` gets the backlogs.
    pub fn new(bucket: Bucket, own_name: &str, table: &mut Table) -> Bus {
        table.revisions = Some(Box::default());
        let [due, young, old] = [(); 3].map(|()| table.backlogs.add());
        Bus {
            bucket,
            own_name: format!("{own_name} ").into_bytes(),
            due,
            young,
            old,
            repair: Duration::from_secs(1),
            window: 1_024,
            rotated: Moment::default(),
            in_flight: BTreeMap::new(),
            tokens: 0,
            is_live: false,
            paused_until: Moment::default(),
            is_slow: false,
            own_pass: None,
            waits: PutWaits::default(),
            batch: 0,
            conflicted: Vec::new(),
            key_text: Vec::new(),
            reply: Vec::new(),
            counts: BusCounts::default(),
        }
    }

    /// Adopts `bus_window` and `bus_repair_ms`.
    pub fn set_limits(&mut self, window: usize, repair: Duration) {
        (self.window, self.repair) = (window, repair);
    }

    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The number of clients whose latest report the bucket may lack, as far as this server knows.
    pub fn owed(&self, table: &Table) -> usize {
        [self.due, self.young, self.old].iter().map(|&id| table.backlogs.len(id)).sum::<usize>()
            + self.in_flight.len()
    }

    /// The number of writes without an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether reports are written: the bucket was read.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Whether nothing is owed of the reports that this server took from its clients.
    pub fn is_paid(&self, table: &Table) -> bool {
        self.in_flight.is_empty() && table.backlogs.is_empty(self.due)
    }

    /// The reports of these clients are news. `is_own`: this server took them from a client, and writes them at once.
    pub(crate) fn news(&self, table: &mut Table, keys: &[ClientKey], is_own: bool) {
        let backlog = if is_own { self.due } else { self.young };
        keys.iter().for_each(|&key| table.backlogs.mark(backlog, key));
    }

    /// The replies of this turn's batch wait for the client's report, unless the bucket has it.
    pub(crate) fn wait(&mut self, table: &mut Table, key: ClientKey, Batch(batch): Batch) {
        if !self.is_settled(table, key) {
            self.batch = batch;
            table.backlogs.mark(self.due, key);
            self.waits.wait(key, batch);
        }
    }

    /// No reply of `batch` or of an earlier one waits any more.
    pub(crate) fn give_up(&mut self, Batch(batch): Batch) {
        self.waits.give_up(batch);
    }

    /// The last batch of which the bucket has all reports, if `newest` is the last one that waits.
    pub(crate) fn settled_until(&self, Batch(newest): Batch) -> Batch {
        Batch(self.waits.earliest().map_or(newest, |earliest| earliest - 1))
    }

    /// The connection is lost, or a watch begins anew: reports are owed until it delivers.
    pub(crate) fn pause(&mut self) {
        self.is_live = false;
    }

    /// The connection is lost: what was in flight is owed again.
    pub(crate) fn lost(&mut self, table: &mut Table) {
        self.is_live = false;
        self.drop_forgotten(table);
        for token in self.in_flight.keys().copied().collect::<Vec<_>>() {
            self.owe_again(table, token);
        }
    }

    /// The whole bucket will be read: until the watch delivers it, it is taken to lack every client.
    pub(crate) fn begin_reading(&mut self, table: &mut Table) {
        self.lost(table);
        revisions(table).clear();
        table.mark_all(self.young);
        self.own_pass = Some(0);
        self.counts.reads += 1;
    }

    /// The watch has delivered what the bucket had: reports may be written.
    pub(crate) fn go_live(&mut self, now: Moment) {
        (self.is_live, self.rotated) = (true, now);
    }

    /// The bucket has the client's line, or a newer one that is now in the table, as message `sequence`.
    pub(crate) fn has(&mut self, table: &mut Table, key: ClientKey, sequence: u64) {
        if self.noted(table, key, sequence) {
            self.settle(table, key, self.batch);
            self.resolve(table, key);
        }
    }

    /// The bucket has an older line of the client than the table, or one that nobody may have, as message `sequence`.
    pub(crate) fn lacks(&mut self, table: &mut Table, key: ClientKey, sequence: u64) {
        if self.noted(table, key, sequence) {
            if !table.backlogs.contains(self.due, key) {
                table.backlogs.mark(self.young, key);
            }
            self.resolve(table, key);
        }
    }

    /// Notes the sequence of the client's message. Returns false if the message is older than the one that was noted.
    fn noted(&mut self, table: &mut Table, key: ClientKey, sequence: u64) -> bool {
        self.drop_forgotten(table);
        let revisions = revisions(table);
        let is_latest = revisions.get(key) <= sequence;
        if is_latest {
            revisions.set(key, sequence);
        }
        is_latest
    }

    /// What the bucket has of the client was compared with our line: if its write conflicted, it is over.
    fn resolve(&mut self, table: &mut Table, key: ClientKey) {
        let is_it = |token: &u64| self.in_flight.get(token).is_some_and(|it| it.key == key);
        if let Some(at) = self.conflicted.iter().position(is_it) {
            let token = self.conflicted.swap_remove(at);
            self.compared(table, token);
        }
    }

    /// The bucket has the client's line as it was in `batch`; nothing is owed.
    fn settle(&mut self, table: &mut Table, key: ClientKey, batch: u64) {
        for backlog in [self.due, self.young, self.old] {
            table.backlogs.unmark(backlog, key);
        }
        self.waits.settled(key, batch);
    }

    fn is_settled(&self, table: &Table, key: ClientKey) -> bool {
        let is_owed = |backlog| table.backlogs.contains(backlog, key);
        let is_in_flight = table.revisions.as_ref().is_some_and(|it| it.is_in_flight(key));
        self.is_live && !is_in_flight && ![self.due, self.young, self.old].into_iter().any(is_owed)
    }

    /// Handles the answer to write `token`. Returns the refusal, if the report is not stored for a reason that does not pass
    /// by itself. An unknown token belongs to a write that was given up.
    pub(crate) fn answered(
        &mut self,
        now: Moment,
        table: &mut Table,
        token: u64,
        reply: PutReply,
    ) -> Option<(ClientKey, ApiError)> {
        self.drop_forgotten(table);
        let flight = self.in_flight.get_mut(&token).filter(|it| it.stage == PutStage::Sent)?;
        let (key, expected, batch) = (flight.key, flight.expected, flight.batch);
        match reply {
            PutReply::Stored(sequence) => {
                self.counts.acknowledged += 1;
                self.is_slow = false;
                // A bit that was set since the write began is of later news.
                let has_changed = self.end(table, token);
                if self.noted(table, key, sequence) {
                    self.waits.settled(key, batch);
                }
                if has_changed {
                    table.backlogs.mark(self.due, key);
                }
            }
            PutReply::Conflict(named) => {
                self.counts.conflicts += 1;
                if revisions(table).get(key) == expected {
                    flight.expected = named.unwrap_or(expected);
                    (flight.stage, flight.since) = (PutStage::Conflicted, now);
                    self.conflicted.push(token);
                } else {
                    self.compared(table, token);
                }
            }
            PutReply::Later(_) => {
                self.counts.refused += 1;
                self.owe_again(table, token);
                self.paused_until = now + PAUSE;
            }
            PutReply::Refused(why) => {
                self.counts.refused += 1;
                let has_changed = self.end(table, token);
                let is_too_large = why.err_code == TOO_LARGE;
                if is_too_large {
                    self.waits.settled(key, batch);
                } else {
                    self.paused_until = now + LONG_PAUSE;
                }
                if has_changed || !is_too_large {
                    table.backlogs.mark(self.due, key);
                }
                return Some((key, why));
            }
        }
        None
    }

    /// The client of a write that waits for the leader's answer.
    pub(crate) fn asked(&mut self, table: &mut Table, token: u64) -> Option<ClientKey> {
        self.drop_forgotten(table);
        let flight = self.in_flight.get(&token)?;
        (flight.stage == PutStage::Asked).then_some(flight.key)
    }

    /// What the bucket has of the client of write `token`, which conflicted, was compared with our line and noted, or it
    /// has nothing. The client is owed if it still lacks ours.
    pub(crate) fn compared(&mut self, table: &mut Table, token: u64) {
        let Some(key) = self.in_flight.get(&token).map(|flight| flight.key) else { return };
        let has_changed = self.end(table, token);
        let backlogs = &mut table.backlogs;
        if has_changed || backlogs.contains(self.young, key) || backlogs.contains(self.old, key) {
            backlogs.mark(self.due, key);
        }
    }

    /// Whatever the leader says next of the client is the latest.
    pub(crate) fn forget_sequence(&self, table: &mut Table, key: ClientKey) {
        revisions(table).set(key, 0);
    }

    /// The leader says that the bucket has no message of the client of write `token`. `is_too_long`: it has one, which is too
    /// long for a report, so that the answer cannot be read; then the sequence of the conflict is replaced.
    pub(crate) fn has_nothing(&mut self, table: &mut Table, token: u64, is_too_long: bool) {
        if let Some(flight) = self.in_flight.get(&token) {
            revisions(table).set(flight.key, if is_too_long { flight.expected } else { 0 });
            self.owe_again(table, token);
        }
    }

    /// Ends the write `token`, whose result is not known.
    fn owe_again(&mut self, table: &mut Table, token: u64) {
        let Some(flight) = self.in_flight.get(&token).copied() else { return };
        self.end(table, token);
        table.backlogs.mark(self.due, flight.key);
    }

    /// Ends the write `token`. Returns whether the line has changed since.
    fn end(&mut self, table: &mut Table, token: u64) -> bool {
        let flight = self.in_flight.remove(&token);
        self.conflicted.retain(|it| *it != token);
        flight.is_some_and(|flight| revisions(table).end(flight.key))
    }

    /// Ends the writes of clients that were forgotten meanwhile.
    fn drop_forgotten(&mut self, table: &mut Table) {
        for key in revisions(table).take_forgotten() {
            // The successor's write began later, so its token is greater.
            let first = self.in_flight.iter().find(|(_, flight)| flight.key == key);
            if let Some(token) = first.map(|(&token, _)| token) {
                self.in_flight.remove(&token);
                self.conflicted.retain(|it| *it != token);
            }
        }
    }

    /// Gives up writes whose answer is overdue, makes old clients due, and continues the pass over own reports. Appends
    /// the questions to the leader to `out`; `inbox` is the beginning of the subjects of answers.
    pub(crate) fn tick(&mut self, now: Moment, table: &mut Table, inbox: &[u8], out: &mut Vec<u8>) {
        self.drop_forgotten(table);
        let late: Vec<_> = self.in_flight.iter().filter(|(_, it)| it.is_late(now)).collect();
        let late: Vec<_> = late.into_iter().map(|(&token, &flight)| (token, flight)).collect();
        for (token, flight) in late {
            match flight.stage {
                PutStage::Conflicted => {
                    self.conflicted.retain(|it| *it != token);
                    self.address(inbox, token, table.report(flight.key).client());
                    self.bucket.write_leader_get(out, &self.reply, &self.key_text);
                    let asked = PendingPut { stage: PutStage::Asked, since: now, ..flight };
                    self.in_flight.insert(token, asked);
                }
                PutStage::Sent | PutStage::Asked => {
                    self.counts.unanswered += 1;
                    self.is_slow = true;
                    self.owe_again(table, token);
                }
            }
        }
        if self.is_live && self.own_pass.is_none() && now - self.rotated >= self.repair {
            self.rotated = now;
            table.backlogs.move_all(self.old, self.due);
            table.backlogs.move_all(self.young, self.old);
        }
    }

    /// Makes the own reports among the young due, a slice of clients at a time. Returns whether some are left to look at.
    pub(crate) fn pass_on(&mut self, table: &mut Table) -> bool {
        let Some(next) = self.own_pass.filter(|_| self.is_live) else { return false };
        let end = (next + SLICE).min(table.keys());
        for index in next..end {
            let key = ClientKey::new(index);
            let line = table.line_of(index).filter(|_| table.backlogs.contains(self.young, key));
            let from = line.and_then(|line| line.strip_prefix(b"AT "));
            if from.is_some_and(|from| from.starts_with(&self.own_name)) {
                table.backlogs.unmark(self.young, key);
                table.backlogs.mark(self.due, key);
            }
        }
        self.own_pass = (end < table.keys()).then_some(end);
        self.own_pass.is_some()
    }

    /// Writes due clients while the window has room, and while fewer than `room` bytes wait to be sent. `payload_max`: what
    /// the server accepts. Returns the client whose report is too long for it, if there is one; it is not written.
    pub(crate) fn pay<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &mut Table,
        to: &BusOutlet<'_>,
    ) -> Option<ClientKey> {
        let now = core.now();
        let window = if self.is_slow { 1 } else { self.window };
        if !self.is_live || now < self.paused_until {
            return None;
        }
        while self.in_flight.len() < window && core.pending(to.conn) < to.room {
            let key = table.backlogs.take_next(self.due)?;
            if !revisions(table).begin(key) {
                continue;
            }
            table.backlogs.unmark(self.young, key);
            table.backlogs.unmark(self.old, key);
            let expected = revisions(table).get(key);
            let bytes = table.served(key.index()).map(|report| report.line().len() + PUT_BYTES);
            if bytes.is_none_or(|bytes| bytes > to.payload_max) {
                revisions(table).end(key);
                self.waits.settled(key, self.batch);
                match bytes {
                    Some(_) => return Some(key),
                    // It has expired.
                    None => continue,
                }
            }
            let report = table.report(key);
            self.tokens += 1;
            self.address(to.inbox, self.tokens, report.client());
            let Bus { bucket, key_text, reply, .. } = &*self;
            let room = report.line().len() + key_text.len() + PUT_BYTES;
            core.write_with(to.conn, room, |out| {
                bucket.write_put(out, key_text, reply, expected, report.line());
            });
            let (stage, batch) = (PutStage::Sent, self.batch);
            self.in_flight
                .insert(self.tokens, PendingPut { key, expected, since: now, batch, stage });
            self.counts.puts += 1;
        }
        None
    }

    /// Whether the bucket keeps reports of `client` under `key`.
    pub(crate) fn is_key_of(&mut self, key: &[u8], client: &[u8]) -> bool {
        self.key_text.clear();
        write_key(client, &mut self.key_text);
        self.key_text == key
    }

    /// Composes the key of `client`, and the subject of the answer to write `token`.
    fn address(&mut self, inbox: &[u8], token: u64, client: &[u8]) {
        self.key_text.clear();
        write_key(client, &mut self.key_text);
        self.reply.clear();
        self.reply.extend_from_slice(inbox);
        // A write to memory does not fail.
        let _ = write!(self.reply, "{PUT_TOKEN}{token}");
    }
}

/// Where writes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BusOutlet<'a> {
    /// The connection.
    pub(crate) conn: herd_reactor::ConnId,
    /// The beginning of the subjects of answers.
    pub(crate) inbox: &'a [u8],
    /// No write begins while as many bytes wait to be sent.
    pub(crate) room: usize,
    /// The largest message that the server accepts, in bytes.
    pub(crate) payload_max: usize,
}

impl PendingPut {
    fn is_late(&self, now: Moment) -> bool {
        let wait = if self.stage == PutStage::Conflicted { CONFLICT } else { ANSWER };
        now - self.since >= wait
    }
}

/// The table of a server with a bus has revisions.
fn revisions(table: &mut Table) -> &mut Revisions {
    table.revisions.get_or_insert_default()
}
