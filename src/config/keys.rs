//! Every key of `topology.toml`, once: its table, type, range, default and meaning.
//!
//! In: nothing. Out: [`KEYS`], in the order of `docs/configuration.md`. It knows neither TOML nor the readers of
//! the keys.
//!
//! The idea: these rows alone define the file. They decide which keys are unknown and which key a misspelt one
//! resembles, the type, range and default of each value, and what a remedy says. A test sets each key and checks that
//! the topology changes, so no row is without effect.
//!
//! A key that was removed or renamed is a row of [`MOVED`]: its remedy names its replacement.

use std::ops::RangeInclusive;

use DefaultValue::{Is, Required, Unset};
use Reload::{Live, OfNeighbours, Restart};
use ValueType::{Address, Choice, Flag, Host, Name, Number, Table, Tables, Text, Texts};

/// A key of the topology file: what its value may be, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The table that contains it, such as `[limits]`, or [`TOP`].
    pub section: &'static str,
    /// The key's name; a number's name ends with its unit.
    pub name: &'static str,
    /// The type of the key's value.
    pub kind: ValueType,
    /// The key's value if the file does not set the key.
    pub default: DefaultValue,
    /// What the key controls, and what happens at a limit.
    pub help: &'static str,
    /// Whether a reload applies a new value to a running server.
    pub reload: Reload,
}

/// What a reload does with a key whose value has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The running server uses the new value.
    Live,
    /// The new value of a neighbour is used; the server's own needs a restart.
    OfNeighbours,
    /// The server keeps the old value until it is restarted.
    Restart,
}

