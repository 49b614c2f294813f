//! Real nats-servers: alone, or several as a cluster, with JetStream, on loopback addresses of their own.
//!
//! `HERD_NATS_SERVER` names the program; without it, it is looked for in PATH. Debian's package is `nats-server`
//! (2.9.10). `HERD_NATS_SERVER_NEWER` names a newer one; without it, it is that of `tests/python/install` (2.15.1).
//!
//! What a test asks of them is text on a socket, without the client in `src/nats`, which it tests.

#![allow(dead_code, reason = "each test file uses only a part of it")]

use super::ports::own_loopback;
use super::process::until;
use super::skipped;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long one answer may take before the question is repeated.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// The program, or `None` and the remark that the test is skipped.
pub(crate) fn program() -> Option<PathBuf> {
    let named = std::env::var_os("HERD_NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = || folders.find_map(|it| Some(it.join("nats-server")).filter(|it| it.is_file()));
    named
        .or_else(found)
        .or_else(|| skipped("nats-server is missing: install it, or name it in HERD_NATS_SERVER"))
}

/// The newer program, or `None` and the remark that the test is skipped.
pub(crate) fn newer_program() -> Option<PathBuf> {
    let installed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/.venv/bin/nats-server");
    let named = std::env::var_os("HERD_NATS_SERVER_NEWER").map(PathBuf::from);
    named.or_else(|| Some(installed).filter(|it| it.is_file())).or_else(|| {
        skipped("a newer nats-server is missing: run tests/python/install, or name it in HERD_NATS_SERVER_NEWER")
    })
}

/// One or more servers with JetStream. Dropping this value kills them and removes their files.
pub(crate) struct NatsServers {
    program: PathBuf,
    folder: PathBuf,
    servers: Vec<Server>,
    config: String,
    /// Whether a client without a login is served.
    is_open: bool,
}

struct Server {
    ip: Ipv4Addr,
    /// `None` while it is killed.
    child: Option<Child>,
    /// How often it was started.
    starts: usize,
}

impl NatsServers {
    /// Starts one server.
    pub(crate) fn alone(program: &Path) -> NatsServers {
        NatsServers::start(program, 1, "")
    }

    /// Starts `count` servers as one cluster, with these lines in each configuration file, and waits until JetStream
    /// answers at each.
    pub(crate) fn start(program: &Path, count: usize, config: &str) -> NatsServers {
        let mut all = NatsServers::prepared(program, count);
        all.config = config.to_owned();
        all.restart_all();
        all
    }

    /// Starts one server that demands a login or TLS. `config` makes the lines of its configuration file, from its
    /// address and its folder.
    pub(crate) fn guarded(
        program: &Path,
        config: impl FnOnce(Ipv4Addr, &Path) -> String,
    ) -> NatsServers {
        let mut all = NatsServers::prepared(program, 1);
        (all.config, all.is_open) = (config(all.servers[0].ip, &all.folder), false);
        all.restart_all();
        all
    }

    /// Starts one server with these lines in its configuration file, at which the test must log in.
    pub(crate) fn start_unasked(program: &Path, config: &str) -> NatsServers {
        NatsServers::guarded(program, |_, _| config.to_owned())
    }

    fn prepared(program: &Path, count: usize) -> NatsServers {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("herd-nats-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the test");
        let server = || Server { ip: own_loopback(), child: None, starts: 0 };
        let servers = (0..count).map(|_| server()).collect();
        let (program, config) = (program.to_owned(), String::new());
        NatsServers { program, folder, servers, config, is_open: true }
    }

    /// Where clients connect to this server.
    pub(crate) fn address(&self, server: usize) -> SocketAddr {
        (self.servers[server].ip, 4222).into()
    }

    /// The version, such as `2.9.10`.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim().rsplit(['v', ' ']).next().expect("a word").to_owned()
    }

    /// Kills a server with SIGKILL.
    pub(crate) fn kill(&mut self, server: usize) {
        if let Some(mut child) = self.servers[server].child.take() {
            child.kill().expect("it is a child");
            child.wait().expect("it is a child");
        }
    }

    /// Kills all servers with SIGKILL.
    pub(crate) fn kill_all(&mut self) {
        (0..self.servers.len()).for_each(|server| self.kill(server));
    }

    /// Starts a killed server with its files, and waits until JetStream answers.
    pub(crate) fn restart(&mut self, server: usize) {
        self.kill(server);
        self.spawn(server);
        self.wait_for(server);
    }

    /// Starts all servers with their files, and waits until JetStream answers at each.
    pub(crate) fn restart_all(&mut self) {
        self.kill_all();
        (0..self.servers.len()).for_each(|server| self.spawn(server));
        (0..self.servers.len()).for_each(|server| self.wait_for(server));
    }

    /// Sends a signal to a server that runs.
    pub(crate) fn signal(&self, server: usize, signal: Signal) {
        let child = self.servers[server].child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it is a child");
    }

    /// Has a server adopt these lines of its configuration file while it runs.
    pub(crate) fn reload(&mut self, server: usize, config: &str) {
        config.clone_into(&mut self.config);
        self.write_config(server);
        self.signal(server, Signal::HUP);
    }

    /// The URL of each server, quoted and separated by commas, as in a topology.
    pub(crate) fn urls(&self) -> String {
        let url = |server| format!("\"nats://{}\"", self.address(server));
        (0..self.servers.len()).map(url).collect::<Vec<_>>().join(", ")
    }

    /// The number of the server that leads the stream of a bucket.
    pub(crate) fn leader(&self, bucket: &str) -> usize {
        until("the bucket has a leader", || {
            let info = (0..self.servers.len()).find_map(|server| {
                ask(self.address(server), &format!("$JS.API.STREAM.INFO.KV_{bucket}"), "").ok()
            });
            let info: Value = serde_json::from_str(&info?).ok()?;
            let name = info["cluster"]["leader"].as_str()?;
            name.strip_prefix('n')?.parse().ok()
        })
    }

    /// What a bucket holds: the value of each key.
    ///
    /// # Errors
    /// The server does not answer now, or not in time.
    pub(crate) fn bucket(
        &self,
        server: usize,
        bucket: &str,
    ) -> io::Result<BTreeMap<String, String>> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let (address, keys) = (self.address(server), format!("$KV.{bucket}."));
        let config = json!({
            "name": name, "deliver_policy": "last_per_subject", "ack_policy": "none",
            "filter_subject": format!("{keys}>"), "replay_policy": "instant",
            "num_replicas": 1, "mem_storage": true, "inactive_threshold": 10_000_000_000_u64,
        });
        let request = json!({ "stream_name": format!("KV_{bucket}"), "config": config });
        let subject = format!("$JS.API.CONSUMER.CREATE.KV_{bucket}.{name}.{keys}>");
        let made: Value = serde_json::from_str(&ask(address, &subject, &request.to_string())?)?;
        let count =
            made["num_pending"].as_u64().ok_or_else(|| io::Error::other(made.to_string()))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.KV_{bucket}.{name}");
        let mut asked = Asked::new(address, &subject, &json!({ "batch": count }).to_string())?;
        let mut all = BTreeMap::new();
        for _ in 0..count {
            let (subject, headers, value) = asked.message()?;
            let key = subject.strip_prefix(&keys).ok_or(ErrorKind::InvalidData)?;
            if !headers.contains("KV-Operation") {
                all.insert(key.to_owned(), value);
            }
        }
        Ok(all)
    }

    /// What a server has logged.
    pub(crate) fn log(&self, server: usize) -> String {
        fs::read_to_string(self.folder.join(format!("{server}.log"))).unwrap_or_default()
    }

    fn write_config(&self, server: usize) -> PathBuf {
        let ip = self.servers[server].ip;
        let folder = self.folder.join(server.to_string());
        let mut config = format!(
            "server_name: n{server}\nlisten: \"{ip}:4222\"\njetstream {{ store_dir: \"{}\" }}\n{}\n",
            folder.display(),
            self.config
        );
        if self.servers.len() > 1 {
            let routes: Vec<String> =
                self.servers.iter().map(|its| format!("nats-route://{}:6222", its.ip)).collect();
            let name = "cluster { name: herd, listen:";
            config += &format!("{name} \"{ip}:6222\", routes: {routes:?} }}\n");
        }
        let file = self.folder.join(format!("{server}.conf"));
        fs::write(&file, config).expect("the folder is ours");
        file
    }

    fn spawn(&mut self, server: usize) {
        let file = self.write_config(server);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{server}.log")))
            .expect("the folder is ours");
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.servers[server].child = Some(command.spawn().expect("nats-server can be run"));
        self.servers[server].starts += 1;
    }

    fn wait_for(&self, server: usize) {
        let starts = self.servers[server].starts;
        until("JetStream answers", || {
            let is_ready = match self.is_open {
                true => ask(self.address(server), "$JS.API.INFO", "")
                    .is_ok_and(|answer| answer.contains("\"streams\"")),
                false => self.log(server).matches("Server is ready").count() == starts,
            };
            if !is_ready {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            is_ready.then_some(())
        });
    }
}

