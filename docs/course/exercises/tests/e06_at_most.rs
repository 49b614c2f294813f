//! The test of exercise 6.

use crate::support::*;
use exercises::e06_at_most::{AtMost, Count, MOST};
use std::net::SocketAddr;

fn stage() -> (Stage<Count>, SocketAddr) {
    let mut stage = Stage::new((0,));
    let address = stage.listen(Box::new(AtMost));
    (stage, address)
}

fn greeting(number: usize) -> String {
    format!("you are {number} of {MOST}\n")
}

#[test]
fn each_connection_is_greeted_by_its_number() {
    let (mut stage, address) = stage();
    for number in 1..=MOST {
        let client = stage.connect(address);
        assert_eq!(client.text(), greeting(number), "connection {number}");
    }
}

#[test]
fn when_it_is_full_a_further_connection_is_told_so_and_closed() {
    let (mut stage, address) = stage();
    let guests: Vec<Client> = (0..MOST).map(|_| stage.connect(address)).collect();
    for _ in 0..3 {
        let late = stage.connect(address);
        stage.pass(SECOND);
        assert_eq!(late.text(), "full\n", "{MOST} connections are open");
        assert!(late.was_closed_in_order(), "a connection that got \"full\" stays open");
    }
    assert!(guests.iter().all(|it| it.lost().is_none()), "a connection that was let in was closed");
}

#[test]
fn a_connection_that_ends_makes_room_for_one_and_no_more() {
    let (mut stage, address) = stage();
    let mut guests: Vec<Client> = (0..MOST).map(|_| stage.connect(address)).collect();
    for round in 0..4 {
        let leaving = guests.remove(0);
        let how = if round % 2 == 0 { "close" } else { "reset" };
        match round % 2 {
            0 => stage.close(&leaving),
            _ => stage.abort(&leaving),
        }
        stage.pass(SECOND);
        let next = stage.connect(address);
        assert_eq!(next.text(), greeting(MOST), "after the {how} of one of {MOST} connections");
        guests.push(next);
        let late = stage.connect(address);
        stage.pass(SECOND);
        assert_eq!(late.text(), "full\n", "{MOST} connections are open again");
    }
}
