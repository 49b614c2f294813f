//! The neighbours, and the flood that brings news to them.
//!
//! A link is the open connection to a neighbour. One mechanism serves slow neighbours
//! and neighbours that were away: the backlog ([`Backlogs`]), one bit per client and
//! neighbour. News is written to a link at once while little output is pending there; else the bit is set,
//! and when the link has drained, the client's *latest* line is sent. After a new link is made,
//! the [`Comparison`] finds the lines that the neighbour lacks, and their bits are set. A plain neighbour compares
//! nothing, so the bits of all clients are set. The number of
//! clients bounds the memory at any rate of reports, and a neighbour that was away catches up in the same
//! way as a slow one.
//!
//! Source: the original paper, section 3.3: a server passes on only newer reports, to every neighbour but the sender.

use super::NeighbourId;
use super::acks::{Acks, Batch};
use super::anti_entropy::Comparison;
use super::replacements::{Replacements, Ruling};
use crate::config::{Acknowledge, Limits, SERVERS_MAX, Server, Topology};
use crate::table::backlog::{BacklogId, Backlogs};
use crate::table::leaf_set::LeafSet;
use crate::table::{ClientKey, Table};
use crate::wire::command::write_ack;
use crate::wire::sync_message::{ROW_LINE_BYTES_MAX, SyncMessage};
use herd_reactor::{ConnId, Core, Moment, Shared};
use std::mem;
use std::time::Duration;

/// The pending output above which lines of the comparison and of the backlog wait. A portion and one more line
/// of 4 KiB fit into a send buffer of 64 KiB; the next portion follows when this one has been sent. Larger portions
/// would not arrive sooner, and each neighbour would need a larger buffer after each absence.
const PORTION_BYTES: usize = 60 * 1_024;

/// One neighbour, connected or not.
#[derive(Debug)]
pub struct Neighbour {
    /// The neighbour's entry in the topology, without its own neighbours.
    pub server: Server,
    /// Whether a reload has removed it. It keeps its place, because connections that are closing have its id.
    is_removed: bool,
    /// The connection, from HELLO to loss. For a plain neighbour: the connection that we dialled.
    pub conn: Option<ConnId>,
    /// The state of the comparison with it.
    pub comparison: Comparison,
    /// The clients with a latest report that it has not been sent yet; empty while it is not connected.
    pub backlog: BacklogId,
    /// Links to it made and lost.
    pub link_changes: u64,
    /// When the last link to it was made or lost; `None`: there has been none.
    pub changed: Option<Moment>,
    /// AT lines received from it, and written to it, over all its links.
    pub reports: [u64; 2],
    /// The AT lines taken from the neighbour, if it asked for acknowledgements.
    taken: Option<TakenLines>,
    /// Whether it has said BYE on its last link: it ends soon, or has ended.
    pub is_leaving: bool,
    /// How often a new connection has replaced an open one.
    replacements: Replacements,
    /// How often we have dialled the neighbour with success.
    dialled: Replacements,
}

/// What was counted of the comparisons with all neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparisonCounts {
    /// Comparisons that this server started.
    pub started: u64,
    /// Of these, the ones that had ended when the next was due.
    pub finished: u64,
    /// Lines of comparisons received and written.
    pub lines: [u64; 2],
}

/// The AT lines taken on one connection, and how many of them have been acknowledged (`told`).
#[derive(Clone, Copy, Debug, Default)]
struct TakenLines {
    lines: u64,
    told: u64,
}

/// Maximum number of different neighbours that a server may have while it runs.
pub(crate) const EVER_MAX: usize = 4 * SERVERS_MAX;

/// The neighbours of one server.
#[derive(Debug)]
pub struct Neighbours {
    /// By [`NeighbourId`]. A neighbour that was removed keeps its place, and gets it again if it comes back.
    neighbours: Vec<Neighbour>,
    /// Pending output above which news waits as a bit. Key: `flood_buffer_bytes`.
    pub(crate) flood_buffer_bytes: usize,
    /// The buffer for lines of a comparison and ACK lines.
    line: Vec<u8>,
    /// Whether an AT line was taken, since the last [`acknowledge`](Neighbours::acknowledge), that must be acknowledged.
    owes_acks: bool,
    /// The counts of all comparisons.
    pub comparisons: ComparisonCounts,
    /// The neighbours' acknowledgements, if replies wait for them.
    pub(crate) acks: Option<Acks>,
    /// The last batch of acknowledgements before a reload turned them off.
    last_batch: Batch,
}

