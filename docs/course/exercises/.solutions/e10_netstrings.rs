//! A solution of exercise 10.

use herd_reactor::{Context, Flow, Protocol};

/// The longest payload.
pub const PAYLOAD_BYTES: usize = 1_000;

/// Sends each netstring back.
#[derive(Default)]
pub struct Netstrings {
    kept: Vec<u8>,
}

impl Protocol<()> for Netstrings {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        self.kept.extend_from_slice(data);
        let mut rest = &self.kept[..];
        while let Some((payload, after)) = parse(rest)? {
            cx.write(format!("{}:", payload.len()).as_bytes());
            cx.write(payload);
            cx.write(b",");
            rest = after;
        }
        self.kept = rest.to_vec();
        Ok(())
    }
}

/// Parses the first netstring: its payload, and what follows it. `None` if it is not complete.
fn parse(data: &[u8]) -> Flow<Option<(&[u8], &[u8])>> {
    let mut length = 0;
    for (at, byte) in data.iter().enumerate() {
        match byte {
            // A zero is the whole length.
            b'0'..=b'9' if at == 0 || data[0] != b'0' => {
                length = length * 10 + usize::from(byte - b'0');
                if length > PAYLOAD_BYTES {
                    return Err("a netstring is too long".into());
                }
            }
            b':' if at > 0 => {
                let rest = &data[at + 1..];
                return match rest.get(length) {
                    None => Ok(None),
                    Some(b',') => Ok(Some((&rest[..length], &rest[length + 1..]))),
                    Some(_) => Err("a netstring does not end with a comma".into()),
                };
            }
            _ => return Err("a netstring has no valid length".into()),
        }
    }
    Ok(None)
}
