//! `herd bus check`: connects to the bus as a server would, and prints each step.
//!
//! In: the table `[bus]`. Out: a line for each step: its time, or what failed and the remedy. The servers of NATS in the list
//! are visited in turn. All steps are made at the first that passes them; of those behind it only the greeting is awaited.
//!
//! It creates nothing but one message, under a key that no client has ([`CHECK_KEY`]). The message marks a deleted key, so
//! servers of the herd and other readers of the bucket pass over it in silence. The next check replaces it.

use super::check_output::{CheckOutput, Ms};
use super::client::{Connection, addresses_of, first_of};
use super::exit::{Exit, Failure};
use super::patience::{Patience, is_late};
use super::sources::dns_options;
use super::topology_file::TopologyFile;
use super::{print_line, print_warning};
use crate::access::new_token;
use crate::config::BusSettings;
use crate::log::plural;
use crate::nats::{
    AckSubject, ApiError, Bucket, CHECK_KEY, ConsumerState, Delivery, LeaderMessage, Login,
    NatsError, NatsReader, NatsUrl, PONG, PutReply, ServerInfo, ServerOp, StreamState, WatchStart,
    write_connect, write_sub,
};
use crate::net::dns::DnsOptions;
use crate::server::bus_link::{MESSAGE_BYTES, NO_STREAM, remedy_of_words};
use crate::server::bus_port::tls_config;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error as TlsError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the server keeps the request for a message of the watch, and the interval of its heartbeats.
const EXPIRES: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The codes if nobody answers, and of a server or an account without JetStream.
const NO_JETSTREAM: [(u16, u32); 3] = [(503, 0), (503, 10_039), (503, 10_076)];

#[derive(Debug, clap::Subcommand)]
pub(super) enum BusCommand {
    Check(BusCheck),
}

/// Connect to the bus as a server would, write and read one message, and print each step
///
/// It visits the servers of NATS in the topology in turn, until all steps pass at one of them, and only greets the others. It
/// writes under a key that no client has, creates nothing else, and prints no login.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd bus check
  herd bus check nats-1.example --timeout 1

The timeout is for each step. Exits with 0 if all steps passed at one server of NATS, also if the
bucket does not exist yet; with 69 if a step failed at each; with 78 if [bus] has a fault.")]
pub(super) struct BusCheck {
    /// The only server of NATS to visit, as HOST or HOST:PORT [default: all of the topology]
    server: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

impl BusCheck {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let topology = file.read_servers()?;
        let no_bus = || Failure::config(format!("{file} has no table [bus]; see docs/bus.md"));
        let mut bus = topology.bus.clone().ok_or_else(no_bus)?;
        bus.read_files(print_warning).map_err(|faults| file.refused(&faults))?;
        let tls = tls_config(&bus).map_err(|e| Failure::config(format!("TLS: {e}")))?;
        let total = self.patience.timeout;
        let dns = DnsOptions { total, ..dns_options(&topology.places) };
        let (mut works, mut greeted, mut others) = (None, Vec::new(), Vec::new());
        for url in self.urls(&bus)? {
            let login = bus.login.clone().or(url.login.clone());
            let secrets = login.clone();
            let mut output = CheckOutput::new(move |text| {
                secrets.as_ref().map_or_else(|| text.to_owned(), |login| login.scrub(text))
            });
            output.line("server", url);
            let talk = Talk::greet(&mut output, url, &bus.bucket, dns.clone(), self.patience);
            if talk.is_some() { &mut greeted } else { &mut others }.push(url.to_string());
            if let (Some(mut talk), None) = (talk, works) {
                talk.tls = bus.needs_tls(url).then(|| tls.clone());
                talk.login = login;
                works = talk.all_steps(&mut output);
            }
            print_line(&output.finish());
        }
        if greeted.len() + others.len() > 1 {
            let list = |urls: Vec<String>| Some(urls.join(", ")).filter(|urls| !urls.is_empty());
            let list = |urls| list(urls).unwrap_or("none".into());
            print_line(&format!("reachable   {}; not: {}", list(greeted), list(others)));
        }
        let failed = "no server of NATS passed all steps, so the bus does not work";
        works.ok_or_else(|| Failure::new(Exit::Unavailable, failed))
    }

