//! One end of one connection: what the kernel keeps for a TCP socket, and the readiness and errors that it reports.
//!
//! A write fills `unsent`. Segments leave `unsent` as far as the window allows, which is the room that the peer has
//! left. A read empties `received` and opens the peer's window again. So a peer that does not read stops the writer
//! when both windows are full.
//!
//! Ends and resets behave as observed on Linux:
//!
//! * The first write after the peer's close succeeds. The peer answers it with a reset, and the next write fails.
//! * After a reset, data that arrived before can still be read. Then one call returns ECONNRESET; later reads return 0
//!   and writes EPIPE. After a clean end only writes report a reset.
//! * A close with unread input resets the connection, and unsent data is lost.

use super::event_queue::EventQueue;
use super::segment::SegmentKind;
use crate::ConnId;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;

/// One end of one connection.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) host: SocketAddr,
    pub(super) peer: SocketAddr,
    /// The owner; `None` while the end waits to be accepted, and after its close while it still has data to send.
    pub(super) id: Option<ConnId>,
    /// The handshake is over.
    pub(super) established: bool,
    /// The end is on the list of those that the next poll reports.
    pub(super) armed: bool,
    closed: bool,
    /// Data written but not sent, because the peer has no room.
    unsent: VecDeque<u8>,
    window: usize,
    /// Bytes written that the peer has not acknowledged as read: unsent ones, and those under way.
    pub(super) unread: usize,
    /// A write was short, so a writable event must follow.
    write_blocked: bool,
    ending: bool,
    ended: bool,
    received: VecDeque<u8>,
    /// The peer has ended its side.
    peer_ended: bool,
    /// The connection was reset, or refused.
    broken: bool,
    /// The error that the next call returns, once.
    error: Option<Errno>,
}

/// The contents of an event if it were reported now. Like epoll, a poll looks at the socket's present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) read_closed: bool,
    pub(super) failed: bool,
}

impl Endpoint {
    pub(super) fn new(host: SocketAddr, peer: SocketAddr, window: usize) -> Endpoint {
        Endpoint {
            host,
            peer,
            id: None,
            established: false,
            armed: false,
            closed: false,
            unsent: VecDeque::new(),
            window,
            unread: 0,
            write_blocked: false,
            ending: false,
            ended: false,
            received: VecDeque::new(),
            peer_ended: false,
            broken: false,
            error: None,
        }
    }

    pub(super) fn level(&self, queue: &EventQueue) -> Level {
        let room = self.established && self.room(queue) > 0;
        Level {
            readable: !self.received.is_empty() || self.peer_ended || self.broken,
            writable: room || self.ending || self.broken,
            read_closed: self.peer_ended || self.broken,
            failed: self.broken,
        }
    }

