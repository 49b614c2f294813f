//! What a call may touch: every transport, the timers, and the wishes that the reactor fulfils
//! when the call has returned.
//!
//! The protocol objects are *not* in here. That is the whole trick: while the reactor calls one of
//! them with a [`Context`], it lends this core, and the borrow checker sees three separate things.
//! And whoever holds a core can write to any connection but cannot call any protocol, so that no
//! call can run inside a call.
//!
//! The core does not know the [`Io`](super::Io). What needs the kernel is noted here, and done by
//! the reactor: writing marks the connection dirty, connecting and closing are posted.

use super::io::{Close, Ends};
use super::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, Context, PortId, Shared};
use super::timers::{NotPending, TimerId, Timers};
use super::transport::{BUFFER_SIZE, BUFFERED_BYTES_MAX, Phase, Transport};
use super::{Backoff, Moment, UnixNanos};
use slab::Slab;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

/// Empty buffers kept for the next connection that writes; so that a reply costs no allocation,
/// and an idle connection no memory.
const SPARE_BUFFERS_MAX: usize = 64;

/// A spare buffer larger than this is given back to the allocator.
const SPARE_BUFFER_BYTES_MAX: usize = 2 * BUFFER_SIZE;

/// Time limits of the reactor's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long `lose_connection` waits for the peer to take what was written; then the connection
    /// is aborted. Twisted waits for ever, and leaks descriptors (issues #4719, #3037).
    pub close: Duration,
    /// How long a stopping reactor waits for what was written and for answers that are due.
    /// Twisted drops all unsent output at once.
    pub drain: Duration,
    /// How long a connection whose peer is still sending is read, and what comes thrown away, when
    /// all that was written has been sent: so long at most,
    pub linger: Duration,
    /// and so many bytes at most.
    pub linger_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            close: Duration::from_secs(30),
            drain: Duration::from_secs(4),
            linger: Duration::from_secs(2),
            linger_bytes: 1 << 20,
        }
    }
}

/// How [`Core::connect_tcp`] goes about it.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Given up after this long. Twisted: connectTCP's timeout, 30 s.
    pub timeout: Duration,
    /// Tries again, after failure and after loss, for ever. Twisted: ReconnectingClientFactory.
    pub reconnect: Option<Backoff>,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions { timeout: Duration::from_secs(30), reconnect: None }
    }
}

/// What is connected: a stream of bytes, or datagrams to and from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
}

/// Whether the reactor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// It runs.
    Running,
    /// `stop` was called in this turn; the shutdown begins after the timers of the next.
    StopAsked,
    /// Connections are being finished, until then.
    Draining(Moment),
    /// All is to end without waiting.
    StopNow,
    /// Over.
    Stopped,
}

/// What the reactor does when the call has returned: in the order in which it was asked for.
#[derive(Debug)]
pub(super) enum Post<S: Shared> {
    Connect(ConnectorId, Kind, SocketAddr, ConnectOptions, Box<dyn ClientFactory<S>>),
    StopTrying(ConnectorId),
    StopListening(PortId),
    Lost(ConnId, CloseReason, Close),
    Message(ConnId, S::Message),
}

/// Called once, with what is shared and the core.
pub(super) type Call<S> = Box<dyn FnOnce(&mut S, &mut Core<S>)>;

/// What becomes due.
pub(super) enum Due<S: Shared> {
    /// A closure over what is shared. Twisted: callLater.
    Call(Call<S>),
    /// A protocol is told.
    Tell(ConnId, u32),
    /// A connection has not been made, flushed or ended in time.
    Limit(ConnId),
    /// A connector tries again.
    Retry(ConnectorId),
    /// A port that had run out of descriptors tries again.
    Accept(PortId),
}

impl<S: Shared> fmt::Debug for Due<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Due::Call(_) => write!(f, "Call"),
            Due::Tell(id, tag) => write!(f, "Tell({id:?}, {tag})"),
            Due::Limit(id) => write!(f, "Limit({id:?})"),
            Due::Retry(connector) => write!(f, "Retry({connector:?})"),
            Due::Accept(port) => write!(f, "Accept({port:?})"),
        }
    }
}

