//! The configuration of the resolver: the servers, the search list and the timeouts.
//!
//! In: the text of resolv.conf, or a fixed list of servers. Out: for a name, the names to ask for in turn; for each
//! try, the server and the time to wait for it; and remarks on ignored parts of the file, for the log.
//!
//! A name with fewer dots than `ndots` is first looked up in each domain of the search list, and then unchanged. A
//! name with at least `ndots` dots is first looked up unchanged. A name with a final dot is only looked up
//! unchanged.
//!
//! A lookup has a total limit, so each try waits for the time in resolv.conf, or for its equal share of the total
//! if that is less. With the usual `timeout:5 attempts:2`, a total of 2 s and three servers, each server is asked
//! twice, and a try waits a third of a second. A slower reply is still accepted: see the
//! [resolver](super::resolver).
//!
//! Ignored: lines that begin with white space, sortlist, the domain of this machine's own name, and all options but
//! `ndots`, `timeout`, `attempts` and `use-vc`.
//! Source: resolv.conf(5) of glibc, and its `res_init.c`. Twisted: names/client.py, Resolver.parseConfig.

use super::action::Via;
use super::name::HostName;
use log::Level;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The port of a name server.
pub const DNS_PORT: u16 = 53;

/// Maximum number of servers of a resolv.conf that are used. resolv.h: MAXNS.
pub const SERVERS_MAX: usize = 3;

/// Maximum number of domains of a search list that are used. glibc has no limit, and Kubernetes writes up to 32.
pub const SEARCH_MAX: usize = 32;

/// Default timeout of a whole lookup.
pub const TOTAL: Duration = Duration::from_secs(2);

/// The default timeout of one try. resolv.h: RES_TIMEOUT; the number of attempts, and the limits of both, are
/// RES_DFLRETRY, RES_MAXRETRANS and RES_MAXRETRY.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;
const TIMEOUT_SECONDS_MAX: u32 = 30;
const ATTEMPTS_MAX: u32 = 5;

/// Limit of `ndots`. resolv.h: RES_MAXNDOTS.
const NDOTS_MAX: u32 = 15;

/// Maximum number of remarks on one file; a file that causes more is probably not a resolv.conf.
const REMARKS_MAX: usize = 32;

/// A remark on a resolv.conf for the log, with its level.
pub type Remark = (Level, String);

/// The servers, the search list, and the limits on asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The servers, at least one.
    servers: Vec<SocketAddr>,
    search: Vec<HostName>,
    ndots: u32,
    /// The transport of a query, unless the answer is too long for it.
    pub via: Via,
    timeout: Duration,
    attempts: u32,
    /// Timeout of a whole lookup.
    pub total: Duration,
}

impl Default for Config {
    /// The configuration for an empty resolv.conf: the server on this machine.
    fn default() -> Config {
        Config::with_servers(Vec::new())
    }
}

impl Config {
    /// Returns settings with `servers`, each asked twice, and no search list. If `servers` is empty, the server on this
    /// machine is asked.
    pub fn with_servers(mut servers: Vec<SocketAddr>) -> Config {
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        let (search, ndots, via) = (Vec::new(), 1, Via::Udp);
        Config { servers, search, ndots, via, timeout: TIMEOUT, attempts: ATTEMPTS, total: TOTAL }
    }

    /// Parses the text of a resolv.conf. Unknown parts are skipped, with a remark.
    ///
    /// `index_of` returns the index of the network interface with this name, which is the scope of a link-local
    /// address.
    pub fn parse(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> (Config, Vec<Remark>) {
        let mut config = Config::default();
        let (mut servers, mut remarks) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let mut remark = |level, what| {
                if remarks.len() < REMARKS_MAX {
                    remarks.push((level, format!("line {number}: {what}")));
                }
            };
            let mut words = line.split_whitespace();
            match words.next().filter(|word| !word.starts_with(['#', ';'])) {
                Some(word) if line.starts_with(char::is_whitespace) => {
                    remark(
                        Level::Warn,
                        format!("{word:?} after white space is ignored: remove the white space"),
                    );
                }
                Some("nameserver") => {
                    let server = server(words.next().unwrap_or_default(), &index_of);
                    let server =
                        server.map_err(|what| remark(Level::Warn, what + ": name server ignored"));
                    servers.push(server.ok());
                }
                // Of `search` and `domain` the last one applies.
                Some(key @ ("search" | "domain")) => {
                    let most = if key == "domain" { 1 } else { usize::MAX };
                    let mut words = words.take(most).peekable();
                    if words.peek().is_some() {
                        config.search = domains(words, |what| remark(Level::Warn, what));
                    }
                }
                Some("options") => words
                    .filter(|option| !config.take_option(option))
                    .for_each(|option| remark(Level::Info, format!("{option:?} is ignored"))),
                Some(word) => remark(Level::Info, format!("{word:?} is ignored")),
                None => {}
            }
        }
        let usable: Vec<SocketAddr> = servers.iter().flatten().copied().collect();
        if usable.is_empty() && !servers.is_empty() {
            remarks.push((Level::Warn, "no usable name server: asking 127.0.0.1".to_owned()));
        } else if usable.len() > SERVERS_MAX {
            let what = format!("only the first {SERVERS_MAX} name servers are asked");
            remarks.push((Level::Warn, what));
        }
        let servers = usable.into_iter().take(SERVERS_MAX).collect();
        (Config { servers: Config::with_servers(servers).servers, ..config }, remarks)
    }

