//! Accepting, reading, sending, closing: what the reactor does with the kernel for one connection.
//!
//! Fairness is Twisted's, and nothing else: in one turn a connection is read once, 65,536 bytes at
//! most, and sent to once, 131,072 at most; a port accepts a batch. Twisted's epoll is
//! level-triggered, so what is left over is reported again. Ours is edge-triggered, so whatever
//! stops of its own accord goes on a list, and the loop does not sleep while the list has entries.
//!
//! Twisted: internet/tcp.py, Port.doRead, Connection.doRead; internet/abstract.py, doWrite.

use crate::Reactor;
use crate::io::{Close, Io, is_exhausted};
use crate::protocol::{CloseReason, ConnId, Context, Factory, Flow, PortId, Protocol, Shared};
use crate::queue::TimerCall;
use crate::transport::Phase;
use log::Level;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Bytes asked of one read. Twisted: FileDescriptor.bufferSize.
pub const READ_BYTES_MAX: usize = 65_536;

/// Bytes given to one send. Twisted: FileDescriptor.SEND_LIMIT.
pub const SEND_LIMIT: usize = 131_072;

/// What a filter has encoded may be this much longer, and a 64th.
const ENCODED_BYTES: usize = 64;

/// Accepts in a port's first batch; a batch that was used up is followed by a larger one.
/// Twisted: Port.numberAccepts.
const NUMBER_ACCEPTS: usize = 100;

/// How long a port waits that found no descriptor free, unless a connection ends before: with an
/// edge-triggered poll nobody else would wake it.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening port. Twisted: tcp.py, Port.
pub(super) struct Port<S: Shared> {
    pub(super) factory: Box<dyn Factory<S>>,
    /// Connections may be waiting.
    pub(super) acceptable: bool,
    /// It found no descriptor free, and waits for its time or for a connection to end.
    starved: bool,
    number_accepts: usize,
}

impl<S: Shared> Port<S> {
    pub(super) fn new(factory: Box<dyn Factory<S>>) -> Port<S> {
        Port { factory, acceptable: false, starved: false, number_accepts: NUMBER_ACCEPTS }
    }

    /// Whether there is something to do without waiting for an event.
    pub(super) fn is_waiting(&self) -> bool {
        self.acceptable && !self.starved
    }

    /// What it lacked may be there again.
    pub(super) fn try_again(&mut self) {
        self.starved = false;
    }
}

