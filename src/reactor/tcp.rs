//! Accepting, reading, sending and closing: the system calls that the reactor makes for one connection.
//!
//! Fairness is Twisted's: in one turn the reactor reads a connection once, at most 65,536 bytes, and sends to it once,
//! at most 131,072 bytes; a port accepts one batch. Twisted's epoll is level-triggered, so it reports again what was
//! left. Ours is edge-triggered: a connection that the reactor stopped reading or sending before the kernel did goes on
//! a list, and the loop does not sleep while that list has entries.
//!
//! Twisted: internet/tcp.py, Port.doRead, Connection.doRead; internet/abstract.py, doWrite.

use crate::io::{Close, Io, is_exhausted};
use crate::protocol::{CloseReason, ConnId, Context, Factory, Flow, PortId, Protocol, Shared};
use crate::queue::TimerCall;
use crate::transport::Phase;
use crate::{Reactor, ReactorLimits};
use log::Level;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Maximum number of bytes that one read takes. Twisted: FileDescriptor.bufferSize.
pub const READ_BYTES_MAX: usize = 65_536;

/// Maximum number of bytes that one send passes to the kernel. Twisted: FileDescriptor.SEND_LIMIT.
pub const SEND_LIMIT: usize = 131_072;

/// Room for what encoding adds to the plain data, besides a 64th of its length.
const ENCODED_BYTES: usize = 64;

/// How many connections a port accepts in its first batch; after a full batch the next one is larger.
/// Twisted: Port.numberAccepts.
const NUMBER_ACCEPTS: usize = 100;

/// How long a port that found no free descriptor waits before it accepts again, unless a connection ends earlier. The
/// edge-triggered poll would not wake it.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening port. Twisted: tcp.py, Port.
pub(super) struct Port<S: Shared> {
    pub(super) factory: Box<dyn Factory<S>>,
    /// Connections may be waiting.
    pub(super) acceptable: bool,
    /// The port found no free descriptor; it waits for a timer or for a connection to end.
    starved: bool,
    number_accepts: usize,
}

impl<S: Shared> Port<S> {
    pub(super) fn new(factory: Box<dyn Factory<S>>) -> Port<S> {
        Port { factory, acceptable: false, starved: false, number_accepts: NUMBER_ACCEPTS }
    }

    /// Whether the port should accept now, without waiting for an event.
    pub(super) fn is_waiting(&self) -> bool {
        self.acceptable && !self.starved
    }

    /// Lets the port accept again: a descriptor may be free now.
    pub(super) fn try_again(&mut self) {
        self.starved = false;
    }
}