/// The type of a value.
#[derive(Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Any text.
    Text,
    /// The name of a server or a herd.
    Name,
    /// An IP address and a port.
    Address,
    /// An IP address or a host name, and a port.
    Host,
    /// A list of texts, with the name of what they are.
    Texts(&'static str),
    /// True or false.
    Flag,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number, with its unit (empty for a count) and its range.
    Number(&'static str, RangeInclusive<u64>),
    /// A table; its keys have rows of their own.
    Table,
    /// A list of tables; their keys have rows of their own.
    Tables,
}

/// The value of a key that a file does not set. Texts are without their quotes here.
#[derive(Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// This default.
    Is(&'static str),
    /// No default; this is an example.
    Unset(&'static str),
    /// The file is rejected without this key; this is an example.
    Required(&'static str),
}

/// The keys before the first table of a file.
pub const TOP: &str = "the top of the file";

const SERVER: &str = "[[server]]";
const PEER_TLS: &str = "[peer_tls]";
const HTTP: &str = "[http]";
const CLIENT_TLS: &str = "[client_tls]";
const PLACES: &str = "[places]";
const LOG: &str = "[log]";
const JOURNAL: &str = "[journal]";
const BUS: &str = "[bus]";
const STATUS: &str = "[status]";
const LIMITS: &str = "[limits]";

/// All keys, in the order of the shipped `topology.toml`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    Key { reload: Restart, ..key(TOP, "herd", Name, Required("places-herd"),
        "The name that all servers of the herd share. Servers that name another herd are rejected.") },
    key(TOP, "insecure_peers", Flag, Is("false"),
        "Allow peer ports beyond the loopback without [peer_tls]. Set it only if no other machines can reach them."),
    key(TOP, "ack", Choice(&["local", "peer", "bus"]), Is("local"),
        "When to answer an IAMAT. \"local\": when it is stored here; \"peer\": when a neighbour has it, too; \"bus\": when JetStream has it, too. The latter two wait at most ack_wait_ms."),
    key(TOP, "server", Tables, Required(""), "A server of the herd."),
    Key { reload: Restart, ..key(TOP, "peer_tls", Table, Unset(""), "Servers authenticate each other by mutual TLS. Without this table they use plain TCP.") },
    key(TOP, "http", Table, Unset(""), "Who may use the HTTP ports, and how much a request may hold (docs/http.md). A server has an HTTP port if its entry has `http`."),
    Key { reload: Restart, ..key(TOP, "client_tls", Table, Unset(""), "TLS for clients, on the ports `client_tls` and, with tls under [http], on the HTTP ports (docs/client-tls.md).") },
    key(TOP, "places", Table, Unset(""), "Where WHATSAT looks for places."),
    key(TOP, "log", Table, Unset(""), "Where each server writes its log, and which lines."),
    Key { reload: Restart, ..key(TOP, "journal", Table, Unset(""), "Servers keep their reports on disk. Without this table a server forgets them when it ends.") },
    Key { reload: Restart, ..key(TOP, "bus", Table, Unset(""), "A NATS server or cluster with JetStream, through which servers exchange and keep reports, instead of links or beside them (docs/bus.md).") },
    key(TOP, "status", Table, Unset(""), "Where `herd status` reaches the servers: one socket for each."),
    key(TOP, "limits", Table, Unset(""), "How much a server accepts and keeps, and how long it waits."),

    Key { reload: Restart, ..key(SERVER, "name", Name, Required("Alford"), "The server's name, as in its AT lines.") },
    Key { reload: Restart, ..key(SERVER, "client", Host, Required("127.0.0.1:12000"),
        "Where clients find its client port. The server binds this address, unless client_listen names another. Use a port up to 32767: an outgoing connection may occupy a higher one before the server starts.") },
    Key { reload: Restart, ..key(SERVER, "client_listen", Address, Unset("[::]:12000"),
        "The address to bind for the client port, if `client` is a host name or an address of another machine, such as a NAT's. 0.0.0.0 is every IPv4 address of the machine, [::] every address.") },
    Key { reload: OfNeighbours, ..key(SERVER, "peer", Host, Required("127.0.0.1:12100"),
        "Where neighbours find its peer port. They look up a host name at each attempt. The server binds this address, unless peer_listen names another. A plain server may leave it out: it has one port for both.") },
    Key { reload: Restart, ..key(SERVER, "peer_listen", Address, Unset("[::]:12100"),
        "The address to bind for the peer port, like client_listen.") },
    Key { reload: Restart, ..key(SERVER, "http", Address, Unset("127.0.0.1:12200"),
        "The address to bind for HTTP: phone apps, the JSON API, the live page and the metrics. Without it the server has no HTTP port.") },
    Key { reload: Restart, ..key(SERVER, "client_tls", Address, Unset("127.0.0.1:12300"),
        "The address to bind for a second client port, which speaks the same lines over TLS. It needs a table [client_tls].") },
    key(SERVER, "neighbours", Texts("names of servers"), Unset("\"Parker\", \"Welsh\""), "The servers that it is linked to. A link exists if either of the two servers lists the other."),
    Key { reload: OfNeighbours, ..key(SERVER, "plain", Flag, Is("false"), "Whether this server is the Python original, which knows only AT lines that end in CR LF.") },

    key(PEER_TLS, "folder", Text, Is("pki"),
        "The folder of ca.pem, NAME.pem, NAME.key and revoked.crl, relative to this file's folder (docs/peer-tls.md). NAME.key in $CREDENTIALS_DIRECTORY takes the place of the one here."),

    key(HTTP, "tokens", Text, Unset("herd.tokens"),
        "The file of the tokens, relative to this file's folder: who may report and read over HTTP. `herd token new` makes them. A file of this name in $CREDENTIALS_DIRECTORY takes its place. Without it anyone who reaches an HTTP port may use it, unless client certificates are required."),
    Key { reload: Restart, ..key(HTTP, "tls", Flag, Is("false"), "Whether the HTTP ports speak TLS, with the certificate of [client_tls].") },
    key(HTTP, "insecure_http", Flag, Is("false"),
        "Allow HTTP ports beyond the loopback without tokens and without required client certificates. Set it only if a proxy or a firewall decides who reaches them."),
    key(HTTP, "hosts", Texts("host names"), Unset("\"herd.example\""),
        "Host names that a request may have as its Host, besides IP addresses, localhost, the server's NAME and NAME.HERD, the names in its certificate, and the host names in `client` and `peer`. Any other gets 421, against DNS rebinding."),
    key(HTTP, "allow_origins", Texts("origins, or *"), Unset("\"https://map.example\""),
        "Web sites whose pages may use the HTTP ports. \"*\" = every site. The herd's own pages always may."),
    key(HTTP, "followers", Number("", 0..=1_024), Is("64"),
        "Maximum connections that follow /v1/events at once. Further ones get 503."),
    key(HTTP, "head_bytes", Number("bytes", 1_024..=1_048_576), Is("16_384"),
        "Longest head of a request. A longer one gets 431, and the connection is closed."),
    key(HTTP, "body_bytes", Number("bytes", 1_024..=67_108_864), Is("2_097_152"),
        "Longest body of a request. A longer one gets 413, and the connection is closed."),
    key(HTTP, "total_body_bytes", Number("bytes", 65_536..=1_073_741_824), Is("67_108_864"),
        "Memory for all requests that are not complete yet, and for bytes that wait behind an answer. While it is used up, further incomplete requests get 503."),
    key(HTTP, "head_ms", Number("ms", 100..=600_000), Is("10_000"),
        "Time from the first byte of a request to the end of its head. After it the request gets 408, and the connection is closed."),
    key(HTTP, "body_ms", Number("ms", 100..=3_600_000), Is("30_000"),
        "Time for the body of a request. After it the request gets 408, and the connection is closed."),
    key(HTTP, "keep_alive_ms", Number("ms", 100..=3_600_000), Is("75_000"),
        "Time that an HTTP connection may be idle between two requests. After it the connection is closed."),

    key(CLIENT_TLS, "certificate", Text, Is("pki/{name}.pem"),
        "The certificate that clients see, in PEM, with its intermediate certificates, relative to this file's folder. {name} stands for the server's name."),
    key(CLIENT_TLS, "key", Text, Is("pki/{name}.key"),
        "The private key of `certificate`, in PEM (chmod 600). {name} stands for the server's name. A file of this name in $CREDENTIALS_DIRECTORY takes its place."),
    key(CLIENT_TLS, "ca", Text, Is("pki/ca.pem"),
        "The authorities whose client certificates are accepted, in PEM. If a file revoked.crl is in the same folder, the certificates that it lists are rejected. Only read if clients may have certificates."),
    key(CLIENT_TLS, "certificates", Choice(&["none", "optional", "required"]), Is("none"),
        "Whether clients must or may present certificates, which prove their ids (docs/client-tls.md)."),
    key(CLIENT_TLS, "own_id_only", Flag, Is("false"),
        "Accept a report only about the id in the client's certificate. A client without one cannot report, except with a token."),
    key(CLIENT_TLS, "ask", Choice(&["any", "own"]), Is("any"),
        "Which ids clients may ask about: any, or only the one in the client's certificate. A client without one cannot ask, except with a token."),

    key(PLACES, "source", Choice(&["embedded", "file", "google", "google-legacy", "photon"]), Is("embedded"),
        "Where places come from. Nothing else decides it: a key alone never makes the herd ask Google."),
    key(PLACES, "rank", Choice(&["prominence", "distance"]), Is("prominence"),
        "Which places come first: the best known or the nearest. google-legacy supports only \"prominence\", photon only \"distance\"."),
    key(PLACES, "file", Text, Unset("places.json"),
        "For source = \"file\": the file of places, relative to this file's folder. Its extension selects the format: .txt and .tsv for a GeoNames table, .json, .geojson and others for GeoJSON."),
    key(PLACES, "base_url", Text, Unset("https://places.googleapis.com"),
        "The URL of the service. Google's own address by default; photon requires it. http:// may only lead to this machine."),
    key(PLACES, "key_file", Text, Unset("google.key"),
        "The file that holds Google's key and nothing else (chmod 600). A file of this name in $CREDENTIALS_DIRECTORY takes its place. If this is not set, GOOGLE_MAPS_API_KEY in the environment is used."),
    key(PLACES, "mask", Choice(&["basic", "full"]), Is("basic"),
        "The fields to request from google, on which its price depends: \"full\" adds ratings, prices and opening hours."),
    key(PLACES, "language", Text, Unset("en"), "The language of names. If this is not set, the service chooses."),
    key(PLACES, "fallback", Choice(&["none", "embedded"]), Is("none"),
        "What to answer if the service fails: an error, or the embedded places, with a note in info_messages."),
    key(PLACES, "ca_file", Text, Unset("ca.pem"), "The certificates, in PEM, to trust instead of those that browsers trust."),
    key(PLACES, "proxy", Text, Unset("http://127.0.0.1:3128"),
        "The proxy to reach the service through, by CONNECT; its default port is 80. If this is not set, https_proxy or HTTPS_PROXY in the environment is used."),
    key(PLACES, "resolver", Address, Unset("127.0.0.1:53"),
        "The address of the one name server to ask, without a search list. If this is not set, the name servers of resolv_conf are asked."),
    key(PLACES, "resolv_conf", Text, Is("/etc/resolv.conf"), "The file that lists the name servers."),
    key(PLACES, "hosts_file", Text, Is("/etc/hosts"), "The file of names that need no name server."),
    key(PLACES, "deadline_ms", Number("ms", 100..=600_000), Is("8_000"),
        "Time to answer a WHATSAT. After it the client gets an error. All timeouts of a request are shares of this time."),
    key(PLACES, "in_flight", Number("", 1..=1_024), Is("64"), "Maximum concurrent questions to the source. Further ones wait."),
    key(PLACES, "queue", Number("", 0..=65_536), Is("1_024"),
        "Maximum questions that wait for the source. The next one is answered with an error at once."),
    key(PLACES, "body_bytes", Number("bytes", 65_536..=67_108_864), Is("4_194_304"),
        "Longest body of a reply. All replies together may have 16 times as much. Beyond either limit a question fails."),

    key(LOG, "to", Choice(&["file", "stderr", "both"]), Unset("file"),
        "Where the log goes. A log file always has a copy of its warnings and errors on stderr; \"both\" copies every line. If neither this nor folder is set, the log is a file, unless journald reads stderr and LOGS_DIRECTORY is not set (docs/logging.md)."),
    key(LOG, "format", Choice(&["text", "json"]), Is("text"), "The form of the lines: text for people, or a JSON object for programs (docs/logging.md)."),
    key(LOG, "level", Text, Is("info"),
        "The lines to log: off, error, warn, info, debug or trace, or directives such as \"info,herd::traffic=off\", which leaves out the lines of clients and neighbours. RUST_LOG in the environment overrides it."),
    key(LOG, "folder", Text, Unset("log"),
        "The folder of the log files, relative to this file's folder. If this is not set, it is the first folder of LOGS_DIRECTORY in the environment, or \"log\". If it is missing, it is created with mode 0750. The files have mode 0640."),
    key(LOG, "rotate_bytes", Number("bytes", 0..=1_000_000_000_000), Is("100_000_000"),
        "Size at which the server begins a new log file. 0 = never."),
    key(LOG, "rotate_keep", Number("", 0..=100), Is("5"), "Number of older log files of a server to keep, over all its starts."),

    Key { reload: Restart, ..key(JOURNAL, "folder", Text, Is("journal"), "The folder of the journals, relative to this file's folder. It is created if it is missing. Each server has its own folder in it. If this is not set, it is $STATE_DIRECTORY, if the service manager sets that.") },
    key(JOURNAL, "sync", Choice(&["everysec", "always", "no"]), Is("everysec"),
        "The time by which reports are on the disk. \"everysec\": within a second; \"always\": before the client is answered; \"no\": when the operating system decides. A server that is killed loses nothing in any case."),
    key(JOURNAL, "compact_bytes", Number("bytes", 65_536..=1_000_000_000_000), Is("67_108_864"),
        "Never compact a journal that is smaller than this."),
    key(JOURNAL, "compact_factor", Number("", 2..=1_000), Is("2"),
        "Compact a journal that is this many times larger than its newest reports."),
    key(JOURNAL, "compact_keys", Number("", 1..=1_000_000), Is("1_000"),
        "Number of clients that a compaction writes in each turn of the loop."),
    key(JOURNAL, "retry_ms", Number("ms", 10..=3_600_000), Is("5_000"), "Pause before a failed write is tried again."),
    key(JOURNAL, "slow_sync_ms", Number("ms", 1..=3_600_000), Is("100"),
        "Log a sync that takes longer than this: the server serves no client in the meantime."),

    Key { reload: Restart, ..key(BUS, "nats", Texts("URLs"), Required("\"nats://127.0.0.1:4222\""),
        "The servers of the NATS cluster: nats://HOST:PORT, or tls://HOST:PORT to require TLS. One is enough to find the others. The default port is 4222.") },
    Key { reload: Restart, ..key(BUS, "bucket", Text, Unset("places-herd"),
        "The JetStream KV bucket of the reports: 1 to 64 letters, digits, _ and -. It is created if it is missing. If this is not set, it is named after the herd, or \"herd\" if the herd's name has a point. Herds that share a bucket are one herd.") },
    Key { reload: Restart, ..key(BUS, "credentials", Text, Unset("herd.creds"),
        "The file with which to log in: a .creds file, or an nkey's seed alone (chmod 600). A file of this name in $CREDENTIALS_DIRECTORY takes its place. If this is not set, a user and password or a token may be in the URLs.") },
    Key { reload: Restart, ..key(BUS, "ca_file", Text, Unset("ca.pem"),
        "The certificates, in PEM, to trust instead of those that browsers trust. With it every connection to NATS must use TLS.") },
    Key { reload: Restart, ..key(BUS, "insecure_nats", Flag, Is("false"),
        "Allow nats:// beyond the loopback without TLS. Set it only if no other machines can read or reach that network.") },
    Key { reload: Restart, ..key(BUS, "replicas", Number("", 1..=5), Is("1"),
        "Number of servers of the NATS cluster that keep each report, if the bucket has to be created. Use 3 in a cluster of three.") },
    Key { reload: Restart, ..key(BUS, "storage", Choice(&["file", "memory"]), Is("file"),
        "Where JetStream keeps the bucket, if it has to be created.") },

    Key { reload: Restart, ..key(STATUS, "folder", Text, Is("run"),
        "The folder of the status sockets, relative to this file's folder. It is created with mode 0750 if it is missing. The path of a socket, NAME.sock in this folder, may have at most 107 bytes. \"\" = no status sockets. If this is not set, it is $RUNTIME_DIRECTORY, if the service manager sets that.") },

    key(LIMITS, "line_bytes", Number("bytes", 1_024..=1_048_576), Is("16_384"),
        "Longest line, without its end. The start of a longer one is echoed, and the connection is closed."),
    key(LIMITS, "line_echo_bytes", Number("bytes", 0..=65_536), Is("1_024"), "How much of a line that is too long is echoed."),
    key(LIMITS, "linger_bytes", Number("bytes", 0..=1_073_741_824), Is("1_048_576"),
        "How much to read, and discard, from a peer that still sends while its connection is being closed."),
    key(LIMITS, "linger_ms", Number("ms", 0..=60_000), Is("2_000"),
        "How long to read, and discard, from a peer whose connection is being closed, so that the last reply reaches it."),
    key(LIMITS, "client_id_bytes", Number("bytes", 1..=4_096), Is("4_096"), "Longest client ID. A command with a longer one is invalid."),
    key(LIMITS, "location_bytes", Number("bytes", 16..=64), Is("64"), "Longest location. A command with a longer one is invalid."),
    key(LIMITS, "connections", Number("", 0..=1_000_000), Is("0"),
        "Maximum client connections. Further ones are closed at once. 0 = as many as the descriptors allow."),
    key(LIMITS, "connections_per_address", Number("", 0..=1_000_000), Is("0"),
        "Maximum client connections from one address. Further ones are closed at once. The addresses of an IPv6 network (/64) count as one; many clients may share the address of a NAT. 0 = no limit."),
    key(LIMITS, "idle_client_ms", Number("ms", 0..=604_800_000), Is("0"),
        "Time that a client may stay connected without a command. After it the connection is closed. 0 = no limit."),
    key(LIMITS, "slow_reader_ms", Number("ms", 0..=3_600_000), Is("60_000"),
        "Time that a client may read nothing while replies wait for it. After it the connection is aborted. 0 = no limit."),
    key(LIMITS, "commands_per_second", Number("", 0..=1_000_000), Is("0"),
        "Commands that are read from one connection in a second, after as many at once. The others wait, and none is rejected. 0 = no limit."),
    key(LIMITS, "unfinished_line_ms", Number("ms", 100..=3_600_000), Is("30_000"),
        "Time from the first byte of a line to its end. After it the connection is closed."),
    key(LIMITS, "send_buffer_bytes", Number("bytes", 4_096..=33_554_432), Is("65_536"),
        "While this much waits to be sent to a connection, the server reads nothing from it."),
    key(LIMITS, "whatsats_per_connection", Number("", 1..=1_024), Is("16"),
        "While a connection has this many unanswered WHATSATs, the server reads nothing from it."),
    key(LIMITS, "known_clients", Number("", 1..=100_000_000), Is("1_000_000"),
        "Maximum clients in the table. Beyond it, the client port rejects reports of new ones."),
    key(LIMITS, "known_bytes", Number("bytes", 1_048_576..=8_000_000_000), Is("536_870_912"),
        "Memory for reports. When it is used up, the client port rejects reports of new clients."),
    key(LIMITS, "max_future_ms", Number("ms", 0..=31_536_000_000), Is("86_400_000"),
        "An IAMAT stamped further ahead of the server's clock than this is invalid. 0 = accept any stamp."),
    key(LIMITS, "expire_after_s", Number("s", 0..=3_155_760_000), Is("0"),
        "Forget reports that are older than this. Must be equal on all servers. 0 = never."),
    key(LIMITS, "ahead_max_s", Number("s", 0..=3_155_760_000), Is("0"),
        "Reject reports stamped further in the future, from clients and neighbours. Must be equal on all servers. 0 = accept all."),
    key(LIMITS, "hello_ms", Number("ms", 100..=600_000), Is("5_000"),
        "Time for a neighbour to say HELLO. After it the connection is closed."),
    key(LIMITS, "peer_tls_ms", Number("ms", 100..=600_000), Is("5_000"),
        "Time for a TLS handshake between servers. After it the connection is closed."),
    key(LIMITS, "peer_tls_handshakes", Number("", 0..=2_048), Is("0"),
        "Maximum TLS handshakes at once at the peer port. The next one closes the oldest. 0 = 64 or the number of neighbours, whichever is larger."),
    key(LIMITS, "peer_tls_bytes", Number("bytes", 4_096..=65_536), Is("16_384"),
        "Bytes that a server may send before it has proved its name. After them the connection is closed."),
    key(LIMITS, "client_tls_ms", Number("ms", 100..=600_000), Is("10_000"),
        "Time for a TLS handshake with a client. After it the connection is closed."),
    key(LIMITS, "client_tls_handshakes", Number("", 1..=65_536), Is("1_024"),
        "Maximum TLS handshakes with clients at once. The next one closes the oldest."),
    key(LIMITS, "client_tls_bytes", Number("bytes", 4_096..=65_536), Is("16_384"),
        "Bytes that a client may send before its handshake is done. After them the connection is closed."),
    key(LIMITS, "ping_ms", Number("ms", 100..=600_000), Is("5_000"), "Time between two PINGs to a neighbour."),
    key(LIMITS, "silence_ms", Number("ms", 200..=3_600_000), Is("15_000"),
        "Time that a neighbour may be silent. After it the connection is closed."),
    key(LIMITS, "link_user_timeout_ms", Number("ms", 0..=3_600_000), Is("15_000"),
        "Time that data sent to a neighbour may stay unacknowledged by its machine (TCP_USER_TIMEOUT). After it the connection is lost. 0 = as long as the kernel tries, some 15 minutes."),
    key(LIMITS, "sync_ms", Number("ms", 100..=86_400_000), Is("60_000"),
        "Time between two comparisons of the tables of linked neighbours."),
    key(LIMITS, "ack_wait_ms", Number("ms", 1..=60_000), Is("250"),
        "With ack = \"peer\" or \"bus\": time that the reply to an IAMAT waits for a neighbour or for JetStream."),
    key(LIMITS, "bus_window", Number("", 1..=8_192), Is("1_024"),
        "Maximum reports that are sent to the bus and not yet acknowledged. The others wait, and of each client only the newest."),
    key(LIMITS, "bus_repair_ms", Number("ms", 100..=600_000), Is("1_000"),
        "Time that the server which took a report has to write it to the bus. After it other servers with [bus] write it, if the bucket still lacks it."),
    key(LIMITS, "retry_first_ms", Number("ms", 10..=60_000), Is("200"),
        "First pause before a neighbour is dialled again. Each further pause is twice as long."),
    key(LIMITS, "retry_max_ms", Number("ms", 10..=3_600_000), Is("5_000"), "Longest pause before a neighbour is dialled again."),
    key(LIMITS, "retry_jitter_percent", Number("percent", 0..=100), Is("20"),
        "Each pause before a neighbour is dialled again is shortened at random, by at most this much."),
    key(LIMITS, "flood_buffer_bytes", Number("bytes", 4_096..=33_554_432), Is("262_144"),
        "While this much waits to be sent to a neighbour, only each client's newest report is kept for it."),
    key(LIMITS, "connect_ms", Number("ms", 100..=600_000), Is("30_000"), "Time to connect to a neighbour. After it the attempt has failed."),
    key(LIMITS, "close_ms", Number("ms", 100..=3_600_000), Is("30_000"),
        "Time for a connection that is being closed to send the rest. After it the connection is aborted."),
    key(LIMITS, "drain_ms", Number("ms", 0..=600_000), Is("4_000"), "Time that connections are still served after SIGTERM."),
    key(LIMITS, "lame_duck_ms", Number("ms", 0..=3_600_000), Is("30_000"),
        "Time over which clients are ended, one after the other, after SIGUSR2. After it the server ends as at SIGTERM."),
];

