//! Commands: parses a line, and writes the replies to it.
//!
//! In: one line without its delimiter, and the limits. Out: a [`Command`] that borrows from the
//! line, or a [`ParseError`]. Both ports parse with the same function. Each port decides which
//! commands it allows and what a command does.
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
//! Everything is bytes: a client id may hold any byte that is not white space, UTF-8 or not, and the
//! reply repeats it unchanged.
//!
//! The idea: the parser reads a line once, field by field, and allocates nothing. Each command has
//! its own `parse`, which reads the fields in the order of the line.
//!
//! Source: the original paper, sections 3.1 to 3.4; docs/protocol.md.

mod usual;

pub use self::usual::client_ahead;
pub use super::fields::is_blank;
pub use super::parse_error::ParseError;

use std::io::Write as _;
use std::ops::RangeInclusive;

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
/// The longest difference another server may send, in bytes. Ours have at most 22, Python's at most 24.
pub const DIFFERENCE_BYTES_MAX: usize = 44;

/// The option of HELLO with the versions of the peer protocol that a server speaks.
pub const SPEAKS: &[u8] = b"speaks";

const RADIUS_KM_MAX: u64 = 50;
const BOUND_MAX: u64 = 20;

/// The length limits of a client's operands; part of the topology.
///
/// They apply to IAMAT and WHATSAT only. Lines from neighbours are checked against the constants above:
/// if one server accepted an AT line that another rejects, the herd would never agree. For the
/// same reason a limit above its constant counts as the constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// The longest client id, in bytes; [`CLIENT_ID_BYTES_MAX`] by default.
    pub client_id_bytes: usize,
    /// The longest location, in bytes; [`LOCATION_BYTES_MAX`] by default.
    pub location_bytes: usize,
}

impl CommandLimits {
    /// The limits that all servers of a herd share.
    const HERD: CommandLimits =
        CommandLimits { client_id_bytes: CLIENT_ID_BYTES_MAX, location_bytes: LOCATION_BYTES_MAX };
}

impl Default for CommandLimits {
    fn default() -> CommandLimits {
        CommandLimits::HERD
    }
}

/// A valid line, split into its fields.
///
/// The fields borrow the line's bytes, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A client reports where it is.
    Iamat(Iamat<'a>),
    /// A client asks what is near a client.
    Whatsat(Whatsat<'a>),
    /// A server passes on where a client is.
    At(At<'a>),
    /// A server introduces itself: the first line on a connection between servers.
    Hello(Hello<'a>),
    /// A server shows that it is alive.
    Ping,
    /// A server acknowledges the AT lines of this connection: how many it has taken so far.
    Ack(u64),
    /// A server tells that it ends soon.
    Bye,
    /// A server compares its table with another's.
    Compare(SyncMessage<'a>),
}

/// The operands of `IAMAT <client> <location> <stamp>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iamat<'a> {
    /// The client id: 1 to 4,096 bytes without white space.
    pub client: &'a [u8],
    /// Where the client is.
    pub location: Location<'a>,
    /// The time when the client was there, by its own clock.
    pub stamp: Stamp,
    /// The stamp's text as the client wrote it, for copying.
    pub stamp_text: &'a [u8],
    /// The text of all three operands if single blanks separate them, so that one copy takes them all.
    pub operands: Option<&'a [u8]>,
}

/// The operands of `WHATSAT <client> <radius> <bound>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whatsat<'a> {
    /// The id of the client in question, which need not be the client that sends the command.
    pub client: &'a [u8],
    /// The radius around that client.
    pub radius: Radius<'a>,
    /// The maximum number of places: 1 to 20.
    pub bound: usize,
}

/// The operands of `AT <server> <difference> <client> <location> <stamp>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<'a> {
    /// The server that took the report: 1 to 64 bytes.
    pub server: &'a [u8],
    /// That server's time of receipt minus the stamp, in seconds: any decimal or exponent form.
    ///
    /// It is copied and never used in a calculation. Our servers write nine digits; a plain neighbour in Python
    /// may write `+9.5e-05`, which servers pass on unchanged.
    pub difference: &'a [u8],
    /// The client id.
    pub client: &'a [u8],
    /// Where the client is.
    pub location: Location<'a>,
    /// The time when the client was there, by its own clock.
    pub stamp: Stamp,
    /// The stamp's text as the client wrote it, for copying.
    pub stamp_text: &'a [u8],
    /// The whole line if single blanks separate its fields: then it is already canonical and needs no copy.
    pub line: Option<&'a [u8]>,
}

/// The operands of `HELLO <name> <herd> <version> [<key>=<value> ...]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The sending server; a [name](is_name).
    pub name: &'a [u8],
    /// The herd it belongs to; a [name](is_name).
    pub herd: &'a [u8],
    /// The sender's version of the protocol between servers.
    pub version: u32,
    /// The sender's options. The receiver ignores unknown ones.
    pub options: HelloOptions<'a>,
}

