//! The tables `[[server]]`: read, held against each other, joined to a herd.
//!
//! In: the tables. Out: the servers, each with all its neighbours; errors where that is impossible,
//! warnings where it is doubtful. Knows the graph only by number ([`graph`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use toml::Spanned;

use super::diagnostic::{Diagnostics, all_quoted, quoted};
use super::graph::{self, NeighbourGraph};
use super::peers::Security;
use super::toml_section::{Section, most_like};

/// Most servers of a herd. Each keeps a bit per client for each neighbour.
pub const SERVERS_MAX: usize = 64;

/// A server of a herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, as in its AT lines.
    pub name: String,
    /// Where clients find it.
    pub client: SocketAddr,
    /// Where its neighbours find it; the same as `client` only if it is plain.
    pub peer: SocketAddr,
    /// The names of all its neighbours, sorted, whichever side lists them.
    pub neighbours: Vec<String>,
    /// Whether it speaks only AT lines that end in CR LF, as the Python original does.
    pub plain: bool,
}

/// The first port that Linux may give to an outgoing connection: then no server can listen on it.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// A server as the file has it: what is missing here, was missing or wrong there.
struct ServerDraft<'t> {
    name: Option<Spanned<&'t str>>,
    client: Option<Spanned<SocketAddr>>,
    peer: Option<Spanned<SocketAddr>>,
    listed: Vec<Spanned<&'t str>>,
    plain: bool,
}

/// A server of which nothing is missing.
struct CompleteServer<'t> {
    name: Spanned<&'t str>,
    client: Spanned<SocketAddr>,
    peer: Spanned<SocketAddr>,
    listed: Vec<Spanned<&'t str>>,
    plain: bool,
}

impl<'t> ServerDraft<'t> {
    fn complete(self) -> Option<CompleteServer<'t>> {
        let ServerDraft { name, client, peer, listed, plain } = self;
        Some(CompleteServer { name: name?, client: client?, peer: peer?, listed, plain })
    }
}

