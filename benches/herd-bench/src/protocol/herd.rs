//! The protocol of the herd's client port, as in docs/protocol.md.
//!
//! Everything is checked byte for byte, with two exceptions for the servers that ours is compared with: lines may end
//! in CR LF, and a difference may be any decimal number with or without an exponent.

use super::{Checked, Expected, IAMAT, Protocol, WHATSAT, unlike};
use crate::options::Options;
use crate::reports::{CLIENT_BYTES, Next, OPERANDS_BYTES, Operands};
use memchr::memmem;

/// The longest name of a server in docs/protocol.md.
const NAME_BYTES_MAX: usize = 64;

/// A server of the herd.
#[derive(Debug)]
pub(crate) struct Herd {
    /// The text after the client in a WHATSAT.
    radius_and_bound: Vec<u8>,
    /// The names of the servers in their first replies; they must not change.
    names: Vec<Vec<u8>>,
}

impl Protocol for Herd {
    const KINDS: &'static [&'static str] = &["IAMAT", "WHATSAT"];

    fn new(options: &Options) -> Herd {
        Herd {
            radius_and_bound: format!(" {} {}\n", options.radius, options.bound).into_bytes(),
            names: vec![Vec::new(); options.addresses.len()],
        }
    }

    #[inline]
    fn compose(&self, _: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        match next {
            Next::Tell(operands) => {
                write_iamat(operands, out);
                IAMAT
            }
            Next::Ask(operands) => {
                out.extend_from_slice(b"WHATSAT ");
                out.extend_from_slice(&operands[..CLIENT_BYTES]);
                out.extend_from_slice(&self.radius_and_bound);
                WHATSAT
            }
        }
    }

    #[inline]
    fn check(
        &mut self,
        target: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Checked, &'static str> {
        let Some((name, line)) = at_line(received, &expected.operands)? else {
            return Ok(Checked::Unfinished);
        };
        self.check_name(target, name)?;
        if expected.kind == IAMAT {
            return Ok(Checked::Reply(line));
        }
        let places = places(&received[line..])?;
        Ok(places.map_or(Checked::Unfinished, |places| Checked::Reply(line + places)))
    }
}

impl Herd {
    #[inline]
    fn check_name(&mut self, target: usize, name: &[u8]) -> Result<(), &'static str> {
        let known = &mut self.names[target];
        if known.is_empty() {
            known.extend_from_slice(name);
        }
        if known == name { Ok(()) } else { Err("the server has changed its name") }
    }
}

/// Appends a whole IAMAT to `out`.
#[inline]
pub(super) fn write_iamat(operands: &Operands, out: &mut Vec<u8>) {
    out.reserve(6 + OPERANDS_BYTES + 1);
    out.extend_from_slice(b"IAMAT ");
    out.extend_from_slice(operands);
    out.push(b'\n');
}

