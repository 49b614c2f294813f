//! The proxies: one for each edge, between the server that dials and the server that is dialled. They cause the faults
//! of networks.
//!
//! ```text
//!   Alford ──▶ [inbound ═ outbound] ──▶ Parker
//!                 └─ pair of an edge
//! ```
//!
//! In: bytes from either side. Out: the same bytes on the other side, late or not at all, as the edge's [`Weather`]
//! says. The proxies never change bytes, because TCP does not either.

use crate::run::Run;
use herd_reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, Context, Core, Factory, Flow, Protocol,
    TimerId,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Maximum bytes that wait for one side; beyond it the other side is not read.
const WAITING_BYTES: usize = 256 * 1_024;

/// Maximum delayed pieces of one side; beyond it that side is not read.
const LATE_PIECES: usize = 256;

/// Timeout for the connection to the dialled server.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(5);

/// The state of an edge: how the proxy treats its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Bytes are passed on at once.
    #[default]
    Fair,
    /// Bytes are delayed.
    Slow(Duration),
    /// Bytes wait, in both directions.
    Frozen,
    /// Bytes from the dialling server wait; the other direction works.
    FrozenOneWay,
    /// Connections are cut, and new ones are closed at once.
    Down,
}

/// One edge.
#[derive(Debug)]
pub(crate) struct Edge {
    /// The real address of the dialled server.
    pub(crate) to: SocketAddr,
    pub(crate) weather: Weather,
    ends: BTreeMap<ConnId, End>,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The other end of the pair. `None`: it is not connected yet, or it is gone and this end was not notified.
    partner: Option<ConnId>,
    is_inbound: bool,
}

impl Edge {
    /// Creates the edge to the server at `to`.
    pub(crate) fn new(to: SocketAddr) -> Edge {
        Edge { to, weather: Weather::Fair, ends: BTreeMap::new() }
    }

    /// Changes the weather, and passes on the bytes that need not wait any more.
    pub(crate) fn set(&mut self, core: &mut Core<Run>, weather: Weather) {
        self.weather = weather;
        if weather == Weather::Down {
            return self.cut(core);
        }
        for (&id, end) in &self.ends {
            match self.holds_up(end) {
                true => core.pause_producing(id),
                false => core.resume_producing(id),
            }
        }
    }

    /// Cuts all connections, with a reset on both sides.
    pub(crate) fn cut(&mut self, core: &mut Core<Run>) {
        self.ends.keys().for_each(|&id| core.abort_connection(id));
    }

    /// Resets one side of each connection. The other side is not notified and receives nothing any more.
    pub(crate) fn half_open(&mut self, core: &mut Core<Run>, keeps_inbound: bool) {
        for (&id, end) in &mut self.ends {
            let partner = end.partner.take();
            if end.is_inbound != keeps_inbound && partner.is_some() {
                core.abort_connection(id);
            }
        }
    }

    fn holds_up(&self, end: &End) -> bool {
        match self.weather {
            Weather::Frozen => true,
            Weather::FrozenOneWay => end.is_inbound,
            Weather::Fair | Weather::Slow(_) | Weather::Down => false,
        }
    }

    fn partner(&self, id: ConnId) -> Option<ConnId> {
        self.ends.get(&id)?.partner
    }
}

/// Accepts the connections of the dialling server.
#[derive(Debug)]
pub(crate) struct Inbound(pub(crate) usize);

impl Factory<Run> for Inbound {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Run>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Run>>> {
        let edge = &mut cx.state.edges[self.0];
        if edge.weather == Weather::Down {
            return None;
        }
        edge.ends.insert(cx.id, End { partner: None, is_inbound: true });
        let options = ConnectOptions { timeout: ACCEPTED_WITHIN, reconnect: None };
        let outbound = Outbound { edge: self.0, inbound: cx.id };
        cx.core.connect_tcp(edge.to, options, Box::new(outbound));
        Some(Box::new(Pipe::new(self.0, true)))
    }
}

