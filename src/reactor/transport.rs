//! One connection as the reactor remembers it: a send buffer and a few facts. Plain memory, no
//! socket: the socket lives in the [`Io`](crate::Io), under the same id.
//!
//! Twisted keeps the same facts in internet/abstract.py, FileDescriptor, as booleans that exclude
//! each other in ways one must know. Here states that exclude each other are one enum, [`Phase`] of the
//! connection and [`Sending`] of our side of it, and every change of either is made in this file.
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
//! An empty cell changes nothing. `Sending` goes from Open to Ending when our side is to be shut, and to Ended
//! when all is sent and the kernel has been told. A connection of which our side is Ended and the peer's end
//! has been read can bring nothing more, and is lost.
//!
//! Readiness is remembered here, because the kernel speaks of it only once: `readable` and
//! `writable` are set by events and cleared by the call that finds nothing more (Sozu calls the
//! pair of knowledge and wish Readiness). To pause reading is therefore a flag, not a system call.

use crate::io::Addrs;
use crate::{CloseReason, ConnectorId, TimerId};
use std::net::{SocketAddr, SocketAddrV4};

/// Pending output above which a connection usually counts as full; full means strictly more.
/// Twisted: FileDescriptor.bufferSize.
pub const BUFFER_SIZE: usize = 65_536;

/// Pending output above which a connection is beyond help and is aborted. Whoever produces stops
/// at a mark of his own; this one bounds what happens if he forgot.
/// Twisted has no limit.
pub const BUFFERED_BYTES_MAX: usize = 64 << 20;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being made by us; no protocol yet.
    Connecting,
    /// It stands.
    Connected,
    /// Nothing is read any more; closed when all is sent. Twisted: `disconnecting`.
    Disconnecting,
    /// All is sent, then our side is shut; what still comes is read and thrown away until the peer
    /// ends, or has sent more than it may.
    Lingering,
    /// Over; `connection_lost` is on its way.
    Lost,
}

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Made,
    Lose,
    Linger,
    End,
}

impl Phase {
    /// The table at the head of this file.
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

/// Our side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// To be shut when all is sent.
    Ending,
    /// Shut: the peer reads our end.
    Ended,
}

/// Both ends, as they are kept. A server has as many of these as it has clients, nearly all of them of
/// IPv4; so those lie here in 12 bytes, where two `SocketAddr` take 64, and the others apart.
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

/// What a connection has besides whose protocol is a filter.
#[derive(Debug, Default)]
struct Filtered {
    /// What was written, and is to be encoded before it is sent.
    plain: Vec<u8>,
    /// What the peer has shown of itself.
    peer_certificates: Vec<Vec<u8>>,
}

/// What few connections have, or for a short time: those that we have made, that have a filter, or that
/// are about to end. It stands apart, so that an idle client's connection costs a word for all of it.
#[derive(Debug, Default)]
struct Cold {
    /// There where the protocol is a filter.
    filtered: Option<Filtered>,
    connector: Option<ConnectorId>,
    /// Why it is being closed, when that is not ConnectionDone.
    reason: Option<CloseReason>,
    /// The deadline of connecting, of flushing before the close, or of lingering.
    deadline: Option<TimerId>,
    /// Of a lingering one: how much may still come.
    linger_bytes: usize,
}

/// One connection: its send buffer, its two ends, and where it stands.
///
/// Memory: 80 bytes, and the send buffer while something waits to be sent.
#[derive(Debug)]
pub struct Transport {
    pub(super) generation: u32,
    phase: Phase,
    sending: Sending,
    /// What the kernel has said, until a call disproves it.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has ended or failed: there is an end to be read, and no event will tell.
    pub(super) read_closed: bool,
    /// The end has been read.
    pub(super) read_ended: bool,
    /// Who holds up reading: the protocol, or the send buffer.
    pub(super) paused: bool,
    pub(super) full: bool,
    /// Each read and each write is a datagram.
    pub(super) datagrams: bool,
    /// Pending output above which reading is held up; `u32::MAX` is beyond [`BUFFERED_BYTES_MAX`], so
    /// never. Twisted: registerProducer, bufferSize.
    pub(super) high_water: u32,
    /// Call `resume_producing` when the send buffer is empty.
    pub(super) resume_wanted: bool,
    /// On the list of connections to be flushed; on the list of those to be read.
    pub(super) dirty: bool,
    pub(super) ready: bool,
    /// The connector may begin again with its first delay.
    pub(super) delay_reset: bool,
    /// How many bytes of `out` have been sent: sending moves no bytes.
    sent: u32,
    /// What is to be sent as it stands.
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
            // A fresh connection has an empty send buffer: the kernel need not tell us.
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

    /// Both ends, as they were when the connection was made. Twisted: getPeer, getHost.
    pub fn addrs(&self) -> Addrs {
        match &self.addresses {
            PackedAddrs::V4 { peer, local } => {
                Addrs { peer: (*peer).into(), local: (*local).into() }
            }
            PackedAddrs::Other(addrs) => **addrs,
        }
    }

