//! No command waits for ever for a server that is slow, silent, or sends without end.

use super::{ALONE, Process};
use crate::support::process::{Herd, Stray, until};
use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Timeout for the end of a process, longer than a busy machine needs for it.
const SOON: Duration = Duration::from_secs(30);

/// Runs `herd client ADDRESS` with these options, and perhaps a command, against a server that runs `talk`.
fn client_of<T: Send + 'static>(
    talk: impl FnOnce(TcpStream) -> T + Send + 'static,
    line: &str,
) -> super::Ended {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    let server = thread::spawn(move || talk(listener.accept().expect("it is called").0));
    let herd = env!("CARGO_BIN_EXE_herd");
    let begun = Instant::now();
    let ended = Process::shell(&line.replace("CLIENT", &format!("{herd} client {address}")));
    assert!(begun.elapsed() < SOON, "{ended:?}");
    server.join().expect("it does not panic");
    ended
}

/// Reads and sends nothing until the client has closed.
fn is_silent(client: TcpStream) -> TcpStream {
    client
}

/// Sends one byte at a time, and no end of a line, until the client has closed.
fn trickles(mut client: TcpStream) {
    client.set_nodelay(true).expect("a socket");
    while client.write_all(b"A").is_ok() {}
}

#[test]
fn a_server_that_is_silent_or_trickles_ends_a_command_with_69_and_a_remedy() {
    let folder = Herd::new("silent", ALONE);
    let open = format!("cd {}; mkfifo in; exec 3<>in", folder.folder().display());
    for line in [
        "CLIENT --timeout 0.2 whatsat kiwi 10 5",
        "echo WHATSAT kiwi 10 5 | CLIENT --timeout 0.2",
        // stdin stays open.
        &format!("{open}; echo WHATSAT kiwi 10 5 >&3; CLIENT --timeout 0.2 <&3"),
    ] {
        let ended = client_of(is_silent, line);
        assert_eq!(ended.code, Some(69), "{line}: {ended:?}");
        assert!(ended.stderr.contains("did not reply within 0.2 s; "), "{ended:?}");
        assert!(ended.stderr.contains("places.deadline_ms"), "{ended:?}");
        assert!(ended.stderr.contains("--timeout SECONDS"), "{ended:?}");
    }
    let ended = client_of(is_silent, "CLIENT --timeout 0.2 iamat kiwi +34-118 5");
    assert!(ended.stderr.contains("did not reply within 0.2 s; it is stopped"), "{ended:?}");
    let ended = client_of(trickles, "CLIENT --timeout 0.2 whatsat kiwi 10 5 > /dev/null");
    assert_eq!(ended.code, Some(69), "{ended:?}");
}

/// The AT line of a reply to a WHATSAT, and a part of the places after it.
const HALF_A_REPLY: &str = "AT S +1 k +1+1 1\n{\n  \"resu";

#[test]
fn a_reply_that_stalls_or_trickles_exits_with_69_for_lines_from_stdin() {
    let begins = |mut client: TcpStream| {
        client.read_exact(&mut [0; 14]).expect("the line comes");
        client.write_all(HALF_A_REPLY.as_bytes()).expect("it reads");
        client
    };
    let folder = Herd::new("half", ALONE);
    let line = "rm -f in; mkfifo in; exec 3<>in; echo WHATSAT k 1 1 >&3";
    let line =
        format!("cd {}; {line}; timeout 20 CLIENT --timeout 0.3 <&3", folder.folder().display());
    for ended in
        [client_of(begins, &line), client_of(move |client| trickles(begins(client)), &line)]
    {
        assert_eq!(ended.code, Some(69), "{ended:?}");
        assert!(ended.stderr.contains("did not reply within 0.3 s; "), "{ended:?}");
        assert!(ended.stdout.starts_with(HALF_A_REPLY), "{ended:?}");
    }
}

