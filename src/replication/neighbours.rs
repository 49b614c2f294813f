//! Who of the neighbours is connected, and how news reaches them: the flood.
//!
//! A link is the connection to a neighbour, if it stands. One mechanism serves slow neighbours
//! and those met again: the backlog ([`Backlogs`]), one bit per client and
//! neighbour. News is written to a link at once while little is pending there; else the bit is set,
//! and when the link has drained, the client's *latest* line is sent for it. When a link is made,
//! the bits of what the neighbour lacks are set, which the [`Comparison`] finds out; those of all
//! clients, if the neighbour is plain and compares nothing. So memory is bounded by the number of
//! clients, whatever the rate, and a neighbour that was away learns what it missed in the same way as
//! one that was slow.
//!
//! Report, section 3.3: pass on only what is newer. To whom: to all but the one it came from.

use super::NeighbourId;
use super::acks::{Acks, Batch};
use super::anti_entropy::Comparison;
use super::replacements::{Replacements, Ruling};
use crate::config::{Acknowledge, Limits, Server, Topology};
use crate::table::backlog::{BacklogId, Backlogs};
use crate::table::leaf_set::LeafSet;
use crate::table::{ClientKey, Table};
use crate::wire::command::write_ack;
use crate::wire::sync_message::{ROW_LINE_BYTES_MAX, SyncMessage};
use herd_reactor::{ConnId, Core, Moment, Shared};
use std::time::Duration;

/// Pending output up to which a neighbour is sent what is compared and its backlog. So a portion, and a line
/// of 4 KiB, has room in a send buffer of 64 KiB; the next follows when it has been sent. More at once would not
/// arrive sooner, and each neighbour would need a larger buffer after each time that it was away.
const PORTION_BYTES: usize = 60 * 1_024;

/// One neighbour, connected or not.
#[derive(Debug)]
pub struct Neighbour {
    /// What the topology says of it.
    pub server: Server,
    /// The connection, from HELLO to loss. To a plain neighbour: the one that we dialled.
    pub conn: Option<ConnId>,
    /// What is under way to find out in what it and we differ.
    pub comparison: Comparison,
    /// Which clients' latest reports it has not been sent yet; empty while it is not connected.
    pub backlog: BacklogId,
    /// It wants to be told how many of its AT lines have been taken.
    taken: Option<TakenLines>,
    /// How often a new connection has replaced one that stood.
    replacements: Replacements,
    /// How often we have dialled it with success.
    dialled: Replacements,
}

/// The AT lines of one connection, for who wants to know.
#[derive(Clone, Copy, Debug, Default)]
struct TakenLines {
    lines: u64,
    told: u64,
}

/// The neighbours of one server.
#[derive(Debug)]
pub struct Neighbours {
    neighbours: Vec<Neighbour>,
    /// Pending output above which news waits as a bit. Key: `flood_buffer_bytes`.
    flood_buffer_bytes: usize,
    /// Where a line of a comparison is composed.
    line: Vec<u8>,
    /// What neighbours have taken, if replies wait for that.
    pub(crate) acks: Option<Acks>,
}

impl Neighbours {
    /// The neighbours of the server `name`, none of them connected.
    pub fn new(topology: &Topology, name: &str, backlogs: &mut Backlogs) -> Neighbours {
        let neighbour = |server: &Server| Neighbour {
            server: server.clone(),
            conn: None,
            comparison: Comparison::default(),
            backlog: backlogs.add(),
            taken: None,
            replacements: Replacements::default(),
            dialled: Replacements::default(),
        };
        let neighbours: Vec<_> = topology.neighbours_of(name).into_iter().map(neighbour).collect();
        Neighbours {
            acks: (topology.ack == Acknowledge::Peer).then(|| Acks::new(neighbours.len())),
            neighbours,
            flood_buffer_bytes: topology.limits.flood_buffer_bytes,
            line: Vec::new(),
        }
    }

