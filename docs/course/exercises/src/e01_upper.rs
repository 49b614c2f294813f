//! Exercise 1 (chapter 1, 1 point): an echo server that answers in upper case.
//!
//! The reactor calls `data_received` with the bytes that a client has sent. This protocol sends them back as they
//! are. Make it send them back in upper case.
//!
//! The promises:
//!
//! * Each ASCII letter comes back in upper case, and each other byte comes back unchanged.
//! * It makes no difference how the network cuts the bytes into pieces.

use herd_reactor::{Context, Flow, Protocol};

/// Answers in upper case.
pub struct Upper;

impl Protocol<()> for Upper {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(data);
        Ok(())
    }
}
