//! A solution of exercise 1.

use herd_reactor::{Context, Flow, Protocol};

/// Answers in upper case.
pub struct Upper;

impl Protocol<()> for Upper {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(&data.to_ascii_uppercase());
        Ok(())
    }
}
