//! The first hour with nothing but the program: which topology a command finds, `herd init`, `herd up`, and the faults
//! that `herd check` finds before a server does.

use super::{ALONE, PAIR, TRIANGLE};
use crate::support::process::{Ended, Herd, Process, Stray, until};
use crate::support::skipped;
use rustix::process::Signal;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topology.toml");

/// Runs `herd ARGS` in `folder`, without HERD_TOPOLOGY in the environment.
fn typed(folder: &Path, args: &str) -> Ended {
    Process::shell(&line(folder, args))
}

fn line(folder: &Path, args: &str) -> String {
    let (folder, herd) = (folder.display(), env!("CARGO_BIN_EXE_herd"));
    format!("cd '{folder}' && unset HERD_TOPOLOGY && exec '{herd}' {args}")
}

/// Returns a herd whose topology is in herd-data, where `up` writes the built-in one.
fn in_herd_data(test: &str) -> Herd {
    let herd = Herd::new(test, PAIR);
    fs::create_dir(herd.folder().join("herd-data")).expect("the folder is ours");
    let file = herd.folder().join("herd-data/topology.toml");
    fs::rename(herd.topology(), file).expect("the folder is ours");
    herd
}

/// Returns the paths of all files and folders in `folder`.
fn files(folder: &Path) -> Vec<String> {
    let listed = Process::shell(&format!("cd '{}' && find . | sort", folder.display()));
    listed.stdout.lines().map(str::to_owned).collect()
}

// Which topology

#[test]
fn the_topology_may_be_named_anywhere_on_the_line_or_in_the_environment() {
    let herd = Herd::new("found", PAIR);
    let (path, elsewhere) = (herd.topology(), std::env::temp_dir());
    let summary = |how: &str| format!("{path} ({how}): 2 servers, 1 edge, no faults, ");
    for args in ["--topology T check", "check --topology T", "--topology=T check --topology T"] {
        let checked = typed(&elsewhere, &args.replace('T', &path));
        assert_eq!(checked.code, Some(0), "{args}: {checked:?}");
        assert!(checked.stdout.starts_with(&summary("--topology")), "{args}: {checked:?}");
    }
    for args in ["pki --topology T init", "--topology T places check", "status --topology T"] {
        let ended = typed(&elsewhere, &args.replace('T', &path));
        assert_ne!(ended.code, Some(64), "{args}: {ended:?}");
    }
    let with = |variable: &str, args: &str| {
        let line = line(&elsewhere, args).replace("exec", &format!("{variable} exec"));
        Process::shell(&line.replace("unset HERD_TOPOLOGY", "export HERD_TOPOLOGY"))
    };
    let checked = with(&format!("HERD_TOPOLOGY='{path}'"), "check");
    assert!(checked.stdout.starts_with(&summary("HERD_TOPOLOGY")), "{checked:?}");
    let missing = with("HERD_TOPOLOGY=none.toml", "check");
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.ends_with("herd: none.toml (HERD_TOPOLOGY): 1 fault\n"), "{missing:?}");
    let here = typed(herd.folder(), "check");
    assert!(here.stdout.starts_with("topology.toml (in this folder): 2 servers"), "{here:?}");
}

#[test]
fn a_server_does_not_use_the_built_in_topology() {
    let herd = in_herd_data("no-topology");
    let ended = typed(herd.folder(), "serve Alford");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""));
    for place in ["--topology", "HERD_TOPOLOGY", "./topology.toml", "/etc/herd/topology.toml"] {
        assert!(ended.stderr.contains(place), "{ended:?}");
    }
    assert!(ended.stderr.ends_with("; write one with \"herd init\"\n"), "{ended:?}");
}

