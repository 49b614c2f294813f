//! The tables `[[server]]`: read, checked against each other, and linked to a herd.
//!
//! In: the tables. Out: the servers, each with all its neighbours; or errors, and warnings about suspicious settings.
//! It uses the graph by number only ([`graph`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use toml::Spanned;

use super::Supposed;
use super::diagnostic::{Diagnostics, all_quoted, quoted};
use super::dial_addr::DialAddr;
use super::graph::{self, NeighbourGraph};
use super::http::HttpSecurity;
use super::peers::Security;
use super::toml_section::{Section, most_like};

/// Maximum number of servers of a herd. Each server keeps one bit per client for each neighbour with a backlog: 128 MB
/// if a million clients are known and all other servers are neighbours that lack reports.
pub const SERVERS_MAX: usize = 1_024;

/// A server of a herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The server's name, as in its AT lines.
    pub name: String,
    /// Where clients find its client port.
    pub client: DialAddr,
    /// The address that it binds for its client port.
    pub client_listen: SocketAddr,
    /// Where neighbours find its peer port; the same as `client` only if it is plain.
    pub peer: DialAddr,
    /// The address that it binds for its peer port.
    pub peer_listen: SocketAddr,
    /// The address that it binds for HTTP, if it has an HTTP port.
    pub http: Option<SocketAddr>,
    /// The address that it binds for clients that speak TLS, if it has such a port.
    pub client_tls: Option<SocketAddr>,
    /// The names of all its neighbours, sorted, no matter which side lists them.
    pub neighbours: Vec<String>,
    /// Whether the server speaks only AT lines that end in CR LF, as the Python original does.
    pub plain: bool,
}

/// The first port that Linux may give to an outgoing connection. Such a port may be in use when the server starts.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// One port of a server: where others find it, and the address to bind. They have one position if one key is for both.
#[derive(Clone)]
struct PortDraft {
    at: Spanned<DialAddr>,
    listen: Spanned<SocketAddr>,
}

/// The entry of a server in the topology file. A field is `None` if it is missing or wrong in the file.
struct ServerDraft<'t> {
    name: Option<Spanned<&'t str>>,
    client: Option<PortDraft>,
    peer: Option<PortDraft>,
    http: Option<PortDraft>,
    client_tls: Option<PortDraft>,
    listed: Vec<Spanned<&'t str>>,
    plain: bool,
}

impl ServerDraft<'_> {
    /// Its ports. A plain server may have one for both clients and neighbours, which is here once.
    fn ports(&self) -> impl Iterator<Item = &PortDraft> {
        let is_for_both = |peer: &PortDraft| {
            let is_same = |client: &PortDraft| client.at.get_ref() == peer.at.get_ref();
            self.plain && self.client.as_ref().is_some_and(is_same)
        };
        let peer = self.peer.as_ref().filter(|peer| !is_for_both(peer));
        self.client.iter().chain(peer).chain(&self.http).chain(&self.client_tls)
    }

    /// The server, still without neighbours; `None` if a field is missing or wrong.
    fn complete(&self) -> Option<Server> {
        let (client, peer) = (self.client.as_ref()?, self.peer.as_ref()?);
        let bound = |port: &PortDraft| *port.listen.get_ref();
        Some(Server {
            name: (*self.name.as_ref()?.get_ref()).to_owned(),
            client: client.at.get_ref().clone(),
            client_listen: bound(client),
            peer: peer.at.get_ref().clone(),
            peer_listen: bound(peer),
            http: self.http.as_ref().map(bound),
            client_tls: self.client_tls.as_ref().map(bound),
            neighbours: Vec::new(),
            plain: self.plain,
        })
    }
}

