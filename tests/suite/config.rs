//! Topology files, valid and invalid: `tests/fixtures/topology/*.toml`, each with the expected diagnostics.
//!
//! A `.txt` file contains the errors, or the warnings of a valid file. `UPDATE_EXPECTED=1 cargo test --test suite
//! config::` rewrites them; then read the difference.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use places_herd::config::{
    Acknowledge, DefaultValue, KEYS, Key, PlacesSettings, PlacesSource, Reload, Supposed, TOP,
    Topology, TopologyErrors, Upstream, UpstreamKind, ValueType, diff, page as page_of_keys,
};
use places_herd::journal::{JournalSettings, Sync};
use places_herd::log::secret::Secret;
use places_herd::nats::Storage;
use places_herd::places::{Mask, PlacesFile, Rank, Scheme};
use places_herd::server::metrics::{METRICS, NEIGHBOUR_METRICS};
use proptest::prelude::*;

fn topology_at(path: &Path) -> Result<Topology, TopologyErrors> {
    Topology::read_supposing(path, Supposed::default())
}

fn shipped() -> Topology {
    topology_at(Path::new("topology.toml")).expect("the shipped topology is good")
}

fn said_about(path: &Path) -> String {
    match topology_at(path) {
        Ok(topology) => {
            topology.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn every_fault_is_told_with_its_place_and_a_remedy() {
    let mut files: Vec<PathBuf> = fs::read_dir("tests/fixtures/topology")
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() > 10);
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    for file in files {
        let (said, expected) = (said_about(&file), file.with_extension("txt"));
        if update {
            fs::write(&expected, &said).expect("the folder can be written");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert!(said == expected, "{}: said\n{said}\nexpected\n{expected}", file.display());
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{}", file.display());
    }
}

#[test]
fn a_herd_has_1024_servers_at_most() {
    let chain = |count: usize| {
        let servers = (0..count).map(|number| {
            let (high, low) = (number / 256, number % 256);
            format!(
                "[[server]]\nname = 's{number}'\nclient = '127.1.{high}.{low}:12000'\n\
                 peer = '127.1.{high}.{low}:12100'\nneighbours = ['s{}']\n",
                if number == 0 { 1 } else { number - 1 }
            )
        });
        format!("herd = 't'\n{}", servers.collect::<String>())
    };
    let herd = Topology::parse(&chain(1_024), Path::new("t.toml")).expect("there is no error");
    assert_eq!(herd.servers.len(), 1_024);
    // Each inner server of a chain cuts the others in two. Not all 1,022 warnings are listed, nor all names.
    let warnings: Vec<String> = herd.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 201);
    assert!(warnings.iter().all(|warning| warning.len() < 1_000), "{}", warnings[100]);
    let many = Topology::parse(&chain(1_025), Path::new("t.toml")).expect_err("it is one too many");
    let what = "t.toml:5122:1: error: too many servers: a herd has at most 1024\n";
    assert!(many.to_string().starts_with(what), "{many}");
}

#[test]
fn a_topology_that_is_no_text_in_utf_8_is_one_fault_which_says_what_it_is() {
    let folder = std::env::temp_dir().join(format!("herd-encoded-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("it can be made");
    let utf_16: Vec<u8> = "herd = \"x\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, what) in [(utf_16, "iconv -f UTF-16LE"), (b"\x1f\x8b\x08\0".to_vec(), "gunzip")] {
        let path = folder.join("t.toml");
        fs::write(&path, bytes).expect("it can be written");
        let said = topology_at(&path).expect_err("it is not text").to_string();
        assert!(said.contains(what) && said.matches("error").count() == 1, "{said}");
    }
    fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn the_shipped_topology_is_the_herd_of_five_and_doubtful_only_about_parker() {
    let topology = shipped();
    let edges = [
        ("Alford", ["Parker", "Welsh"].as_slice()),
        ("Bolden", &["Parker", "Welsh"]),
        ("Hamilton", &["Parker"]),
        ("Parker", &["Alford", "Bolden", "Hamilton"]),
        ("Welsh", &["Alford", "Bolden"]),
    ];
    assert_eq!(topology.servers.len(), edges.len());
    for (server, (name, neighbours)) in topology.servers.iter().zip(edges) {
        assert_eq!((server.name.as_str(), server.plain), (name, false));
        assert_eq!(server.neighbours, neighbours);
        let found: Vec<&str> =
            topology.neighbours_of(name).iter().map(|server| server.name.as_str()).collect();
        assert_eq!(found, neighbours);
    }
    let warnings: Vec<String> =
        topology.warnings().iter().map(|warning| warning.in_one_line()).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .contains("when \"Parker\" stops, \"Hamilton\" cannot get reports from \"Alford\""),
        "{warnings:?}"
    );
}

#[test]
fn the_shipped_topology_has_every_default_and_what_it_has_in_comments_can_be_used() {
    let text = fs::read_to_string("topology.toml").expect("it is there");
    assert!(text.lines().count() <= 66, "a newcomer reads all of it");
    let shipped = shipped();
    let bare = "herd = \"places-herd\"\n[[server]]\nname = \"A\"\nclient = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n";
    let bare = Topology::parse(bare, Path::new("topology.toml")).expect("five lines are enough");
    assert_eq!(shipped.limits, bare.limits);
    let places = PlacesSettings { here: shipped.places.here.clone(), ..bare.places };
    assert_eq!(places, shipped.places);
    assert_eq!((shipped.log, shipped.journal), (bare.log, bare.journal));
    assert_eq!((shipped.status_folder, shipped.peer_tls), (bare.status_folder, bare.peer_tls));

    let is_meant = |line: &&str| setting(line).is_some() || line.starts_with('[');
    let uncommented =
        text.lines().map(|line| line.strip_prefix("# ").filter(is_meant).unwrap_or(line));
    let uncommented: Vec<&str> = uncommented.collect();
    let path = folder_for_examples().join("topology.toml");
    let all = Topology::parse(&uncommented.join("\n"), &path).expect("all of it is valid");
    assert!(all.journal.is_some() && all.peer_tls.is_some());
    assert!(matches!(all.places.source, PlacesSource::File(_)));
}

#[test]
fn docs_configuration_md_is_what_herd_config_writes() {
    let page = fs::read_to_string("docs/configuration.md").expect("it is there");
    assert!(page == page_of_keys(), "run `cargo run -- config > docs/configuration.md`");
    for key in KEYS {
        let is_table = matches!(key.kind, ValueType::Table | ValueType::Tables);
        assert!(is_table || page.contains(&format!("\n| `{}` | ", key.name)), "{}", key.name);
    }
}

/// Values of other limits, with which a limit may have the least or the greatest value of its range.
const ROOM: &[&str] = &[
    "ping_ms = 100\n",
    "silence_ms = 3_600_000\n",
    "retry_first_ms = 10\n",
    "retry_max_ms = 3_600_000\n",
    "client_id_bytes = 1\n",
    "location_bytes = 16\n",
    "line_echo_bytes = 0\n",
    "line_bytes = 1_048_576\n",
    "flood_buffer_bytes = 33_554_432\n",
];

/// What every table `[bus]` requires.
const NATS: &str = "nats = [\"nats://127.0.0.1:4222\"]\n";

/// Reads a topology in which `key` has `value`, or is absent, with the other settings that it requires.
fn read_with(key: &Key, value: Option<&str>) -> Result<Topology, String> {
    let line = value.map_or("#\n".to_owned(), |value| format!("{} = {value}\n", key.name));
    let (mut top, mut server, mut table) = (String::new(), String::new(), String::new());
    match key.section {
        TOP => top = line.clone(),
        "[[server]]" => server = line.clone(),
        section => table = format!("{section}\n{line}"),
    }
    let is_named = |text: &str, name: &str| text.starts_with(&format!("{name} = "));
    if !is_named(&top, "herd") {
        top += "herd = \"t\"\n";
    }
    // Only a peer port beyond the loopback requires [peer_tls] or insecure_peers.
    let peer = if key.name == "insecure_peers" { "10.0.0.1:12100" } else { "127.0.0.1:12100" };
    for (name, text) in [("name", "Alford"), ("client", "127.0.0.1:12000"), ("peer", peer)] {
        if !is_named(&server, name) {
            server += &format!("{name} = \"{text}\"\n");
        }
    }
    table += match (key.section, key.name) {
        ("[places]", "file") => "source = \"file\"\n",
        ("[places]", "source") if value.is_none_or(|value| value == "\"embedded\"") => "",
        ("[places]", "source") => "file = \"places.json\"\nbase_url = \"http://127.0.0.1:2322\"\n",
        ("[places]", "rank") => "",
        ("[places]", _) => "source = \"google\"\n",
        ("[client_tls]", "own_id_only" | "ask") => "certificates = \"optional\"\n",
        ("[http]", "total_body_bytes") => "body_bytes = 1_024\n",
        _ => "",
    };
    if key.section == "[bus]" && key.name != "nats" {
        table += NATS;
    }
    if key.name == "ack" {
        table += &format!("[bus]\n{NATS}");
    }
    if key.section == "[http]" || key.name == "client_tls" {
        table += "[client_tls]\n";
    }
    if key.section == "[limits]" {
        let others = ROOM.iter().filter(|line| !is_named(line, key.name));
        // line_bytes must not exceed flood_buffer_bytes.
        let is_large =
            |line: &&&str| key.name != "flood_buffer_bytes" || !is_named(line, "line_bytes");
        table.extend(others.filter(is_large).copied());
        if key.name == "flood_buffer_bytes" {
            table += "line_bytes = 1_024\n";
        }
    }
    let text = format!(
        "{top}[[server]]\n{server}[[server]]\nname = \"Parker\"\nclient = \"127.0.0.1:13000\"\n\
         peer = \"127.0.0.1:13100\"\n{table}"
    );
    let path = folder_for_examples().join("topology.toml");
    Topology::parse(&text, &path).map_err(|errors| errors.to_string())
}

/// Prints the topology, without the positions that are kept for messages.
fn shown(mut read: Result<Topology, String>) -> String {
    if let Ok(topology) = &mut read {
        topology.places.here.clear();
        topology.folder_keys.clear();
        topology.settings.clear();
        topology.sha256.clear();
    }
    let mut text = format!("{read:?}");
    while let Some((before, rest)) = text.split_once(", here: Diagnostic") {
        let (_, after) = rest.split_once("remedy: \"\" }").expect("its last member");
        text = format!("{before}{after}");
    }
    text
}

/// Possible values of `key`, as TOML; each has a different meaning.
fn values_of(key: &Key) -> Vec<String> {
    match &key.kind {
        ValueType::Number(_, range) => {
            let (start, end) = (*range.start(), *range.end());
            // A value that does not fit its field would be clamped to that of its neighbour.
            [start, start + 1, end - 1, end].map(|number| number.to_string()).to_vec()
        }
        ValueType::Choice(words) => words.iter().map(|word| format!("\"{word}\"")).collect(),
        ValueType::Flag => vec!["false".to_owned(), "true".to_owned()],
        ValueType::Texts(_) if key.name == "allow_origins" => {
            vec!["[]".to_owned(), "[\"*\"]".to_owned(), "[\"http://a.b:1\"]".to_owned()]
        }
        ValueType::Texts(_) if key.name == "nats" => {
            let urls = ["nats://127.0.0.1", "nats://u:p@127.0.0.1:4223", "tls://nats.example"];
            urls.map(|url| format!("[\"{url}\"]")).to_vec()
        }
        ValueType::Texts(_) => vec!["[]".to_owned(), "[\"Parker\"]".to_owned()],
        ValueType::Name => vec!["\"Alford\"".to_owned(), "\"Bolden\"".to_owned()],
        ValueType::Address | ValueType::Host => {
            vec!["\"127.0.0.1:99\"".to_owned(), "\"127.0.0.1:98\"".to_owned()]
        }
        ValueType::Text => {
            let texts = match key.name {
                "base_url" | "proxy" => ["http://127.0.0.1:1", "http://127.0.0.1:2"],
                "language" => ["en", "pt-BR"],
                "level" => ["warn", "info,herd::traffic=off"],
                "file" => ["places.json", "./places.json"],
                "key_file" | "ca_file" | "resolv_conf" | "hosts_file" => ["google.key", "ca.pem"],
                _ => ["here", "there"],
            };
            texts.map(|text| format!("\"{text}\"")).to_vec()
        }
        ValueType::Table | ValueType::Tables => Vec::new(),
    }
}

#[test]
fn every_key_is_read_and_each_of_its_values_makes_another_topology() {
    for key in KEYS {
        let mut seen: Vec<String> = Vec::new();
        for value in values_of(key) {
            let read = read_with(key, Some(&value));
            assert!(read.is_ok() || key.name == "insecure_peers", "{} {value}: {read:?}", key.name);
            let read = shown(read);
            assert!(
                !seen.contains(&read),
                "{} in {}: {value} changes nothing",
                key.name,
                key.section
            );
            seen.push(read);
        }
    }
}

#[test]
fn a_reload_tells_what_became_of_every_key_and_of_nothing_else() {
    let mut told = 0;
    for key in KEYS {
        let views = values_of(key).into_iter().filter_map(|value| {
            let topology = read_with(key, Some(&value)).ok()?;
            topology.view_of("Alford")
        });
        // Other sources require other keys.
        let views: Vec<_> = views.filter(|_| key.name != "source").collect();
        for (at, old) in views.iter().enumerate() {
            assert_eq!(diff(old, &old.clone()), [], "{}", key.name);
            for new in views.iter().skip(at + 1) {
                let changes = diff(old, new);
                let [change] = changes.as_slice() else { panic!("{}: {changes:?}", key.name) };
                let name = if key.name == "neighbours" { "Parker" } else { key.name };
                assert!(change.name.ends_with(name), "{}: {change:?}", key.name);
                assert_eq!(change.is_live, key.reload == Reload::Live, "{change:?}");
                // What is live is adopted, and then nothing differs any more.
                let mut adopted = old.clone();
                adopted.adopt(&changes);
                assert_eq!(diff(&adopted, new).is_empty(), change.is_live, "{change:?}");
                told += 1;
            }
        }
    }
    assert!(told > 150, "{told}");
}

#[test]
fn what_changes_is_told_in_words() {
    let read = |text: &str| Topology::parse(text, Path::new("t.toml")).expect("it is good");
    let view = |text: &str| read(text).view_of("A").expect("it is there");
    let server = |name: &str, port: u16, more: &str| {
        let [client, peer] = [port, port + 100].map(|port| format!("127.0.0.1:{port}"));
        format!("[[server]]\nname = \"{name}\"\nclient = \"{client}\"\npeer = \"{peer}\"\n{more}\n")
    };
    let a = |neighbours: &str| server("A", 1_000, &format!("neighbours = [{neighbours}]"));
    let [b, c] = [server("B", 1_001, ""), server("C", 1_002, "")];
    let old = format!("herd = \"h\"\n{}{b}{c}", a("\"B\", \"C\""));
    for (new, words) in [
        (format!("{old}[limits]\nconnections = 9"), "limits.connections 0 -> 9"),
        (
            format!("{old}[places]\nlanguage = \"en\"\nsource = \"embedded\""),
            "places.language added: en",
        ),
        (old.replace("\"h\"", "\"x\""), "herd h -> x"),
        (format!("{old}[journal]\nsync = \"no\""), "journal off -> on"),
        (format!("{old}[bus]\n{NATS}"), "bus off -> on"),
        (old.replace(":1002", ":1003"), ""),
        (old.replace(":1102", ":1103"), "neighbour C 127.0.0.1:1102 -> 127.0.0.1:1103"),
        (old.replace("\"B\", \"C\"", "\"B\""), "neighbour C removed"),
        (old.replace(":1000", ":1009"), "server.A.client 127.0.0.1:1000 -> 127.0.0.1:1009"),
        // Where others find A concerns only them, as long as it binds the same address.
        (
            old.replace(
                "\"127.0.0.1:1000\"",
                "\"a.example:1000\"\nclient_listen = \"127.0.0.1:1000\"",
            ),
            "",
        ),
        (
            old.replace("\"127.0.0.1:1000\"", "\"a.example:1000\"\nclient_listen = \"[::]:1000\""),
            "server.A.client_listen 127.0.0.1:1000 -> [::]:1000",
        ),
        (
            old.replace(&c, &server("C", 1_002, "plain = true")),
            "neighbour C 127.0.0.1:1102 -> 127.0.0.1:1102, plain",
        ),
        (
            old.replace("name = \"C\"", "name = \"D\"").replace("\"C\"", "\"D\""),
            "neighbour C removed, neighbour D added: 127.0.0.1:1102",
        ),
    ] {
        let changes = diff(&view(&old), &view(&new));
        let told = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        assert_eq!(told, words);
    }
    assert_eq!(read(&old).view_of("Z"), None);
    // No password is told, but that it has changed.
    let bus = |url: &str| view(&format!("{old}[bus]\nnats = [\"{url}\"]\n"));
    let [one, two] = ["CANARY", "KITE"].map(|word| bus(&format!("nats://u:{word}@127.0.0.1")));
    let told = |old, new| diff(old, new).iter().map(ToString::to_string).collect::<String>();
    assert_eq!(told(&one, &two), "bus.nats nats://127.0.0.1:4222: a login has changed");
    let other = bus("nats://127.0.0.1:4223");
    assert_eq!(told(&one, &other), "bus.nats nats://127.0.0.1:4222 -> nats://127.0.0.1:4223");
    // A table that is switched off in the file stays as it is until a restart.
    let (on, off) = (view(&format!("{old}[journal]\nsync = \"no\"\n")), view(&old));
    let mut in_force = on.clone();
    in_force.adopt(&diff(&in_force, &off));
    assert_eq!(diff(&in_force, &on), []);
}

#[test]
fn a_default_that_is_written_changes_nothing() {
    for key in KEYS {
        let DefaultValue::Is(default) = key.default else { continue };
        let is_bare = matches!(key.kind, ValueType::Number(..) | ValueType::Flag);
        let value = if is_bare { default.to_owned() } else { format!("\"{default}\"") };
        let [written, left_out] =
            [Some(&*value), None].map(|value| read_with(key, value).map_err(|_| String::new()));
        assert_eq!(shown(written), shown(left_out), "{} in {}", key.name, key.section);
    }
}

/// An example in a page: the table it belongs to (empty for the top) and `key = value`.
type Example = (String, String);

/// The setting in a line, if it is `key = value`, commented out or not, with or without a trailing remark.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches('#').trim();
    let (key, value) = line.split_once(" = ")?;
    let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let value = value.split("   ").next().unwrap_or_default();
    is_key.then_some((key, value.trim_end()))
}

/// The table of a key as an example has it.
fn table_of(key: &Key) -> String {
    if key.section == TOP { String::new() } else { key.section.to_owned() }
}

/// The default or the example of each key that is not of a server.
fn examples_of_keys() -> impl Iterator<Item = Example> {
    let keys = KEYS.iter().filter(|key| key.section != "[[server]]");
    keys.filter_map(|key| {
        let (DefaultValue::Is(text) | DefaultValue::Unset(text) | DefaultValue::Required(text)) =
            key.default;
        let value = match &key.kind {
            ValueType::Number(..) | ValueType::Flag => text.to_owned(),
            ValueType::Table | ValueType::Tables => return None,
            ValueType::Texts(_) => format!("[{text}]"),
            _ => format!("\"{text}\""),
        };
        Some((table_of(key), format!("{} = {value}", key.name)))
    })
}

/// The pages of the documentation.
fn pages() -> impl Iterator<Item = PathBuf> {
    let docs = fs::read_dir("docs").expect("the folder is there");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let pages = docs.chain([Path::new("README.md").into()]);
    pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
}

/// Every `key = value` in a page's text, with the table that contains the key in the shipped file; and every
/// separate piece of TOML.
fn examples_of_pages() -> Vec<(PathBuf, Example)> {
    let mut examples = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("it can be read");
        for quoted in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let Some((key, value)) = setting(quoted) else { continue };
            let row = KEYS.iter().find(|row| row.name == key);
            let row = row.unwrap_or_else(|| panic!("{}: {quoted}", page.display()));
            examples.push((page.clone(), (table_of(row), format!("{key} = {value}"))));
        }
        let fenced = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let indented = text.split("\n\n").filter(|block| {
            let table = block.strip_prefix("    [").and_then(|rest| rest.split('\n').next());
            table.is_some_and(|line| line.ends_with(']'))
        });
        for block in fenced.chain(indented) {
            examples.push((page.clone(), (String::new(), format!("{block}\n"))));
        }
    }
    examples
}