const PHASE: &str = "remove it: this timeout now follows from places.deadline_ms";

/// Keys of earlier versions, with the remedy for each.
#[rustfmt::skip]
pub(super) const MOVED: &[(&str, &str)] = &[
    ("whatsats_in_flight", "it is now places.in_flight: write in_flight under [places]"),
    ("whatsat_queue", "it is now places.queue: write queue under [places]"),
    ("whatsat_deadline_ms", "it is now places.deadline_ms: write deadline_ms under [places]"),
    ("http_body_bytes", "it is now places.body_bytes: write body_bytes under [places]"),
    ("http_total_body_bytes", "remove it: the limit is now 16 times places.body_bytes"),
    ("http_head_bytes", "remove it: the limit for the head of a reply is now always 16_384 bytes"),
    ("handshakes", "remove it: the limit is now always 4 handshakes with the service at once"),
    ("dns_ms", PHASE),
    ("tcp_ms", PHASE),
    ("tls_ms", PHASE),
    ("first_byte_ms", PHASE),
    ("between_bytes_ms", PHASE),
    ("idle_ms", "remove it: an unused connection to the service is now always kept for 90 s"),
];

const fn key(
    section: &'static str,
    name: &'static str,
    kind: ValueType,
    default: DefaultValue,
    help: &'static str,
) -> Key {
    Key { section, name, kind, default, help, reload: Live }
}