    /// The result of connecting; `None` while the attempt is under way.
    pub(super) fn connected(&mut self) -> io::Result<Option<()>> {
        match self.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(self.established.then_some(())),
        }
    }

    pub(super) fn read(&mut self, queue: &mut EventQueue, into: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return match self.error.take() {
                Some(error) => Err(error.into()),
                None if self.peer_ended || self.broken => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let mut count = 0;
        // A VecDeque has at most two slices, and each read takes from the first.
        for _ in 0..2 {
            count += self.received.read(&mut into[count..])?;
        }
        if !self.broken {
            queue.send(self.host, self.peer, SegmentKind::Taken(count));
        }
        Ok(count)
    }

    pub(super) fn write(&mut self, queue: &mut EventQueue, data: &[u8]) -> io::Result<usize> {
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        if self.broken || self.ending {
            return Err(Errno::PIPE.into());
        }
        let range = queue.options.write_bytes.clone();
        let most = queue.within(&range);
        let count = data.len().min(most).min(self.room(queue));
        self.unsent.extend(&data[..count]);
        self.unread += count;
        self.pump(queue);
        self.write_blocked = count < data.len();
        if let Some(id) = self.id.filter(|_| self.write_blocked && self.room(queue) > 0) {
            let at = queue.after_a_gap();
            queue.schedule(at, super::event_queue::Scheduled::Writable(id));
        }
        match count {
            0 if !data.is_empty() => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// Ends this side, after all written data.
    pub(super) fn shutdown(&mut self, queue: &mut EventQueue) -> io::Result<()> {
        if self.broken || !self.established {
            return Err(Errno::NOTCONN.into());
        }
        self.ending = true;
        self.pump(queue);
        Ok(())
    }

    /// Closes this end, as a program does with shutdown and close.
    pub(super) fn close(&mut self, queue: &mut EventQueue) {
        self.id = None;
        self.closed = true;
        if self.broken || !self.established {
            self.broken = true;
            return;
        }
        self.ending = true;
        self.pump(queue);
        if !self.received.is_empty() {
            self.reset(queue);
        }
    }

    /// Ends the connection at once, for both sides.
    pub(super) fn reset(&mut self, queue: &mut EventQueue) {
        if !self.broken && self.established {
            queue.send(self.host, self.peer, SegmentKind::Reset);
        }
        self.id = None;
        self.closed = true;
        self.broken = true;
    }

    /// Whether this end is closed and has nothing left to send.
    pub(super) fn is_over(&self) -> bool {
        self.closed && (self.broken || self.ended)
    }

    /// Takes an arriving segment. Returns whether the next poll must report this end.
    pub(super) fn arrived(&mut self, queue: &mut EventQueue, kind: SegmentKind) -> bool {
        match kind {
            SegmentKind::Accepted => self.established = true,
            SegmentKind::Refused => self.failed(Errno::CONNREFUSED),
            SegmentKind::Data(_) if self.closed => self.reset(queue),
            SegmentKind::Data(bytes) => self.received.extend(bytes),
            SegmentKind::Fin => self.peer_ended = true,
            SegmentKind::Reset if self.peer_ended => self.broken = true,
            SegmentKind::Reset => self.failed(Errno::CONNRESET),
            SegmentKind::Taken(count) => {
                self.window += count;
                // A late segment of an older connection between the same addresses may count more than is unread.
                self.unread = self.unread.saturating_sub(count);
                self.pump(queue);
                return self.owes_writable(queue);
            }
            // A repeated request that has been answered.
            SegmentKind::Syn => return false,
            // Datagrams go to other sockets.
            SegmentKind::Datagram(_) | SegmentKind::Unreachable => return false,
        }
        true
    }

    /// Whether a writable event must follow a short write, and there is room now. Returns true once per short write.
    pub(super) fn owes_writable(&mut self, queue: &EventQueue) -> bool {
        let owed = self.write_blocked && self.room(queue) > 0;
        self.write_blocked &= !owed;
        owed
    }

    /// Ends the connection with an error: the network has reset it, or it was refused.
    pub(super) fn failed(&mut self, why: Errno) {
        self.broken = true;
        self.unsent.clear();
        self.error = Some(why);
    }

    /// Sends as much as the peer has room for, and the end after the last byte.
    fn pump(&mut self, queue: &mut EventQueue) {
        while self.window > 0 && !self.unsent.is_empty() {
            let range = queue.options.arrival_bytes.clone();
            let count = queue.within(&range).min(self.window).min(self.unsent.len());
            self.window -= count;
            let piece = self.unsent.drain(..count).collect();
            queue.send(self.host, self.peer, SegmentKind::Data(piece));
        }
        if self.ending && !self.ended && self.unsent.is_empty() {
            self.ended = true;
            queue.send(self.host, self.peer, SegmentKind::Fin);
        }
    }

    fn room(&self, queue: &EventQueue) -> usize {
        // A test may have made the window smaller than its contents.
        queue.options.send_window_bytes.saturating_sub(self.unsent.len())
    }
}
