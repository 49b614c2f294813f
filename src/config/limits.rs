//! The table `[limits]`: how much a server accepts and keeps, and how long it waits.
//!
//! In: the table. Out: [`Limits`], with a field for each key; [`KEYS`](super::KEYS) documents them. It does not know
//! where the limits are used.
//!
//! Invariant: each limit of a [`Topology`](super::Topology) is in range, and the limits are consistent
//! (`check_together`). Code that uses a limit need not check it.

use std::time::Duration;

use super::diagnostic::Diagnostics;
use super::toml_section::{Amount, Section};
use crate::wire::command::{CLIENT_ID_BYTES_MAX, LOCATION_BYTES_MAX, NAME_BYTES_MAX};
use crate::wire::sync_message::ROW_LINE_BYTES_MAX;
use herd_reactor::BUFFERED_BYTES_MAX;

// A send buffer that is filled up to its limit, and then gets one more reply, must stay below the reactor's own limit.
const _: () = assert!(33_554_432 <= BUFFERED_BYTES_MAX / 2);

// A line of an anti-entropy comparison fits the smallest line_bytes and the smallest flood_buffer_bytes.
const _: () = assert!(ROW_LINE_BYTES_MAX < 1_024 && ROW_LINE_BYTES_MAX < 4_096);

// The limits of a command can be lowered here, but not raised: neighbours must accept the command, too.
const _: () = assert!(CLIENT_ID_BYTES_MAX == 4_096 && LOCATION_BYTES_MAX == 64);

macro_rules! limits {
    ($($key:ident => $field:ident: $type:ty,)+) => {
        /// The values of `[limits]`. Times are durations; a limit that can be switched off is an option.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(
                #[doc = concat!("`", stringify!($key), "`: see [`KEYS`](super::KEYS).")]
                pub $field: $type,
            )+
        }

        impl Limits {
            /// Reads `[limits]`; a key that the file does not set has its default.
            pub(super) fn read(section: &Section<'_>) -> Limits {
                Limits { $($field: section.number(stringify!($key)),)+ }
            }
        }
    };
}

limits! {
    line_bytes => line_bytes: usize,
    line_echo_bytes => line_echo_bytes: usize,
    linger_bytes => linger_bytes: usize,
    linger_ms => linger: Duration,
    client_id_bytes => client_id_bytes: usize,
    location_bytes => location_bytes: usize,
    connections => connections: Option<usize>,
    connections_per_address => connections_per_address: Option<usize>,
    idle_client_ms => idle_client: Option<Duration>,
    slow_reader_ms => slow_reader: Option<Duration>,
    commands_per_second => commands_per_second: Option<u32>,
    unfinished_line_ms => unfinished_line: Duration,
    send_buffer_bytes => send_buffer_bytes: usize,
    whatsats_per_connection => whatsats_per_connection: usize,
    known_clients => known_clients: usize,
    known_bytes => known_bytes: usize,
    max_future_ms => max_future: Option<Duration>,
    expire_after_s => expire_after: Option<Seconds>,
    ahead_max_s => ahead_max: Option<Seconds>,
    hello_ms => hello: Duration,
    peer_tls_ms => peer_tls: Duration,
    peer_tls_handshakes => peer_tls_handshakes: Option<usize>,
    peer_tls_bytes => peer_tls_bytes: usize,
    client_tls_ms => client_tls: Duration,
    client_tls_handshakes => client_tls_handshakes: usize,
    client_tls_bytes => client_tls_bytes: usize,
    ping_ms => ping: Duration,
    silence_ms => silence: Duration,
    link_user_timeout_ms => link_user_timeout: Option<Duration>,
    sync_ms => sync: Duration,
    ack_wait_ms => ack_wait: Duration,
    bus_window => bus_window: usize,
    bus_repair_ms => bus_repair: Duration,
    retry_first_ms => retry_first: Duration,
    retry_max_ms => retry_max: Duration,
    retry_jitter_percent => retry_jitter_percent: u32,
    flood_buffer_bytes => flood_buffer_bytes: usize,
    connect_ms => connect: Duration,
    close_ms => close: Duration,
    drain_ms => drain: Duration,
    lame_duck_ms => lame_duck: Duration,
}

/// A time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Amount for Seconds {
    fn of(number: u64) -> Seconds {
        Seconds(number)
    }
}

impl Limits {
    /// Longest AT line in bytes that an IAMAT can cause, without its line end.
    ///
    /// The line is `AT <name> <difference> <client-id> <location> <stamp>`. Difference and stamp have at most 41
    /// bytes in lines of our own; 64 leaves room for those of a plain neighbour.
    pub fn longest_at_line_bytes(&self) -> usize {
        const DIFFERENCE_AND_STAMP_BYTES: usize = 64;
        const SPACES: usize = 5;
        "AT".len()
            + NAME_BYTES_MAX
            + DIFFERENCE_AND_STAMP_BYTES
            + self.client_id_bytes
            + self.location_bytes
            + SPACES
    }

    /// Records an error for each limit that contradicts another limit, or a setting of `places`.
    pub(super) fn check_together(
        &self,
        section: &Section<'_>,
        places: &Section<'_>,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        let mut must = |holds: bool, keys: &[&str], what: String, remedy: &str| {
            // The defaults are consistent, so at least one of the keys is in the file.
            let place = |key: &&str| section.place_of(key).or_else(|| places.place_of(key));
            if let (false, Some(place)) = (holds, keys.iter().find_map(place)) {
                diagnostics.error(place, what, remedy);
            }
        };
        let (ping, silence) = (self.ping.as_millis(), self.silence.as_millis());
        must(
            silence > ping,
            &["silence_ms", "ping_ms"],
            format!("silence_ms ({silence}) must be longer than ping_ms ({ping})"),
            "set silence_ms to three times ping_ms: a neighbour needs time to answer a PING",
        );
        let (first, max) = (self.retry_first.as_millis(), self.retry_max.as_millis());
        must(
            max >= first,
            &["retry_max_ms", "retry_first_ms"],
            format!("retry_max_ms ({max}) must be at least retry_first_ms ({first})"),
            "raise retry_max_ms: pauses grow from retry_first_ms to retry_max_ms",
        );
        let (line, longest) = (self.line_bytes, self.longest_at_line_bytes());
        must(
            longest < line,
            &["line_bytes", "client_id_bytes", "location_bytes"],
            format!("line_bytes ({line}) must exceed the longest AT line ({longest} bytes)"),
            "raise line_bytes or lower client_id_bytes: neighbours must accept every line that a client can cause",
        );
        let echo = self.line_echo_bytes;
        must(
            echo <= line,
            &["line_echo_bytes", "line_bytes"],
            format!("line_echo_bytes ({echo}) must be at most line_bytes ({line})"),
            "lower line_echo_bytes: a server keeps at most line_bytes of a line",
        );
        let flood = self.flood_buffer_bytes;
        must(
            line <= flood,
            &["flood_buffer_bytes", "line_bytes"],
            format!("flood_buffer_bytes ({flood}) must be at least line_bytes ({line})"),
            "raise flood_buffer_bytes, preferably to several times line_bytes",
        );
        let whatsats = self.whatsats_per_connection;
        let all = places.number::<usize>("in_flight") + places.number::<usize>("queue");
        must(
            whatsats <= all,
            &["whatsats_per_connection", "in_flight", "queue"],
            format!(
                "whatsats_per_connection ({whatsats}) must be at most places.in_flight and places.queue \
                                 together ({all})"
            ),
            "raise queue under [places], or lower whatsats_per_connection under [limits]",
        );
    }
}
