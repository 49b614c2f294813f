//! Our connection to one neighbour, which reconnects for ever.

use crate::herd::Herd;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Keeps a connection to neighbour `number`, which listens at `address`, and sends it news.
pub async fn run(herd: Rc<Herd>, number: usize, address: String) {
    let mut delay = FIRST_DELAY;
    loop {
        match TcpStream::connect(&address).await {
            Ok(stream) => {
                delay = FIRST_DELAY;
                let end = talk(&herd, number, stream).await;
                herd.log(format_args!("Interserver: connection lost: {address}: {end:?}"));
            }
            Err(why) => herd.log(format_args!("Interserver: {address}: {why}")),
        }
        tokio::time::sleep(delay).await;
        delay = LONGEST_DELAY.min(2 * delay);
    }
}

async fn talk(herd: &Herd, number: usize, mut stream: TcpStream) -> io::Result<()> {
    herd.log(format_args!("Interserver: connected to {:?}", stream.peer_addr()));
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.split();
    let (sender, news) = unbounded_channel();
    herd.link(number, sender);
    let end = tokio::select! {
        end = tell(news, writer) => end,
        end = listen(herd, reader) => end,
    };
    herd.unlink(number);
    end
}

async fn tell(mut news: UnboundedReceiver<Rc<[u8]>>, writer: WriteHalf<'_>) -> io::Result<()> {
    let mut writer = BufWriter::new(writer);
    while let Some(line) = news.recv().await {
        writer.write_all(&line).await?;
        writer.write_all(b"\r\n").await?;
        if news.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}

/// Logs the lines of a neighbour. It sends only complaints; an answer would cause another one.
async fn listen(herd: &Herd, reader: ReadHalf<'_>) -> io::Result<()> {
    let mut lines = BufReader::new(reader).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        herd.log(format_args!("Interserver: in: {}", line.escape_ascii()));
    }
    Ok(())
}
