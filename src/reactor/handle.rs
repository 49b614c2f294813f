//! What a call may touch: every transport, the timers, and the wishes that the reactor fulfils
//! when the call has returned.
//!
//! The protocol objects are *not* in here. That is the whole trick: while the reactor calls one of
//! them with a [`Context`](crate::Context), it lends this core, and the borrow checker sees three separate things.
//! And whoever holds a core can write to any connection but cannot call any protocol, so that no
//! call can run inside a call.
//!
//! The core does not know the [`Io`](crate::Io). What needs the kernel is noted here, and done by
//! the reactor: writing marks the connection dirty, connecting and closing are posted.

mod work_lists;

use crate::buffer_pool::BufferPool;
use crate::io::Close;
use crate::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, Factory, PortId, Shared};
use crate::queue::{ConnectKind, ListenAt, Posted, RunState, TimerCall};
use crate::timers::{NotPending, TimerId, Timers};
use crate::transport::{BUFFERED_BYTES_MAX, Phase, Step, Transport};
use crate::{
    ConnectOptions, LogThrottle, Moment, ReactorLimits, SplitMix64, ThrottleKey, UnixNanos,
};
use log::Level;
use slab::Slab;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// All connections, timers and wishes of one reactor. Twisted: what `reactor` and `transport`
/// offer to a protocol.
pub struct Core<S: Shared> {
    pub(super) transports: Slab<Transport>,
    pub(super) timers: Timers<TimerCall<S>>,
    /// Connections to send to before the next poll.
    pub(super) dirty: Vec<ConnId>,
    /// Connections to read in the coming turn: what events named, and what stopped of its own
    /// accord, for which no further event will come.
    pub(super) ready: VecDeque<ConnId>,
    pub(super) inbox: VecDeque<Posted<S>>,
    pub(super) now: Moment,
    pub(super) wall: UnixNanos,
    pub(super) run_state: RunState,
    pub(super) limits: ReactorLimits,
    pub(super) chance: SplitMix64,
    generation: u32,
    ports: u32,
    connectors: u64,
    longest_lag: Duration,
    pub(super) buffers: BufferPool,
    pub(super) throttle: LogThrottle,
    /// While something is counted: when it is logged.
    report: Option<TimerId>,
}

impl<S: Shared> Core<S> {
    pub(crate) fn new(limits: ReactorLimits, seed: u64, now: Moment, wall: UnixNanos) -> Core<S> {
        Core {
            transports: Slab::new(),
            timers: Timers::new(),
            dirty: Vec::new(),
            ready: VecDeque::new(),
            inbox: VecDeque::new(),
            now,
            wall,
            run_state: RunState::Running,
            limits,
            chance: SplitMix64::new(seed),
            generation: 0,
            ports: 0,
            connectors: 0,
            longest_lag: Duration::ZERO,
            buffers: BufferPool::default(),
            throttle: LogThrottle::default(),
            report: None,
        }
    }

    /// The monotonic clock, as of this turn: read before the timers and after the poll, the same for all
    /// calls between. Delays are counted from it.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The wall clock, as it was read last: when the loop wakes, before each read of a connection, before each timer,
    /// and before what was posted.
    pub fn wall(&self) -> UnixNanos {
        self.wall
    }

    /// Returns the worst loop lag since the last call, and resets it.
    ///
    /// That is the longer of two times: how long after the poll the last of what it had found was read, and
    /// how late a timer was (by a millisecond also at rest, as polls sleep in whole ones). The send comes before
    /// the next poll, and counts if a timer fell due meanwhile. No reading of the clock is taken for this.
    pub fn take_longest_lag(&mut self) -> Duration {
        std::mem::take(&mut self.longest_lag)
    }