    /// The servers to visit.
    fn urls<'b>(&self, bus: &'b BusSettings) -> Result<Vec<&'b NatsUrl>, Failure> {
        let is_it = |server: &str, url: &NatsUrl| {
            url.host == server || url.to_string().split("://").nth(1) == Some(server)
        };
        let is_wanted = |url: &&NatsUrl| self.server.as_ref().is_none_or(|it| is_it(it, url));
        let urls: Vec<_> = bus.urls.iter().filter(is_wanted).collect();
        let known = bus.urls.iter().map(NatsUrl::to_string).collect::<Vec<_>>().join(", ");
        let none = || Failure::new(Exit::Usage, format!("the servers in [bus] are {known}"));
        if urls.is_empty() { Err(none()) } else { Ok(urls) }
    }
}

/// Why a step failed, and what the operator can do; perhaps nothing.
struct BusFault {
    what: String,
    remedy: &'static str,
}

impl BusFault {
    fn new(what: impl ToString, remedy: &'static str) -> BusFault {
        BusFault { what: what.to_string(), remedy }
    }

    fn of_io(error: &io::Error, patience: Patience, remedy: &'static str) -> BusFault {
        match error.kind() {
            _ if is_late(error) => BusFault::new(format!("no answer within {patience}"), remedy),
            ErrorKind::UnexpectedEof => BusFault::new("it closed the connection", remedy),
            _ => BusFault::new(error, remedy),
        }
    }
}

impl From<NatsError> for BusFault {
    fn from(error: NatsError) -> BusFault {
        BusFault::new(error, "check which program listens there; it must be a server of NATS")
    }
}

impl From<ApiError> for BusFault {
    fn from(error: ApiError) -> BusFault {
        let remedy = error.remedy().unwrap_or_default();
        BusFault::new(error, remedy)
    }
}

/// Carries out a step, and writes its line: the time and what it says, or why it failed and the remedy.
fn step<T>(
    output: &mut CheckOutput,
    name: &str,
    work: impl FnOnce() -> Result<(T, String), BusFault>,
) -> Option<T> {
    let began = Instant::now();
    let outcome = work();
    let took = Ms(began.elapsed());
    match outcome {
        Ok((value, said)) => {
            let said = if said.is_empty() { said } else { format!("  {}", output.cut(&said)) };
            output.line(name, format_args!("{took}{said}"));
            Some(value)
        }
        Err(BusFault { what, remedy }) => {
            output.line(name, format_args!("{took}  FAILED: {}", output.cut(&what)));
            if !remedy.is_empty() {
                output.line("remedy", remedy);
            }
            None
        }
    }
}

/// The conversation with a server of NATS.
struct Talk {
    wire: Connection,
    reader: NatsReader,
    /// What was received and not taken yet.
    received: Vec<u8>,
    info: ServerInfo,
    host: String,
    /// How TLS begins after INFO, if it should.
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
    bucket: Bucket,
    /// The beginning of the subjects of answers.
    inbox: String,
    questions: u32,
    patience: Patience,
}

impl Talk {
    /// Connects, and waits for INFO.
    fn greet(
        output: &mut CheckOutput,
        url: &NatsUrl,
        bucket: &Bucket,
        dns: DnsOptions,
        patience: Patience,
    ) -> Option<Talk> {
        let host = url.host.clone();
        let ips = match host.parse::<IpAddr>() {
            Ok(ip) => {
                output.line("name", "-");
                vec![ip]
            }
            Err(_) => step(output, "name", || {
                let fault = |why: &dyn ToString| {
                    BusFault::new(why.to_string(), "check the host in `nats` of [bus]")
                };
                let found = addresses_of(&host, dns).map_err(|why| fault(&why))?;
                Ok((found.map_err(|why| fault(&why))?, String::new()))
            })?,
        };
        let addresses: Vec<_> = ips.into_iter().map(|ip| (ip, url.port).into()).collect();
        let socket = step(output, "connect", || {
            let remedy = "check that nats-server runs there, and that no firewall blocks the way";
            let socket = first_of(&addresses, patience).map_err(|e| BusFault::new(e, remedy))?;
            // Otherwise the kernel holds back the login, until what TLS sent last is acknowledged.
            let _ = socket.set_tcp_nodelay(true);
            Ok((socket, String::new()))
        })?;
        step(output, "greeting", || {
            let random = new_token().ok_or_else(|| BusFault::new("no random numbers", ""))?;
            let mut talk = Talk {
                wire: Connection::plain(socket),
                reader: NatsReader::new(MESSAGE_BYTES),
                received: Vec::new(),
                info: ServerInfo::default(),
                host,
                tls: None,
                login: None,
                bucket: bucket.clone(),
                inbox: format!("_INBOX.{random}."),
                questions: 0,
                patience,
            };
            let silence = "check which program listens there; a server of NATS greets first, unless handshake_first is \
                           set in its tls";
            talk.info = talk.wait(silence, |op| match op {
                ServerOp::Info(json) => Some(ServerInfo::parse(json)),
                _ => None,
            })??;
            let version = format!("NATS {}", talk.info.version);
            Ok((talk, version))
        })
    }

