//! The log's view of stderr, which must never stop the loop.
//!
//! In: lines. Out: writes that the kernel takes at once. A terminal that is stopped with Ctrl-S, or a pipe whose reader
//! does not read, would block a write for ever. The descriptor cannot be made non-blocking, because that would concern
//! every process that shares it.
//!
//! So stderr is polled before each write, without waiting. A pipe that is ready takes at least PIPE_BUF bytes
//! (pipe(7)), and so much is written at a time. While it is not ready, the [`LogFile`](super::LogFile) keeps lines,
//! then drops and counts them, as it does for a full disk.
//!
//! That is not enough for a terminal, which is ready when it takes one byte, nor for a pipe that several servers write
//! to, which another one may fill after the poll. So a pipe or a terminal is opened again, which gives a description
//! that this process has alone and that can be non-blocking. Where that is forbidden, the poll is all there is.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::pipe::PIPE_BUF;
use rustix::stdio::stderr;

use super::LogDisk;

/// Stderr as a place for log lines.
#[derive(Debug)]
pub(super) struct Stderr {
    /// The pipe or terminal, opened again.
    own: Option<OwnedFd>,
}

impl Stderr {
    pub(super) fn new() -> Stderr {
        Stderr { own: own(stderr()) }
    }
}

impl LogDisk for Stderr {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(self.own.as_ref().map_or(stderr(), AsFd::as_fd), bytes)
    }
}

/// Opens the pipe or terminal `shared` again, non-blocking.
fn own(shared: BorrowedFd<'_>) -> Option<OwnedFd> {
    let found = FileType::from_raw_mode(fstat(shared).ok()?.st_mode);
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let is_either = matches!(found, FileType::Fifo | FileType::CharacterDevice);
    is_either.then(|| open(path, flags, Mode::empty()).ok())?
}

/// Writes what `to` takes at once.
fn append(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut polled = [PollFd::new(&to, PollFlags::OUT)];
    if poll(&mut polled, Some(&Timespec::default()))? == 0 {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "nothing reads stderr"));
    }
    let most = &bytes[..bytes.len().min(PIPE_BUF)];
    // Whole lines. Only a longer line is written in pieces, with the next piece before anything else.
    let end = memchr::memrchr(b'\n', most).map_or(most.len(), |end| end + 1);
    Ok(rustix::io::write(to, &most[..end])?)
}

/// Whether journald reads stderr: `journal_stream`, of the environment, names its device and inode.
pub(super) fn is_journal(journal_stream: Option<&OsStr>) -> bool {
    let found = fstat(stderr()).map(|found| format!("{}:{}", found.st_dev, found.st_ino));
    found.is_ok_and(|found| journal_stream.is_some_and(|named| named == found.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogFile;
    use ::log::Level;
    use std::fs::File;
    use std::io::{PipeWriter, Read, pipe};

    struct ToPipe(PipeWriter);

    impl LogDisk for ToPipe {
        fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
            append(self.0.as_fd(), bytes)
        }
    }

    #[test]
    fn a_pipe_that_nothing_reads_is_never_waited_for_and_the_next_line_tells_how_many_are_missing()
    {
        const LINES: usize = 100_000;

        let (mut reader, writer) = pipe().expect("descriptors are free");
        let mut log = LogFile::new(Box::new(ToPipe(writer)), || 0);
        (0..LINES).for_each(|n| log.tell(Level::Warn, &format!("{n:064}")));
        let dropped = log.dropped as usize;
        assert!(dropped > LINES / 2, "{dropped}");
        // Now there is a reader.
        let mut text = String::new();
        while log.unwritten() {
            let mut chunk = [0; 1 << 16];
            let count = reader.read(&mut chunk).expect("a pipe");
            text.push_str(str::from_utf8(&chunk[..count]).expect("ASCII"));
            log.flush();
        }
        log.tell(Level::Warn, "the last");
        drop(log);
        reader.read_to_string(&mut text).expect("a pipe");
        let lines: Vec<&str> = text.lines().collect();
        let kept = LINES - dropped;
        for (n, line) in lines[..kept].iter().enumerate() {
            assert!(line.ends_with(&format!(" WARN  {n:064}")), "no line is torn: {line}");
        }
        let missing = format!("{dropped} lines are missing here: ");
        assert!(lines[kept].contains(&missing), "{}", lines[kept]);
        assert_eq!((lines.len(), lines[kept + 1].ends_with(" the last")), (kept + 2, true));
    }

    #[test]
    fn whole_lines_are_written_and_a_longer_one_in_pieces_with_nothing_between() {
        let (_reader, writer) = pipe().expect("descriptors are free");
        let lines =
            [b"x".repeat(3_000), b"\n".to_vec(), b"y".repeat(3_000), b"\n".to_vec()].concat();
        assert_eq!(append(writer.as_fd(), &lines).expect("there is room"), 3_001);
        let long = b"z".repeat(10_000);
        assert_eq!(append(writer.as_fd(), &long).expect("there is room"), PIPE_BUF);
    }

    #[test]
    fn a_file_a_device_and_a_closed_pipe_are_not_waited_for_either() {
        for path in ["/dev/null", "/dev/full"] {
            let file = File::options().write(true).open(path).expect("Linux has one");
            assert_eq!(append(file.as_fd(), b"x\n").is_ok(), path == "/dev/null");
        }
        let (reader, writer) = pipe().expect("descriptors are free");
        drop(reader);
        let why = append(writer.as_fd(), b"x\n").expect_err("nobody can read it").kind();
        assert_eq!(why, io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_terminal_with_room_for_less_than_a_line_is_not_waited_for() {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("Linux has some");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name").into_string();
        let terminal = File::options().write(true).open(name.expect("ASCII")).expect("it is ours");
        let mut log = LogFile::new(Box::new(Stderr { own: own(terminal.as_fd()) }), || 0);
        (0..3_000).for_each(|n| log.tell(Level::Warn, &format!("{n:0100}")));
        assert!(log.dropped > 0, "this ends, although nothing reads the terminal");
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let found = fstat(stderr()).expect("it is open");
        let named = format!("{}:{}", found.st_dev, found.st_ino);
        assert!(is_journal(Some(OsStr::new(&named))));
        for other in ["", "1", ":", "0:0", &format!("{named}0"), &format!("{named}:")] {
            assert!(!is_journal(Some(OsStr::new(other))), "{other}");
        }
        assert!(!is_journal(None));
    }
}
