//! Commands: what a line says, and how the answers to it are written.
//!
//! In: one line without its delimiter, and the limits. Out: a [`Command`] that borrows from the
//! line, or the reason why it is [`ParseError`]. Both ports parse with the same function; which
//! commands a port *allows* is its own business, as is everything a command does.
//!
//! ```text
//! IAMAT   <client> <location> <stamp>                          from a client
//! WHATSAT <client> <radius> <bound>                            from a client
//! AT      <server> <difference> <client> <location> <stamp>    between servers; a client's answer
//! HELLO   <name> <herd> <version> [<key>=<value> ...]          between servers
//! PING                                                         between servers
//! ACK     <count>                                              between servers
//! SYNC, GROUPS, LEAVES, WANT                                   between servers: see sync_message.rs
//! ```
//!
//! Everything is bytes: a client may be called anything that has no white space in it, be it UTF-8
//! or not, and gets its name back as it sent it.
//!
//! The idea: a line is walked through once, field by field, and nothing is
//! allocated. The grammar of a command stands in its own `parse`, in the order of the line.
//!
//! Source: the report, sections 3.1 to 3.4; docs/protocol.md.

pub use super::fields::is_blank;
pub use super::parse_error::ParseError;

use std::io::Write as _;

use super::decimal::Decimal;
use super::fields::{Fields, trimmed};
use super::location::{self, Location};
use super::stamp::{Difference, Stamp};
use super::swar::has_shape;
use super::sync_message::SyncMessage;

/// The longest client id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 4096;
/// The longest location, in bytes.
pub const LOCATION_BYTES_MAX: usize = 64;
/// The longest name of a server or a herd, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest difference another server may send, in bytes; our own have at most 22, Python's 24.
pub const DIFFERENCE_BYTES_MAX: usize = 44;

const RADIUS_KM_MAX: u64 = 50;
const BOUND_MAX: u64 = 20;

/// How much a client may say; part of the topology.
///
/// Only for IAMAT and WHATSAT. What a neighbour sends is measured by the constants above alone:
/// were an AT line good for one server and not for the next, the herd would never agree. For the
/// same reason a limit above its constant counts as the constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// The longest client id, in bytes; [`CLIENT_ID_BYTES_MAX`] by default.
    pub client_id_bytes: usize,
    /// The longest location, in bytes; [`LOCATION_BYTES_MAX`] by default.
    pub location_bytes: usize,
}

impl CommandLimits {
    /// The limits every server of a herd has in common.
    const HERD: CommandLimits =
        CommandLimits { client_id_bytes: CLIENT_ID_BYTES_MAX, location_bytes: LOCATION_BYTES_MAX };
}

impl Default for CommandLimits {
    fn default() -> CommandLimits {
        CommandLimits::HERD
    }
}

/// A valid line, cut into its fields.
///
/// Texts borrow from the line and are the line's bytes, verbatim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A client says where it is.
    Iamat(Iamat<'a>),
    /// A client asks what is near a client.
    Whatsat(Whatsat<'a>),
    /// A server passes on where a client is.
    At(At<'a>),
    /// A server says who it is: the first line on a connection between servers.
    Hello(Hello<'a>),
    /// A server says that it is alive.
    Ping,
    /// A server says how many AT lines it has taken on this connection.
    Ack(u64),
    /// A server compares what it knows with what another does.
    Compare(SyncMessage<'a>),
}

/// `IAMAT <client> <location> <stamp>`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iamat<'a> {
    /// The client id: 1 to 4,096 bytes, none of them white.
    pub client: &'a [u8],
    /// Where the client is.
    pub location: Location<'a>,
    /// When it was there, by its own clock.
    pub stamp: Stamp,
    /// The same as it was written, to be copied.
    pub stamp_text: &'a [u8],
    /// All three as they were written, if single blanks are between them: to be copied at once.
    pub operands: Option<&'a [u8]>,
}

/// `WHATSAT <client> <radius> <bound>`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whatsat<'a> {
    /// The id of the client asked about, which need not be the client that asks.
    pub client: &'a [u8],
    /// How far around it.
    pub radius: Radius<'a>,
    /// How many places at most: 1 to 20.
    pub bound: usize,
}

/// `AT <server> <difference> <client> <location> <stamp>`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<'a> {
    /// The server that took the report: 1 to 64 bytes.
    pub server: &'a [u8],
    /// That server's time of receipt minus the stamp, in seconds: any decimal or exponent form.
    ///
    /// Copied, never calculated with. Our servers write nine digits; a plain neighbour in Python may write
    /// `+9.5e-05`, and servers pass that on as it came.
    pub difference: &'a [u8],
    /// The client id.
    pub client: &'a [u8],
    /// Where the client is.
    pub location: Location<'a>,
    /// When it was there, by its own clock.
    pub stamp: Stamp,
    /// The same as it was written, to be copied.
    pub stamp_text: &'a [u8],
    /// The whole line, if it came with single blanks: then there is nothing to copy.
    pub line: Option<&'a [u8]>,
}

/// `HELLO <name> <herd> <version> [<key>=<value> ...]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The server that speaks; a [name](is_name).
    pub name: &'a [u8],
    /// The herd it belongs to; a [name](is_name).
    pub herd: &'a [u8],
    /// The version of the protocol between servers that it speaks.
    pub version: u32,
    /// What else it says; options nobody knows are for nobody.
    pub options: HelloOptions<'a>,
}