#[test]
fn up_writes_the_built_in_topology_and_other_commands_write_nothing() {
    let herd = Herd::new("built-in", ALONE);
    let folder = herd.folder().join("empty");
    fs::create_dir(&folder).expect("the folder is ours");
    let how =
        "herd-data/topology.toml (built-in; no topology.toml is in this folder or in /etc/herd)";
    let checked = typed(&folder, "check");
    assert_eq!(checked.stdout, format!("{how}: 5 servers, 5 edges, no faults, 1 warning\n"));
    assert_eq!(typed(&folder, "up Alfrod").code, Some(64));
    assert_eq!(files(&folder), ["."]);

    // A file in the place of the folder for logs stops each server before it opens a port.
    fs::create_dir(folder.join("herd-data")).expect("the folder is ours");
    fs::write(folder.join("herd-data/log"), "").expect("the folder is ours");
    let up = typed(&folder, "up");
    assert_eq!(up.code, Some(73), "{up:?}");
    let first = up.stdout.lines().next().expect("there are lines");
    assert_eq!(first, format!("{how}: all files go to ./herd-data"));
    let written = fs::read(folder.join("herd-data/topology.toml")).expect("it was written");
    assert_eq!(written, fs::read(SHIPPED).expect("it is shipped"));

    fs::remove_dir_all(folder.join("herd-data")).expect("the folder is ours");
    fs::write(folder.join("herd-data"), "").expect("the folder is ours");
    let refused = typed(&folder, "up");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(73), ""));
    assert!(refused.stderr.starts_with("herd: herd-data/topology.toml cannot be written: "));
}

#[test]
fn a_topology_in_herd_data_that_cannot_be_read_is_a_fault() {
    let herd = Herd::new("herd-data", ALONE);
    let folder = herd.folder().join("empty");
    let file = folder.join("herd-data/topology.toml");
    fs::create_dir_all(folder.join("herd-data")).expect("the folder is ours");
    symlink("nowhere", file).expect("the folder is ours");
    for command in ["check", "up", "status"] {
        let ended = typed(&folder, command);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{command}: {ended:?}");
        assert_eq!(ended.stderr.matches(": error: ").count(), 1, "{command}: {ended:?}");
    }
}

#[test]
fn commands_in_the_folder_of_up_find_its_servers() {
    let herd = in_herd_data("second-terminal");
    let mut up = Process::shell_started(&line(herd.folder(), "up"));
    let _servers = up.herd();
    let said = up.lines_until("Ctrl-C stops all servers.");
    assert!(said.iter().any(|line| line.contains(" client Alford iamat ")), "{said:?}");
    let told = typed(herd.folder(), "client Alford iamat kiwi +34.068930-118.445127");
    assert!(told.stdout.starts_with("AT Alford +"), "{told:?}");
    assert_eq!(typed(herd.folder(), "status").code, Some(0));
    for made in ["herd-data/log", "herd-data/run/Alford.sock"] {
        assert!(herd.folder().join(made).exists(), "{made}");
    }
    up.signal(Signal::TERM);
    assert_eq!(up.end().code, Some(0));
}

// init

#[test]
fn init_writes_a_topology_that_check_finds_good_and_says_what_to_type_next() {
    let herd = Herd::new("init", ALONE);
    for (number, names) in ["A", "A B", "A B C", "A B C D E"].into_iter().enumerate() {
        let folder = herd.folder().join(number.to_string());
        fs::create_dir(&folder).expect("the folder is ours");
        let made = typed(&folder, &format!("init {names}"));
        assert_eq!(made.code, Some(0), "{made:?}");
        assert!(made.stdout.starts_with("topology.toml: A"), "{made:?}");
        assert!(made.stdout.ends_with(": herd up\n"), "{made:?}");
        let checked = typed(&folder, "check --strict");
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
        assert_eq!(files(&folder), [".", "./topology.toml"]);
    }
    let text = fs::read_to_string(herd.folder().join("3/topology.toml")).expect("it was written");
    let last = "name = \"E\"\nclient = \"127.0.0.1:12004\"\npeer = \"127.0.0.1:12104\"\nhttp = \"127.0.0.1:12204\"\nneighbours = [\"A\", \"D\"]\n";
    assert!(text.contains(last), "{text}");
}

