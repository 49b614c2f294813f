//! Running the real binary: processes with deadlines and guards, and herds with addresses of their own.

use super::ports::own_loopback;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, pidfd_open, pidfd_send_signal};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The deadline of each wait; far longer than the wait takes, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How a process ended, and its output that had not been read before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `None` if a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running process. Dropping this value kills the process.
pub(crate) struct Process {
    child: Child,
    stdout: ChildStdout,
    unread: Vec<u8>,
    /// A file that has been removed from its folder.
    stderr: File,
}

impl Process {
    fn start(command: &mut Command, stdin: Stdio) -> Process {
        Process::start_into(command, stdin, None)
    }

    /// Starts a process with another stderr than the file that this value reads.
    fn start_into(command: &mut Command, stdin: Stdio, stderr_instead: Option<Stdio>) -> Process {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("herd-{}-{number}.err", std::process::id()));
        let options = File::options().read(true).append(true).create_new(true).open(&path);
        let stderr = options.expect("a file for stderr");
        fs::remove_file(&path).expect("it is ours");
        let own = stderr_instead.unwrap_or(stderr.try_clone().expect("a descriptor").into());
        let started = command.stdin(stdin).stdout(Stdio::piped()).stderr(own).spawn();
        let mut child = started.expect("the program can be run");
        let stdout = child.stdout.take().expect("it is a pipe");
        Process { child, stdout, unread: Vec::new(), stderr }
    }

    /// Runs `herd` with these arguments to its end.
    pub(crate) fn run(args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        Process::start(command.args(args), Stdio::null()).end()
    }

    /// Runs a line in a shell, to its end.
    pub(crate) fn shell(line: &str) -> Ended {
        Process::shell_started(line).end()
    }

    /// Starts a line in a shell.
    pub(crate) fn shell_started(line: &str) -> Process {
        Process::start(Command::new("sh").args(["-c", line]), Stdio::null())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the process's command line, as `ps` shows it to all users.
    pub(crate) fn command_line(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.id())).expect("it runs");
        String::from_utf8(bytes).expect("text")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is a pipe");
        stdin.write_all(text.as_bytes()).expect("it reads");
    }

    /// Returns the next line that the process prints, without its newline.
    pub(crate) fn line(&mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return String::from_utf8(line).expect("text").trim_end_matches('\n').into();
            }
            let so_far = String::from_utf8_lossy(&self.unread).into_owned();
            assert!(is_readable(&self.stdout, deadline), "no line came, only {so_far:?}");
            assert!(self.take_some() > 0, "it ended after {so_far:?}, with {}", self.stderr());
        }
    }

    /// Returns the next line that contains `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.lines_until(text).pop().expect("it is the last")
    }

    /// Returns all lines up to the one that contains `text`.
    pub(crate) fn lines_until(&mut self, text: &str) -> Vec<String> {
        let mut lines = vec![self.line()];
        while !lines.last().is_some_and(|line| line.contains(text)) {
            lines.push(self.line());
        }
        lines
    }

    /// Returns the running servers in the table of `herd up`, in its order.
    pub(crate) fn herd(&mut self) -> Vec<Stray> {
        self.line_with("SERVER ");
        let mut rows = self.lines_until("To report ");
        rows.retain(|row| row.ends_with(|c: char| c.is_ascii_digit()));
        rows.iter().map(|row| Stray::new(row.rsplit(' ').next().expect("its id"))).collect()
    }

    /// Closes the process's stdin, and waits for its end.
    pub(crate) fn end(&mut self) -> Ended {
        drop(self.child.stdin.take());
        self.end_with_stdin_open()
    }

    pub(crate) fn end_with_stdin_open(&mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("a child");
        loop {
            assert!(is_readable(&self.stdout, deadline), "it does not end: {}", self.stderr());
            if self.take_some() == 0 {
                break;
            }
        }
        assert!(is_readable(&pidfd, deadline), "it does not end: {}", self.stderr());
        let code = self.child.wait().expect("it has ended").code();
        let stdout = String::from_utf8(std::mem::take(&mut self.unread)).expect("text");
        Ended { code, stdout, stderr: self.stderr() }
    }

    fn take_some(&mut self) -> usize {
        let mut chunk = [0; 65_536];
        let count = self.stdout.read(&mut chunk).expect("a pipe can be read");
        self.unread.extend_from_slice(&chunk[..count]);
        count
    }

    /// Returns what the process has written to stderr so far.
    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.stderr.rewind().expect("it is a file");
        self.stderr.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // These fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where stdout or stderr of a process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// /dev/null.
    Fine,
    /// Closed: `>&-`.
    Closed,
    /// A full disk: /dev/full.
    Full,
    /// A pipe whose reader has closed.
    Broken,
}

