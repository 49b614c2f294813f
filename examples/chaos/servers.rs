//! The servers: one folder, and for each server a topology, a process, samples from the kernel and its own status.
//!
//! Each server has a topology file of its own. The files differ in one thing: where a server dials a neighbour, its
//! file has the address of that edge's proxy instead of the neighbour's.

use crate::Failed;
use crate::bus::{Bus, send_signal};
use rustix::process::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ports below the kernel's range for outgoing connections, and above those that other programs like to use.
const PORTS: std::ops::Range<u16> = 15_000..32_768;

/// Maximum time for a server to answer STATUS.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// The description of a herd.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) names: Vec<String>,
    /// Pairs of indexes into `names`. The first name of a pair sorts first, so that server dials. The index behind the last
    /// name is the bus.
    pub(crate) edges: Vec<(usize, usize)>,
    /// `sync` of `[journal]`; `None`: no journal.
    pub(crate) journal: Option<&'static str>,
    pub(crate) tls: bool,
    /// Whether the servers have HTTP ports.
    pub(crate) http: bool,
    /// Whether a bus joins the servers.
    pub(crate) bus: bool,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
}

/// All servers. Dropping this value kills the servers that still run.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) plan: Plan,
    pub(crate) all: Vec<Server>,
    pub(crate) bus: Option<Bus>,
}

/// One server, across all its processes.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) http: SocketAddr,
    child: Option<Child>,
    /// Whether the server was sent SIGSTOP.
    pub(crate) is_frozen: bool,
    /// Whether the server was sent SIGTERM.
    is_ending: bool,
    /// How often the server has lost its memory.
    pub(crate) losses: u64,
    /// The times that the server exited unasked, each as a text.
    pub(crate) ended_itself: Vec<String>,
    pub(crate) looks: Looks,
}

/// Samples of a server's processes, from the kernel.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Samples of the present process: minutes since the run began, and private memory (RssAnon) in KiB.
    pub(crate) memory: Vec<(f64, f64)>,
    pub(crate) most_memory_kib: u64,
    pub(crate) most_descriptors: usize,
    pub(crate) most_threads: usize,
}

impl Servers {
    /// Chooses free ports for all servers. Writes nothing yet.
    pub(crate) fn new(plan: Plan) -> Result<Servers, Failed> {
        // All ports are held until the last is found, so that none is found twice.
        let mut held = Vec::new();
        let mut all = Vec::new();
        for name in &plan.names {
            let mut port = || -> Result<SocketAddr, Failed> {
                let listener = free_port(held.len())?;
                let address = listener.local_addr()?;
                held.push(listener);
                Ok(address)
            };
            all.push(Server {
                name: name.clone(),
                client: port()?,
                peer: port()?,
                http: port()?,
                child: None,
                is_frozen: false,
                is_ending: false,
                losses: 0,
                ended_itself: Vec::new(),
                looks: Looks::default(),
            });
        }
        let bus = match plan.bus {
            true => Some(Bus::new(free_port(held.len())?.local_addr()?, &plan.folder)),
            false => None,
        };
        Ok(Servers { plan, all, bus })
    }

    /// The address that the dialling server of an edge to `to` would dial without a proxy.
    pub(crate) fn dialled(&self, to: usize) -> SocketAddr {
        match (self.all.get(to), &self.bus) {
            (None, Some(bus)) => bus.address,
            _ => self.all[to].peer,
        }
    }

    /// Writes the topologies and, if the plan has TLS, the certificates.
    ///
    /// `proxies` has the address to dial for each edge, in the order of the plan's edges.
    pub(crate) fn write(&self, proxies: &[SocketAddr]) -> Result<(), Failed> {
        fs::create_dir_all(&self.plan.folder)?;
        for server in 0..self.all.len() {
            fs::write(self.topology(server), self.topology_text(server, proxies))?;
        }
        if self.plan.tls {
            self.herd(&["pki", "init"], &[])?;
            self.herd(&["pki", "issue"], &self.plan.names)?;
        }
        Ok(())
    }

