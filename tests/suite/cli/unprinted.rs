//! Exit statuses do not depend on stdout and stderr, which may be good, closed, a full disk, or a pipe without a
//! reader.
//!
//! The exception is output for programs: if the disk has no room for replies of `client` or lines of `journal dump`,
//! the status is 74.

use super::{ALONE, KIWI};
use crate::support::process::{Herd, Out, until};
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;

/// Runs `args` with each of the sixteen combinations, and compares the exit status with `expected`, or with `when_full`
/// if stdout is a full disk.
fn holds(herd: &Herd, args: &[&str], expected: i32, when_full: i32) {
    let mut processes = Vec::new();
    for stdout in Out::ALL {
        for stderr in Out::ALL {
            processes.push((stdout, stderr, herd.start_unheard(args, stdout, stderr)));
        }
    }
    for (stdout, stderr, process) in processes {
        let expected = if stdout == Out::Full { when_full } else { expected };
        let code = process.code();
        assert_eq!(code, Some(expected), "{args:?}, stdout {stdout:?}, stderr {stderr:?}");
    }
}

#[test]
fn a_token_that_could_not_be_printed_is_in_no_file() {
    let herd = Herd::new("unheard-token", ALONE);
    let file = herd.folder().join("tokens");
    let named = file.to_str().expect("text");
    for stdout in [Out::Full, Out::Broken] {
        let process =
            herd.start_unheard(&["token", "new", "read", "*", "--file", named], stdout, Out::Full);
        assert_eq!(process.code(), Some(if stdout == Out::Full { 74 } else { 0 }));
        assert!(!file.exists(), "{stdout:?}");
    }
    holds(&herd, &["token", "new", "read", "*"], 0, 74);
}

#[test]
fn the_exit_status_of_a_command_without_a_server_does_not_change() {
    let herd = Herd::new("unheard", ALONE);
    let write = |name: &str, text: &str| {
        fs::write(herd.folder().join(name), text).expect("the folder is ours");
    };
    let far = "[[server]]\nname = \"Far\"\nclient = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n";
    write(
        "doubtful.toml",
        &format!(
            "herd = \"h\"\n{far}{}",
            far.replace("Far", "Farther").replace(":1", ":3").replace(":2", ":4")
        ),
    );
    write("faulty.toml", "herd = \"a b\"\n");
    write("plain.toml", &format!("herd = \"h\"\n{far}plain = true\n"));
    write("no-log.toml", &format!("{}[log]\nfolder = \"/dev/null/log\"\n", herd.text()));
    write("places.toml", &format!("{}[places]\nsource = \"file\"\nfile = \"p\"\n", herd.text()));
    write("p", "no JSON\n");
    write("journal.1", "HERDJ 1 Bolden other\n");
    write("journal.2", "nonsense\n");
    for (args, expected) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["fold"], 64),
        (&["check"], 0),
        (&["check", "--strictly"], 64),
        (&["serve", "Wilkes"], 64),
        (&["client", "Wilkes"], 64),
        (&["client", "127.0.0.1:1"], 69),
        (&["client", "127.0.0.1:1", "whatsat", "kiwi", "10", "5"], 69),
        (&["status"], 69),
        (&["status", "--json"], 69),
        (&["places", "check", "nowhere"], 64),
        #[cfg(feature = "embedded-places")]
        (&["places", "check"], 0),
        (&["journal", "check", "journal.1"], 0),
        (&["journal", "check", "journal.2"], 65),
        (&["journal", "dump", "journal.2"], 65),
        (&["journal", "check", "nowhere"], 74),
    ] {
        holds(&herd, args, expected, expected);
    }
    // Each case replaces the herd's topology file, because `--topology` may be given only once.
    for (args, topology, expected) in [
        (&["check"][..], "doubtful.toml", 0),
        (&["check", "--strict"], "doubtful.toml", 78),
        (&["check"], "faulty.toml", 78),
        (&["serve", "Alford"], "faulty.toml", 78),
        (&["serve", "Alford"], "no-log.toml", 73),
        (&["serve", "Alford"], "places.toml", 78),
        (&["up"], "plain.toml", 78),
        (&["status"], "faulty.toml", 78),
    ] {
        let text = fs::read_to_string(herd.folder().join(topology)).expect("it was written");
        herd.write(&text);
        holds(&herd, args, expected, expected);
    }
}

