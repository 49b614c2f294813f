//! NATS in verbose mode, in which the server answers every PUB: the cost of a message that is forwarded, not stored.

use super::{Checked, Expected, Protocol, unlike};
use crate::options::Options;
use crate::reports::{Next, OPERANDS_BYTES};

/// Sends `PUB herd` with the operands of an IAMAT.
#[derive(Debug)]
pub(crate) struct Nats;

impl Protocol for Nats {
    const KINDS: &'static [&'static str] = &["PUB"];
    const GREETING: &'static [u8] = b"CONNECT {\"verbose\":true,\"pedantic\":false}\r\n";

    fn new(_: &Options) -> Nats {
        Nats
    }

    #[inline]
    fn compose(&self, _: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        const { assert!(OPERANDS_BYTES == 63) };
        out.extend_from_slice(b"PUB herd 63\r\n");
        out.extend_from_slice(operands);
        out.extend_from_slice(b"\r\n");
        0
    }

    #[inline]
    fn check(&mut self, _: usize, received: &[u8], _: &Expected) -> Result<Checked, &'static str> {
        if received.starts_with(b"+OK\r\n") {
            return Ok(Checked::Reply(5));
        }
        match memchr::memchr(b'\n', received) {
            Some(end) if received.starts_with(b"INFO ") => Ok(Checked::Aside(end + 1, b"")),
            Some(end) if received.starts_with(b"PING\r") => {
                Ok(Checked::Aside(end + 1, b"PONG\r\n"))
            }
            _ => unlike(received, b'\n', "PUB is answered by +OK"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{asked, right};
    use super::*;
    use crate::options::Mix;

    #[test]
    fn a_pub_is_answered_by_ok_whatever_stands_between() {
        let (mut nats, sent, expected) = asked::<Nats>(Mix { iamat: 1, whatsat: 0 }, 1);
        let told = std::str::from_utf8(&expected[0].operands).expect("ASCII");
        assert_eq!(sent[0], format!("PUB herd 63\r\n{told}\r\n"));
        right(&mut nats, b"+OK\r\n", &expected[0]);
        let mut check = |received: &[u8]| nats.check(0, received, &expected[0]);
        assert_eq!(check(b"INFO {\"a\":1}\r\n+OK\r\n"), Ok(Checked::Aside(14, b"")));
        assert_eq!(check(b"PING\r\n+OK\r\n"), Ok(Checked::Aside(6, b"PONG\r\n")));
        assert_eq!(check(b"PIN"), Ok(Checked::Unfinished));
        assert!(check(b"-ERR 'Parser Error'\r\n").is_err());
    }
}
