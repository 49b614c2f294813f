//! What `herd up` prints when its servers listen: a table of them, and commands to type next.
//!
//! In: servers and process ids. Out: text. The commands are meant to be copied, so they hold real addresses.

use crate::cli::in_columns;
use crate::config::Server;
use crate::log::shell_quoted;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Returns a table of the servers: name, addresses, and the process if it listens.
pub(super) fn table(rows: &[(&Server, Option<u32>)]) -> String {
    let head = ["SERVER", "CLIENTS", "NEIGHBOURS", "HTTP", "PROCESS"].map(String::from);
    let body = rows.iter().map(|(server, process)| {
        let process =
            process.map_or("not running, will be tried again".to_string(), |id| id.to_string());
        let http = server.http.map_or("-".to_owned(), |http| http.to_string());
        [server.name.clone(), server.client.to_string(), server.peer.to_string(), http, process]
    });
    in_columns(&std::iter::once(head).chain(body).map(Vec::from).collect::<Vec<_>>())
}

/// Returns the address of the live page, at the first server that listens and has one. `tls`: it needs https.
pub(super) fn live_page(tls: bool, rows: &[(&Server, Option<u32>)]) -> Option<String> {
    let listening = rows.iter().filter(|(_, process)| process.is_some());
    let address = reachable(listening.filter_map(|(server, _)| server.http).next()?);
    let scheme = if tls { "https" } else { "http" };
    Some(format!("To watch the herd in a browser, open {scheme}://{address}/"))
}

/// Returns commands to type in another terminal. `program` is the name that this program was called by; `topology` is
/// the value of `--topology` that they need, if any.
pub(super) fn what_to_type(
    program: &str,
    topology: Option<&Path>,
    rows: &[(&Server, Option<u32>)],
) -> String {
    let listening: Vec<&Server> =
        rows.iter().filter(|(_, process)| process.is_some()).map(|(server, _)| *server).collect();
    let [told, others @ ..] = listening.as_slice() else { return String::new() };
    // The best choice is a server that is not a neighbour of the first, because the report has then crossed the herd.
    let is_far = |other: &&&Server| !told.neighbours.contains(&other.name);
    let asked = others.iter().rfind(is_far).or(others.last()).unwrap_or(told);

    let client = match topology.map(Path::to_string_lossy) {
        None => format!("{} client", shell_quoted(program)),
        // The option is one word, because the path may begin with a dash.
        Some(path) => {
            format!("{} client --topology={}", shell_quoted(program), shell_quoted(&path))
        }
    };
    let (told_at, asked_at) = (reachable(told.client_listen), reachable(asked.client_listen));
    format!(
        "To report a client's location to {told}, and ask {asked} what is near it, type in another terminal:

  {client} {tell} iamat kiwi.cs.ucla.edu +34.068930-118.445127
  {client} {ask} whatsat kiwi.cs.ucla.edu 10 5

or, without this program:

  printf 'IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 %s\\n' \"$(date +%s.%N)\" | nc -N {} {}
  printf 'WHATSAT kiwi.cs.ucla.edu 10 5\\n' | nc -N {} {}

Ctrl-C stops all servers. So does kill {}.",
        told_at.ip(),
        told_at.port(),
        asked_at.ip(),
        asked_at.port(),
        std::process::id(),
        told = told.name,
        asked = asked.name,
        tell = operand(told),
        ask = operand(asked),
    )
}

/// Returns the operand of `herd client` for this server: its name, or its address if the name begins with a dash, which
/// clap would read as an option.
fn operand(server: &Server) -> String {
    match server.name.starts_with('-') {
        true => shell_quoted(&reachable(server.client_listen).to_string()).into_owned(),
        false => server.name.clone(),
    }
}

/// Returns an address of this machine at which a server that listens on `address` can be reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(here, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DialAddr;

    fn server(name: &str, client: &str, neighbours: &[&str]) -> Server {
        let client = client.parse().expect("an address");
        let peer = "127.0.0.1:12100".parse().expect("an address");
        Server {
            name: name.into(),
            client: DialAddr::Ip(client),
            client_listen: client,
            peer: DialAddr::Ip(peer),
            peer_listen: peer,
            http: None,
            client_tls: None,
            neighbours: neighbours.iter().map(|name| name.to_string()).collect(),
            plain: false,
        }
    }

    #[test]
    fn the_columns_of_the_table_stand_below_each_other() {
        let http = "127.0.0.1:12200".parse().ok();
        let alford = Server { http, ..server("Alford", "127.0.0.1:12000", &[]) };
        let bo = server("Bo", "[::1]:1", &[]);
        assert_eq!(
            table(&[(&alford, Some(4711)), (&bo, None)]),
            "SERVER  CLIENTS          NEIGHBOURS       HTTP             PROCESS\n\
             Alford  127.0.0.1:12000  127.0.0.1:12100  127.0.0.1:12200  4711\n\
             Bo      [::1]:1          127.0.0.1:12100  -                not running, will be tried again\n"
        );
    }

    #[test]
    fn a_server_that_is_no_neighbour_of_the_first_is_asked() {
        let alford = server("Alford", "0.0.0.0:12000", &["Parker"]);
        let parker = server("Parker", "127.0.0.1:12003", &["Alford", "Bolden"]);
        let bolden = server("Bolden", "[::1]:12001", &["Parker"]);
        let rows = [(&alford, Some(1)), (&parker, Some(2)), (&bolden, Some(3))];
        let text = what_to_type("bin/my herd", Some(Path::new("t.toml")), &rows);
        assert!(text.contains("'bin/my herd' client --topology=t.toml Bolden whatsat"), "{text}");
        assert!(text.contains("| nc -N 127.0.0.1 12000\n"), "{text}");
        assert!(text.contains("| nc -N ::1 12001\n"), "{text}");
    }

    #[test]
    fn a_name_that_begins_with_a_dash_is_not_shown_where_it_would_be_an_option() {
        let servers = [server("-x", "[::1]:12000", &[]), server("-h", "127.0.0.1:12001", &[])];
        let rows = servers.each_ref().map(|server| (server, Some(1)));
        let text = what_to_type("herd", Some(Path::new("-my t.toml")), &rows);
        let client = "\n  herd client --topology='-my t.toml' ";
        assert!(text.contains(&format!("{client}'[::1]:12000' iamat ")), "{text}");
        assert!(text.contains(&format!("{client}127.0.0.1:12001 whatsat ")), "{text}");
    }
}