impl<I: Io, S: Shared> Reactor<I, S> {
    /// Accepts at most one batch of the connections that wait at `port`. Twisted: Port.doRead.
    pub(super) fn do_accept(&mut self, port: PortId) {
        let Some(Some(number)) =
            self.ports.get(port.key()).map(|p| p.as_ref().map(|p| p.number_accepts))
        else {
            return;
        };
        let mut accepted = 0;
        for _ in 0..number {
            let id = self.core.next_id();
            match self.io.accept(port, id) {
                Ok(addrs) => {
                    accepted += 1;
                    self.counts.accepts += 1;
                    self.core.insert(id, Phase::Connected, addrs, None);
                    let Reactor { core, state, ports, .. } = self;
                    let Some(Some(port)) = ports.get_mut(port.key()) else { return };
                    let mut cx = Context { core, state, id };
                    match port.factory.build_protocol(&mut cx, addrs.peer) {
                        Some(protocol) => self.connect_protocol(id, protocol),
                        None => {
                            self.io.close(id, Close::Orderly);
                            self.core.transports.remove(id.key());
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.accept_ended(port, accepted.max(1));
                    return;
                }
                Err(e) if is_exhausted(&e) => return self.accept_starved(port, &e),
                // The peer is gone (ECONNABORTED), or a firewall forbids the connection (EPERM). Failures count too,
                // so that the batch ends.
                Err(e) => log::debug!("accept failed, trying the next connection: {e}"),
            }
        }
        // The batch is full: more connections may wait, and no event will report them.
        if let Some(Some(port)) = self.ports.get_mut(port.key()) {
            port.number_accepts += 20;
        }
    }

    fn accept_ended(&mut self, port: PortId, number_accepts: usize) {
        if let Some(Some(port)) = self.ports.get_mut(port.key()) {
            port.acceptable = false;
            port.number_accepts = number_accepts;
        }
    }

    /// Turns waiting connections away when no descriptor is free, so that they do not hang. Twisted: tcp.py,
    /// _FileDescriptorReservation.
    fn accept_starved(&mut self, port: PortId, why: &io::Error) {
        let shed = self.io.shed(port, NUMBER_ACCEPTS);
        if let Ok(times @ 1..) | Err(times @ 1..) = shed {
            let open = self.core.transports.len();
            let what =
                format_args!("limit: no descriptor is free ({why}), {open} connections open");
            let outcome = "clients turned away; raise `ulimit -n` or lower [limits] connections";
            let key = ("descriptors", port.key() as u32);
            self.core.log_throttled(Level::Warn, key, what, times as u64, outcome);
        }
        let Some(Some(starved)) = self.ports.get_mut(port.key()) else { return };
        match shed {
            Ok(shed) if shed < NUMBER_ACCEPTS => self.accept_ended(port, 1),
            _ => {
                starved.starved = true;
                self.core.timers.call_at(self.core.now + ACCEPT_RETRY, TimerCall::Accept(port));
            }
        }
    }

    /// Builds the protocol of an open connection. Twisted: Protocol.makeConnection.
    pub(super) fn connect_protocol(&mut self, id: ConnId, mut protocol: Box<dyn Protocol<S>>) {
        if self.protocols.len() <= id.key() {
            self.protocols.resize_with(id.key() + 1, || None);
        }
        let filters = protocol.as_filter().is_some();
        if let Some(transport) = self.core.transport_mut(id).filter(|_| filters) {
            transport.begin_filtering();
        }
        self.protocols[id.key()] = Some(protocol);
        self.call(id, |protocol, cx| protocol.connection_made(cx));
        self.core.requeue(id);
    }

    /// Reads once, and delivers the data or the peer's end. Twisted: Connection.doRead.
    pub(super) fn do_read(&mut self, id: ConnId) {
        let Some(transport) = self.core.transport_mut(id) else { return };
        debug_assert!(transport.ready, "on the list and not marked");
        transport.ready = false;
        if !transport.wants_read() {
            return;
        }
        match transport.phase() {
            Phase::Connecting => return self.do_connect(id),
            Phase::Lingering => return self.do_linger(id),
            _ => {}
        }
        let read = self.io.read(id, &mut self.buffer);
        let Some(count) = self.note_read(id, read) else { return };
        if count == 0 {
            self.call(id, |protocol, cx| protocol.read_connection_lost(cx));
            return self.core.end_if_both_ended(id);
        }
        // The time of this read is the time of all lines in it.
        self.core.wall = self.io.wall();
        let Reactor { core, state, protocols, buffer, .. } = self;
        let Some(Some(protocol)) = protocols.get_mut(id.key()) else { return };
        let flow = protocol.data_received(&mut Context { core, state, id }, &buffer[..count]);
        self.note_flow(id, flow);
    }

    /// Notes what the result of a read says about the socket. Returns the number of bytes to deliver, 0 for the peer's
    /// end, or `None` if there is nothing to deliver.
    fn note_read(&mut self, id: ConnId, read: io::Result<usize>) -> Option<usize> {
        let transport = self.core.transport_mut(id)?;
        match read {
            // An empty datagram is not delivered, and more datagrams may wait.
            Ok(0) if transport.datagrams => {
                self.core.requeue(id);
                None
            }
            Ok(0) => {
                transport.readable = false;
                transport.read_ended = true;
                Some(0)
            }
            // A short read means that no more data waits. But the end may be left to read, and no event would
            // report it.
            Ok(count)
                if count < READ_BYTES_MAX && !transport.read_closed && !transport.datagrams =>
            {
                transport.readable = false;
                Some(count)
            }
            Ok(count) => {
                self.core.requeue(id);
                Some(count)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                transport.readable = false;
                None
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                self.core.requeue(id);
                None
            }
            Err(e) => {
                self.core.lost(id, CloseReason::ConnectionLost(e));
                None
            }
        }
    }

    /// Reads and discards input, until the peer ends its side or has sent more than the limit.
    fn do_linger(&mut self, id: ConnId) {
        let read = self.io.read(id, &mut self.buffer);
        let Some(count) = self.note_read(id, read) else { return };
        let Some(transport) = self.core.transport_mut(id) else { return };
        if !transport.may_linger(count) {
            let linger_bytes = self.core.limits.linger_bytes;
            self.core.limit_hit("linger_bytes", linger_bytes, 1, "connections closed");
            return self.core.done(id);
        }
        if count == 0 {
            self.core.mark_dirty(id);
        }
    }

    /// Sends once to each connection with unsent output. Twisted calls FileDescriptor.doWrite in a later turn; this
    /// runs at the end of the same turn.
    pub(super) fn flush(&mut self) {
        // Connections with output left mark themselves again, for the next turn.
        let mut dirty = std::mem::take(&mut self.core.dirty);
        for &id in &dirty {
            self.do_write(id);
        }
        dirty.clear();
        if self.core.dirty.is_empty() {
            self.core.dirty = dirty;
        }
    }

    fn do_write(&mut self, id: ConnId) {
        let Some(transport) = self.core.transport_mut(id) else { return };
        debug_assert!(transport.dirty, "on the list and not marked");
        transport.dirty = false;
        if matches!(transport.phase(), Phase::Connecting | Phase::Lost) || !self.encode(id) {
            return;
        }
        let Some(transport) = self.core.transport_mut(id) else { return };
        let mut has_sent = false;
        if transport.unsent_bytes() > 0 && transport.writable {
            let unsent = transport.unsent(SEND_LIMIT);
            match self.io.write(id, unsent) {
                Ok(0) => transport.writable = false,
                Ok(count) => {
                    // A short write means that the kernel's buffer is full; an event will report room.
                    transport.writable = count == unsent.len();
                    has_sent = true;
                    if let Some(sent) = transport.sent(count) {
                        self.core.buffers.give_back(sent);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => transport.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return self.core.lost(id, CloseReason::ConnectionLost(e)),
            }
        }
        let ReactorLimits { close, slow_reader, .. } = self.core.limits;
        let Some(transport) = self.core.transport_mut(id) else { return };
        match transport.pending() {
            0 => self.drained(id),
            _ => {
                let has_deadline = transport.has_deadline();
                let time = match transport.phase() {
                    Phase::Disconnecting if !has_deadline => Some(close),
                    Phase::Connected if transport.high_water < u32::MAX => {
                        // The peer has read something since its deadline was set, or has just stopped reading.
                        let is_new = if has_deadline { has_sent } else { !transport.writable };
                        slow_reader.filter(|_| is_new)
                    }
                    _ => None,
                };
                if transport.writable && transport.unsent_bytes() > 0 {
                    self.core.mark_dirty(id);
                }
                if let Some(time) = time {
                    self.core.set_deadline(id, time);
                }
            }
        }
    }

    /// Has the filter, if there is one, encode the written data. Returns false if that ended the connection.
    fn encode(&mut self, id: ConnId) -> bool {
        let Some((transport, buffers)) = self.core.transport_and_buffers(id) else { return false };
        let closing = matches!(transport.phase(), Phase::Disconnecting | Phase::Lingering);
        let Some((plain, wire)) = transport.filtering() else { return true };
        let protocol = self.protocols.get_mut(id.key()).and_then(Option::as_mut);
        let Some(filter) = protocol.and_then(|p| p.as_filter()) else { return true };
        if !plain.is_empty() {
            buffers.make_room(wire, plain.len() + plain.len() / 64 + ENCODED_BYTES);
        }
        match filter.encode(plain, wire, closing) {
            Ok(()) => {
                if let Some(encoded) = transport.take_encoded() {
                    self.core.buffers.give_back(encoded);
                }
                true
            }
            Err(why) => {
                self.core.lost(id, CloseReason::ProtocolFailed(why));
                false
            }
        }
    }

    /// Does what had to wait until all data written to `id` was sent: closing, half-closing, `resume_producing`.
    fn drained(&mut self, id: ConnId) {
        let Some(transport) = self.core.transport_mut(id) else { return };
        if transport.phase() == Phase::Connected && transport.has_deadline() {
            // The peer has read everything.
            self.core.drop_deadline(id);
            return self.drained(id);
        }
        if transport.phase() == Phase::Disconnecting {
            // Unread input would turn the close into a reset.
            match self.has_unread(id) {
                true => self.core.linger(id),
                false => return self.core.done(id),
            }
        }
        let Some(transport) = self.core.transport_mut(id) else { return };
        let lingering = matches!(transport.phase(), Phase::Lingering);
        if transport.all_sent() {
            if let Err(e) = self.io.shutdown(id) {
                return self.core.lost(id, CloseReason::ConnectionLost(e));
            }
            if lingering {
                self.core.set_deadline(id, self.core.limits.linger);
            }
        }
        self.core.end_if_both_ended(id);
        let Some(transport) = self.core.transport_mut(id) else { return };
        transport.full = false;
        if std::mem::take(&mut transport.resume_wanted) {
            self.call(id, |protocol, cx| protocol.resume_producing(cx));
            self.core.requeue(id);
        }
    }

    /// Whether the peer has sent data that will not be delivered. This reads to find out, since the kernel may have
    /// reported the socket readable without cause.
    fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(transport) = self.core.transport(id) else { return false };
        // Closing a UDP socket resets nothing.
        if !transport.readable || transport.read_ended || transport.datagrams {
            return false;
        }
        let read = self.io.read(id, &mut self.buffer);
        matches!(self.note_read(id, read), Some(1..))
    }

    /// Ends a connection that was not made, read, flushed or ended before its deadline.
    pub(super) fn deadline_reached(&mut self, id: ConnId) {
        let Some(transport) = self.core.transport(id) else { return };
        let missed = match transport.phase() {
            Phase::Lingering if transport.has_ended_sending() => {
                let linger_ms = self.core.limits.linger.as_millis();
                self.core.limit_hit("linger_ms", linger_ms, 1, "connections closed");
                return self.core.done(id);
            }
            Phase::Connecting => "connecting",
            Phase::Connected => {
                let limit_ms = self.core.limits.slow_reader.unwrap_or_default().as_millis();
                let value = format_args!("{limit_ms}, as {} does not read", self.name(id));
                self.core.limit_hit("slow_reader_ms", value, 1, "connections aborted");
                "reading the replies"
            }
            _ => {
                let close_ms = self.core.limits.close.as_millis();
                let value = format_args!("{close_ms}, as {} does not read", self.name(id));
                self.core.limit_hit("close_ms", value, 1, "connections aborted");
                "sending the written data"
            }
        };
        self.core.lost_how(id, CloseReason::TimeoutError(missed), Close::Reset);
    }

    /// Removes the connection `id`: closes the socket, calls the protocol's `connection_lost`, frees the slot.
    /// Twisted: Connection.connectionLost.
    pub(super) fn connection_lost(&mut self, id: ConnId, why: CloseReason, how: Close) {
        let Some(transport) = self.core.transport_mut(id) else { return };
        // The failure of a protocol takes precedence over every other reason.
        let why = match transport.take_reason() {
            Some(failed @ CloseReason::ProtocolFailed(_)) => failed,
            _ => why,
        };
        let (connector, delay_reset) = (transport.connector(), transport.delay_reset);
        let how = match how {
            Close::Orderly if transport.read_ended => Close::AfterEnd,
            how => how,
        };
        self.io.close(id, how);
        let Reactor { core, state, protocols, .. } = self;
        let protocol = protocols.get_mut(id.key()).and_then(Option::take);
        let made = protocol.is_some();
        if let Some(mut protocol) = protocol {
            protocol.connection_lost(&mut Context { core, state, id }, &why);
        }
        core.transports.remove(id.key());
        if let Some(connector) = connector {
            self.connector_lost(connector, &why, made, delay_reset);
        }
        for port in self.ports.iter_mut().flatten() {
            port.try_again();
        }
    }

    /// Calls the protocol of `id`, if the connection is open.
    pub(super) fn call(
        &mut self,
        id: ConnId,
        call: impl FnOnce(&mut dyn Protocol<S>, &mut Context<'_, S>) -> Flow,
    ) {
        let Reactor { core, state, protocols, .. } = self;
        let stands = core.transport(id).is_some_and(|t| t.phase() == Phase::Connected);
        let Some(Some(protocol)) = protocols.get_mut(id.key()).filter(|_| stands) else { return };
        let flow = call(&mut **protocol, &mut Context { core, state, id });
        self.note_flow(id, flow);
    }

    /// The name of the connection `id` in log lines. Twisted: logstr.
    fn name(&self, id: ConnId) -> String {
        let name = self.protocols.get(id.key()).and_then(Option::as_ref).map_or("-", |p| p.name());
        format!("{name},{}", id.generation())
    }

    /// Closes the connection of a protocol that returned an error; the others go on.
    fn note_flow(&mut self, id: ConnId, flow: Flow) {
        let Err(why) = flow else { return };
        log::warn!("{}: {why}", self.name(id));
        self.core.failed(id, CloseReason::ProtocolFailed(why));
    }
}
