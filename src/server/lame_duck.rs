//! The phases of a server, and its orderly ends: the lame duck at SIGUSR2, and the drain at SIGTERM.
//!
//! | phase | begins | ports | clients | ready |
//! |---|---|---|---|---|
//! | Starting | with the process | closed | none | no |
//! | Serving | when the journal is read and the ports are open | open | are served | if healthy |
//! | LameDuck | at SIGUSR2, while serving | closed | are served; one after the other is ended | no |
//! | Draining | at SIGTERM or SIGINT, or when the lame duck is over | closed | get their last replies, `drain_ms` | no |
//!
//! A phase never goes back to an earlier one. A second SIGTERM ends the server at once.
//!
//! The lame duck lets clients move to other servers a few at a time, where a drain would send all of them at once. It
//! tells the neighbours with BYE, keeps the links, so that reports still spread, and ends the clients in random order,
//! evenly over `lame_duck_ms`. A client's connection ends after the reply to its last command. The lame duck is over
//! after that time, or when no client is left.
//!
//! Source: NATS' lame duck mode (server.go, lameDuckMode), HAProxy's close-spread-time.

use super::health::{unhealthy, verdict};
use super::member::{Member, Message, ServerPhase, Timer};
use crate::log::plural;
use herd_reactor::{ConnId, Core, Moment};
use std::time::Duration;

/// The least time between two ends of clients. The kernel's timers count milliseconds, and many clients share one turn.
const PAUSE_MIN: Duration = Duration::from_millis(10);

impl Member {
    /// The server listens and dials: from now on it is ready.
    pub(super) fn begin_serving(&mut self, core: &mut Core<Member>) {
        debug_assert_eq!(self.phase, ServerPhase::Starting);
        self.phase = ServerPhase::Serving;
        self.notify_manager(core);
    }

    /// Begins the lame duck; see the head of this file.
    pub(super) fn begin_lame_duck(&mut self, core: &mut Core<Member>) {
        if self.phase != ServerPhase::Serving {
            return log::info!("SIGUSR2: ignored: this server is ending already");
        }
        self.phase = ServerPhase::LameDuck;
        let time = self.limits.lame_duck;
        let clients = plural(self.counters.clients() as usize, "client");
        log::info!("SIGUSR2: both ports are closed; {clients} will be ended within {time:?}");
        self.ports.drain(..).for_each(|port| core.stop_listening(port));
        for (_, link) in self.neighbours.iter() {
            link.conn.into_iter().for_each(|conn| core.post(conn, Message::Leave));
        }
        let until = core.now() + time;
        // The ports are closed and the neighbours are told in the next turn, and this list is complete by then.
        core.call_later(Duration::ZERO, move |member, core| {
            let connections = core.connection_ids();
            member.end_some(core, connections, until);
        });
    }

    /// After a pause ends as many of `left`, chosen at random, as keep the ends even until `until`, and so on; begins the
    /// drain then. The connections that are not clients' ignore it. If no client is left, `before_poll` begins the drain
    /// sooner.
    fn end_some(&mut self, core: &mut Core<Member>, mut left: Vec<ConnId>, until: Moment) {
        let time = until.since(core.now());
        let pause = (time / left.len().max(1) as u32).max(PAUSE_MIN).min(time);
        let count = (left.len() as f64 * pause.div_duration_f64(time)).round() as usize;
        core.call_later(pause, move |member, core| {
            if member.phase != ServerPhase::LameDuck {
                return;
            }
            if core.now() >= until {
                return member.begin_drain(core);
            }
            for _ in 0..count.min(left.len()) {
                let chosen = core.random() as usize % left.len();
                core.post(left.swap_remove(chosen), Message::Leave);
            }
            member.end_some(core, left, until);
        });
    }

    /// Begins the drain: the reactor closes the ports, and ends all connections within `drain_ms`. Called again, it ends
    /// the loop at once.
    pub(super) fn begin_drain(&mut self, core: &mut Core<Member>) {
        if self.phase != ServerPhase::Draining {
            self.phase = ServerPhase::Draining;
            self.tell_manager(core);
        }
        core.stop();
    }

    /// Tells the service manager what is due, and sets the timer for the next time, if there is a manager.
    pub(super) fn notify_manager(&mut self, core: &mut Core<Member>) {
        self.tell_manager(core);
        if let Some(period) = self.notify.period() {
            Timer::Notify.set(core, period);
        }
    }

    /// Tells the service manager, if there is one, the phase and the health, if they have changed.
    pub(super) fn tell_manager(&mut self, core: &Core<Member>) {
        if self.notify.period().is_none() {
            return;
        }
        let is_draining = self.phase == ServerPhase::Draining;
        self.notify.tick(&format!(
            "{}=1\nSTATUS=clients: {} connected, {} known; neighbours: {} of {} linked; {}\n",
            if is_draining { "STOPPING" } else { "READY" },
            self.counters.clients(),
            self.table.len(),
            self.neighbours.iter().filter(|(_, link)| link.conn.is_some()).count(),
            self.neighbours.count(),
            verdict(&unhealthy(self, core.wall())),
        ));
        if is_draining {
            self.notify.extend(core.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Topology;
    use crate::places::Photon;
    use ServerPhase::{Draining, LameDuck, Serving};
    use herd_reactor::testing::StringTransport;
    use herd_reactor::{Shared, Signal};
    use std::path::Path;

    #[test]
    fn each_signal_leads_from_each_phase_where_the_table_says() {
        let server =
            "herd = 'h'\n[[server]]\nname = 'A'\nclient = '127.0.0.1:1'\npeer = '127.0.0.1:2'";
        let topology = Topology::parse(server, Path::new("topology.toml")).expect("it is valid");
        for (phase, signal, after) in [
            (Serving, Signal::User2, LameDuck),
            (Serving, Signal::Terminate, Draining),
            (Serving, Signal::Interrupt, Draining),
            (LameDuck, Signal::User2, LameDuck),
            (LameDuck, Signal::Terminate, Draining),
            (Draining, Signal::User2, Draining),
            (Draining, Signal::Terminate, Draining),
        ] {
            let base = "http://127.0.0.1:2322".parse().expect("a URL");
            let source = Box::new(Photon { base, language: None });
            let member = Member::new(&topology, "A", source, 1, 100).expect("A is there");
            let mut transport = StringTransport::new(member);
            let StringTransport { core, state: member, .. } = &mut transport;
            assert_eq!(member.phase, ServerPhase::Starting);
            member.begin_serving(core);
            assert_eq!(member.phase, Serving);
            member.phase = phase;
            member.signalled(core, signal);
            assert_eq!(member.phase, after, "{phase:?}, {signal:?}");
            assert_eq!(core.is_stopping(), signal != Signal::User2, "{phase:?}, {signal:?}");
        }
    }
}