impl<'a> Command<'a> {
    /// Reads one line.
    ///
    /// `line`: without its delimiter; white space around it, so also the CR of a CR LF, counts for
    /// nothing. A [blank](is_blank) line is no command; who wants to ignore it asks before.
    ///
    /// Errors: the first thing that is wrong with the line. What becomes of the connection is up
    /// to the port; a client gets `? ` and a copy ([`write_refusal`]).
    /// Source: docs/protocol.md.
    pub fn parse(line: &'a [u8], limits: &CommandLimits) -> Result<Command<'a>, ParseError> {
        let fields = &mut Fields::of(line);
        fields.skip_white();
        let before = *fields;
        match fields.next() {
            Some(b"IAMAT") => Iamat::parse(fields, limits).map(Command::Iamat),
            Some(b"AT") => At::parse(fields, before).map(Command::At),
            Some(b"WHATSAT") => Whatsat::parse(fields, limits).map(Command::Whatsat),
            Some(b"PING") => fields.end().map(|()| Command::Ping),
            Some(b"HELLO") => Hello::parse(fields).map(Command::Hello),
            Some(b"ACK") => count_of(fields).map(Command::Ack),
            Some(name) => {
                SyncMessage::parse(name, *fields).ok_or(ParseError::Name)?.map(Command::Compare)
            }
            None => Err(ParseError::Name),
        }
    }
}

impl<'a> Iamat<'a> {
    #[inline(always)]
    fn parse(fields: &mut Fields<'a>, limits: &CommandLimits) -> Result<Iamat<'a>, ParseError> {
        fields.skip_white();
        let before = *fields;
        let client = client_of(fields, limits)?;
        let location = location_of(fields, limits)?;
        let (stamp, stamp_text) = stamp_of(fields)?;
        let operands = fields.joined_since(before);
        fields.end()?;
        Ok(Iamat { client, location, stamp, stamp_text, operands })
    }
}

impl<'a> Whatsat<'a> {
    fn parse(fields: &mut Fields<'a>, limits: &CommandLimits) -> Result<Whatsat<'a>, ParseError> {
        let client = client_of(fields, limits)?;
        let radius = Radius::parse(fields.operand()?).ok_or(ParseError::Radius)?;
        let bound = bound_of(fields.operand()?).ok_or(ParseError::Bound)?;
        fields.end()?;
        Ok(Whatsat { client, radius, bound })
    }
}

impl<'a> At<'a> {
    /// `before`: the line from its beginning.
    fn parse(fields: &mut Fields<'a>, before: Fields<'a>) -> Result<At<'a>, ParseError> {
        let server = fields.operand()?;
        if server.len() > NAME_BYTES_MAX {
            return Err(ParseError::Server);
        }
        let difference = fields.operand()?;
        if !is_difference(difference) {
            return Err(ParseError::Difference);
        }
        let client = client_of(fields, &CommandLimits::HERD)?;
        let location = location_of(fields, &CommandLimits::HERD)?;
        let (stamp, stamp_text) = stamp_of(fields)?;
        let line = fields.joined_since(before);
        fields.end()?;
        Ok(At { server, difference, client, location, stamp, stamp_text, line })
    }
}

impl<'a> Hello<'a> {
    fn parse(fields: &mut Fields<'a>) -> Result<Hello<'a>, ParseError> {
        let name = fields.operand()?;
        let herd = fields.operand()?;
        if !is_name(name) {
            return Err(ParseError::Server);
        }
        if !is_name(herd) {
            return Err(ParseError::Herd);
        }
        let version = version_of(fields.operand()?).ok_or(ParseError::Version)?;
        let options = HelloOptions::parse(*fields)?;
        Ok(Hello { name, herd, version, options })
    }
}

/// A radius in kilometres, more than 0 and at most 50.
///
/// Exact: 50.000 is in, 50.0 with a 1 behind any number of further zeros is out.
/// Source: docs/protocol.md, "Client port", `radius`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Radius<'a> {
    /// Digits, optionally a point and more digits.
    pub text: &'a [u8],
}

impl<'a> Radius<'a> {
    /// Reads one; `None` if it is none.
    pub fn parse(text: &'a [u8]) -> Option<Radius<'a>> {
        let km = Decimal::parse(text)?;
        (km.at_most(RADIUS_KM_MAX) && !km.is_zero()).then_some(Radius { text })
    }

    /// The radius in metres, as Places wants it: 0 to 50,000; zero only if it is too small for a
    /// float.
    pub fn metres(&self) -> f64 {
        location::float(self.text) * 1000.0
    }
}

/// The options of a HELLO: pairs of key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloOptions<'a> {
    text: &'a [u8],
}

impl<'a> HelloOptions<'a> {
    /// Checks that every field has a key; the values are for whoever knows the key.
    fn parse(fields: Fields<'a>) -> Result<HelloOptions<'a>, ParseError> {
        let options = HelloOptions { text: fields.rest() };
        let every_field_is_an_option = options.iter().count() == fields.count();
        every_field_is_an_option.then_some(options).ok_or(ParseError::Option)
    }

    /// Keys and values in the order of the line; a value may be empty and may contain `=`.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        Fields::of(self.text).filter_map(|field| {
            let equals = field.iter().position(|&byte| byte == b'=').filter(|&at| at > 0)?;
            Some((&field[..equals], &field[equals + 1..]))
        })
    }

