//! A solution of exercise 16.

use herd_reactor::{
    ClientFactory, CloseReason, ConnectOptions, ConnectorId, Context, Core, Factory, Flow,
    Protocol, Shared, TimerId,
};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the first address is tried alone.
pub const HEAD_START: Duration = Duration::from_millis(250);

/// The shared state.
#[derive(Default)]
pub struct Race {
    /// The address of the connection that was made first.
    pub winner: Option<SocketAddr>,
    /// Both attempts have failed.
    pub has_failed: bool,
    /// The second address, until it is tried, and the timer that begins the attempt.
    second: Option<(SocketAddr, TimerId)>,
    /// The attempts that have not ended.
    trying: Vec<(SocketAddr, ConnectorId)>,
}

impl Shared for Race {
    type Message = ();
}

impl Race {
    fn attempt(&mut self, core: &mut Core<Race>, address: SocketAddr) {
        let options = ConnectOptions::default();
        self.trying.push((address, core.connect_tcp(address, options, Box::new(Attempt(address)))));
    }

    /// Takes the second address, if it has not been tried; its timer is not needed any more.
    fn take_second(&mut self, core: &mut Core<Race>) -> Option<SocketAddr> {
        let (address, timer) = self.second.take()?;
        // It fails if the timer is what calls this.
        let _ = core.cancel(timer);
        Some(address)
    }

    fn try_second(&mut self, core: &mut Core<Race>) {
        if let Some(address) = self.take_second(core) {
            self.attempt(core, address);
        }
    }
}

/// Begins to connect to one of two addresses.
pub fn race(core: &mut Core<Race>, race: &mut Race, addresses: [SocketAddr; 2]) {
    race.attempt(core, addresses[0]);
    let timer = core.call_later(HEAD_START, |race, core| race.try_second(core));
    race.second = Some((addresses[1], timer));
}

/// The factory of the attempt to connect to this address.
struct Attempt(SocketAddr);

impl Factory<Race> for Attempt {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Race>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Race>>> {
        if cx.state.winner.is_some() {
            return None;
        }
        cx.state.winner = Some(peer);
        cx.state.take_second(cx.core);
        let losers = cx.state.trying.iter().filter(|(address, _)| *address != self.0);
        losers.for_each(|(_, connector)| cx.core.stop_trying(*connector));
        Some(Box::new(Hello))
    }
}

impl ClientFactory<Race> for Attempt {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<Race>,
        race: &mut Race,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        race.trying.retain(|(address, _)| *address != self.0);
        if race.winner.is_none() {
            race.try_second(core);
            race.has_failed = race.trying.is_empty();
        }
    }
}

/// The protocol of the connection that has won.
struct Hello;

impl Protocol<Race> for Hello {
    fn connection_made(&mut self, cx: &mut Context<'_, Race>) -> Flow {
        cx.write(b"hello\n");
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Race>, _data: &[u8]) -> Flow {
        Ok(())
    }
}
