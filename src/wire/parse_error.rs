//! What can be wrong with a line, in words for the log. Who sent it gets a copy of it, no reason.

use std::fmt;

/// Why a line is no command: the text for the log, as [`Display`](fmt::Display).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The first field is not the name of a command.
    Name,
    /// Too few or too many operands.
    Operands,
    /// The client id is too long.
    Client,
    /// The location is none.
    Location,
    /// The location is too long.
    LocationBytes,
    /// The stamp is none.
    Stamp,
    /// The radius is no number or out of its range.
    Radius,
    /// The bound is no number or out of its range.
    Bound,
    /// The server's name is too long or, in a HELLO, none.
    Server,
    /// The difference is too long or no number.
    Difference,
    /// The herd's name is none.
    Herd,
    /// The version is no number.
    Version,
    /// The count of lines is no number.
    Count,
    /// An option without a key.
    Option,
    /// A number is not written in just so many hexadecimal digits, or begins no row.
    Hexadecimal,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Name => "no such command",
            ParseError::Operands => "wrong number of operands",
            ParseError::Client => "client id too long",
            ParseError::Location => "not a location",
            ParseError::LocationBytes => "location too long",
            ParseError::Stamp => "not a stamp",
            ParseError::Radius => "not a radius of more than 0 and at most 50",
            ParseError::Bound => "not a bound from 1 to 20",
            ParseError::Server => "not a server's name",
            ParseError::Difference => "not a difference",
            ParseError::Herd => "not a herd's name",
            ParseError::Version => "not a version",
            ParseError::Count => "not a count of lines",
            ParseError::Option => "not an option",
            ParseError::Hexadecimal => "not the hexadecimal digits that belong here",
        })
    }
}

impl std::error::Error for ParseError {}
