//! `herd client`: someone to talk to a server with.
//!
//! Without a command it is a [`Relay`]: lines from stdin, replies to stdout. With one it composes the line,
//! and judges the answer. Either way what counts is said by the server: nothing is checked here.

mod relay;

use self::relay::{End, Relay};
use super::exit::{Exit, Failure};
use super::patience::{Patience, Timed, connect, is_late};
use super::topology_file::TopologyFile;
use super::{shown, unprinted};
use crate::net::dns::{self, DnsError, DnsOptions, LookupId, Resolving};
use crate::wire::command::{Command, CommandLimits};
use herd_reactor::{Core, MioIo, Reactor, ReactorLimits, Shared, UnixNanos};
use socket2::Socket;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

/// The longest reply that is read: a WHATSAT's has 20 places.
const REPLY_BYTES_MAX: u64 = 4 << 20;

/// Talk to a server: lines from stdin, or one command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd client Alford
  herd client 127.0.0.1:12000 < commands
  herd client Alford iamat kiwi.cs.ucla.edu +34.068930-118.445127
  herd client Alford iamat kiwi.cs.ucla.edu -33.9+151.2 1400794645.392014450
  herd client Alford --timeout 10 whatsat kiwi.cs.ucla.edu 10 5

A connection has the timeout, and each reply again. Lines of stdin may come as slowly as they like.
A rejected command is reported on stderr, with the reason if this program finds one. A rejected line
from a pipe ends the session; lines behind it may have been sent already. On a terminal an IAMAT
without a time stamp gets the current time; lines from a pipe are sent as they are.
A HOST is looked up in /etc/hosts and by the name servers of /etc/resolv.conf, within the timeout again.
On a terminal, bytes of replies that could steer it are shown as \\xNN.
Exits with 0 if all was answered and accepted; with 1 if the server rejected a command or a line
from a pipe with '? '; with 69 if the server cannot be reached, is silent or breaks off; with 74 if stdout has no room.")]
pub(super) struct Client {
    /// A server of the topology, or any address
    #[arg(value_name = "NAME|HOST:PORT", allow_hyphen_values = true)]
    server: String,
    #[command(flatten)]
    patience: Patience,
    /// Go on after a line from a pipe that the server rejects, and exit with 0
    #[arg(long)]
    keep_going: bool,
    #[command(subcommand)]
    command: Option<ClientCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ClientCommand {
    /// Tell the server where a client is
    // -h and --help may be ids, too; `herd client help iamat` explains.
    #[command(visible_alias = "IAMAT", disable_help_flag = true)]
    Iamat {
        /// The client
        #[arg(allow_hyphen_values = true)]
        id: OsString,
        /// Degrees north and east, as in +34.068930-118.445127
        #[arg(allow_hyphen_values = true)]
        location: OsString,
        /// When, in seconds since 1970 [default: now, to the nanosecond]
        #[arg(allow_hyphen_values = true)]
        stamp: Option<OsString>,
    },
    /// Ask what is near a client
    #[command(visible_alias = "WHATSAT", disable_help_flag = true)]
    Whatsat {
        /// The client
        #[arg(allow_hyphen_values = true)]
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
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let server = self.connect(file)?;
        match &self.command {
            None => self.converse(server),
            Some(command) => self.ask(&server, &command.line()?, command.end()),
        }
    }

    /// What has a colon is an address; names have none.
    fn addresses(&self, file: &TopologyFile) -> Result<Vec<SocketAddr>, Failure> {
        let Some((host, port)) = self.server.rsplit_once(':') else {
            return Ok(vec![file.server(&file.read()?, &self.server)?.client]);
        };
        let port = port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(|| {
            let what = "has no port from 1 to 65535: write HOST:PORT, as in 127.0.0.1:12000, [::1]:12000 or \
                        box.example:12000";
            Failure::new(Exit::Usage, format!("{} {what}", self.server))
        })?;
        if let Ok(address) = dns::socket_address(&self.server) {
            return Ok(vec![address]);
        }
        let options = DnsOptions { total: self.patience.timeout, ..DnsOptions::default() };
        let found = addresses_of(host, options)
            .map_err(|e| Failure::os("the host's name cannot be looked up", e))?
            .map_err(|why| self.unavailable(format!("cannot be reached: {why}")))?;
        Ok(found.into_iter().map(|ip| (ip, port).into()).collect())
    }

    /// Passes lines and replies until both ends are done.
    fn converse(&self, server: Socket) -> Result<(), Failure> {
        let relay = Relay::new(server.into(), &self.server, self.patience.timeout, self.keep_going);
        match relay.map_err(|e| Failure::os("stdin", e))?.run()? {
            End::Both => Ok(()),
            End::Refused => {
                let what = "stopped at a rejected line; --keep-going sends all lines";
                Err(Failure::new(Exit::Refused, what))
            }
            End::Fault(what) => Err(self.unavailable(what)),
            End::Silence => Err(self.silent()),
        }
    }

    /// Sends `line`, and nothing after it; shows the reply, or what there is of it, and judges it. The server need
    /// not close the connection: an AT line ends with `end`, what else comes with its line.
    fn ask(&self, socket: &Socket, line: &[u8], end: &[u8]) -> Result<(), Failure> {
        let mut reply = Vec::new();
        let mut server = Timed { socket, end: self.patience.end() };
        // If the server has gone meanwhile, its reply may be there.
        let sent = server.write_all(line).map(|()| drop(socket.shutdown(Shutdown::Write)));
        let mut lines = BufReader::new(server.take(REPLY_BYTES_MAX));
        let is_whole = |reply: &[u8]| !reply.starts_with(b"AT ") || reply.ends_with(end);
        let asked = sent.and_then(|()| {
            while lines.read_until(b'\n', &mut reply)? > 0 && !is_whole(&reply) {}
            Ok(())
        });
        let printed = print(&reply).or_else(|e| unprinted(&e));
        match (asked, reply.as_slice()) {
            (Err(e), _) if is_late(&e) => Err(self.silent()),
            (Err(e), _) => Err(self.unavailable(format!("did not answer: {e}"))),
            (_, []) => Err(self.unavailable("has closed the connection without an answer")),
            (_, [b'?', b' ', .., b'\n']) => {
                let what = format!("{} rejected the command: {}", self.server, reason(line));
                Err(Failure::new(Exit::Refused, what))
            }
            (_, reply) if reply.starts_with(b"AT ") && reply.ends_with(end) => printed,
            (_, reply) => Err(self.unavailable(broken(reply))),
        }
    }

    fn connect(&self, file: &TopologyFile) -> Result<Socket, Failure> {
        let server = first_of(&self.addresses(file)?, self.patience);
        server.map_err(|why| self.unavailable(format!("cannot be reached: {why}")))
    }

    fn silent(&self) -> Failure {
        let why = match self.command {
            Some(ClientCommand::Iamat { .. }) => "it is stopped, or has too much to do",
            Some(_) => "a WHATSAT may take places.deadline_ms of the server (8 s by default)",
            None => {
                "or did not close the connection at the end; a WHATSAT may take places.deadline_ms (8 s)"
            }
        };
        let patience = self.patience;
        self.unavailable(format_args!(
            "did not reply within {patience}; {why}: wait longer with --timeout SECONDS"
        ))
    }

    fn unavailable(&self, what: impl fmt::Display) -> Failure {
        Failure::new(Exit::Unavailable, format!("{} {what}", self.server))
    }
}

/// Why a server rejects `line`, as far as our own parser knows.
fn reason(line: &[u8]) -> String {
    match Command::parse(line, &CommandLimits::default()) {
        Err(why) => why.to_string(),
        Ok(Command::Iamat(_)) => {
            "it is valid, but beyond a limit of the server, whose log names it".into()
        }
        Ok(Command::Whatsat(_)) => "it is valid, but the server knows no client of that id".into(),
        Ok(_) => "clients may send only IAMAT and WHATSAT".into(),
    }
}

/// What the reactor is lent to look a name up: getaddrinfo would wait as long as it likes.
#[derive(Debug)]
struct LookUp {
    dns: dns::DnsClient,
    found: Option<LookUpResult>,
}

type LookUpResult = Result<Vec<IpAddr>, DnsError>;

impl Shared for LookUp {
    type Message = ();
}

impl Resolving for LookUp {
    fn dns(&mut self) -> &mut dns::DnsClient {
        &mut self.dns
    }