/// Reads a topology in `folder` with this example in its table, and the other settings that it requires.
fn read_example(folder: &Path, (table, example): &Example) -> Result<Topology, String> {
    let source = match example.split(' ').next() {
        _ if table != "[places]" => "",
        Some("source" | "rank") => "",
        Some("file") => "source = \"file\"\n",
        _ => "source = \"google\"\n",
    };
    let server =
        "[[server]]\nname = \"Alford\"\nclient = \"127.0.0.1:12000\"\npeer = \"127.0.0.1:12100\"\n";
    let text = match table.as_str() {
        "" if example.contains("[[server]]") => example.clone(),
        "" if example.starts_with("herd = ") => format!("{example}\n{server}"),
        "" if example.starts_with('[') => format!("herd = \"t\"\n{server}{example}"),
        "" if example.contains("ack = \"bus\"") => {
            format!("herd = \"t\"\n{example}\n{server}[bus]\n{NATS}\n")
        }
        "[bus]" if !example.starts_with("nats = ") => {
            format!("herd = \"t\"\n{server}{table}\n{NATS}\n{example}\n")
        }
        "" => format!("herd = \"t\"\n{example}\n{server}"),
        "[[server]]" if example.starts_with("client_tls = ") => {
            format!("herd = \"t\"\n{server}{example}\n[client_tls]\n")
        }
        "[client_tls]" => {
            let presents = "certificates = \"optional\"\n";
            let presents = if example.starts_with("certificates") { "" } else { presents };
            format!("herd = \"t\"\n{server}{table}\n{presents}{example}\n")
        }
        "[http]" => format!("herd = \"t\"\n{server}[client_tls]\n{table}\n{example}\n"),
        "[[server]]" => format!("herd = \"t\"\n{server}{example}\n"),
        table => format!("herd = \"t\"\n{server}{table}\n{source}{example}\n"),
    };
    Topology::parse(&text, &folder.join("topology.toml")).map_err(|faults| faults.to_string())
}

