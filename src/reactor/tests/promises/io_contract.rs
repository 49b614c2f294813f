//! The contract of [`Io`], one test per promise, on the kernel and in memory. The reactor relies on each promise. Where
//! the two would differ, the kernel is right.

use herd_reactor::io::{Close, Event};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, Io, MioIo, PortId};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

const PORT: PortId = PortId::new(0);
const SERVER: ConnId = ConnId::new(1, 2);
const CLIENT: ConnId = ConnId::new(0, 1);

/// The flags reported for one connection: readable, writable, read_closed.
type Told = (bool, bool, bool);

/// An `Io` with a listening port.
struct Bench<I> {
    io: I,
    address: SocketAddr,
}

impl<I: Io> Bench<I> {
    fn new(mut io: I) -> Bench<I> {
        let address = io.listen(PORT, "127.0.0.1:0".parse().unwrap()).unwrap();
        Bench { io, address }
    }

    /// An `Io` with both ends of one connection, whose events so far have been taken.
    fn pair(io: I) -> Bench<I> {
        let mut bench = Bench::new(io);
        bench.io.connect(CLIENT, bench.address).unwrap();
        bench.told();
        bench.io.accept(PORT, SERVER).unwrap();
        let ends = bench.io.connected(CLIENT).unwrap().unwrap();
        assert_eq!(ends.peer, bench.address);
        bench.told();
        bench
    }

    /// Polls until there are no more events, and returns their flags; `None` is the port.
    fn told(&mut self) -> BTreeMap<Option<ConnId>, Told> {
        let mut told: BTreeMap<Option<ConnId>, Told> = BTreeMap::new();
        let mut events = Vec::new();
        loop {
            self.io.poll(Some(Duration::from_millis(5)), &mut events).unwrap();
            if events.is_empty() {
                return told;
            }
            for event in events.drain(..) {
                match event {
                    Event::Acceptable(_) => drop(told.insert(None, (true, false, false))),
                    Event::Ready { id, readable, writable, read_closed, .. } => {
                        let all = told.entry(Some(id)).or_default();
                        *all = (all.0 | readable, all.1 | writable, all.2 | read_closed);
                    }
                    Event::Signal(_) => unreachable!("none was sent"),
                }
            }
        }
    }

    fn told_of(&mut self, id: ConnId) -> Option<Told> {
        self.told().remove(&Some(id))
    }

    fn read(&mut self, id: ConnId) -> io::Result<Vec<u8>> {
        let mut into = vec![0; 65_536];
        let count = self.io.read(id, &mut into)?;
        into.truncate(count);
        Ok(into)
    }

    fn read_kind(&mut self, id: ConnId) -> ErrorKind {
        self.read(id).unwrap_err().kind()
    }
}

fn a_fresh_connection_is_told_writable<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    bench.io.connect(CLIENT, bench.address).unwrap();
    let told = bench.told();
    assert_eq!(told[&None], (true, false, false), "the port");
    assert_eq!(told[&Some(CLIENT)], (false, true, false));
    bench.io.accept(PORT, SERVER).unwrap();
    assert_eq!(bench.told_of(SERVER), Some((false, true, false)));
    assert_eq!(bench.told_of(SERVER), None);
}

fn unread_data_is_told_once_and_more_data_again<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.write(CLIENT, b"one").unwrap();
    assert_eq!(bench.told_of(SERVER), Some((true, true, false)));
    assert_eq!(bench.told_of(SERVER), None);
    bench.io.write(CLIENT, b"two").unwrap();
    assert_eq!(bench.told_of(SERVER), Some((true, true, false)));
    assert_eq!(bench.read(SERVER).unwrap(), b"onetwo");
    assert_eq!(bench.read_kind(SERVER), ErrorKind::WouldBlock);
}

fn data_that_came_before_the_accept_is_told_after_it<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    bench.io.connect(CLIENT, bench.address).unwrap();
    bench.told();
    bench.io.write(CLIENT, b"early").unwrap();
    assert_eq!(bench.told_of(SERVER), None);
    bench.io.accept(PORT, SERVER).unwrap();
    assert_eq!(bench.told_of(SERVER), Some((true, true, false)));
    assert_eq!(bench.read(SERVER).unwrap(), b"early");
}