    /// Makes all steps behind the greeting.
    fn all_steps(&mut self, output: &mut CheckOutput) -> Option<()> {
        match self.tls.take() {
            Some(tls) => step(output, "tls", || Ok((self.start_tls(tls)?, String::new())))?,
            None if self.info.tls_required => step(output, "tls", || {
                let remedy = "write tls:// in `nats` of [bus], or name a ca_file";
                Err(BusFault::new("it requires TLS", remedy))
            })?,
            None => output.line("tls", "-"),
        }
        step(output, "login", || Ok(((), self.log_in()?)))?;
        let stream = step(output, "jetstream", || {
            match self.ask(Bucket::write_stream_info, StreamState::parse)? {
                Err(e) if NO_JETSTREAM.contains(&(e.code, e.err_code)) => {
                    let remedy = "enable JetStream on the server (nats-server -js) and for the account; in a cluster, \
                                  check that a majority runs";
                    Err(BusFault::new(e, remedy))
                }
                stream => Ok((stream, String::new())),
            }
        })?;
        let name = self.bucket.stream().to_owned();
        if stream.as_ref().is_err_and(|e| e.err_code == NO_STREAM) {
            let what = "does not exist yet; the first server that connects creates it";
            output.line("stream", format_args!("{name} {what}"));
            ["put", "get", "watch"].iter().for_each(|step| output.line(step, "-"));
            return Some(());
        }
        let before = step(output, "stream", || {
            let StreamState { messages, replicas, .. } = stream?;
            let before = self.last()?.map_or(0, |message| message.sequence);
            let messages = plural(messages as usize, "message");
            Ok((before, format!("{name}, {messages}, {}", plural(replicas.into(), "replica"))))
        })?;
        let sequence = step(output, "put", || {
            let write = |bucket: &Bucket, out: &mut Vec<u8>, reply: &[u8]| {
                bucket.write_marker(out, CHECK_KEY, reply, before);
            };
            match self.ask(write, PutReply::parse)? {
                PutReply::Stored(sequence) => Ok((sequence, String::new())),
                PutReply::Conflict(_) => Err(BusFault::new("another check runs", "repeat it")),
                PutReply::Later(e) | PutReply::Refused(e) => Err(e.into()),
            }
        })?;
        step(output, "get", || match self.last()? {
            Some(last) if last.sequence == sequence => Ok(((), String::new())),
            _ => Err(BusFault::new("another message is there than was put", "repeat it")),
        })?;
        step(output, "watch", || {
            Ok(((), String::new())).and_then(|done| self.watch().map(|()| done))
        })
    }

