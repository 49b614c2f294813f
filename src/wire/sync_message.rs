//! The four lines with which two servers find out in which reports they differ.
//!
//! In: the operands of a line to parse, or the sums to write. Out: a [`SyncMessage`], or the line. The
//! [digest](crate::table::digest) defines the sums; the [comparison](crate::replication::anti_entropy)
//! decides what follows from them.
//!
//! ```text
//! SYNC   <sum>                the sum of the state
//! GROUPS <first> <32 sums>    the sums of 32 consecutive groups
//! LEAVES <first> <32 sums>    the sums of 32 consecutive leaves
//! WANT   <first> <32 bits>    requests the lines of the marked leaves among 32 consecutive ones
//! ```
//!
//! The idea: sums travel in rows of 32, so that every line fits any limit on lines, and a receiver
//! understands each line without the lines before it. All numbers are lower-case hexadecimal with leading
//! zeros: a sum has 16 digits, the first group two, the first leaf four, the marks eight.

use super::fields::Fields;
use super::parse_error::ParseError;

/// The number of leaves. The hash of a client's id decides to which leaf the client belongs.
pub const LEAVES: usize = 1 << 16;

/// The number of groups of leaves.
pub const GROUPS: usize = 1 << 8;

/// The number of leaves in a group.
pub const LEAVES_IN_GROUP: usize = LEAVES / GROUPS;

/// The number of groups or leaves in one line.
pub const ROW: usize = 32;

/// The length of the longest of these lines, in bytes, without its delimiter.
pub const ROW_LINE_BYTES_MAX: usize = "LEAVES 0000 ".len() + ROW * SUM_DIGITS;

const SUM_DIGITS: usize = 16;
const GROUP_DIGITS: usize = 2;
const LEAF_DIGITS: usize = 4;
const MARKS_DIGITS: usize = 8;

/// One line of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMessage<'a> {
    /// `SYNC <sum>`: the sum of all lines of the sender.
    Sync(u64),
    /// `GROUPS <first> <sums>`: the sums of 32 of the sender's groups.
    Groups(DigestRow<'a>),
    /// `LEAVES <first> <sums>`: the sums of 32 of the sender's leaves.
    Leaves(DigestRow<'a>),
    /// `WANT <first> <marks>`: the sender requests the lines of these leaves.
    Want(Marks),
}

/// The sums of 32 groups or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestRow<'a> {
    /// The index of the first group or leaf, a multiple of 32.
    pub first: usize,
    /// The digits of all 32 sums, already checked.
    text: &'a [u8],
}

/// A selection among 32 consecutive leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The index of the first leaf, a multiple of 32.
    pub first: usize,
    /// The selection: bit `n`, of value 2^n, stands for leaf `first + n`.
    pub bits: u32,
}

impl<'a> SyncMessage<'a> {
    /// Parses the operands of the line called `name`; `None` if no line has this name.
    pub(crate) fn parse(
        name: &[u8],
        fields: Fields<'a>,
    ) -> Option<Result<SyncMessage<'a>, ParseError>> {
        let mut fields = fields;
        let message = match name {
            b"SYNC" => hexadecimal(&mut fields, SUM_DIGITS).map(SyncMessage::Sync),
            b"GROUPS" => DigestRow::parse(&mut fields, GROUP_DIGITS).map(SyncMessage::Groups),
            b"LEAVES" => DigestRow::parse(&mut fields, LEAF_DIGITS).map(SyncMessage::Leaves),
            b"WANT" => Marks::parse(&mut fields).map(SyncMessage::Want),
            _ => return None,
        };
        Some(message.and_then(|message| fields.end().map(|()| message)))
    }
}

