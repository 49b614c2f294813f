//! What can be wrong with a line, in words for the log. Who sent it gets a copy of it, no reason.

use std::fmt;

/// Why a line is no command: the text for the log, as [`Display`](fmt::Display).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The first field is not the name of a command.
    Name,
    /// Too few or too many operands.
    Operands,
    /// The client id is too long.
    Client,
    /// The location is too long or none.
    Location,
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

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::Name => "no such command",
            Invalid::Operands => "wrong number of operands",
            Invalid::Client => "client id too long",
            Invalid::Location => "not a location",
            Invalid::Stamp => "not a stamp",
            Invalid::Radius => "not a radius of more than 0 and at most 50",
            Invalid::Bound => "not a bound from 1 to 20",
            Invalid::Server => "not a server's name",
            Invalid::Difference => "not a difference",
            Invalid::Herd => "not a herd's name",
            Invalid::Version => "not a version",
            Invalid::Count => "not a count of lines",
            Invalid::Option => "not an option",
            Invalid::Hexadecimal => "not the hexadecimal digits that belong here",
        })
    }
}

impl std::error::Error for Invalid {}
