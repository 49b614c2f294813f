//! One server's process, with the kernel's figures about it.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};

/// A process. Dropping this value kills the process, by its id.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Takes over `child`.
    pub(crate) fn new(child: Child) -> Process {
        Process { child }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if the process has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends `signal` to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// Whether the process has a handler for `signal`.
    pub(crate) fn catches(&self, signal: Signal) -> bool {
        let caught = self.status("SigCgt:");
        let caught = u64::from_str_radix(&caught, 16).expect("a set of bits");
        caught & 1 << (signal.as_raw() - 1) != 0
    }

    /// Whether SIGSTOP has stopped the process.
    pub(crate) fn stands_still(&self) -> bool {
        self.status("State:").starts_with('T')
    }

    /// The number of bytes that the process's reads have returned, from files and everything else.
    pub(crate) fn bytes_read(&self) -> u64 {
        let counts = self.proc_file("io");
        let count = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
        count.and_then(|count| count.parse().ok()).expect("a process has rchar")
    }

    fn status(&self, key: &str) -> String {
        let status = self.proc_file("status");
        let found = status.lines().find_map(|line| line.strip_prefix(key));
        found.expect("the kernel tells it").trim().to_owned()
    }

    /// Kills the process with SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("a child can be waited for");
    }

    /// The private memory of the process, in bytes; pages of files, such as the program's, do not count.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let kib = self.status("RssAnon:");
        let kib = kib.strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a process has RssAnon") * 1_024
    }

    /// The processor time that the process has used, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = self.proc_file("stat");
        // The name in brackets may contain anything; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("a stat has a name");
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|field| field.parse::<u64>().expect("times are numbers")).sum()
    }

    /// The number of threads of the process.
    pub(crate) fn threads(&self) -> usize {
        self.proc_entries("task")
    }

    /// The number of open descriptors of the process.
    pub(crate) fn descriptors(&self) -> usize {
        self.proc_entries("fd")
    }

    fn proc_file(&self, name: &str) -> String {
        fs::read_to_string(self.proc_path(name)).expect("the process is there")
    }

    fn proc_entries(&self, name: &str) -> usize {
        fs::read_dir(self.proc_path(name)).expect("the process is there").count()
    }

    fn proc_path(&self, name: &str) -> PathBuf {
        ["/proc", &self.child.id().to_string(), name].iter().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