/// A folder with the files that the examples name.
fn folder_for_examples() -> PathBuf {
    // The files are created once, because a file is empty for a moment while it is written.
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
        fs::create_dir_all(&folder).expect("the folder can be made");
        let place = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"name":"A"}}"#;
        for (name, text) in [("places.json", place), ("google.key", "key"), ("ca.pem", "")] {
            fs::write(folder.join(name), text).expect("the folder can be written");
        }
        folder
    });
    FOLDER.clone()
}

#[test]
fn every_key_that_a_page_names_is_a_key() {
    // A word that ends with a unit is a key or a member of the status.
    let metrics = METRICS.iter().flat_map(|metric| [metric.status, metric.name]);
    let links = NEIGHBOUR_METRICS.iter().map(|metric| metric.status);
    let others: Vec<_> = metrics.chain(links).chain(["sum_s"]).collect();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("it can be read");
        for word in text.split('`').skip(1).step_by(2) {
            // A line of the log names a limit by its key.
            let word = word.strip_prefix("limit: ").unwrap_or(word);
            let (table, name) = match word.split_once('.') {
                Some((table, name)) => (format!("[{table}]"), name),
                None => (String::new(), word),
            };
            let is_word = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let has_unit =
                ["_ms", "_s", "_bytes", "_percent"].iter().any(|unit| name.ends_with(unit));
            let known = KEYS
                .iter()
                .any(|key| key.name == name && (table.is_empty() || table == key.section));
            let is_meant = is_word && has_unit && !others.contains(&word);
            assert!(known || !is_meant, "{}: `{word}` is not a key", page.display());
        }
    }
}

