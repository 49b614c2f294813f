//! One connection to our port, from a client or from a neighbour.

use crate::command::{Command, trimmed};
use crate::herd::{Herd, unix_time};
use std::io::{self, ErrorKind, Write};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;

const LINE_BYTES: usize = 16_384;

/// Answers line after line, until the client half-closes.
pub async fn serve(herd: &Herd, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.split();
    let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
    let (mut line, mut reply) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let most = LINE_BYTES as u64 + 2;
        // At the end of the stream this reads the line without a newline, then nothing.
        if (&mut reader).take(most).read_until(b'\n', &mut line).await? == 0 {
            return writer.shutdown().await;
        }
        if line.strip_suffix(b"\n").unwrap_or(&line).len() > LINE_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line too long"));
        }
        let command = trimmed(&line);
        if !command.is_empty() {
            reply.clear();
            answer(herd, command, &mut reply).await;
            writer.write_all(&reply).await?;
        }
        // Replies to lines that arrived together leave together.
        if !reader.buffer().contains(&b'\n') {
            writer.flush().await?;
        }
    }
}

/// Writes the reply to `command` into `reply`.
async fn answer(herd: &Herd, command: &[u8], reply: &mut Vec<u8>) {
    herd.log(format_args!("in: {}", command.escape_ascii()));
    match Command::parse(command) {
        Some(Command::Iamat { client, location, stamp, nanos }) => {
            let received = unix_time().as_nanos() as i128;
            let _ = write!(reply, "AT {} {} ", herd.name, Difference(received - i128::from(nanos)));
            reply.extend_from_slice(&[client, location, stamp].join(&b' '));
            herd.learn(client, nanos, reply);
        }
        Some(Command::At { client, nanos }) => return herd.learn(client, nanos, command),
        Some(Command::Whatsat { client, radius, bound }) => match herd.sighting(client) {
            Some(line) => {
                reply.extend_from_slice(&line);
                reply.push(b'\n');
                let places = herd.places.nearby(&line, radius, bound).await;
                serde_json::to_writer_pretty(&mut *reply, &places).expect("memory takes all");
                reply.push(b'\n');
            }
            None => refuse(command, reply),
        },
        None => refuse(command, reply),
    }
    herd.log(format_args!("out: {}", reply.escape_ascii()));
    reply.push(b'\n');
}

fn refuse(command: &[u8], reply: &mut Vec<u8>) {
    reply.extend_from_slice(b"? ");
    reply.extend_from_slice(command);
}

/// Nanoseconds as signed seconds.
struct Difference(i128);

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let nanos = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
    }
}
