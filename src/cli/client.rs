//! `herd client`: someone to talk to a server with.
//!
//! Without a command it is a [`Cable`]: lines from stdin, replies to stdout. With one it composes the line,
//! and judges the answer. Either way what counts is said by the server: nothing is checked here.

mod cable;

use self::cable::{Cable, End};
use super::exit::{Exit, Failure};
use super::topology_file::TopologyFile;
use places_herd::reactor::{MioIo, UnixNanos};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// So long a server may take to accept us, and so long to answer a command: longer than it waits for places, if
/// `whatsat_deadline_ms` is not raised beyond that.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// No answer is longer: a WHATSAT's has 20 places.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Talk to a server: lines from stdin, or one command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd client Alford
  herd client 127.0.0.1:12000 < commands
  herd client Alford iamat kiwi.cs.ucla.edu +34.068930-118.445127
  herd client Alford iamat kiwi.cs.ucla.edu -33.9+151.2 1400794645.392014450
  herd client Alford whatsat kiwi.cs.ucla.edu 10 5")]
pub(super) struct Client {
    /// A server of the topology, or any address
    #[arg(value_name = "NAME|HOST:PORT")]
    server: String,
    #[command(flatten)]
    topology: TopologyFile,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell the server where a client is
    #[command(visible_alias = "IAMAT")]
    Iamat {
        /// The client
        id: OsString,
        /// Degrees north and east, as in +34.068930-118.445127
        #[arg(allow_hyphen_values = true)]
        location: OsString,
        /// When, in seconds since 1970 [default: now, to the nanosecond]
        #[arg(allow_hyphen_values = true)]
        stamp: Option<OsString>,
    },
    /// Ask what is near a client
    #[command(visible_alias = "WHATSAT")]
    Whatsat {
        /// The client
        id: OsString,
        /// Kilometres, more than 0, at most 50
        #[arg(allow_hyphen_values = true)]
        radius: OsString,
        /// At most so many places, 1 to 20
        #[arg(allow_hyphen_values = true)]
        bound: OsString,
    },
}

impl Client {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let server = connect(&self.server, &self.addresses()?)?;
        match &self.command {
            None => self.converse(server),
            Some(command) => self.ask(server, &command.line()?),
        }
    }

    /// What has a colon is an address; names have none.
    fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        if !self.server.contains(':') {
            let topology = self.topology.read()?;
            return Ok(vec![self.topology.server(&topology, &self.server)?.client]);
        }
        let found = self.server.to_socket_addrs();
        let found = found.map_err(|e| self.unavailable(format!("is no address: {e}")))?;
        Ok(found.collect())
    }

    /// Passes lines and replies until both ends are done.
    fn converse(&self, server: TcpStream) -> Result<(), Failure> {
        let cable = Cable::new(server, format!("{}> ", self.server));
        match cable.map_err(|e| Failure::os("stdin", e))?.run()? {
            End::Both => Ok(()),
            End::Server => Err(self.unavailable("has closed the connection")),
        }
    }

    /// Sends `line`, and nothing after it; shows the answer.
    fn ask(&self, mut server: TcpStream, line: &[u8]) -> Result<(), Failure> {
        let mut answer = Vec::new();
        server
            .set_read_timeout(Some(ANSWERED_WITHIN))
            .and_then(|()| server.write_all(line))
            .and_then(|()| server.shutdown(Shutdown::Write))
            .and_then(|()| server.take(ANSWER_BYTES_MAX).read_to_end(&mut answer))
            .map_err(|e| match e.kind() {
                // What a timeout is called on Unix.
                ErrorKind::WouldBlock => {
                    self.unavailable(format!("says nothing for {ANSWERED_WITHIN:?}"))
                }
                _ => self.unavailable(format!("did not answer: {e}")),
            })?;
        show(&answer)?;
        match answer.as_slice() {
            [] => Err(self.unavailable("has closed the connection without an answer")),
            [b'?', b' ', ..] => Err(Failure::new(Exit::Refused, "")),
            _ => Ok(()),
        }
    }

    fn unavailable(&self, what: impl fmt::Display) -> Failure {
        Failure::new(Exit::Unavailable, format!("{} {what}", self.server))
    }
}

impl Command {
    /// As the protocol has it, with its newline. Whether it makes sense is for the server to say; but one
    /// command is one line.
    fn line(&self) -> Result<Vec<u8>, Failure> {
        let words = match self {
            Command::Iamat { id, location, stamp } => {
                let stamp = stamp.clone().unwrap_or_else(|| now().into());
                ["IAMAT".into(), id.clone(), location.clone(), stamp]
            }
            Command::Whatsat { id, radius, bound } => {
                ["WHATSAT".into(), id.clone(), radius.clone(), bound.clone()]
            }
        };
        let mut line = words.map(OsString::into_vec).join(&b' ');
        if line.contains(&b'\n') {
            return Err(Failure::new(Exit::Usage, "an operand holds a newline"));
        }
        line.push(b'\n');
        Ok(line)
    }
}

/// The time as a stamp: seconds since 1970, with nine digits after the point.
fn now() -> String {
    let UnixNanos(nanos) = MioIo::wall_clock();
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn connect(name: &str, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut why = String::from("it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, CONNECTED_WITHIN) {
            Ok(server) => return Ok(server),
            Err(e) => why = format!("{address}: {e}"),
        }
    }
    Err(Failure::new(Exit::Unavailable, format!("{name} cannot be reached: {why}")))
}

/// Shows `bytes` as they are. If whoever reads them has had enough (`| head`), that is the end, and no
/// failure.
fn show(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => Failure::new(Exit::Ok, ""),
        _ => Failure::os("stdout", e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_passed_on_word_for_word() {
        let [id, location, stamp] = ["kiwi", "-34.0+151.2", "1e3"].map(OsString::from);
        let command = Command::Iamat { id, location, stamp: Some(stamp) };
        assert_eq!(command.line().unwrap(), b"IAMAT kiwi -34.0+151.2 1e3\n");
    }

    #[test]
    fn a_stamp_has_nine_digits_after_the_point() {
        let stamp = now();
        let (seconds, nanos) = stamp.split_once('.').expect("there is a point");
        assert_eq!((seconds.len(), nanos.len()), (10, 9), "{stamp}");
    }
}