impl Out {
    pub(crate) const ALL: [Out; 4] = [Out::Fine, Out::Closed, Out::Full, Out::Broken];

    /// Returns the redirection for the shell, if it needs one, and the descriptor that the shell gets.
    fn given(self, number: u8) -> (String, Stdio) {
        match self {
            Out::Fine => (String::new(), Stdio::null()),
            Out::Closed => (format!(" {number}>&-"), Stdio::null()),
            Out::Full => (format!(" {number}>/dev/full"), Stdio::null()),
            Out::Broken => {
                let (reader, writer) = std::io::pipe().expect("descriptors are free");
                drop(reader);
                (String::new(), writer.into())
            }
        }
    }
}

/// A running process whose output is not read. Dropping this value kills the process.
pub(crate) struct Mute(Child);

impl Mute {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Waits for the end of the process, and returns its exit status; `None` if a signal killed it.
    pub(crate) fn code(mut self) -> Option<i32> {
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).expect("a child");
        assert!(is_readable(&pidfd, Instant::now() + DEADLINE), "it does not end");
        self.0.wait().expect("it has ended").code()
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        // These fail only for a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that is not our child. Dropping this value kills it. It is held by a descriptor, because its id may be
/// reused.
pub(crate) struct Stray {
    id: String,
    pidfd: OwnedFd,
}

impl Stray {
    pub(crate) fn new(id: &str) -> Stray {
        let pid = Pid::from_raw(id.parse().expect("an id")).expect("not 0");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        Stray { id: id.into(), pidfd }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).expect("it runs");
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Whether the process leads its process group, so that the terminal's Ctrl-C does not reach it.
    pub(crate) fn leads_its_group(&self) -> bool {
        let pid = Pid::from_raw(self.id.parse().expect("an id"));
        getpgid(pid).ok() == pid
    }

    /// Whether the process ends within `time`.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        is_readable(&self.pidfd, Instant::now() + time)
    }