/// Reads all that the client sends, then sends `reply` and closes.
fn replies(reply: &'static str) -> impl FnOnce(TcpStream) {
    move |mut client| {
        let mut lines = Vec::new();
        client.read_to_end(&mut lines).expect("it ends its half");
        client.write_all(reply.as_bytes()).expect("it reads");
    }
}

#[test]
fn lines_from_stdin_exit_with_69_if_a_reply_is_incomplete_and_with_0_otherwise() {
    for (typed, reply) in [
        ("WHATSAT k 1 1", HALF_A_REPLY),
        ("WHATSAT k 1 1", "AT S +1 k +1+1 1\n"),
        ("WHATSAT k 1 1", "AT S +1 k +1+1 1\n{\n}\n"),
        (" WHATSAT k 1 1\\nIAMAT k +1+1 1", "AT S +1 k +1+1 1\nAT S +1 k +1+1 1\n"),
        ("WHATSAT k 1 1\\nWHATSAT k 1 1", "AT S +1 k +1+1 1\n{\n}\n\nAT S +1 k +1+1 1\n{\n}\n"),
        ("IAMAT k +1+1 1", "AT S +1 k +1+1"),
        ("blub", "? blu"),
    ] {
        let ended = client_of(replies(reply), &format!("printf '{typed}\\n' | CLIENT"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), reply));
        assert!(ended.stderr.contains("before all replies were complete\n"), "{ended:?}");
    }
    for (typed, reply) in [
        ("WHATSAT k 1 1", "? WHATSAT k 1 1\n"),
        ("W\\n\\n\\tWHATSAT k 1 1", "? W\nAT S +1 k +1+1 1\n{\n}\n\n"),
        ("WHATSAT k 1 1\\nIAMAT k +1+1 1", "AT S +1 k +1+1 1\n{\n}\n\nAT S +1 k +1+1 1\n"),
    ] {
        let typed = format!("printf '{typed}\\n' | CLIENT --keep-going 2> /dev/null");
        let ended = client_of(replies(reply), &typed);
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
            (Some(0), reply, "")
        );
    }
}

#[test]
fn a_command_ends_when_its_reply_is_complete_even_if_the_server_keeps_the_connection() {
    for (command, reply, code) in [
        ("iamat k +1+1 1", "AT S +1 k +1+1 1\n", 0),
        ("whatsat k 1 1", "AT S +1 k +1+1 1\n{\n}\n\n", 0),
        ("whatsat k 1 1", "? WHATSAT k 1 1\n", 1),
        ("iamat k +1+1 1", "HTTP/1.1 400 Bad Request\n", 69),
    ] {
        let talk = |mut client: TcpStream| {
            client.write_all(reply.as_bytes()).expect("it reads");
            client
        };
        let ended = client_of(talk, &format!("CLIENT --timeout 120 {command}"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), reply), "{ended:?}");
    }
}