    /// All neighbours.
    pub fn iter(&self) -> impl Iterator<Item = (NeighbourId, &Neighbour)> {
        self.neighbours.iter().enumerate().map(|(key, neighbour)| (NeighbourId(key), neighbour))
    }

    /// The neighbour that `id` names.
    pub fn get(&self, id: NeighbourId) -> &Neighbour {
        &self.neighbours[id.0]
    }

    /// The neighbour of that name.
    pub fn named(&self, name: &[u8]) -> Option<NeighbourId> {
        self.iter().find(|(_, one)| one.server.name.as_bytes() == name).map(|(id, _)| id)
    }

    /// How many neighbours there are.
    pub fn len(&self) -> usize {
        self.neighbours.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.neighbours.is_empty()
    }

    /// How many neighbours are configured that say no HELLO.
    pub fn plain(&self) -> usize {
        self.neighbours.iter().filter(|neighbour| neighbour.server.plain).count()
    }

    /// Whether a new connection may become the link to `id`. If one stands, returns it, and the ruling on its
    /// replacement. One that is being closed is as good as lost: nothing more comes of it.
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

    /// We have dialled `id`, and it is linked. Returns how long the link has to stand until the pauses between attempts
    /// begin with the first one again, and whether there were so many links that this is worth a warning.
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

    /// The link to `id` stands now, on `conn`. A plain neighbour's backlog is all clients; with the others what
    /// is known has still to be compared. `wants_acks`: it asks to be told what has been taken. Returns
    /// the connection that it had before and that this one replaces.
    pub fn made(
        &mut self,
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
        neighbour.comparison = Comparison::default();
        neighbour.taken = wants_acks.then(TakenLines::default);
        neighbour.conn.replace(conn)
    }

    /// `conn` is lost. If it was the link to `id`, that stands no more.
    pub fn lost(&mut self, table: &mut Table, id: NeighbourId, conn: ConnId) {
        let neighbour = &mut self.neighbours[id.0];
        if neighbour.conn != Some(conn) {
            return;
        }
        neighbour.conn = None;
        neighbour.comparison = Comparison::default();
        neighbour.taken = None;
        table.backlogs.clear(neighbour.backlog);
        if let Some(acks) = &mut self.acks {
            acks.lost(id);
        }
    }

