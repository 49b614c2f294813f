//! The table `[limits]`: how much a server accepts and keeps, and how long it waits.
//!
//! In: the table. Out: [`Limits`], a field for each of its keys; [`KEYS`](super::KEYS) says what they mean. Knows no
//! user of a limit.
//!
//! Invariant: the limits of a [`Topology`](super::Topology) are each in range, and agree with each
//! other (`check_together`). So the users of a limit need not check it.

use std::time::Duration;

use super::diagnostic::Diagnostics;
use super::toml_section::{Amount, Section};
use crate::wire::command::{CLIENT_ID_BYTES_MAX, LOCATION_BYTES_MAX, NAME_BYTES_MAX};
use crate::wire::sync_message::ROW_LINE_BYTES_MAX;
use herd_reactor::BUFFERED_BYTES_MAX;

// A buffer that is filled up to its mark, and by one reply more, must not be cut for that.
const _: () = assert!(33_554_432 <= BUFFERED_BYTES_MAX / 2);

// Whatever line_bytes and flood_buffer_bytes are, what neighbours compare fits.
const _: () = assert!(ROW_LINE_BYTES_MAX < 1_024 && ROW_LINE_BYTES_MAX < 4_096);

// What a command may hold can be lowered here, never raised: neighbours must take it too.
const _: () = assert!(CLIENT_ID_BYTES_MAX == 4_096 && LOCATION_BYTES_MAX == 64);

macro_rules! limits {
    ($($key:ident => $field:ident: $type:ty,)+) => {
        /// The values of `[limits]`. Times are durations; what may be switched off is an option.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(
                #[doc = concat!("`", stringify!($key), "`: see [`KEYS`](super::KEYS).")]
                pub $field: $type,
            )+
        }

        impl Limits {
            /// Reads `[limits]`; the defaults hold for what it leaves out.
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
    peer_tls_handshakes => peer_tls_handshakes: usize,
    peer_tls_bytes => peer_tls_bytes: usize,
    ping_ms => ping: Duration,
    silence_ms => silence: Duration,
    sync_ms => sync: Duration,
    ack_wait_ms => ack_wait: Duration,
    retry_first_ms => retry_first: Duration,
    retry_max_ms => retry_max: Duration,
    retry_jitter_percent => retry_jitter_percent: u32,
    flood_buffer_bytes => flood_buffer_bytes: usize,
    connect_ms => connect: Duration,
    close_ms => close: Duration,
    drain_ms => drain: Duration,
}

/// A time for which milliseconds would be too fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Amount for Seconds {
    fn of(number: u64) -> Seconds {
        Seconds(number)
    }
}

impl Limits {
    /// Bytes of the longest AT line that can come of an IAMAT, without its end.
    ///
    /// `AT <name> <difference> <client-id> <location> <stamp>`; difference and stamp are 41 bytes
    /// at most where they are ours, 64 leaves room for those of a plain neighbour.
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

    /// Finds limits that are each in range and yet make no sense together, or with those of `places`.
    pub(super) fn check_together(
        &self,
        section: &Section<'_>,
        places: &Section<'_>,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        let mut must = |holds: bool, keys: &[&str], what: String, remedy: &str| {
            // The defaults agree, so one of the keys stands in the file.
            let place = |key: &&str| section.place_of(key).or_else(|| places.place_of(key));
            if let (false, Some(place)) = (holds, keys.iter().find_map(place)) {
                diagnostics.error(place, what, remedy);
            }
        };
        let (ping, silence) = (self.ping.as_millis(), self.silence.as_millis());
        must(
            silence > ping,
            &["silence_ms", "ping_ms"],
            format!("silence_ms {silence} is not longer than ping_ms {ping}"),
            "a neighbour needs time to answer: set silence_ms to three times ping_ms",
        );
        let (first, max) = (self.retry_first.as_millis(), self.retry_max.as_millis());
        must(
            max >= first,
            &["retry_max_ms", "retry_first_ms"],
            format!("retry_max_ms {max} is shorter than retry_first_ms {first}"),
            "pauses grow from retry_first_ms to retry_max_ms: raise retry_max_ms",
        );
        let (line, longest) = (self.line_bytes, self.longest_at_line_bytes());
        must(
            longest < line,
            &["line_bytes", "client_id_bytes", "location_bytes"],
            format!("an AT line may have {longest} bytes, and line_bytes is {line}"),
            "raise line_bytes or lower client_id_bytes: neighbours must accept what clients can cause",
        );
        let echo = self.line_echo_bytes;
        must(
            echo <= line,
            &["line_echo_bytes", "line_bytes"],
            format!("line_echo_bytes {echo} is more than line_bytes {line}"),
            "lower line_echo_bytes: a server keeps at most line_bytes of a line",
        );
        let flood = self.flood_buffer_bytes;
        must(
            line <= flood,
            &["flood_buffer_bytes", "line_bytes"],
            format!("flood_buffer_bytes {flood} does not hold line_bytes {line}"),
            "raise flood_buffer_bytes, best to several times line_bytes",
        );
        let whatsats = self.whatsats_per_connection;
        let all = places.number::<usize>("in_flight") + places.number::<usize>("queue");
        must(
            whatsats <= all,
            &["whatsats_per_connection", "in_flight", "queue"],
            format!(
                "places.in_flight and places.queue have room for {all}, less than one connection may ask, \
                 whatsats_per_connection {whatsats}"
            ),
            "raise queue under [places], or lower whatsats_per_connection under [limits]",
        );
    }
}
