//! One end of one connection: what the kernel keeps for a socket, and what it says about it.
//!
//! Writing fills `unsent`; the window, which is what the peer still has room for, lets it out as
//! segments; reading empties `received` and gives the peer its window back. So a peer that does not
//! read stops the writer, after both windows.
//!
//! Ends and resets are the kernel's, as observed on Linux:
//!
//! * The first write after the peer's close succeeds. It is answered with a reset, and the next one
//!   fails.
//! * After a reset what had arrived can still be read. Then one call is told ECONNRESET, reads give
//!   0 and writes EPIPE. After a clean end a reset is heard by writing only.
//! * Who closes with unread input resets the connection, and what he had not sent is lost.

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
    /// None while it waits to be accepted, and when it was closed and has still to send.
    pub(super) id: Option<ConnId>,
    /// The handshake is over.
    pub(super) established: bool,
    /// On the list of those of which there is something to tell.
    pub(super) armed: bool,
    closed: bool,
    /// Written, and not sent because the peer has no room.
    unsent: VecDeque<u8>,
    window: usize,
    /// Written, and not read by the peer as far as it has said: what is unsent, and what is under way.
    pub(super) unread: usize,
    /// A write took less than it was given: an edge is owed.
    write_blocked: bool,
    ending: bool,
    ended: bool,
    received: VecDeque<u8>,
    /// The peer has ended its side.
    peer_ended: bool,
    /// The connection was reset, or refused.
    broken: bool,
    /// What the next call is told, once.
    error: Option<Errno>,
}

/// What an event would say now: epoll looks at the socket when it is asked, not when it is woken.
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

    /// What became of connecting: None is not decided yet.
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
        // A ring buffer lies in two pieces at most.
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

    /// Ends what we send, after all that was written.
    pub(super) fn shutdown(&mut self, queue: &mut EventQueue) -> io::Result<()> {
        if self.broken || !self.established {
            return Err(Errno::NOTCONN.into());
        }
        self.ending = true;
        self.pump(queue);
        Ok(())
    }

    /// Closes as a program does with shutdown and close.
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

    /// Whether nothing is left to be done for a closed end.
    pub(super) fn is_over(&self) -> bool {
        self.closed && (self.broken || self.ended)
    }

    /// Takes what has arrived. Says whether there is something new to tell.
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
                // A segment of an older connection between the same two addresses may come late.
                self.unread = self.unread.saturating_sub(count);
                self.pump(queue);
                return self.owes_writable(queue);
            }
            // A retransmitted question that was answered already.
            SegmentKind::Syn => return false,
            // Of no stream: they go elsewhere.
            SegmentKind::Datagram(_) | SegmentKind::Unreachable => return false,
        }
        true
    }

    /// Whether an edge is owed because of a short write, and can be given. It is owed once.
    pub(super) fn owes_writable(&mut self, queue: &EventQueue) -> bool {
        let owed = self.write_blocked && self.room(queue) > 0;
        self.write_blocked &= !owed;
        owed
    }

    /// The network has lost the connection, or it was never made.
    pub(super) fn failed(&mut self, why: Errno) {
        self.broken = true;
        self.unsent.clear();
        self.error = Some(why);
    }

    /// Sends what the peer has room for, and the end behind it.
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
        // The window may have been made narrower than what it holds.
        queue.options.send_window_bytes.saturating_sub(self.unsent.len())
    }
}
