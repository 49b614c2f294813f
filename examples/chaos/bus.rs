//! The bus of the herd, with `--bus`: a nats-server, to which each server has a proxy of its own.

use crate::Failed;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A nats-server, across all its processes. Dropping this value kills it.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
    pub(crate) is_frozen: bool,
}

impl Bus {
    /// Describes a nats-server that will listen at `address`, with its files in `folder`. Starts nothing.
    pub(crate) fn new(address: SocketAddr, folder: &Path) -> Bus {
        Bus { address, folder: folder.join("nats"), child: None, is_frozen: false }
    }

    /// Starts its process, with the streams of the process before.
    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        let output = self.folder.with_extension("output");
        let output = File::options().create(true).append(true).open(output)?;
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let child = Command::new("nats-server")
            .args(["--jetstream", "--addr", &ip, "--port", &port, "--store_dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|why| format!("--bus needs nats-server on the path: {why}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills the process with SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
        self.is_frozen = false;
    }

    /// Stops the process with SIGSTOP, or resumes it.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.is_frozen = frozen;
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        self.child.iter().for_each(|child| send_signal(child, signal));
    }
}

/// Sends a signal to a process that was not reaped yet, so that its id is still valid and this cannot fail.
pub(crate) fn send_signal(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kill();
    }
}
