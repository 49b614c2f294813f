//! Relays lines from stdin to a server, and its replies to stdout.
//!
//! ```text
//!   stdin ──read──▶ unsent ──write──▶ server ──read──▶ stdout
//!                   64 KiB at most
//! ```
//!
//! Bytes are passed on unchanged, except that replies are escaped on a terminal. At the end of stdin the relay shuts
//! its side of the connection down. The server then sends the remaining replies and closes, which ends the relay.
//!
//! The relay uses one `poll(2)` over two descriptors, because the reactor's `Io` knows only sockets. It never
//! waits until the server takes its lines, since the server may be waiting for the relay to take replies
//! (docs/protocol.md).
//!
//! The relay leaves a server that sends more than 4 MiB, the longest reply, for each line and once more.
//!
//! stdin may be silent for any time. The timeout runs while a reply is [due](Due), while the server takes no bytes, and
//! after the end of stdin. Each complete reply starts it again. Only the time in poll(2) counts, not the time that
//! writing to stdout takes.

use super::super::exit::{Exit, Failure};
use super::secure::{Connection, hint};
use super::{REPLY_BYTES_MAX, reason, show};
use crate::cli::print_error;
use crate::wire::command::is_blank;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::mem;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Maximum bytes read from either side at a time, and so the most that are buffered. While this many replies are due,
/// the relay does not read stdin.
const CHUNK_BYTES: usize = 64 << 10;

/// The silence of the server after which a prompt is printed.
const PROMPT_AFTER: Duration = Duration::from_millis(50);

/// The fault of a server that sent more than all replies together may have.
const FLOOD: &str = "sent more than 4 MiB for each line: it is not a server of a herd";

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// stdin ended, and then the server closed the connection.
    Both,
    /// The server rejected a line that came from a pipe.
    Refused,
    /// The server broke the protocol, or closed the connection too early.
    Fault(&'static str),
    /// The server neither sent nor received anything for the time of the timeout.
    Silence,
}

/// The server, stdin, and the bytes on their way between them.
#[derive(Debug)]
pub(super) struct Relay {
    server: Connection,
    /// This is not a `Stdin`, because poll does not see its buffer.
    stdin: File,
    stdin_is_open: bool,
    unsent: Vec<u8>,
    /// The prompt, if stdin and stdout are terminals.
    prompt: Option<String>,
    prompt_is_due: bool,
    /// Whether stdin is a terminal.
    is_typed: bool,
    /// Whether the relay goes on after a rejected line.
    keep_going: bool,
    chunk: Vec<u8>,
    due: Due,
    /// How long the server may be silent while the relay waits for it.
    timeout: Duration,
    /// How long the server has been silent.
    silence: Duration,
}