#[test]
fn init_without_names_writes_the_shipped_topology() {
    let herd = Herd::new("init-shipped", ALONE);
    let made = typed(herd.folder(), "init --topology 'my herd.toml'");
    let next = "To start the servers, type: herd up --topology='my herd.toml'\n";
    assert_eq!(made.stdout, format!("'my herd.toml': the built-in topology\n{next}"));
    let written = fs::read(herd.folder().join("my herd.toml")).expect("it was written");
    assert_eq!(written, fs::read(SHIPPED).expect("it is shipped"));
}

#[test]
fn init_overwrites_no_file_and_writes_no_bad_name() {
    let herd = Herd::new("init-refused", ALONE);
    let ended = typed(herd.folder(), "init A");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(73), ""));
    assert!(
        ended.stderr.starts_with("herd: topology.toml cannot be written: File exists"),
        "{ended:?}"
    );
    assert_eq!(fs::read_to_string(herd.topology()).expect("it is there"), herd.text());
    let nowhere = typed(herd.folder(), "init A --topology none/t.toml");
    assert_eq!(nowhere.code, Some(73), "{nowhere:?}");

    let before = files(herd.folder());
    for (names, why) in [
        ("A B A", "herd: two servers are named \"A\"; "),
        ("A 'b c'", "herd: name cannot be \"b c\"; "),
        ("A ..", "herd: name cannot be \"..\", which denotes a folder; "),
        ("\"$(printf 'a\\033\\177\\nb')\"", "herd: name cannot be \"a\\x1b\\x7f\\x0ab\"; "),
    ] {
        let ended = typed(herd.folder(), &format!("init {names} --topology new.toml"));
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.starts_with(why), "{ended:?}");
    }
    assert_eq!(files(herd.folder()), before);
}

#[test]
fn the_smallest_topology_is_in_the_help_and_works() {
    let help = Process::run(&["init", "--help"]).stdout;
    let (_, example) = help.split_once("The smallest topology that works:\n").expect("it is there");
    let herd = Herd::new("smallest", ALONE);
    let ip = herd.ip().to_string();
    assert_eq!(example.trim().lines().count(), 5, "{example}");
    herd.write(&example.replace("127.0.0.1", &ip));
    let mut alford = herd.start(&["serve", "Alford"]);
    assert!(alford.line().starts_with("Alford: "));
}

// up

#[test]
fn up_starts_only_the_servers_that_are_named() {
    let herd = Herd::new("up-some", TRIANGLE);
    let mut up = herd.start(&["up", "Bolden", "Parker", "Bolden"]);
    let two = up.herd();
    assert_eq!(two.len(), 2);
    let (bolden, alford) = (herd.run(&["status", "Bolden"]), herd.run(&["status", "Alford"]));
    assert_eq!((bolden.code, alford.code), (Some(0), Some(69)));
    // The other servers can be started in another terminal.
    let mut rest = herd.start(&["up", "Alford"]);
    let one = rest.herd();
    assert_eq!(one.len(), 1);
    for up in [&mut up, &mut rest] {
        up.signal(Signal::TERM);
        assert_eq!(up.end().code, Some(0));
    }
}

#[test]
fn up_refuses_an_unknown_name_and_a_plain_server() {
    let herd = Herd::new("up-wrong", PAIR);
    herd.write(&herd.text().replace("name = \"Bolden\"", "name = \"Bolden\"\nplain = true"));
    let path = herd.topology();
    for command in ["up", "serve"] {
        let unknown = herd.run(&[command, "Alfrod"]);
        let said = format!(
            "herd: {path} (--topology) has no server \"Alfrod\" (did you mean \"Alford\"?); its servers are Alford, Bolden\n"
        );
        assert_eq!((unknown.code, unknown.stderr), (Some(64), said));
        let plain = herd.run(&[command, "Bolden"]);
        let said = format!(
            "herd: Bolden has plain = true in {path} (--topology), so another program must run it\n"
        );
        assert_eq!((plain.code, plain.stderr), (Some(64), said));
    }
    assert_eq!(files(herd.folder()), [".", "./topology.toml"]);
}

