//! The tables `[[server]]`: read, held against each other, joined to a herd.
//!
//! In: the tables. Out: the members, each with all its neighbours; faults where that is impossible,
//! warnings where it is doubtful. Knows the graph only by number ([`graph`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::diagnostic::{Diagnostics, all_quoted, quoted};
use super::graph::{self, NeighbourGraph};
use super::peers::Security;
use super::toml_section::{Section, most_like};
use super::{SERVERS_MAX, Server};

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

/// The members of `herd`; none, or not all, if there was a fault.
pub(super) fn read(
    top: &Section<'_>,
    herd: &str,
    security: &Security,
    findings: &mut Diagnostics<'_>,
) -> Vec<Server> {
    let sections = top.sections("server", findings);
    if sections.is_empty() && !top.has("server") && !findings.is_broken() {
        let remedy = "add a table [[server]] with name, client and peer for each";
        findings.fault(None, "there is no server", remedy);
    }
    if let Some(one_more) = sections.get(SERVERS_MAX) {
        let what = format!("a herd has at most {SERVERS_MAX} servers");
        findings.fault(one_more.head.clone(), what, "make two herds of it");
        return Vec::new();
    }
    let drafts: Vec<ServerDraft<'_>> =
        sections.iter().map(|section| read_server(section, findings)).collect();
    // What was not understood of the file may be the very server that others refer to.
    if !findings.is_broken() {
        check_names(&drafts, findings);
        check_addresses(&drafts, findings);
        check_lists(&drafts, findings);
        security.check_names(drafts.iter().filter_map(|draft| draft.name.as_ref()), findings);
        for ServerDraft { name, peer, plain, .. } in &drafts {
            security.check(herd, name.as_ref(), peer.as_ref(), *plain, findings);
        }
    }
    match drafts.into_iter().map(ServerDraft::complete).collect::<Option<Vec<_>>>() {
        Some(members) => connect(&members, findings),
        None => Vec::new(),
    }
}

fn read_server<'t>(section: &Section<'t>, findings: &mut Diagnostics<'_>) -> ServerDraft<'t> {
    let plain = section.flag("plain", findings);
    let client = read_address(section, "client", "127.0.0.1:12000", findings);
    let peer = match plain && !section.has("peer") {
        true => client.clone(),
        false => read_address(section, "peer", "127.0.0.1:12100", findings),
    };
    if let Some(peer) = &peer
        && peer.get_ref().ip().is_unspecified()
    {
        let remedy = "write the address under which the neighbours find this server";
        findings.fault(peer.span(), "nobody can dial this address", remedy);
    }
    ServerDraft {
        name: section.name("name", "Alford", findings),
        client,
        peer,
        listed: section.texts("neighbours", "\"Parker\", \"Welsh\"", findings),
        plain,
    }
}

fn read_address(
    section: &Section<'_>,
    key: &str,
    example: &str,
    findings: &mut Diagnostics<'_>,
) -> Option<Spanned<SocketAddr>> {
    let text = section.required_text(key, example, findings)?;
    match parse_address(text.get_ref()) {
        Ok(address) => Some(Spanned::new(text.span(), address)),
        Err((what, remedy)) => {
            findings.fault(text.span(), format!("{} {what}", quoted(text.get_ref())), remedy);
            None
        }
    }
}

/// An IP address and a port; `localhost` is the one name that is known without asking. Or what is
/// wrong, and a remedy.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, (&'static str, &'static str)> {
    let here = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    match here.as_deref().unwrap_or(text).parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(("has port 0", "choose a port from 1 to 32767")),
        Ok(address) => Ok(address),
        Err(_) if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => Err((
            "has no port",
            "put the IPv6 address in brackets and a port behind it, as in [::1]:12000",
        )),
        Err(_) => match text.rsplit_once(':') {
            None => Err(("has no port", "put one behind it, as in 127.0.0.1:12000")),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                Err(("has no port", "a port is a number, 1 to 65535"))
            }
            Some((host, _))
                if host.contains(|c: char| c.is_alphabetic()) && !host.contains(':') =>
            {
                Err((
                    "is a host name",
                    "write its IP address: no server waits for a name server when it starts",
                ))
            }
            Some(_) => Err((
                "is no address",
                "write an IP address and a port: 127.0.0.1:12000, or [::1]:12000",
            )),
        },
    }
}