    /// Takes `step`, if the table has it. Returns whether it has.
    pub(super) fn step(&mut self, step: Step) -> bool {
        let next = self.phase.after(step);
        self.phase = next.unwrap_or(self.phase);
        next.is_some()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The connection that was being made is open.
    pub(super) fn made(&mut self, addrs: Addrs, datagrams: bool) {
        self.step(Step::Made);
        self.writable = true;
        self.datagrams = datagrams;
        self.addresses = addrs.into();
    }

    /// Our side is to be shut when all is sent.
    pub(super) fn end_sending(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Ending;
        }
    }

    /// All is sent. Returns whether our side is to be shut now.
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

    /// Whether both sides have ended: nothing can come or be sent any more.
    pub(super) fn has_ended(&self) -> bool {
        self.read_ended && self.has_ended_sending()
    }

    /// Who made it, if we did.
    pub(super) fn connector(&self) -> Option<ConnectorId> {
        self.cold.as_ref()?.connector
    }

    pub(super) fn set_connector(&mut self, connector: ConnectorId) {
        self.cold().connector = Some(connector);
    }

    /// Why it will have been closed; unless told, ConnectionDone.
    pub(super) fn set_reason(&mut self, why: CloseReason) {
        self.cold().reason = Some(why);
    }

    pub(super) fn take_reason(&mut self) -> Option<CloseReason> {
        self.cold.as_mut()?.reason.take()
    }

    /// Whether there is a deadline for what it is doing.
    pub(super) fn has_deadline(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.deadline.is_some())
    }

    /// Notes the timer of the deadline; returns the one before it.
    pub(super) fn set_deadline(&mut self, timer: TimerId) -> Option<TimerId> {
        self.cold().deadline.replace(timer)
    }

    /// From now on it lingers, while no more than `most` bytes come. Returns whether that begins now.
    pub(super) fn begin_linger(&mut self, most: usize) -> bool {
        let begins = self.step(Step::Linger);
        if begins {
            self.end_sending();
            self.cold().linger_bytes = most;
        }
        begins
    }

    /// Whether it may linger on, now that `count` bytes more have come.
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

    /// Bytes written and not yet sent; of a filtered connection, those that wait in either form.
    #[inline]
    pub fn pending(&self) -> usize {
        self.unsent_bytes() + self.filtered().map_or(0, |filtered| filtered.plain.len())
    }

    /// Bytes that can be sent as they stand.
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

    /// From now on what is written is encoded by the protocol before it is sent.
    pub(super) fn begin_filtering(&mut self) {
        self.cold().filtered.get_or_insert_default();
    }

    /// The certificates that the peer of a filtered connection has shown and proved to own, its own
    /// first, each as DER; none where it was not asked for any. Twisted: getPeerCertificate.
    pub fn peer_certificates(&self) -> &[Vec<u8>] {
        self.filtered().map_or(&[], |filtered| &filtered.peer_certificates)
    }

    pub(super) fn note_peer_certificates(&mut self, shown: Vec<Vec<u8>>) {
        if let Some(filtered) = self.filtered_mut() {
            filtered.peer_certificates = shown;
        }
    }

    /// What is to be encoded, and where to; nothing if the protocol is no filter.
    pub(super) fn filtering(&mut self) -> Option<(&mut Vec<u8>, &mut Vec<u8>)> {
        let filtered = self.cold.as_mut()?.filtered.as_mut()?;
        Some((&mut filtered.plain, &mut self.out))
    }

    /// Takes away the buffer of what was written, if all of it has been encoded.
    pub(super) fn take_encoded(&mut self) -> Option<Vec<u8>> {
        let plain = &mut self.filtered_mut()?.plain;
        plain.is_empty().then(|| std::mem::take(plain))
    }

    /// Whether the protocol may be given more input now: the connection stands, and neither the
    /// protocol nor a full send buffer holds it up.
    #[inline]
    pub fn is_delivering(&self) -> bool {
        self.phase == Phase::Connected && !self.paused && !self.full
    }

    /// Whether so much is pending that more should not be written until it has been sent.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether what is written will still be sent, as far as we know.
    /// Twisted: `connected and not disconnecting`.
    #[inline]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected && self.sending == Sending::Open
    }

    /// Whether the reactor has reason to call `read`.
    pub(super) fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Lingering => true,
            Phase::Connected => !self.paused && !self.full && !self.read_ended,
            Phase::Disconnecting | Phase::Lost => false,
        }
    }

    /// The send buffer, for who writes to append to.
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

    /// Notes that `count` bytes were sent. Gives the buffer back, with what it held, when all of it is: an
    /// idle connection holds none.
    pub(super) fn sent(&mut self, count: usize) -> Option<Vec<u8>> {
        let sent = self.sent as usize + count;
        debug_assert!(sent <= self.out.len());
        if sent == self.out.len() {
            return Some(self.take_out());
        }
        // Bytes are moved only when at least as many have been sent since: twice copied at most,
        // however small the pieces (Twisted copies all of the rest each time, issue #12742).
        let moves = sent >= BUFFER_SIZE && sent >= self.out.len() / 2;
        if moves {
            self.out.drain(..sent);
        }
        self.sent = if moves { 0 } else { sent as u32 };
        None
    }

    /// Takes the send buffer away with what it holds, sent or not.
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

    /// The rows and cells of the table at the head of this file.
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