impl Neighbours {
    /// Makes the neighbours of the server `name`, none of them connected.
    pub fn new(topology: &Topology, name: &str, backlogs: &mut Backlogs) -> Neighbours {
        let mut neighbours = Neighbours {
            acks: acks(topology.ack, Batch::default()),
            neighbours: Vec::new(),
            flood_buffer_bytes: topology.limits.flood_buffer_bytes,
            line: Vec::new(),
            owes_acks: false,
            comparisons: ComparisonCounts::default(),
            last_batch: Batch::default(),
        };
        topology
            .neighbours_of(name)
            .into_iter()
            .for_each(|server| neighbours.put(server, backlogs));
        neighbours
    }

    /// Adds the neighbour `server`, which is not linked, or replaces its entry. A neighbour that was removed gets its old
    /// place.
    pub fn put(&mut self, server: &Server, backlogs: &mut Backlogs) {
        // A list of up to a thousand names for each of a thousand neighbours would be 50 MB.
        let server = Server { neighbours: Vec::new(), ..server.clone() };
        match self.neighbours.iter_mut().find(|one| one.server.name == server.name) {
            Some(one) => {
                if mem::take(&mut one.is_removed) {
                    one.backlog = backlogs.add();
                }
                one.server = server;
            }
            None => self.neighbours.push(Neighbour {
                server,
                is_removed: false,
                conn: None,
                comparison: Comparison::default(),
                backlog: backlogs.add(),
                link_changes: 0,
                changed: None,
                reports: [0; 2],
                taken: None,
                is_leaving: false,
                replacements: Replacements::default(),
                dialled: Replacements::default(),
            }),
        }
    }

    /// Removes the neighbour `id`, whose link the caller has [closed](Neighbours::unlink).
    pub fn remove(&mut self, id: NeighbourId, backlogs: &mut Backlogs) {
        let neighbour = &mut self.neighbours[id.0];
        debug_assert!(neighbour.conn.is_none());
        neighbour.is_removed = true;
        backlogs.remove(neighbour.backlog);
    }

    /// Closes the link to `id` when all that was written to it has been sent.
    pub fn unlink<S: Shared>(&mut self, core: &mut Core<S>, table: &mut Table, id: NeighbourId) {
        let neighbour = &mut self.neighbours[id.0];
        if let Some(conn) = neighbour.conn {
            core.lose_connection(conn);
            self.lost(core.now(), table, id, conn);
        }
    }

    /// The number of different neighbours since the start.
    pub(crate) fn ever(&self) -> usize {
        self.neighbours.len()
    }

    /// Whether neighbours are asked to acknowledge.
    pub(crate) fn ask_for_acks(&self) -> bool {
        self.acks.as_ref().is_some_and(|acks| !acks.are_by_bus())
    }

    /// Adopts `ack`. Returns the clients whose replies need not wait any more. If neighbours are to acknowledge now, or no
    /// longer, the links must be made anew, because neighbours were told so in HELLO.
    pub(crate) fn set_acks(&mut self, ack: Acknowledge) -> Vec<(ConnId, Batch)> {
        let free = self.acks.take().map_or_else(Vec::new, |mut acks| {
            self.last_batch = acks.current();
            acks.expired(self.last_batch).0
        });
        self.acks = acks(ack, self.last_batch);
        free
    }

    /// Iterates over all neighbours.
    pub fn iter(&self) -> impl Iterator<Item = (NeighbourId, &Neighbour)> {
        let all = self.neighbours.iter().enumerate().filter(|(_, neighbour)| !neighbour.is_removed);
        all.map(|(key, neighbour)| (NeighbourId(key), neighbour))
    }

    /// Returns the neighbour `id`.
    pub fn get(&self, id: NeighbourId) -> &Neighbour {
        &self.neighbours[id.0]
    }

    /// Returns the id of the neighbour with this name.
    pub fn named(&self, name: &[u8]) -> Option<NeighbourId> {
        self.iter().find(|(_, one)| one.server.name.as_bytes() == name).map(|(id, _)| id)
    }

    /// Returns the number of neighbours.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Returns the number of plain neighbours, which send no HELLO.
    pub fn plain(&self) -> usize {
        self.iter().filter(|(_, neighbour)| neighbour.server.plain).count()
    }

    /// Returns the open link to `id` and the ruling on its replacement by a new connection; `None` if there is no open
    /// link. A link that is being closed counts as lost.
    pub(crate) fn replace<S: Shared>(
        &mut self,
        core: &Core<S>,
        id: NeighbourId,
        limits: &Limits,
    ) -> Option<(ConnId, Ruling)> {
        let neighbour = &mut self.neighbours[id.0];
        let stands = |conn: &ConnId| core.transport(*conn).is_some_and(|t| t.is_connected());
        let conn = neighbour.conn.filter(stands)?;
        Some((conn, neighbour.replacements.rule(core.now(), limits.retry_first, limits.retry_max)))
    }

