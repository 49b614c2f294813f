//! Everything that a call may use: the transports, the timers, and the requests that the reactor carries out
//! after the call has returned.
//!
//! The protocol objects are *not* part of the core. So the reactor can call one of them and lend it the core in a
//! [`Context`](crate::Context): for the borrow checker, protocol, core and state are separate. Code that holds a
//! core can write to any connection but cannot call a protocol, so a call never runs inside a call.
//!
//! The core does not know the [`Io`](crate::Io). It notes what needs the kernel, and the reactor does it later:
//! writing marks the connection dirty; connecting and closing are posted.

mod work_lists;

use crate::buffer_pool::BufferPool;
use crate::io::Close;
use crate::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, Factory, PortId, Shared};
use crate::queue::{ConnectKind, ListenAt, Posted, RunState, TimerCall};
use crate::timers::{NotPending, TimerId, Timers};
use crate::transport::{BUFFERED_BYTES_MAX, Phase, Step, Transport};
use crate::{
    ConnectOptions, Histogram, LogThrottle, Moment, ReactorLimits, SplitMix64, ThrottleKey,
    UnixNanos,
};
use log::Level;
use slab::Slab;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// All connections, timers and pending requests of one reactor. Twisted: what `reactor` and `transport` offer to a
/// protocol.
pub struct Core<S: Shared> {
    pub(super) transports: Slab<Transport>,
    pub(super) timers: Timers<TimerCall<S>>,
    /// Connections to send to before the next poll.
    pub(super) dirty: Vec<ConnId>,
    /// Connections to read next: the poll reported them, or we stopped reading before the kernel had no more data
    /// and so will get no further event.
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
    longest_lag_nanos: u64,
    lags: Histogram,
    turns: Histogram,
    /// When the last poll ended, and the present turn began.
    pub(super) turn_began: Moment,
    pub(super) buffers: BufferPool,
    pub(super) throttle: LogThrottle,
    /// The timer that logs the counted warnings; set while any are counted.
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
            longest_lag_nanos: 0,
            lags: Histogram::default(),
            turns: Histogram::default(),
            turn_began: now,
            buffers: BufferPool::default(),
            throttle: LogThrottle::default(),
            report: None,
        }
    }

    /// The monotonic clock at its last reading. The reactor reads it when a turn begins and after the poll; all calls
    /// in between see the same time. Delays count from it.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The wall clock at its last reading. The reactor reads it after the poll, after each read of a connection, before
    /// each timer, and before it carries out posted requests.
    pub fn wall(&self) -> UnixNanos {
        self.wall
    }

    /// Returns the worst loop lag since the last call, and resets it.
    ///
    /// The lag is the longer of two times: from the end of a poll until everything that it found has been read, and
    /// from the time a timer was due until its turn began. An idle loop reports up to 1 ms, because polls sleep whole
    /// milliseconds. The send before the poll counts only if a timer falls due meanwhile.
    pub fn take_longest_lag(&mut self) -> Duration {
        Duration::from_nanos(std::mem::take(&mut self.longest_lag_nanos))
    }

    /// Returns what [`take_longest_lag`](Core::take_longest_lag) would, and resets nothing.
    pub fn longest_lag(&self) -> Duration {
        Duration::from_nanos(self.longest_lag_nanos)
    }

    /// The lag of each turn, as [`take_longest_lag`](Core::take_longest_lag) explains it. Reading resets nothing.
    pub fn lags(&self) -> &Histogram {
        &self.lags
    }

    /// The duration of each turn, without the poll. Their sum is the time that the loop was busy.
    pub fn turn_durations(&self) -> &Histogram {
        &self.turns
    }

    /// Returns 64 random bits. The [`Io`](crate::Io) seeds the generator: the same seed gives the same sequence.
    pub fn random(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// The number of connections, including those being made or closed.
    pub fn connections(&self) -> usize {
        self.transports.len()
    }

    /// The ids of all connections, including those being made or closed.
    pub fn connection_ids(&self) -> Vec<ConnId> {
        let all = self.transports.iter();
        all.map(|(key, transport)| ConnId::new(key as u32, transport.generation)).collect()
    }

    /// The connection `id`, if it still exists.
    pub fn transport(&self, id: ConnId) -> Option<&Transport> {
        self.transports.get(id.key()).filter(|transport| transport.generation == id.generation())
    }

    pub(crate) fn transport_mut(&mut self, id: ConnId) -> Option<&mut Transport> {
        self.transports
            .get_mut(id.key())
            .filter(|transport| transport.generation == id.generation())
    }

    /// Bytes written to `id` and not yet sent; 0 if the connection is gone.
    pub fn pending(&self, id: ConnId) -> usize {
        self.transport(id).map_or(0, Transport::pending)
    }

    /// Makes room for `more` bytes in `buffer`, which collects data for a later write. If `buffer` is too small, its
    /// contents move to a larger buffer from the pool of send buffers.
    pub fn make_room(&mut self, buffer: &mut Vec<u8>, more: usize) {
        self.buffers.make_room(buffer, more);
    }

    /// Returns a buffer from [`make_room`](Core::make_room) to the pool and discards its contents.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.buffers.give_back(buffer);
    }

    /// Appends `data` to the send buffer of `id`, and sends nothing. The reactor sends the buffer before the next poll,
    /// with a single system call if the kernel takes all of it.
    ///
    /// `data` is raw bytes, including any delimiter. The write is ignored if the connection is not open or is being
    /// closed. (After loseConnection, Twisted's plain TCP still accepts writes; its TLS does not.)
    /// If more than [`BUFFERED_BYTES_MAX`] bytes are pending, the connection is aborted.
    /// Twisted: abstract.py, FileDescriptor.write.
    pub fn write(&mut self, id: ConnId, data: &[u8]) {
        self.write_with(id, data.len(), |out| out.extend_from_slice(data));
    }

    /// Writes as [`write`](Core::write) does, but `compose` appends the data to the send buffer in place.
    ///
    /// `compose` must not change the bytes that are in the buffer already. `room` is the number of bytes that it will
    /// append; if it appends more, the buffer is reallocated, and is not pooled afterwards.
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
            let why = format!("{pending} bytes are unsent, more than {BUFFERED_BYTES_MAX}");
            self.abort_because(id, CloseReason::ProtocolFailed(why.into()));
        }
    }

    /// Closes `id` when all written data has been sent. Until then nothing more is delivered, and nothing more can be
    /// written. The peer reads all the data, then the end of the stream.
    ///
    /// If the peer does not take the data within [`ReactorLimits::close`], the connection is aborted. A connection that
    /// is still being made is aborted at once. A second call has no effect. Twisted: FileDescriptor.loseConnection.
    pub fn lose_connection(&mut self, id: ConnId) {
        self.lose_because(id, None);
    }

    /// Closes `id` as [`lose_connection`](Core::lose_connection) does; `connection_lost` gets the reason `why`.
    pub fn lose_because(&mut self, id: ConnId, why: Option<CloseReason>) {
        let Some(transport) = self.transport_mut(id) else { return };
        if transport.step(Step::Lose) {
            if let Some(why) = why {
                transport.set_reason(why);
            }
            self.drop_deadline(id);
            self.mark_dirty(id);
        } else if transport.phase() == Phase::Connecting {
            self.abort_connection(id);
        }
    }

    /// Closes `id` at once: unsent data is dropped and the peer sees a reset.
    ///
    /// Nothing more is delivered, not even the rest of the bytes just read (Twisted's LineReceiver goes on).
    /// The reactor calls `connection_lost` in a later turn. Twisted: abortConnection.
    pub fn abort_connection(&mut self, id: ConnId) {
        self.lost_how(id, CloseReason::ConnectionAborted, Close::Reset);
    }

    /// Aborts `id` as [`abort_connection`](Core::abort_connection) does; `connection_lost` gets the reason `why`.
    pub fn abort_because(&mut self, id: ConnId, why: CloseReason) {
        self.lost_how(id, why, Close::Reset);
    }

    /// Sends the written data, ends this side (FIN), and then reads and discards input until the peer ends its side or
    /// [`ReactorLimits::linger`] or [`ReactorLimits::linger_bytes`] is reached; then closes.
    ///
    /// Use it for a last message to a peer that is still sending: closing with unread input resets the connection, and
    /// the reset can overtake the message. RFC 9112 section 9.6 advises servers to do this.
    /// [`lose_connection`](Core::lose_connection) lingers by itself if it finds unread input.
    pub fn linger(&mut self, id: ConnId) {
        let (most, close) = (self.limits.linger_bytes, self.limits.close);
        let Some(transport) = self.transport_mut(id) else { return };
        if transport.begin_linger(most) {
            self.mark_dirty(id);
            self.requeue(id);
            self.set_deadline(id, close);
        }
    }

    /// Has the reactor call [`encode`](crate::Filter::encode) before the next send, for a filter that has data of its
    /// own to send.
    pub fn encode_later(&mut self, id: ConnId) {
        self.mark_dirty(id);
    }

    /// Stores the certificates that the peer of `id` presented to its filter; see
    /// [`Transport::peer_certificates`].
    pub fn note_peer_certificates(&mut self, id: ConnId, shown: Vec<Vec<u8>>) {
        if let Some(transport) = self.transport_mut(id) {
            transport.note_peer_certificates(shown);
        }
    }

    /// Half-closes `id`: ends this side (FIN) when all written data has been sent; reading goes on. When the peer has
    /// ended its side too, the connection is lost ([`CloseReason::ConnectionDone`]). Twisted: loseWriteConnection.
    pub fn lose_write_connection(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.end_sending();
            self.mark_dirty(id);
        }
    }

    /// Stops delivering data to the protocol of `id`. Input waits in the kernel until its buffer is full; then TCP
    /// stops the peer. It makes no system call. Twisted: pauseProducing.
    pub fn pause_producing(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.paused = true;
        }
    }

    /// Resumes delivery to the protocol of `id`. Input that has arrived meanwhile, and the peer's end, follow in a
    /// later turn. Twisted: resumeProducing.
    pub fn resume_producing(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.paused = false;
            self.requeue(id);
        }
    }

    /// Sets the high-water mark of `id`: once more than `high_water` bytes of output are pending, the reactor does not
    /// read the connection until all of them are sent.
    ///
    /// Every connection begins with [`BUFFER_SIZE`](crate::BUFFER_SIZE). A factory may call this for the connection
    /// that it builds a protocol for. Twisted: registerProducer, with the protocol itself as the producer.
    pub fn register_producer(&mut self, id: ConnId, high_water: usize) {
        if let Some(transport) = self.transport_mut(id) {
            transport.high_water = u32::try_from(high_water).unwrap_or(u32::MAX);
        }
    }

    /// Turns back-pressure off for `id`: the reactor reads it however much output is pending. Use it in two cases:
    /// the peer applies back-pressure, too, so both sides could wait for ever to be read; or the output comes from
    /// other connections. Limit the output yourself by [`pending`](Core::pending). Twisted: unregisterProducer.
    pub fn unregister_producer(&mut self, id: ConnId) {
        self.register_producer(id, usize::MAX);
    }

    /// Ends `id` with the kernel's error TimedOut when data that was sent has not been acknowledged by the peer's machine
    /// for `timeout`. Without this call the kernel tries for about 15 minutes. TCP only (TCP_USER_TIMEOUT, RFC 5482).
    pub fn set_user_timeout(&mut self, id: ConnId, timeout: Duration) {
        self.inbox.push_back(Posted::UserTimeout(id, timeout));
    }

    /// Has the reactor call `resume_producing` of the protocol of `id`, once, when its send buffer is empty.
    /// Twisted: a pull producer.
    pub fn resume_when_drained(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.resume_wanted = true;
            self.mark_dirty(id);
        }
    }

    /// Delivers `message` to the protocol of `id` in a later turn. If the connection is closed or being closed by then,
    /// the message is dropped.
    pub fn post(&mut self, id: ConnId, message: S::Message) {
        self.inbox.push_back(Posted::Message(id, message));
    }

    /// Connects to `address`; `factory` builds the protocol and learns of failure and loss.
    /// The attempt begins after the current call has returned. Twisted: reactor.connectTCP.
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

    /// Opens a UDP socket that exchanges datagrams with `address` only.
    ///
    /// It is a connection that is open at once. All data written between two sends leaves as one datagram, and
    /// `data_received` is called once for each datagram received. Twisted: reactor.listenUDP and the port's connect.
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

    /// Stops `connector`: cancels an attempt or a wait for the next one, or closes an open connection as
    /// [`lose_connection`](Core::lose_connection) does.
    /// Twisted: IConnector.disconnect and ReconnectingClientFactory.stopTrying.
    pub fn stop_trying(&mut self, connector: ConnectorId) {
        self.inbox.push_back(Posted::StopTrying(connector));
    }

    /// Replaces the limits, and returns the old ones. A wait that has begun keeps its deadline.
    pub fn set_limits(&mut self, limits: ReactorLimits) -> ReactorLimits {
        std::mem::replace(&mut self.limits, limits)
    }

    /// Marks the connection `id` as good: after its loss the connector starts again with its first delay.
    /// Twisted: ReconnectingClientFactory.resetDelay.
    pub fn reset_delay(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.delay_reset = true;
        }
    }

    /// Listens on `address`; `factory` builds a protocol for each accepted connection.
    ///
    /// Listening begins after the current call has returned; [`Factory::listening`] then gets the address or the error.
    /// Outside a call, [`Reactor::listen_tcp`](crate::Reactor::listen_tcp) returns them at once.
    /// Twisted: reactor.listenTCP.
    pub fn listen_tcp(&mut self, address: SocketAddr, factory: Box<dyn Factory<S>>) -> PortId {
        self.listen(ListenAt::Tcp(address), factory)
    }

    /// Listens on a Unix socket at `path`; the result is reported as for [`listen_tcp`](Core::listen_tcp).
    /// See [`Reactor::listen_unix`](crate::Reactor::listen_unix) for the file's mode and life.
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

    /// Stops listening on `port`. Accepted connections stay open. Twisted: stopListening.
    pub fn stop_listening(&mut self, port: PortId) {
        self.inbox.push_back(Posted::StopListening(port));
    }

    /// Calls `call` when `delay` has passed, in the next turn at the earliest. Calls that are due at the same time run
    /// in the order in which they were made. Twisted: reactor.callLater.
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

    /// Calls [`Protocol::timer`](crate::Protocol::timer) of the protocol of `id`, with the returned id, when `delay`
    /// has passed, if the connection is still open. A closure of [`call_later`](Core::call_later) cannot reach a
    /// protocol.
    pub fn timer_later(&mut self, id: ConnId, delay: Duration) -> TimerId {
        self.timers.call_at(self.now + delay, TimerCall::Tell(id))
    }

    /// Cancels the call. Twisted: DelayedCall.cancel.
    pub fn cancel(&mut self, timer: TimerId) -> Result<(), NotPending> {
        self.timers.cancel(timer).map(drop)
    }

    /// Makes the call due `delay` from now. Postponing a call costs one store. Twisted: DelayedCall.reset.
    pub fn reset(&mut self, timer: TimerId, delay: Duration) -> Result<(), NotPending> {
        self.timers.reset(timer, self.now + delay)
    }

    /// The time when the call is due; `None` if it has run or was cancelled. Twisted: DelayedCall.getTime.
    pub fn due(&self, timer: TimerId) -> Option<Moment> {
        self.timers.due(timer)
    }

    /// The number of pending calls. Twisted: getDelayedCalls.
    pub fn timers_pending(&self) -> usize {
        self.timers.len()
    }

    /// Logs `<what>: <times> <outcome>` now, or only counts it if `key` was logged within the last second. Counted
    /// warnings are logged when the second has passed, or when the reactor ends; see [`LogThrottle`].
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

    /// Logs the warning `limit: <key> = <value>: <times> <outcome>` as [`log_throttled`](Core::log_throttled) does.
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

    /// Returns the sum of `times` over all calls of [`log_throttled`](Core::log_throttled) whose key has this word.
    pub fn throttled(&self, word: &str) -> u64 {
        self.throttle.total(word)
    }

    /// Logs the counted warnings whose second has passed.
    pub(super) fn report_throttled(&mut self) {
        self.report = None;
        self.throttle.report(self.now);
        self.report_when_due();
    }

    /// Sets the timer for the counted warnings, if there are any and it is not set.
    fn report_when_due(&mut self) {
        if self.report.is_none()
            && let Some(due) = self.throttle.due()
        {
            self.report = Some(self.timers.call_at(due, TimerCall::Report));
        }
    }

    /// Stops the reactor. Twisted: reactor.stop.
    ///
    /// As soon as the timers of a turn have run, the reactor closes its ports and calls
    /// [`shutting_down`](crate::Protocol::shutting_down) of every protocol. The loop ends when all connections are
    /// gone, at the latest after [`ReactorLimits::drain`]. A second call ends it without waiting.
    pub fn stop(&mut self) {
        self.run_state = match self.run_state {
            RunState::Running => RunState::StopAsked,
            RunState::Stopped => RunState::Stopped,
            _ => RunState::StopNow,
        };
    }

    /// Whether the reactor is stopping or has stopped.
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