#[test]
fn a_second_up_in_one_folder_says_that_the_herd_runs_already() {
    let herd = Herd::new("up-twice", PAIR);
    let mut up = herd.start(&["up"]);
    let _servers = up.herd();
    let second = herd.run(&["up"]);
    assert_eq!((second.code, second.stdout.as_str()), (Some(69), ""));
    let said = "herd: this herd runs already: Alford, Bolden in ";
    assert!(second.stderr.starts_with(said), "{second:?}");
    assert_eq!(second.stderr.lines().count(), 1, "{second:?}");
}

#[test]
fn of_two_ups_at_the_same_time_one_starts_all_servers_and_the_other_none() {
    let herd = Herd::new("up-race", TRIANGLE);
    let mut ups = [herd.start(&["up"]), herd.start(&["up"])];
    let processes = ups.each_ref().map(|up| Stray::new(&up.id().to_string()));
    let refused = until("one of them ends", || {
        processes.iter().position(|up| up.ends_within(Duration::from_millis(10)))
    });
    let (second, first) = (ups[refused].end(), &mut ups[1 - refused]);
    assert!(second.code == Some(69) && !second.stdout.contains("SERVER"), "{second:?}");
    let said = "herd: this herd runs already: Alford, Bolden, Parker in ";
    assert!(second.stderr.starts_with(said), "{second:?}");
    assert_eq!(first.herd().len(), 3);
}

#[test]
fn up_says_that_it_waits_for_another_up() {
    let herd = Herd::new("up-waits", ALONE);
    let folder = herd.folder().join("run");
    fs::create_dir(&folder).expect("the folder is ours");
    let other = File::open(&folder).expect("it is there");
    other.lock().expect("it is not locked");
    let mut up = herd.start(&["up"]);
    assert_eq!(up.line(), "waiting until another herd up has started its servers");
    drop(other);
    assert_eq!(up.herd().len(), 1);
}

#[test]
fn a_port_that_is_taken_is_reported_with_its_key_and_the_remedy() {
    let herd = Herd::new("port-taken", ALONE);
    let ip = herd.ip();
    let taken = TcpListener::bind((ip, 12_100)).expect("the address is ours");
    let ended = herd.run(&["serve", "Alford"]);
    let said = format!("herd: Alford cannot listen on peer = \"{ip}:12100\": ");
    assert!(ended.stderr.starts_with(&said), "{ended:?}");
    assert!(ended.stderr.contains("\"ss -ltnp 'sport = :12100'\""), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(69), 1), "{ended:?}");

    drop(taken);
    // An address for documentation (RFC 5737), which no machine has.
    herd.write(&herd.text().replace(&format!("{ip}:12000"), "192.0.2.1:12000"));
    let ended = herd.run(&["serve", "Alford"]);
    let said = "; write an address of this machine as client of Alford in the topology\n";
    assert!(ended.code == Some(69) && ended.stderr.ends_with(said), "{ended:?}");
}

// check

/// Asserts that `herd check` and `herd serve` both refuse the topology with this status, and that check names the
/// reason once and changes nothing.
#[track_caller]
fn refused_by_both(herd: &Herd, more: &str, code: i32, reason: &str) {
    herd.write(&format!("{}{more}", herd.text()));
    let before = files(herd.folder());
    let checked = herd.run(&["check"]);
    assert_eq!(files(herd.folder()), before, "{more}: check changes nothing");
    let served = herd.run(&["serve", "Alford"]);
    assert_eq!((checked.code, served.code), (Some(code), Some(code)), "{checked:?} {served:?}");
    assert_eq!(checked.stderr.matches(": error: ").count(), 1, "{more}: {checked:?}");
    assert!(checked.stderr.contains(reason), "{more}: {checked:?}");
    let path = herd.topology();
    assert!(
        checked.stderr.ends_with(&format!("herd: {path} (--topology): 1 fault\n")),
        "{checked:?}"
    );
    assert!(served.stderr.contains(reason) || code != 78, "{more}: {served:?}");
}

