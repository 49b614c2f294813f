//! The bus and the rest of the server: news of the table, the end of each turn, and replies that wait.
//!
//! In: what other parts of [`Member`] do. Out: writes to the bus, and replies that need not wait any more.

use super::bus_port::BusPort;
use super::member::{Member, Message, Timer};
use crate::log::Escaped;
use crate::replication::NeighbourId;
use crate::replication::bus::BusOutlet;
use crate::table::{ClientKey, MergeOutcome};
use herd_reactor::Core;
use std::time::Duration;

impl Member {
    /// Tells the bus that the reports of these clients are news. Is a function of its own, so that a server without a bus pays
    /// only for the question.
    #[inline(never)]
    pub(super) fn tell_bus(&mut self, keys: &[ClientKey], from: Option<NeighbourId>) {
        if let Some(port) = &mut self.bus {
            port.bus.news(&mut self.table, keys, from.is_none());
        }
    }

    /// A client's report was taken, and its reply waits for an acknowledgement in this turn's batch. A report that is no news
    /// is owed again, because a neighbour can acknowledge only what is sent to it.
    #[inline(never)]
    pub(super) fn await_acknowledgement(
        &mut self,
        core: &mut Core<Member>,
        key: ClientKey,
        outcome: MergeOutcome,
    ) {
        let Some(acks) = &self.neighbours.acks else { return };
        match &mut self.bus {
            Some(port) if acks.are_by_bus() => port.bus.wait(&mut self.table, key, acks.current()),
            _ if !outcome.is_news() => {
                let latest = self.table.line(key).to_vec();
                self.neighbours.flood(core, &mut self.table.backlogs, &[key], &[&latest], None);
            }
            _ => {}
        }
    }

    /// The end of a turn: writes due reports to the bus.
    pub(super) fn pay_bus(&mut self, core: &mut Core<Member>) {
        let Member { bus: Some(port), table, limits, sweeps, counters, neighbours, .. } = self
        else {
            return;
        };
        let waits = neighbours.acks.as_ref().is_some_and(|acks| acks.are_by_bus());
        let BusPort { bus, conn: Some(conn), info: Some(info), inbox, .. } = &mut **port else {
            return;
        };
        sweeps.set_window(table, core.wall());
        let payload_max = info.max_payload;
        let room = limits.flood_buffer_bytes;
        let to = BusOutlet { conn: *conn, inbox, room, payload_max };
        while let Some(key) = bus.pay(core, table, &to) {
            let client = Escaped(table.report(key).client());
            let value =
                format_args!("{payload_max}, by {client}: raise it in NATS's configuration");
            core.limit_hit("max_payload", value, 1, "reports not written to the bus");
            // A reply that waits for it leaves all the same.
            counters.unreplicated_replies += u64::from(waits);
        }
        if bus.pass_on(table) {
            Timer::Bus.set(core, Duration::ZERO);
        }
    }

    /// Releases the replies whose reports the bus has.
    pub(super) fn release_stored(&mut self, core: &mut Core<Member>) {
        let Some((acks, port)) = self.neighbours.acks.as_mut().zip(self.bus.as_mut()) else {
            return;
        };
        let Some(newest) = acks.newest().filter(|_| acks.are_by_bus()) else { return };
        let (free, _) = acks.expired(port.bus.settled_until(newest));
        free.into_iter().for_each(|(waiter, batch)| core.post(waiter, Message::Released(batch)));
    }
}