    /// Counts a link to `id` that we dialled. Returns how long the link must last before the backoff between attempts
    /// is reset, and whether so many links were made that a warning is due.
    pub(crate) fn dialled(
        &mut self,
        now: Moment,
        id: NeighbourId,
        limits: &Limits,
    ) -> (Duration, bool) {
        let dialled = &mut self.neighbours[id.0].dialled;
        let ruling = dialled.rule(now, limits.retry_first, limits.retry_max);
        (dialled.pause().min(limits.silence), ruling.is_alarming)
    }

    /// Makes `conn` the link to `id`. It puts all clients into a plain neighbour's backlog; with other neighbours the
    /// caller starts a comparison. `wants_acks`: the neighbour asks for acknowledgements. Returns
    /// the connection that this one replaces, if there is one.
    pub fn made(
        &mut self,
        now: Moment,
        table: &mut Table,
        id: NeighbourId,
        conn: ConnId,
        wants_acks: bool,
    ) -> Option<ConnId> {
        let neighbour = &mut self.neighbours[id.0];
        if neighbour.server.plain {
            table.mark_all(neighbour.backlog);
        } else if let Some(acks) = &mut self.acks {
            acks.linked(id);
        }
        neighbour.link_changes += 1;
        neighbour.changed = Some(now);
        neighbour.comparison = Comparison::default();
        neighbour.taken = wants_acks.then(TakenLines::default);
        neighbour.is_leaving = false;
        neighbour.conn.replace(conn)
    }

    /// The neighbour `id` ends soon.
    pub fn said_bye(&mut self, id: NeighbourId) {
        self.neighbours[id.0].is_leaving = true;
    }

    /// Removes the link to `id` if it is `conn`, which is lost.
    pub fn lost(&mut self, now: Moment, table: &mut Table, id: NeighbourId, conn: ConnId) {
        let neighbour = &mut self.neighbours[id.0];
        if neighbour.conn != Some(conn) {
            return;
        }
        neighbour.conn = None;
        neighbour.link_changes += 1;
        neighbour.changed = Some(now);
        neighbour.comparison = Comparison::default();
        neighbour.taken = None;
        table.backlogs.clear(neighbour.backlog);
        if let Some(acks) = &mut self.acks {
            acks.lost(id);
        }
    }

