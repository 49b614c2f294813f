//! The proxies: one for each edge, between the server that dials and the one that is dialled. What a network
//! does to a connection is done here.
//!
//! ```text
//!   Alford ──▶ [inbound ═ outbound] ──▶ Parker
//!                 └─ pair of an edge
//! ```
//!
//! In: bytes of either side. Out: the same bytes on the other, late or not at all, as the edge's
//! [`Weather`] has it. They are never changed: TCP does not let that happen.

use crate::run::Run;
use herd_reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, Context, Core, Factory, Flow, Protocol,
    TimerId,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// What waits for one side; while there is more, the other is not read.
const WAITING_BYTES: usize = 256 * 1_024;

/// Pieces that are late at one end; with more it is not read.
const LATE_PIECES: usize = 256;

/// How long the dialled server may take to accept.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(5);

/// What becomes of the bytes of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weather {
    /// They go on at once.
    #[default]
    Fair,
    /// They are late.
    Slow(Duration),
    /// They wait, in both directions.
    Frozen,
    /// They wait in one direction: from the one that dials.
    FrozenOneWay,
    /// There is no connection, and none is made.
    Down,
}

/// One edge.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Where the dialled server really is.
    pub(crate) to: SocketAddr,
    pub(crate) weather: Weather,
    ends: BTreeMap<ConnId, End>,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The other one. None: it is not there yet, or it is gone and this one has not been told.
    partner: Option<ConnId>,
    is_inbound: bool,
}

impl Edge {
    /// To the server at `to`.
    pub(crate) fn new(to: SocketAddr) -> Edge {
        Edge { to, weather: Weather::Fair, ends: BTreeMap::new() }
    }

    /// Changes the weather; what waited goes on if it may.
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

    /// Breaks all its connections, with a reset on both sides.
    pub(crate) fn cut(&mut self, core: &mut Core<Run>) {
        self.ends.keys().for_each(|&id| core.abort_connection(id));
    }

    /// Breaks its connections on one side. The other side is not told, and nothing answers it any more.
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

/// Takes the connections of the server that dials.
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

/// Makes the other end of an inbound connection.
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
        // It may be gone by now.
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

/// What comes in at one end goes out at the other.
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
        // Of a half-open connection nobody hears what is said.
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
        // What waits for this end holds up the other, and never this one: or both could wait.
        cx.core.unregister_producer(cx.id);
        let edge = &cx.state.edges[self.edge];
        match edge.partner(cx.id) {
            // Until the other end stands there is nowhere to go to.
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

    /// A piece is due. Each has its timer, and the first that came goes first.
    fn timer(&mut self, cx: &mut Context<'_, Run>, _timer: TimerId) -> Flow {
        if let Some(piece) = self.late.pop_front() {
            self.pass_on(cx, &piece);
            self.go_on(cx.id, cx.state, cx.core);
        }
        Ok(())
    }

    /// All that waited for this end has gone, so the other may be read again.
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
