//! The line receiver and the command parser.

use super::{choice, pieces};
use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::StringTransport;
use herd_reactor::{Context, Flow, Protocol, Shared};
use places_herd::wire::command::{Command, CommandLimits, write_hello, write_refusal};
use places_herd::wire::report::Report;
use places_herd::wire::sync_message::{
    DigestRow, SyncMessage, write_groups, write_leaves, write_sync, write_want,
};
use std::error::Error;

/// The received lines; `None` for a line that was too long.
#[derive(Debug, Default)]
struct Heard(Vec<Option<Vec<u8>>>);

impl Shared for Heard {
    type Message = ();
}

#[derive(Debug)]
struct Listener;

impl LineProtocol<Heard> for Listener {
    fn name(&self) -> &'static str {
        "Listener"
    }

    fn line_received(
        &mut self,
        cx: &mut Context<'_, Heard>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn Error>> {
        cx.state.0.push(Some(line.to_vec()));
        Ok(Mode::Lines)
    }

    fn line_length_exceeded(&mut self, cx: &mut Context<'_, Heard>, _start: &[u8]) -> Flow {
        cx.state.0.push(None);
        Ok(())
    }
}

/// For any chunking, the receiver returns the lines of a plain split, up to the first that is too long.
pub fn lines(data: &[u8]) {
    const LINE_BYTES: usize = 40;
    let (seed, text) = choice(data);
    let mut transport = StringTransport::new(Heard::default());
    let limits = LineLimits { line_bytes: LINE_BYTES, ..LineLimits::default() };
    let mut receiver = LineReceiver::new(Listener, limits);
    for piece in pieces(seed, text) {
        receiver.data_received(&mut transport.context(), piece).expect("this listener never fails");
    }
    receiver.read_connection_lost(&mut transport.context()).expect("this listener never fails");

    let mut expected: Vec<Option<Vec<u8>>> = Vec::new();
    let mut parts: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    for part in parts {
        let line = part.strip_suffix(b"\r").unwrap_or(part);
        let fits = line.len() <= LINE_BYTES;
        expected.push(fits.then(|| line.to_vec()));
        if !fits {
            break;
        }
    }
    assert_eq!(transport.state.0, expected);
}

/// A parsed line can be written and parsed again to the same command; a refusal is one line.
pub fn command(data: &[u8]) {
    if data.contains(&b'\n') {
        return;
    }
    let limits = CommandLimits::default();
    let mut scratch = Vec::new();
    match Command::parse(data, &limits) {
        Ok(Command::Iamat(iamat)) => {
            let received = iamat.stamp;
            let report = Report::taken(&iamat, b"Alford", received, &mut scratch);
            assert_eq!((report.client(), report.stamp()), (iamat.client, iamat.stamp));
            let line = report.line().to_vec();
            let Ok(Command::At(at)) = Command::parse(&line, &limits) else {
                panic!("an AT line of ours is not understood: {}", line.escape_ascii());
            };
            assert_eq!(Report::relayed(&at, &mut Vec::new()).line(), line);
            let (latitude, longitude) = iamat.location.degrees();
            assert!(latitude.abs() <= 90.0 && longitude.abs() <= 180.0);
        }
        Ok(Command::At(at)) => {
            let line = Report::relayed(&at, &mut scratch).line().to_vec();
            let Ok(Command::At(again)) = Command::parse(&line, &limits) else {
                panic!("a relayed AT line is not understood: {}", line.escape_ascii());
            };
            assert_eq!(Report::relayed(&again, &mut Vec::new()).line(), line);
        }
        Ok(Command::Whatsat(whatsat)) => {
            assert!((1..=20).contains(&whatsat.bound));
            let metres = whatsat.radius.metres();
            assert!(metres > 0.0 && metres <= 50_000.0);
        }
        Ok(Command::Hello(hello)) => {
            let options: Vec<_> = hello.options.iter().collect();
            write_hello(&mut scratch, hello.name, hello.herd, hello.version, &options);
            let Ok(Command::Hello(again)) = Command::parse(&scratch, &limits) else {
                panic!("a HELLO of ours is not understood: {}", scratch.escape_ascii());
            };
            assert_eq!(
                (again.name, again.herd, again.version),
                (hello.name, hello.herd, hello.version)
            );
        }
        Ok(_) => {}
        Err(invalid) => {
            write_refusal(&mut scratch, data);
            assert!(scratch.starts_with(b"?") && !scratch.contains(&b'\n'));
            assert!(!invalid.to_string().contains('\n'));
        }
    }
}

/// The parser accepts a comparison's line if a plain reader does, and the line can be written back unchanged.
pub fn rows(data: &[u8]) {
    if data.contains(&b'\n') {
        return;
    }
    let said = match Command::parse(data, &CommandLimits::default()) {
        Ok(Command::Compare(said)) => Some(said),
        _ => None,
    };
    assert_eq!(said.is_some(), looks_like_a_row(data), "{}", data.escape_ascii());
    let Some(said) = said else { return };
    let mut printed = Vec::new();
    match said {
        SyncMessage::Sync(state) => write_sync(&mut printed, state),
        SyncMessage::Groups(row) => write_groups(&mut printed, &sums(row, 256), row.first / 32),
        SyncMessage::Leaves(row) => write_leaves(&mut printed, &sums(row, 65_536), row.first / 32),
        SyncMessage::Want(marks) => write_want(&mut printed, marks),
    }
    assert_eq!(printed, fields(data).join(&b' '));
}

/// Returns `count` sums: those of `row` at their index, and 0 everywhere else.
fn sums(row: DigestRow<'_>, count: usize) -> Vec<u64> {
    let mut sums = vec![0; count];
    let mut said = 0;
    for (place, sum) in sums[row.first..].iter_mut().zip(row.sums()) {
        *place = sum;
        said += 1;
    }
    assert_eq!(said, 32);
    sums
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c);
    line.split(white).filter(|field| !field.is_empty()).collect()
}

fn looks_like_a_row(line: &[u8]) -> bool {
    let hex = |field: &[u8], digits: usize| {
        field.len() == digits && field.iter().all(|byte| b"0123456789abcdef".contains(byte))
    };
    // A multiple of 32: the last digit is 0, and the one before it is even.
    let first = |field: &[u8], digits: usize| {
        hex(field, digits)
            && matches!(field, [.., b'0' | b'2' | b'4' | b'6' | b'8' | b'a' | b'c' | b'e', b'0'])
    };
    match fields(line)[..] {
        [b"SYNC", sum] => hex(sum, 16),
        [b"GROUPS", group, sums] => first(group, 2) && hex(sums, 512),
        [b"LEAVES", leaf, sums] => first(leaf, 4) && hex(sums, 512),
        [b"WANT", leaf, marks] => first(leaf, 4) && hex(marks, 8),
        _ => false,
    }
}
