//! An echo server, the yardstick: it does nothing but the system calls.

use super::{Checked, Expected, Protocol, unlike};
use crate::options::Options;
use crate::reports::{Next, OPERANDS_BYTES};

const LINE_BYTES: usize = 6 + OPERANDS_BYTES + 1;

/// Sends the herd's IAMAT lines, and expects them back.
#[derive(Debug)]
pub(crate) struct Echo;

impl Protocol for Echo {
    const KINDS: &'static [&'static str] = &["echo"];

    fn new(_: &Options) -> Echo {
        Echo
    }

    #[inline]
    fn compose(&self, _: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        super::herd::write_iamat(operands, out);
        0
    }

    #[inline]
    fn check(
        &mut self,
        _: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Checked, &'static str> {
        let Some(line) = received.first_chunk::<LINE_BYTES>() else {
            return unlike(received, b'\n', "a line is shorter than what was sent");
        };
        let (name, rest) = line.split_at(6);
        let same = name == b"IAMAT " && rest[..OPERANDS_BYTES] == expected.operands;
        if same && line[LINE_BYTES - 1] == b'\n' {
            return Ok(Checked::Reply(LINE_BYTES));
        }
        Err("these are not the bytes that were sent")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{asked, right};
    use super::*;
    use crate::options::Mix;

    #[test]
    fn what_was_sent_must_come_back() {
        let (mut echo, sent, expected) = asked::<Echo>(Mix { iamat: 1, whatsat: 0 }, 2);
        assert_eq!(sent[0].len(), LINE_BYTES);
        right(&mut echo, sent[0].as_bytes(), &expected[0]);
        assert!(echo.check(0, sent[1].as_bytes(), &expected[0]).is_err());
        assert!(echo.check(0, b"short\n", &expected[0]).is_err());
    }
}
