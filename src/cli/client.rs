//! `herd client`: sends commands to a server, and prints the replies.
//!
//! Without a command it is a [`Relay`]: lines from stdin, replies to stdout. With a command it composes the line, and
//! the reply decides the exit status. It always sends the line, valid or not: only the server judges it.

mod relay;
mod secure;

use self::relay::{End, Relay};
pub(super) use self::secure::Connection;
use self::secure::{TlsArgs, hint};
use super::exit::{Exit, Failure};
use super::patience::{Patience, connect, is_late};
use super::topology_file::TopologyFile;
use super::{shown, unprinted};
use crate::config::{DialAddr, certificate_name};
use crate::net::dns::{self, DnsError, DnsOptions, LookupId, Resolving};
use crate::wire::command::{Command, CommandLimits, ParseError};
use herd_reactor::{Core, MioIo, Reactor, ReactorLimits, Shared, UnixNanos};
use socket2::Socket;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

/// The longest reply that is read. The reply to a WHATSAT has at most 20 places.
const REPLY_BYTES_MAX: u64 = 4 << 20;

/// Send lines from stdin, or one command, to a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd client Alford
  herd client 127.0.0.1:12000 < commands
  herd client Alford iamat kiwi.cs.ucla.edu +34.068930-118.445127
  herd client Alford iamat kiwi.cs.ucla.edu -33.9+151.2 1400794645.392014450
  herd client Alford --timeout 10 whatsat kiwi.cs.ucla.edu 10 5
  herd client Alford --tls --ca pki/ca.pem --cert kiwi.pem --key kiwi.key

The timeout applies to the lookup of HOST, to the connection, and to each reply. Lines of stdin may
come at any speed.
It reports a rejected command on stderr, with the reason if it finds one. A rejected line from a
pipe ends the session; the lines after it may have been sent already. If stdin is a
terminal, it adds the current time to an IAMAT without a time stamp; it sends lines from a pipe
unchanged. 'herd help client iamat' describes a command.
It looks HOST up in /etc/hosts and at the name servers of /etc/resolv.conf.
On a terminal it prints control characters in replies as \\xNN.
Exits with 0 if the server accepted everything; with 1 if it rejected a command or, without
--keep-going, a line from a pipe; with 69 if the server cannot be reached, does not reply, or closes
the connection too early; with 74 if stdout has no room.")]
pub(super) struct Client {
    /// A server of the topology, or an address
    #[arg(value_name = "NAME|HOST:PORT", allow_hyphen_values = true)]
    server: String,
    #[command(flatten)]
    patience: Patience,
    /// Go on after a line from a pipe that the server rejects, and exit with 0
    #[arg(long, global = true)]
    keep_going: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    command: Option<ClientCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ClientCommand {
    /// Report where a client is
    // -h and --help may be client ids; `herd client help iamat` prints the help.
    #[command(visible_alias = "IAMAT", disable_help_flag = true)]
    Iamat {
        /// The client's id
        #[arg(allow_hyphen_values = true)]
        id: OsString,
        /// Degrees north and east, as in +34.068930-118.445127
        #[arg(allow_hyphen_values = true)]
        location: OsString,
        /// The client's clock, in seconds since 1970; the newest report of a client wins [default: now]
        #[arg(allow_hyphen_values = true)]
        stamp: Option<OsString>,
    },
    /// Ask what is near a client
    #[command(visible_alias = "WHATSAT", disable_help_flag = true)]
    Whatsat {
        /// The client's id
        #[arg(allow_hyphen_values = true)]
        id: OsString,
        /// The radius in kilometres, more than 0 and at most 50
        #[arg(allow_hyphen_values = true)]
        radius: OsString,
        /// The maximum number of places, 1 to 20
        #[arg(allow_hyphen_values = true)]
        bound: OsString,
    },
}

impl Client {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let server = self.connect(file)?;
        match &self.command {
            None => self.converse(server),
            Some(command) => self.ask(server, &command.line()?, command.end()),
        }
    }

    /// Returns the addresses to try.
    fn addresses(&self, destination: &DialAddr) -> Result<Vec<SocketAddr>, Failure> {
        let (host, port) = match destination {
            DialAddr::Ip(address) => return Ok(vec![*address]),
            DialAddr::Name { host, port } => (host, *port),
        };
        let options = DnsOptions { total: self.patience.timeout, ..DnsOptions::default() };
        let found = addresses_of(host, options)
            .map_err(|e| Failure::os("cannot look up the host's name", e))?
            .map_err(|why| self.unavailable(format!("cannot be reached: {why}")))?;
        Ok(found.into_iter().map(|ip| (ip, port).into()).collect())
    }