/// Reads the servers of `herd`; empty or incomplete if there was an error. `has_bus`: all but plain servers exchange reports
/// without edges, too.
pub(super) fn read(
    top: &Section<'_>,
    herd: &str,
    security: &Security,
    http: &HttpSecurity<'_>,
    has_bus: bool,
    supposed: Supposed,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<Server> {
    let sections = top.sections("[[server]]", diagnostics);
    if sections.is_empty() && !top.has("server") && !diagnostics.is_broken() {
        let remedy = "add a table [[server]] with name, client and peer for each server";
        diagnostics.error(None, "the topology has no server", remedy);
    }
    if let Some(one_more) = sections.get(SERVERS_MAX) {
        let what = format!("too many servers: a herd has at most {SERVERS_MAX}");
        diagnostics.error(
            one_more.head.clone(),
            what,
            "remove servers, or split them into two herds",
        );
        return Vec::new();
    }
    let drafts: Vec<ServerDraft<'_>> =
        sections.iter().map(|section| read_server(section, diagnostics)).collect();
    // Parts of the file that were not parsed may define the server that others refer to.
    if !diagnostics.is_broken() {
        check_names(&drafts, diagnostics);
        check_addresses(&drafts, diagnostics);
        check_lists(&drafts, diagnostics);
        security.check_names(drafts.iter().filter_map(|draft| draft.name.as_ref()), diagnostics);
        for ServerDraft { name, peer, plain, .. } in &drafts {
            let bound = peer.as_ref().map(|peer| &peer.listen);
            security.check(herd, name.as_ref(), bound, *plain, diagnostics);
        }
        let ports = drafts.iter().map(|ServerDraft { http, client_tls, plain, .. }| {
            ([http, client_tls].map(|port| port.as_ref().map(|port| &port.listen)), *plain)
        });
        http.check(ports, diagnostics);
    }
    match drafts.iter().map(ServerDraft::complete).collect() {
        Some(servers) => connect(&drafts, servers, has_bus, supposed, diagnostics),
        None => Vec::new(),
    }
}

fn read_server<'t>(section: &Section<'t>, diagnostics: &mut Diagnostics<'_>) -> ServerDraft<'t> {
    let plain = section.flag("plain");
    let has_one_port = plain && !section.has("peer") && !section.has("peer_listen");
    let required = ["name", "client", "peer"];
    for key in required.into_iter().filter(|key| *key != "peer" || !has_one_port) {
        section.require(key, diagnostics);
    }
    let client = read_port(section, "client", diagnostics);
    let peer = match has_one_port {
        true => client.clone(),
        false => read_port(section, "peer", diagnostics),
    };
    let is_dialled = |peer: &PortDraft| !peer.at.get_ref().is_unspecified();
    if let Some(PortDraft { at, .. }) = peer.as_ref().filter(|peer| !is_dialled(peer)) {
        let what =
            format!("peer cannot be {}: neighbours cannot dial a wildcard address", at.get_ref());
        let remedy = "write the address or host name at which neighbours reach this server; to bind a wildcard \
                      address, write it as peer_listen";
        diagnostics.error(at.span(), what, remedy);
    }
    let [http, client_tls] = ["http", "client_tls"].map(|key| {
        let listen = section.address(key)?;
        let at = Spanned::new(listen.span(), DialAddr::Ip(*listen.get_ref()));
        Some(PortDraft { at, listen })
    });
    ServerDraft {
        name: section.text("name"),
        client,
        peer: peer.filter(is_dialled),
        http,
        client_tls,
        listed: section.texts("neighbours"),
        plain,
    }
}

/// Reads one port from the two keys that describe it, `key` and `key` with the ending `_listen`.
fn read_port(
    section: &Section<'_>,
    key: &str,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<PortDraft> {
    let (at, listen_key) = (section.dial_addr(key)?, format!("{key}_listen"));
    let listen = match at.get_ref() {
        _ if section.has(&listen_key) => section.address(&listen_key)?,
        DialAddr::Ip(address) => Spanned::new(at.span(), *address),
        DialAddr::Name { port, .. } => {
            let what =
                format!("{key} is a host name, so {listen_key} must say which address to bind");
            let remedy = format!(
                "add {listen_key} = \"[::]:{port}\" for every address of the machine, or 0.0.0.0 for IPv4 alone"
            );
            diagnostics.error(at.span(), what, remedy);
            return None;
        }
    };
    Some(PortDraft { at, listen })
}

fn check_names(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    let mut names = BTreeSet::new();
    for name in drafts.iter().filter_map(|draft| draft.name.as_ref()) {
        if let "." | ".." = *name.get_ref() {
            let what = format!("name cannot be {}, which denotes a folder", quoted(name.get_ref()));
            let remedy = "choose another name: the server's log and journal are named after it";
            diagnostics.error(name.span(), what, remedy);
        }
        if !names.insert(*name.get_ref()) {
            let what = format!("two servers are named {}", quoted(name.get_ref()));
            diagnostics.error(name.span(), what, "give each server a name of its own");
        }
    }
}

/// On Linux a listener on this address also receives all IPv4 connections.
const ANY_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn check_addresses(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    let mut taken = BTreeSet::new();
    for draft in drafts {
        let mut own: Vec<&PortDraft> = Vec::new();
        for port in draft.ports() {
            let (place, found) = (port.at.span(), port.at.get_ref());
            let bound = |port: &PortDraft| {
                (port.listen.get_ref().ip().to_canonical(), port.listen.get_ref().port())
            };
            let (ip, number) = bound(port);
            let meets_own = own.iter().map(|other| bound(other)).any(|(own_ip, own_number)| {
                own_number == number
                    && (ip == own_ip || ip.is_unspecified() || own_ip.is_unspecified())
                    && (ip.is_ipv4() == own_ip.is_ipv4() || [ip, own_ip].contains(&ANY_IPV6))
            });
            own.push(port);
            // Two servers may both listen on one port of 0.0.0.0 if they run on two machines.
            let is_taken = !found.is_unspecified() && !taken.insert(found.canonical());
            if meets_own || is_taken {
                let remedy = "use another port; only a server with plain = true has one port for clients and neighbours";
                let (place, used) = match is_taken {
                    true => (place, found.to_string()),
                    false => (port.listen.span(), port.listen.get_ref().to_string()),
                };
                let what = format!("another port of the herd uses {used} already");
                diagnostics.error(place, what, remedy);
            }
        }
    }
}

fn check_lists(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    let names: BTreeSet<&str> =
        drafts.iter().filter_map(|draft| draft.name.as_ref()).map(|name| *name.get_ref()).collect();
    // Many lists may name the same unknown server.
    let mut remedies = BTreeMap::new();
    for draft in drafts {
        let own = draft.name.as_ref().map(|name| *name.get_ref());
        let mut before = BTreeSet::new();
        for listed in &draft.listed {
            let (place, name) = (listed.span(), *listed.get_ref());
            if own == Some(name) {
                let what = format!("neighbours of {} lists the server itself", quoted(name));
                diagnostics.error(place, what, "remove it from the list");
            } else if !names.contains(name) {
                let find = || match most_like(name, names.iter().copied()) {
                    Some(meant) => format!("did you mean {}?", quoted(meant)),
                    None => format!("the servers are {}", all_quoted(names.iter().copied())),
                };
                let remedy: &String = remedies.entry(name).or_insert_with(find);
                let what = format!(
                    "neighbours lists {}, which is not a server of this herd",
                    quoted(name)
                );
                diagnostics.error(place, what, remedy.as_str());
            } else if !before.insert(name) {
                let what = format!("neighbours lists {} twice", quoted(name));
                diagnostics.error(place, what, "remove one of the two");
            }
        }
    }
}

/// Links the servers: two are neighbours if one of them lists the other. Also records warnings.
fn connect(
    drafts: &[ServerDraft<'_>],
    mut servers: Vec<Server>,
    has_bus: bool,
    supposed: Supposed,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<Server> {
    let name = |number: &usize| servers[*number].name.as_str();
    let numbers: BTreeMap<&str, usize> =
        (0..servers.len()).map(|number| (name(&number), number)).collect();
    let lists = drafts.iter().map(|draft| {
        let known = |listed| Some((*numbers.get(Spanned::get_ref(listed))?, listed));
        let counts = |_: &&Spanned<&str>| supposed.bus.is_none();
        draft.listed.iter().filter(counts).filter_map(known).collect()
    });
    let lists: Vec<BTreeMap<usize, &Spanned<&str>>> = lists.collect();
    let mut neighbours = vec![Vec::new(); servers.len()];
    for (number, list) in lists.iter().enumerate() {
        for (&neighbour, listed) in list {
            neighbours[number].push(neighbour);
            neighbours[neighbour].push(number);
            if !lists[neighbour].contains_key(&number) {
                let (one, other) = (quoted(name(&number)), quoted(name(&neighbour)));
                let what =
                    format!("{one} lists {other} as a neighbour, but {other} does not list {one}");
                let remedy = format!(
                    "they are neighbours anyway; add {one} to the list of {other} for the reader"
                );
                diagnostics.warn(listed.span(), what, remedy);
            }
        }
    }
    // A set that is made of a whole list takes a quarter of the time of single inserts.
    let neighbours: Vec<BTreeSet<usize>> =
        neighbours.into_iter().map(BTreeSet::from_iter).collect();
    warn_of_addresses(drafts, diagnostics);
    if !supposed.no_search {
        warn_of_silence(drafts, &servers, &neighbours, has_bus, diagnostics);
    }
    let names = |numbers: &BTreeSet<usize>| {
        let mut names: Vec<String> = numbers.iter().map(|number| name(number).to_owned()).collect();
        names.sort_unstable();
        names
    };
    let neighbours: Vec<Vec<String>> = neighbours.iter().map(names).collect();
    for (server, neighbours) in servers.iter_mut().zip(neighbours) {
        server.neighbours = neighbours;
    }
    servers
}

fn warn_of_addresses(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    for PortDraft { listen, .. } in drafts.iter().flat_map(ServerDraft::ports) {
        let port = listen.get_ref().port();
        if port >= FIRST_EPHEMERAL_PORT {
            let what =
                format!("an outgoing connection may occupy port {port} before the server starts");
            let remedy = format!("use a port below {FIRST_EPHEMERAL_PORT}");
            diagnostics.warn(listen.span(), what, remedy);
        }
    }
}

/// Warns about servers that get no reports from others, either now or when one server stops.
fn warn_of_silence(
    drafts: &[ServerDraft<'_>],
    servers: &[Server],
    neighbours: &NeighbourGraph,
    has_bus: bool,
    diagnostics: &mut Diagnostics<'_>,
) {
    let is_plain = |number: &usize| servers[*number].plain;
    let with_bus = has_bus.then(|| graph::with_hub(neighbours, |number| !is_plain(number)));
    let neighbours = with_bus.as_deref().unwrap_or(neighbours);
    // The bus is a vertex without a name.
    let groups_of_servers = |groups: Vec<Vec<usize>>| {
        let servers = groups.into_iter().map(|mut group| {
            group.retain(|number| *number < servers.len());
            group
        });
        servers.filter(|group| !group.is_empty()).collect::<Vec<_>>()
    };
    let name = |number: &usize| servers[*number].name.as_str();
    let place = |number: usize| drafts[number].name.as_ref().map(Spanned::span);
    let quoted = |number: &usize| quoted(name(number));
    if let Some((herd, strays)) = groups_of_servers(graph::groups(neighbours, None)).split_first() {
        let here = quoted(&herd[0]);
        for stray in strays {
            let what =
                format!("{} cannot get reports from {here}", all_quoted(stray.iter().map(name)));
            let remedy = format!("make {} a neighbour of {here}", quoted(&stray[0]));
            diagnostics.warn(place(stray[0]), what, remedy);
        }
    }
    for number in 0..servers.len() {
        let groups = groups_of_servers(graph::groups_without(neighbours, number));
        let Some((herd, cut_off @ [_, ..])) = groups.split_first() else { continue };
        let (stopped, here) = (quoted(&number), quoted(&herd[0]));
        let silent = all_quoted(cut_off.iter().flatten().map(name));
        let firsts = all_quoted(cut_off.iter().map(|group| name(&group[0])));
        let what = format!("when {stopped} stops, {silent} cannot get reports from {here}");
        let remedy = format!("make {firsts} a neighbour of {here}, or accept this");
        diagnostics.warn(place(number), what, remedy);
    }
}