impl<'a> DigestRow<'a> {
    fn parse(fields: &mut Fields<'a>, first_digits: usize) -> Result<DigestRow<'a>, ParseError> {
        let first = first_of(fields, first_digits)?;
        let text = fields.operand()?;
        let are_sums = text.len() == ROW * SUM_DIGITS && text.iter().all(|&byte| is_digit(byte));
        are_sums.then_some(DigestRow { first, text }).ok_or(ParseError::Hexadecimal)
    }

    /// Returns the sums, in order.
    pub fn sums(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.text.chunks_exact(SUM_DIGITS).filter_map(|digits| number(digits, SUM_DIGITS))
    }
}

impl Marks {
    fn parse(fields: &mut Fields<'_>) -> Result<Marks, ParseError> {
        let first = first_of(fields, LEAF_DIGITS)?;
        Ok(Marks { first, bits: hexadecimal(fields, MARKS_DIGITS)? as u32 })
    }
}

/// Appends a SYNC line without its delimiter.
pub fn write_sync(out: &mut Vec<u8>, state: u64) {
    out.extend_from_slice(b"SYNC ");
    write_number(out, state, SUM_DIGITS);
}

/// Appends a GROUPS line without its delimiter. `groups`: the sums of all groups; `row`: the index of the
/// 32 to write.
pub fn write_groups(out: &mut Vec<u8>, groups: &[u64], row: usize) {
    write_row(out, b"GROUPS ", GROUP_DIGITS, groups, row);
}

/// Appends a LEAVES line without its delimiter. `leaves`: the sums of all leaves; `row`: the index of the
/// 32 to write.
pub fn write_leaves(out: &mut Vec<u8>, leaves: &[u64], row: usize) {
    write_row(out, b"LEAVES ", LEAF_DIGITS, leaves, row);
}

/// Appends a WANT line without its delimiter.
pub fn write_want(out: &mut Vec<u8>, marks: Marks) {
    out.extend_from_slice(b"WANT ");
    write_number(out, marks.first as u64, LEAF_DIGITS);
    out.push(b' ');
    write_number(out, u64::from(marks.bits), MARKS_DIGITS);
}

fn write_row(out: &mut Vec<u8>, name: &[u8], first_digits: usize, sums: &[u64], row: usize) {
    let first = row * ROW;
    out.extend_from_slice(name);
    write_number(out, first as u64, first_digits);
    out.push(b' ');
    sums[first..first + ROW].iter().for_each(|&sum| write_number(out, sum, SUM_DIGITS));
}

/// Parses the next field as a number of exactly `digits` hexadecimal digits.
fn hexadecimal(fields: &mut Fields<'_>, digits: usize) -> Result<u64, ParseError> {
    number(fields.operand()?, digits).ok_or(ParseError::Hexadecimal)
}

/// Parses the first index of a row. A group has two digits and a leaf four, so every number of that length
/// is a valid index.
fn first_of(fields: &mut Fields<'_>, digits: usize) -> Result<usize, ParseError> {
    const _: () = assert!(GROUPS == 1 << (4 * GROUP_DIGITS) && LEAVES == 1 << (4 * LEAF_DIGITS));
    let first = hexadecimal(fields, digits)? as usize;
    first.is_multiple_of(ROW).then_some(first).ok_or(ParseError::Hexadecimal)
}

/// Parses a number of exactly `digits` hexadecimal digits, at most 16.
fn number(text: &[u8], digits: usize) -> Option<u64> {
    let is_one = text.len() == digits && text.iter().all(|&byte| is_digit(byte));
    let value = |byte: u8| u64::from(if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 });
    is_one.then(|| text.iter().fold(0, |number, &byte| number << 4 | value(byte)))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn write_number(out: &mut Vec<u8>, number: u64, digits: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibble = |position: usize| DIGITS[(number >> (4 * position)) as usize & 0xf];
    out.extend((0..digits).rev().map(nibble));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, CommandLimits};

    fn parse(line: &[u8]) -> Result<Command<'_>, ParseError> {
        Command::parse(line, &CommandLimits::default())
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let sums: Vec<u64> =
            (0..LEAVES as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for row in [0, 1, GROUPS / ROW - 1] {
            let mut line = Vec::new();
            write_groups(&mut line, &sums[..GROUPS], row);
            let Ok(Command::Compare(SyncMessage::Groups(read))) = parse(&line) else { panic!() };
            assert_eq!(read.first, row * ROW);
            assert!(read.sums().eq(sums[row * ROW..][..ROW].iter().copied()));
        }
        for row in [0, 7, LEAVES / ROW - 1] {
            let mut line = Vec::new();
            write_leaves(&mut line, &sums, row);
            assert_eq!(line.len(), ROW_LINE_BYTES_MAX);
            let Ok(Command::Compare(SyncMessage::Leaves(read))) = parse(&line) else { panic!() };
            assert_eq!(read.first, row * ROW);
            assert!(read.sums().eq(sums[row * ROW..][..ROW].iter().copied()));
        }
        let mut line = Vec::new();
        write_sync(&mut line, 0x0123_4567_89ab_cdef);
        assert_eq!(line, b"SYNC 0123456789abcdef");
        assert_eq!(parse(&line), Ok(Command::Compare(SyncMessage::Sync(0x0123_4567_89ab_cdef))));
        let marks = Marks { first: 0xffe0, bits: 0x8000_0001 };
        let mut line = Vec::new();
        write_want(&mut line, marks);
        assert_eq!(line, b"WANT ffe0 80000001");
        assert_eq!(parse(&line), Ok(Command::Compare(SyncMessage::Want(marks))));
    }

    #[test]
    fn a_number_has_all_its_digits_and_a_row_begins_at_a_multiple_of_32() {
        let sums = "0".repeat(ROW * SUM_DIGITS);
        for (line, reason) in [
            ("SYNC".to_owned(), ParseError::Operands),
            ("SYNC 0".to_owned(), ParseError::Hexadecimal),
            ("SYNC 0123456789abcdeF".to_owned(), ParseError::Hexadecimal),
            ("SYNC 0123456789abcdefa".to_owned(), ParseError::Hexadecimal),
            ("SYNC +123456789abcdef".to_owned(), ParseError::Hexadecimal),
            ("SYNC 0123456789abcdef 0".to_owned(), ParseError::Operands),
            (format!("GROUPS {sums}"), ParseError::Hexadecimal),
            (format!("GROUPS 00 {sums}0"), ParseError::Hexadecimal),
            (format!("GROUPS 00 g{}", &sums[1..]), ParseError::Hexadecimal),
            (format!("GROUPS 01 {sums}"), ParseError::Hexadecimal),
            (format!("GROUPS 0000 {sums}"), ParseError::Hexadecimal),
            (format!("GROUPS 00 {sums} {sums}"), ParseError::Operands),
            (format!("LEAVES 00 {sums}"), ParseError::Hexadecimal),
            (format!("LEAVES 0010 {sums}"), ParseError::Hexadecimal),
            (format!("LEAVES 10000 {sums}"), ParseError::Hexadecimal),
            ("LEAVES 0020".to_owned(), ParseError::Operands),
            ("WANT 0020 0".to_owned(), ParseError::Hexadecimal),
            ("WANT 0021 00000001".to_owned(), ParseError::Hexadecimal),
            ("WANT 0020 00000001 1".to_owned(), ParseError::Operands),
            ("sync 0123456789abcdef".to_owned(), ParseError::Name),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(reason), "{line}");
        }
    }
}
