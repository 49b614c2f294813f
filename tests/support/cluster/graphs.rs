//! Herds of any size, by the shape of their graph, and how one report spreads through them: the number of messages, and
//! of hops to the last server. `cargo bench --bench herd -- spread SHAPE:SERVERS` prints both for herds of up to a thousand servers.
//!
//! The bounds: each server but the reporter's sends a report to all neighbours but the sender, so with E edges and N
//! servers there are at most 2E - (N - 1) messages; the last server is as many hops away as the graph is deep
//! (eccentricity).

use super::{Cluster, Meddler, topology};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{Moment, Reactor};
use places_herd::server::member::Member;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// How long each message is under way. Turns take a microsecond each, which even a thousand of them cannot hide.
const DELAY: Duration = Duration::from_millis(10);

/// Nothing but the flood happens while a report spreads.
const QUIET: &str = "ping_ms = 600_000\nsilence_ms = 3_600_000\nsync_ms = 86_400_000";

/// A graph: its number of servers, and its edges.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) servers: usize,
    pub(crate) edges: Vec<[usize; 2]>,
}

/// How a report has spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// AT lines between servers.
    pub(crate) messages: usize,
    /// Hops to the last server.
    pub(crate) hops: usize,
}

impl Graph {
    /// The graph of this shape: `chain`, `ring`, `tree` (two children each), `star`, `hubs` (a full mesh of the square
    /// root of their number, which share the others), or `mesh` (all are neighbours of all).
    pub(crate) fn new(shape: &str, servers: usize) -> Graph {
        let hubs = servers.isqrt();
        let is_edge: &dyn Fn(usize, usize) -> bool = match shape {
            "chain" => &|one, other| other == one + 1,
            "ring" => &|one, other| other == one + 1 || (one == 0 && other == servers - 1),
            "tree" => &|one, other| (other - 1) / 2 == one,
            "star" => &|one, _| one == 0,
            "hubs" => &|one, other| one < hubs && (other < hubs || other % hubs == one),
            "mesh" => &|_, _| true,
            _ => panic!("{shape} is no shape"),
        };
        let pairs = (0..servers).flat_map(|one| (one + 1..servers).map(move |other| [one, other]));
        Graph { servers, edges: pairs.filter(|[one, other]| is_edge(*one, *other)).collect() }
    }

    /// The text of the topology; the servers are called s0, s1...
    pub(crate) fn topology(&self) -> String {
        let mut servers: Vec<String> =
            (0..self.servers).map(|number| format!("s{number}")).collect();
        for [one, other] in &self.edges {
            servers[*one] += &format!(" s{other}");
        }
        topology(&servers.join(";"), QUIET)
    }

    /// Starts and links all servers.
    pub(crate) fn herd(&self) -> Cluster {
        let options = MemoryOptions { delay: DELAY..=DELAY, ..MemoryOptions::calm(1) };
        let mut cluster = Cluster::new(options, &self.topology());
        cluster.names().iter().for_each(|name| cluster.start(name));
        // SYN, its answer, HELLO, its answer, and a comparison of empty tables.
        cluster.run_for(20 * DELAY);
        cluster
    }

    /// Maximum messages for one report.
    pub(crate) fn messages_max(&self) -> usize {
        2 * self.edges.len() - (self.servers - 1)
    }

    /// The number of hops from the server `from` to the last one.
    pub(crate) fn eccentricity(&self, from: usize) -> usize {
        let mut reached = BTreeSet::from([from]);
        let mut neighbours = vec![Vec::new(); self.servers];
        for &[one, other] in &self.edges {
            neighbours[one].push(other);
            neighbours[other].push(one);
        }
        let mut ring = vec![from];
        (0..)
            .find(|_| {
                let next = ring.iter().flat_map(|server| &neighbours[*server]).copied();
                ring = next.filter(|server| reached.insert(*server)).collect();
                ring.is_empty()
            })
            .expect("the graph ends")
    }

    /// Reports a new client to the server `from` of `cluster`, and waits until all servers know it.
    pub(crate) fn spread(&self, cluster: &mut Cluster, from: usize) -> Spread {
        let name = format!("s{from}");
        let client = cluster.client(&name);
        // The segments of the connection itself.
        cluster.run_for(5 * DELAY);
        cluster.forget_lines();
        let known = vec![None; self.servers];
        let before = cluster.member(&name).table.len();
        let arrivals = Rc::new(RefCell::new(known));
        cluster.meddle(Box::new(Arrivals { before, known: Rc::clone(&arrivals) }));
        cluster.send(
            client,
            format!("IAMAT client-{before} +34.068930-118.445127 1479413884.{before}\n"),
        );
        cluster.run_for(DELAY * (self.eccentricity(from) as u32 + 3));
        let arrivals = arrivals.borrow();
        let at =
            |server: usize| arrivals[server].unwrap_or_else(|| panic!("s{server} knows nothing"));
        let last = (0..self.servers).map(at).max().expect("there is a server");
        Spread {
            messages: cluster.at_lines(),
            hops: ((last - at(from)).as_secs_f64() / DELAY.as_secs_f64()).round() as usize,
        }
    }
}

/// Notes when each server knows one client more than `before`.
#[derive(Debug)]
struct Arrivals {
    before: usize,
    known: Rc<RefCell<Vec<Option<Moment>>>>,
}

impl Meddler for Arrivals {
    fn turned(&mut self, server: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        let (member, core) = reactor.parts();
        if member.table.len() > self.before {
            self.known.borrow_mut()[server].get_or_insert(core.now());
        }
    }
}
