//! Sockets for datagrams: what the kernel keeps for them, and what it says about them.
//!
//! In: what is sent to a socket's address. Out: one datagram for each read, whole or cut to the
//! reader's buffer, in the order of arrival. Nothing here is promised: what finds no room is
//! dropped without a word, as the kernel drops it.
//!
//! As observed on Linux: a socket that is connected hears its peer alone, and can always be written
//! to. Where nobody takes datagrams, the sender is told ECONNREFUSED, once, by whichever call comes
//! next; that call does nothing else, and what had arrived can still be read after it.

use super::endpoint::Level;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// The longest datagram: what 16 bits of length leave behind the headers of IPv4 and UDP.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// A datagram that has arrived at a port which a test plays
/// ([`MemoryIo::play_datagrams`](super::MemoryIo::play_datagrams)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// The port that was played.
    pub to: SocketAddr,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// A socket for datagrams to and from one address.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    pub(super) host: SocketAddr,
    pub(super) peer: SocketAddr,
    /// On the list of those of which there is something to tell.
    pub(super) armed: bool,
    received: VecDeque<Vec<u8>>,
    /// Nobody is there: the next call is told.
    refused: bool,
}

impl DatagramSocket {
    pub(super) fn new(host: SocketAddr, peer: SocketAddr) -> DatagramSocket {
        DatagramSocket { host, peer, armed: false, received: VecDeque::new(), refused: false }
    }

    pub(super) fn level(&self) -> Level {
        Level {
            readable: !self.received.is_empty() || self.refused,
            writable: true,
            read_closed: self.refused,
            failed: self.refused,
        }
    }

    /// Takes a datagram, if it has room in `window` bytes for it. Says whether it has.
    pub(super) fn arrived(&mut self, bytes: Vec<u8>, window: usize) -> bool {
        let held: usize = self.received.iter().map(Vec::len).sum();
        let has_room = held + bytes.len() <= window;
        if has_room {
            self.received.push_back(bytes);
        }
        has_room
    }

    pub(super) fn refused(&mut self) {
        self.refused = true;
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.take_error()?;
        let datagram = self.received.pop_front().ok_or(ErrorKind::WouldBlock)?;
        // What has no room is lost.
        let count = datagram.len().min(into.len());
        into[..count].copy_from_slice(&datagram[..count]);
        Ok(count)
    }

    /// Whether `data` can be sent now.
    pub(super) fn check_write(&mut self, data: &[u8]) -> io::Result<()> {
        self.take_error()?;
        match data.len() > DATAGRAM_BYTES_MAX {
            true => Err(Errno::MSGSIZE.into()),
            false => Ok(()),
        }
    }

    fn take_error(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.refused) {
            true => Err(Errno::CONNREFUSED.into()),
            false => Ok(()),
        }
    }
}

/// A port for datagrams from anybody, played by the test.
#[derive(Debug)]
pub(super) struct PlayedPort {
    pub(super) host: SocketAddr,
    pub(super) received: VecDeque<Datagram>,
}

impl PlayedPort {
    /// As a socket's.
    pub(super) fn arrived(&mut self, datagram: Datagram, window: usize) -> bool {
        let held: usize = self.received.iter().map(|waiting| waiting.bytes.len()).sum();
        let has_room = held + datagram.bytes.len() <= window;
        if has_room {
            self.received.push_back(datagram);
        }
        has_room
    }
}
