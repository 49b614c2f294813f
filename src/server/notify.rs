//! Tells the service manager how the server fares, by systemd's notify protocol (sd_notify(3)).
//!
//! In: the environment of the process, once; then the server's changes of phase, and a regular call of
//! `Notify::tick`. Out: datagrams to `$NOTIFY_SOCKET`, whose lines are `KEY=value`. Without that variable nothing is
//! sent. It knows neither the server nor a clock.
//!
//! ```text
//!   journal is read ──▶ EXTEND_TIMEOUT_USEC, once a second      ready ──▶ READY=1
//!   reload ──▶ RELOADING=1 and MONOTONIC_USEC, then READY=1     drain ──▶ STOPPING=1, EXTEND_TIMEOUT_USEC
//!   tick ──▶ STATUS, if it has changed; WATCHDOG=1, if $WATCHDOG_USEC is set
//! ```
//!
//! Sending never blocks. If the manager does not read, its socket's queue becomes full. Then a change of phase waits
//! for the next tick, and everything else is composed again at its time. So at most one message waits.

use herd_reactor::Moment;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The time between two ticks, unless the watchdog needs a shorter one.
const TICK: Duration = Duration::from_secs(1);

/// How much time the manager grants from each EXTEND_TIMEOUT_USEC on. One slow sync of a disk takes less.
const EXTENSION: Duration = Duration::from_secs(30);

/// The service manager, and what it has been told; see the head of this file.
#[derive(Debug, Default)]
pub struct Notify {
    /// The manager's socket, and one of ours to send from; `None` without a manager.
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// Half of the time after which the manager considers a silent server hung.
    watchdog: Option<Duration>,
    /// The lines of the last change of phase, until they are sent.
    owed: String,
    /// The last STATUS that was sent.
    status: String,
    extension_due: Moment,
    /// CLOCK_MONOTONIC at the moment 0.
    monotonic: Duration,
    /// Whether the last message could not be sent.
    is_failing: bool,
}