    /// Returns the address or the host name to connect to, and the name that the server's certificate must have. An operand
    /// with a colon is an address: a server's name has none.
    fn destination(&self, file: &TopologyFile) -> Result<(DialAddr, String), Failure> {
        let Some((host, port)) = self.server.rsplit_once(':') else {
            let topology = file.read_servers()?;
            let server = file.server(&topology, &self.server)?;
            let name = match &server.client {
                DialAddr::Name { host, .. } => host.clone(),
                DialAddr::Ip(_) => certificate_name(&server.name, &topology.herd),
            };
            if !self.tls.is_on() {
                return Ok((server.client.clone(), name));
            }
            let what = format!("{} has no port client_tls in {file}", server.name);
            let bound = server.client_tls.ok_or(Failure::new(Exit::Usage, what))?;
            let port = bound.port();
            let address = match &server.client {
                DialAddr::Name { host, .. } => DialAddr::Name { host: host.clone(), port },
                // What binds every address is found where the plain port is.
                DialAddr::Ip(at) if bound.ip().is_unspecified() => {
                    DialAddr::Ip((at.ip(), port).into())
                }
                DialAddr::Ip(_) => DialAddr::Ip(bound),
            };
            return Ok((address, name));
        };
        let port = port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(|| {
            let what = "has no port from 1 to 65535: write HOST:PORT, as in 127.0.0.1:12000, [::1]:12000 or \
                        box.example:12000";
            Failure::new(Exit::Usage, format!("{} {what}", self.server))
        })?;
        let address = dns::socket_address(&self.server).map(DialAddr::Ip);
        let address = address.unwrap_or(DialAddr::Name { host: host.to_owned(), port });
        Ok((address, host.trim_matches(['[', ']']).to_owned()))
    }

