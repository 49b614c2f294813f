//! A stand-in for Google on this machine: watch a WHATSAT go all the way over HTTPS, without a key.
//!
//! ```text
//! cargo run --example places_double                        Places API (New)
//! cargo run --example places_double -- --legacy            Nearby Search (legacy)
//! cargo run --example places_double -- --fault slow-head   with a fault; --list prints all faults
//! ```
//!
//! It makes a certificate authority, writes what a herd needs into a folder (`ca.pem`, a key file, and a topology
//! that names both), and listens on loopback as the service and as a name server that knows it. Then it prints what
//! to type next, and each request, but never the key. Ctrl-C ends it.
//!
//! The tests use the same fake Google: `tests/support/fake_google/`.

#[path = "../tests/support/fake_google/mod.rs"]
mod fake_google;
#[path = "../tests/support/ports.rs"]
mod ports;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use fake_google::faults::{ALL, Fault, Place, Switch, Way, named};
use fake_google::names::{NameServer, Naming, Zone};
use fake_google::places::{Api, Places, Request};
use fake_google::{Authority, FakeGoogle, Script, setting};
use ports::RefusingPort;
use std::any::Any;
use std::env;
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("places_double"));

/// The client port of the server in the topology. The shipped topology uses other ports.
const CLIENT_PORT: u16 = 12_800;
/// The peer port of the server in the topology; no neighbour dials it.
const PEER_PORT: u16 = 12_900;

/// A stand-in for Google's Places on this machine
#[derive(Debug, Parser)]
#[command(name = "places_double")]
struct Options {
    /// Where to write ca.pem, key and topology.toml
    folder: Option<PathBuf>,
    /// Act as the old Nearby Search
    #[arg(long)]
    legacy: bool,
    /// The fault that affects each request
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// List the faults
    #[arg(long)]
    list: bool,
}

/// The setting without a fault.
static NONE: Fault = Fault { name: "none", what: "all is well", at: Place::Names(Naming::At) };

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if options.list {
        for fault in ALL.iter().filter(|fault| can_play(fault)) {
            println!("{:18} {}", fault.name, fault.what);
        }
        return Ok(());
    }
    let fault = match &options.fault {
        None => &NONE,
        Some(name) => named(name)
            .filter(|fault| can_play(fault))
            .unwrap_or_else(|| exit(format!("no such fault: {name} (--list tells what there is)"))),
    };
    let api = if options.legacy { Api::Legacy } else { Api::New };
    let folder = options.folder.unwrap_or_else(|| env::temp_dir().join("places-double"));

    let zone = Zone::default();
    zone.say(setting::HOST, fault.naming(vec![Ipv4Addr::LOCALHOST.into()], true));
    let names = NameServer::new(&zone);
    let (service, _held) = listen(fault, api);

    fs::create_dir_all(&folder)?;
    setting::write_files(&folder, &AUTHORITY)?;
    let topology = folder.join("topology.toml");
    let [client, peer] = [CLIENT_PORT, PEER_PORT].map(|port| (Ipv4Addr::LOCALHOST, port).into());
    fs::write(&topology, setting::topology(api, [client, peer, service, names.address()]))?;

    // A proxy in the environment must not be used for this host.
    let proxied = ["HTTPS_PROXY", "https_proxy"].iter().any(|name| env::var_os(name).is_some());
    let past = if proxied { format!("NO_PROXY={} ", setting::HOST) } else { String::new() };
    let topology = topology.display();
    let herd = herd_beside_this()?;
    println!(
        "{} is here: https://{}:{}, its name server {}; fault: {}\n\n\
         Ask it once, and see how far it comes:\n\n    \
         {past}{herd} places check --topology {topology}\n\n\
         Or let a server ask it, and in a third terminal ask the server:\n\n    \
         {past}{herd} serve --topology {topology} Alford\n    \
         printf 'IAMAT kiwi +34.068930-118.445127 %s\\nWHATSAT kiwi 10 2\\n' \"$(date +%s.%N)\" | \
         nc -N 127.0.0.1 {CLIENT_PORT}\n\n\
         Requests:",
        api.source(),
        setting::HOST,
        service.port(),
        names.address(),
        fault.what
    );
    loop {
        thread::park();
    }
}

/// The command for the herd: the binary that was built with this example, else that of the other profile, else cargo.
fn herd_beside_this() -> Result<String, Box<dyn Error>> {
    // target/PROFILE/examples/places_double
    let own = env::current_exe()?;
    let profile = own.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let beside = [profile, &profile.with_file_name("debug"), &profile.with_file_name("release")];
    let herd = beside.map(|folder| folder.join("herd")).into_iter().find(|herd| herd.is_file());
    let here = env::current_dir()?;
    Ok(herd.map_or("cargo run --".to_owned(), |herd| {
        herd.strip_prefix(here).unwrap_or(&herd).display().to_string()
    }))
}

/// Ends with the error status of a wrong command line.
fn exit(what: String) -> ! {
    Options::command().error(ErrorKind::InvalidValue, what).exit()
}

/// Whether this example can show the fault: on loopback, no connection attempt stays unanswered.
fn can_play(fault: &Fault) -> bool {
    !matches!(fault.at, Place::Way(Way::Lost))
}

/// The address of the service, and the owner of that port, which answers or refuses connections while it lives.
fn listen(fault: &'static Fault, api: Api) -> (SocketAddr, Box<dyn Any>) {
    if matches!(fault.at, Place::Way(_)) {
        let nobody = RefusingPort::new();
        return (nobody.address(), Box::new(nobody));
    }
    let switch = Switch::default();
    switch.set(true);
    let places = Places { key: Some(setting::KEY.to_owned()) };
    let Script { versions, certificate, greeting, request } = fault.script(api, places, switch);
    let shown = Script {
        versions,
        certificate,
        greeting,
        request: Box::new(move |asked| {
            let line = Request::read(asked.request).map(|request| request.line());
            println!("{:4}  {}", asked.number + 1, line.as_deref().unwrap_or("not HTTP"));
            request(asked)
        }),
    };
    let fake = FakeGoogle::new(&AUTHORITY, shown);
    (fake.address(), Box::new(fake))
}