impl<'a> Command<'a> {
    /// Parses one line.
    ///
    /// `line`: without its delimiter. White space around it is ignored, and with it the CR of a CR LF. A
    /// [blank](is_blank) line is an error; a caller that ignores blank lines checks for them first.
    ///
    /// Errors: the first fault in the line. The port decides whether the connection goes on; a client
    /// gets `? ` and a copy ([`write_refusal`]).
    /// Source: docs/protocol.md.
    pub fn parse(line: &'a [u8], limits: &CommandLimits) -> Result<Command<'a>, ParseError> {
        if let Some(iamat) = usual::iamat(line, limits) {
            return Ok(Command::Iamat(iamat));
        }
        if let Some(at) = usual::at(line) {
            return Ok(Command::At(at));
        }
        let fields = &mut Fields::of(line);
        fields.skip_white();
        let before = *fields;
        match fields.next() {
            Some(b"IAMAT") => Iamat::parse(fields, limits).map(Command::Iamat),
            Some(b"AT") => At::parse(fields, before).map(Command::At),
            Some(b"WHATSAT") => Whatsat::parse(fields, limits).map(Command::Whatsat),
            Some(b"PING") => fields.end().map(|()| Command::Ping),
            Some(b"BYE") => fields.end().map(|()| Command::Bye),
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
    /// Parses the fields after `AT`. `before`: the whole line.
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

    /// Returns the versions of the peer protocol that the server speaks: those of the option [`SPEAKS`], `LOWEST-HIGHEST`,
    /// or without that option the one version of the line. `None` if the option is no such range.
    pub fn versions(&self) -> Option<RangeInclusive<u32>> {
        let Some(range) = self.options.get(SPEAKS) else {
            return Some(self.version..=self.version);
        };
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let versions = version_of(&range[..dash])?..=version_of(&range[dash + 1..])?;
        (!versions.is_empty()).then_some(versions)
    }
}

/// Returns the highest version that two servers both speak; `None` if there is none.
pub fn common_version(ours: &RangeInclusive<u32>, theirs: &RangeInclusive<u32>) -> Option<u32> {
    let highest = *ours.end().min(theirs.end());
    (ours.contains(&highest) && theirs.contains(&highest)).then_some(highest)
}

/// A radius in kilometres, more than 0 and at most 50.
///
/// The limit is exact: 50.000 is valid; 50.0 followed by any number of zeros and a 1 is not.
/// Source: docs/protocol.md, "Client port", `radius`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Radius<'a> {
    /// Digits, optionally a point and more digits.
    pub text: &'a [u8],
}

impl<'a> Radius<'a> {
    /// Parses a radius; `None` if `text` is not a decimal or is out of range.
    pub fn parse(text: &'a [u8]) -> Option<Radius<'a>> {
        let km = Decimal::parse(text)?;
        (km.at_most(RADIUS_KM_MAX) && !km.is_zero()).then_some(Radius { text })
    }

    /// Returns the radius in metres, the unit of Google Places: 0 to 50,000. The result is zero only if
    /// the radius is too small for a float.
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
    /// Checks that every field has a key. Values are not checked here.
    fn parse(fields: Fields<'a>) -> Result<HelloOptions<'a>, ParseError> {
        let options = HelloOptions { text: fields.rest() };
        let every_field_is_an_option = options.iter().count() == fields.count();
        every_field_is_an_option.then_some(options).ok_or(ParseError::Option)
    }

    /// Returns keys and values in the order of the line. A value may be empty and may contain `=`.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        Fields::of(self.text).filter_map(|field| {
            let equals = field.iter().position(|&byte| byte == b'=').filter(|&at| at > 0)?;
            Some((&field[..equals], &field[equals + 1..]))
        })
    }

    /// Returns the value of `key`; the first one if the line has it twice.
    pub fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|&(candidate, _)| candidate == key).map(|(_, value)| value)
    }
}