/// The keys of the table `section`, in order.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

impl Key {
    /// Returns the key's default as text, or its example if it has no default.
    pub(super) fn example(&self) -> &'static str {
        let (Is(text) | Unset(text) | Required(text)) = self.default;
        text
    }

    /// Returns the default of a key whose value is a number; 0 for any other key.
    pub(super) fn default_number(&self) -> u64 {
        self.example().replace('_', "").parse().unwrap_or_default()
    }
}

/// `range` as text, with the digits grouped as TOML allows: `0 to 1_048_576`.
pub fn range_in_words(range: &RangeInclusive<u64>) -> String {
    format!("{} to {}", grouped(*range.start()), grouped(*range.end()))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_key_stands_twice_in_its_table() {
        let mut seen = BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert((key.section, key.name)), "{} in {}", key.name, key.section);
        }
    }

    #[test]
    fn every_default_parses_and_is_within_its_range() {
        for key in KEYS {
            let text = key.example();
            match &key.kind {
                Number(_, range) => {
                    assert_eq!(grouped(key.default_number()), text, "{}", key.name);
                    assert!(range.contains(&key.default_number()), "{}", key.name);
                    assert!(matches!(key.default, Is(_)), "{}", key.name);
                }
                Choice(words) => assert!(words.contains(&text), "{}", key.name),
                Flag => assert_eq!(text, "false", "{}", key.name),
                Table | Tables => assert!(KEYS.iter().any(|row| {
                    row.section.trim_matches(['[', ']']) == key.name && key.section == TOP
                })),
                Text | Name | Address | Host | Texts(_) => {
                    assert!(!text.is_empty(), "{}", key.name)
                }
            }
            assert!(key.help.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn the_unit_of_a_number_stands_last_in_its_key() {
        for key in KEYS {
            let Number(unit, _) = &key.kind else { continue };
            let units = ["_bytes", "_ms", "_s", "_percent"];
            let stands = units.iter().find(|unit| key.name.ends_with(**unit));
            assert_eq!(stands.map_or("", |unit| &unit[1..]), *unit, "{}", key.name);
        }
    }

    #[test]
    fn what_needs_a_restart_is_what_others_rely_on_or_what_is_open() {
        let fixed: Vec<_> = KEYS.iter().filter(|key| key.reload != Live).collect();
        let fixed = fixed.iter().map(|key| format!("{}.{}", key.section, key.name));
        assert_eq!(
            fixed.collect::<Vec<_>>(),
            [
                "the top of the file.herd",
                "the top of the file.peer_tls",
                "the top of the file.client_tls",
                "the top of the file.journal",
                "the top of the file.bus",
                "[[server]].name",
                "[[server]].client",
                "[[server]].client_listen",
                "[[server]].peer",
                "[[server]].peer_listen",
                "[[server]].http",
                "[[server]].client_tls",
                "[[server]].plain",
                "[http].tls",
                "[journal].folder",
                "[bus].nats",
                "[bus].bucket",
                "[bus].credentials",
                "[bus].ca_file",
                "[bus].insecure_nats",
                "[bus].replicas",
                "[bus].storage",
                "[status].folder",
            ]
        );
    }

    #[test]
    fn no_key_of_today_is_one_that_has_moved() {
        for (name, remedy) in MOVED {
            assert!(KEYS.iter().all(|key| key.name != *name), "{name}");
            let named = remedy.split_once("places.").map(|(_, rest)| rest);
            if let Some(new) = named.and_then(|rest| rest.split([' ', ':']).next()) {
                assert!(keys_of(PLACES).any(|key| key.name == new), "{remedy}");
            }
        }
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        let texts = [0, 12, 123, 1_234, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "123", "1_234", "123_456", "1_234_567"]);
    }
}