#[test]
fn the_exit_status_of_a_command_with_a_server_does_not_change() {
    let herd = Herd::new("asked", ALONE);
    herd.write(&format!("{}[journal]\n", herd.text()));
    let alford = herd.serve("Alford");
    holds(&herd, &["client", "Alford", "iamat", "kiwi", KIWI], 0, 74);
    holds(&herd, &["client", "Alford", "whatsat", "kiwi", "10", "20"], 0, 74);
    // The server's verdict on the command counts more than a failure to print it.
    holds(&herd, &["client", "Alford", "whatsat", "nobody", "10", "5"], 1, 1);
    holds(&herd, &["status"], 0, 0);
    holds(&herd, &["status", "--json"], 0, 0);
    holds(&herd, &["serve", "Alford"], 69, 69);
    holds(&herd, &["journal", "dump", "journal/Alford"], 0, 74);
    holds(&herd, &["journal", "compact", "journal/Alford"], 69, 69);
    drop(alford);
    for stdout in Out::ALL {
        for stderr in Out::ALL {
            let compact = &["journal", "compact", "journal/Alford"];
            assert_eq!(herd.start_unheard(compact, stdout, stderr).code(), Some(0));
        }
    }
}

#[test]
fn lines_from_a_pipe_exit_with_74_if_replies_have_no_room_and_with_0_if_there_is_no_reader() {
    let herd = Herd::new("cable", ALONE);
    let _alford = herd.serve("Alford");
    let line = format!(
        "printf 'IAMAT kiwi +1+2 5\\nIAMAT kiwi +1+2 6\\n' | {} client {}:12000",
        env!("CARGO_BIN_EXE_herd"),
        herd.ip()
    );
    let full = super::Process::shell(&format!("{line} > /dev/full"));
    assert_eq!(full.code, Some(74), "{}", full.stderr);
    assert!(full.stderr.contains("cannot write to stdout: No space left"), "{}", full.stderr);
    let head = super::Process::shell(&format!("{line} | true"));
    assert_eq!((head.code, head.stderr.as_str()), (Some(0), ""));
}

#[cfg(feature = "pki")]
#[test]
fn the_exit_status_of_pki_does_not_change() {
    let herd = Herd::new("papers", ALONE);
    for (number, stdout) in Out::ALL.into_iter().enumerate() {
        for (other, stderr) in Out::ALL.into_iter().enumerate() {
            let folder = format!("--folder=pki-{number}-{other}");
            for (args, expected) in [
                (&["pki", "init"][..], 0),
                (&["pki", "init"], 73),
                (&["pki", "issue", "Wilkes"], 64),
                (&["pki", "issue", "Alford"], 0),
                (&["pki", "revoke", "Alford"], 0),
                (&["pki", "revoke", "Alford"], 78),
            ] {
                let args = [args, &[&folder]].concat();
                let code = herd.start_unheard(&args, stdout, stderr).code();
                assert_eq!(code, Some(expected), "{args:?}, {stdout:?}, {stderr:?}");
            }
        }
    }
}

#[test]
fn a_server_without_stdout_serves_and_exits_with_0_and_no_file_of_its_own_becomes_stdout() {
    for command in [&["serve", "Alford"][..], &["up"]] {
        for out in [Out::Closed, Out::Full, Out::Broken] {
            let herd = Herd::new("mute", ALONE);
            let server = herd.start_unheard(command, out, out);
            until("it answers", || (herd.run(&["status"]).code == Some(0)).then_some(()));
            if out == Out::Closed {
                for number in [1, 2] {
                    let fd = format!("/proc/{}/fd/{number}", server.id());
                    assert_eq!(fs::read_link(fd).expect("it is open").to_str(), Some("/dev/null"));
                }
            }
            server.signal(Signal::TERM);
            assert_eq!(server.code(), Some(0), "{command:?}, {out:?}");
        }
    }
}

#[test]
fn servers_that_cannot_start_exit_with_69_also_without_stdout() {
    let herd = Herd::new("unstarted", ALONE);
    let _taken = TcpListener::bind((herd.ip(), 12_000)).expect("the address is ours");
    for out in Out::ALL {
        assert_eq!(herd.start_unheard(&["up"], out, out).code(), Some(69), "{out:?}");
    }
}