/// Whether `text` is a valid name of a server or a herd: 1 to 64 of `A`-`Z`, `a`-`z`, `0`-`9`, `.`, `_`, `-`.
pub fn is_name(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.iter().all(allowed)
}

/// Appends an AT line without its delimiter.
///
/// It is the reply to IAMAT, the first line of the reply to WHATSAT, and the line that servers flood.
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
    // Writing to a Vec never fails.
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

/// Appends the reply to an invalid command, without its delimiter: `? ` and a copy of the command.
///
/// `line`: without its delimiter; of an over-long line, the part to return. The copy keeps the white
/// space inside the line and drops the white space around it.
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

/// Parses a bound, 1 to 20, with any number of leading zeros.
fn bound_of(field: &[u8]) -> Option<usize> {
    let bound = digits_of(field)?;
    (1..=BOUND_MAX).contains(&bound).then_some(bound as usize)
}

/// Parses the operand of an ACK.
fn count_of(fields: &mut Fields<'_>) -> Result<u64, ParseError> {
    let count = digits_of(fields.operand()?).ok_or(ParseError::Count)?;
    fields.end().map(|()| count)
}

fn version_of(field: &[u8]) -> Option<u32> {
    u32::try_from(digits_of(field)?).ok()
}

/// Parses a decimal without a point; saturates at `u64::MAX`.
fn digits_of(field: &[u8]) -> Option<u64> {
    let decimal = Decimal::parse(field)?;
    (decimal.fraction.count == 0).then_some(decimal.whole.value)
}

/// Whether `field` is a decimal with an optional sign and an optional exponent.
fn is_difference(field: &[u8]) -> bool {
    // The fast path is for the form that our servers write for less than ten seconds, so for nearly every
    // difference.
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

/// Whether `text` is digits with an optional sign.
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
    fn a_hello_tells_a_range_of_versions_and_the_highest_common_one_counts() {
        let versions = |line: &str| match Command::parse(line.as_bytes(), &CommandLimits::default())
        {
            Ok(Command::Hello(hello)) => hello.versions(),
            other => panic!("{other:?}"),
        };
        assert_eq!(versions("HELLO A h 1"), Some(1..=1));
        assert_eq!(versions("HELLO A h 1 ack=1 speaks=1-3"), Some(1..=3));
        assert_eq!(versions("HELLO A h 2 speaks=2-2"), Some(2..=2));
        for wrong in ["", "1", "-", "1-", "-1", "3-1", "1-2-3", "+1-2", "1-4294967296"] {
            assert_eq!(versions(&format!("HELLO A h 1 speaks={wrong}")), None, "{wrong}");
        }
        for (ours, theirs, common) in [
            (1..=1, 1..=1, Some(1)),
            (1..=1, 1..=9, Some(1)),
            (1..=3, 2..=5, Some(3)),
            (2..=5, 1..=3, Some(3)),
            (2..=3, 1..=1, None),
            (1..=1, 2..=3, None),
        ] {
            assert_eq!(common_version(&ours, &theirs), common, "{ours:?} {theirs:?}");
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
