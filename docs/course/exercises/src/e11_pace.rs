//! Exercise 11 (chapter 7, 2 points): one source, copied to all readers at the pace of the slowest.
//!
//! A room has one source and some readers, each with a port of its own. What the source sends is copied to every
//! reader. This room writes whatever arrives. If a reader does not read, its send buffer grows until memory is full
//! (here, until the reactor aborts the connection).
//!
//! Stop reading the source while more than `HIGH_WATER` bytes wait for any reader; then TCP stops the source.
//!
//! The promises:
//!
//! * No reader has more than `HIGH_WATER` bytes waiting, and those of one read of the source.
//! * Every reader gets every byte that arrived after it connected, and the room goes on when the slow reader reads
//!   again, or is gone.
//! * When the source is gone, each reader gets the rest and then the end.
//! * Without a reader the bytes are dropped.

use herd_reactor::{CloseReason, ConnId, Context, Flow, Protocol, Shared};

/// Stop reading the source when a reader has more bytes waiting.
pub const HIGH_WATER: usize = 16_384;

/// The shared state.
#[derive(Default)]
pub struct Room {
    readers: Vec<ConnId>,
}

impl Shared for Room {
    type Message = ();
}

/// The protocol of the source.
#[derive(Default)]
pub struct Source;

impl Protocol<Room> for Source {
    fn data_received(&mut self, cx: &mut Context<'_, Room>, data: &[u8]) -> Flow {
        for reader in &cx.state.readers {
            cx.core.write(*reader, data);
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Room>, _why: &CloseReason) {
        cx.state.readers.iter().for_each(|reader| cx.core.lose_connection(*reader));
    }
}

/// The protocol of a reader.
#[derive(Default)]
pub struct Reader;

impl Protocol<Room> for Reader {
    fn connection_made(&mut self, cx: &mut Context<'_, Room>) -> Flow {
        cx.state.readers.push(cx.id);
        Ok(())
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Room>, _data: &[u8]) -> Flow {
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Room>, _why: &CloseReason) {
        cx.state.readers.retain(|reader| *reader != cx.id);
    }
}
