//! A solution of exercise 6.

use herd_reactor::{CloseReason, Context, Factory, Flow, Protocol};
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
        cx: &mut Context<'_, Count>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Count>>> {
        match cx.state.0 < MOST {
            true => Some(Box::new(Guest)),
            false => Some(Box::new(Full)),
        }
    }
}

/// The protocol of a connection that was let in.
pub struct Guest;

impl Protocol<Count> for Guest {
    fn connection_made(&mut self, cx: &mut Context<'_, Count>) -> Flow {
        cx.state.0 += 1;
        let number = cx.state.0;
        cx.write(format!("you are {number} of {MOST}\n").as_bytes());
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Count>, _data: &[u8]) -> Flow {
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Count>, _why: &CloseReason) {
        cx.state.0 -= 1;
    }
}

/// The protocol of a connection that was not let in. It is not counted.
struct Full;

impl Protocol<Count> for Full {
    fn connection_made(&mut self, cx: &mut Context<'_, Count>) -> Flow {
        cx.write(b"full\n");
        cx.lose_connection();
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Count>, _data: &[u8]) -> Flow {
        Ok(())
    }
}
