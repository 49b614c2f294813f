//! The network's side of [`MemoryIo`]: arriving segments, and the sockets that they are for.

use super::{Armed, MemoryIo};
use crate::testing::datagrams::Datagram;
use crate::testing::endpoint::Endpoint;
use crate::testing::event_queue::Scheduled;
use crate::testing::options::NetworkFault;
use crate::testing::segment::{Segment, SegmentKind};
use crate::{ConnId, PortId};
use std::time::Duration;

/// How long a connection that found a port's backlog full waits before its next attempt. Linux: TCP_TIMEOUT_INIT.
const RETRANSMIT: Duration = Duration::from_secs(1);

impl MemoryIo {
    /// Carries out every event that is due by now.
    pub(super) fn deliver(&mut self) {
        while let Some(due) = self.queue.next_due() {
            match due {
                Scheduled::Segment(segment) => self.arrived(segment),
                Scheduled::Writable(id) => {
                    if let Some(key) = self.key(id)
                        && self.endpoints[key].owes_writable(&self.queue)
                    {
                        self.arm(key);
                    }
                }
            }
        }
    }

    fn arrived(&mut self, segment: Segment) {
        let syn = segment.kind == SegmentKind::Syn;
        let datagram = segment.kind.is_datagram();
        let fault = [segment.to, segment.from].iter().find_map(|server| self.faults.get(server));
        match fault.copied() {
            Some(NetworkFault::Blackhole | NetworkFault::Partition) if datagram => return,
            Some(NetworkFault::Refuse) if datagram && self.faults.contains_key(&segment.to) => {
                return self.find_nobody(&segment);
            }
            Some(NetworkFault::Refuse) if syn => {
                return self.answer(&segment, SegmentKind::Refused);
            }
            Some(NetworkFault::Blackhole | NetworkFault::Partition) if syn => return,
            Some(NetworkFault::Freeze | NetworkFault::Partition) => return self.held.push(segment),
            _ if datagram => return self.datagram_arrived(segment),
            _ => {}
        }
        match (self.by_ends.get(&(segment.to, segment.from)).copied(), &segment.kind) {
            (Some(key), _) => {
                if self.endpoints[key].arrived(&mut self.queue, segment.kind) {
                    self.arm(key);
                }
                self.bury(key);
            }
            (None, SegmentKind::Syn) => self.asked(segment),
            // The connection no longer exists.
            (None, SegmentKind::Data(_) | SegmentKind::Accepted) => {
                self.answer(&segment, SegmentKind::Reset);
            }
            (None, _) => {}
        }
    }

    /// Handles a request to connect.
    fn asked(&mut self, segment: Segment) {
        let failures = self.queue.options.connect_failures;
        let backlog = self.queue.options.backlog;
        let mut ports = self.ports.iter_mut().enumerate();
        let port = ports.find_map(|(key, port)| {
            port.as_mut().filter(|port| port.is_at(segment.to)).map(|port| (key, port))
        });
        let Some((key, port)) = port.filter(|_| !self.queue.happens(failures)) else {
            return self.answer(&segment, SegmentKind::Refused);
        };
        if port.waiting.len() >= backlog {
            let again = self.queue.now + RETRANSMIT;
            return self.queue.schedule(again, Scheduled::Segment(segment));
        }
        let window = self.queue.options.receive_window_bytes;
        let mut endpoint = Endpoint::new(segment.to, segment.from, window);
        endpoint.established = true;
        let waiting = self.endpoints.insert(endpoint);
        port.waiting.push_back(waiting);
        self.by_ends.insert((segment.to, segment.from), waiting);
        self.armed.push_back(Armed::Port(PortId::new(key as u32)));
        self.answer(&segment, SegmentKind::Accepted);
    }

    /// Delivers a datagram to the socket that is connected to its sender, or else to a played port.
    fn datagram_arrived(&mut self, segment: Segment) {
        let window = self.queue.options.receive_window_bytes;
        let mut sockets = self.datagrams.iter_mut();
        let socket = sockets.find(|(_, s)| (s.host, s.peer) == (segment.to, segment.from));
        if let Some((id, socket)) = socket {
            let told = match segment.kind {
                SegmentKind::Datagram(bytes) => socket.arrived(bytes, window),
                _ => {
                    socket.refused();
                    true
                }
            };
            let id = *id;
            if told {
                self.arm_datagrams(id);
            }
            return;
        }
        let Some(port) = self.played.iter_mut().find(|port| port.host == segment.to) else {
            return self.find_nobody(&segment);
        };
        if let SegmentKind::Datagram(bytes) = segment.kind {
            let datagram = Datagram { from: segment.from, to: segment.to, bytes };
            self.played_heard |= port.arrived(datagram, window);
        }
    }

    /// Answers a datagram that no socket receives, as ICMP does.
    fn find_nobody(&mut self, segment: &Segment) {
        if let SegmentKind::Datagram(_) = segment.kind {
            self.queue.send_datagram(segment.to, segment.from, SegmentKind::Unreachable);
        }
    }

    fn answer(&mut self, segment: &Segment, kind: SegmentKind) {
        self.queue.send(segment.to, segment.from, kind);
    }

    /// Has the next poll report an endpoint, if it has an owner.
    pub(super) fn arm(&mut self, key: usize) {
        let endpoint = &mut self.endpoints[key];
        if endpoint.id.is_some() && !endpoint.armed {
            endpoint.armed = true;
            self.armed.push_back(Armed::Endpoint(key));
        }
    }

    /// Has the next poll report a UDP socket.
    pub(super) fn arm_datagrams(&mut self, id: ConnId) {
        if let Some(socket) = self.datagrams.get_mut(&id)
            && !socket.armed
        {
            socket.armed = true;
            self.armed.push_back(Armed::Datagrams(id));
        }
    }

    /// Removes a closed endpoint that has nothing left to send.
    pub(super) fn bury(&mut self, key: usize) {
        if self.endpoints[key].is_over() {
            let Endpoint { host, peer, .. } = self.endpoints.remove(key);
            self.by_ends.remove(&(host, peer));
        }
    }
}