#[test]
fn every_example_value_can_be_used_where_it_stands() {
    let folder = folder_for_examples();
    let keys = examples_of_keys().map(|example| ("src/config/keys.rs".into(), example));
    let examples: Vec<_> = keys.chain(examples_of_pages()).collect();
    assert!(examples.len() > 90, "{}", examples.len());
    for key in ["file = ", "ca_file = ", "proxy = ", "folder = \"pki\"", "ack = ", "plain = "] {
        assert!(examples.iter().any(|(_, (_, set))| set.starts_with(key)), "{key}");
    }
    for (page, example) in examples {
        let read = read_example(&folder, &example);
        let topology = read.unwrap_or_else(|faults| panic!("{}: {faults}", page.display()));
        if let PlacesSource::File(path) = &topology.places.source {
            let file = PlacesFile::read(path, topology.places.rank).expect("a server can use it");
            assert_eq!(file.count(), 1);
        }
    }
}

#[test]
fn what_a_remedy_proposes_is_taken() {
    let folder = folder_for_examples();
    for source in ["file", "photon"] {
        let table = "[places]".to_owned();
        let faults = read_example(
            &folder,
            &(table.clone(), format!("rank = \"distance\"\nsource = \"{source}\"")),
        );
        let faults = faults.expect_err("something is not said");
        let (_, remedy) = faults.trim_end().rsplit_once("remedy: add ").expect("a remedy");
        let mended = format!("rank = \"distance\"\nsource = \"{source}\"\n{remedy}");
        read_example(&folder, &(table, mended)).unwrap_or_else(|faults| panic!("{faults}"));
    }
}

