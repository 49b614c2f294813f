//! Sends requests to `c01_servers` on many connections, and prints what they cost the server.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::{env, time::Instant};

type Stream = BufReader<TcpStream>;

/// Asks the server what it has used: threads, KiB of memory, context switches, µs of processor time.
fn status(stream: &mut Stream) -> Result<[f64; 4]> {
    stream.get_mut().write_all(b"status\n")?;
    let mut reply = String::new();
    stream.read_line(&mut reply)?;
    let words: Vec<&str> = reply.split(' ').collect();
    Ok([0, 2, 4, 6].map(|at| words[at].parse().expect("a number")))
}

fn main() -> Result<()> {
    let number = |n| env::args().nth(n).and_then(|word| word.parse::<u16>().ok());
    let [port, connections, rounds] = [1, 2, 3].map(|n| number(n).expect("three numbers"));
    let connect = |_| TcpStream::connect(("127.0.0.1", port)).map(BufReader::new);
    let mut streams = (0..connections).map(connect).collect::<Result<Vec<Stream>>>()?;
    let [_, _, switches_before, micros_before] = status(&mut streams[0])?;
    let (start, mut slowest) = (Instant::now(), 0.0_f64);
    for _ in 0..rounds {
        let round = Instant::now();
        for stream in &mut streams {
            stream.get_mut().write_all(b"ping\n")?;
        }
        for stream in &mut streams {
            stream.read_line(&mut String::new())?;
        }
        slowest = slowest.max(round.elapsed().as_secs_f64() * 1e3);
    }
    let time = start.elapsed().as_secs_f64();
    let requests = f64::from(connections) * f64::from(rounds);
    let [threads, kib, switches, micros] = status(&mut streams[0])?;
    let (switches, micros) = (switches - switches_before, micros - micros_before);
    println!("{:.0} requests a second; {:.1} ms for the slowest round", requests / time, slowest);
    println!("{:.1} µs and {:.2} switches a request", micros / requests, switches / requests);
    println!("{threads} threads, {kib} KiB");
    Ok(())
}