    fn resolved(&mut self, core: &mut Core<LookUp>, _: LookupId, found: LookUpResult) {
        self.found = Some(found);
        core.stop();
    }
}

/// All addresses of `host`, within the time that `options` has.
fn addresses_of(host: &str, options: DnsOptions) -> io::Result<LookUpResult> {
    let look_up = LookUp { dns: dns::DnsClient::new(options), found: None };
    let mut reactor = Reactor::new(MioIo::new(&[])?, look_up, ReactorLimits::default());
    let (look_up, core) = reactor.parts();
    dns::ask(look_up, core, host);
    loop {
        reactor.turn()?;
        if let Some(found) = reactor.state().found.take() {
            return Ok(found);
        }
    }
}

/// What is wrong with a reply that is not whole, or none of a herd's.
fn broken(reply: &[u8]) -> &'static str {
    let begins = |with: &[u8]| reply.starts_with(with) || with.starts_with(reply);
    if !begins(b"AT ") && !begins(b"? ") {
        "sends what is no reply: it is no server of a herd"
    } else if reply.len() as u64 == REPLY_BYTES_MAX {
        "sends no whole reply: it has more than 4 MiB"
    } else {
        "sends no whole reply: it breaks off"
    }
}

/// The connection to the first address that accepts one; or why the last does not. One deadline covers them all:
/// each has an equal share of the time that those before it have left.
fn first_of(addresses: &[SocketAddr], patience: Patience) -> Result<Socket, String> {
    let mut why = String::from("it has no address");
    let end = patience.end();
    let share = if addresses.len() > 1 { "its share of " } else { "" };
    for (address, count) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        let now = Instant::now();
        let left = end.saturating_duration_since(now);
        match connect(&(*address).into(), now + left / count) {
            Ok(server) => return Ok(server),
            Err(e) if is_late(&e) => {
                why = format!("{address} is silent for {share}{patience}; --timeout waits longer");
            }
            Err(e) => why = format!("{address}: {e}"),
        }
    }
    Err(why)
}