#[test]
fn an_edge_counts_whichever_side_lists_it() {
    let topology = topology_at(Path::new("tests/fixtures/topology/one_sided.toml"))
        .expect("it is only doubtful");
    for (name, neighbours) in [
        ("Alford", vec!["Bolden", "Parker"]),
        ("Bolden", vec!["Alford"]),
        ("Parker", vec!["Alford"]),
    ] {
        assert_eq!(topology.server(name).expect("a server").neighbours, neighbours);
    }
    assert!(topology.server("alford").is_none() && topology.neighbours_of("alford").is_empty());
}

#[test]
fn a_server_binds_what_it_is_found_at_unless_the_file_says_otherwise() {
    let topology = topology_at(Path::new("tests/fixtures/topology/addresses.toml"));
    let topology = topology.expect("it is good");
    let found = |name: &str| {
        let server = topology.server(name).expect("a server");
        let [client, peer] = [&server.client, &server.peer].map(ToString::to_string);
        [client, server.client_listen.to_string(), peer, server.peer_listen.to_string()]
    };
    assert_eq!(
        found("Alford"),
        ["alford.example.com:12000", "[::]:12000", "alford:12100", "0.0.0.0:12100"]
    );
    assert_eq!(
        found("Clark"),
        [
            "[2001:db8::3]:12000",
            "[2001:db8::3]:12000",
            "tunnel.example.com:12100",
            "127.0.0.1:12100"
        ]
    );
}

