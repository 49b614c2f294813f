//! The reactor's record of one connection: a send buffer and a few flags. It is plain memory; the socket belongs to
//! the [`Io`](crate::Io), under the same id.
//!
//! Twisted keeps the same facts in internet/abstract.py, FileDescriptor, as booleans, some combinations of which
//! are impossible. Here mutually exclusive states are one enum: [`Phase`] for the connection and [`Sending`] for
//! our side of it. Only this file changes either.
//!
//! ```text
//!               connect_tcp          accept
//!                    │                  │
//!                    ▼                  ▼
//!               Connecting ───────▶ Connected ──lose──▶ Disconnecting
//!                    │                  │                     │ sent
//!                    │                  ├─linger─▶ Lingering  │
//!                    │ failed           │ error        │ end  │
//!                    └──────────────────┴──▶  Lost  ◀──┴──────┘
//! ```
//!
//! | from          | [`Step::Made`] | [`Step::Lose`] | [`Step::Linger`] | [`Step::End`] |
//! |---------------|----------------|----------------|------------------|---------------|
//! | Connecting    | Connected      |                |                  | Lost          |
//! | Connected     |                | Disconnecting  | Lingering        | Lost          |
//! | Disconnecting |                |                | Lingering        | Lost          |
//! | Lingering     |                |                |                  | Lost          |
//! | Lost          |                |                |                  |               |
//!
//! A step with an empty cell changes nothing. `Sending` becomes Ending when our side is to be shut down, and Ended
//! when all data has been sent and the kernel shuts it down. A connection is lost when our side is Ended and the
//! peer's end has been read.
//!
//! Readiness is remembered here, because an edge-triggered poll reports it only once. Events set `readable` and
//! `writable`; the call that finds nothing more clears them. (Sozu's Readiness is the same pair of readiness and
//! interest.) So pausing is a flag, and needs no system call.

use crate::io::Addrs;
use crate::{CloseReason, ConnectorId, TimerId};
use std::net::{SocketAddr, SocketAddrV4};

/// The default high-water mark, in bytes: a connection with more pending output than this is full.
/// Twisted: FileDescriptor.bufferSize.
pub const BUFFER_SIZE: usize = 65_536;

/// Maximum pending output, in bytes: a connection with more is aborted.
///
/// A program should stop writing at a mark of its own; this limit protects against one that does not.
/// Twisted has no limit.
pub const BUFFERED_BYTES_MAX: usize = 64 << 20;

/// The phase of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We are making the connection; it has no protocol yet.
    Connecting,
    /// The connection is open.
    Connected,
    /// Nothing more is read; the connection closes when all data has been sent. Twisted: `disconnecting`.
    Disconnecting,
    /// Our side ends when all data has been sent; input is read and discarded until the peer ends its side or a limit
    /// is reached.
    Lingering,
    /// The connection is over; `connection_lost` has been posted.
    Lost,
}

/// A transition between phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Made,
    Lose,
    Linger,
    End,
}

impl Phase {
    /// The phase after `step`, as in the table at the head of this file.
    fn after(self, step: Step) -> Option<Phase> {
        match (self, step) {
            (Phase::Connecting, Step::Made) => Some(Phase::Connected),
            (Phase::Connected, Step::Lose) => Some(Phase::Disconnecting),
            (Phase::Connected | Phase::Disconnecting, Step::Linger) => Some(Phase::Lingering),
            (Phase::Lost, Step::End) => None,
            (_, Step::End) => Some(Phase::Lost),
            _ => None,
        }
    }
}

/// The state of our side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// Our side will be shut down when all data has been sent.
    Ending,
    /// Our side is shut down: the peer reads our end.
    Ended,
}

/// Both addresses, in little memory. A server holds one of these for each client, and nearly all clients use IPv4:
/// two `SocketAddrV4` take 12 bytes, two `SocketAddr` 64. Other addresses are boxed.
#[derive(Debug)]
enum PackedAddrs {
    V4 { peer: SocketAddrV4, local: SocketAddrV4 },
    Other(Box<Addrs>),
}

impl From<Addrs> for PackedAddrs {
    fn from(addrs: Addrs) -> PackedAddrs {
        match (addrs.peer, addrs.local) {
            (SocketAddr::V4(peer), SocketAddr::V4(local)) => PackedAddrs::V4 { peer, local },
            _ => PackedAddrs::Other(Box::new(addrs)),
        }
    }
}

