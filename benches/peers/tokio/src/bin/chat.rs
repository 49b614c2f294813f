//! A chat server on tokio, one thread: `chat [PORT]`. It sends each line of a client to all other clients.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::rc::Rc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

const LINE_BYTES: usize = 16_384;
const UNSENT_BYTES: usize = 65_536;

/// What the other tasks know of a client.
#[derive(Default)]
struct Client {
    unsent: RefCell<Vec<u8>>,
    news: Notify,
}

type Room = RefCell<Vec<Rc<Client>>>;

fn say(room: &Room, me: &Rc<Client>, line: &[u8]) {
    for other in room.borrow().iter().filter(|other| !Rc::ptr_eq(other, me)) {
        let mut unsent = other.unsent.borrow_mut();
        // A client that does not read misses lines, so that it does not fill our memory.
        if unsent.len() < UNSENT_BYTES {
            unsent.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            unsent.push(b'\n');
            other.news.notify_one();
        }
    }
}

/// One connection. While a write waits for the client, nothing is read from it.
async fn serve(room: &Room, me: &Rc<Client>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let (mut reader, mut line) = (BufReader::new(reader), Vec::new());
    writer.write_all(b"welcome\n").await?;
    room.borrow_mut().push(Rc::clone(me));
    loop {
        let mut limited = (&mut reader).take((LINE_BYTES + 2 - line.len()) as u64);
        tokio::select! {
            // At the end of the stream this reads the line without a newline, then nothing.
            read = limited.read_until(b'\n', &mut line) => {
                read?;
                let whole = line.strip_suffix(b"\n").unwrap_or(&line);
                if whole.len() > LINE_BYTES {
                    return Err(io::Error::new(ErrorKind::InvalidData, "a line too long"));
                }
                if line.is_empty() {
                    break;
                }
                say(room, me, whole);
                line.clear();
            }
            () = me.news.notified() => writer.write_all(&me.unsent.take()).await?,
        }
    }
    writer.write_all(&me.unsent.take()).await?;
    writer.shutdown().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("{}", listener.local_addr()?);
    let room = Rc::new(Room::default());
    let tasks = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let (room, me) = (Rc::clone(&room), Rc::new(Client::default()));
            spawn_local(async move {
                // An error ends only this connection.
                let _ = serve(&room, &me, stream).await;
                room.borrow_mut().retain(|other| !Rc::ptr_eq(other, &me));
            });
        }
    };
    LocalSet::new().run_until(tasks).await
}