impl Relay {
    /// A relay to `server`, whose `name` is the prompt if stdin and stdout are terminals. If stdin is not a
    /// terminal, a rejected line ends the relay, unless `keep_going`.
    pub(super) fn new(
        mut server: Connection,
        name: &str,
        timeout: Duration,
        keep_going: bool,
    ) -> io::Result<Relay> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let is_typed = stdin.is_terminal();
        let has_prompt = is_typed && stdout.is_terminal();
        server.set_nonblocking()?;
        Ok(Relay {
            server,
            stdin: stdin.as_fd().try_clone_to_owned()?.into(),
            stdin_is_open: true,
            unsent: Vec::new(),
            prompt: has_prompt.then(|| format!("{name}> ")),
            is_typed,
            keep_going: keep_going || is_typed,
            prompt_is_due: has_prompt,
            chunk: vec![0; CHUNK_BYTES],
            due: Due::new(),
            timeout,
            silence: Duration::ZERO,
        })
    }

    /// Passes bytes in both directions until there are no more.
    pub(super) fn run(mut self) -> Result<End, Failure> {
        loop {
            let (server_is_ready, stdin_is_ready) = self.wait()?;
            // Replies first: if the server has closed, sending fails, and its last reply would not be printed.
            if server_is_ready && let Some(end) = self.receive()? {
                return Ok(end);
            }
            if self.silence >= self.timeout {
                return Ok(End::Silence);
            }
            if self.sends() {
                self.send()?;
            }
            if stdin_is_ready {
                self.read()?;
            }
        }
    }

    /// Waits until the server or stdin is ready, and returns which of them is. Prints the prompt when it is due.
    fn wait(&mut self) -> Result<(bool, bool), Failure> {
        let sends = if self.sends() { PollFlags::OUT } else { PollFlags::empty() };
        let mut polled = [
            PollFd::new(self.server.socket(), PollFlags::IN | sends),
            PollFd::new(&self.stdin, PollFlags::IN),
        ];
        // poll always reports a hang-up, so stdin is left out while it is not to be read.
        let has_room = self.unsent.is_empty() && self.due.lines.len() < CHUNK_BYTES;
        let count = if self.stdin_is_open && has_room { 2 } else { 1 };
        let is_due = !self.due.lines.is_empty();
        let is_awaited = is_due || !self.unsent.is_empty() || !self.stdin_is_open;
        let patience = is_awaited.then(|| self.timeout.saturating_sub(self.silence));
        let prompt = self.prompt_is_due.then_some(PROMPT_AFTER);
        let timeout = patience.into_iter().chain(prompt).min();
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or_default());
        let begun = Instant::now();
        let ready = match poll(&mut polled[..count], timeout.as_ref()) {
            // The process was stopped and continued. That time does not count.
            Err(Errno::INTR) => return Ok((false, false)),
            ready => ready.map_err(|e| Failure::os("poll", e))?,
        };
        self.silence = if is_awaited { self.silence + begun.elapsed() } else { Duration::ZERO };
        let ready_now = polled.map(|polled| !polled.revents().is_empty());
        if let (0, true, Some(prompt)) = (ready, self.prompt_is_due, &self.prompt) {
            self.prompt_is_due = false;
            show(prompt.as_bytes())?;
        }
        Ok(ready_now.into())
    }

    /// Prints what the server sent. Returns an end if the server closed the connection, or the relay leaves it.
    fn receive(&mut self) -> Result<Option<End>, Failure> {
        let received = tried(self.server.read(&mut self.chunk)).map_err(gone)?;
        let Some(count) = received else { return Ok(None) };
        let reply = &self.chunk[..count];
        if !reply.is_empty() {
            if self.due.received(reply) {
                self.silence = Duration::ZERO;
            }
            show(reply)?;
            self.prompt_is_due = self.prompt.is_some() && reply.ends_with(b"\n");
            let refused = mem::take(&mut self.due.refused);
            for line in &refused {
                let line_shown = String::from_utf8_lossy(line);
                print_error(format_args!("herd: rejected {line_shown:?}: {}", reason(line)));
            }
            if !refused.is_empty() && !self.keep_going {
                return Ok(Some(End::Refused));
            }
            return Ok((self.due.room == 0).then_some(End::Fault(FLOOD)));
        }
        if self.prompt.is_some() {
            show(b"\n")?;
        }
        Ok(Some(match (self.due.lines.is_empty(), self.stdin_is_open) {
            (false, _) => End::Fault("closed the connection before all replies were complete"),
            (true, true) => End::Fault("closed the connection"),
            (true, false) => End::Both,
        }))
    }

    /// Whether there are bytes to send.
    fn sends(&self) -> bool {
        !self.unsent.is_empty() || self.server.wants_write()
    }

    /// Sends as much as the server takes.
    fn send(&mut self) -> Result<(), Failure> {
        let sent = tried(self.server.write(&self.unsent)).map_err(gone)?;
        self.unsent.drain(..sent.unwrap_or(0));
        Ok(())
    }

    /// Reads stdin. When stdin ends, half-closes the connection.
    fn read(&mut self) -> Result<(), Failure> {
        let read = tried(self.stdin.read(&mut self.chunk));
        let Some(count) = read.map_err(|e| Failure::os("stdin", e))? else { return Ok(()) };
        let typed = &self.chunk[..count];
        let stamped = if self.is_typed { stamped(typed, super::now) } else { None };
        let typed = stamped.as_deref().unwrap_or(typed);
        self.unsent.extend_from_slice(typed);
        self.due.typed(typed);
        if typed.is_empty() {
            self.stdin_is_open = false;
            // If the server has closed meanwhile, receiving reports it.
            let _ = self.server.end();
        } else if is_blank(typed) {
            // The server does not reply to a blank line, so the prompt is due without a reply.
            self.prompt_is_due = self.prompt.is_some();
        }
        Ok(())
    }
}

/// Returns the line with the time at its end, if it is an IAMAT without a time stamp.
fn stamped(line: &[u8], now: impl FnOnce() -> String) -> Option<Vec<u8>> {
    let mut words = line.split(|byte| is_blank(&[*byte])).filter(|word| !word.is_empty());
    let is_one = line.ends_with(b"\n") && words.next() == Some(b"IAMAT") && words.count() == 2;
    is_one.then(|| [line.trim_ascii(), b" ", now().as_bytes(), b"\n"].concat())
}

/// The replies that are due, and how much more the server may send. It follows the bytes of both directions.
#[derive(Debug, Default)]
struct Due {
    /// The first byte of each line that has no complete reply yet. Only the reply to a WHATSAT (`W`) has places.
    lines: VecDeque<u8>,
    /// The first byte of the line that is being typed, after white space: the server ignores blank lines.
    typed: Option<u8>,
    /// Whether the line that is being typed has its reply already, because it is too long.
    is_answered: bool,
    /// The first byte of the line that is being received.
    first: Option<u8>,
    /// The bytes after `?` in the line that is being received, if it begins with that; at most [`CHUNK_BYTES`].
    echo: Vec<u8>,
    /// The lines that the server has rejected, and that have not been reported yet.
    refused: Vec<Vec<u8>>,
    /// The server is sending the places of a reply, which end with a blank line.
    in_places: bool,
    /// Bytes: the longest reply for each line that was typed, and one more.
    room: u64,
}