impl Drop for NatsServers {
    fn drop(&mut self) {
        (0..self.servers.len()).for_each(|server| self.kill(server));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The answer to a request.
fn ask(address: SocketAddr, subject: &str, request: &str) -> io::Result<String> {
    Asked::new(address, subject, request)?.message().map(|(_, _, payload)| payload)
}

/// A connection over which one request was sent.
struct Asked(BufReader<TcpStream>);

impl Asked {
    fn new(address: SocketAddr, subject: &str, request: &str) -> io::Result<Asked> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        // An inbox of its own: a late answer to an earlier request must not be taken for the answer to this one.
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let inbox = format!("asked.{}", ASKED.fetch_add(1, Ordering::Relaxed));
        let login = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}";
        let length = request.len();
        let lines =
            format!("{login}\r\nSUB {inbox} 1\r\nPUB {subject} {inbox} {length}\r\n{request}\r\n");
        stream.write_all(lines.as_bytes())?;
        Ok(Asked(BufReader::new(stream)))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// The next message: its subject, its headers, and its payload, which is one line.
    fn message(&mut self) -> io::Result<(String, String, String)> {
        let head = loop {
            let line = self.line()?;
            if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                break line;
            }
        };
        let mut headers = String::new();
        while head.starts_with('H') {
            match self.line()? {
                line if line.is_empty() => break,
                line => headers += &(line + "\n"),
            }
        }
        let subject = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok((subject, headers, self.line()?))
    }
}