#[test]
fn paths_are_relative_to_the_file() {
    let topology =
        topology_at(Path::new("tests/fixtures/topology/everything.toml")).expect("it is good");
    assert_eq!(
        topology.places.source,
        PlacesSource::File("tests/fixtures/topology/places.json".into())
    );
    assert_eq!(topology.log.folder, Path::new("tests/fixtures/topology/../log"));
    let plain = topology.server("Original").expect("a server");
    assert!(plain.plain && plain.peer == plain.client);
}

#[test]
fn a_journal_is_kept_if_the_file_says_so() {
    let settings = |name: &str| {
        let path = Path::new("tests/fixtures/topology").join(name);
        topology_at(&path).expect("it is good").journal
    };
    assert_eq!(settings("alone.toml"), None);
    let expected = JournalSettings {
        folder: "tests/fixtures/topology/../kept".into(),
        sync: Sync::Always,
        compact_bytes: 65_536,
        compact_factor: 3,
        compact_keys: 10,
        retry: Duration::from_millis(100),
        slow_sync: Duration::from_millis(50),
    };
    assert_eq!(settings("journal.toml"), Some(expected));
}

/// A server, and the start of a table `[bus]` with what it requires.
const WITH_BUS: &str = "[[server]]\nname = \"A\"\nclient = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n\
                        [bus]\nnats = [\"nats://127.0.0.1:4222\"]\n";

#[test]
fn all_that_is_said_of_a_bus_is_read() {
    let path = Path::new("tests/fixtures/topology/bus.toml");
    let topology = topology_at(path).expect("it is only doubtful");
    let limits = &topology.limits;
    assert_eq!((limits.bus_window, limits.bus_repair), (64, Duration::from_millis(500)));
    assert_eq!(topology.ack, Acknowledge::Bus);
    let bus = topology.bus.expect("it has one");
    assert_eq!((bus.bucket.name(), bus.replicas, bus.storage), ("herd", 3, Storage::Memory));
    assert!(bus.insecure_nats && bus.login.is_none() && bus.ca_file.is_none());
    let named = bus.credentials.expect("it is named");
    assert_eq!(named.path, Path::new("tests/fixtures/topology/herd.creds"));
    let urls: Vec<_> = bus.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls[2..4], ["nats://[::1]:4224", "tls://nats.example:4222"]);
}

#[test]
fn a_bucket_is_named_after_the_herd_if_it_can_be() {
    for (herd, more, bucket) in
        [("north", "", "north"), ("a.b", "", "herd"), ("a.b", "bucket = \"c\"", "c")]
    {
        let text = format!("herd = \"{herd}\"\n{WITH_BUS}{more}");
        let topology = Topology::parse(&text, Path::new("t.toml")).expect("it is good");
        assert_eq!(topology.bus.expect("it has one").bucket.name(), bucket);
    }
}

#[test]
fn a_bus_that_is_supposed_takes_the_place_of_all_edges_but_not_of_a_bus() {
    let supposed = Supposed { bus: "127.0.0.1:4333".parse().ok(), ..Supposed::default() };
    let read = |text: &str| Topology::parse_supposing(text, Path::new("t.toml"), supposed);
    let topology = read(include_str!("../../topology.toml")).expect("the shipped one has no bus");
    assert_eq!(topology.warnings(), []);
    assert!(topology.servers.iter().all(|server| server.neighbours.is_empty()));
    let bus = topology.bus.expect("it was supposed");
    assert_eq!(bus.urls[0].to_string(), "nats://127.0.0.1:4333");
    assert_eq!(bus.bucket.name(), "places-herd");
    let faults = read(&format!("herd = \"h\"\n{WITH_BUS}")).expect_err("it has a bus already");
    let faults = faults.to_string();
    assert!(faults.starts_with("t.toml:6:1: error: --bus starts a nats-server"), "{faults}");
}