#[test]
fn an_address_may_name_an_interface_as_its_scope() {
    let server = TcpListener::bind("[::1]:0").expect("a port");
    let port = server.local_addr().expect("it listens").port();
    let talk = thread::spawn(move || server.accept().expect("it is called").0.write_all(b"? \n"));
    let ended = Process::run(&["client", &format!("[::1%lo]:{port}"), "iamat", "k", "+1+1"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "? \n"), "{ended:?}");
    talk.join().expect("it does not panic").expect("it reads");
    let ended = Process::run(&["client", "[fe80::1%no-such-if]:24000"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
}

#[test]
fn the_default_timeout_is_5_seconds() {
    let begun = Instant::now();
    let ended = client_of(is_silent, "CLIENT iamat kiwi +1+1");
    assert_eq!(ended.code, Some(69));
    assert!(ended.stderr.contains("did not reply within 5 s"), "{}", ended.stderr);
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[test]
fn a_server_that_reads_nothing_ends_a_client_that_sends() {
    let ended = client_of(is_silent, "yes | CLIENT --timeout 0.5");
    assert_eq!(ended.code, Some(69), "{ended:?}");
}

#[test]
fn a_command_stops_reading_a_reply_without_an_end() {
    let talk = |mut client: TcpStream| {
        let _ = client.write_all(b"AT Alford +1 kiwi +1+1 5\n");
        while client.write_all(&[b'x'; 65_536]).is_ok() {}
    };
    let ended = client_of(talk, "CLIENT --timeout 60 whatsat kiwi 10 5 | tail -c 1; exit $?");
    assert!(
        ended.stderr.contains("sent an incomplete reply: it has more than 4 MiB\n"),
        "{ended:?}"
    );
}

#[test]
fn lines_from_stdin_stop_if_the_server_sends_replies_without_end() {
    let folder = Herd::new("flood", ALONE);
    for line in ["AT Alford +1 kiwi +1+1 5\n", "? blub\n", "x\n", "\n", "x"] {
        let talk = |mut client: TcpStream| {
            let lines = line.repeat(65_536 / line.len());
            while client.write_all(lines.as_bytes()).is_ok() {}
        };
        // Once stdin ends, and once it stays open.
        for typed in ["CLIENT --timeout 30 < /dev/null", "mkfifo p; exec 3<>p; CLIENT <&3"] {
            let typed = format!("cd {}; rm -f p; {typed} | tail -c 1", folder.folder().display());
            let ended = client_of(talk, &typed);
            assert!(ended.stderr.contains("sent more than 4 MiB for each line"), "{ended:?}");
        }
    }
}

#[test]
fn an_incomplete_reply_is_no_success() {
    for (reply, said) in [
        ("", "without a reply"),
        ("AT Alford +1 kiwi +1+1 5\n", "sent an incomplete reply: it breaks off\n"),
        (
            "AT Alford +1 kiwi +1+1 5\n{\n   \"results\"",
            "sent an incomplete reply: it breaks off\n",
        ),
        ("A", "sent an incomplete reply: it breaks off\n"),
        ("? WHATSAT ki", "sent an incomplete reply: it breaks off\n"),
        (
            "HTTP/1.1 400 Bad Request\r\n",
            "sent something that is not a reply: it is not a server of a herd\n",
        ),
    ] {
        let talk = |mut client: TcpStream| {
            let mut line = Vec::new();
            client.read_to_end(&mut line).expect("it ends its half");
            client.write_all(reply.as_bytes()).expect("it reads");
        };
        let ended = client_of(talk, "CLIENT whatsat kiwi 10 5");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), reply));
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    let talk = |mut client: TcpStream| {
        let mut lines = Vec::new();
        client.read_to_end(&mut lines).expect("it ends its half");
        client.write_all(b"? blub\n").expect("it reads");
    };
    let ended = client_of(talk, "printf 'blub\nblub\n' | CLIENT --keep-going");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), "? blub\n"), "one is missing");
}

