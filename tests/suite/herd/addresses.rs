//! Servers that are found at a host name, and bind another address.

use crate::support::herd::{Client, NOWHERE, Setup, eventually, holds, masked, same};
use crate::support::process;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

/// Replaces each address by the name `localhost.`, which every resolver knows, and binds the address. IPv6 comes first
/// among the addresses of that name, and nobody listens there.
fn by_name(folder: &Path) {
    let path = folder.join("topology.toml");
    let text = fs::read_to_string(&path).expect("it is written");
    let line = |line: &str| match line.split_once(" = \"127.0.0.1:") {
        Some((key, port)) => {
            format!("{key} = \"localhost.:{port}\n{key}_listen = \"127.0.0.1:{port}\n")
        }
        None => format!("{line}\n"),
    };
    fs::write(path, text.lines().map(line).collect::<String>()).expect("the folder is ours");
}

/// As [`by_name`], but binds every address of the machine.
fn everywhere(folder: &Path) {
    by_name(folder);
    let path = folder.join("topology.toml");
    let text = fs::read_to_string(&path).expect("it is written");
    let text = text.replace("_listen = \"127.0.0.1:", "_listen = \"[::]:");
    fs::write(path, format!("insecure_peers = true\n{text}")).expect("the folder is ours");
}

#[test]
fn neighbours_and_clients_find_a_server_by_its_name() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let mut herd = setup.prepared(by_name).start();
    herd.linked("Alford", "Bolden");
    herd.logged("Alford", &["connected to Bolden at 127.0.0.1:"]);
    let topology = herd.topology().to_string_lossy().into_owned();
    let told = ["client", "Alford", "--topology", &topology, "iamat", "kiwi", NOWHERE, "1"];
    let told = process::Process::run(&told);
    assert_eq!(told.code, Some(0), "{told:?}");
    herd.settle(&["Alford", "Bolden"], "kiwi", told.stdout.trim_end().as_bytes());
    // The name is looked up again for the next link.
    for stamp in 2..4 {
        herd.kill("Bolden");
        let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} {stamp}"));
        herd.restart("Bolden");
        herd.settle(&["Alford", "Bolden"], "kiwi", &line);
    }
}

#[test]
fn a_port_of_every_address_serves_both_families_and_logs_ipv4_as_such() {
    let herd = Setup::alone().prepared(everywhere).start();
    let port = herd.client_address("Alford").port();
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let mut clients = [Client::connect(herd.client_address("Alford")), Client::connect(ipv6)];
    for (stamp, client) in clients.iter_mut().enumerate() {
        let line = masked(&client.ask(format!("IAMAT kiwi {NOWHERE} {stamp}")));
        same(&line, format!("AT Alford # kiwi {NOWHERE} {stamp}").as_bytes(), "served");
    }
    herd.logged("Alford", &["Chatserver", ",127.0.0.1:", "connected"]);
    herd.logged("Alford", &["Chatserver", ",[::1]:", "connected"]);
    eventually("no mapped address", || holds(!herd.log("Alford").contains("::ffff:")));
}
