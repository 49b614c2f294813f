//! What can be wrong with a line, worded for the log. The sender gets `? ` and a copy of its line, without the reason.

use std::fmt;

/// Why a line is not a valid command. [`Display`](fmt::Display) writes the reason for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The first field is not the name of a command.
    Name,
    /// Too few or too many operands.
    Operands,
    /// The client id is too long.
    Client,
    /// The location is malformed or out of range.
    Location,
    /// The location is too long.
    LocationBytes,
    /// The stamp is malformed.
    Stamp,
    /// The radius is not a number or is out of range.
    Radius,
    /// The bound is not a number or is out of range.
    Bound,
    /// The server's name is too long or, in a HELLO, malformed.
    Server,
    /// The difference is too long or not a number.
    Difference,
    /// The herd's name is malformed.
    Herd,
    /// The version is not a number.
    Version,
    /// The count of an ACK is not a number.
    Count,
    /// A HELLO has an option without a key.
    Option,
    /// A number does not have the exact count of hexadecimal digits, or is not the beginning of a row.
    Hexadecimal,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Name => "there is no such command",
            ParseError::Operands => "the command has the wrong number of operands",
            ParseError::Client => "the client id is too long",
            ParseError::Location => "the location is not like +34.068930-118.445127: degrees from -90 to 90 and -180 to 180, with signs",
            ParseError::LocationBytes => "the location is too long",
            ParseError::Stamp => "the time is not like 1479413884.392014450: POSIX seconds, with at most 10 and 9 digits",
            ParseError::Radius => "the radius is not a number above 0 and at most 50",
            ParseError::Bound => "the bound is not a whole number from 1 to 20",
            ParseError::Server => "the server's name is malformed or too long",
            ParseError::Difference => "the time difference is not a number or is too long",
            ParseError::Herd => "the herd's name is malformed or too long",
            ParseError::Version => "the protocol version is not a number",
            ParseError::Count => "the count of lines is not a number",
            ParseError::Option => "an option is not of the form key=value",
            ParseError::Hexadecimal => "a hexadecimal number has the wrong form or value",
        })
    }
}

impl std::error::Error for ParseError {}