fn check_names(drafts: &[ServerDraft<'_>], findings: &mut Diagnostics<'_>) {
    let mut names = BTreeSet::new();
    for name in drafts.iter().filter_map(|draft| draft.name.as_ref()) {
        if let "." | ".." = *name.get_ref() {
            let what = format!("{} is a folder's name", quoted(name.get_ref()));
            let remedy = "choose another: its log and its journal are named so";
            findings.fault(name.span(), what, remedy);
        }
        if !names.insert(*name.get_ref()) {
            let what = format!("there is another server {}", quoted(name.get_ref()));
            findings.fault(name.span(), what, "give each server a name of its own");
        }
    }
}

fn check_addresses(drafts: &[ServerDraft<'_>], findings: &mut Diagnostics<'_>) {
    let mut taken = BTreeSet::new();
    for ServerDraft { client, peer, plain, .. } in drafts {
        let one_for_both =
            *plain && client.as_ref().map(Spanned::get_ref) == peer.as_ref().map(Spanned::get_ref);
        let peer = peer.as_ref().filter(|_| !one_for_both);
        for address in client.iter().chain(peer) {
            // On 0.0.0.0 two servers may listen on one port: on two machines.
            if !address.get_ref().ip().is_unspecified() && !taken.insert(*address.get_ref()) {
                let remedy =
                    "give it a port of its own; only a member with plain = true has one for both";
                let what = format!("{} is in use already", address.get_ref());
                findings.fault(address.span(), what, remedy);
            }
        }
    }
}

fn check_lists(drafts: &[ServerDraft<'_>], findings: &mut Diagnostics<'_>) {
    let names: BTreeSet<&str> =
        drafts.iter().filter_map(|draft| draft.name.as_ref()).map(|name| *name.get_ref()).collect();
    for draft in drafts {
        let own = draft.name.as_ref().map(|name| *name.get_ref());
        let mut before = BTreeSet::new();
        for listed in &draft.listed {
            let (place, name) = (listed.span(), *listed.get_ref());
            if own == Some(name) {
                let what = format!("{} lists itself", quoted(name));
                findings.fault(place, what, "take it out of the list");
            } else if !names.contains(name) {
                let remedy = match most_like(name, names.iter().copied()) {
                    Some(meant) => format!("did you mean {}?", quoted(meant)),
                    None => format!("the servers are {}", all_quoted(names.iter().copied())),
                };
                let what = format!("{} is no server of this herd", quoted(name));
                findings.fault(place, what, remedy);
            } else if !before.insert(name) {
                let what = format!("{} is listed twice", quoted(name));
                findings.fault(place, what, "take one of the two out");
            }
        }
    }
}

/// Joins the members: who is listed is a neighbour, both ways. Warns about what is doubtful.
fn connect(members: &[CompleteServer<'_>], findings: &mut Diagnostics<'_>) -> Vec<Server> {
    let name = |number: &usize| *members[*number].name.get_ref();
    let numbers: BTreeMap<&str, usize> =
        (0..members.len()).map(|number| (name(&number), number)).collect();
    let lists: Vec<BTreeMap<usize, &Spanned<&str>>> = members
        .iter()
        .map(|member| {
            member
                .listed
                .iter()
                .filter_map(|listed| Some((*numbers.get(listed.get_ref())?, listed)))
                .collect()
        })
        .collect();
    let mut neighbours = vec![BTreeSet::new(); members.len()];
    for (number, list) in lists.iter().enumerate() {
        for (&neighbour, listed) in list {
            neighbours[number].insert(neighbour);
            neighbours[neighbour].insert(number);
            if !lists[neighbour].contains_key(&number) {
                let (one, other) = (quoted(name(&number)), quoted(name(&neighbour)));
                let what = format!("{one} lists {other}, and {other} does not list {one}");
                let remedy = format!("they are neighbours all the same; {other} should list {one}");
                findings.warn(listed.span(), what, remedy);
            }
        }
    }
    warn_of_addresses(members, findings);
    warn_of_silence(members, &neighbours, findings);
    let server = |(member, neighbours): (&CompleteServer<'_>, &BTreeSet<usize>)| {
        let mut neighbours: Vec<String> =
            neighbours.iter().map(|number| name(number).to_owned()).collect();
        neighbours.sort_unstable();
        let &CompleteServer { ref client, ref peer, plain, .. } = member;
        Server {
            name: (*member.name.get_ref()).to_owned(),
            client: *client.get_ref(),
            peer: *peer.get_ref(),
            neighbours,
            plain,
        }
    };
    members.iter().zip(&neighbours).map(server).collect()
}

fn warn_of_addresses(members: &[CompleteServer<'_>], findings: &mut Diagnostics<'_>) {
    for CompleteServer { client, peer, .. } in members {
        // A plain member has one place for both.
        let peer_alone = (peer.span() != client.span()).then_some(peer);
        for address in std::iter::once(client).chain(peer_alone) {
            if address.get_ref().port() >= FIRST_EPHEMERAL_PORT {
                let port = address.get_ref().port();
                let what = format!("an outgoing connection may take port {port} first");
                let remedy = format!("choose a port below {FIRST_EPHEMERAL_PORT}");
                findings.warn(address.span(), what, remedy);
            }
        }
    }
}

/// Warns about servers that hear nothing of others, now or when one server stops.
fn warn_of_silence(
    members: &[CompleteServer<'_>],
    neighbours: &NeighbourGraph,
    findings: &mut Diagnostics<'_>,
) {
    let name = |number: &usize| *members[*number].name.get_ref();
    let quoted = |number: &usize| quoted(name(number));
    if let Some((herd, strays)) = graph::groups(neighbours, None).split_first() {
        let here = quoted(&herd[0]);
        for stray in strays {
            let what = format!("{} cannot hear of {here}", all_quoted(stray.iter().map(name)));
            let remedy = format!("make {} a neighbour of {here}", quoted(&stray[0]));
            findings.warn(members[stray[0]].name.span(), what, remedy);
        }
    }
    for (number, member) in members.iter().enumerate() {
        let groups = graph::groups_without(neighbours, number);
        let Some((herd, cut_off @ [_, ..])) = groups.split_first() else { continue };
        let (stopped, here) = (quoted(&number), quoted(&herd[0]));
        let silent = all_quoted(cut_off.iter().flatten().map(name));
        let firsts = all_quoted(cut_off.iter().map(|group| name(&group[0])));
        let what = format!("when {stopped} stops, {silent} cannot hear of {here}");
        let remedy = format!("make {firsts} a neighbour of {here}, or live with it");
        findings.warn(member.name.span(), what, remedy);
    }
}
