//! One server of the herd on tokio, one thread: `tokio-peer Alford`.
//!
//! The same program as the one on Twisted, with tokio: a task for each connection and for each neighbour, on the
//! current-thread runtime, so that their shared state needs no lock.

mod chatserver;
mod command;
mod herd;
mod interserver;
mod places;

use chatserver::serve;
use herd::{Herd, Log};
use places::Places;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{LocalSet, spawn_local};

const USAGE: &str = "usage: tokio-peer NAME [--config FILE] [--port N] [--neighbour HOST:PORT]... \
                     [--places URL] [--log FILE|off]";

/// The arguments of the command line, with defaults from the configuration.
struct Arguments {
    name: String,
    port: u16,
    neighbours: Vec<String>,
    places: Places,
    log: Option<Log>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments()?;
    let listener = listen(given.port)?;
    println!("{} listens on {}", given.name, listener.local_addr()?.port());
    let herd = Rc::new(Herd::new(given.name, given.places, given.log, given.neighbours.len()));
    let tasks = async move {
        for (number, address) in given.neighbours.into_iter().enumerate() {
            spawn_local(interserver::run(Rc::clone(&herd), number, address));
        }
        spawn_local(herd::flush_the_log(Rc::clone(&herd)));
        loop {
            let (stream, peer) = listener.accept().await?;
            herd.log(format_args!("Chatserver: connection from {peer}"));
            let herd = Rc::clone(&herd);
            spawn_local(async move {
                let end = serve(&herd, stream).await;
                herd.log(format_args!("Chatserver: connection lost: {peer}: {end:?}"));
            });
        }
    };
    LocalSet::new().run_until(tasks).await
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(1_024)
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().ok_or(USAGE)?;
    let mut config = concat!(env!("CARGO_MANIFEST_DIR"), "/../herd.json").to_owned();
    let (mut port, mut places, mut log, mut neighbours) = (None, None, None, Vec::new());
    while let Some(option) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match option.as_str() {
            "--config" => config = value,
            "--port" => port = Some(value.parse()?),
            "--neighbour" => neighbours.push(value),
            "--places" => places = Some(value),
            "--log" => log = Some(value),
            _ => return Err(USAGE.into()),
        }
    }
    let config: Value = serde_json::from_slice(&fs::read(config)?)?;
    let port_of = |name: &str| config["servers"][name]["port"].as_u64().unwrap_or(0) as u16;
    if neighbours.is_empty() {
        let names = config["servers"][&name]["neighbours"].as_array().into_iter().flatten();
        let ports = names.filter_map(Value::as_str).map(port_of);
        neighbours = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    }
    let places = places.as_deref().or(config["places"].as_str()).ok_or("no places")?;
    let places = Places::new(places, config["key"].as_str().unwrap_or_default());
    let log = match log.as_deref() {
        Some("off") => None,
        Some(path) => Some(Log::new(path)?),
        None => Some(Log::new(&format!("{name}-{}.log", herd::unix_time().as_secs()))?),
    };
    let port = port.unwrap_or_else(|| port_of(&name));
    Ok(Arguments { name, port, neighbours, places, log })
}
