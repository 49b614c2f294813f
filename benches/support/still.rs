//! An `Io` without a kernel: scripted input arrives at once, and output is counted and discarded. So the time of a turn
//! is the time of the reactor and its protocols alone.

use herd_reactor::io::{Addrs, Close, Event};
use herd_reactor::{ConnId, Io, Moment, PortId, UnixNanos};
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Ports are numbered in the order in which they were opened, connections in the order in which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct Still {
    ports: Vec<PortId>,
    calling: Vec<PortId>,
    connections: Vec<ConnId>,
    /// Connections and their input for the coming turn, at most 64 KiB each.
    said: Vec<(ConnId, Vec<u8>)>,
    /// The number of bytes sent, over all connections.
    pub(crate) sent: u64,
    pub(crate) wall: UnixNanos,
}

impl Still {
    /// Makes a connection to the port with this number.
    pub(crate) fn call(&mut self, port: usize) {
        self.calling.push(self.ports[port]);
    }

    /// Has the connection with this number send `bytes` in the coming turn.
    pub(crate) fn say(&mut self, caller: usize, bytes: Vec<u8>) {
        self.said.push((self.connections[caller], bytes));
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

impl Io for Still {
    fn now(&mut self) -> Moment {
        Moment::default()
    }

    fn wall(&mut self) -> UnixNanos {
        self.wall
    }

    fn random(&mut self) -> u64 {
        7
    }

    fn poll(&mut self, _: Option<Duration>, events: &mut Vec<Event>) -> Result<()> {
        events.extend(self.calling.iter().map(|port| Event::Acceptable(*port)));
        events.extend(self.said.iter().map(|(id, _)| Event::Ready {
            id: *id,
            readable: true,
            writable: true,
            read_closed: false,
            failed: false,
        }));
        Ok(())
    }

    fn listen(&mut self, port: PortId, address: SocketAddr) -> Result<SocketAddr> {
        self.ports.push(port);
        Ok(address)
    }

    /// No connection is ever made to a path.
    fn listen_unix(&mut self, _: PortId, _: &Path) -> Result<()> {
        Ok(())
    }

    fn unlisten(&mut self, _: PortId) {}

    fn accept(&mut self, port: PortId, id: ConnId) -> Result<Addrs> {
        let caller = self.calling.iter().position(|called| *called == port);
        self.calling.remove(caller.ok_or_else(|| Error::from(ErrorKind::WouldBlock))?);
        self.connections.push(id);
        Ok(Addrs { peer: NOWHERE, local: NOWHERE })
    }

    fn shed(&mut self, _: PortId, _: usize) -> std::result::Result<usize, usize> {
        Ok(0)
    }

    fn connect(&mut self, _: ConnId, _: SocketAddr) -> Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn connected(&mut self, _: ConnId) -> Result<Option<Addrs>> {
        Ok(None)
    }

    fn connect_udp(&mut self, _: ConnId, _: SocketAddr) -> Result<Addrs> {
        Err(ErrorKind::Unsupported.into())
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> Result<usize> {
        let speaker = self.said.iter().position(|(speaker, _)| *speaker == id);
        let speaker = speaker.ok_or_else(|| Error::from(ErrorKind::WouldBlock))?;
        let (_, bytes) = self.said.swap_remove(speaker);
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write(&mut self, _: ConnId, data: &[u8]) -> Result<usize> {
        self.sent += data.len() as u64;
        Ok(data.len())
    }

    fn shutdown(&mut self, _: ConnId) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, _: ConnId, _: Close) {}
}