impl Due {
    fn new() -> Due {
        Due { room: REPLY_BYTES_MAX, ..Due::default() }
    }

    /// Takes bytes that will be sent; none at the end of stdin. The server accepts a last line without its newline.
    fn typed(&mut self, typed: &[u8]) {
        let end = if typed.is_empty() { b"\n" } else { typed };
        for byte in end {
            if *byte == b'\n' {
                self.lines.extend(self.typed.take().filter(|_| !self.is_answered));
                self.is_answered = false;
                self.room = self.room.saturating_add(REPLY_BYTES_MAX);
            } else if !is_blank(&[*byte]) {
                self.typed.get_or_insert(*byte);
            }
        }
    }

    /// Takes bytes that the server sent. Returns whether they complete a reply that was due. A reply is a line `AT ...`
    /// or `? ...`. After the `AT ...` for a WHATSAT come places and a blank line.
    fn received(&mut self, bytes: &[u8]) -> bool {
        let before = self.lines.len();
        self.room = self.room.saturating_sub(bytes.len() as u64);
        for byte in bytes {
            if *byte != b'\n' {
                if self.first == Some(b'?') && !self.in_places && self.echo.len() < CHUNK_BYTES {
                    self.echo.push(*byte);
                }
                self.first.get_or_insert(*byte);
                continue;
            }
            let (first, was_in_places) = (self.first.take(), self.in_places);
            let has_places = first == Some(b'A') && self.lines.front() == Some(&b'W');
            self.in_places = first.is_some() && (was_in_places || has_places);
            let echo = mem::take(&mut self.echo).trim_ascii().to_vec();
            let is_due = !self.lines.is_empty() || self.typed.is_some();
            if first == Some(b'?') && !was_in_places && is_due {
                self.refused.push(echo);
            }
            if !self.in_places && (was_in_places || matches!(first, Some(b'A' | b'?'))) {
                self.is_answered |= self.lines.pop_front().is_none() && self.typed.is_some();
            }
        }
        self.lines.len() < before
    }
}

fn gone(error: io::Error) -> Failure {
    let what = format!("lost the connection to the server: {error}{}", hint(&error));
    Failure::new(Exit::Unavailable, what)
}

/// Returns the count of a read or write; `None` if it would have had to wait.
fn tried(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iamat_of_two_operands_gets_the_time_and_nothing_else_does() {
        let stamped = |line: &str| stamped(line.as_bytes(), || "5.25".into());
        assert_eq!(
            stamped(" IAMAT  kiwi +1+2 \r\n").as_deref(),
            Some(&b"IAMAT  kiwi +1+2 5.25\n"[..])
        );
        assert!(
            stamped("\x0bIAMAT\x0bkiwi\x0c+1+2\x0b\n").is_some(),
            "white space as for the server"
        );
        for line in
            ["IAMAT kiwi +1+2", "IAMAT kiwi\n", "IAMAT kiwi +1+2 5\n", "WHATSAT kiwi 10\n", "\n"]
        {
            assert_eq!(stamped(line), None, "{line:?}");
        }
    }

    #[test]
    fn an_echo_without_end_takes_bounded_memory() {
        let mut due = Due::new();
        due.typed(b"x\n");
        due.received(b"?");
        (0..3).for_each(|_| assert!(!due.received(&[b'x'; CHUNK_BYTES])));
        assert_eq!(due.echo.len(), CHUNK_BYTES);
        assert!(due.received(b"\n") && due.refused.len() == 1 && due.echo.is_empty());
    }

    #[test]
    fn a_reply_is_due_for_each_line_that_is_not_blank_however_the_bytes_are_cut() {
        let typed = b"blub\n \t\r\n\nIAMAT kiwi +1+2 5\nWHATSAT kiwi 10 5";
        let said = b"? blub\nAT A +1 kiwi +1+2 5\nAT A +1 kiwi +1+2 5\n{\n   \"A\" : 1\n}\n\n";
        for size in 1..typed.len() {
            let mut due = Due::new();
            typed.chunks(size).for_each(|chunk| due.typed(chunk));
            assert_eq!(due.lines, b"bI", "the last line has not ended");
            due.typed(b"");
            assert_eq!(due.lines, b"bIW");
            let (last, most) = said.split_last().expect("it is not empty");
            let whole = most.chunks(size).filter(|chunk| due.received(chunk)).count();
            assert!((1..=2).contains(&whole), "{whole}");
            assert_eq!(due.lines, b"W", "the blank line has not ended");
            assert!(due.received(&[*last]) && due.lines.is_empty());
            assert!(!due.received(b"? blub\n"), "no reply is due");
            due.typed(b"too long");
            due.received(b"? too\n");
            due.typed(b" a line\nIAMAT");
            due.typed(b"");
            assert_eq!(due.lines, b"I", "the line that was too long has its reply");
            assert_eq!(
                due.refused,
                [&b"blub"[..], b"too"],
                "echoes that are due, no lines of places"
            );
            assert_eq!(due.room, 8 * REPLY_BYTES_MAX - 7 - 6 - said.len() as u64);
        }
    }
}
