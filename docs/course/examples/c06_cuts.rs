//! Cuts twelve bytes in every possible way, and feeds each way to a protocol of lines.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::StringTransport;
use herd_reactor::{Context, Flow, Protocol};
use std::collections::BTreeSet;

/// Three lines: one ends with CR LF, one with LF, and one with the stream.
const TEXT: &[u8] = b"GET\r\nPUT\nBYE";

/// The lines that were received.
type Lines = (Vec<String>,);

struct Collect;

impl LineProtocol<Lines> for Collect {
    fn line_received(&mut self, cx: &mut Context<'_, Lines>, line: &[u8]) -> Flow<Mode> {
        cx.state.0.push(String::from_utf8_lossy(line).into_owned());
        Ok(Mode::Lines)
    }
}

/// The lines that arrive if the text is cut before byte `n` where bit `n` of `cuts` is set.
fn lines(cuts: u32) -> Flow<Vec<String>> {
    let mut transport = StringTransport::new((Vec::new(),));
    let mut receiver = LineReceiver::new(Collect, LineLimits::default());
    let mut start = 0;
    for end in (1..=TEXT.len()).filter(|&at| cuts >> at & 1 == 1 || at == TEXT.len()) {
        receiver.data_received(&mut transport.context(), &TEXT[start..end])?;
        start = end;
    }
    receiver.read_connection_lost(&mut transport.context())?;
    Ok(transport.state.0)
}

fn main() -> Flow {
    // There is nothing to cut before byte 0.
    let ways: Vec<u32> = (0..1 << TEXT.len()).step_by(2).collect();
    let results = ways.iter().map(|&cuts| lines(cuts)).collect::<Flow<BTreeSet<_>>>()?;
    println!("{} ways to cut; different results: {}", ways.len(), results.len());
    println!("not cut at all: {:?}", lines(0)?);
    println!("cut everywhere: {:?}", lines(u32::MAX)?);
    Ok(())
}
