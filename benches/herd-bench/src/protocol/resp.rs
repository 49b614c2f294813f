//! Redis and compatible servers: they store the same client, location and time by SET or by GEOADD.

use super::{Checked, Expected, Protocol, unlike};
use crate::options::Options;
use crate::reports::{CLIENT_BYTES, Next, OPERANDS_BYTES, latitude_longitude};

/// Sends `SET client "location time"`.
#[derive(Debug)]
pub(crate) struct RespSet;

/// The length of the stored value: location, a space and time.
const VALUE_BYTES: usize = OPERANDS_BYTES - CLIENT_BYTES - 1;

impl Protocol for RespSet {
    const KINDS: &'static [&'static str] = &["SET"];

    fn new(_: &Options) -> RespSet {
        RespSet
    }

    #[inline]
    fn compose(&self, _: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        const { assert!(CLIENT_BYTES == 20 && VALUE_BYTES == 42) };
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$20\r\n");
        out.extend_from_slice(&operands[..CLIENT_BYTES]);
        out.extend_from_slice(b"\r\n$42\r\n");
        out.extend_from_slice(&operands[CLIENT_BYTES + 1..]);
        out.extend_from_slice(b"\r\n");
        0
    }

    #[inline]
    fn check(&mut self, _: usize, received: &[u8], _: &Expected) -> Result<Checked, &'static str> {
        if received.starts_with(b"+OK\r\n") {
            return Ok(Checked::Reply(5));
        }
        unlike(received, b'\n', "SET is answered by +OK")
    }
}

/// Sends `GEOADD herd longitude latitude client`.
#[derive(Debug)]
pub(crate) struct RespGeoadd;

impl Protocol for RespGeoadd {
    const KINDS: &'static [&'static str] = &["GEOADD"];

    fn new(_: &Options) -> RespGeoadd {
        RespGeoadd
    }

    #[inline]
    fn compose(&self, _: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        let (latitude, longitude) = latitude_longitude(operands);
        debug_assert_eq!((latitude.len(), longitude.len()), (10, 11));
        out.extend_from_slice(b"*5\r\n$6\r\nGEOADD\r\n$4\r\nherd\r\n$11\r\n");
        out.extend_from_slice(longitude);
        out.extend_from_slice(b"\r\n$10\r\n");
        out.extend_from_slice(latitude);
        out.extend_from_slice(b"\r\n$20\r\n");
        out.extend_from_slice(&operands[..CLIENT_BYTES]);
        out.extend_from_slice(b"\r\n");
        0
    }

    #[inline]
    fn check(&mut self, _: usize, received: &[u8], _: &Expected) -> Result<Checked, &'static str> {
        // An earlier run may have added the client, so both answers are right.
        if received.starts_with(b":1\r\n") || received.starts_with(b":0\r\n") {
            return Ok(Checked::Reply(4));
        }
        unlike(received, b'\n', "GEOADD of one client is answered by :0 or :1")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{asked, right};
    use super::*;
    use crate::options::Mix;

    const TELL: Mix = Mix { iamat: 1, whatsat: 0 };

    /// The words of a command; their lengths must be right.
    fn words(request: &str) -> Vec<&str> {
        let mut lines = request.split("\r\n");
        let count = lines.next().and_then(|line| line.strip_prefix('*')).expect("an array");
        let words: Vec<&str> = (0..count.parse().expect("a count"))
            .map(|_| {
                let length = lines.next().and_then(|line| line.strip_prefix('$')).expect("a word");
                let word = lines.next().expect("its bytes");
                assert_eq!(length.parse(), Ok(word.len()));
                word
            })
            .collect();
        assert_eq!(lines.collect::<Vec<_>>(), [""]);
        words
    }

    #[test]
    fn set_stores_place_and_time() {
        let (mut redis, sent, expected) = asked::<RespSet>(TELL, 1);
        let told = std::str::from_utf8(&expected[0].operands).expect("ASCII");
        assert_eq!(words(&sent[0]), ["SET", "client-0000000.bench", &told[21..]]);
        right(&mut redis, b"+OK\r\n", &expected[0]);
        assert!(redis.check(0, b"-ERR no\r\n", &expected[0]).is_err());
    }

    #[test]
    fn geoadd_stores_the_place() {
        let (mut redis, sent, expected) = asked::<RespGeoadd>(TELL, 1);
        let place = ["-118.445127", "+34.068930"];
        assert_eq!(words(&sent[0]), ["GEOADD", "herd", place[0], place[1], "client-0000000.bench"]);
        right(&mut redis, b":1\r\n", &expected[0]);
        right(&mut redis, b":0\r\n", &expected[0]);
        assert!(redis.check(0, b":2\r\n", &expected[0]).is_err());
    }
}