    fn herd(&self, words: &[&str], names: &[String]) -> Result<(), Failed> {
        let mut command = Command::new(&self.plan.program);
        command.args(words).args(names).arg("--topology").arg(self.topology(0));
        let output = command.output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    fn topology_text(&self, own: usize, proxies: &[SocketAddr]) -> String {
        let mut text = "herd = \"chaos\"\n".to_owned();
        if let Some(sync) = self.plan.journal {
            // The limit is small, so that the journal is compacted now and then.
            let _ = write!(text, "[journal]\nsync = \"{sync}\"\ncompact_bytes = 1_048_576\n");
        }
        if self.plan.tls {
            text += "[peer_tls]\nfolder = \"pki\"\n";
        }
        let to_bus = self.plan.edges.iter().position(|edge| *edge == (own, self.all.len()));
        if let Some(edge) = to_bus {
            let _ = write!(text, "[bus]\nnats = [\"nats://{}\"]\n", proxies[edge]);
        }
        for (number, server) in self.all.iter().enumerate() {
            let dialled = self.plan.edges.iter().position(|edge| *edge == (own, number));
            let peer = dialled.map_or(server.peer, |edge| proxies[edge]);
            let edges = self.plan.edges.iter().filter(|(_, to)| *to < self.all.len());
            let others = edges.filter_map(|&(one, other)| match number {
                _ if one == number => Some(format!("{:?}", self.all[other].name)),
                _ if other == number => Some(format!("{:?}", self.all[one].name)),
                _ => None,
            });
            let neighbours = others.collect::<Vec<_>>().join(", ");
            let _ = write!(
                text,
                "\n[[server]]\nname = {:?}\nclient = \"{}\"\npeer = \"{peer}\"\n\
                 neighbours = [{neighbours}]\n",
                server.name, server.client
            );
            if self.plan.http {
                let _ = writeln!(text, "http = \"{}\"", server.http);
            }
        }
        text
    }

    fn topology(&self, server: usize) -> PathBuf {
        self.plan.folder.join(format!("{}.toml", self.all[server].name))
    }

    fn output(&self, server: usize) -> PathBuf {
        self.plan.folder.join(format!("{}.output", self.all[server].name))
    }

    /// Starts the process of `server`.
    pub(crate) fn start(&mut self, server: usize) -> Result<(), Failed> {
        let output = File::options().create(true).append(true).open(self.output(server))?;
        let child = Command::new(&self.plan.program)
            .arg("serve")
            .arg(&self.all[server].name)
            // The server ends when this program ends, however that happens. It has a process group of its own, so that
            // Ctrl-C reaches only this program. If this program ends while the server is stopped, the kernel wakes
            // the server, which then ends, too.
            .args(["--parent", &process::id().to_string()])
            .process_group(0)
            .arg("--topology")
            .arg(self.topology(server))
            .env("RUST_LOG", "info,herd::traffic=off")
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()?;
        let server = &mut self.all[server];
        server.child = Some(child);
        server.is_ending = false;
        server.looks.memory.clear();
        Ok(())
    }

    /// Removes the journal of `server`, which must not be running.
    pub(crate) fn remove_journal(&mut self, server: usize) -> Result<(), Failed> {
        let folder = self.plan.folder.join("journal").join(&self.all[server].name);
        match folder.exists() {
            true => Ok(fs::remove_dir_all(folder)?),
            false => Ok(()),
        }
    }

    /// Asks `server` for its status; `None` if it does not answer.
    pub(crate) fn ask(&self, server: usize) -> Option<Value> {
        let name = &self.all[server].name;
        let asked = UnixStream::connect(self.plan.folder.join(format!("run/{name}.sock"))).ok()?;
        asked.set_read_timeout(Some(ANSWERED_WITHIN)).ok()?;
        (&asked).write_all(b"STATUS\n").ok()?;
        let mut line = String::new();
        BufReader::new(asked).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// The hash of all tables, if it is the same everywhere, all links are up and nothing is under way.
    pub(crate) fn state_of_all(&self) -> Option<String> {
        let mut state = None;
        for server in 0..self.all.len() {
            let said = self.ask(server)?;
            let links = said["links"].as_array()?;
            let done = |link: &Value| {
                link["linked"] == true && link["pending_bytes"] == 0 && link["backlog_clients"] == 0
            };
            let own = said["state"].as_str()?.to_owned();
            if !links.iter().all(done) || *state.get_or_insert(own.clone()) != own {
                return None;
            }
        }
        state
    }

    /// Samples all processes, `minutes` after the run began.
    pub(crate) fn look(&mut self, minutes: f64) {
        self.all.iter_mut().for_each(|server| server.look(minutes));
    }

    /// Counts the panics in the servers' output.
    pub(crate) fn panics(&self) -> usize {
        let texts = (0..self.all.len()).map(|server| self.output(server));
        let texts = texts.filter_map(|path| fs::read(path).ok());
        texts.map(|text| String::from_utf8_lossy(&text).matches("panicked at").count()).sum()
    }

    /// Kills all servers, and removes the folder, which this run has created.
    pub(crate) fn remove(&mut self) -> Result<(), Failed> {
        self.all.iter_mut().for_each(Server::kill);
        self.bus.iter_mut().for_each(Bus::kill);
        Ok(fs::remove_dir_all(&self.plan.folder)?)
    }
}

impl Server {
    /// Kills the process with SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The process may have ended already.
        let _ = child.kill();
        let _ = child.wait();
        self.is_frozen = false;
    }

    /// Stops the process with SIGSTOP, or resumes it.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.is_frozen = frozen;
        self.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&mut self) {
        self.is_ending = true;
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        send_signal(child, signal);
    }

