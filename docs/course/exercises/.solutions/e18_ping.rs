//! A solution of exercise 18.

use herd_reactor::{Context, Flow, Protocol};

/// The longest payload of a frame.
pub const PAYLOAD_BYTES: usize = 1_000;

const FIN: u8 = 0x80;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Echoes frames, and answers pings.
#[derive(Default)]
pub struct WebSocket {
    kept: Vec<u8>,
}

impl Protocol<()> for WebSocket {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        self.kept.extend_from_slice(data);
        // After a close frame the transport delivers nothing.
        while cx.transport().is_some_and(|transport| transport.is_delivering()) {
            match parse(&self.kept) {
                Ok(None) => break,
                Ok(Some((first, payload, length))) => {
                    self.kept.drain(..length);
                    match first & 0x0f {
                        CLOSE => close(cx, &payload),
                        PING => cx.write(&frame(FIN | PONG, &payload)),
                        PONG => {}
                        _ => cx.write(&frame(first, &payload)),
                    }
                }
                Err(code) => close(cx, &code.to_be_bytes()),
            }
        }
        Ok(())
    }
}

fn close(cx: &mut Context<'_, ()>, payload: &[u8]) {
    cx.write(&frame(FIN | CLOSE, payload));
    cx.lose_connection();
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length => frame.extend([126, (length >> 8) as u8, length as u8]),
    }
    frame.extend_from_slice(payload);
    frame
}

/// Parses the first frame: its first byte, its payload, and its length in bytes; `None` if it is not complete. An error
/// is the code of the close frame.
fn parse(data: &[u8]) -> Result<Option<(u8, Vec<u8>, usize)>, u16> {
    let &[first, second, ref rest @ ..] = data else { return Ok(None) };
    let (is_control, short) = (first & 8 != 0, second & 0x7f);
    let is_known = first & 0x70 == 0 && matches!(first & 0x0f, 0..=2 | CLOSE..=PONG);
    if !is_known || second & 0x80 == 0 || (is_control && (first & FIN == 0 || short > 125)) {
        return Err(1002);
    }
    let (length, rest) = match (short, rest) {
        (127, _) => return Err(1009),
        (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        (126, _) => return Ok(None),
        _ => (usize::from(short), rest),
    };
    if length > PAYLOAD_BYTES {
        return Err(1009);
    }
    let Some((mask, rest)) = rest.split_at_checked(4) else { return Ok(None) };
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some((first, payload, data.len() - rest.len() + length)))
}