#[test]
fn the_files_of_a_bus_are_read_when_a_server_needs_them() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let authority = rcgen::generate_simple_self_signed(["nats.example".to_owned()]);
    let pem = authority.expect("a certificate").cert.pem();
    // The seed of a key pair that nobody uses.
    let seed = "SUAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB6IC5CQ";
    for (name, text) in [("seed", seed), ("canary", "CANARY"), ("ca.pem", &pem)] {
        fs::write(folder.join(name), text).expect("the folder can be written");
    }
    let read = |more: &str| {
        let text = format!("herd = \"h\"\n{WITH_BUS}{more}");
        let topology = Topology::parse(&text, &folder.join("t.toml")).expect("it opens no file");
        let (mut bus, mut said) = (topology.bus.expect("it has one"), String::new());
        match bus.read_files(|warning| said += &warning.to_string()) {
            Ok(()) => (Some(bus), said),
            Err(faults) => (None, faults.iter().map(ToString::to_string).collect()),
        }
    };
    for mode in [0o644, 0o600] {
        let open = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.join("seed"), open).expect("it is ours");
        let (bus, said) = read("credentials = \"seed\"\nca_file = \"ca.pem\"");
        let bus = bus.expect("both are good");
        assert!(bus.login.is_some() && bus.authorities.len() == 1);
        assert_eq!(said.contains("t.toml:8:15: warning: "), mode == 0o644, "{said}");
        assert_eq!(said.contains("seed"), mode == 0o644, "{said}");
    }
    let (bus, said) = read("credentials = \"canary\"\nca_file = \"seed\"");
    assert!(bus.is_none() && !said.contains("CANARY") && !said.contains(seed), "{said}");
    assert!(said.contains("t.toml:8:15: error: cannot read the credentials: "), "{said}");
    assert!(said.contains("t.toml:9:11: error: cannot read the certificates to trust: "), "{said}");
    let (_, said) = read("credentials = \"no-such-file\"");
    assert!(said.contains("no-such-file: No such file or directory"), "{said}");
    let text = format!("herd = \"h\"\n{WITH_BUS}credentials = \"{seed}\"\n");
    let faults =
        Topology::parse(&text, Path::new("t.toml")).expect_err("it is no file").to_string();
    assert!(faults.contains("t.toml:8:15: error: credentials is an nkey's seed"), "{faults}");
    assert!(!faults.contains(seed), "{faults}");
}