/// The server's name in the AT line at the start of `received`, and the length of the line with its line end. `None` if
/// the line is incomplete.
///
/// Fails if it is not an AT line, or not one with these `operands`.
#[inline]
fn at_line<'a>(
    received: &'a [u8],
    operands: &Operands,
) -> Result<Option<(&'a [u8], usize)>, &'static str> {
    const WHAT: &str = "this is not the AT line for the report";
    match prefix(received)
        .and_then(|(name, rest)| Some((name, rest, tail(received, rest, operands)?)))
    {
        Some((name, rest, end)) if end > 0 => Ok(Some((name, rest + end))),
        // A CR may arrive before its LF.
        _ => unlike(received, b'\n', WHAT).map(|_| None),
    }
}

/// Parses `AT server diff `: returns the server's name, and the offset of the rest.
#[inline]
pub(crate) fn prefix(received: &[u8]) -> Option<(&[u8], usize)> {
    let rest = received.strip_prefix(b"AT ")?;
    let name = rest.iter().take(NAME_BYTES_MAX + 1).position(|byte| *byte == b' ')?;
    let diff = &rest[name + 1..];
    let sign = matches!(diff.first()?, b'+' | b'-');
    let digits = diff[1..].iter().position(|byte| !is_of_a_decimal(*byte))?;
    let whole = sign && name > 0 && digits > 0 && diff[1 + digits] == b' ';
    whole.then_some((&rest[..name], 3 + name + 1 + 1 + digits + 1))
}

#[inline]
fn is_of_a_decimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// The length of `operands` and the line end, if `received` has them at offset `at`.
#[inline]
fn tail(received: &[u8], at: usize, operands: &Operands) -> Option<usize> {
    let rest = &received[at..];
    if rest.first_chunk::<OPERANDS_BYTES>()? != operands {
        return None;
    }
    match rest[OPERANDS_BYTES..] {
        [b'\n', ..] => Some(OPERANDS_BYTES + 1),
        [b'\r', b'\n', ..] => Some(OPERANDS_BYTES + 2),
        _ => None,
    }
}

/// The length of the places at the start of `rest`, including their blank line.
pub(crate) fn places(rest: &[u8]) -> Result<Option<usize>, &'static str> {
    match (rest.first(), memmem::find(rest, b"\n\n")) {
        (Some(first), _) if *first != b'{' => Err("the places do not begin with {"),
        (_, Some(end)) if rest[..end].trim_ascii_end().last() != Some(&b'}') => {
            Err("the places do not end with }")
        }
        (_, Some(end)) => Ok(Some(end + 2)),
        (_, None) if rest.len() > super::REPLY_BYTES_MAX => Err("the places do not end"),
        (_, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{asked, right};
    use super::*;
    use crate::options::Mix;

    const BOTH: Mix = Mix { iamat: 1, whatsat: 1 };

    fn text(operands: &Operands) -> &str {
        std::str::from_utf8(operands).expect("ASCII")
    }

    #[test]
    fn an_iamat_is_answered_with_its_own_operands() {
        let (mut herd, sent, expected) = asked::<Herd>(BOTH, 1);
        let told = text(&expected[0].operands);
        assert_eq!(sent[0], format!("IAMAT {told}\n"));
        for diff in ["+0.263873386", "-12.000000001", "+1e-05", "+0"] {
            for end in ["\n", "\r\n"] {
                let reply = format!("AT Alford {diff} {told}{end}");
                right(&mut herd, reply.as_bytes(), &expected[0]);
            }
        }
    }

    #[test]
    fn whatever_else_comes_is_wrong() {
        let (mut herd, sent, expected) = asked::<Herd>(BOTH, 3);
        let told = text(&expected[0].operands);
        let other = text(&expected[2].operands);
        assert_ne!(told, other);
        for wrong in [
            format!("AT Alford +0.1 {other}\n"),
            format!("AT Alford +0.1 {told} \n"),
            format!("AT Alford +0.1 {told}0\n"),
            format!("AT Alford +0.1  {told}\n"),
            format!("AT Alford 0.1 {told}\n"),
            format!("AT Alford + {told}\n"),
            format!("AT Alford +0,1 {told}\n"),
            format!("AT  +0.1 {told}\n"),
            format!("AT {} +0.1 {told}\n", "x".repeat(65)),
            format!("at Alford +0.1 {told}\n"),
            format!("? {}", sent[0]),
            "\n".into(),
        ] {
            let checked = herd.check(0, wrong.as_bytes(), &expected[0]);
            assert!(checked.is_err(), "{wrong:?}: {checked:?}");
        }
        let endless = vec![b'x'; super::super::REPLY_BYTES_MAX + 1];
        assert!(herd.check(0, &endless, &expected[0]).is_err());
    }

    #[test]
    fn a_server_keeps_its_name() {
        let (mut herd, _, expected) = asked::<Herd>(BOTH, 1);
        let told = text(&expected[0].operands);
        right(&mut herd, format!("AT Alford +0.1 {told}\n").as_bytes(), &expected[0]);
        let other = format!("AT Bolden +0.1 {told}\n");
        assert!(herd.check(0, other.as_bytes(), &expected[0]).is_err());
    }

    #[test]
    fn a_whatsat_is_answered_with_a_line_and_places_to_their_blank_line() {
        let (mut herd, sent, expected) = asked::<Herd>(BOTH, 2);
        let told = text(&expected[1].operands);
        assert_eq!(sent[1], "WHATSAT client-0000000.bench 10 20\n");
        let line = format!("AT Alford +0.1 {told}\n");
        right(&mut herd, format!("{line}{{\n   \"results\" : []\n}}\n\n").as_bytes(), &expected[1]);
        for wrong in ["[]\n\n", "{\n\n", "\n", "{\"results\" : []\n\n"] {
            let reply = format!("{line}{wrong}");
            assert!(herd.check(0, reply.as_bytes(), &expected[1]).is_err(), "{wrong:?}");
        }
    }
}