#[test]
fn check_finds_what_a_server_refuses_to_start_with() {
    let herd = Herd::new("check-refused", TRIANGLE);
    let file = herd.folder().join("file");
    fs::write(&file, "CANARY\n").expect("the folder is ours");
    symlink("nowhere/at/all", herd.folder().join("link")).expect("the folder is ours");
    let not_a_folder = format!("cannot create a file in {}: Not a directory", file.display());
    for (table, code) in [("log", 73), ("status", 73), ("journal", 74)] {
        let there = format!("[{table}]\nfolder = \"file\"\n");
        let below = format!("[{table}]\nfolder = \"file/a/b\"\n");
        let dangling = format!("[{table}]\nfolder = \"link\"\n");
        let place = |line: usize| format!("topology.toml:{line}:10: error: [{table}] folder: ");
        let last = herd.text().lines().count() + 2;
        refused_by_both(&herd, &there, code, &place(last));
        refused_by_both(&herd, &below, code, &not_a_folder);
        refused_by_both(&herd, &dangling, code, "/link: No such file or directory");
        let _ = fs::remove_dir_all(herd.folder().join("log"));
    }
    for (keys, reason) in [
        ("source = \"file\"\nfile = \"none.json\"\n", "none.json"),
        ("source = \"file\"\nfile = \"file\"\n", "file"),
        (
            "source = \"photon\"\nbase_url = \"https://127.0.0.1:9\"\nca_file = \"file\"\n",
            "/file should hold ",
        ),
    ] {
        refused_by_both(&herd, &format!("[places]\n{keys}"), 78, reason);
    }
    refused_by_both(&herd, "[peer_tls]\n", 78, "/pki");
}

#[test]
fn a_folder_that_keeps_the_servers_out_is_one_fault_for_check_and_for_a_server() {
    let herd = Herd::new("check-folder", TRIANGLE);
    let folder = |name: &str, mode: u32| {
        let path = herd.folder().join(name);
        let _ = fs::create_dir(&path);
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("the folder is ours");
    };
    folder("", 0o777);
    folder("read-only", 0o555);
    folder("locked", 0);
    // The superuser may write everywhere, so a test that runs as the superuser starts the program as another user.
    let other = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let other = if rustix::process::geteuid().is_root() { other } else { "" };
    let run = |args: &str| {
        let args = format!("{args} --topology '{}'", herd.topology());
        Process::shell(&format!("exec {other} '{}' {args}", env!("CARGO_BIN_EXE_herd")))
    };
    if run("config").code != Some(0) {
        skipped::<()>("another user cannot run this program");
        return;
    }
    for (table, folder, code) in [
        ("log", "read-only", 73),
        ("status", "read-only", 73),
        ("status", "locked/a", 73),
        ("journal", "locked/a", 74),
        ("peer_tls", "locked", 78),
    ] {
        herd.write(&format!("{}[{table}]\nfolder = \"{folder}\"\n", herd.text()));
        let (checked, served) = (run("check"), run("serve Alford"));
        assert_eq!((checked.code, served.code), (Some(code), Some(code)), "{checked:?} {served:?}");
        assert_eq!(checked.stderr.matches(": error: ").count(), 1, "{checked:?}");
        let (name, _) = folder.split_once('/').unwrap_or((folder, ""));
        assert!(checked.stderr.contains(&format!("/{name}: Permission denied")), "{checked:?}");
        // A server logs the warnings, which check prints.
        let faults = served.stderr.split_inclusive('\n').filter(|line| !line.contains(" WARN "));
        let is_same = checked.stderr.ends_with(&faults.collect::<String>());
        assert_eq!(is_same, code == 73, "{checked:?} {served:?}");
        for ended in [&checked, &served] {
            assert_eq!(ended.stderr.contains("chown -R herd: "), code == 78, "{ended:?}");
        }
    }
    folder("", 0);
    let checked = run("check");
    assert_eq!(checked.code, Some(78), "{checked:?}");
    assert!(checked.stderr.contains("remedy: let this user read the file"), "{checked:?}");
    folder("", 0o777);
    let logs = Process::shell(&format!("ls '{}'/log", herd.folder().display())).stdout;
    assert_eq!(logs, "", "a start that fails leaves no log");
}