    /// Shakes hands.
    fn start_tls(&mut self, tls: Arc<ClientConfig>) -> Result<(), BusFault> {
        if !self.info.tls_required && !self.info.tls_available {
            let remedy = "write tls into its configuration; to do without, write nats:// and no ca_file in [bus], and \
                          insecure_nats = true beyond the loopback";
            return Err(BusFault::new("it offers no TLS", remedy));
        }
        if self.info.tls_verify {
            let remedy = "remove verify from the tls of its clients, and use an nkey";
            return Err(BusFault::new("it wants a certificate of its clients", remedy));
        }
        if !self.received.is_empty() {
            return Err(BusFault::new("its first line is not INFO alone", "see its log"));
        }
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|e| BusFault::new(e, "check the host in `nats` of [bus]"))?;
        self.wire.fail_after(self.patience.end());
        self.wire.start_tls(tls, name).map_err(|e| {
            use CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
            let remedy = match e.get_ref().and_then(|e| e.downcast_ref()) {
                Some(TlsError::InvalidCertificate(UnknownIssuer)) => {
                    "name the file of its authority as ca_file in [bus]"
                }
                Some(TlsError::InvalidCertificate(
                    NotValidForName | NotValidForNameContext { .. },
                )) => "write a name of its certificate as the host in `nats` of [bus]",
                Some(TlsError::InvalidCertificate(_)) => {
                    "renew its certificate, and check this machine's clock"
                }
                _ => "check its tls, and see its log",
            };
            BusFault::of_io(&e, self.patience, remedy)
        })
    }

    /// Logs in, and returns how.
    fn log_in(&mut self) -> Result<String, BusFault> {
        if !self.info.headers {
            return Err(BusFault::new("it knows no headers", "use NATS 2.9.10 or newer"));
        }
        let mut out = Vec::new();
        write_connect(&mut out, &self.info, self.login.as_ref(), "herd bus check")?;
        write_sub(&mut out, &format!("{}*", self.inbox), 1);
        self.send(&out);
        self.wait("see its log", |op| matches!(op, ServerOp::Pong).then_some(()))?;
        let how = match &self.login {
            None => "without a login",
            Some(Login::Token(_)) => "token",
            Some(Login::User { .. }) => "user and password",
            Some(Login::Nkey(_)) => "nkey",
            Some(Login::Creds { .. }) => "JWT and nkey",
        };
        Ok(how.to_owned())
    }

    /// Sends these bytes. If the server has closed the connection, its last words say why, and are still to be read.
    fn send(&mut self, bytes: &[u8]) {
        self.wire.fail_after(self.patience.end());
        let _ = self.wire.write_all(bytes);
    }

    /// Waits until `take` returns something for an operation. `silence`: the remedy if nothing comes.
    fn wait<T>(
        &mut self,
        silence: &'static str,
        mut take: impl FnMut(ServerOp<'_>) -> Option<T>,
    ) -> Result<T, BusFault> {
        self.wire.fail_after(self.patience.end());
        loop {
            let (taken, op) = self.reader.read(&self.received)?;
            let is_incomplete = op.is_none() && taken == 0;
            let found = match op {
                Some(ServerOp::Err(text)) => {
                    let text = String::from_utf8_lossy(text);
                    let remedy = remedy_of_words(&text).trim_start_matches("; ");
                    return Err(BusFault::new(format!("the server says: {text}"), remedy));
                }
                Some(ServerOp::Ping) => self.wire.write_all(PONG).err().and(None),
                op => op.and_then(&mut take),
            };
            self.received.drain(..taken);
            if let Some(found) = found {
                return Ok(found);
            }
            if is_incomplete {
                let mut chunk = [0; 4_096];
                let count = match self.wire.read(&mut chunk) {
                    Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                    read => read,
                };
                let count = count.map_err(|e| BusFault::of_io(&e, self.patience, silence))?;
                self.received.extend_from_slice(&chunk[..count]);
            }
        }
    }

    /// Asks JetStream, and returns what `parse` makes of the answer.
    fn ask<T>(
        &mut self,
        write: impl FnOnce(&Bucket, &mut Vec<u8>, &[u8]),
        parse: impl Fn(&Delivery<'_>) -> T,
    ) -> Result<T, BusFault> {
        self.questions += 1;
        let reply = format!("{}{}", self.inbox, self.questions).into_bytes();
        let mut out = Vec::new();
        write(&self.bucket, &mut out, &reply);
        self.send(&out);
        let silence = "check that a majority of the NATS servers runs and has room on its disks; after a full disk, \
                       restart nats-server";
        self.wait(silence, |op| match op {
            // A delivery of the watch has the subject of its key.
            ServerOp::Msg(message) => {
                let is_it = message.subject == reply || AckSubject::parse(message.reply).is_some();
                is_it.then(|| parse(&message))
            }
            _ => None,
        })
    }

    /// The message of the last check.
    fn last(&mut self) -> Result<Option<LeaderMessage>, BusFault> {
        let write = |bucket: &Bucket, out: &mut Vec<u8>, reply: &[u8]| {
            bucket.write_leader_get(out, reply, CHECK_KEY);
        };
        Ok(self.ask(write, LeaderMessage::parse)??)
    }

    /// Watches the bucket until its first message comes.
    fn watch(&mut self) -> Result<(), BusFault> {
        let consumer = self.inbox.replace(['.', '_'], "-");
        let all = WatchStart::LastPerSubject;
        self.ask(
            |bucket, out, reply| bucket.write_consumer_create(out, reply, &consumer, all),
            ConsumerState::parse,
        )??;
        let is_delivered = self.ask(
            |bucket, out, reply| bucket.write_next(out, reply, &consumer, 1, EXPIRES, HEARTBEAT),
            |message| AckSubject::parse(message.reply).is_some(),
        )?;
        self.ask(|bucket, out, reply| bucket.write_consumer_delete(out, reply, &consumer), |_| ())?;
        let fault = || BusFault::new("it delivered no message", "see the log of nats-server");
        is_delivered.then_some(()).ok_or_else(fault)
    }
}