/// The extra state of a connection whose protocol is a filter.
#[derive(Debug, Default)]
struct Filtered {
    /// Written data that the filter has not encoded yet.
    plain: Vec<u8>,
    /// The certificates that the peer has presented; `None` during the handshake.
    peer_certificates: Option<Vec<Vec<u8>>>,
}

/// State that few connections need, or only for a short time: connections that we made, that have a filter, or that
/// are about to end. It is boxed, so that it costs an idle client's connection one word.
#[derive(Debug, Default)]
struct Cold {
    /// Set if the protocol is a filter.
    filtered: Option<Filtered>,
    connector: Option<ConnectorId>,
    /// Why the connection is being closed, if not for ConnectionDone.
    reason: Option<CloseReason>,
    /// The deadline for connecting, for the peer to read something, for flushing before the close, or for lingering.
    deadline: Option<TimerId>,
    /// How many more bytes a lingering connection may receive.
    linger_bytes: usize,
}

/// The state of one connection: its send buffer, its two addresses and its phase.
///
/// Memory: 80 bytes, plus the send buffer while output is pending.
#[derive(Debug)]
pub struct Transport {
    pub(super) generation: u32,
    phase: Phase,
    sending: Sending,
    /// The kernel has reported the socket readable, and no read has found it empty since.
    pub(super) readable: bool,
    /// The kernel has reported the socket writable, and no write has found it full since.
    pub(super) writable: bool,
    /// The peer has ended its side, or the connection has failed: the end is still to be read, without an event.
    pub(super) read_closed: bool,
    /// The peer's end has been read.
    pub(super) read_ended: bool,
    /// The protocol has paused reading.
    pub(super) paused: bool,
    /// The full send buffer holds up reading.
    pub(super) full: bool,
    /// Each read and each write is a datagram.
    pub(super) datagrams: bool,
    /// Pending output above which the connection is full. `u32::MAX` turns back-pressure off, since it is more than
    /// [`BUFFERED_BYTES_MAX`]. Twisted: registerProducer, bufferSize.
    pub(super) high_water: u32,
    /// Call `resume_producing` when the send buffer is empty.
    pub(super) resume_wanted: bool,
    /// The connection is on the list of connections to flush.
    pub(super) dirty: bool,
    /// The connection is on the list of connections to read.
    pub(super) ready: bool,
    /// The connector will start again with its first delay.
    pub(super) delay_reset: bool,
    /// How many bytes of `out` have been sent, so that a partial send moves no bytes.
    sent: u32,
    /// Data to send as it is.
    out: Vec<u8>,
    addresses: PackedAddrs,
    cold: Option<Box<Cold>>,
}

impl Transport {
    pub(super) fn new(generation: u32, phase: Phase, addrs: Addrs) -> Transport {
        Transport {
            generation,
            phase,
            sending: Sending::Open,
            readable: false,
            // A new connection has room in the kernel's send buffer; no event is needed to know that.
            writable: phase == Phase::Connected,
            read_closed: false,
            read_ended: false,
            paused: false,
            full: false,
            datagrams: false,
            high_water: BUFFER_SIZE as u32,
            resume_wanted: false,
            dirty: false,
            ready: false,
            delay_reset: false,
            sent: 0,
            out: Vec::new(),
            addresses: addrs.into(),
            cold: None,
        }
    }

    /// The peer's address and ours, as of the time when the connection was made. Twisted: getPeer, getHost.
    pub fn addrs(&self) -> Addrs {
        match &self.addresses {
            PackedAddrs::V4 { peer, local } => {
                Addrs { peer: (*peer).into(), local: (*local).into() }
            }
            PackedAddrs::Other(addrs) => **addrs,
        }
    }

    /// Takes `step` if the table allows it. Returns whether it did.
    pub(super) fn step(&mut self, step: Step) -> bool {
        let next = self.phase.after(step);
        self.phase = next.unwrap_or(self.phase);
        next.is_some()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Marks a connection that was being made as open.
    pub(super) fn made(&mut self, addrs: Addrs, datagrams: bool) {
        self.step(Step::Made);
        self.writable = true;
        self.datagrams = datagrams;
        self.addresses = addrs.into();
    }

    /// Has our side shut down when all data has been sent.
    pub(super) fn end_sending(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Ending;
        }
    }

    /// Notes that all data has been sent. Returns whether the caller must shut our side down now.
    pub(super) fn all_sent(&mut self) -> bool {
        let ends = self.sending == Sending::Ending;
        if ends {
            self.sending = Sending::Ended;
        }
        ends
    }

    pub(super) fn has_ended_sending(&self) -> bool {
        self.sending == Sending::Ended
    }

