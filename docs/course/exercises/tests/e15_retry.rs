//! The test of exercise 15.

use crate::support::*;
use exercises::e15_retry::{Calls, call};
use herd_reactor::{Context, Flow, Protocol, factory};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How a server treats each connection.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Closes it.
    Dies,
    /// Greets, and closes it.
    GreetsAndDies,
    /// Greets.
    Greets,
}

struct Server(Manner);

impl Protocol<Calls> for Server {
    fn connection_made(&mut self, cx: &mut Context<'_, Calls>) -> Flow {
        if self.0 != Manner::Dies {
            cx.write(b"hello\n");
        }
        if self.0 != Manner::Greets {
            cx.lose_connection();
        }
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Calls>, _data: &[u8]) -> Flow {
        Ok(())
    }
}

/// The times at which a server got a connection.
type Accepted = Rc<RefCell<Vec<Duration>>>;

fn listen(stage: &mut Stage<Calls>, address: SocketAddr, manner: Manner) -> Accepted {
    let accepted = Accepted::default();
    let noted = Rc::clone(&accepted);
    let server = factory(move |cx: &mut Context<'_, Calls>, _| {
        noted.borrow_mut().push(Duration::from_nanos(cx.now().as_nanos()));
        Some(Server(manner))
    });
    stage.reactor.listen_tcp(address, server).unwrap();
    accepted
}

fn begin(stage: &mut Stage<Calls>) -> SocketAddr {
    let address = port(4000);
    let (calls, core) = stage.reactor.parts();
    call(core, calls, address);
    address
}

/// The times in seconds, rounded to tenths.
fn seconds(accepted: &Accepted) -> Vec<f64> {
    accepted.borrow().iter().map(|at| (at.as_secs_f64() * 10.0).round() / 10.0).collect()
}

#[test]
fn a_server_that_is_up_is_called_once() {
    let mut stage = Stage::new(Calls::default());
    let accepted = listen(&mut stage, port(4000), Manner::Greets);
    begin(&mut stage);
    stage.pass(60 * SECOND);
    assert_eq!(seconds(&accepted), [0.0], "when the server got a connection, in seconds");
    assert!(!stage.state().has_given_up, "the client has given up, although it is connected");
}

#[test]
fn a_server_that_comes_up_later_is_found() {
    let mut stage = Stage::new(Calls::default());
    let address = begin(&mut stage);
    stage.pass(5 * SECOND);
    let accepted = listen(&mut stage, address, Manner::Greets);
    stage.pass(60 * SECOND);
    // The attempts at 0, 1 and 3 s failed.
    assert_eq!(seconds(&accepted), [7.0], "a server that is up from 5 s on got its connection");
}

#[test]
fn after_five_failures_the_client_gives_up() {
    let mut stage = Stage::new(Calls::default());
    let address = begin(&mut stage);
    stage.pass(14 * SECOND);
    assert!(!stage.state().has_given_up, "given up before the fifth attempt, at 15 s");
    stage.pass(2 * SECOND);
    assert!(stage.state().has_given_up, "nobody listens, and the fifth attempt has failed");
    let accepted = listen(&mut stage, address, Manner::Greets);
    stage.pass(600 * SECOND);
    assert_eq!(seconds(&accepted), [0.0; 0], "an attempt began after the client had given up");
}

#[test]
fn a_connection_without_a_greeting_is_a_failure() {
    let mut stage = Stage::new(Calls::default());
    let accepted = listen(&mut stage, port(4000), Manner::Dies);
    begin(&mut stage);
    stage.pass(600 * SECOND);
    let times = seconds(&accepted);
    assert_eq!(times, [0.0, 1.0, 3.0, 7.0, 15.0], "connections to a server that dies at once");
    assert!(stage.state().has_given_up, "the client has not given up");
}

#[test]
fn after_a_greeting_the_row_starts_again() {
    let mut stage = Stage::new(Calls::default());
    let address = begin(&mut stage);
    stage.pass(5 * SECOND);
    let accepted = listen(&mut stage, address, Manner::GreetsAndDies);
    stage.pass(9 * SECOND);
    let times = seconds(&accepted);
    let expected: Vec<f64> = (7..14).map(f64::from).collect();
    assert_eq!(times, expected, "connections to a server that greets and dies, from 5 s on");
    assert!(!stage.state().has_given_up, "given up, although each connection was greeted");
}
