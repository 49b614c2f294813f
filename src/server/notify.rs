//! Tells the service manager how the server fares, by systemd's notify protocol (sd_notify(3)).
//!
//! In: the environment of the process, once; then the server's state, at each change of phase and regularly. Out:
//! datagrams to `$NOTIFY_SOCKET`, whose lines are `KEY=value`. Without that variable nothing is sent. It knows neither the
//! server nor a clock.
//!
//! ```text
//!   journal is read ──▶ EXTEND_TIMEOUT_USEC, once a second        drain ──▶ STOPPING=1, EXTEND_TIMEOUT_USEC
//!   reload ──▶ RELOADING=1, MONOTONIC_USEC, then READY=1
//!   tick ──▶ READY=1 or STOPPING=1, and STATUS, if these have changed; WATCHDOG=1, if $WATCHDOG_USEC is set
//! ```
//!
//! Sending never blocks. What cannot be sent, because the manager does not read and the queue of its socket is full, or
//! because there is no such socket, is dropped, and the next tick tells the whole state again. So no message waits.

use herd_reactor::Moment;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
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
    /// The state that the manager was told last; empty if that failed.
    told: String,
    extension_due: Moment,
    /// CLOCK_MONOTONIC at the moment 0.
    monotonic: Duration,
    /// Whether the last message could not be sent.
    is_failing: bool,
}

impl Notify {
    /// Reads the environment through `variable`. `monotonic`: CLOCK_MONOTONIC at the moment 0 of the reactor. A variable
    /// that cannot be used is ignored; for NOTIFY_SOCKET a line in the log says so.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
        monotonic: Duration,
    ) -> Notify {
        let Some(name) = variable("NOTIFY_SOCKET") else { return Notify::default() };
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0);
        let watchdog = watchdog.map(|usec| Duration::from_micros(usec) / 2);
        let manager = sockets(&name)
            .inspect_err(|why| log::warn!("NOTIFY_SOCKET = {}: ignored: {why}", name.display()));
        Notify { manager: manager.ok(), watchdog, monotonic, ..Notify::default() }
    }

    /// The time between two calls of [`tick`](Notify::tick); `None` if there is no manager.
    pub(super) fn period(&self) -> Option<Duration> {
        self.manager.as_ref().map(|_| self.watchdog.map_or(TICK, |half| half.min(TICK)))
    }

    /// Tells the manager that a reload begins. The next [`tick`](Notify::tick) ends it.
    pub(super) fn reloading(&mut self, now: Moment) {
        let usec = (self.monotonic + now.since(Moment::default())).as_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
        self.told.clear();
    }

    /// Asks the manager for more time to start or to end, at most once a second.
    pub fn extend(&mut self, now: Moment) {
        if now >= self.extension_due {
            self.extension_due = now + TICK;
            self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTENSION.as_micros()));
        }
    }

    /// Tells the manager `state`, whole lines, if that has changed, and gives the watchdog a sign of life.
    pub(super) fn tick(&mut self, state: &str) {
        let news = if state == self.told { "" } else { state };
        let watchdog = self.watchdog.map_or("", |_| "WATCHDOG=1\n");
        let is_told = self.send(&[news, watchdog].concat());
        self.told = if is_told { state } else { "" }.to_owned();
    }

    /// Sends `lines` as one datagram. Returns whether the manager's queue has them; none are always there. The first
    /// failure is logged, and the first success after one.
    fn send(&mut self, lines: &str) -> bool {
        let Some((ours, manager)) = self.manager.as_ref().filter(|_| !lines.is_empty()) else {
            return true;
        };
        let sent = ours.send_to_addr(lines.as_bytes(), manager);
        match &sent {
            Ok(_) if self.is_failing => {
                log::info!("NOTIFY_SOCKET: the service manager takes messages again");
            }
            Err(why) if !self.is_failing => {
                log::warn!("NOTIFY_SOCKET: cannot tell the service manager: {why}; trying again");
            }
            _ => {}
        }
        self.is_failing = sent.is_err();
        sent.is_ok()
    }
}

/// One of our sockets to send from, and the address of the manager's, whose name is `name`.
fn sockets(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("it is neither a path from / nor an abstract name with @")),
    };
    let ours = UnixDatagram::unbound()?;
    ours.set_nonblocking(true)?;
    Ok((ours, manager?))
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
        (socket, Notify::from_environment(given, Duration::from_secs(100)))
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 4_096];
        let count = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    #[test]
    fn a_reload_is_told_with_its_time_by_the_clock_of_the_service_manager() {
        let (socket, mut notify) = manager("reload");
        notify.tick("READY=1\n");
        notify.reloading(Moment::from_nanos(2_000_003_999));
        notify.tick("READY=1\n");
        let begins = "RELOADING=1\nMONOTONIC_USEC=102000003\n";
        let told = ["READY=1\n", begins, "READY=1\n"].map(|it| Some(it.into()));
        assert_eq!([heard(&socket), heard(&socket), heard(&socket)], told);
    }

    #[test]
    fn a_state_is_told_when_it_changes_and_when_telling_it_has_failed() {
        let (socket, mut notify) = manager("full");
        while notify.send("X=1\n") {}
        notify.tick("READY=1\nSTATUS=sound\n");
        notify.reloading(Moment::default());
        while heard(&socket).is_some_and(|lines| lines == "X=1\n") {}
        for (state, told) in [
            ("READY=1\nSTATUS=sound\n", true),
            ("READY=1\nSTATUS=sound\n", false),
            ("READY=1\nSTATUS=broken\n", true),
        ] {
            notify.tick(state);
            assert_eq!(heard(&socket).as_deref(), told.then_some(state));
        }
        drop(socket);
        notify.tick("STOPPING=1\n");
        let socket = manager("full").0;
        (0..2).for_each(|_| notify.tick("STOPPING=1\n"));
        assert_eq!(heard(&socket).as_deref(), Some("STOPPING=1\n"), "a new socket hears all");
        assert_eq!(heard(&socket), None);
    }

    #[test]
    fn without_a_service_manager_nothing_is_due() {
        let mut notify = Notify::from_environment(|_| None, Duration::ZERO);
        assert_eq!(notify.period(), None);
        notify.reloading(Moment::default());
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
            Notify::from_environment(given, Duration::ZERO).period()
        };
        let half = Some(Duration::from_millis(250));
        assert_eq!(period(None, "500000"), half);
        assert_eq!(period(Some(&process::id().to_string()), "500000"), half);
        for (pid, usec) in
            [(Some("1"), "500000"), (Some(""), "500000"), (None, "0"), (None, "soon")]
        {
            assert_eq!(period(pid, usec), Some(TICK), "{pid:?}, {usec}");
        }
        assert_eq!(period(None, "30000000"), Some(TICK), "a change is told sooner than this");
    }
}
