//! Connections that take a server's memory and time and give nothing: heads of requests that never end, and followers that
//! never read. A server closes both after a while; then they connect again.

use crate::clients::patient;
use crate::run::Run;
use herd_reactor::{
    ClientFactory, CloseReason, ConnectorId, Context, Core, Factory, Flow, Protocol, TimerId,
};
use std::net::SocketAddr;
use std::time::Duration;

/// How many connections of each kind attack a server.
const OF_EACH_KIND: usize = 2;

/// How often a slow head sends a byte.
const BYTE_EVERY: Duration = Duration::from_millis(500);

/// All attackers of a run.
#[derive(Debug, Default)]
pub(crate) struct Attackers {
    connectors: Vec<ConnectorId>,
    /// How often a server closed one.
    pub(crate) closed: u64,
}

impl Run {
    /// Starts to attack the HTTP ports of all servers.
    pub(crate) fn begin_attacks(&mut self, core: &mut Core<Run>) {
        for server in &self.servers.all {
            for kind in [Kind::SlowHead, Kind::DeafFollower].repeat(OF_EACH_KIND) {
                let connector = core.connect_tcp(server.http, patient(), Box::new(kind));
                self.attackers.connectors.push(connector);
            }
        }
    }

    /// Ends all attacks.
    pub(crate) fn end_attacks(&mut self, core: &mut Core<Run>) {
        self.attackers.connectors.drain(..).for_each(|connector| core.stop_trying(connector));
    }
}

/// What an attacker does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Sends a head byte by byte.
    SlowHead,
    /// Follows all reports, and never reads.
    DeafFollower,
}

impl Factory<Run> for Kind {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Run>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Run>>> {
        Some(Box::new(Attacker(*self)))
    }
}

impl ClientFactory<Run> for Kind {}

/// One connection.
#[derive(Debug)]
struct Attacker(Kind);

impl Protocol<Run> for Attacker {
    fn name(&self) -> &'static str {
        "Attacker"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Run>) -> Flow {
        match self.0 {
            Kind::SlowHead => {
                cx.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ");
                cx.timer_later(BYTE_EVERY);
            }
            Kind::DeafFollower => {
                cx.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
                cx.pause_producing();
            }
        }
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, Run>, _timer: TimerId) -> Flow {
        cx.write(b"x");
        cx.timer_later(BYTE_EVERY);
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Run>, _data: &[u8]) -> Flow {
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Run>, _why: &CloseReason) {
        cx.state.attackers.closed += 1;
    }
}