    /// Sixty-four bits of chance; the same after the same seed of the [`Io`](crate::Io).
    pub fn random(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// How many connections there are, those being made or closed included.
    pub fn connections(&self) -> usize {
        self.transports.len()
    }

    /// The connection that `id` names, if it still exists.
    pub fn transport(&self, id: ConnId) -> Option<&Transport> {
        self.transports.get(id.key()).filter(|transport| transport.generation == id.generation())
    }

    pub(crate) fn transport_mut(&mut self, id: ConnId) -> Option<&mut Transport> {
        self.transports
            .get_mut(id.key())
            .filter(|transport| transport.generation == id.generation())
    }

    /// Bytes written to `id` and not yet sent; 0 if it is gone.
    pub fn pending(&self, id: ConnId) -> usize {
        self.transport(id).map_or(0, Transport::pending)
    }

    /// Sees to it that `more` bytes can be appended to `buffer`, which waits for its turn to be written. It is
    /// changed for a larger one of the core's when it has no room: the same few sizes that send buffers have.
    pub fn make_room(&mut self, buffer: &mut Vec<u8>, more: usize) {
        self.buffers.make_room(buffer, more);
    }

    /// Gives back a buffer that [`make_room`](Core::make_room) has made. What it holds is forgotten.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.buffers.give_back(buffer);
    }

    /// Appends `data` to the send buffer of `id`; sends nothing. All that was written since the last send
    /// leaves before the next poll, in one piece if the peer takes it.
    ///
    /// `data`: raw bytes, delimiter included. Ignored unless the connection stands (Twisted's plain
    /// TCP still takes writes after loseConnection; its TLS does not, and so do we).
    /// Limit: [`BUFFERED_BYTES_MAX`]; beyond it the connection is aborted.
    /// Twisted: abstract.py, FileDescriptor.write.
    pub fn write(&mut self, id: ConnId, data: &[u8]) {
        self.write_with(id, data.len(), |out| out.extend_from_slice(data));
    }

    /// As [`write`](Core::write), for what is composed in place: `compose` appends to the buffer,
    /// and must leave alone what stands there. `room`: how many bytes that comes to; if it is more, the
    /// buffer is enlarged once more, and not kept for others.
    pub fn write_with(&mut self, id: ConnId, room: usize, compose: impl FnOnce(&mut Vec<u8>)) {
        let slot = self.transports.get_mut(id.key());
        let Some(transport) = slot.filter(|t| t.generation == id.generation()) else { return };
        if !transport.is_connected() {
            return;
        }
        let out = transport.out();
        self.buffers.make_room(out, room);
        compose(out);
        let pending = transport.pending();
        if pending > transport.high_water as usize {
            transport.full = true;
            transport.resume_wanted = true;
        }
        if !transport.dirty {
            transport.dirty = true;
            self.dirty.push(id);
        }
        if pending > BUFFERED_BYTES_MAX {
            self.limit_hit("BUFFERED_BYTES_MAX", BUFFERED_BYTES_MAX, 1, "connections aborted");
            let why = format!("{pending} bytes wait to be sent");
            self.abort_because(id, CloseReason::ProtocolFailed(why.into()));
        }
    }

    /// Closes `id` when all that was written has been sent; until then nothing more is delivered,
    /// and nothing more can be written. The peer reads everything, then the end.
    ///
    /// After [`ReactorLimits::close`] without success it is aborted. Calling it again changes nothing.
    /// Twisted: FileDescriptor.loseConnection.
    pub fn lose_connection(&mut self, id: ConnId) {
        self.lose_because(id, None);
    }

    /// As [`lose_connection`](Core::lose_connection); `connection_lost` is told `why`.
    pub fn lose_because(&mut self, id: ConnId, why: Option<CloseReason>) {
        let Some(transport) = self.transport_mut(id) else { return };
        if transport.step(Step::Lose) {
            if let Some(why) = why {
                transport.set_reason(why);
            }
            self.mark_dirty(id);
        } else if transport.phase() == Phase::Connecting {
            self.abort_connection(id);
        }
    }

    /// Closes `id` at once: what was not sent is dropped, the peer sees a reset, and nothing more is
    /// delivered, not even the rest of the bytes just read (Twisted's LineReceiver goes on).
    /// `connection_lost` follows in a later turn. Twisted: abortConnection.
    pub fn abort_connection(&mut self, id: ConnId) {
        self.lost_how(id, CloseReason::ConnectionAborted, Close::Reset);
    }