    /// Returns the exit status, and reaps the process, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<process::ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    fn look(&mut self, minutes: f64) {
        let Some(child) = &self.child else { return };
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        if !self.is_ending
            && let Some(status) = self.ended()
        {
            self.ended_itself.push(format!("{} has ended, {status}", self.name));
            return;
        }
        let (Some(memory), Some(descriptors), Some(threads)) =
            (memory_kib(&process), entries(&process, "fd"), entries(&process, "task"))
        else {
            return;
        };
        let looks = &mut self.looks;
        looks.memory.push((minutes, memory as f64));
        looks.most_memory_kib = looks.most_memory_kib.max(memory);
        looks.most_descriptors = looks.most_descriptors.max(descriptors);
        looks.most_threads = looks.most_threads.max(threads);
    }

    /// How many descriptors the process has open now.
    pub(crate) fn descriptors(&self) -> usize {
        let child = self.child.as_ref().map(Child::id);
        let count = child.and_then(|id| entries(Path::new(&format!("/proc/{id}")), "fd"));
        count.unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn memory_kib(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn entries(process: &Path, folder: &str) -> Option<usize> {
    Some(fs::read_dir(process.join(folder)).ok()?.count())
}

/// Finds a free port, which the listener holds until it is dropped. `after`: how many were found before.
fn free_port(after: usize) -> Result<TcpListener, Failed> {
    let start = process::id().wrapping_mul(7_919) as usize + after;
    let ports = (0..PORTS.len()).map(|step| PORTS.start + ((start + step) % PORTS.len()) as u16);
    let mut free = ports.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    free.next().ok_or_else(|| "no port is free".into())
}

/// Builds `herd` in the profile of this program, and returns its path.
pub(crate) fn program() -> Result<PathBuf, Failed> {
    let own = std::env::current_exe()?;
    let folder =
        own.parent().and_then(Path::parent).ok_or("cannot find the folder of this program")?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--bin", "herd"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.status().map_err(|e| format!("cannot run cargo to build herd: {e}"))?;
    match built.success() {
        true => Ok(folder.join("herd")),
        false => Err("cargo could not build herd: see its errors above".into()),
    }
}

/// The seconds since `then`.
pub(crate) fn seconds_since(then: Instant) -> f64 {
    then.elapsed().as_secs_f64()
}