#[test]
fn check_prints_all_faults_and_exits_with_the_status_of_the_first() {
    let herd = Herd::new("check-first", ALONE);
    fs::write(herd.folder().join("file"), "").expect("the folder is ours");
    let status = "[status]\nfolder = \"file\"\n[journal]\nfolder = \"file\"\n";
    for (more, code) in [("", 73), ("[log]\nfolder = \"file\"\n", 73), ("[peer_tls]\n", 78)] {
        herd.write(&format!("{}{status}{more}", herd.text()));
        let (checked, served) = (herd.run(&["check"]), herd.run(&["serve", "Alford"]));
        assert_eq!((checked.code, served.code), (Some(code), Some(code)), "{checked:?} {served:?}");
        let count = if more.is_empty() { 2 } else { 3 };
        assert_eq!(checked.stderr.matches(": error: ").count(), count, "{checked:?}");
    }
}

#[test]
fn a_missing_google_key_is_a_warning_for_check_and_a_fault_for_a_server() {
    let herd = Herd::new("check-key", ALONE);
    let google = "[places]\nsource = \"google\"\nbase_url = \"https://127.0.0.1:9\"\n";
    herd.write(&format!("{}{google}", herd.text()));
    let run = |args: &[&str]| herd.start_in(&[("GOOGLE_MAPS_API_KEY", "")], args).end();
    let checked = run(&["check"]);
    assert!(checked.stdout.ends_with(", no faults, 1 warning\n"), "{checked:?}");
    assert!(checked.stderr.contains(": warning: GOOGLE_MAPS_API_KEY is not set"), "{checked:?}");
    assert_eq!((checked.code, run(&["check", "--strict"]).code), (Some(0), Some(78)));
    assert_eq!(run(&["serve", "Alford"]).code, Some(78));
}

// Help, version, and wrong command lines

#[test]
fn a_port_that_is_none_is_a_wrong_command_line() {
    for address in ["localhost:99999", "[::1]:99999", "127.0.0.1:0", "box.example:", "[::1]"] {
        let ended = Process::run(&["client", address]);
        let said = format!("herd: {address} has no port from 1 to 65535: ");
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.starts_with(&said), "{ended:?}");
    }
}

#[test]
fn the_help_of_serve_names_its_signals_and_its_environment() {
    let help = Process::run(&["serve", "--help"]).stdout;
    for word in ["SIGTERM", "SIGINT", "SIGHUP", "HERD_TOPOLOGY", "RUST_LOG", "GOOGLE_MAPS_API_KEY"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    for word in ["https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn the_version_has_the_commit_that_was_built() {
    let version = Process::run(&["-V"]).stdout;
    let rest = version.strip_prefix(concat!("herd ", env!("CARGO_PKG_VERSION")));
    let rest = rest.and_then(|rest| rest.strip_suffix('\n')).expect("it is a line").to_owned();
    assert!(Process::run(&["--version"]).stdout.starts_with(&version));
    assert_eq!(version, concat!("herd ", env!("HERD_VERSION"), "\n"));
    // A build in the project's repository has one of its commits; there may be a newer one by now. A repository above
    // this folder is another project's.
    let git = |words: &str| {
        Process::shell(&format!("cd '{}' && git {words}", env!("CARGO_MANIFEST_DIR"))).code
    };
    let is_repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.git")).exists();
    if is_repository && option_env!("HERD_COMMIT").is_none_or(str::is_empty) {
        let commit = rest.trim_matches([' ', '(', ')']);
        assert_eq!(
            (commit.len(), git(&format!("cat-file -e {commit}^{{commit}}"))),
            (10, Some(0)),
            "{version}"
        );
    }
}