    /// The value of `key`; the first, should it be there twice.
    pub fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|&(candidate, _)| candidate == key).map(|(_, value)| value)
    }
}

/// Is `text` a name for a server or a herd: 1 to 64 of `A`-`Z`, `a`-`z`, `0`-`9`, `.`, `_`, `-`?
pub fn is_name(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.iter().all(allowed)
}

/// Appends an AT line without its delimiter.
///
/// The answer to IAMAT, the first line of the answer to WHATSAT, and what servers tell each other.
/// `server`: a [name](is_name). `operands`: those of the IAMAT, verbatim, in one piece or in several.
/// Source: docs/protocol.md, "IAMAT", `at-line`.
pub fn write_at(out: &mut Vec<u8>, server: &[u8], difference: Difference, operands: &[&[u8]]) {
    out.extend_from_slice(b"AT ");
    out.extend_from_slice(server);
    out.push(b' ');
    difference.write(out);
    for operand in operands {
        out.push(b' ');
        out.extend_from_slice(operand);
    }
}

/// Appends an ACK line without its delimiter. `count`: AT lines taken on the connection.
/// Source: docs/protocol.md "Acknowledgement".
pub fn write_ack(out: &mut Vec<u8>, count: u64) {
    // A Vec takes everything.
    let _ = write!(out, "ACK {count}");
}

/// Appends a HELLO line without its delimiter.
///
/// `name`, `herd`: [names](is_name). `options`: keys without white space or `=`, values without
/// white space.
/// Source: docs/protocol.md "Peer port".
pub fn write_hello(
    out: &mut Vec<u8>,
    name: &[u8],
    herd: &[u8],
    version: u32,
    options: &[(&[u8], &[u8])],
) {
    for field in [b"HELLO", name, herd, version.to_string().as_bytes()] {
        out.extend_from_slice(field);
        out.push(b' ');
    }
    for &(key, value) in options {
        for part in [key, b"=", value, b" "] {
            out.extend_from_slice(part);
        }
    }
    out.pop();
}

/// Appends the answer to an invalid command, without its delimiter: `? ` and a copy of it.
///
/// `line`: without its delimiter; of an over-long line, as much as is to be given back. The copy
/// keeps the spacing inside and drops the white space around.
/// Source: docs/protocol.md, "Anything else".
pub fn write_refusal(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"? ");
    out.extend_from_slice(trimmed(line));
}