    /// Passes lines and replies on until both ends are done.
    fn converse(&self, server: Connection) -> Result<(), Failure> {
        let relay = Relay::new(server, &self.server, self.patience.timeout, self.keep_going);
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

    /// Sends `line`, prints the reply, or the part that came, and returns what it means. The server need not close the
    /// connection: a reply that begins with `AT ` is complete with `end`, any other with its first line.
    fn ask(&self, mut server: Connection, line: &[u8], end: &[u8]) -> Result<(), Failure> {
        let mut reply = Vec::new();
        server.fail_after(self.patience.end());
        // Even if sending failed because the server has closed, its reply may have arrived.
        let sent = server.write_all(line).map(|()| drop(server.end()));
        let mut lines = BufReader::new(server.take(REPLY_BYTES_MAX));
        let is_whole = |reply: &[u8]| !reply.starts_with(b"AT ") || reply.ends_with(end);
        let asked = sent.and_then(|()| {
            while lines.read_until(b'\n', &mut reply)? > 0 && !is_whole(&reply) {}
            Ok(())
        });
        let printed = print(&reply).or_else(|e| unprinted(&e));
        match (asked, reply.as_slice()) {
            (Err(e), _) if is_late(&e) => Err(self.silent()),
            (Err(e), _) => Err(self.unavailable(format!("did not reply: {e}{}", hint(&e)))),
            (_, []) => Err(self.unavailable("closed the connection without a reply")),
            (_, [b'?', b' ', .., b'\n']) => {
                let what = format!("{} rejected the command: {}", self.server, reason(line));
                Err(Failure::new(Exit::Refused, what))
            }
            (_, reply) if reply.starts_with(b"AT ") && reply.ends_with(end) => printed,
            (_, reply) => Err(self.unavailable(broken(reply))),
        }
    }

    fn connect(&self, file: &TopologyFile) -> Result<Connection, Failure> {
        let (destination, name) = self.destination(file)?;
        let server = first_of(&self.addresses(&destination)?, self.patience);
        let server = server.map_err(|why| self.unavailable(format!("cannot be reached: {why}")))?;
        self.tls.over(server, &name, self.patience)
    }

    fn silent(&self) -> Failure {
        let why = match self.command {
            Some(ClientCommand::Iamat { .. }) => "it is stopped or overloaded",
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
    let port = "or this is not a port for clients";
    match Command::parse(line, &CommandLimits::default()) {
        Err(ParseError::Name) => "the commands are IAMAT and WHATSAT, in capitals".into(),
        Err(ParseError::Operands) => {
            "an IAMAT is IAMAT ID LOCATION TIME, and a WHATSAT is WHATSAT ID KILOMETRES RESULTS"
                .into()
        }
        Err(why) => why.to_string(),
        Ok(Command::Iamat(_)) => {
            format!(
                "it is valid, but a limit or own_id_only of the server rejected it (the log names it), {port}"
            )
        }
        Ok(Command::Whatsat(_)) => {
            format!(
                "it is valid, but the server does not know this client (or has ask = \"own\"), {port}"
            )
        }
        Ok(_) => "clients may send only IAMAT and WHATSAT".into(),
    }
}

/// The reactor's state while a name is looked up. getaddrinfo is not used, because it has no timeout.
#[derive(Debug)]
struct LookUp {
    dns: dns::DnsClient,
    found: Option<LookUpResult>,
}

pub(super) type LookUpResult = Result<Vec<IpAddr>, DnsError>;

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

/// Looks up all addresses of `host`, within the timeout in `options`.
pub(super) fn addresses_of(host: &str, options: DnsOptions) -> io::Result<LookUpResult> {
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

/// Says what is wrong with a reply that is incomplete, or does not come from a server of a herd.
fn broken(reply: &[u8]) -> &'static str {
    let begins = |with: &[u8]| reply.starts_with(with) || with.starts_with(reply);
    if begins(b"\x15\x03") {
        "speaks TLS at this port: try --tls"
    } else if !begins(b"AT ") && !begins(b"? ") {
        "sent something that is not a reply: it is not a server of a herd"
    } else if reply.len() as u64 == REPLY_BYTES_MAX {
        "sent an incomplete reply: it has more than 4 MiB"
    } else {
        "sent an incomplete reply: it breaks off"
    }
}

/// Connects to the first address that accepts, or returns why the last one failed. One deadline covers all: each
/// address gets an equal share of the time that is left.
pub(super) fn first_of(addresses: &[SocketAddr], patience: Patience) -> Result<Socket, String> {
    let mut why = String::from("its name has no address");
    let end = patience.end();
    let share = if addresses.len() > 1 { "its share of " } else { "" };
    for (address, count) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        let now = Instant::now();
        let left = end.saturating_duration_since(now);
        match connect(&(*address).into(), now + left / count) {
            Ok(server) => return Ok(server),
            Err(e) if is_late(&e) => {
                why = format!(
                    "{address} did not answer within {share}{patience}; wait longer with --timeout SECONDS"
                );
            }
            Err(e) => why = format!("{address}: {e}"),
        }
    }
    Err(why)
}

impl ClientCommand {
    /// Returns the command as a line of the protocol, with its newline. Only the server judges the line, but an operand
    /// with a newline is refused, because it would make two lines.
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
            return Err(Failure::new(
                Exit::Usage,
                "an operand contains a newline; each command is one line",
            ));
        }
        line.push(b'\n');
        Ok(line)
    }

    /// Returns the end of the reply to an accepted command.
    fn end(&self) -> &'static [u8] {
        match self {
            ClientCommand::Iamat { .. } => b"\n",
            ClientCommand::Whatsat { .. } => b"\n\n",
        }
    }
}

/// Returns the current time as a time stamp: seconds since 1970, with nine digits after the point.
fn now() -> String {
    let UnixNanos(nanos) = MioIo::wall_clock();
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Prints `bytes`, escaped if stdout is a terminal; see [`shown`].
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(&shown(bytes, stdout.is_terminal())).and_then(|()| stdout.flush())
}

/// Prints `bytes` as `print` does. If stdout is a closed pipe, returns a failure that ends the command with status 0.
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
    fn a_command_is_sent_word_for_word() {
        let [id, location, stamp] = ["kiwi", "-34.0+151.2", "1e3"].map(OsString::from);
        let command = ClientCommand::Iamat { id, location, stamp: Some(stamp) };
        assert_eq!(command.line().unwrap(), b"IAMAT kiwi -34.0+151.2 1e3\n");
    }

    /// A listener with a full queue: the kernel drops further connections.
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
            why.ends_with(
                " did not answer within its share of 0.2 s; wait longer with --timeout SECONDS"
            ),
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
