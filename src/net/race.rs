//! Happy eyeballs on the reactor: the attempts to connect to one host, each a connector, of which the first wins.
//!
//! ```text
//!   step ─▶ Eyeballs ─▶ Try   connect_tcp, whose factory reports to `won`, or to `step` with `failed`
//!             ▲         until a timer, which calls `step` again
//!             └─ won    the other connectors are stopped
//! ```
//!
//! In: the addresses of a host. Out: connectors, and the last failure once all addresses have failed. It knows neither the
//! protocol of the connection nor where the race is kept.

use super::eyeballs::{Attempt, Eyeballs, Next};
use herd_reactor::{ClientFactory, ConnectOptions, ConnectorId, Core, Moment, Shared};
use std::net::SocketAddr;
use std::time::Duration;

/// The attempts to connect to one host.
#[derive(Debug)]
pub struct Race {
    eyeballs: Eyeballs<String>,
    connectors: Vec<(Attempt, ConnectorId)>,
}

impl Race {
    /// A race between these addresses of a host, the best first.
    pub fn new(addresses: Vec<SocketAddr>) -> Race {
        Race { eyeballs: Eyeballs::new(&addresses), connectors: Vec::new() }
    }

    /// Takes the step `taken` and starts the attempt that follows, if one does, with a factory that `factory` makes. `again`
    /// is called when it is time for the next step, [`Eyeballs::next`].
    ///
    /// # Errors
    /// Every address has failed; the error is the last failure.
    pub fn step<S: Shared, F: ClientFactory<S> + 'static>(
        &mut self,
        core: &mut Core<S>,
        timeout: Duration,
        taken: impl FnOnce(&mut Eyeballs<String>, Moment) -> Next<String>,
        factory: impl FnOnce(Attempt) -> F,
        again: impl FnOnce(&mut S, &mut Core<S>) + 'static,
    ) -> Result<(), String> {
        let until = match taken(&mut self.eyeballs, core.now()) {
            Next::Try { attempt, address, until } => {
                let options = ConnectOptions { timeout, reconnect: None };
                let connector = core.connect_tcp(address, options, Box::new(factory(attempt)));
                self.connectors.push((attempt, connector));
                until
            }
            Next::Wait { until } => until,
            Next::Connected => None,
            Next::Failed(why) => {
                return Err(why.unwrap_or_else(|| "the host name has no address".to_owned()));
            }
        };
        if let Some(until) = until {
            core.call_later(until - core.now(), again);
        }
        Ok(())
    }

    /// Reports that `attempt` has connected, and stops the others. Returns whether it is the first.
    pub fn won<S: Shared>(&mut self, core: &mut Core<S>, attempt: Attempt) -> bool {
        let losers = self.eyeballs.connected(attempt);
        if losers.contains(&attempt) {
            return false;
        }
        self.connectors.retain(|(other, _)| *other != attempt);
        self.stop(core);
        true
    }

    /// Stops all attempts.
    pub fn stop<S: Shared>(&mut self, core: &mut Core<S>) {
        self.connectors.drain(..).for_each(|(_, connector)| core.stop_trying(connector));
    }
}