/// All connections, timers and wishes of one reactor. Twisted: what `reactor` and `transport`
/// offer to a protocol.
#[derive(Debug)]
pub struct Core<S: Shared> {
    pub(super) transports: Slab<Transport>,
    pub(super) timers: Timers<Due<S>>,
    /// Connections to flush at the end of the turn.
    pub(super) dirty: Vec<ConnId>,
    /// Connections to read in the coming turn: what events named, and what stopped of its own
    /// accord, for which no further event will come.
    pub(super) ready: VecDeque<ConnId>,
    pub(super) inbox: VecDeque<Post<S>>,
    pub(super) now: Moment,
    pub(super) wall: UnixNanos,
    pub(super) run_state: RunState,
    pub(super) limits: Limits,
    pub(super) chance: Chance,
    generation: u32,
    connectors: u64,
    spare: Vec<Vec<u8>>,
}

impl<S: Shared> Core<S> {
    pub(crate) fn new(limits: Limits, seed: u64, now: Moment, wall: UnixNanos) -> Core<S> {
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
            chance: Chance::new(seed),
            generation: 0,
            connectors: 0,
            spare: Vec::new(),
        }
    }

    /// The monotonic clock, as of this turn: read once before the timers and once after the poll.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The wall clock, as of the last read, or of the last time the loop woke.
    pub fn wall(&self) -> UnixNanos {
        self.wall
    }

    /// Sixty-four bits of chance; the same after the same seed of the [`Io`](super::Io).
    pub fn random(&mut self) -> u64 {
        self.chance.next()
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

    /// Appends `data` to the send buffer of `id`; sends nothing. All that is written in one turn
    /// leaves at its end, in one piece if the peer takes it.
    ///
    /// `data`: raw bytes, delimiter included. Ignored unless the connection stands (Twisted's plain
    /// TCP still takes writes after loseConnection; its TLS does not, and so do we).
    /// Limit: [`BUFFERED_BYTES_MAX`]; beyond it the connection is aborted.
    /// Twisted: abstract.py, FileDescriptor.write.
    pub fn write(&mut self, id: ConnId, data: &[u8]) {
        self.write_with(id, |out| out.extend_from_slice(data));
    }

    /// As [`write`](Core::write), for what is composed in place: `compose` appends to the buffer,
    /// and must leave alone what stands there.
    pub fn write_with(&mut self, id: ConnId, compose: impl FnOnce(&mut Vec<u8>)) {
        let slot = self.transports.get_mut(id.key());
        let Some(transport) = slot.filter(|t| t.generation == id.generation()) else { return };
        if !transport.is_connected() {
            return;
        }
        let out = transport.out();
        if out.capacity() == 0 {
            *out = self.spare.pop().unwrap_or_default();
        }
        compose(out);
        let pending = transport.pending();
        if pending > transport.high_water {
            transport.full = true;
            transport.resume_wanted = true;
        }
        if !transport.dirty {
            transport.dirty = true;
            self.dirty.push(id);
        }
        if pending > BUFFERED_BYTES_MAX {
            log::error!(
                "{id:?}: {pending} bytes wait to be sent, more than BUFFERED_BYTES_MAX = {BUFFERED_BYTES_MAX}: aborted"
            );
            self.abort_connection(id);
        }
    }

    /// Closes `id` when all that was written has been sent; until then nothing more is delivered,
    /// and nothing more can be written. The peer reads everything, then the end.
    ///
    /// After [`Limits::close`] without success it is aborted. Calling it again changes nothing.
    /// Twisted: FileDescriptor.loseConnection.
    pub fn lose_connection(&mut self, id: ConnId) {
        self.lose_because(id, None);
    }

    /// As [`lose_connection`](Core::lose_connection); `connection_lost` is told `why`.
    pub fn lose_because(&mut self, id: ConnId, why: Option<CloseReason>) {
        let Some(transport) = self.transport_mut(id) else { return };
        match transport.phase {
            Phase::Connected => {
                transport.phase = Phase::Disconnecting;
                transport.reason = why.map(Box::new);
                self.mark_dirty(id);
            }
            Phase::Connecting => self.abort_connection(id),
            Phase::Disconnecting | Phase::Lingering { .. } | Phase::Lost => {}
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
    /// [`Limits::linger`] and [`Limits::linger_bytes`]; then closes.
    ///
    /// For a last word to a peer in full flow: closing with unread input resets the connection, and
    /// the reset can overtake the word. RFC 9112 section 9.6 advises servers to do this. A connection
    /// that is lost while input is known to wait lingers in any case.
    pub fn linger(&mut self, id: ConnId) {
        let (bytes_left, close) = (self.limits.linger_bytes, self.limits.close);
        let Some(transport) = self.transport_mut(id) else { return };
        if !matches!(transport.phase, Phase::Connected | Phase::Disconnecting) {
            return;
        }
        transport.phase = Phase::Lingering { bytes_left };
        transport.write_ending = true;
        self.mark_dirty(id);
        self.requeue(id);
        self.set_limit(id, close);
    }

    /// Has the wrapper of `id` asked, at the end of this turn, for what it wants to send of its own.
    pub fn seal_later(&mut self, id: ConnId) {
        self.mark_dirty(id);
    }

    /// Notes the certificates that the peer of `id` has shown to its wrapper; see
    /// [`Transport::peer_certificates`].
    pub fn note_peer_certificates(&mut self, id: ConnId, shown: Vec<Vec<u8>>) {
        if let Some(transport) = self.transport_mut(id) {
            transport.note_peer_certificates(shown);
        }
    }

    /// Ends our side when all that was written has been sent; reading goes on.
    /// Twisted: loseWriteConnection.
    pub fn lose_write_connection(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.write_ending = true;
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

    /// From now on more than `high_water` bytes of pending output hold up reading, until all is
    /// sent: a peer that does not read is not read. Twisted: registerProducer, of the protocol
    /// itself; its mark is [`BUFFER_SIZE`].
    pub fn register_producer(&mut self, id: ConnId, high_water: usize) {
        if let Some(transport) = self.transport_mut(id) {
            transport.high_water = high_water;
        }
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
        self.inbox.push_back(Post::Message(id, message));
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
        self.inbox.push_back(Post::Connect(connector, Kind::Tcp, address, options, factory));
        connector
    }

    /// Opens a socket for datagrams to and from `address` alone; as a connection, which stands at
    /// once. What is written in one turn leaves as one datagram, and `data_received` is called once
    /// for each. Twisted: reactor.listenUDP and the port's connect.
    pub fn connect_udp(
        &mut self,
        address: SocketAddr,
        factory: Box<dyn ClientFactory<S>>,
    ) -> ConnectorId {
        self.connectors += 1;
        let connector = ConnectorId(self.connectors);
        let options = ConnectOptions::default();
        self.inbox.push_back(Post::Connect(connector, Kind::Udp, address, options, factory));
        connector
    }

    /// Gives up connecting, waiting to retry, or the connection itself.
    /// Twisted: IConnector.disconnect and ReconnectingClientFactory.stopTrying.
    pub fn stop_trying(&mut self, connector: ConnectorId) {
        self.inbox.push_back(Post::StopTrying(connector));
    }

    /// The connection `id` has proved good: when it is lost, its connector begins with the first
    /// delay again. Twisted: ReconnectingClientFactory.resetDelay.
    pub fn reset_delay(&mut self, id: ConnId) {
        if let Some(transport) = self.transport_mut(id) {
            transport.delay_reset = true;
        }
    }

    /// Stops listening on `port`. Connections already accepted live on. Twisted: stopListening.
    pub fn stop_listening(&mut self, port: PortId) {
        self.inbox.push_back(Post::StopListening(port));
    }

    /// Calls `call` when `delay` has passed: in the next turn at the earliest. Equal times run first
    /// come, first served. Twisted: reactor.callLater.
    pub fn call_later(
        &mut self,
        delay: Duration,
        call: impl FnOnce(&mut S, &mut Core<S>) + 'static,
    ) -> TimerId {
        self.timers.call_at(self.now + delay, Due::Call(Box::new(call)))
    }

    /// Calls [`timer`](super::Protocol::timer) of the protocol of `id` with `tag` when `delay` has
    /// passed, if the connection still stands. A closure cannot reach a protocol; this can.
    pub fn timer_later(&mut self, id: ConnId, delay: Duration, tag: u32) -> TimerId {
        self.timers.call_at(self.now + delay, Due::Tell(id, tag))
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

    /// Ends the reactor: in the next turn, after its timers, the ports are closed and every protocol
    /// is told ([`shutting_down`](super::Protocol::shutting_down)); the loop ends when all
    /// connections are gone, or after [`Limits::drain`]. A second call ends it without waiting.
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

    // From here on: for the reactor.

    /// The name of the next connection; the same until it is inserted.
    pub(crate) fn next_id(&self) -> ConnId {
        // After four thousand million connections it begins anew; an id that old is long forgotten.
        // Generation 0 is kept for the ports' tokens.
        let generation = self.generation.checked_add(1).unwrap_or(1);
        ConnId::new(self.transports.vacant_key() as u32, generation)
    }

    pub(crate) fn insert(
        &mut self,
        id: ConnId,
        phase: Phase,
        ends: Ends,
        connector: Option<ConnectorId>,
    ) {
        let mut transport = Transport::new(id.generation(), phase, ends);
        transport.connector = connector.and_then(|connector| NonZeroU64::new(connector.0));
        let key = self.transports.insert(transport);
        debug_assert_eq!(key, id.key());
        self.generation = id.generation();
    }

    /// Notes what the kernel said of `id`.
    pub(super) fn note_readiness(
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
        let connecting = transport.phase == Phase::Connecting;
        if writable && !was_writable && transport.pending() > 0 {
            self.mark_dirty(id);
        }
        if readable || connecting {
            self.requeue(id);
        }
    }

    /// The kernel has given `id` up. Whoever reads will find out, after what had come before; who does
    /// not read, because the protocol waits for something or the peer has ended its side, is told
    /// here. Twisted: posixbase.py, _doReadOrWrite, for a hang-up of what is not being read.
    pub(super) fn note_failure(&mut self, id: ConnId) {
        let reads = self.transport(id).is_none_or(Transport::wants_read);
        if !reads {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            self.lost(id, CloseReason::ConnectionLost(reset));
        }
    }

    /// Puts `id` on the ready list if there is, or may be, something to read and it may be read.
    pub(super) fn requeue(&mut self, id: ConnId) {
        let Some(transport) = self.transport_mut(id) else { return };
        let known = transport.readable || transport.phase == Phase::Connecting;
        if known && transport.wants_read() && !transport.ready {
            transport.ready = true;
            self.ready.push_back(id);
        }
    }

    pub(super) fn mark_dirty(&mut self, id: ConnId) {
        let Some(transport) = self.transport_mut(id) else { return };
        if !transport.dirty {
            transport.dirty = true;
            self.dirty.push(id);
        }
    }

    /// All that was to be done on the connection is done: it ends for the reason it was lost for.
    pub(super) fn done(&mut self, id: ConnId) {
        let Some(transport) = self.transport_mut(id) else { return };
        let why = transport.reason.take().map_or(CloseReason::ConnectionDone, |why| *why);
        self.lost(id, why);
    }

    /// The connection is over: nothing is delivered any more, and `connection_lost` is posted.
    pub(super) fn lost(&mut self, id: ConnId, why: CloseReason) {
        self.lost_how(id, why, Close::Orderly);
    }

    /// As [`lost`](Core::lost); `how` decides whether the peer still gets what the kernel holds. The
    /// reason cannot: who is closed because he was too slow is told so first.
    pub(super) fn lost_how(&mut self, id: ConnId, why: CloseReason, how: Close) {
        let Some(transport) = self.transport_mut(id) else { return };
        if transport.phase == Phase::Lost {
            return;
        }
        transport.phase = Phase::Lost;
        let out = transport.take_out();
        let limit = transport.limit.take();
        self.give_back(out);
        if let Some(limit) = limit {
            // It may be the very limit that has just run out.
            let _ = self.timers.cancel(limit);
        }
        self.inbox.push_back(Post::Lost(id, why, how));
    }

    /// From now on `id` is given `time` for what it is about (connecting, flushing, lingering).
    pub(super) fn set_limit(&mut self, id: ConnId, time: Duration) {
        let timer = self.timers.call_at(self.now + time, Due::Limit(id));
        let Some(transport) = self.transport_mut(id) else { return };
        if let Some(old) = transport.limit.replace(timer) {
            let _ = self.timers.cancel(old);
        }
    }

    /// Keeps a buffer for the next connection that writes.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        let worth = 1..=SPARE_BUFFER_BYTES_MAX;
        if worth.contains(&buffer.capacity()) && self.spare.len() < SPARE_BUFFERS_MAX {
            self.spare.push(buffer);
        }
    }
}

/// A small generator of chance (SplitMix64, Steele et al. 2014): for jitter, not for secrets.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A protocol's view of [`Core`], for the calls that name no connection.
impl<S: Shared> Context<'_, S> {
    /// Stops delivering to this protocol; see [`Core::pause_producing`].
    pub fn pause_producing(&mut self) {
        self.core.pause_producing(self.id);
    }

    /// Delivers to this protocol again; see [`Core::resume_producing`].
    pub fn resume_producing(&mut self) {
        self.core.resume_producing(self.id);
    }
}