    /// Floods the latest `lines` of the clients `keys`, in this order, to every connected neighbour but `from`.
    pub fn flood<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        backlogs: &mut Backlogs,
        keys: &[ClientKey],
        lines: &[&[u8]],
        from: Option<NeighbourId>,
    ) {
        let bytes: usize = lines.iter().map(|line| line.len() + b"\r\n".len()).sum();
        // All backlogs are nearly always empty: one check for all neighbours saves a lookup in each.
        let are_empty = backlogs.are_empty();
        for (number, neighbour) in self.neighbours.iter_mut().enumerate() {
            let id = NeighbourId(number);
            let Some(conn) = neighbour.conn.filter(|_| from != Some(id)) else { continue };
            // Nearly always there is room for all lines, and one write takes them.
            let has_room = core.pending(conn) + bytes <= self.flood_buffer_bytes;
            let at_once = if are_empty && has_room { lines.len().max(1) } else { 1 };
            for (keys, lines) in keys.chunks(at_once).zip(lines.chunks(at_once)) {
                if !are_empty && backlogs.contains(neighbour.backlog, keys[0]) {
                    // The backlog will send the client's latest line, which is this one or a later one.
                    continue;
                }
                if core.pending(conn) < self.flood_buffer_bytes {
                    send_lines(core, neighbour, conn, lines);
                    neighbour.reports[1] += lines.len() as u64;
                    if let Some(acks) = &mut self.acks {
                        acks.wrote(id, lines.len());
                    }
                } else {
                    backlogs.mark(neighbour.backlog, keys[0]);
                    core.resume_when_drained(conn);
                }
            }
        }
    }

    /// Starts a comparison of our table with that of `id`.
    pub fn compare<S: Shared>(&mut self, core: &mut Core<S>, table: &mut Table, id: NeighbourId) {
        self.comparisons.started += 1;
        self.neighbours[id.0].comparison.begin();
        self.send_due(core, table, id);
    }

    /// Whether nothing is pending for `id`, neither output nor comparison nor backlog, and `id` has sent no line of a
    /// comparison since the last call. Pending output of less than a row of sums is ignored, because a busy link
    /// always has some.
    pub fn is_quiet<S: Shared>(&mut self, core: &Core<S>, table: &Table, id: NeighbourId) -> bool {
        let neighbour = &mut self.neighbours[id.0];
        let is_sent = neighbour.conn.is_some_and(|conn| core.pending(conn) < ROW_LINE_BYTES_MAX);
        neighbour.comparison.is_at_rest() && is_sent && table.backlogs.is_empty(neighbour.backlog)
    }

    /// Takes the leaves of which each neighbour lacks lines, with the connection on which to send these lines.
    pub(crate) fn take_given(&mut self) -> Vec<(NeighbourId, ConnId, LeafSet)> {
        let neighbours = self.neighbours.iter_mut().enumerate();
        let given = neighbours.filter_map(|(key, neighbour)| {
            Some((NeighbourId(key), neighbour.conn?, neighbour.comparison.take_given()))
        });
        given.filter(|(_, _, leaves)| !leaves.is_empty()).collect()
    }

    /// Handles a line of a comparison from `id`. The answer follows now or when there is room.
    pub fn compared<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &mut Table,
        id: NeighbourId,
        line: SyncMessage<'_>,
    ) {
        let clients = table.len();
        self.comparisons.lines[0] += 1;
        self.neighbours[id.0].comparison.hear(line, table.digest(), clients);
        self.send_due(core, table, id);
    }

    /// Sends lines of the comparison and then of the backlog to `id`, as far as there is room; the
    /// rest follows when the link has drained.
    pub fn send_due<S: Shared>(&mut self, core: &mut Core<S>, table: &mut Table, id: NeighbourId) {
        let neighbour = &mut self.neighbours[id.0];
        let Some(conn) = neighbour.conn else { return };
        let room = self.flood_buffer_bytes.min(PORTION_BYTES);
        while neighbour.comparison.has_words() && core.pending(conn) + ROW_LINE_BYTES_MAX < room {
            self.line.clear();
            neighbour.comparison.write_next(table.digest(), &mut self.line);
            send_lines(core, neighbour, conn, &[&self.line]);
            self.comparisons.lines[1] += 1;
        }
        while core.pending(conn) < room {
            let Some(key) = table.backlogs.take_next(neighbour.backlog) else { break };
            send_lines(core, neighbour, conn, &[table.line(key)]);
            neighbour.reports[1] += 1;
            if let Some(acks) = &mut self.acks {
                acks.wrote(id, 1);
            }
        }
        if neighbour.comparison.has_words() || !table.backlogs.is_empty(neighbour.backlog) {
            core.resume_when_drained(conn);
        }
    }

    /// Counts valid AT lines from `id`, whether or not they were stored.
    pub(crate) fn took(&mut self, id: NeighbourId, lines: u64) {
        let neighbour = &mut self.neighbours[id.0];
        neighbour.reports[0] += lines;
        if let Some(taken) = &mut neighbour.taken {
            taken.lines += lines;
            self.owes_acks = true;
        }
    }

    /// Ends the turn: see [`Acks::before_poll`].
    pub(crate) fn before_poll(&mut self, table: &Table) -> Option<Batch> {
        let Neighbours { neighbours, acks, .. } = self;
        acks.as_mut()?.before_poll(|id| !table.backlogs.is_empty(neighbours[id.0].backlog))
    }

    /// Sends an ACK to each neighbour that asked for them and has sent AT lines since the last ACK. Call once a turn.
    pub(crate) fn acknowledge<S: Shared>(&mut self, core: &mut Core<S>) {
        // A turn that owes nothing skips the loop over up to 1,023 neighbours.
        if !mem::take(&mut self.owes_acks) {
            return;
        }
        for neighbour in &mut self.neighbours {
            let Some((taken, conn)) = neighbour.taken.as_mut().zip(neighbour.conn) else {
                continue;
            };
            debug_assert!(taken.told <= taken.lines);
            if taken.lines > taken.told {
                taken.told = taken.lines;
                self.line.clear();
                write_ack(&mut self.line, taken.told);
                send_lines(core, neighbour, conn, &[&self.line]);
            }
        }
    }
}

/// The state in which no reply waits, if replies wait at all.
fn acks(ack: Acknowledge, last: Batch) -> Option<Acks> {
    match ack {
        Acknowledge::Local => None,
        Acknowledge::Peer => Some(Acks::new(last)),
        Acknowledge::Bus => Some(Acks::new(last).by_bus()),
    }
}

/// Writes lines to a neighbour; a plain neighbour's lines end with CR LF.
fn send_lines<S: Shared>(core: &mut Core<S>, neighbour: &Neighbour, conn: ConnId, lines: &[&[u8]]) {
    let end: &[u8] = if neighbour.server.plain { b"\r\n" } else { b"\n" };
    let bytes = lines.iter().map(|line| line.len() + end.len()).sum();
    core.write_with(conn, bytes, |out| {
        for line in lines {
            out.extend_from_slice(line);
            out.extend_from_slice(end);
        }
    });
    if crate::log::traffic_is_on() {
        let wall = core.wall().0;
        let to = crate::log::Party::Named(neighbour.server.name.as_bytes());
        let out = crate::log::Direction::Out;
        lines.iter().for_each(|line| crate::log::traffic(wall, to, out, line));
    }
}
