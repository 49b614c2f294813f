//! The reactor's side of the core: what it notes about connections, and the lists that it works through.
//!
//! Protocols cannot call any of these functions.

use super::Core;
use crate::Moment;
use crate::buffer_pool::BufferPool;
use crate::io::{Addrs, Close};
use crate::protocol::{CloseReason, ConnId, ConnectorId, Shared};
use crate::queue::{Posted, TimerCall};
use crate::transport::{Phase, Step, Transport};
use std::io;
use std::time::Duration;

impl<S: Shared> Core<S> {
    /// Begins a turn: measures the lag of the last one, and admits the timers set in it.
    pub(crate) fn begin_turn(&mut self, now: Moment) {
        self.timers.admit_new();
        let found = self.now;
        let waits_since = self.timers.earliest().map_or(found, |due| due.min(found));
        let lag = now.as_nanos().saturating_sub(waits_since.as_nanos());
        self.longest_lag_nanos = self.longest_lag_nanos.max(lag);
        self.lags.add_nanos(lag);
        self.now = now;
    }

    /// Ends the turn at `now`, before the poll.
    pub(crate) fn end_turn(&mut self, now: Moment) {
        self.turns.add_nanos(now.as_nanos().saturating_sub(self.turn_began.as_nanos()));
    }

    /// The connection `id`, and the buffer pool.
    pub(crate) fn transport_and_buffers(
        &mut self,
        id: ConnId,
    ) -> Option<(&mut Transport, &mut BufferPool)> {
        let Core { transports, buffers, .. } = self;
        let slot = transports.get_mut(id.key());
        Some((slot.filter(|transport| transport.generation == id.generation())?, buffers))
    }

    /// The id of the next connection. It stays the same until [`insert`](Core::insert).
    pub(crate) fn next_id(&self) -> ConnId {
        // The generation wraps after 2^32 connections; no caller keeps an id that long.
        // Generation 0 is reserved for the tokens of ports.
        let generation = self.generation.checked_add(1).unwrap_or(1);
        ConnId::new(self.transports.vacant_key() as u32, generation)
    }

    pub(crate) fn insert(
        &mut self,
        id: ConnId,
        phase: Phase,
        addrs: Addrs,
        connector: Option<ConnectorId>,
    ) {
        let mut transport = Transport::new(id.generation(), phase, addrs);
        if let Some(connector) = connector {
            transport.set_connector(connector);
        }
        let key = self.transports.insert(transport);
        debug_assert_eq!(key, id.key());
        self.generation = id.generation();
    }

    /// Notes the readiness that the kernel has reported for `id`.
    pub(crate) fn note_readiness(
        &mut self,
        id: ConnId,
        readable: bool,
        writable: bool,
        read_closed: bool,
    ) {
        let Some(transport) = self.transport_mut(id) else { return };
        transport.readable |= readable;
        transport.read_closed |= read_closed;
        let was_writable = transport.writable;
        transport.writable |= writable;
        let connecting = transport.phase() == Phase::Connecting;
        if writable && !was_writable && transport.pending() > 0 {
            self.mark_dirty(id);
        }
        if readable || connecting {
            self.requeue(id);
        }
    }

    /// Notes that the connection `id` has failed. If it is being read, a read will return the error, after the data
    /// that arrived before. If not (it is paused, full or closing, or the peer has ended its side), it is lost here.
    /// Twisted: posixbase.py, _doReadOrWrite, for a hang-up of a descriptor that is not being read.
    pub(crate) fn note_failure(&mut self, id: ConnId) {
        let reads = self.transport(id).is_none_or(Transport::wants_read);
        if !reads {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            self.lost(id, CloseReason::ConnectionLost(reset));
        }
    }

    /// Puts `id` on the ready list if it may have input and may be read.
    pub(crate) fn requeue(&mut self, id: ConnId) {
        let Some(transport) = self.transport_mut(id) else { return };
        let known = transport.readable || transport.phase() == Phase::Connecting;
        if known && transport.wants_read() && !transport.ready {
            transport.ready = true;
            self.ready.push_back(id);
        }
    }

    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        let Some(transport) = self.transport_mut(id) else { return };
        if !transport.dirty {
            transport.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Closes `id` as [`lose_connection`](Core::lose_connection) does, because its protocol failed. If it is already
    /// being closed, only its reason changes.
    pub(crate) fn failed(&mut self, id: ConnId, why: CloseReason) {
        let Some(transport) = self.transport_mut(id) else { return };
        transport.set_reason(why);
        if transport.step(Step::Lose) {
            self.drop_deadline(id);
        }
        self.mark_dirty(id);
    }

    /// Ends the connection if both sides have ended.
    pub(crate) fn end_if_both_ended(&mut self, id: ConnId) {
        if self.transport(id).is_some_and(Transport::has_ended) {
            self.done(id);
        }
    }

    /// Ends a connection on which nothing is left to do, with the reason given earlier or ConnectionDone.
    pub(crate) fn done(&mut self, id: ConnId) {
        let Some(transport) = self.transport_mut(id) else { return };
        let why = transport.take_reason().unwrap_or(CloseReason::ConnectionDone);
        self.lost(id, why);
    }

    /// Ends the connection: nothing more is delivered, and `connection_lost` is posted.
    pub(crate) fn lost(&mut self, id: ConnId, why: CloseReason) {
        self.lost_how(id, why, Close::Orderly);
    }

    /// Ends the connection as [`lost`](Core::lost) does; `how` decides whether the peer still gets the
    /// data that the kernel holds. `why` does not decide this: a slow client still gets the message that
    /// it was too slow.
    pub(crate) fn lost_how(&mut self, id: ConnId, why: CloseReason, how: Close) {
        let Some(transport) = self.transport_mut(id) else { return };
        if !transport.step(Step::End) {
            return;
        }
        let out = transport.take_out();
        self.buffers.give_back(out);
        self.drop_deadline(id);
        self.inbox.push_back(Posted::Lost(id, why, how));
    }

    /// Cancels the deadline of `id`, which may be the one that has just expired.
    pub(crate) fn drop_deadline(&mut self, id: ConnId) {
        if let Some(deadline) = self.transport_mut(id).and_then(Transport::take_deadline) {
            let _ = self.timers.cancel(deadline);
        }
    }

    /// Gives `id` the time `time` for what it is doing now (connecting, flushing or lingering).
    pub(crate) fn set_deadline(&mut self, id: ConnId, time: Duration) {
        let timer = self.timers.call_at(self.now + time, TimerCall::Deadline(id));
        let Some(transport) = self.transport_mut(id) else { return };
        if let Some(old) = transport.set_deadline(timer) {
            let _ = self.timers.cancel(old);
        }
    }
}
