//! UDP sockets: what the kernel keeps for each, and the readiness and errors that it reports.
//!
//! In: datagrams sent to a socket's address. Out: one datagram per read, whole or cut to the reader's buffer, in the
//! order of arrival. Delivery is not guaranteed: a datagram that finds no room is dropped silently, as in the kernel.
//!
//! As observed on Linux: a connected socket receives from its peer only, and is always writable. If no socket receives
//! at the peer's address, the sender's next call returns ECONNREFUSED, once, and does nothing else; datagrams that
//! arrived before can be read after it.

use super::endpoint::Level;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// The longest datagram: 65,535 bytes less the headers of IPv4 and UDP.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// A datagram that has arrived at a port played by the test
/// ([`MemoryIo::play_datagrams`](super::MemoryIo::play_datagrams)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's address.
    pub from: SocketAddr,
    /// The address of the played port.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// A UDP socket that is connected to one address.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    pub(super) host: SocketAddr,
    pub(super) peer: SocketAddr,
    /// The socket is on the list of those that the next poll reports.
    pub(super) armed: bool,
    received: VecDeque<Vec<u8>>,
    /// A datagram was refused; the next call returns the error.
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

    /// Keeps a datagram if `window` bytes have room for it. Returns whether it was kept.
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
        // The rest of the datagram is lost.
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

/// A UDP port for datagrams from any address, played by the test.
#[derive(Debug)]
pub(super) struct PlayedPort {
    pub(super) host: SocketAddr,
    pub(super) received: VecDeque<Datagram>,
}

impl PlayedPort {
    /// Keeps a datagram if `window` bytes have room for it. Returns whether it was kept.
    pub(super) fn arrived(&mut self, datagram: Datagram, window: usize) -> bool {
        let held: usize = self.received.iter().map(|waiting| waiting.bytes.len()).sum();
        let has_room = held + datagram.bytes.len() <= window;
        if has_room {
            self.received.push_back(datagram);
        }
        has_room
    }
}