fn data_and_the_end_are_one_event<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.write(CLIENT, b"last").unwrap();
    bench.io.shutdown(CLIENT).unwrap();
    assert_eq!(bench.told_of(SERVER), Some((true, true, true)));
    assert_eq!(bench.read(SERVER).unwrap(), b"last");
    assert_eq!(bench.told_of(SERVER), None);
    assert_eq!(bench.read(SERVER).unwrap(), b"");
    // The other direction is open.
    bench.io.write(SERVER, b"answer").unwrap();
    assert_eq!(bench.told_of(CLIENT), Some((true, true, false)));
    assert_eq!(bench.read(CLIENT).unwrap(), b"answer");
    assert_eq!(bench.io.write(CLIENT, b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn an_end_after_the_data_is_an_event_of_its_own<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.write(CLIENT, b"last").unwrap();
    bench.told();
    assert_eq!(bench.read(SERVER).unwrap(), b"last");
    bench.io.close(CLIENT, Close::Orderly);
    assert_eq!(bench.told_of(SERVER), Some((true, true, true)));
    assert_eq!(bench.read(SERVER).unwrap(), b"");
}

fn a_reset_is_told_once_and_then_the_end<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.close(CLIENT, Close::Reset);
    assert_eq!(bench.told_of(SERVER), Some((true, true, true)));
    assert_eq!(bench.read_kind(SERVER), ErrorKind::ConnectionReset);
    assert_eq!(bench.read(SERVER).unwrap(), b"");
    assert_eq!(bench.io.write(SERVER, b"?").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn what_came_before_a_reset_can_be_read<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.write(CLIENT, b"before").unwrap();
    bench.told();
    bench.io.close(CLIENT, Close::Reset);
    bench.told();
    assert_eq!(bench.read(SERVER).unwrap(), b"before");
    assert_eq!(bench.read_kind(SERVER), ErrorKind::ConnectionReset);
}

fn the_first_write_after_the_peers_close_succeeds_and_the_next_does_not<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.close(CLIENT, Close::Orderly);
    bench.told();
    assert_eq!(bench.read(SERVER).unwrap(), b"");
    assert_eq!(bench.io.write(SERVER, b"one").unwrap(), 3);
    assert_eq!(bench.told_of(SERVER), Some((true, true, true)));
    assert_eq!(bench.io.write(SERVER, b"two").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn data_written_before_a_close_with_unread_input_is_still_read<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    bench.io.write(CLIENT, b"unread").unwrap();
    bench.told();
    bench.io.write(SERVER, b"answer").unwrap();
    bench.io.close(SERVER, Close::Orderly);
    assert_eq!(bench.told_of(CLIENT), Some((true, true, true)));
    assert_eq!(bench.read(CLIENT).unwrap(), b"answer");
    assert_eq!(bench.read(CLIENT).unwrap(), b"");
    assert_eq!(bench.io.write(CLIENT, b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn a_refused_connection_is_told_and_the_error_given_once<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    bench.io.unlisten(PORT);
    bench.io.connect(CLIENT, bench.address).unwrap();
    assert_eq!(bench.told_of(CLIENT), Some((true, true, true)));
    let error = bench.io.connected(CLIENT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

fn a_full_peer_blocks_writing_until_it_has_read<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    let data: Vec<u8> = (0..16_000_000_u32).map(|i| (i >> 7) as u8).collect();
    let mut sent = 0;
    let mut received = Vec::new();
    loop {
        match bench.io.write(CLIENT, &data[sent..]) {
            Ok(count) => sent += count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(sent < data.len());
    let told = bench.told();
    assert_ne!(told.get(&Some(CLIENT)).map(|told| told.1), Some(true), "the peer is full");
    assert_eq!(told[&Some(SERVER)], (true, true, false));
    while received.len() < sent {
        match bench.read(SERVER) {
            Ok(bytes) => received.extend(bytes),
            Err(_) => drop(bench.told()),
        }
    }
    bench.told();
    assert!(bench.io.write(CLIENT, &data[sent..]).unwrap() > 0);
    assert!(received == data[..sent]);
}

fn room_is_told_once_after_a_write_was_short<I: Io>(io: I) {
    let mut bench = Bench::pair(io);
    let piece = vec![0; 1_000_000];
    while bench.io.write(CLIENT, &piece).is_ok() {}
    bench.told();
    let mut writable = 0;
    while bench.read(SERVER).is_ok() {
        writable += u32::from(bench.told_of(CLIENT).is_some_and(|told| told.1));
    }
    assert_eq!(writable, 1);
}

fn connections_that_wait_are_told_once_and_the_next_again<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    for key in 0..5 {
        bench.io.connect(ConnId::new(key, 1), bench.address).unwrap();
    }
    assert!(bench.told().contains_key(&None));
    bench.io.accept(PORT, ConnId::new(10, 1)).unwrap();
    assert!(!bench.told().contains_key(&None));
    bench.io.connect(ConnId::new(5, 1), bench.address).unwrap();
    assert!(bench.told().contains_key(&None));
    for key in 11..16 {
        bench.io.accept(PORT, ConnId::new(key, 1)).unwrap();
    }
    let error = bench.io.accept(PORT, ConnId::new(16, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn connections_that_wait_at_a_closing_port_are_reset<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    bench.io.connect(CLIENT, bench.address).unwrap();
    bench.told();
    bench.io.connected(CLIENT).unwrap().unwrap();
    bench.io.unlisten(PORT);
    assert_eq!(bench.told_of(CLIENT), Some((true, true, true)));
    assert_eq!(bench.read_kind(CLIENT), ErrorKind::ConnectionReset);
}

fn shedding_empties_the_queue<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    for key in 0..5 {
        bench.io.connect(ConnId::new(key, 1), bench.address).unwrap();
    }
    bench.told();
    assert_eq!(bench.io.shed(PORT, 3).unwrap(), 3);
    assert_eq!(bench.io.shed(PORT, 3).unwrap(), 2);
    bench.told();
    assert_eq!(bench.read(ConnId::new(4, 1)).unwrap(), b"");
}

fn an_address_in_use_is_an_error<I: Io>(io: I) {
    let mut bench = Bench::new(io);
    let error = bench.io.listen(PortId::new(1), bench.address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

fn a_poll_sleeps_no_shorter_than_it_is_told<I: Io>(mut io: I) {
    let (moment, wall) = (io.now(), io.wall());
    let mut events = Vec::new();
    io.poll(Some(Duration::from_millis(20)), &mut events).unwrap();
    assert!(events.is_empty());
    assert!(io.now() - moment >= Duration::from_millis(20));
    assert!(io.wall().0 >= wall.0 + 19_000_000, "{:?} {wall:?}", io.wall());
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod kernel {
            use super::*;
            $(#[test] fn $name() { super::$name(MioIo::new(&[]).unwrap()); })*
        }
        mod memory {
            use super::*;
            $(#[test] fn $name() { super::$name(MemoryIo::new(MemoryOptions::calm(1))); })*
        }
    };
}

on_both! {
    a_fresh_connection_is_told_writable
    unread_data_is_told_once_and_more_data_again
    data_that_came_before_the_accept_is_told_after_it
    data_and_the_end_are_one_event
    an_end_after_the_data_is_an_event_of_its_own
    a_reset_is_told_once_and_then_the_end
    what_came_before_a_reset_can_be_read
    the_first_write_after_the_peers_close_succeeds_and_the_next_does_not
    data_written_before_a_close_with_unread_input_is_still_read
    a_refused_connection_is_told_and_the_error_given_once
    a_full_peer_blocks_writing_until_it_has_read
    room_is_told_once_after_a_write_was_short
    connections_that_wait_are_told_once_and_the_next_again
    connections_that_wait_at_a_closing_port_are_reset
    shedding_empties_the_queue
    an_address_in_use_is_an_error
    a_poll_sleeps_no_shorter_than_it_is_told
}
