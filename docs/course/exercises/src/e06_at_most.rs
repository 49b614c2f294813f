//! Exercise 6 (chapter 4, 1 point): a factory that limits how many connections are open.
//!
//! A port's factory builds a protocol for each connection that it accepts. All protocols of a reactor share one
//! state, here a `Count`. This factory lets everybody in.
//!
//! The promises:
//!
//! * A connection that is let in is greeted by `you are N of MOST`, where N counts it and the connections that are
//!   open already.
//! * When `MOST` connections are open, a further one gets the line `full`, and is closed.
//! * A connection that ends in any way makes room for another one.

use herd_reactor::{Context, Factory, Flow, Protocol};
use std::net::SocketAddr;

/// The most open connections.
pub const MOST: usize = 3;

/// The number of open connections, as the shared state.
pub type Count = (usize,);

/// The factory of the port.
pub struct AtMost;

impl Factory<Count> for AtMost {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Count>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Count>>> {
        Some(Box::new(Guest))
    }
}

/// The protocol of a connection that was let in.
pub struct Guest;

impl Protocol<Count> for Guest {
    fn connection_made(&mut self, cx: &mut Context<'_, Count>) -> Flow {
        cx.write(format!("you are 1 of {MOST}\n").as_bytes());
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Count>, _data: &[u8]) -> Flow {
        Ok(())
    }
}
