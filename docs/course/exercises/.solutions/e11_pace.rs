//! A solution of exercise 11.

use herd_reactor::{CloseReason, ConnId, Context, Core, Flow, Protocol, Shared};

/// Stop reading the source when a reader has more bytes waiting.
pub const HIGH_WATER: usize = 16_384;

/// The shared state.
#[derive(Default)]
pub struct Room {
    source: Option<ConnId>,
    readers: Vec<ConnId>,
}

impl Shared for Room {
    type Message = ();
}

impl Room {
    /// Reads the source, or not, as the fullest reader allows.
    fn set_pace(&self, core: &mut Core<Room>) {
        let Some(source) = self.source else { return };
        let full = |core: &Core<Room>, id| core.pending(id) > HIGH_WATER;
        match self.readers.iter().find(|id| full(core, **id)) {
            Some(reader) => {
                core.pause_producing(source);
                // `resume_producing` of this reader asks again.
                core.resume_when_drained(*reader);
            }
            None => core.resume_producing(source),
        }
    }
}

/// The protocol of the source.
#[derive(Default)]
pub struct Source;

impl Protocol<Room> for Source {
    fn connection_made(&mut self, cx: &mut Context<'_, Room>) -> Flow {
        cx.state.source = Some(cx.id);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Room>, data: &[u8]) -> Flow {
        for reader in &cx.state.readers {
            cx.core.write(*reader, data);
        }
        cx.state.set_pace(cx.core);
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

    fn resume_producing(&mut self, cx: &mut Context<'_, Room>) -> Flow {
        cx.state.set_pace(cx.core);
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Room>, _why: &CloseReason) {
        cx.state.readers.retain(|reader| *reader != cx.id);
        cx.state.set_pace(cx.core);
    }
}
