//! Runs each example and talks to it over the kernel's loopback. `cargo test -p herd-reactor` builds the examples.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The timeout of every read and write.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program of an example; cargo puts examples beside the folder of the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.exists(), "{program:?} is not built: cargo build -p herd-reactor --examples");
    program
}

/// A running example, and the address that it has printed. Dropping this value kills the example.
struct Running(Child, SocketAddr);

impl Running {
    fn new(name: &str, arguments: &[String]) -> Running {
        let mut command = Command::new(program(name));
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse();
        Running(child, address.unwrap_or_else(|_| panic!("{name} prints no address: {line:?}")))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.1).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(mut stream: &TcpStream, bytes: usize) -> String {
    let mut text = vec![0; bytes];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn echo_sends_back_what_it_receives_and_then_the_end() {
    let echo = Running::new("echo", &[]);
    let mut client = echo.connect();
    client.write_all(b"to and fro").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "to and fro");
}

#[test]
fn timer_greets_a_client_that_says_nothing_and_no_other() {
    let timer = Running::new("timer", &[]);
    let (silent, mut speaker) = (timer.connect(), timer.connect());
    speaker.write_all(b"x").unwrap();
    let heard = read(&speaker, 4);
    // Under load the timer may expire before the example reads the byte.
    assert!(heard == "so y" || heard == "is a", "{heard}");
    assert_eq!(read(&silent, 18), "is anybody there?\n");
}

#[test]
fn chat_passes_each_line_on_to_all_others() {
    let chat = Running::new("chat", &[]);
    let clients = [chat.connect(), chat.connect(), chat.connect()];
    // A client is in the room once it has been welcomed.
    clients.iter().for_each(|client| assert_eq!(read(client, 8), "welcome\n"));
    (&clients[0]).write_all(b"hello\r\nwor").unwrap();
    (&clients[0]).write_all(b"ld\n").unwrap();
    (&clients[1]).write_all(b"hi\n").unwrap();
    assert_eq!(read(&clients[0], 3), "hi\n");
    let heard = read(&clients[2], 15);
    assert!(heard == "hello\nworld\nhi\n" || heard.contains("hi\n"), "{heard}");
    assert_eq!(read(&clients[1], 12), "hello\nworld\n");
}

#[test]
fn proxy_passes_on_both_directions_and_each_end_by_itself() {
    const MANY: usize = 16 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Running::new("proxy", &[listener.local_addr().unwrap().to_string()]);
    let mut client = proxy.connect();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    // The proxy and the kernel cannot hold this much, so the writer must wait for the reader.
    let writer = thread::spawn(move || {
        client.write_all(&vec![b'c'; MANY]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).unwrap();
    assert!(received.len() == MANY && received.iter().all(|byte| *byte == b'c'));
    // The client has ended its side, and still receives.
    let mut client = writer.join().unwrap();
    server.write_all(b"all received").unwrap();
    drop(server);
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "all received");
}

#[test]
fn proxy_resets_a_client_that_it_cannot_connect() {
    // A bound port without a listener refuses connections, and the kernel gives it to no other socket.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let refuses = socket.local_addr().unwrap().as_socket().unwrap();
    let proxy = Running::new("proxy", &[refuses.to_string()]);
    let mut client = proxy.connect();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn simulated_prints_the_same_for_the_same_seed() {
    let play = |seed: &str| {
        let ran = Command::new(program("simulated")).arg(seed).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let seven = play("7");
    assert!(seven.contains("Bob hears") && seven.contains("is cut off"), "{seven}");
    assert_eq!(play("7"), seven);
    assert_ne!(play("8"), seven);
}

#[test]
fn traced_tells_the_turns_of_one_request() {
    let ran = Command::new(program("traced")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), TRACE);
}

/// What `traced` prints.
const TRACE: &str = r#"before the first turn
  listened at 127.0.0.1:7000
turn 1
  began to connect c1 to 127.0.0.1:7000
  slept 10ms of at most 30s; found a client at 127.0.0.1:7000
  accepted c2 from 127.0.0.1:32768 at 127.0.0.1:7000
  nothing to accept at 127.0.0.1:7000
turn 2
  slept 0ns of at most 29.99s; found c2 writable
turn 3
  slept 10ms of at most 29.99s; found c1 writable
  connected c1 to 127.0.0.1:7000 from 127.0.0.1:32768
turn 4
  wrote 6 bytes to c1: "hello\n"
  slept 10ms of at most 29.98s; found c2 readable and writable
  read 6 bytes from c2: "hello\n"
turn 5
  wrote 6 bytes to c2: "hello\n"
  slept 10ms of at most 29.97s; found c1 readable and writable
  read 6 bytes from c1: "hello\n"
turn 6
  did not sleep; found nothing
turn 7
  closed c1
  slept 10ms of at most 29.96s; found c2 readable and writable and ended
  read the end of c2
turn 8
  did not sleep; found nothing
turn 9
  closed c2 after its end
  did not sleep; found nothing
turn 10
  stopped listening at 127.0.0.1:7000
  did not sleep; found nothing
turn 11
  did not sleep; found nothing
"#;