    /// Applies an option, if it is one that this resolver supports; returns whether it is.
    fn take_option(&mut self, option: &str) -> bool {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        // Parsed like atoi(3).
        let number = value.split(|c: char| c != '+' && !c.is_ascii_digit()).next().unwrap_or("");
        match (name, number.parse::<u32>()) {
            ("ndots", Ok(dots)) => self.ndots = dots.min(NDOTS_MAX),
            ("timeout", Ok(seconds)) => {
                self.timeout = Duration::from_secs(seconds.clamp(1, TIMEOUT_SECONDS_MAX).into());
            }
            ("attempts", Ok(attempts)) => self.attempts = attempts.clamp(1, ATTEMPTS_MAX),
            ("use-vc", _) => self.via = Via::Tcp,
            _ => return false,
        }
        true
    }

    /// The names to ask for in turn to resolve `name`: at least one. `is_whole` means that it was written with a
    /// final dot.
    pub fn names(&self, name: HostName, is_whole: bool) -> Vec<HostName> {
        let domains = if is_whole { &[] } else { self.search.as_slice() };
        let within = |domain| HostName::parse(&format!("{name}.{domain}"));
        let mut names: Vec<HostName> = domains.iter().filter_map(within).collect();
        let is_first = name.as_str().matches('.').count() >= self.ndots as usize;
        names.insert(if is_first { 0 } else { names.len() }, name);
        names
    }

    /// How often a question is sent before the lookup gives up: at least once.
    pub fn tries(&self) -> usize {
        self.servers.len() * self.attempts as usize
    }

    /// The server for a try: all servers in their order, starting with `first`, in rounds.
    pub fn server(&self, first: Option<SocketAddr>, tried: usize) -> SocketAddr {
        let first = self.servers.iter().position(|server| Some(*server) == first).unwrap_or(0);
        self.servers[(first + tried) % self.servers.len()]
    }

    /// How long a try waits before the next one begins.
    pub fn wait(&self) -> Duration {
        self.timeout.min(self.total / self.tries() as u32)
    }
}