    /// Whether both sides have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.read_ended && self.has_ended_sending()
    }

    /// The connector that made this connection, if we made it.
    pub(super) fn connector(&self) -> Option<ConnectorId> {
        self.cold.as_ref()?.connector
    }

    pub(super) fn set_connector(&mut self, connector: ConnectorId) {
        self.cold().connector = Some(connector);
    }

    /// Sets the reason for the close; the default is ConnectionDone.
    pub(super) fn set_reason(&mut self, why: CloseReason) {
        self.cold().reason = Some(why);
    }

    pub(super) fn take_reason(&mut self) -> Option<CloseReason> {
        self.cold.as_mut()?.reason.take()
    }

    /// Whether the connection has a deadline now.
    pub(super) fn has_deadline(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.deadline.is_some())
    }

    /// Sets the timer of the deadline; returns the previous one.
    pub(super) fn set_deadline(&mut self, timer: TimerId) -> Option<TimerId> {
        self.cold().deadline.replace(timer)
    }

    /// Begins to linger, for at most `most` more bytes of input. Returns false if it lingers already or cannot.
    pub(super) fn begin_linger(&mut self, most: usize) -> bool {
        let begins = self.step(Step::Linger);
        if begins {
            self.end_sending();
            self.cold().linger_bytes = most;
        }
        begins
    }

    /// Counts `count` more bytes of input. Returns whether the connection may go on lingering.
    pub(super) fn may_linger(&mut self, count: usize) -> bool {
        let left = self.cold().linger_bytes.checked_sub(count);
        self.cold().linger_bytes = left.unwrap_or(0);
        left.is_some()
    }

    pub(super) fn take_deadline(&mut self) -> Option<TimerId> {
        self.cold.as_mut()?.deadline.take()
    }

    fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// Bytes written and not yet sent. For a filtered connection this counts plain and encoded bytes.
    #[inline]
    pub fn pending(&self) -> usize {
        self.unsent_bytes() + self.filtered().map_or(0, |filtered| filtered.plain.len())
    }

    /// Bytes that can be sent without encoding.
    #[inline]
    pub(super) fn unsent_bytes(&self) -> usize {
        self.out.len() - self.sent as usize
    }

    #[inline]
    fn filtered(&self) -> Option<&Filtered> {
        self.cold.as_ref()?.filtered.as_ref()
    }

    fn filtered_mut(&mut self) -> Option<&mut Filtered> {
        self.cold.as_mut()?.filtered.as_mut()
    }

    /// Makes the protocol encode all data before it is sent, also what the factory has written.
    pub(super) fn begin_filtering(&mut self) {
        let plain = std::mem::take(&mut self.out);
        self.cold().filtered = Some(Filtered { plain, ..Filtered::default() });
    }

    /// The certificate chain that the peer of a filtered connection has presented and proved to own: its own
    /// certificate first, each as DER. Empty if the filter requested none. Twisted: getPeerCertificate.
    pub fn peer_certificates(&self) -> &[Vec<u8>] {
        self.filtered().and_then(|filtered| filtered.peer_certificates.as_deref()).unwrap_or(&[])
    }

    /// Whether the connection is open, and its filter has not noted yet which certificates the peer has presented.
    pub fn is_shaking_hands(&self) -> bool {
        let is_unproved = |filtered: &Filtered| filtered.peer_certificates.is_none();
        self.is_connected() && self.filtered().is_some_and(is_unproved)
    }

    pub(super) fn note_peer_certificates(&mut self, shown: Vec<Vec<u8>>) {
        if let Some(filtered) = self.filtered_mut() {
            filtered.peer_certificates = Some(shown);
        }
    }

    /// The plain data to encode and the buffer to encode it into; `None` without a filter.
    pub(super) fn filtering(&mut self) -> Option<(&mut Vec<u8>, &mut Vec<u8>)> {
        let filtered = self.cold.as_mut()?.filtered.as_mut()?;
        Some((&mut filtered.plain, &mut self.out))
    }

    /// Takes the plain buffer, if all of its data has been encoded.
    pub(super) fn take_encoded(&mut self) -> Option<Vec<u8>> {
        let plain = &mut self.filtered_mut()?.plain;
        plain.is_empty().then(|| std::mem::take(plain))
    }

    /// Whether the reactor may deliver input to the protocol now: the connection is open, and neither the protocol nor
    /// a full send buffer holds up reading.
    #[inline]
    pub fn is_delivering(&self) -> bool {
        self.phase == Phase::Connected && !self.paused && !self.full
    }

    /// Whether pending output has exceeded the high-water mark and is not all sent yet.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the connection is open and accepts writes. Twisted: `connected and not disconnecting`.
    #[inline]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected && self.sending == Sending::Open
    }

    /// Whether the reactor should read the connection when it is readable.
    pub(super) fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Lingering => true,
            Phase::Connected => !self.paused && !self.full && !self.read_ended,
            Phase::Disconnecting | Phase::Lost => false,
        }
    }

    /// The buffer that writes append to.
    #[inline]
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        match self.cold.as_mut().and_then(|cold| cold.filtered.as_mut()) {
            Some(filtered) => &mut filtered.plain,
            None => &mut self.out,
        }
    }

    /// The next bytes to send: at most `most`.
    pub(crate) fn unsent(&self, most: usize) -> &[u8] {
        let sent = self.sent as usize;
        &self.out[sent..self.out.len().min(sent.saturating_add(most))]
    }

    /// Notes that `count` bytes were sent. If no unsent bytes are left, returns the buffer, so that an idle connection
    /// holds none.
    pub(super) fn sent(&mut self, count: usize) -> Option<Vec<u8>> {
        let sent = self.sent as usize + count;
        debug_assert!(sent <= self.out.len());
        if sent == self.out.len() {
            return Some(self.take_out());
        }
        // The rest moves only when it is no longer than what has been sent since the last move, so moving costs no more
        // than sending, however small the pieces. (Twisted copies the rest after each send, issue #12742.)
        let moves = sent >= BUFFER_SIZE && sent >= self.out.len() / 2;
        if moves {
            self.out.drain(..sent);
        }
        self.sent = if moves { 0 } else { sent as u32 };
        None
    }

    /// Takes the send buffer with its contents, sent or not.
    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport() -> Transport {
        let any = "127.0.0.1:1".parse().unwrap();
        Transport::new(1, Phase::Connected, Addrs { peer: any, local: any })
    }

    #[test]
    fn what_is_sent_in_any_pieces_is_what_was_written() {
        let data: Vec<u8> = (0..300_000_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for piece in [1_usize, 7, 1_000, 65_535, 65_536, 131_072, 300_000] {
            let mut transport = transport();
            transport.out().extend_from_slice(&data);
            let mut sent = Vec::new();
            while transport.pending() > 0 {
                let chunk = transport.unsent(piece).to_vec();
                sent.extend_from_slice(&chunk);
                transport.sent(chunk.len());
            }
            assert!(sent == data, "in pieces of {piece}");
        }
    }

    /// Compares `Phase::after` with the table at the head of this file.
    #[test]
    fn every_step_from_every_phase_is_as_the_table_says() {
        use Phase::*;
        let phases = [Connecting, Connected, Disconnecting, Lingering, Lost];
        let steps = [Step::Made, Step::Lose, Step::Linger, Step::End];
        let table = include_str!("transport.rs").lines().filter(|line| line.starts_with("//! | "));
        let rows: Vec<Vec<&str>> =
            table.skip(1).map(|row| row[3..].split('|').map(str::trim).collect()).collect();
        assert_eq!(rows.len(), phases.len());
        for (phase, row) in phases.iter().zip(rows) {
            assert_eq!(row[1], format!("{phase:?}"));
            for (step, cell) in steps.iter().zip(&row[2..]) {
                let next = phase.after(*step).map_or(String::new(), |next| format!("{next:?}"));
                assert_eq!(next, *cell, "{phase:?}, {step:?}");
            }
        }
    }

    #[test]
    fn our_side_ends_once_and_only_when_all_is_sent() {
        let mut transport = transport();
        assert!(!transport.all_sent() && !transport.has_ended_sending());
        transport.end_sending();
        assert!(!transport.is_connected() && !transport.has_ended_sending());
        assert!(transport.all_sent() && transport.has_ended_sending());
        transport.end_sending();
        assert!(!transport.all_sent() && transport.has_ended_sending() && !transport.has_ended());
        transport.read_ended = true;
        assert!(transport.has_ended());
    }

    #[test]
    fn a_drained_transport_gives_its_buffer_back() {
        let mut transport = transport();
        transport.out().extend_from_slice(b"AT");
        assert_eq!(transport.sent(2).unwrap(), b"AT");
        assert_eq!(transport.out().capacity(), 0);
    }

    #[test]
    fn an_idle_connection_is_a_small_thing() {
        assert!(size_of::<Transport>() <= 80, "{}", size_of::<Transport>());
    }
}