impl<I: Io, S: Shared> Reactor<I, S> {
    /// Accepts what waits at `port`, a batch at most. Twisted: Port.doRead.
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
                // The peer has gone meanwhile (ECONNABORTED), or a firewall said no (EPERM): the
                // next one. Both count, so that the batch has an end.
                Err(e) => log::debug!("accept failed, the next one: {e}"),
            }
        }
        // The batch was used up: more are waiting, and no event will say so.
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

    /// Out of descriptors: whoever waits is turned away rather than left hanging. Twisted: tcp.py,
    /// _FileDescriptorReservation.
    fn accept_starved(&mut self, port: PortId, why: &io::Error) {
        let shed = self.io.shed(port, NUMBER_ACCEPTS);
        if let Ok(times @ 1..) | Err(times @ 1..) = shed {
            let open = self.core.transports.len();
            let what =
                format_args!("limit: no descriptor is free ({why}), {open} connections open");
            let outcome = "turned away; raise `ulimit -n`, or lower connections in [limits]";
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

    /// Gives a connection that stands its protocol. Twisted: Protocol.makeConnection.
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

    /// Reads once, and delivers. Twisted: Connection.doRead.
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
        // The bytes are in: this is their time, for all the lines among them.
        self.core.wall = self.io.wall();
        let Reactor { core, state, protocols, buffer, .. } = self;
        let Some(Some(protocol)) = protocols.get_mut(id.key()) else { return };
        let flow = protocol.data_received(&mut Context { core, state, id }, &buffer[..count]);
        self.note_flow(id, flow);
    }

    /// Remembers what a read has told of the socket. Returns what there is to deliver: so many bytes,
    /// 0 for the peer's end, or nothing.
    fn note_read(&mut self, id: ConnId, read: io::Result<usize>) -> Option<usize> {
        let transport = self.core.transport_mut(id)?;
        match read {
            // An empty datagram says nothing, and another may be there.
            Ok(0) if transport.datagrams => {
                self.core.requeue(id);
                None
            }
            Ok(0) => {
                transport.readable = false;
                transport.read_ended = true;
                Some(0)
            }
            // Fewer bytes than there was room for: that was all, unless the end is still to be
            // read, which no further event would announce.
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

    /// Reads and throws away, until the peer ends or has sent more than it was allowed.
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

    /// Sends what the connections written to hold, once each. Twisted: FileDescriptor.doWrite, which
    /// a later turn calls; here it is the end of this one.
    pub(super) fn flush(&mut self) {
        // Those that cannot be finished mark themselves again, for the next turn.
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
        if transport.unsent_bytes() > 0 && transport.writable {
            let unsent = transport.unsent(SEND_LIMIT);
            match self.io.write(id, unsent) {
                Ok(0) => transport.writable = false,
                Ok(count) => {
                    // A short write means a full kernel buffer; an event will follow.
                    transport.writable = count == unsent.len();
                    if let Some(sent) = transport.sent(count) {
                        self.core.buffers.give_back(sent);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => transport.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return self.core.lost(id, CloseReason::ConnectionLost(e)),
            }
        }
        let Some(transport) = self.core.transport_mut(id) else { return };
        match transport.pending() {
            0 => self.drained(id),
            _ => {
                let flushes =
                    transport.phase() == Phase::Disconnecting && !transport.has_deadline();
                if transport.writable && transport.unsent_bytes() > 0 {
                    self.core.mark_dirty(id);
                }
                if flushes {
                    self.core.set_deadline(id, self.core.limits.close);
                }
            }
        }
    }

    /// Has a filter make what is to be sent out of what was written. Returns whether the connection
    /// still stands.
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

    /// All that was written to `id` has been sent: what waited for that now happens.
    fn drained(&mut self, id: ConnId) {
        let Some(transport) = self.core.transport_mut(id) else { return };
        if transport.phase() == Phase::Disconnecting {
            // What has come and was not read would turn the close into a reset.
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

    /// Whether the peer has sent what will not be delivered any more. It is read to find out, since
    /// the kernel may have spoken of it without cause.
    fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(transport) = self.core.transport(id) else { return false };
        // What closes a socket for datagrams resets nothing.
        if !transport.readable || transport.read_ended || transport.datagrams {
            return false;
        }
        let read = self.io.read(id, &mut self.buffer);
        matches!(self.note_read(id, read), Some(1..))
    }

    /// A connection was not made, flushed or ended in its time.
    pub(super) fn deadline_reached(&mut self, id: ConnId) {
        let Some(transport) = self.core.transport(id) else { return };
        let missed = match transport.phase() {
            Phase::Lingering if transport.has_ended_sending() => {
                let linger_ms = self.core.limits.linger.as_millis();
                self.core.limit_hit("linger_ms", linger_ms, 1, "connections closed");
                return self.core.done(id);
            }
            Phase::Connecting => "connecting",
            _ => {
                let close_ms = self.core.limits.close.as_millis();
                let value = format_args!("{close_ms}, as {} does not read", self.name(id));
                self.core.limit_hit("close_ms", value, 1, "connections aborted");
                "sending what was written"
            }
        };
        self.core.lost_how(id, CloseReason::TimeoutError(missed), Close::Reset);
    }

    /// Buries `id`: closes the socket, tells the protocol, frees the slot.
    /// Twisted: Connection.connectionLost.
    pub(super) fn connection_lost(&mut self, id: ConnId, why: CloseReason, how: Close) {
        let Some(transport) = self.core.transport_mut(id) else { return };
        // That its protocol failed is told whatever else came of it.
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

    /// Calls the protocol of `id`, if the connection still stands.
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

    /// What the log calls the connection `id`. Twisted: logstr.
    fn name(&self, id: ConnId) -> String {
        let name = self.protocols.get(id.key()).and_then(Option::as_ref).map_or("-", |p| p.name());
        format!("{name},{}", id.generation())
    }

    /// A protocol that fails loses its connection, and nobody else's.
    fn note_flow(&mut self, id: ConnId, flow: Flow) {
        let Err(why) = flow else { return };
        log::warn!("{}: {why}", self.name(id));
        self.core.failed(id, CloseReason::ProtocolFailed(why));
    }
}
