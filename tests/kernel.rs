//! What only the kernel can show: signals, and a connection that nobody answers.

#[macro_use]
mod common;

use common::{MS, Scene, Stage, actor, kernel, once};
use places_herd::reactor::{ConnectOptions, Limits, MioIo, Signal};
use places_herd::testing::Heard;
use rustix::process::{getpid, kill_process};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};

#[test]
fn sigterm_wakes_the_loop_and_is_told() {
    let io = MioIo::new(&[Signal::Terminate]).unwrap();
    let mut stage = Stage::over(io, Limits::default());
    stage.pair(actor("server"), actor("client"));
    stage.core().call_later(MS, |_: &mut Scene, _| {
        kill_process(getpid(), rustix::process::Signal::TERM).unwrap();
    });
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), ["Terminate"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

#[test]
fn a_connection_that_nobody_answers_times_out() {
    // A backlog of none takes one connection; the next SYN is dropped.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let mut stage = kernel(Limits::default());
    let options = ConnectOptions { timeout: 50 * MS, reconnect: None };
    let began = stage.core().now();
    stage.connect_by(address, options, once("connector", actor("client")));
    stage.until_heard("connector", &Heard::Failed("TimeoutError", None));
    assert!(stage.core().now() - began >= 50 * MS);
    assert_eq!(stage.core().connections(), 0);
}
