//! Who of the neighbours is connected, and how news reaches them: the flood.
//!
//! A link is a neighbour and the connection to it, if it stands. One mechanism serves slow neighbours
//! and those met again: what is *owed* ([`Owed`](super::owed::Owed)), one bit per client and
//! neighbour. News is written to a link at once while little is pending there; else the bit is set,
//! and when the link has drained, the client's *latest* line is sent for it. When a link is made,
//! all bits are set. So memory is bounded by the number of clients, whatever the rate, and a
//! neighbour that was away learns what it missed in the same way as one that was slow.
//!
//! Report, section 3.3: pass on only what is newer. To whom: to all but the one it came from.

use super::table::{ClientKey, Herd};
use super::topology::{Server, Topology};
use crate::reactor::{ConnId, Core, Shared};

/// Names one neighbour of this server: its place in the list of them, sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighbourId(pub usize);

/// One neighbour, connected or not.
#[derive(Debug)]
pub struct Link {
    /// What the topology says of it.
    pub server: Server,
    /// The connection, from HELLO to loss. To a plain neighbour: the one that we dialled.
    pub conn: Option<ConnId>,
}

/// The neighbours of one server.
#[derive(Debug)]
pub struct Links {
    links: Vec<Link>,
    /// Pending output above which news waits as a bit. Key: `flood_buffer_bytes`.
    flood_buffer_bytes: usize,
}

impl Links {
    /// The neighbours of the server `name`, none of them connected.
    pub fn new(topology: &Topology, name: &str) -> Links {
        let neighbours = topology.neighbours_of(name).into_iter().cloned();
        Links {
            links: neighbours.map(|server| Link { server, conn: None }).collect(),
            flood_buffer_bytes: topology.limits.flood_buffer_bytes,
        }
    }

    /// All neighbours.
    pub fn iter(&self) -> impl Iterator<Item = (NeighbourId, &Link)> {
        self.links.iter().enumerate().map(|(key, link)| (NeighbourId(key), link))
    }

    /// The neighbour that `id` names.
    pub fn link(&self, id: NeighbourId) -> &Link {
        &self.links[id.0]
    }

    /// The neighbour of that name.
    pub fn named(&self, name: &[u8]) -> Option<NeighbourId> {
        self.iter().find(|(_, link)| link.server.name.as_bytes() == name).map(|(id, _)| id)
    }

    /// How many neighbours there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether a neighbour is configured that says no HELLO.
    pub fn has_plain(&self) -> bool {
        self.links.iter().any(|link| link.server.plain)
    }

    /// The link to `id` stands now, on `conn`. All is owed to it. Returns the connection that it had
    /// before and that this one replaces.
    pub fn made(&mut self, herd: &mut Herd, id: NeighbourId, conn: ConnId) -> Option<ConnId> {
        herd.owe_all(id.0);
        self.links[id.0].conn.replace(conn)
    }

    /// `conn` is lost. Whether it was the link to `id`, which then stands no more.
    pub fn lost(&mut self, herd: &mut Herd, id: NeighbourId, conn: ConnId) -> bool {
        let link = &mut self.links[id.0];
        let was = link.conn == Some(conn);
        if was {
            link.conn = None;
            herd.owed.forget(id.0);
        }
        was
    }

    /// Passes the news of `key` on to every connected neighbour but `from`.
    pub fn flood<S: Shared>(
        &self,
        core: &mut Core<S>,
        herd: &mut Herd,
        key: ClientKey,
        from: Option<NeighbourId>,
    ) {
        for (id, link) in self.iter() {
            let Some(conn) = link.conn.filter(|_| from != Some(id)) else { continue };
            if herd.owed.owes(id.0, key) {
                // It will be sent the latest line, which is this one.
                continue;
            }
            if core.pending(conn) < self.flood_buffer_bytes {
                send_line(core, link, conn, herd.line(key));
            } else {
                herd.owed.owe(id.0, key);
                core.resume_when_drained(conn);
            }
        }
    }

    /// Sends to `id` what it is owed, as far as there is room; the rest when that has been sent.
    pub fn pay<S: Shared>(&self, core: &mut Core<S>, herd: &mut Herd, id: NeighbourId) {
        let link = &self.links[id.0];
        let Some(conn) = link.conn else { return };
        while core.pending(conn) < self.flood_buffer_bytes {
            let Some(key) = herd.owed.pay(id.0) else { return };
            send_line(core, link, conn, herd.line(key));
        }
        if herd.owed.owed(id.0) > 0 {
            core.resume_when_drained(conn);
        }
    }
}

/// Writes one AT line to a neighbour, in its own manner of ending lines.
fn send_line<S: Shared>(core: &mut Core<S>, link: &Link, conn: ConnId, line: &[u8]) {
    core.write_with(conn, |out| {
        out.extend_from_slice(line);
        out.extend_from_slice(if link.server.plain { b"\r\n" } else { b"\n" });
    });
    if crate::log::traffic_is_on() {
        let wall = core.wall().0;
        crate::log::traffic(wall, link.server.name.as_bytes(), crate::log::Direction::Out, line);
    }
}
