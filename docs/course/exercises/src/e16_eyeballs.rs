//! Exercise 16 (chapter 9, 3 points): a client that races two addresses ("happy eyeballs", RFC 8305).
//!
//! A server has two addresses, and one of them may not work from here. `race` is given both, the better one first.
//! This client tries only the first one; if packets to it vanish, the user waits for half a minute.
//!
//! Try the first address; if it has not answered within `HEAD_START`, try the second one as well, and take the one
//! that connects first.
//!
//! The promises:
//!
//! * An address that works and answers in time is the only one that is tried.
//! * If the first attempt fails, the second begins at once; otherwise after `HEAD_START`.
//! * The connection that is made first wins: `winner` is its address, and it sends `hello`.
//! * The other attempt ends; if it was made as well, it is closed and sends nothing.
//! * If both fail, `has_failed` is true.
//! * No timer is left.

use herd_reactor::{ClientFactory, ConnectOptions, Context, Core, Factory, Flow, Protocol, Shared};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the first address is tried alone.
pub const HEAD_START: Duration = Duration::from_millis(250);

/// The shared state.
#[derive(Default)]
pub struct Race {
    /// The address of the connection that was made first.
    pub winner: Option<SocketAddr>,
    /// Both attempts have failed.
    pub has_failed: bool,
}

impl Shared for Race {
    type Message = ();
}

/// Begins to connect to one of two addresses.
pub fn race(core: &mut Core<Race>, _race: &mut Race, addresses: [SocketAddr; 2]) {
    core.connect_tcp(addresses[0], ConnectOptions::default(), Box::new(Attempt));
}

/// The factory of one attempt.
struct Attempt;

impl Factory<Race> for Attempt {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Race>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Race>>> {
        cx.state.winner = Some(peer);
        Some(Box::new(Hello))
    }
}

impl ClientFactory<Race> for Attempt {}

/// The protocol of the connection that has won.
struct Hello;

impl Protocol<Race> for Hello {
    fn connection_made(&mut self, cx: &mut Context<'_, Race>) -> Flow {
        cx.write(b"hello\n");
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Race>, _data: &[u8]) -> Flow {
        Ok(())
    }
}
