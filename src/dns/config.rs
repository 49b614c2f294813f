//! Whom to ask, in which order, and how patiently.
//!
//! In: the text of resolv.conf, or servers that somebody has pinned. Out: for each try the server,
//! and how long to wait for it.
//!
//! A lookup has a total limit that holds whatever is silent, so a try waits as long as resolv.conf
//! says, or its equal share of the total if that is less: with the usual `timeout:5 attempts:2`, a
//! total of 2 s and three servers each is asked twice, and a try waits a third of a second. Who is
//! slower than that is still heard: see the [resolver](super::resolver).
//!
//! Not regarded: search lists (names are fully qualified), `rotate`, sortlist, EDNS.
//! Source: resolv.conf(5). Twisted: names/client.py, Resolver.parseConfig.

use resolv_conf::ScopedIp;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The port of a name server.
pub const DNS_PORT: u16 = 53;

/// Servers of a resolv.conf that are used. resolv.h: MAXNS.
pub const SERVERS_MAX: usize = 3;

/// The longest that a lookup takes, unless told otherwise.
pub const TOTAL: Duration = Duration::from_secs(2);

/// How long a try waits at most, and how often each server is asked, when nothing is said and at most.
/// resolv.h: RES_TIMEOUT and RES_DFLRETRY; RES_MAXRETRANS and RES_MAXRETRY.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;
const TIMEOUT_SECONDS_MAX: u32 = 30;
const ATTEMPTS_MAX: u32 = 5;

/// The servers, and the limits on asking them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// At least one.
    servers: Vec<SocketAddr>,
    timeout: Duration,
    attempts: u32,
    total: Duration,
}

impl Default for Config {
    /// As an empty resolv.conf: the server on this machine.
    fn default() -> Config {
        Config::with_servers(Vec::new())
    }
}

impl Config {
    /// These servers, each asked twice. None: the one on this machine.
    pub fn with_servers(mut servers: Vec<SocketAddr>) -> Config {
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        Config { servers, timeout: TIMEOUT, attempts: ATTEMPTS, total: TOTAL }
    }

    /// Reads the text of a resolv.conf. What is not understood is passed over.
    pub fn parse(text: &str) -> Config {
        let (read, _faults) = resolv_conf::Config::parse_with_errors(text.as_bytes());
        let servers = read.nameservers.iter().filter_map(server).take(SERVERS_MAX);
        let timeout = read.timeout.clamp(1, TIMEOUT_SECONDS_MAX);
        Config {
            timeout: Duration::from_secs(timeout.into()),
            attempts: read.attempts.clamp(1, ATTEMPTS_MAX),
            ..Config::with_servers(servers.collect())
        }
    }

    /// With another limit on a whole lookup.
    pub fn total_limit(self, total: Duration) -> Config {
        Config { total, ..self }
    }

    /// The longest that a lookup takes.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// How often a question is asked before it is given up: at least once.
    pub fn tries(&self) -> usize {
        self.servers.len() * self.attempts as usize
    }

    /// The server of a try: all in their order, then again.
    pub fn server(&self, tried: usize) -> SocketAddr {
        self.servers[tried % self.servers.len()]
    }

    /// How long a try waits before the next.
    pub fn wait(&self) -> Duration {
        self.timeout.min(self.total / self.tries() as u32)
    }
}

/// A server as resolv.conf names it. A link-local address has a scope, which must be a number: to
/// find an interface by its name would take a system call.
fn server(address: &ScopedIp) -> Option<SocketAddr> {
    match address {
        ScopedIp::V6(ip, Some(scope)) => {
            Some(SocketAddrV6::new(*ip, DNS_PORT, 0, scope.parse().ok()?).into())
        }
        other => Some((IpAddr::from(other), DNS_PORT).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        Config::parse(text).servers.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn servers_are_read_in_their_order_and_three_at_most() {
        let text = "nameserver 192.0.2.1\nnameserver 2001:db8::1 # ours\n\
                    nameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        assert_eq!(servers(text), ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
    }

    #[test]
    fn without_a_server_it_is_the_one_on_this_machine() {
        assert_eq!(servers(""), ["127.0.0.1:53"]);
        assert_eq!(servers("nameserver maps.example.com"), ["127.0.0.1:53"]);
        assert_eq!(Config::with_servers(Vec::new()), Config::default());
    }

    #[test]
    fn what_is_not_understood_costs_nothing_else() {
        let text = "options timeout:x edns9 attempts:3\nfrobnicate\nnameserver\n\
                    search a b\nnameserver 192.0.2.1\n";
        assert_eq!(servers(text), ["192.0.2.1:53"]);
        assert_eq!(Config::parse(text).tries(), 3);
    }

    #[test]
    fn a_scope_must_be_a_number() {
        assert_eq!(servers("nameserver fe80::1%2"), ["[fe80::1%2]:53"]);
        assert_eq!(servers("nameserver fe80::1%eth0\nnameserver ::1"), ["[::1]:53"]);
    }

    #[test]
    fn tries_go_round_all_servers() {
        let config = Config::parse("nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
        let ports: Vec<String> =
            (0..config.tries()).map(|n| config.server(n).ip().to_string()).collect();
        assert_eq!(ports, ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn a_try_waits_its_share_of_the_total_or_less() {
        let wait = |text: &str| Config::parse(text).wait().as_millis();
        assert_eq!(wait("nameserver 192.0.2.1"), 1_000);
        assert_eq!(wait("nameserver 192.0.2.1\nnameserver 192.0.2.2"), 500);
        assert_eq!(wait("options attempts:1 timeout:1"), 1_000);
        assert_eq!(wait("options attempts:1"), 2_000);
        let patient = Config::parse("options timeout:1").total_limit(Duration::from_secs(60));
        assert_eq!(patient.wait().as_millis(), 1_000);
    }

    #[test]
    fn numbers_beyond_reason_are_cut() {
        let config = Config::parse("options timeout:4294967295 attempts:4294967295");
        assert_eq!((config.timeout.as_secs(), config.tries()), (30, 5));
        let config = Config::parse("options timeout:0 attempts:0");
        assert_eq!((config.timeout.as_secs(), config.tries()), (1, 1));
    }
}