#[inline(always)]
fn client_of<'a>(fields: &mut Fields<'a>, limits: &CommandLimits) -> Result<&'a [u8], ParseError> {
    let client = fields.operand()?;
    let longest = limits.client_id_bytes.min(CLIENT_ID_BYTES_MAX);
    if client.len() <= longest { Ok(client) } else { Err(ParseError::Client) }
}

#[inline(always)]
fn location_of<'a>(
    fields: &mut Fields<'a>,
    limits: &CommandLimits,
) -> Result<Location<'a>, ParseError> {
    let text = fields.field_with(location::skip_location, ParseError::Location)?;
    let longest = limits.location_bytes.min(LOCATION_BYTES_MAX);
    if text.len() <= longest { Ok(Location::known(text)) } else { Err(ParseError::LocationBytes) }
}

#[inline(always)]
fn stamp_of<'a>(fields: &mut Fields<'a>) -> Result<(Stamp, &'a [u8]), ParseError> {
    let mut stamp = Stamp::default();
    let text = fields.field_with(
        |text| {
            let (read, behind) = Stamp::read(text)?;
            stamp = read;
            Some(behind)
        },
        ParseError::Stamp,
    )?;
    Ok((stamp, text))
}

/// Digits, 1 to 20; how many leading zeros does not matter.
fn bound_of(field: &[u8]) -> Option<usize> {
    let bound = digits_of(field)?;
    (1..=BOUND_MAX).contains(&bound).then_some(bound as usize)
}

/// The operand of an ACK.
fn count_of(fields: &mut Fields<'_>) -> Result<u64, ParseError> {
    let count = digits_of(fields.operand()?).ok_or(ParseError::Count)?;
    fields.end().map(|()| count)
}

fn version_of(field: &[u8]) -> Option<u32> {
    u32::try_from(digits_of(field)?).ok()
}

/// A decimal without a point; too large a one is `u64::MAX`.
fn digits_of(field: &[u8]) -> Option<u64> {
    let decimal = Decimal::parse(field)?;
    (decimal.fraction.count == 0).then_some(decimal.whole.value)
}

/// A sign or none, a decimal, an exponent or none.
fn is_difference(field: &[u8]) -> bool {
    // As servers write it, of less than ten seconds: nearly all.
    if let [b'+' | b'-', usual @ ..] = field
        && usual.try_into().is_ok_and(|usual| has_shape(usual, b"0.000000000"))
    {
        return true;
    }
    let unsigned = field.strip_prefix(b"+").or(field.strip_prefix(b"-")).unwrap_or(field);
    let is_number = match Decimal::read(unsigned) {
        Some((_, [])) => true,
        Some((_, [b'e' | b'E', exponent @ ..])) => is_exponent(exponent),
        _ => false,
    };
    field.len() <= DIFFERENCE_BYTES_MAX && is_number
}