    /// As [`abort_connection`](Core::abort_connection); `connection_lost` is told `why`.
    pub fn abort_because(&mut self, id: ConnId, why: CloseReason) {
        self.lost_how(id, why, Close::Reset);
    }

    /// Sends what was written, ends our side, and reads and drops what the peer still sends, within
    /// [`ReactorLimits::linger`] and [`ReactorLimits::linger_bytes`]; then closes.
    ///
    /// For a last word to a peer in full flow: closing with unread input resets the connection, and
    /// the reset can overtake the word. RFC 9112 section 9.6 advises servers to do this. A connection
    /// that is lost while input is known to wait lingers in any case.
    pub fn linger(&mut self, id: ConnId) {
        let (most, close) = (self.limits.linger_bytes, self.limits.close);
        let Some(transport) = self.transport_mut(id) else { return };
        if transport.begin_linger(most) {
            self.mark_dirty(id);
            self.requeue(id);
            self.set_deadline(id, close);
        }
    }

    /// Calls the [`encode`](crate::Filter::encode) of the filter of `id` before the next send: it has something
    /// to send of its own.
    pub fn encode_later(&mut self, id: ConnId) {
        self.mark_dirty(id);
    }

    /// Notes the certificates that the peer of `id` has shown to its filter; see
    /// [`Transport::peer_certificates`].
    pub fn note_peer_certificates(&mut self, id: ConnId, shown: Vec<Vec<u8>>) {
        if let Some(transport) = self.transport_mut(id) {
            transport.note_peer_certificates(shown);
        }
    }

