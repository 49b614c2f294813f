//! A cable between a terminal, or whatever stdin and stdout are, and a server.
//!
//! ```text
//!   stdin ──read──▶ unsent ──write──▶ server ──read──▶ stdout
//!                   64 KiB at most
//! ```
//!
//! What comes in goes out, byte for byte. The end of stdin is passed on as the end of what we send; the
//! server still answers what it was asked and then closes, and that is the end.
//!
//! This process has no reactor, since its `Io` knows sockets only: one `poll(2)` over two descriptors does.
//! It never waits for the server to take what we send: the server may itself be waiting for us to take
//! its replies (docs/protocol.md).

use super::super::exit::{Exit, Failure};
use super::show;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

/// Bytes taken from either side at a time, and so the most that ever wait.
const CHUNK_BYTES: usize = 64 << 10;

/// A prompt follows when nothing has come for so long: the end of a reply is not looked for.
const PROMPT_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// We were done, and then the server was.
    Both,
    /// The server closed the connection while stdin was open.
    Server,
}

/// Both ends, and what is on its way between them.
#[derive(Debug)]
pub(super) struct Cable {
    server: TcpStream,
    /// Not a `Stdin`: poll would not know what lies in its buffer.
    stdin: File,
    stdin_is_open: bool,
    unsent: Vec<u8>,
    /// Shown where somebody types; nothing where nobody does.
    prompt: Option<String>,
    prompt_is_due: bool,
    chunk: Vec<u8>,
}

impl Cable {
    /// A cable to `server`; `prompt` is shown only if stdin and stdout are terminals.
    pub(super) fn new(server: TcpStream, prompt: String) -> io::Result<Cable> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let somebody_types = stdin.is_terminal() && stdout.is_terminal();
        server.set_nonblocking(true)?;
        Ok(Cable {
            server,
            stdin: stdin.as_fd().try_clone_to_owned()?.into(),
            stdin_is_open: true,
            unsent: Vec::new(),
            prompt: somebody_types.then_some(prompt),
            prompt_is_due: somebody_types,
            chunk: vec![0; CHUNK_BYTES],
        })
    }

    /// Passes bytes in both directions until there are no more.
    pub(super) fn run(mut self) -> Result<End, Failure> {
        loop {
            let (server_is_ready, stdin_is_ready) = self.wait()?;
            // Replies first: a server that has said its last word takes nothing more, and sending
            // fails before the word is shown.
            if server_is_ready && let Some(end) = self.receive()? {
                return Ok(end);
            }
            if !self.unsent.is_empty() {
                self.send()?;
            }
            if stdin_is_ready {
                self.read()?;
            }
        }
    }

    /// Waits until the server or stdin has something to say, and tells which of them; prompts if neither
    /// has.
    fn wait(&mut self) -> Result<(bool, bool), Failure> {
        let sends = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut polled = [
            PollFd::new(&self.server, PollFlags::IN | sends),
            PollFd::new(&self.stdin, PollFlags::IN),
        ];
        // A descriptor that has hung up is always reported, so what is not to be read is not polled.
        let count = if self.stdin_is_open && self.unsent.is_empty() { 2 } else { 1 };
        let timeout = self.prompt_is_due.then_some(&PROMPT_AFTER);
        let ready = match poll(&mut polled[..count], timeout) {
            // We were stopped and go on: to wait again.
            Err(Errno::INTR) => 1,
            ready => ready.map_err(|e| Failure::os("poll", e))?,
        };
        let ready_now = polled.map(|polled| !polled.revents().is_empty());
        if let (0, Some(prompt)) = (ready, &self.prompt) {
            self.prompt_is_due = false;
            show(prompt.as_bytes())?;
        }
        Ok(ready_now.into())
    }

    /// Shows what the server sends, or notices that it sends no more.
    fn receive(&mut self) -> Result<Option<End>, Failure> {
        let received = tried(self.server.read(&mut self.chunk)).map_err(gone)?;
        let Some(count) = received else { return Ok(None) };
        let reply = &self.chunk[..count];
        if !reply.is_empty() {
            show(reply)?;
            self.prompt_is_due = self.prompt.is_some() && reply.ends_with(b"\n");
            return Ok(None);
        }
        if self.prompt.is_some() {
            show(b"\n")?;
        }
        Ok(Some(if self.stdin_is_open { End::Server } else { End::Both }))
    }

    /// Passes on as much as the server takes.
    fn send(&mut self) -> Result<(), Failure> {
        let sent = tried(self.server.write(&self.unsent)).map_err(gone)?;
        self.unsent.drain(..sent.unwrap_or(0));
        Ok(())
    }

    /// Takes what is typed, or passes on that nothing more will be.
    fn read(&mut self) -> Result<(), Failure> {
        let read = tried(self.stdin.read(&mut self.chunk));
        let Some(count) = read.map_err(|e| Failure::os("stdin", e))? else { return Ok(()) };
        let typed = &self.chunk[..count];
        self.unsent.extend_from_slice(typed);
        if typed.is_empty() {
            self.stdin_is_open = false;
            // If the server has gone meanwhile, receiving will say so.
            let _ = self.server.shutdown(Shutdown::Write);
        } else if typed.trim_ascii().is_empty() {
            // The server ignores a blank line, so no reply comes for the prompt to follow.
            self.prompt_is_due = self.prompt.is_some();
        }
        Ok(())
    }
}

fn gone(error: io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("the server is gone: {error}"))
}

/// What a try came to: nothing, if it would have had to wait.
fn tried(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => Ok(None),
        result => result.map(Some),
    }
}
