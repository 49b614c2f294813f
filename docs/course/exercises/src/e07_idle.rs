//! Exercise 7 (chapter 5, 1 point): an idle timeout.
//!
//! This echo server keeps each connection for ever, even if its client vanished long ago. Close a connection whose
//! client has sent nothing for `IDLE`, counted from its last byte, or from the beginning.
//!
//! The promises:
//!
//! * A silent client reads the end of the stream after `IDLE`, and not earlier.
//! * A client that sends something from time to time stays.
//! * There is at most one timer per connection at any time, and none is left when the connection is gone.

use herd_reactor::{Context, Flow, Protocol};
use std::time::Duration;

/// How long a client may be silent.
pub const IDLE: Duration = Duration::from_secs(10);

/// Echoes, and closes an idle connection.
#[derive(Default)]
pub struct Echo;

impl Protocol<()> for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(data);
        Ok(())
    }
}