#[test]
fn stdin_may_be_silent_longer_than_the_timeout_and_blank_lines_need_no_reply() {
    let talk = |mut client: TcpStream| {
        let mut lines = Vec::new();
        client.read_to_end(&mut lines).expect("it ends its half");
        assert_eq!(lines, b" \t\n");
    };
    let ended = client_of(talk, "(echo ' \t'; sleep 0.5) | CLIENT --timeout 0.1");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn an_address_that_accepts_no_connection_exits_with_69() {
    // With a full queue of one the kernel drops further connections.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).and_then(|()| listener.listen(0)).expect("a port");
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().expect("it listens");
    let _waiting = until("the queue is full", || {
        let first = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()?;
        let second = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        second.is_err().then_some(first)
    });
    let begun = Instant::now();
    let ended = Process::run(&["client", &address.to_string(), "--timeout", "0.3"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr.contains("cannot be reached: "), "{ended:?}");
    assert!(ended.stderr.contains(" did not answer within 0.3 s; "), "{ended:?}");
    assert!(begun.elapsed() < SOON);
}

/// Fills the queue of a listener at `path` that accepts no connection.
fn full_queue(path: &Path) -> Vec<Socket> {
    let address = SockAddr::unix(path).expect("it is short");
    let new = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let listener = new();
    listener.bind(&address).and_then(|()| listener.listen(0)).expect("the folder is ours");
    let mut sockets = vec![listener];
    loop {
        let caller = new();
        caller.set_nonblocking(true).expect("a socket");
        let outcome = caller.connect(&address);
        sockets.push(caller);
        if outcome.is_err() {
            return sockets;
        }
    }
}

#[test]
fn status_waits_for_no_server_longer_than_its_timeout() {
    let herd = Herd::new("stuck", ALONE);
    fs::create_dir(herd.folder().join("run")).expect("the folder is ours");
    let path = herd.folder().join("run/Alford.sock");
    let queue = full_queue(&path);
    let asked = |said: &str| {
        let begun = Instant::now();
        let shown = herd.run(&["status", "--timeout", "0.3"]);
        assert_eq!(shown.code, Some(69), "{shown:?}");
        assert!(shown.stdout.contains(said), "{shown:?}");
        assert!(begun.elapsed() < SOON);
    };
    asked("it listens, but did not reply within 0.3 s; wait longer with --timeout SECONDS");
    drop(queue);
    fs::remove_file(&path).expect("it was there");
    let listener = UnixListener::bind(&path).expect("the folder is ours");
    // The queue has room, but no connection is accepted.
    asked("it listens, but did not reply within 0.3 s; wait longer with --timeout SECONDS");
    // On a busy machine the command may have connected twice, or not at all.
    listener.set_nonblocking(true).expect("a socket can be made so");
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).expect("a socket can be made so");
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = is_over.clone();
    let trickler = thread::spawn(move || {
        // The first connection may be one that the command has given up.
        while !ends.load(Ordering::Relaxed) {
            let (mut client, _) = listener.accept().expect("it is called");
            while client.write_all(b" ").is_ok() {}
        }
    });
    asked("did not reply within 0.3 s; wait longer with --timeout SECONDS");
    is_over.store(true, Ordering::Relaxed);
    // The trickler waits for another connection: this one lets it end.
    drop(UnixStream::connect(&path));
    trickler.join().expect("it does not panic");
}

#[test]
fn status_has_one_timeout_for_all_servers_and_shows_each_reply() {
    let names: Vec<String> = (0..10).map(|number| format!("S{number}")).collect();
    let servers: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let herd = Herd::new("hung", &servers);
    fs::create_dir(herd.folder().join("run")).expect("the folder is ours");
    let path = |name: &str| herd.folder().join(format!("run/{name}.sock"));
    let listener = |name: &String| UnixListener::bind(path(name)).expect("the folder is ours");
    let _full = [full_queue(&path("S0")), full_queue(&path("S1"))];
    let _hung: Vec<UnixListener> = names[2..9].iter().map(listener).collect();
    let good = listener(&names[9]);
    let server = thread::spawn(move || {
        let (mut client, _) = good.accept().expect("it is called");
        client.read_exact(&mut [0; 7]).expect("STATUS and a newline");
        client.write_all(b"{\"process\": 4711}\n").expect("it is read");
    });
    let begun = Instant::now();
    let shown = herd.run(&["status", "--timeout", "2"]);
    assert!(begun.elapsed() < Duration::from_secs(17), "nine times two are more");
    assert_eq!(shown.code, Some(69), "{shown:?}");
    assert_eq!(shown.stdout.matches("did not reply within 2 s; ").count(), 9, "{shown:?}");
    assert!(shown.stdout.contains("S9      4711 "), "{shown:?}");
    server.join().expect("it does not panic");
}

#[test]
fn up_kills_a_server_that_does_not_end() {
    let herd = Herd::new("unending", ALONE);
    herd.write(&herd.text().replace("drain_ms = 2000", "drain_ms = 0"));
    let mut up = herd.start(&["up"]);
    let servers: Vec<Stray> = up.herd();
    servers[0].signal(Signal::STOP);
    up.signal(Signal::TERM);
    up.line_with("killing the servers that have not ended within drain_ms and 10 s");
    assert_eq!(up.end().code, Some(0));
    servers[0].has_ended();
}