/// Parses a server of resolv.conf, or returns what is wrong. The scope of a link-local address is the name or index
/// of a network interface.
fn server(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> Result<SocketAddr, String> {
    let (address, scope) = text.split_once('%').map_or((text, None), |(a, s)| (a, Some(s)));
    match (address.parse(), scope) {
        (Ok(IpAddr::V6(ip)), Some(scope)) => {
            let index = index_of(scope).or_else(|| scope.parse().ok());
            let index = index.ok_or_else(|| format!("there is no network interface {scope:?}"))?;
            Ok(SocketAddrV6::new(ip, DNS_PORT, 0, index).into())
        }
        (Ok(ip), None) => Ok((ip, DNS_PORT).into()),
        _ => Err(format!("{text:?} is not an IP address")),
    }
}

/// The domains of a search list. The root, `.`, is skipped because it adds nothing to a name.
fn domains<'t>(
    words: impl Iterator<Item = &'t str>,
    mut remark: impl FnMut(String),
) -> Vec<HostName> {
    let mut domains = Vec::new();
    for word in words.filter(|word| *word != ".") {
        match HostName::parse(word.strip_prefix('.').unwrap_or(word)) {
            Some(domain) => domains.push(domain),
            None => remark(format!("{word:?} is not a domain name, and is not searched")),
        }
    }
    if domains.len() > SEARCH_MAX {
        domains.truncate(SEARCH_MAX);
        remark(format!("only the first {SEARCH_MAX} domains are searched"));
    }
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `text` on a machine with one interface, `eth0`.
    fn parse(text: &str) -> (Config, Vec<Remark>) {
        Config::parse(text, |name| (name == "eth0").then_some(7))
    }

    fn config(text: &str) -> Config {
        parse(text).0
    }

    fn servers(text: &str) -> Vec<String> {
        config(text).servers.iter().map(SocketAddr::to_string).collect()
    }

    fn remarks(text: &str) -> Vec<String> {
        parse(text).1.into_iter().map(|(level, what)| format!("{level} {what}")).collect()
    }

    /// The names that are asked for to resolve `name`.
    fn asked(text: &str, name: &str) -> Vec<String> {
        let names = config(text).names(HostName::parse(name).unwrap(), name.ends_with('.'));
        names.iter().map(HostName::to_string).collect()
    }

    #[test]
    fn servers_are_read_in_their_order_and_three_at_most() {
        let text = "nameserver 192.0.2.1\nnameserver 2001:db8::1 # ours\n\
                    nameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        assert_eq!(servers(text), ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
        assert_eq!(remarks(text), ["WARN only the first 3 name servers are asked"]);
    }

    #[test]
    fn without_a_server_it_is_the_one_on_this_machine_which_is_said_if_others_were_named() {
        assert_eq!((servers(""), remarks("")), (vec!["127.0.0.1:53".to_owned()], Vec::new()));
        assert_eq!(remarks("; none\n # none\n\nsearch a\n"), [""; 0]);
        let text = "nameserver maps.example.com\n";
        assert_eq!(servers(text), ["127.0.0.1:53"]);
        let said = [
            "WARN line 1: \"maps.example.com\" is not an IP address: name server ignored",
            "WARN no usable name server: asking 127.0.0.1",
        ];
        assert_eq!(remarks(text), said);
        assert_eq!(Config::with_servers(Vec::new()), Config::default());
    }

    #[test]
    fn what_is_not_understood_costs_nothing_else_and_is_remarked_on() {
        let text = "options timeout:x edns9 attempts:3\nfrobnicate\nnameserver\n\
                    search b/d a\nnameserver 192.0.2.1\nsortlist 10.0.0.0\n";
        assert_eq!(servers(text), ["192.0.2.1:53"]);
        assert_eq!((config(text).tries(), asked(text, "m")), (3, vec!["m.a".into(), "m".into()]));
        let said = [
            "INFO line 1: \"timeout:x\" is ignored",
            "INFO line 1: \"edns9\" is ignored",
            "INFO line 2: \"frobnicate\" is ignored",
            "WARN line 3: \"\" is not an IP address: name server ignored",
            "WARN line 4: \"b/d\" is not a domain name, and is not searched",
            "INFO line 6: \"sortlist\" is ignored",
        ];
        assert_eq!(remarks(text), said);
    }

    #[test]
    fn tabs_other_line_ends_and_no_final_newline_do_not_matter() {
        let text =
            "nameserver\t192.0.2.1\r\nsearch \t a\tb\r\noptions ndots:2\tuse-vc\r\nnameserver ::1";
        assert_eq!(servers(text), ["192.0.2.1:53", "[::1]:53"]);
        assert_eq!(asked(text, "m"), ["m.a", "m.b", "m"]);
        assert_eq!((config(text).ndots, config(text).via), (2, Via::Tcp));
        assert_eq!(remarks(text), [""; 0]);
    }

    #[test]
    fn a_line_that_begins_with_a_blank_is_ignored() {
        let text =
            " nameserver 192.0.2.1\n\tsearch a\n \t options ndots:2\nnameserver 192.0.2.2\n # x\n";
        assert_eq!(servers(text), ["192.0.2.2:53"]);
        assert_eq!((asked(text, "m"), config(text).ndots), (vec!["m".to_owned()], 1));
        let said = ["nameserver", "search", "options"];
        let said = (1..).zip(said).map(|(number, word)| {
            format!(
                "WARN line {number}: {word:?} after white space is ignored: remove the white space"
            )
        });
        assert_eq!(remarks(text), said.collect::<Vec<_>>());
    }

    #[test]
    fn of_a_number_the_digits_count() {
        let text = "options ndots:2x timeout:+1s attempts:03,";
        let config = config(text);
        assert_eq!((config.ndots, config.timeout.as_secs(), config.attempts), (2, 1, 3));
        assert_eq!(remarks(text), [""; 0]);
        let text = "options ndots: 2 timeout:-1 attempts:x ndots:99999999999";
        assert_eq!(remarks(text).len(), 5);
        assert_eq!(self::config(text), Config::default());
    }

    #[test]
    fn a_scope_is_the_name_of_an_interface_or_its_index() {
        assert_eq!(servers("nameserver fe80::1%2"), ["[fe80::1%2]:53"]);
        assert_eq!(
            servers("nameserver fe80::1%eth0\nnameserver ::1"),
            ["[fe80::1%7]:53", "[::1]:53"]
        );
        let text = "nameserver fe80::1%eth1\nnameserver 10.0.0.1%eth0\nnameserver ::1\n";
        assert_eq!(servers(text), ["[::1]:53"]);
        let said = [
            "WARN line 1: there is no network interface \"eth1\": name server ignored",
            "WARN line 2: \"10.0.0.1%eth0\" is not an IP address: name server ignored",
        ];
        assert_eq!(remarks(text), said);
    }

    #[test]
    fn a_name_with_few_dots_is_searched_for_first_and_one_with_enough_last() {
        let text = "search a.example b.example.\n";
        assert_eq!(asked(text, "maps"), ["maps.a.example", "maps.b.example", "maps"]);
        assert_eq!(asked(text, "maps.x"), ["maps.x", "maps.x.a.example", "maps.x.b.example"]);
        assert_eq!(asked(text, "maps."), ["maps"]);
        let five = &[text, "options ndots:5\n"].concat();
        assert_eq!(
            asked(five, "m.x.y.z.v"),
            ["m.x.y.z.v.a.example", "m.x.y.z.v.b.example", "m.x.y.z.v"]
        );
        assert_eq!(asked(five, "m.x.y.z.v.w")[0], "m.x.y.z.v.w");
        assert_eq!(asked(&[text, "options ndots:0\n"].concat(), "maps")[0], "maps");
        assert_eq!(config("options ndots:4294967295").ndots, 15);
    }

    #[test]
    fn of_search_and_domain_the_last_one_counts_and_without_them_nothing_is_searched() {
        assert_eq!(asked("search a b\ndomain c d\n", "m"), ["m.c", "m"]);
        assert_eq!(asked("domain c\nsearch a b\nsearch\ndomain", "m"), ["m.a", "m.b", "m"]);
        assert_eq!(asked("", "m"), ["m"]);
        assert_eq!(asked("search .\n", "m"), ["m"]);
        assert_eq!(asked("search . .a\n", "m"), ["m.a", "m"]);
        assert_eq!(config(""), Config::default());
    }

    #[test]
    fn a_search_list_has_a_limit_and_makes_no_name_that_is_too_long() {
        let text = format!("search{}\n", (0..40).map(|n| format!(" d{n}")).collect::<String>());
        assert_eq!(asked(&text, "m").len(), SEARCH_MAX + 1);
        assert_eq!(remarks(&text), ["WARN line 1: only the first 32 domains are searched"]);
        assert_eq!(remarks(&"x ".repeat(99).replace(' ', "\n")).len(), REMARKS_MAX);
        let long = format!("search {} b\n", vec!["a".repeat(63); 3].join("."));
        assert_eq!(asked(&long, &"m".repeat(62)), ["m".repeat(62) + ".b", "m".repeat(62)]);
    }

    #[test]
    fn tries_go_round_all_servers() {
        let config = config("nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
        let ports: Vec<String> =
            (0..config.tries()).map(|n| config.server(None, n).ip().to_string()).collect();
        assert_eq!(ports, ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]);
        let second = config.server(None, 1);
        assert_eq!(
            [0, 1].map(|n| config.server(Some(second), n)),
            [second, config.server(None, 0)]
        );
        let gone = "192.0.2.9:53".parse().ok();
        assert_eq!(config.server(gone, 1), second);
    }

    #[test]
    fn a_try_waits_its_share_of_the_total_or_less() {
        let wait = |text: &str| config(text).wait().as_millis();
        assert_eq!(wait("nameserver 192.0.2.1"), 1_000);
        assert_eq!(wait("nameserver 192.0.2.1\nnameserver 192.0.2.2"), 500);
        assert_eq!(wait("options attempts:1 timeout:1"), 1_000);
        assert_eq!(wait("options attempts:1"), 2_000);
        let patient = Config { total: Duration::from_secs(60), ..config("options timeout:1") };
        assert_eq!(patient.wait().as_millis(), 1_000);
    }

    #[test]
    fn numbers_beyond_reason_are_cut() {
        for (text, limits) in [
            ("options timeout:4294967295 attempts:4294967295", (30, 5)),
            ("options timeout:0 attempts:0", (1, 1)),
        ] {
            let config = config(text);
            assert_eq!((config.timeout.as_secs(), config.tries()), limits);
        }
    }
}