/// The servers of `herd`; none, or not all, if there was an error.
pub(super) fn read(
    top: &Section<'_>,
    herd: &str,
    security: &Security,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<Server> {
    let sections = top.sections("[[server]]", diagnostics);
    if sections.is_empty() && !top.has("server") && !diagnostics.is_broken() {
        let remedy = "add a table [[server]] with name, client and peer for each";
        diagnostics.error(None, "there is no server", remedy);
    }
    if let Some(one_more) = sections.get(SERVERS_MAX) {
        let what = format!("a herd has at most {SERVERS_MAX} servers");
        diagnostics.error(one_more.head.clone(), what, "make two herds of it");
        return Vec::new();
    }
    let drafts: Vec<ServerDraft<'_>> =
        sections.iter().map(|section| read_server(section, diagnostics)).collect();
    // What was not understood of the file may be the very server that others refer to.
    if !diagnostics.is_broken() {
        check_names(&drafts, diagnostics);
        check_addresses(&drafts, diagnostics);
        check_lists(&drafts, diagnostics);
        security.check_names(drafts.iter().filter_map(|draft| draft.name.as_ref()), diagnostics);
        for ServerDraft { name, peer, plain, .. } in &drafts {
            security.check(herd, name.as_ref(), peer.as_ref(), *plain, diagnostics);
        }
    }
    match drafts.into_iter().map(ServerDraft::complete).collect::<Option<Vec<_>>>() {
        Some(servers) => connect(&servers, diagnostics),
        None => Vec::new(),
    }
}

fn read_server<'t>(section: &Section<'t>, diagnostics: &mut Diagnostics<'_>) -> ServerDraft<'t> {
    let plain = section.flag("plain");
    let has_one_port = plain && !section.has("peer");
    let required = ["name", "client", "peer"];
    for key in required.into_iter().filter(|key| *key != "peer" || !has_one_port) {
        section.require(key, diagnostics);
    }
    let client = section.address("client");
    let peer = if has_one_port { client.clone() } else { section.address("peer") };
    if let Some(peer) = &peer
        && peer.get_ref().ip().is_unspecified()
    {
        let remedy = "write the address under which the neighbours find this server";
        diagnostics.error(peer.span(), "nobody can dial this address", remedy);
    }
    ServerDraft {
        name: section.text("name"),
        client,
        peer,
        listed: section.texts("neighbours"),
        plain,
    }
}

fn check_names(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    let mut names = BTreeSet::new();
    for name in drafts.iter().filter_map(|draft| draft.name.as_ref()) {
        if let "." | ".." = *name.get_ref() {
            let what = format!("{} is a folder's name", quoted(name.get_ref()));
            let remedy = "choose another: its log and its journal are named so";
            diagnostics.error(name.span(), what, remedy);
        }
        if !names.insert(*name.get_ref()) {
            let what = format!("there is another server {}", quoted(name.get_ref()));
            diagnostics.error(name.span(), what, "give each server a name of its own");
        }
    }
}

/// On Linux this is every address of IPv4, too.
const ANY_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn check_addresses(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    let mut taken = BTreeSet::new();
    for ServerDraft { client, peer, plain, .. } in drafts {
        let one_for_both =
            *plain && client.as_ref().map(Spanned::get_ref) == peer.as_ref().map(Spanned::get_ref);
        let peer = peer.as_ref().filter(|_| !one_for_both);
        for address in client.iter().chain(peer) {
            let (ip, port) = (address.get_ref().ip().to_canonical(), address.get_ref().port());
            let other = client.as_ref().filter(|other| other.span() != address.span());
            let meets_own = other.map(Spanned::get_ref).is_some_and(|own| {
                let own_ip = own.ip().to_canonical();
                own.port() == port
                    && (ip.is_unspecified() || own_ip.is_unspecified())
                    && (ip.is_ipv4() == own_ip.is_ipv4() || [ip, own_ip].contains(&ANY_IPV6))
            });
            // On 0.0.0.0 two servers may listen on one port: on two machines.
            let is_taken = !ip.is_unspecified() && !taken.insert((ip, port));
            if meets_own || is_taken {
                let remedy =
                    "give it a port of its own; only a server with plain = true has one for both";
                let what = format!("{} is in use already", address.get_ref());
                diagnostics.error(address.span(), what, remedy);
            }
        }
    }
}

fn check_lists(drafts: &[ServerDraft<'_>], diagnostics: &mut Diagnostics<'_>) {
    let names: BTreeSet<&str> =
        drafts.iter().filter_map(|draft| draft.name.as_ref()).map(|name| *name.get_ref()).collect();
    for draft in drafts {
        let own = draft.name.as_ref().map(|name| *name.get_ref());
        let mut before = BTreeSet::new();
        for listed in &draft.listed {
            let (place, name) = (listed.span(), *listed.get_ref());
            if own == Some(name) {
                let what = format!("{} lists itself", quoted(name));
                diagnostics.error(place, what, "take it out of the list");
            } else if !names.contains(name) {
                let remedy = match most_like(name, names.iter().copied()) {
                    Some(meant) => format!("did you mean {}?", quoted(meant)),
                    None => format!("the servers are {}", all_quoted(names.iter().copied())),
                };
                let what = format!("{} is no server of this herd", quoted(name));
                diagnostics.error(place, what, remedy);
            } else if !before.insert(name) {
                let what = format!("{} is listed twice", quoted(name));
                diagnostics.error(place, what, "take one of the two out");
            }
        }
    }
}

/// Links the servers: two are neighbours if one of them lists the other. Warns about what is doubtful.
fn connect(servers: &[CompleteServer<'_>], diagnostics: &mut Diagnostics<'_>) -> Vec<Server> {
    let name = |number: &usize| *servers[*number].name.get_ref();
    let numbers: BTreeMap<&str, usize> =
        (0..servers.len()).map(|number| (name(&number), number)).collect();
    let lists: Vec<BTreeMap<usize, &Spanned<&str>>> = servers
        .iter()
        .map(|server| {
            server
                .listed
                .iter()
                .filter_map(|listed| Some((*numbers.get(listed.get_ref())?, listed)))
                .collect()
        })
        .collect();
    let mut neighbours = vec![BTreeSet::new(); servers.len()];
    for (number, list) in lists.iter().enumerate() {
        for (&neighbour, listed) in list {
            neighbours[number].insert(neighbour);
            neighbours[neighbour].insert(number);
            if !lists[neighbour].contains_key(&number) {
                let (one, other) = (quoted(name(&number)), quoted(name(&neighbour)));
                let what = format!("{one} lists {other}, and {other} does not list {one}");
                let remedy = format!("they are neighbours all the same; {other} should list {one}");
                diagnostics.warn(listed.span(), what, remedy);
            }
        }
    }
    warn_of_addresses(servers, diagnostics);
    warn_of_silence(servers, &neighbours, diagnostics);
    let server = |(server, neighbours): (&CompleteServer<'_>, &BTreeSet<usize>)| {
        let mut neighbours: Vec<String> =
            neighbours.iter().map(|number| name(number).to_owned()).collect();
        neighbours.sort_unstable();
        let &CompleteServer { ref client, ref peer, plain, .. } = server;
        Server {
            name: (*server.name.get_ref()).to_owned(),
            client: *client.get_ref(),
            peer: *peer.get_ref(),
            neighbours,
            plain,
        }
    };
    servers.iter().zip(&neighbours).map(server).collect()
}

fn warn_of_addresses(servers: &[CompleteServer<'_>], diagnostics: &mut Diagnostics<'_>) {
    for CompleteServer { client, peer, .. } in servers {
        // A plain server has one place for both.
        let peer_alone = (peer.span() != client.span()).then_some(peer);
        for address in std::iter::once(client).chain(peer_alone) {
            if address.get_ref().port() >= FIRST_EPHEMERAL_PORT {
                let port = address.get_ref().port();
                let what = format!("an outgoing connection may take port {port} first");
                let remedy = format!("choose a port below {FIRST_EPHEMERAL_PORT}");
                diagnostics.warn(address.span(), what, remedy);
            }
        }
    }
}

/// Warns about servers that hear nothing of others, now or when one server stops.
fn warn_of_silence(
    servers: &[CompleteServer<'_>],
    neighbours: &NeighbourGraph,
    diagnostics: &mut Diagnostics<'_>,
) {
    let name = |number: &usize| *servers[*number].name.get_ref();
    let quoted = |number: &usize| quoted(name(number));
    if let Some((herd, strays)) = graph::groups(neighbours, None).split_first() {
        let here = quoted(&herd[0]);
        for stray in strays {
            let what = format!("{} cannot hear of {here}", all_quoted(stray.iter().map(name)));
            let remedy = format!("make {} a neighbour of {here}", quoted(&stray[0]));
            diagnostics.warn(servers[stray[0]].name.span(), what, remedy);
        }
    }
    for (number, server) in servers.iter().enumerate() {
        let groups = graph::groups_without(neighbours, number);
        let Some((herd, cut_off @ [_, ..])) = groups.split_first() else { continue };
        let (stopped, here) = (quoted(&number), quoted(&herd[0]));
        let silent = all_quoted(cut_off.iter().flatten().map(name));
        let firsts = all_quoted(cut_off.iter().map(|group| name(&group[0])));
        let what = format!("when {stopped} stops, {silent} cannot hear of {here}");
        let remedy = format!("make {firsts} a neighbour of {here}, or live with it");
        diagnostics.warn(server.name.span(), what, remedy);
    }
}
