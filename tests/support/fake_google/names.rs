//! A fake name server: addresses for known names, and faults.
//!
//! A [`Zone`] answers one message with one, or with silence, and knows no socket. Over UDP it is asked by a
//! cluster, for a simulated port, or by the thread of a [`NameServer`]; over TCP in both cases by [`OverTcp`], a
//! protocol of our own reactor.

use super::thread::Thread;
use herd_reactor::{Context, Factory, Flow, Protocol, Shared};
use places_herd::net::dns::Via;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The TTL of all answers, in seconds.
const TTL: u32 = 60;

/// The answer for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The name has these addresses.
    At(Vec<IpAddr>),
    /// The name has these addresses, but over UDP the answer is truncated.
    Truncated(Vec<IpAddr>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server fails (SERVFAIL).
    Failing,
    /// No answer.
    Silent,
}

/// Names and their answers; all other names do not exist. Clones share one zone.
#[derive(Clone, Debug, Default)]
pub struct Zone(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, Naming>,
    queries: [usize; 2],
}

impl Zone {
    /// Sets the answer for `name`.
    pub fn say(&self, name: &str, naming: Naming) {
        self.0.lock().unwrap().names.insert(name.to_owned(), naming);
    }

    /// The number of queries over this transport.
    pub fn queries(&self, via: Via) -> usize {
        self.0.lock().unwrap().queries[way(via)]
    }

    /// The answer to a query; `None` if there is none.
    pub fn answer(&self, via: Via, query: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(query).ok()?;
        let name = packet.questions.first()?.qname.to_string();
        let mut inner = self.0.lock().unwrap();
        inner.queries[way(via)] += 1;
        let naming = inner.names.get(&name).unwrap_or(&Naming::NoSuchName);
        Some(match naming {
            Naming::Truncated(_) if via == Via::Udp => truncated(query),
            Naming::At(addresses) | Naming::Truncated(addresses) => found(query, addresses),
            Naming::NoSuchName => failed(query, RCODE::NameError),
            Naming::Failing => failed(query, RCODE::ServerFailure),
            Naming::Silent => return None,
        })
    }
}

fn way(via: Via) -> usize {
    match via {
        Via::Udp => 0,
        Via::Tcp => 1,
    }
}

/// An answer with the records that `fill` adds.
pub fn answer(query: &[u8], fill: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
    let mut packet = Packet::parse(query).unwrap().into_reply();
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    fill(&mut packet);
    packet.build_bytes_vec_compressed().unwrap()
}

/// The addresses of the requested family.
pub fn found(query: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    answer(query, |packet| {
        let question = &packet.questions[0];
        let asked_for = |address: &&IpAddr| match question.qtype {
            QTYPE::TYPE(TYPE::A) => address.is_ipv4(),
            QTYPE::TYPE(TYPE::AAAA) => address.is_ipv6(),
            _ => false,
        };
        let records = addresses.iter().filter(asked_for).map(|address| {
            let data = match *address {
                IpAddr::V4(address) => RData::A(A { address: address.into() }),
                IpAddr::V6(address) => RData::AAAA(AAAA { address: address.into() }),
            };
            ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data)
        });
        packet.answers = records.collect();
    })
}

/// An answer that says that it is truncated.
pub fn truncated(query: &[u8]) -> Vec<u8> {
    answer(query, |packet| packet.set_flags(PacketFlag::TRUNCATION))
}

/// An error response.
pub fn failed(query: &[u8], why: RCODE) -> Vec<u8> {
    answer(query, |packet| *packet.rcode_mut() = why)
}

/// A message as sent over TCP.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// Builds connections that query a zone, on any reactor.
#[derive(Clone, Debug)]
pub struct OverTcp(pub Zone);

impl<S: Shared> Factory<S> for OverTcp {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        Some(Box::new(Asked { zone: self.0.clone(), received: Vec::new() }))
    }
}

#[derive(Debug)]
struct Asked {
    zone: Zone,
    received: Vec<u8>,
}

impl<S: Shared> Protocol<S> for Asked {
    fn name(&self) -> &'static str {
        "Names"
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.received.extend_from_slice(data);
        while let Some((length, rest)) = self.received.split_first_chunk() {
            let Some(query) = rest.get(..usize::from(u16::from_be_bytes(*length))) else { break };
            let answer = self.zone.answer(Via::Tcp, query);
            let taken = length.len() + query.len();
            cx.write(&answer.map_or(Vec::new(), |answer| framed(&answer)));
            self.received.drain(..taken);
        }
        Ok(())
    }
}

/// A name server with one zone on loopback, over UDP and TCP on one port. Dropping this value ends the server.
pub struct NameServer {
    udp: Arc<UdpSocket>,
    answering: Option<JoinHandle<()>>,
    _tcp: Thread,
}

impl NameServer {
    pub fn new(zone: &Zone) -> NameServer {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (tcp, udp) = (0..100)
            .find_map(|_| {
                let tcp = Thread::new(any, OverTcp(zone.clone()));
                let udp = UdpSocket::bind(tcp.address).ok()?;
                Some((tcp, Arc::new(udp)))
            })
            .expect("a port that is free for both");
        let answering = thread::spawn({
            let (udp, zone) = (Arc::clone(&udp), zone.clone());
            move || answer_all(&udp, &zone)
        });
        NameServer { udp, answering: Some(answering), _tcp: tcp }
    }

    pub fn address(&self) -> SocketAddr {
        self.udp.local_addr().unwrap()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // A datagram from its own port is the signal to end.
        let sent = self.udp.send_to(&[], self.address());
        if let (Ok(_), Some(answering)) = (sent, self.answering.take()) {
            let _ = answering.join();
        }
    }
}

/// Answers queries until the socket receives a datagram from itself.
fn answer_all(udp: &UdpSocket, zone: &Zone) {
    let own = udp.local_addr().unwrap();
    let mut query = [0; 600];
    loop {
        match udp.recv_from(&mut query) {
            Ok((_, from)) if from == own => return,
            Ok((length, from)) => {
                if let Some(answer) = zone.answer(Via::Udp, &query[..length]) {
                    // The client may have closed its socket.
                    let _ = udp.send_to(&answer, from);
                }
            }
            // The error about a closed client comes with the next call.
            Err(_) => {}
        }
    }
}
