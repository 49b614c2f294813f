//! Secrets stay in the files that hold them, which only the server can read.

use crate::support::herd::{NOWHERE, Setup, iamat};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const KEY: &str = "AIzaCANARY-9f3k2-nobodys-key-in-this-test";
const NAMES: [&str; 2] = ["Alford", "Bolden"];

/// Nothing listens at this address, so that a request with the key is made and fails, which the log reports.
const TABLES: &str = "[places]\nsource = \"google\"\nbase_url = \"https://127.0.0.1:1\"\n\
                      key_file = \"google.key\"\n[peer_tls]\nfolder = \"pki\"\n";

/// Runs the program with `words` in `folder`, and returns all its output.
fn said(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    let output = command.args(words).current_dir(folder).output().expect("it can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn write_secrets(folder: &Path) {
    let key = folder.join("google.key");
    fs::write(&key, format!("{KEY}\n")).expect("the folder is ours");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    said(folder, &["pki", "init", "--topology", "topology.toml"]);
    said(folder, &["pki", "issue", "Alford", "Bolden", "--topology", "topology.toml"]);
}

/// The texts that must appear nowhere: Google's key, and each line of each private key.
fn canaries(folder: &Path) -> Vec<String> {
    let mut canaries = vec![KEY.to_owned()];
    for key in ["ca.key", "Alford.key", "Bolden.key"] {
        let text = fs::read_to_string(folder.join("pki").join(key)).expect("it was issued");
        let lines = text.lines().filter(|line| line.len() > 20 && !line.starts_with("---"));
        canaries.extend(lines.map(str::to_owned));
    }
    assert!(canaries.len() > 3 * 2, "each key has some lines");
    canaries
}

#[test]
fn keys_are_seen_nowhere() {
    let setup = Setup::of(&NAMES, &[("Alford", "Bolden")]).more(TABLES).prepared(write_secrets);
    // This sets the most verbose log, and core dumps of unlimited size.
    let most = "ulimit -c $(ulimit -H -c) && RUST_LOG=trace exec \"$0\" \"$@\"";
    let mut herd = setup.inside(&["sh", "-c", most]).start();
    herd.linked("Alford", "Bolden");
    let mut client = herd.client("Alford");
    client.send(iamat("kiwi", NOWHERE, "5"));
    let at = client.line();
    herd.settle(&["Bolden"], "kiwi", &at);
    let nearby = client.whatsat("kiwi", "10", "5").expect("kiwi is known");
    assert_eq!(nearby.json["status"], "UNKNOWN_ERROR", "Places was asked in vain");
    herd.process("Alford").signal(rustix::process::Signal::HUP);
    herd.logged("Alford", &["SIGHUP: reloaded"]);

    let folder = herd.folder().to_owned();
    let mut places = vec![
        ("a client's reply".to_owned(), String::from_utf8_lossy(&nearby.text).into_owned()),
        ("herd check".to_owned(), said(&folder, &["check", "--topology", "topology.toml"])),
        ("herd status".to_owned(), said(&folder, &["status", "--topology", "topology.toml"])),
        ("topology.toml".to_owned(), fs::read_to_string(herd.topology()).expect("it is ours")),
    ];
    for name in NAMES {
        let process = format!("/proc/{}", herd.process(name).id());
        for file in ["cmdline", "environ", "comm"] {
            let text = fs::read(format!("{process}/{file}")).expect("the process is there");
            places.push((format!("{file} of {name}"), String::from_utf8_lossy(&text).into_owned()));
        }
        let limits = fs::read_to_string(format!("{process}/limits")).expect("the process is there");
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        assert_eq!(core.and_then(|core| core.split_whitespace().next()), Some("0"), "{name}");
        places.push((format!("status of {name}"), herd.status(name).to_string()));
        let output = fs::read_to_string(herd.output(name)).expect("it has said something");
        places.push((format!("output of {name}"), output));
    }
    for name in NAMES {
        herd.kill(name);
        places.push((format!("log of {name}"), herd.log(name)));
    }
    assert!(places.iter().any(|(name, text)| name == "log of Alford" && text.contains("DEBUG")));
    let canaries = canaries(&folder);
    let hits: Vec<&String> = places
        .iter()
        .filter(|(_, text)| canaries.iter().any(|canary| text.contains(canary)))
        .map(|(place, _)| place)
        .collect();
    println!(
        "P22 secrets: {} hits / {} places, {} canaries; cores are off",
        hits.len(),
        places.len(),
        canaries.len()
    );
    assert!(hits.is_empty(), "{hits:?}");
}

#[test]
fn only_the_owner_reads_what_is_secret() {
    let herd =
        Setup::of(&NAMES, &[("Alford", "Bolden")]).more(TABLES).prepared(write_secrets).start();
    for file in ["google.key", "pki/ca.key", "pki/Alford.key", "pki/Bolden.key"] {
        let mode =
            fs::metadata(herd.folder().join(file)).expect("it was made").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}