impl Notify {
    /// Reads the environment through `variable`. `process`: the id of this process; `monotonic`: CLOCK_MONOTONIC at the
    /// moment 0 of the reactor. A variable that cannot be used is logged and ignored.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
        process: u32,
        monotonic: Duration,
    ) -> Notify {
        let Some(socket) = variable("NOTIFY_SOCKET") else { return Notify::default() };
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(process));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0);
        let manager = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(&socket),
            _ => Err(io::Error::other("it is neither a path from / nor an abstract name with @")),
        };
        let manager = manager.and_then(|address| {
            let ours = UnixDatagram::unbound()?;
            ours.set_nonblocking(true)?;
            Ok((ours, address))
        });
        if let Err(why) = &manager {
            log::warn!("NOTIFY_SOCKET = {}: ignored: {why}", socket.display());
        }
        Notify {
            manager: manager.ok(),
            watchdog: watchdog.map(|usec| Duration::from_micros(usec) / 2),
            monotonic,
            ..Notify::default()
        }
    }

    /// The time between two calls of [`tick`](Notify::tick); `None` if there is no manager.
    pub(super) fn period(&self) -> Option<Duration> {
        self.manager.as_ref().map(|_| self.watchdog.map_or(TICK, |half| half.min(TICK)))
    }

    /// Tells the manager that the server serves, or that a reload has ended.
    pub fn ready(&mut self) {
        self.owed.push_str("READY=1\n");
        self.send("");
    }

    /// Tells the manager that a reload begins; [`ready`](Notify::ready) ends it, also if it failed.
    pub fn reloading(&mut self, now: Moment) {
        let usec = (self.monotonic + now.since(Moment::default())).as_micros();
        self.owed = format!("RELOADING=1\nMONOTONIC_USEC={usec}\n");
        self.send("");
    }

    /// Tells the manager that the server ends.
    pub(super) fn stopping(&mut self) {
        self.owed = "STOPPING=1\n".to_owned();
        self.send("");
    }

    /// Asks the manager for more time to start or to end, at most once a second.
    pub fn extend(&mut self, now: Moment) {
        if now >= self.extension_due {
            self.extension_due = now + TICK;
            self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTENSION.as_micros()));
        }
    }

    /// Sends a change of phase that could not be sent, `status` if it has changed, and a sign of life for the watchdog.
    pub(super) fn tick(&mut self, status: &str) {
        let mut lines = String::new();
        if self.watchdog.is_some() {
            lines.push_str("WATCHDOG=1\n");
        }
        if status != self.status {
            // Writing to a String never fails.
            let _ = writeln!(lines, "STATUS={status}");
        }
        if self.send(&lines) {
            status.clone_into(&mut self.status);
        }
    }

    /// Sends the change of phase that is owed, and `lines`, as one datagram. Returns whether there was nothing to send
    /// or the manager's queue has it. The first failure is logged, and the first success after one.
    fn send(&mut self, lines: &str) -> bool {
        let Some((ours, manager)) = &self.manager else {
            self.owed.clear();
            return true;
        };
        if self.owed.is_empty() && lines.is_empty() {
            return true;
        }
        let sent = ours.send_to_addr([&self.owed, lines].concat().as_bytes(), manager);
        match &sent {
            Ok(_) => {
                self.owed.clear();
                if self.is_failing {
                    log::info!("NOTIFY_SOCKET: the service manager takes messages again");
                }
            }
            Err(why) if !self.is_failing => {
                log::warn!("NOTIFY_SOCKET: cannot tell the service manager: {why}; trying again");
            }
            Err(_) => {}
        }
        self.is_failing = sent.is_err();
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager's socket under an abstract name of its own, and what a server under it has read from its environment.
    fn manager(test: &str) -> (UnixDatagram, Notify) {
        let name = format!("herd-notify-{}-{test}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("it is short");
        let socket = UnixDatagram::bind_addr(&address).expect("the name is ours");
        socket.set_nonblocking(true).expect("it can be set");
        let given = |key: &str| (key == "NOTIFY_SOCKET").then(|| format!("@{name}").into());
        (socket, Notify::from_environment(given, 7, Duration::from_secs(100)))
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 4_096];
        let count = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    #[test]
    fn a_reload_is_told_with_its_time_by_the_clock_of_the_service_manager() {
        let (socket, mut notify) = manager("reload");
        notify.reloading(Moment::from_nanos(2_000_003_999));
        notify.ready();
        let begins = "RELOADING=1\nMONOTONIC_USEC=102000003\n";
        assert_eq!(
            [heard(&socket), heard(&socket)],
            [begins, "READY=1\n"].map(|it| Some(it.into()))
        );
    }

    #[test]
    fn what_a_full_queue_does_not_take_is_told_once_there_is_room_and_only_the_last_of_it() {
        let (socket, mut notify) = manager("full");
        while notify.send("X=1\n") {}
        for second in 1..=3 {
            notify.reloading(Moment::from_nanos(second * 1_000_000_000));
            notify.ready();
        }
        while heard(&socket).is_some_and(|lines| lines == "X=1\n") {}
        notify.tick("sound");
        let told = "RELOADING=1\nMONOTONIC_USEC=103000000\nREADY=1\nSTATUS=sound\n";
        assert_eq!(heard(&socket).as_deref(), Some(told));
        notify.tick("sound");
        assert_eq!(heard(&socket), None, "it has not changed");
        notify.tick("broken");
        assert_eq!(heard(&socket).as_deref(), Some("STATUS=broken\n"));
    }

    #[test]
    fn without_a_service_manager_nothing_is_due() {
        let mut notify = Notify::from_environment(|_| None, 7, Duration::ZERO);
        assert_eq!(notify.period(), None);
        notify.reloading(Moment::default());
        notify.ready();
        notify.extend(Moment::default());
        assert!(notify.send("X=1\n"));
    }

    #[test]
    fn the_watchdog_counts_only_for_the_process_that_it_names() {
        let period = |pid: Option<&str>, usec: &str| {
            let given = |key: &str| match key {
                "NOTIFY_SOCKET" => Some("@herd-nobody".into()),
                "WATCHDOG_USEC" => Some(usec.into()),
                _ => pid.map(Into::into),
            };
            Notify::from_environment(given, 7, Duration::ZERO).period()
        };
        let half = Some(Duration::from_millis(250));
        assert_eq!(period(None, "500000"), half);
        assert_eq!(period(Some("7"), "500000"), half);
        for (pid, usec) in
            [(Some("8"), "500000"), (Some(""), "500000"), (None, "0"), (None, "soon")]
        {
            assert_eq!(period(pid, usec), Some(TICK), "{pid:?}, {usec}");
        }
        assert_eq!(period(None, "30000000"), Some(TICK), "a change is told sooner than this");
    }
}