/// Connects the other end of an inbound connection to the dialled server.
#[derive(Debug)]
struct Outbound {
    edge: usize,
    inbound: ConnId,
}

impl Factory<Run> for Outbound {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Run>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Run>>> {
        let edge = &mut cx.state.edges[self.edge];
        // The inbound end may be gone by now.
        edge.ends.get_mut(&self.inbound)?.partner = Some(cx.id);
        edge.ends.insert(cx.id, End { partner: Some(self.inbound), is_inbound: false });
        Some(Box::new(Pipe::new(self.edge, false)))
    }
}

impl ClientFactory<Run> for Outbound {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<Run>,
        _run: &mut Run,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        core.abort_connection(self.inbound);
    }
}

/// One end of a pair: passes the bytes that it receives to the other end.
#[derive(Debug)]
struct Pipe {
    edge: usize,
    is_inbound: bool,
    late: VecDeque<Vec<u8>>,
}

impl Pipe {
    fn new(edge: usize, is_inbound: bool) -> Pipe {
        Pipe { edge, is_inbound, late: VecDeque::new() }
    }

    fn pass_on(&self, cx: &mut Context<'_, Run>, data: &[u8]) {
        // The bytes of a half-open connection are lost.
        let Some(partner) = cx.state.edges[self.edge].partner(cx.id) else { return };
        cx.core.write(partner, data);
        if cx.core.pending(partner) > WAITING_BYTES {
            cx.core.resume_when_drained(partner);
            cx.pause_producing();
        }
    }

    fn go_on(&self, id: ConnId, run: &Run, core: &mut Core<Run>) {
        let edge = &run.edges[self.edge];
        if edge.ends.get(&id).is_some_and(|end| !edge.holds_up(end)) {
            core.resume_producing(id);
        }
    }
}

impl Protocol<Run> for Pipe {
    fn name(&self) -> &'static str {
        "Pipe"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Run>) -> Flow {
        // A full send buffer of this end pauses the other end and not this one, or both could pause for ever.
        cx.core.unregister_producer(cx.id);
        let edge = &cx.state.edges[self.edge];
        match edge.partner(cx.id) {
            // Until the other end is connected, there is no destination for bytes.
            None => cx.pause_producing(),
            Some(inbound) => {
                if edge.ends.get(&cx.id).is_some_and(|end| edge.holds_up(end)) {
                    cx.pause_producing();
                }
                self.go_on(inbound, cx.state, cx.core);
            }
        }
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Run>, data: &[u8]) -> Flow {
        let delay = match cx.state.edges[self.edge].weather {
            Weather::Slow(delay) => delay,
            _ if self.late.is_empty() => {
                self.pass_on(cx, data);
                return Ok(());
            }
            _ => Duration::ZERO,
        };
        self.late.push_back(data.to_vec());
        cx.timer_later(delay);
        if self.late.len() > LATE_PIECES {
            cx.pause_producing();
        }
        Ok(())
    }

    /// Passes on the oldest delayed piece. Each piece has a timer of its own.
    fn timer(&mut self, cx: &mut Context<'_, Run>, _timer: TimerId) -> Flow {
        if let Some(piece) = self.late.pop_front() {
            self.pass_on(cx, &piece);
            self.go_on(cx.id, cx.state, cx.core);
        }
        Ok(())
    }

    /// The send buffer of this end is empty, so the other end is read again.
    fn resume_producing(&mut self, cx: &mut Context<'_, Run>) -> Flow {
        if let Some(partner) = cx.state.edges[self.edge].partner(cx.id) {
            self.go_on(partner, cx.state, cx.core);
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Run>, why: &CloseReason) {
        let edge = &mut cx.state.edges[self.edge];
        debug_assert!(edge.ends.get(&cx.id).is_none_or(|end| end.is_inbound == self.is_inbound));
        let Some(End { partner: Some(partner), .. }) = edge.ends.remove(&cx.id) else { return };
        match why {
            CloseReason::ConnectionDone => cx.core.lose_connection(partner),
            _ => cx.core.abort_connection(partner),
        }
    }
}