impl ClientCommand {
    /// As the protocol has it, with its newline. Whether it makes sense is for the server to say; but one
    /// command is one line.
    fn line(&self) -> Result<Vec<u8>, Failure> {
        let words = match self {
            ClientCommand::Iamat { id, location, stamp } => {
                let stamp = stamp.clone().unwrap_or_else(|| now().into());
                ["IAMAT".into(), id.clone(), location.clone(), stamp]
            }
            ClientCommand::Whatsat { id, radius, bound } => {
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

    /// What the reply ends with, if it is accepted.
    fn end(&self) -> &'static [u8] {
        match self {
            ClientCommand::Iamat { .. } => b"\n",
            ClientCommand::Whatsat { .. } => b"\n\n",
        }
    }
}

/// The time as a stamp: seconds since 1970, with nine digits after the point.
fn now() -> String {
    let UnixNanos(nanos) = MioIo::wall_clock();
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Prints `bytes` as they are; see [`shown`].
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(&shown(bytes, stdout.is_terminal())).and_then(|()| stdout.flush())
}

/// The same, where nothing is left to do if nobody reads them any more: that is the end then, and no failure.
fn show(bytes: &[u8]) -> Result<(), Failure> {
    print(bytes).map_err(|e| unprinted(&e).err().unwrap_or(Failure::new(Exit::Ok, "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};
    use std::time::Duration;

    #[test]
    fn a_command_is_passed_on_word_for_word() {
        let [id, location, stamp] = ["kiwi", "-34.0+151.2", "1e3"].map(OsString::from);
        let command = ClientCommand::Iamat { id, location, stamp: Some(stamp) };
        assert_eq!(command.line().unwrap(), b"IAMAT kiwi -34.0+151.2 1e3\n");
    }

    /// A listener whose queue is full: the kernel drops what else would connect.
    fn black_hole() -> (Socket, Vec<Socket>) {
        let new = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = new();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&any.into()).and_then(|()| listener.listen(0)).expect("a port");
        let address = listener.local_addr().expect("it listens");
        let mut callers = Vec::new();
        loop {
            let caller = new();
            let outcome = caller.connect_timeout(&address, Duration::from_millis(200));
            callers.push(caller);
            if outcome.is_err() {
                return (listener, callers);
            }
        }
    }

    #[test]
    fn a_silent_address_leaves_time_for_the_next() {
        let (silent, _callers) = black_hole();
        let silent = silent.local_addr().ok().and_then(|address| address.as_socket());
        let silent = silent.expect("it listens");
        let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addresses = [silent, silent, good.local_addr().expect("it listens")];
        let patience = Patience { timeout: Duration::from_millis(1_500) };
        let server = first_of(&addresses, patience).expect("the third accepts");
        let peer = server.peer_addr().expect("it is connected").as_socket();
        assert_eq!(peer, Some(addresses[2]));
        let patience = Patience { timeout: Duration::from_millis(200) };
        let why = first_of(&addresses[..2], patience).expect_err("both are silent");
        assert!(
            why.ends_with(" is silent for its share of 0.2 s; --timeout waits longer"),
            "{why}"
        );
    }

    #[test]
    fn a_name_is_looked_up_within_the_timeout_and_an_address_at_once() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let options = DnsOptions {
            servers: vec![silent.local_addr().expect("it is bound")],
            total: Duration::from_millis(100),
            hosts: "/none".into(),
            resolv_conf: "/none".into(),
        };
        let begun = Instant::now();
        let found = |host| addresses_of(host, options.clone()).expect("the kernel helps");
        assert_eq!(found("box.example"), Err(DnsError::TimedOut));
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(found("127.0.0.1"), Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert!(found("localhost").is_ok_and(|found| found.len() == 2));
    }

    #[test]
    fn a_stamp_has_nine_digits_after_the_point() {
        let stamp = now();
        let (seconds, nanos) = stamp.split_once('.').expect("there is a point");
        assert_eq!((seconds.len(), nanos.len()), (10, 9), "{stamp}");
    }
}
