//! The resource use of processes, as the kernel reports it in /proc.

use crate::failure::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// A tick of /proc/stat and /proc/PID/stat.
const TICK: Duration = Duration::from_millis(10);

/// If the generator uses this share of a core or more, it counts as the limit.
const BUSY: f64 = 0.95;

/// If a polling generator is later than this, in microseconds, it counts as the limit.
const LATE_US: f64 = 1_000.0;

/// If other processes used this share of a core or more, they have disturbed the run.
const DISTURBED: f64 = 0.1;

/// The processor time used until one moment.
#[derive(Debug)]
pub(crate) struct Usage {
    at: Instant,
    own: Duration,
    servers: Duration,
    machine: Duration,
    pids: Vec<u32>,
}

/// The processor time used between two moments, in shares of one core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    /// The share of this program.
    pub(crate) own: f64,
    /// The share of all server processes; `None` without `--pid`.
    pub(crate) servers: Option<f64>,
    /// The share of all other processes, over all cores; `None` without `--pid`.
    pub(crate) others: Option<f64>,
    /// The 99th percentile of this program's lateness, in microseconds, if it polls instead of sleeping; then its share
    /// means nothing.
    pub(crate) late_us: Option<f64>,
}

impl Usage {
    /// Reads the time used until now by this program, by the processes `pids` and by the machine.
    pub(crate) fn now(pids: &[u32]) -> Result<Usage, Failure> {
        Ok(Usage {
            servers: pids.iter().map(|pid| cpu(*pid)).sum::<Result<_, _>>()?,
            machine: machine()?,
            own: own(),
            pids: pids.to_vec(),
            at: Instant::now(),
        })
    }

    /// The time used since then.
    pub(crate) fn since(&self) -> Result<Used, Failure> {
        let now = Usage::now(&self.pids)?;
        let seconds = (now.at - self.at).as_secs_f64();
        let share = |used: Duration| used.as_secs_f64() / seconds;
        let (own, servers) = (now.own - self.own, now.servers.saturating_sub(self.servers));
        let others = (now.machine.saturating_sub(self.machine)).saturating_sub(own + servers);
        let named = !self.pids.is_empty();
        Ok(Used {
            seconds,
            own: share(own),
            servers: named.then(|| share(servers)),
            others: named.then(|| share(others)),
            late_us: None,
        })
    }
}

impl Used {
    /// The servers' processor time for each of `count`, in microseconds.
    pub(crate) fn server_us_each(&self, count: u64) -> Option<f64> {
        self.servers.filter(|_| count > 0).map(|share| share * self.seconds * 1e6 / count as f64)
    }

    /// This program's processor time for each of `count`, in microseconds.
    pub(crate) fn own_us_each(&self, count: u64) -> f64 {
        self.own * self.seconds * 1e6 / count.max(1) as f64
    }

    /// Notes that this program polled instead of sleeping, and was late by `late_us`.
    pub(crate) fn polling(self, late_us: f64) -> Used {
        Used { late_us: Some(late_us), ..self }
    }

    /// Whether this program, and not the servers, limited the rate.
    pub(crate) fn generator_is_the_limit(&self) -> bool {
        match self.late_us {
            Some(late_us) => late_us > LATE_US,
            None => self.own >= BUSY,
        }
    }

    /// Notes that a reader of the figures must know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.generator_is_the_limit() {
            warnings.push(format!("the generator itself was a limit: {}", self.why_it_is()));
        }
        if let Some(others) = self.others.filter(|others| *others >= DISTURBED) {
            warnings.push(format!("others used {others:.2} of a core meanwhile"));
        }
        warnings
    }

    fn why_it_is(&self) -> String {
        let own = self.own;
        match (self.late_us, self.servers) {
            (Some(late_us), _) => {
                format!("1 % of the requests were due {late_us:.0} us before they could leave")
            }
            (None, Some(server)) => {
                format!("its share of a core was {own:.2}, the servers' {server:.2}")
            }
            (None, None) => format!("its share of a core was {own:.2}"),
        }
    }

    /// The shares and the microseconds for each of `count`, as JSON.
    pub(crate) fn to_json(self, count: u64) -> Value {
        json!({
            "generator_share": self.own,
            "server_share": self.servers,
            "others_share": self.others,
            "server_us_each": self.server_us_each(count),
            "generator_us_each": self.own_us_each(count),
            "generator_is_the_limit": self.generator_is_the_limit(),
        })
    }
}