/// The service in a file of `tests/fixtures/topology`, and its rank.
fn upstream(name: &str) -> (Upstream, Rank) {
    let path = Path::new("tests/fixtures/topology").join(name).with_extension("toml");
    let places = topology_at(&path).expect("it is good").places;
    match places.source {
        PlacesSource::Network(upstream) => (*upstream, places.rank),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_may_have_its_scope_by_the_name_of_an_interface() {
    let read = |client: &str| {
        let text = format!(
            "herd = \"h\"\ninsecure_peers = true\n[[server]]\nname = \"S\"\nclient = \"{client}\"\n\
             peer = \"[fe80::53%lo]:24001\"\n[places]\nsource = \"photon\"\nbase_url = \"http://[::1]\"\nresolver = \"[fe80::53%lo]:53\"\n"
        );
        Topology::parse(&text, Path::new("topology.toml")).map_err(|faults| faults.to_string())
    };
    let topology = read("[fe80::53%lo]:24000").expect("every Linux has this interface");
    let server = &topology.servers[0];
    for address in [server.client_listen, server.peer_listen] {
        assert!(matches!(address, SocketAddr::V6(ip) if ip.scope_id() > 0), "{address}");
    }
    let faults = read("[fe80::53%no-such-if]:24000").expect_err("there is none");
    assert!(
        faults.contains("names a network interface that this machine does not have"),
        "{faults}"
    );
    assert!(read("[fe80::53%7]:24000").is_ok(), "a number is not looked up");
}

#[test]
fn all_that_is_said_of_a_service_is_read() {
    let (google, rank) = upstream("places_google");
    assert_eq!((google.kind, rank), (UpstreamKind::Google(Mask::Full), Rank::Distance));
    let base = &google.base;
    assert_eq!(
        (base.scheme, base.host.as_str(), base.port),
        (Scheme::Https, "proxy.example", 8443)
    );
    assert_eq!(base.path, "/google");
    let file = |name| Some(Path::new("tests/fixtures/topology").join(name));
    assert_eq!((&google.key_file, &google.ca_file), (&file("google.key"), &file("ca.pem")));
    assert_eq!(Some(&google.resolv_conf), file("resolv.conf").as_ref());
    assert_eq!(Some(&google.hosts_file), file("hosts").as_ref());
    assert_eq!((google.language.as_deref(), google.falls_back), (Some("pt-BR"), true));
    assert_eq!(google.proxy.as_ref().map(|proxy| proxy.host.as_str()), Some("proxy.example"));
    assert_eq!(google.resolver, "[::1]:5353".parse().ok());
}

#[test]
fn a_service_is_asked_as_itself_and_google_not_without_a_key() {
    let (photon, nearest_first) = upstream("places_photon");
    assert!(!photon.needs_key() && !photon.falls_back && nearest_first == Rank::Distance);
    assert_eq!(photon.resolv_conf, Path::new("/etc/resolv.conf"));
    let source = photon.open(nearest_first, None).expect("it needs no key");
    assert_eq!(source.name(), "photon");
    let (google, rank) = upstream("places_google");
    assert!(google.needs_key() && google.open(rank, None).is_none());
    let legacy = Upstream { kind: UpstreamKind::GoogleLegacy, ..google.clone() };
    for (upstream, name) in [(google, "google"), (legacy, "google-legacy")] {
        let source = upstream.open(rank, Secret::new("key").ok()).expect("here is a key");
        assert_eq!(source.name(), name);
    }
}

#[test]
fn each_service_has_its_own_address() {
    for (name, host) in
        [("google", "places.googleapis.com"), ("google-legacy", "maps.googleapis.com")]
    {
        let text = include_str!("../fixtures/topology/alone.toml");
        let text = format!("{text}\n[places]\nsource = \"{name}\"\n");
        let topology = Topology::parse(&text, Path::new("t.toml")).expect("it is good");
        let PlacesSource::Network(upstream) = topology.places.source else { panic!("{name}") };
        assert_eq!((upstream.base.host.as_str(), upstream.base.port), (host, 443));
    }
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    assert!(!said_about(Path::new("tests/fixtures/topology/places_key.toml")).contains("CANARY"));
    assert!(
        !said_about(Path::new("tests/fixtures/topology/places_in_the_clear.toml"))
            .contains("secret")
    );
    let key_file = "key_file = \"CANARYCANARYCANARYCANARYCANARYCANARY\"";
    for places in [
        "proxy = \"http://u:CANARY@h\"",
        "base_url = \"https://u:CANARY@h\"",
        "base_url = \"https://h/?key=CANARY\"",
        key_file,
        "source = \"google\"\nproxy = [\"http://u:CANARY@h\"]",
        "[bus]\nnats = [\"nats://u:CANARY@h\", 5]",
        "[bus]\nnats = \"nats://CANARY@127.0.0.1\"",
        "[bus]\nnats = [\"u:CANARY@10.0.0.1\", 5]",
        "[bus]\nnats = [\"nats://h/CANARY\"]",
        "source = \"google\"\nproxi = \"http://u:CANARY@h\"",
        "source = \"google\"\nproxy = \"http://u:CANARY@h",
        "source = \"google\"\nproxy = \"http://h\"\nproxy = \"http://u:CANARY@h\"",
    ] {
        let text = format!("herd = \"x\"\n[places]\n{places}\n");
        let faults = Topology::parse(&text, Path::new("t.toml")).expect_err(places).to_string();
        assert!(!faults.contains("CANARY"), "{faults}");
    }
}

#[test]
fn what_cannot_be_read_is_a_fault_and_not_a_panic() {
    for (path, what) in [
        ("tests/no-such-file", "cannot read the topology: "),
        ("tests/fixtures/topology", "cannot read the topology: "),
        ("/dev/null", "cannot read the topology: it is not a regular file"),
        ("/dev/zero", "cannot read the topology: it is not a regular file"),
    ] {
        let faults = topology_at(Path::new(path)).expect_err("this is not a topology").to_string();
        assert!(faults.starts_with(&format!("{path}: error: {what}")), "{faults}");
    }
    let long = Path::new(env!("CARGO_TARGET_TMPDIR")).join("long.toml");
    let file = fs::File::create(&long).expect("the folder can be written");
    file.set_len((80 << 20) + 1).expect("a hole takes no room");
    let faults = topology_at(&long).expect_err("this is not a topology").to_string();
    assert!(
        faults.contains("cannot read the topology: it has more than 83886080 bytes"),
        "{faults}"
    );
    let latin1 = Path::new(env!("CARGO_TARGET_TMPDIR")).join("latin1.toml");
    fs::write(&latin1, b"herd = \"a\"\n# caf\xe9\n").expect("the folder can be written");
    let faults = topology_at(&latin1).expect_err("this is not UTF-8").to_string();
    assert!(
        faults.contains("latin1.toml:2:6: error: the topology is not valid UTF-8 here"),
        "{faults}"
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = Topology::parse(&text, Path::new("t.toml")).map_err(|faults| faults.to_string());
    }

    #[test]
    fn no_row_of_toml_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        let _ = Topology::parse(&words.concat(), Path::new("t.toml")).map_err(|faults| faults.to_string());
    }

    #[test]
    fn no_change_to_the_shipped_file_makes_it_panic(
        changes in prop::collection::vec((0.0..1.0_f64, 0.0..0.02_f64, prop::sample::select(WORDS)), 1..8),
    ) {
        let mut text: Vec<char> = include_str!("../../topology.toml").chars().collect();
        for (at, length, word) in changes {
            let start = (at * text.len() as f64) as usize;
            let end = (start + (length * text.len() as f64) as usize).min(text.len());
            text.splice(start..end, word.chars());
        }
        let text: String = text.into_iter().collect();
        match Topology::parse(&text, Path::new("topology.toml")) {
            Ok(topology) => prop_assert!(!topology.servers.is_empty() && !topology.herd.is_empty()),
            Err(faults) => {
                prop_assert!(faults.iter().count() > 0);
                prop_assert!(!faults.to_string().chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }
}

const WORDS: &[&str] = &[
    "",
    "\n",
    "\r\n",
    " ",
    ".",
    ",",
    "=",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "[[server]]\n",
    "[server]\n",
    "[limits]\n",
    "[places]\n",
    "[log]\n",
    "[journal]\n",
    "sync = \"always\"\n",
    "herd",
    "name",
    "client",
    "peer",
    "neighbours",
    "plain",
    "server",
    "limits",
    "a",
    "Parker",
    "\"Parker\"",
    "127.0.0.1:12000",
    "\"127.0.0.1:12000\"",
    "true",
    "0",
    "-1",
    "1e9",
    "0x_",
    "_",
    "99999999999999999999999",
    "1979-05-27",
    "inf",
    "\u{0}",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{feff}",
    "é",
    "line_bytes",
    "source = \"google\"\n",
    "source = \"photon\"\n",
    "base_url = \"http://[::1]/\"\n",
    "base_url",
    "proxy",
    "key_file",
];