    /// Passes the news of `key` on to every connected neighbour but `from`.
    pub fn flood<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &mut Table,
        key: ClientKey,
        from: Option<NeighbourId>,
    ) {
        // Nearly always, so that it is looked up once for all of them.
        let are_empty = table.backlogs.are_empty();
        for (number, neighbour) in self.neighbours.iter().enumerate() {
            let id = NeighbourId(number);
            let Some(conn) = neighbour.conn.filter(|_| from != Some(id)) else { continue };
            if !are_empty && table.backlogs.contains(neighbour.backlog, key) {
                // It will be sent the latest line, which is this one.
                continue;
            }
            if core.pending(conn) < self.flood_buffer_bytes {
                send_line(core, neighbour, conn, table.line(key));
                if let Some(acks) = &mut self.acks {
                    acks.wrote(id);
                }
            } else {
                table.backlogs.mark(neighbour.backlog, key);
                core.resume_when_drained(conn);
            }
        }
    }

    /// Begins to compare what is known here with what `id` knows.
    pub fn compare<S: Shared>(&mut self, core: &mut Core<S>, table: &mut Table, id: NeighbourId) {
        self.neighbours[id.0].comparison.begin();
        self.send_due(core, table, id);
    }

    /// Whether nothing is under way to `id`, nor about to be, and nothing has come from it since this was
    /// asked last by which it compares. What is less than a row of sums counts as nothing: on a busy link
    /// there is always something.
    pub fn is_quiet<S: Shared>(&mut self, core: &Core<S>, table: &Table, id: NeighbourId) -> bool {
        let neighbour = &mut self.neighbours[id.0];
        let is_sent = neighbour.conn.is_some_and(|conn| core.pending(conn) < ROW_LINE_BYTES_MAX);
        neighbour.comparison.is_at_rest() && is_sent && table.backlogs.is_empty(neighbour.backlog)
    }

    /// Takes the leaves of which neighbours have been found to lack lines, with the connections on
    /// which they were.
    pub(crate) fn take_given(&mut self) -> Vec<(NeighbourId, ConnId, LeafSet)> {
        let neighbours = self.neighbours.iter_mut().enumerate();
        let given = neighbours.filter_map(|(key, neighbour)| {
            Some((NeighbourId(key), neighbour.conn?, neighbour.comparison.take_given()))
        });
        given.filter(|(_, _, leaves)| !leaves.is_empty()).collect()
    }

    /// `id` has said a line of a comparison: the answer follows, now or when there is room.
    pub fn compared<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &mut Table,
        id: NeighbourId,
        line: SyncMessage<'_>,
    ) {
        self.neighbours[id.0].comparison.hear(line, table.digest(), table.len());
        self.send_due(core, table, id);
    }

    /// Sends to `id` what is due: what is to be compared and then its backlog, as far as there is room; the
    /// rest when that has been sent.
    pub fn send_due<S: Shared>(&mut self, core: &mut Core<S>, table: &mut Table, id: NeighbourId) {
        let neighbour = &mut self.neighbours[id.0];
        let Some(conn) = neighbour.conn else { return };
        let room = self.flood_buffer_bytes.min(PORTION_BYTES);
        while neighbour.comparison.has_words() && core.pending(conn) + ROW_LINE_BYTES_MAX < room {
            self.line.clear();
            neighbour.comparison.write_next(table.digest(), &mut self.line);
            send_line(core, neighbour, conn, &self.line);
        }
        while core.pending(conn) < room {
            let Some(key) = table.backlogs.take_next(neighbour.backlog) else { break };
            send_line(core, neighbour, conn, table.line(key));
            if let Some(acks) = &mut self.acks {
                acks.wrote(id);
            }
        }
        if neighbour.comparison.has_words() || !table.backlogs.is_empty(neighbour.backlog) {
            core.resume_when_drained(conn);
        }
    }

    /// An AT line has come from `id`, understood, whatever became of it.
    pub(crate) fn took(&mut self, id: NeighbourId) {
        if let Some(taken) = &mut self.neighbours[id.0].taken {
            taken.lines += 1;
        }
    }

    /// The turn is over: see [`Acks::before_poll`].
    pub(crate) fn before_poll(&mut self, table: &Table) -> Option<Batch> {
        let Neighbours { neighbours, acks, .. } = self;
        acks.as_mut()?.before_poll(|id| !table.backlogs.is_empty(neighbours[id.0].backlog))
    }

    /// Tells those who want to know how many of their lines have been taken: once a turn.
    pub(crate) fn acknowledge<S: Shared>(&mut self, core: &mut Core<S>) {
        for neighbour in &mut self.neighbours {
            let Some((taken, conn)) = neighbour.taken.as_mut().zip(neighbour.conn) else {
                continue;
            };
            debug_assert!(taken.told <= taken.lines);
            if taken.lines > taken.told {
                taken.told = taken.lines;
                self.line.clear();
                write_ack(&mut self.line, taken.told);
                send_line(core, neighbour, conn, &self.line);
            }
        }
    }
}

/// Writes one line to a neighbour, in its own manner of ending lines.
fn send_line<S: Shared>(core: &mut Core<S>, neighbour: &Neighbour, conn: ConnId, line: &[u8]) {
    let end: &[u8] = if neighbour.server.plain { b"\r\n" } else { b"\n" };
    core.write_with(conn, line.len() + end.len(), |out| {
        out.extend_from_slice(line);
        out.extend_from_slice(end);
    });
    if crate::log::traffic_is_on() {
        let wall = core.wall().0;
        let to = crate::log::Party::Named(neighbour.server.name.as_bytes());
        crate::log::traffic(wall, to, crate::log::Direction::Out, line);
    }
}