/// Raises this process's descriptor limit to the hard limit. If that is not enough, a later connection fails.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The resident memory of a process in bytes, including the program's own pages: VmRSS.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1_024).ok_or_else(|| unlike(&format!("/proc/{pid}/status")))
}

/// The processor time of this process.
fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The processor time of all threads of a process: exact if the kernel has schedstat, else in ticks.
fn cpu(pid: u32) -> Result<Duration, Failure> {
    exact_cpu(pid).map_or_else(|| ticks(pid), Ok)
}

fn exact_cpu(pid: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let times = tasks.map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    times.sum::<Option<Duration>>().filter(|time| !time.is_zero())
}

fn ticks(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    // The name in parentheses may contain any character; utime and stime are fields 14 and 15.
    let text = read(&path)?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times: Vec<u32> =
        fields.split_whitespace().skip(11).take(2).flat_map(|field| field.parse()).collect();
    match times[..] {
        [user, system] => Ok(TICK * (user + system)),
        _ => Err(unlike(&path)),
    }
}

/// The busy time of all cores: user, nice, system, irq and softirq in the first line of /proc/stat.
fn machine() -> Result<Duration, Failure> {
    let text = read("/proc/stat")?;
    let line = text.lines().next().unwrap_or("");
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(|field| field.parse()).collect();
    match ticks[..] {
        [user, nice, system, _idle, _iowait, irq, softirq, ..] => {
            let busy = user + nice + system + irq + softirq;
            Ok(Duration::from_millis(busy * TICK.as_millis() as u64))
        }
        _ => Err(unlike("/proc/stat")),
    }
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::io(path, error))
}

fn unlike(path: &str) -> Failure {
    Failure::io(path, io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn this_process_and_another_can_be_looked_at() {
        // Another process, because the time of this one is that of its threads, and threads of other tests end.
        let yes = Command::new("yes").stdout(Stdio::null()).spawn();
        let mut other = yes.expect("there is such a program");
        let pid = other.id();
        let usage = Usage::now(&[pid]).expect("/proc is there");
        let deadline = Instant::now() + Duration::from_secs(20);
        let used = loop {
            let used = usage.since().expect("/proc is there");
            let has_both = used.own > 0.0 && used.servers.is_some_and(|share| share > 0.0);
            // Before exec has finished, the process has hardly any memory.
            let is_started = resident_bytes(pid).is_ok_and(|bytes| bytes > 100_000);
            if has_both && is_started || Instant::now() > deadline {
                break used;
            }
        };
        let (each, bytes) = (used.server_us_each(10), resident_bytes(pid));
        let times = (ticks(pid), exact_cpu(pid));
        other.kill().and_then(|()| other.wait()).expect("it is ours");
        assert!(used.own > 0.0 && used.servers.is_some_and(|share| share > 0.0), "{used:?}");
        assert!(each.is_some_and(|us| us > 0.0));
        assert!(bytes.expect("it ran") > 100_000);
        assert!(times.0.is_ok() && times.1.is_some());
    }

    #[test]
    fn a_generator_that_uses_a_whole_core_is_the_limit() {
        let used =
            Used { seconds: 1.0, own: 0.99, servers: Some(0.5), others: Some(0.2), late_us: None };
        assert_eq!(
            used.warnings(),
            [
                "the generator itself was a limit: its share of a core was 0.99, the servers' 0.50",
                "others used 0.20 of a core meanwhile"
            ]
        );
        let used = Used { own: 0.5, others: None, ..used };
        assert!(used.warnings().is_empty());
        assert_eq!(used.server_us_each(500_000), Some(1.0));
    }

    #[test]
    fn a_polling_generator_is_the_limit_when_it_is_late_and_not_when_it_is_busy() {
        let used = Used { seconds: 1.0, own: 0.99, servers: None, others: None, late_us: None };
        let on_time = used.polling(12.0);
        assert!(on_time.warnings().is_empty(), "{:?}", on_time.warnings());
        assert_eq!(on_time.to_json(1)["generator_is_the_limit"], false);
        let late = Used { own: 0.3, ..used }.polling(1_500.0);
        assert_eq!(
            late.warnings(),
            [
                "the generator itself was a limit: 1 % of the requests were due 1500 us before they could leave"
            ]
        );
        assert_eq!(late.to_json(1)["generator_is_the_limit"], true);
    }
}