/// A sign or none, digits.
fn is_exponent(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"+").or(text.strip_prefix(b"-")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command<'_>, ParseError> {
        Command::parse(line.as_bytes(), &CommandLimits::default())
    }

    #[test]
    fn every_reason_has_its_line() {
        for (line, reason) in [
            ("", ParseError::Name),
            ("iamat c +1+1 5", ParseError::Name),
            ("IAMAT", ParseError::Operands),
            ("IAMAT c +1+1", ParseError::Operands),
            ("IAMAT c +1+1 5 6", ParseError::Operands),
            ("IAMAT c 1+1 5", ParseError::Location),
            ("IAMAT c +1+1x 5", ParseError::Location),
            ("IAMAT c +1+1 -5", ParseError::Stamp),
            ("IAMAT c +1+1 5x", ParseError::Stamp),
            ("WHATSAT c 50.1 5", ParseError::Radius),
            ("WHATSAT c 50 21", ParseError::Bound),
            ("WHATSAT c 50", ParseError::Operands),
            ("AT A 0,5 c +1+1 5", ParseError::Difference),
            ("PING 1", ParseError::Operands),
            ("HELLO A! herd 1", ParseError::Server),
            ("HELLO A h\u{e9}rd 1", ParseError::Herd),
            ("HELLO A herd 4294967296", ParseError::Version),
            ("HELLO A herd 1 x=1 =2", ParseError::Option),
        ] {
            assert_eq!(parse(line), Err(reason), "{line:?}");
        }
    }

    #[test]
    fn limits_are_in_bytes_and_a_byte_more_is_invalid() {
        let limits = CommandLimits { client_id_bytes: 3, location_bytes: 6 };
        let parse = |line: &'static str| Command::parse(line.as_bytes(), &limits);
        assert!(parse("IAMAT abc +1.5+1 5").is_ok());
        assert_eq!(parse("IAMAT abcd +1.5+1 5"), Err(ParseError::Client));
        assert_eq!(parse("WHATSAT abcd 1 1"), Err(ParseError::Client));
        assert_eq!(parse("IAMAT abc +1.5+1.5 5"), Err(ParseError::LocationBytes));
        assert!(parse("AT A +0.5 abcd +1.5+1.5 5").is_ok(), "the herd has the herd's limits");
    }

    #[test]
    fn no_limit_is_above_the_herds() {
        let limits = CommandLimits { client_id_bytes: usize::MAX, location_bytes: usize::MAX };
        for (client, location, expected) in [
            (4096, 64, Ok(())),
            (4097, 64, Err(ParseError::Client)),
            (4096, 65, Err(ParseError::LocationBytes)),
        ] {
            let (client, zeros) = ("c".repeat(client), "0".repeat(location - "+1+1".len()));
            let iamat = format!("IAMAT {client} +{zeros}1+1 5");
            let at = iamat.replacen("IAMAT", "AT A +0.5", 1);
            for line in [iamat, at] {
                let parsed = Command::parse(line.as_bytes(), &limits).map(|_| ());
                assert_eq!(parsed, expected, "{}", line.len());
            }
        }
    }

    #[test]
    fn a_difference_may_be_any_number_in_decimal_or_exponent_form() {
        let at = |difference: &str| {
            let line = format!("AT A {difference} c +1+1 5");
            match parse(&line) {
                Ok(Command::At(at)) => Some(String::from_utf8_lossy(at.difference).into_owned()),
                _ => None,
            }
        };
        let numbers = [
            "+0.263873386",
            "-0.000000001",
            "+18446744073.709551615",
            "0.263873386",
            "+0.5",
            "-9.5e-05",
            "7",
            "1E+22",
            "+0.1234567890",
            "+1e5",
        ];
        for number in numbers {
            assert_eq!(at(number).as_deref(), Some(number));
        }
        let long = format!("+0.{}", "1".repeat(DIFFERENCE_BYTES_MAX - 2));
        for none in
            ["nan", "+inf", "--999.99", "+", "e5", "1e", "1e+", "1e5.5", "0x10", "1,5", &long]
        {
            assert_eq!(at(none), None, "{none}");
        }
    }

    #[test]
    fn a_hello_is_read_as_it_was_written() {
        let mut line = Vec::new();
        write_hello(&mut line, b"Alford", b"winter-2016", 3, &[(b"sync", b"1"), (b"note", b"a=b")]);
        assert_eq!(line, b"HELLO Alford winter-2016 3 sync=1 note=a=b");
        let Ok(Command::Hello(hello)) = Command::parse(&line, &CommandLimits::default()) else {
            panic!();
        };
        assert_eq!(
            (hello.name, hello.herd, hello.version),
            (&b"Alford"[..], &b"winter-2016"[..], 3)
        );
        assert_eq!(hello.options.get(b"sync"), Some(&b"1"[..]));
        assert_eq!(hello.options.get(b"note"), Some(&b"a=b"[..]));
        assert_eq!(hello.options.get(b"nothing"), None);
        assert_eq!(hello.options.iter().count(), 2);
    }

    #[test]
    fn a_refusal_keeps_the_lines_own_white_space() {
        for (line, refusal) in [
            ("IAMAT  Clark\t +12-118", "? IAMAT  Clark\t +12-118"),
            (" \tAS Clark \r", "? AS Clark"),
            ("x\ry", "? x\ry"),
            ("", "? "),
            (" \r", "? "),
        ] {
            let mut out = Vec::new();
            write_refusal(&mut out, line.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), refusal);
        }
    }

    #[test]
    fn a_radius_is_kilometres_and_places_wants_metres() {
        for (text, metres) in [("0.5", 500.0), ("50", 50_000.0), ("007.25", 7_250.0)] {
            let line = format!("WHATSAT c {text} 1");
            let Ok(Command::Whatsat(whatsat)) = parse(&line) else { panic!("{line}") };
            assert_eq!(whatsat.radius.metres(), metres);
            assert_eq!(whatsat.radius.text, text.as_bytes());
        }
    }
}