    /// Ends our side when all that was written has been sent; reading goes on. When the peer has ended its
    /// side, too, the connection is lost ([`CloseReason::ConnectionDone`]). Twisted: loseWriteConnection.
    pub fn lose_write_connection(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.end_sending();
            self.mark_dirty(id);
        }
    }

    /// Stops delivering to `id`; what comes waits in the kernel, and the peer in the end. No system
    /// call. Twisted: pauseProducing.
    pub fn pause_producing(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.paused = true;
        }
    }

    /// Delivers again; what came meanwhile, the peer's end included, follows in a later turn.
    /// Twisted: resumeProducing.
    pub fn resume_producing(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.paused = false;
            self.requeue(id);
        }
    }

    /// From now on more than `high_water` bytes of pending output hold up reading, until all is sent: a peer
    /// that does not read is not read. Every connection begins with [`BUFFER_SIZE`](crate::BUFFER_SIZE); a
    /// factory may call this for the connection it builds a protocol for. Twisted: registerProducer, of the
    /// protocol itself.
    pub fn register_producer(&mut self, id: ConnId, high_water: usize) {
        if let Some(transport) = self.transport_mut(id) {
            transport.high_water = u32::try_from(high_water).unwrap_or(u32::MAX);
        }
    }

    /// From now on pending output does not hold up reading. For a peer that may stop reading in the same way,
    /// and for a connection whose output comes from elsewhere: if both sides waited to be read, neither would
    /// read. Bound what you write by [`pending`](Core::pending). Twisted: unregisterProducer.
    pub fn unregister_producer(&mut self, id: ConnId) {
        self.register_producer(id, usize::MAX);
    }

    /// Calls the protocol's `resume_producing`, once, when the send buffer is empty.
    /// Twisted: a pull producer.
    pub fn resume_when_drained(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.resume_wanted = true;
            self.mark_dirty(id);
        }
    }

    /// Delivers `message` to the protocol of `id` in a later turn; if the connection is gone by then,
    /// to nobody.
    pub fn post(&mut self, id: ConnId, message: S::Message) {
        self.inbox.push_back(Posted::Message(id, message));
    }

    /// Connects to `address`; `factory` builds the protocol, and hears of failure and loss.
    /// The attempt begins when this call has returned. Twisted: reactor.connectTCP.
    pub fn connect_tcp(
        &mut self,
        address: SocketAddr,
        options: ConnectOptions,
        factory: Box<dyn ClientFactory<S>>,
    ) -> ConnectorId {
        self.connectors += 1;
        let connector = ConnectorId(self.connectors);
        self.inbox.push_back(Posted::Connect(
            connector,
            ConnectKind::Tcp,
            address,
            options,
            factory,
        ));
        connector
    }

    /// Opens a socket for datagrams to and from `address` alone; as a connection, which stands at
    /// once. What is written between two sends leaves as one datagram, and `data_received` is called once
    /// for each. Twisted: reactor.listenUDP and the port's connect.
    pub fn connect_udp(
        &mut self,
        address: SocketAddr,
        factory: Box<dyn ClientFactory<S>>,
    ) -> ConnectorId {
        self.connectors += 1;
        let connector = ConnectorId(self.connectors);
        let options = ConnectOptions::default();
        self.inbox.push_back(Posted::Connect(
            connector,
            ConnectKind::Udp,
            address,
            options,
            factory,
        ));
        connector
    }

    /// Gives up connecting, waiting to retry, or the connection itself.
    /// Twisted: IConnector.disconnect and ReconnectingClientFactory.stopTrying.
    pub fn stop_trying(&mut self, connector: ConnectorId) {
        self.inbox.push_back(Posted::StopTrying(connector));
    }

    /// The connection `id` has proved good: when it is lost, its connector begins with the first
    /// delay again. Twisted: ReconnectingClientFactory.resetDelay.
    pub fn reset_delay(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.delay_reset = true;
        }
    }

    /// Listens on `address`, from when this call has returned; `factory` builds a protocol for each connection, and
    /// is told by [`listening`](Factory::listening) at which address, or why not. From outside a call,
    /// [`Reactor::listen_tcp`](crate::Reactor::listen_tcp) tells at once. Twisted: reactor.listenTCP.
    pub fn listen_tcp(&mut self, address: SocketAddr, factory: Box<dyn Factory<S>>) -> PortId {
        self.listen(ListenAt::Tcp(address), factory)
    }

    /// As [`listen_tcp`](Core::listen_tcp), at `path` in the file system;
    /// see [`Reactor::listen_unix`](crate::Reactor::listen_unix).
    pub fn listen_unix(&mut self, path: &Path, factory: Box<dyn Factory<S>>) -> PortId {
        self.listen(ListenAt::Unix(path.to_owned()), factory)
    }

    fn listen(&mut self, at: ListenAt, factory: Box<dyn Factory<S>>) -> PortId {
        let port = self.next_port();
        self.inbox.push_back(Posted::Listen(port, at, factory));
        port
    }

    pub(crate) fn next_port(&mut self) -> PortId {
        self.ports += 1;
        PortId::new(self.ports - 1)
    }

    /// Stops listening on `port`. Connections already accepted live on. Twisted: stopListening.
    pub fn stop_listening(&mut self, port: PortId) {
        self.inbox.push_back(Posted::StopListening(port));
    }

    /// Calls `call` when `delay` has passed: in the next turn at the earliest. Equal times run first
    /// come, first served. Twisted: reactor.callLater.
    ///
    /// ```
    /// # use herd_reactor::testing::{MemoryIo, MemoryOptions};
    /// # use herd_reactor::{ReactorLimits, NotPending, Reactor};
    /// # use std::time::Duration;
    /// # let io = MemoryIo::new(MemoryOptions::default());
    /// let mut reactor = Reactor::new(io, (Vec::new(),), ReactorLimits::default());
    /// let [one, two, three] = [1, 2, 3].map(|number| {
    ///     reactor.call_later(Duration::from_secs(number), move |state, _| state.0.push(number))
    /// });
    /// reactor.cancel(one)?;
    /// reactor.reset(two, Duration::from_secs(9))?;
    /// reactor.call_later(Duration::from_secs(10), |_, core| core.stop());
    /// reactor.run().unwrap();
    /// assert_eq!(reactor.state().0, [3, 2]);
    /// assert_eq!(reactor.cancel(three), Err(NotPending), "it has run");
    /// # Ok::<(), NotPending>(())
    /// ```
    pub fn call_later(
        &mut self,
        delay: Duration,
        call: impl FnOnce(&mut S, &mut Core<S>) + 'static,
    ) -> TimerId {
        self.timers.call_at(self.now + delay, TimerCall::Call(Box::new(call)))
    }

    /// Calls [`timer`](crate::Protocol::timer) of the protocol of `id` with the returned id when `delay` has
    /// passed, if the connection is still open. A closure cannot reach a protocol; this can.
    pub fn timer_later(&mut self, id: ConnId, delay: Duration) -> TimerId {
        self.timers.call_at(self.now + delay, TimerCall::Tell(id))
    }

    /// Takes the call back. Twisted: DelayedCall.cancel.
    pub fn cancel(&mut self, timer: TimerId) -> Result<(), NotPending> {
        self.timers.cancel(timer).map(drop)
    }

    /// Makes the call due `delay` from now. Later costs one store. Twisted: DelayedCall.reset.
    pub fn reset(&mut self, timer: TimerId, delay: Duration) -> Result<(), NotPending> {
        self.timers.reset(timer, self.now + delay)
    }

    /// When the call is due, if it still waits. Twisted: DelayedCall.getTime.
    pub fn due(&self, timer: TimerId) -> Option<Moment> {
        self.timers.due(timer)
    }

    /// Calls that wait for their time. Twisted: getDelayedCalls.
    pub fn timers_pending(&self) -> usize {
        self.timers.len()
    }

    /// Logs `<what>: <times> <outcome>` now, or counts it if `key` was logged within the last second. What was counted
    /// is logged when the second has passed, or when the reactor ends; see [`LogThrottle`].
    pub fn log_throttled(
        &mut self,
        level: Level,
        key: ThrottleKey,
        what: fmt::Arguments<'_>,
        times: u64,
        outcome: &'static str,
    ) {
        self.throttle.log(self.now, level, key, what, times, outcome);
        self.report_when_due();
    }

    /// As [`log_throttled`](Core::log_throttled), a warning `limit: <key> = <value>: <times> <outcome>`.
    pub fn limit_hit(
        &mut self,
        key: &'static str,
        value: impl fmt::Display,
        times: u64,
        outcome: &'static str,
    ) {
        let what = format_args!("limit: {key} = {value}");
        self.log_throttled(Level::Warn, (key, 0), what, times, outcome);
    }

    /// How often [`log_throttled`](Core::log_throttled) was told of a key with this word since the start.
    pub fn throttled(&self, word: &str) -> u64 {
        self.throttle.total(word)
    }

    /// The time of something counted has come.
    pub(super) fn report_throttled(&mut self) {
        self.report = None;
        self.throttle.report(self.now);
        self.report_when_due();
    }

    /// There is a timer only while something is counted.
    fn report_when_due(&mut self) {
        if self.report.is_none()
            && let Some(due) = self.throttle.due()
        {
            self.report = Some(self.timers.call_at(due, TimerCall::Report));
        }
    }

    /// Ends the reactor: in the next turn, after its timers, the ports are closed and every protocol
    /// is told ([`shutting_down`](crate::Protocol::shutting_down)); the loop ends when all
    /// connections are gone, or after [`ReactorLimits::drain`]. A second call ends it without waiting.
    /// Twisted: reactor.stop.
    pub fn stop(&mut self) {
        self.run_state = match self.run_state {
            RunState::Running => RunState::StopAsked,
            RunState::Stopped => RunState::Stopped,
            _ => RunState::StopNow,
        };
    }

    /// Whether the reactor is on its way to its end.
    pub fn is_stopping(&self) -> bool {
        self.run_state != RunState::Running
    }
}

impl<S: Shared> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Core");
        shown.field("transports", &self.transports).field("timers", &self.timers.len());
        shown.finish_non_exhaustive()
    }
}
