//! What a package has beside the program: completions, manual pages and the unit for systemd; and the folders and secrets
//! that a service manager gives. `tools/package/test` tests whole packages.

#![cfg(target_os = "linux")]

use crate::support::process::{Herd, Process, until};
use crate::support::skipped;
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/package/herd@.service");

const ALONE: &[(&str, &[&str])] = &[("Alford", &[])];

/// Runs a program that this machine may lack; then the test is skipped, and this returns `None`.
fn run(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(_) => skipped(&format!("{program} is not installed")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn each_shell_accepts_its_completions() {
    let herd = Herd::new("completions", ALONE);
    for (shell, only_parse) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = Process::run(&["completions", shell]);
        assert_eq!(script.code, Some(0));
        for word in ["serve", "journal", "topology"] {
            assert!(script.stdout.contains(word), "{shell}: {word}");
        }
        let file = herd.folder().join(shell);
        fs::write(&file, script.stdout).expect("the folder is ours");
        let Some(parsed) = run(shell, &[only_parse, text(&file)]) else { continue };
        assert!(parsed.status.success() && parsed.stderr.is_empty(), "{shell}: {parsed:?}");
    }
    assert_eq!(Process::run(&["completions", "tcsh"]).code, Some(64));
}

#[test]
fn every_command_has_a_manual_page_of_which_man_warns_nothing() {
    let herd = Herd::new("man", ALONE);
    let folder = herd.folder().join("man");
    assert_eq!(Process::run(&["man", text(&folder)]).code, Some(73), "there is no such folder");
    fs::create_dir(&folder).expect("the folder is ours");
    assert_eq!(Process::run(&["man", text(&folder)]).code, Some(0));
    let printed = Process::run(&["man"]).stdout;
    let main = fs::read_to_string(folder.join("herd.1")).expect("it is written");
    assert_eq!(printed, main, "herd man prints herd(1)");
    for command in ["serve", "up", "status", "journal-check", "places-check", "completions", "man"]
    {
        assert!(folder.join(format!("herd-{command}.1")).exists(), "herd {command}");
    }
    for page in fs::read_dir(&folder).expect("it is there") {
        let page = page.expect("it can be read").path();
        let Some(shown) = run("man", &["--warnings", "--local-file", text(&page)]) else { return };
        let warnings = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    }
}

#[test]
fn the_unit_exposes_little() {
    let args = ["security", "--offline=true", "--no-pager", "--threshold=12", UNIT];
    let Some(rated) = run("systemd-analyze", &args) else { return };
    let rating = String::from_utf8_lossy(&rated.stdout);
    let overall = rating.lines().find(|line| line.contains("Overall exposure level"));
    assert!(rated.status.success(), "{overall:?}, more than 1.2: {rating}");
}

/// Plays the machine's systemd, in namespaces of its own: a user manager that runs the unit, less what only root's manager
/// can do. The working folder is the test's; $1 is the program, $2 the unit.
const UNDER_SYSTEMD: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/um .config/systemd/user
export XDG_RUNTIME_DIR=/run/user/um HOME="$PWD"
sed -e '/^User=/d; /^Group=/d; /^Private/d; /^Protect/d; /^ProcSubset/d; /^Capability/d; /^Ambient/d; /^Device/d; /^OOM/d' \
  -e "s#/usr/bin/herd#$1#; s#/etc/herd#$PWD#; s/^WatchdogSec=.*/WatchdogSec=2s/" "$2" >.config/systemd/user/herd@.service
/lib/systemd/systemd --user --unit=basic.target >systemd.log 2>&1 &
unit() { systemctl --user "$@"; }
property() { unit show "herd@$1" --property "$2" --value; }
eventually() { n=0; until eval "$1"; do n=$((n + 1)); [ $n -lt 600 ] || { echo "never: $1"; cat systemd.log; exit 1; }; sleep 0.05; done; }
eventually 'unit list-units >/dev/null 2>&1'

unit start herd@Alford herd@Bolden
eventually 'property Alford StatusText | grep -q "neighbours: 1 of 1 linked; healthy"'
find . -path '*/Alford/journal.1' | grep -q . || { echo "no journal in the state directory"; exit 1; }

unit reload herd@Alford
cp topology.toml good.toml
echo nonsense >>topology.toml
! unit reload herd@Alford 2>/dev/null || { echo "a faulty topology was reloaded"; exit 1; }
cp good.toml topology.toml
[ "$(property Alford ActiveState)" = active ]

kill -STOP "$(property Alford MainPID)"
eventually '[ "$(property Alford NRestarts)" = 1 ]'
eventually '[ "$(property Alford ActiveState)" = active ]'

unit stop herd@Alford
[ "$(property Alford Result)" = success ]
[ -S /run/user/um/herd/Bolden.sock ] || { echo "Bolden has lost its status socket"; exit 1; }
kill -USR2 "$(property Bolden MainPID)"
eventually '[ "$(property Bolden ActiveState)" = inactive ]'
[ "$(property Bolden Result)" = success ]
[ "$(property Bolden NRestarts)" = 0 ]
"#;

#[test]
fn systemd_starts_watches_restarts_and_stops_the_servers_of_the_unit() {
    let can = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && ls /lib/systemd/systemd";
    let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
    let tried = run("unshare", &[&namespaces[..], &[can]].concat());
    match tried {
        None => return,
        Some(tried) if tried.status.success() => {}
        Some(tried) => {
            let why = String::from_utf8_lossy(&tried.stderr).into_owned();
            return skipped(&format!("no systemd in a mount namespace: {}", why.trim()))
                .unwrap_or_default();
        }
    }
    let herd = Herd::new("systemd", &[("Alford", &["Bolden"]), ("Bolden", &["Alford"])]);
    herd.write(&format!("{}[journal]\n", herd.text()));
    let mut command = Command::new("unshare");
    command.args(namespaces).args([UNDER_SYSTEMD, "sh", env!("CARGO_BIN_EXE_herd"), UNIT]);
    let played = command.current_dir(herd.folder()).output().expect("unshare runs");
    let said = [played.stdout, played.stderr].concat();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn folders_that_the_topology_does_not_name_are_those_of_the_service_manager() {
    let herd = Herd::new("given", ALONE);
    let [state, runtime] = ["state", "runtime"].map(|name| herd.folder().join(name));
    fs::create_dir(&state).expect("the folder is ours");
    let several = format!("{}:/nowhere", text(&state));
    let given = [("STATE_DIRECTORY", &several[..]), ("RUNTIME_DIRECTORY", text(&runtime))];
    for (tables, journal, socket) in [
        ("[journal]\n", "state/Alford/journal.1", "runtime/Alford.sock"),
        (
            "[journal]\nfolder = \"j\"\n[status]\nfolder = \"s\"\n",
            "j/Alford/journal.1",
            "s/Alford.sock",
        ),
    ] {
        herd.write(&format!("{}{tables}", herd.text()));
        let mut server = herd.start_in(&given, &["serve", "Alford"]);
        server.line();
        for file in [journal, socket] {
            assert!(herd.folder().join(file).exists(), "{file}");
        }
        server.signal(Signal::TERM);
        assert_eq!(server.end().code, Some(0));
    }
    // A relative folder would depend on the working folder.
    let relative = [("STATE_DIRECTORY", "state"), ("RUNTIME_DIRECTORY", "")];
    herd.write(&format!("{}[journal]\n", herd.text()));
    let mut server = herd.start_in(&relative, &["serve", "Alford"]);
    server.line();
    until("it is there", || herd.folder().join("journal/Alford/journal.1").exists().then_some(()));
    assert!(herd.folder().join("run/Alford.sock").exists());
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn a_key_that_is_a_credential_is_read_from_there() {
    let herd = Herd::new("credentials", ALONE);
    let credentials = herd.folder().join("credentials");
    fs::create_dir(&credentials).expect("the folder is ours");
    let given = [("CREDENTIALS_DIRECTORY", text(&credentials))];
    let google = "[places]\nsource = \"google\"\nkey_file = \"secrets/google.key\"\n";
    herd.write(&format!("{}{google}", herd.text()));
    let check = |given: &[(&str, &str)]| herd.start_in(given, &["check", "--strict"]).end();
    assert_eq!(check(&given).code, Some(78), "the file is nowhere");
    fs::write(credentials.join("google.key"), "a-key-of-google\n").expect("the folder is ours");
    // systemd's credentials look as if their group may read them, which is not warned of.
    assert_eq!(check(&given).code, Some(0), "{}", check(&given).stderr);
    assert_eq!(check(&[]).code, Some(78), "without the variable it is nowhere");

    #[cfg(feature = "pki")]
    {
        herd.write(&format!("{}[peer_tls]\n", herd.text()));
        for args in [&["pki", "init"][..], &["pki", "issue", "Alford"]] {
            assert_eq!(herd.run(args).code, Some(0));
        }
        assert_eq!(check(&given).code, Some(0), "the folder has the key");
        let key = herd.folder().join("pki/Alford.key");
        fs::rename(&key, credentials.join("Alford.key")).expect("both folders are ours");
        assert_eq!(check(&given).code, Some(0), "{}", check(&given).stderr);
        assert_eq!(check(&[]).code, Some(78), "without the variable it is nowhere");
        // systemd copies a credential only at the start of the unit.
        fs::copy(credentials.join("Alford.key"), &key).expect("both folders are ours");
        assert_eq!(herd.run(&["pki", "renew", "Alford"]).code, Some(0));
        let said = check(&given).stderr;
        assert!(said.contains("is not the key of") && said.contains("restart"), "{said}");
        assert_eq!(check(&[]).code, Some(0), "the folder has the new key");
    }
}