    /// Waits for the end of the process.
    pub(crate) fn has_ended(&self) {
        assert!(is_readable(&self.pidfd, Instant::now() + DEADLINE), "{} still runs", self.id);
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// A folder with a topology, and a loopback address for its servers.
pub(crate) struct Herd {
    folder: PathBuf,
    ip: Ipv4Addr,
    text: String,
}

impl Herd {
    /// Makes a herd of these servers and their neighbours. The first has ports 12000 and 12100, the second 12001 and
    /// 12101...
    pub(crate) fn new(test: &str, servers: &[(&str, &[&str])]) -> Herd {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        // Two tests may have the same name.
        let folder = std::env::temp_dir().join(format!("herd-{id}-{number}-{test}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the test");
        let ip = own_loopback();
        let mut text = String::from("herd = \"test\"\n");
        for (number, (name, neighbours)) in servers.iter().enumerate() {
            let _ = write!(
                text,
                "[[server]]\nname = \"{name}\"\nclient = \"{ip}:{}\"\npeer = \"{ip}:{}\"\n\
                 neighbours = {neighbours:?}\n",
                12_000 + number,
                12_100 + number
            );
        }
        text.push_str("[limits]\nretry_first_ms = 20\nretry_max_ms = 200\ndrain_ms = 2000\n");
        let herd = Herd { folder, ip, text };
        herd.write(&herd.text);
        herd
    }

    /// Replaces the text of the topology.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.folder.join("topology.toml"), text).expect("the folder is ours");
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn topology(&self) -> String {
        self.folder.join("topology.toml").to_str().expect("text").into()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Returns the command `herd ARGS`, with this topology.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let (words, operands) =
            args.split_at(if ["bus", "places", "pki", "token"].contains(&args[0]) { 2 } else { 1 });
        command.args(words).arg("--topology").arg(self.topology()).args(operands);
        command
    }

    /// Runs `herd ARGS` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Process::start(&mut self.command(args), Stdio::null()).end()
    }

    /// Starts `herd ARGS`, with a pipe as its stdin.
    pub(crate) fn start(&self, args: &[&str]) -> Process {
        Process::start(&mut self.command(args), Stdio::piped())
    }

    /// Starts `herd ARGS` with these additional environment variables.
    pub(crate) fn start_in(&self, environment: &[(&str, &str)], args: &[&str]) -> Process {
        let mut command = self.command(args);
        Process::start(command.envs(environment.iter().copied()), Stdio::null())
    }

    /// Starts `herd ARGS` with these additional environment variables and this stderr.
    pub(crate) fn start_into(
        &self,
        environment: &[(&str, &str)],
        args: &[&str],
        stderr: impl Into<Stdio>,
    ) -> Process {
        let mut command = self.command(args);
        command.envs(environment.iter().copied()).env_remove("RUST_LOG");
        Process::start_into(&mut command, Stdio::null(), Some(stderr.into()))
    }

    /// Starts `herd ARGS` in the herd's folder with this stdout and stderr. Adds no topology if the command takes none
    /// or names one.
    pub(crate) fn start_unheard(&self, args: &[&str], stdout: Out, stderr: Out) -> Mute {
        self.unheard(&[], args, stdout, stderr)
    }

    /// Starts `herd ARGS` as `start_unheard` does, with these additional environment variables.
    pub(crate) fn start_unheard_in(
        &self,
        environment: &[(&str, &str)],
        args: &[&str],
        out: Out,
    ) -> Mute {
        self.unheard(environment, args, out, out)
    }

    fn unheard(
        &self,
        environment: &[(&str, &str)],
        args: &[&str],
        stdout: Out,
        stderr: Out,
    ) -> Mute {
        let has_its_own = args.iter().any(|arg| arg.starts_with("--topology"));
        let has_none = ["--help", "--version", "fold", "journal"].contains(&args[0]);
        let herd = match has_its_own || has_none {
            false => self.command(args),
            true => {
                let mut herd = Command::new(env!("CARGO_BIN_EXE_herd"));
                herd.args(args);
                herd
            }
        };
        let ((out, given_out), (err, given_err)) = (stdout.given(1), stderr.given(2));
        let mut shell = Command::new("sh");
        shell
            .envs(environment.iter().copied())
            .arg("-c")
            .arg(format!("exec \"$0\" \"$@\"{out}{err}"));
        shell.arg(herd.get_program()).args(herd.get_args()).current_dir(&self.folder);
        let started = shell.stdin(Stdio::null()).stdout(given_out).stderr(given_err).spawn();
        Mute(started.expect("the shell can be run"))
    }

    /// Starts `herd ARGS` with a file of the folder as its stdin.
    pub(crate) fn start_reading(&self, args: &[&str], file: &str) -> Process {
        let file = File::open(self.folder.join(file)).expect("the file is there");
        Process::start(&mut self.command(args), file.into())
    }

    /// Starts a server that does not log lines, and waits until it listens.
    pub(crate) fn serve(&self, name: &str) -> Process {
        let mut command = self.command(&["serve", name]);
        command.env("RUST_LOG", "info,herd::traffic=off");
        let mut server = Process::start(&mut command, Stdio::null());
        server.line();
        server
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Repeats `attempt` until it returns something.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(outcome) = attempt() {
            return outcome;
        }
        assert!(Instant::now() < deadline, "{what}: not in {DEADLINE:?}");
    }
}

/// Waits until a descriptor is readable: data or the end of a pipe, the end of a process, a connection at a listener.
pub(crate) fn is_readable(fd: &impl AsFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    retry_on_intr(|| poll(&mut polled, Some(&timeout))).expect("poll(2)") > 0
}
