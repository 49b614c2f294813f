//! Every limit of a server: its key, its default, its range and its meaning, once.
//!
//! In: the table `[limits]` of a topology file. Out: [`Limits`], a field for each key. Knows no
//! user of a limit.
//!
//! The idea: the rows below are the only place where a limit is described. The struct, its
//! defaults, the reading of the file, the range in a fault's remedy and what `herd check` prints
//! are all made of them; a test holds the shipped `topology.toml` against them.
//!
//! Invariant: the limits of a [`Topology`](super::Topology) are each in range, and agree with each
//! other (`check_together`). So whoever uses one need not ask.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::Diagnostics;
use super::toml_section::Section;
use crate::wire::command::{CLIENT_ID_BYTES_MAX, LOCATION_BYTES_MAX, NAME_BYTES_MAX};
use crate::wire::sync_message::ROW_LINE_BYTES_MAX;
use herd_reactor::BUFFERED_BYTES_MAX;

/// What is known of a limit besides its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name in `[limits]`; the unit stands last.
    pub key: &'static str,
    /// Its value if the file says nothing.
    pub default: u64,
    /// What the file may say.
    pub range: RangeInclusive<u64>,
    /// What it limits, and what happens then.
    pub meaning: &'static str,
}

// A buffer that is filled up to its mark, and by one reply more, must not be cut for that.
const _: () = assert!(33_554_432 <= BUFFERED_BYTES_MAX / 2);

// Whatever line_bytes and flood_buffer_bytes are, what neighbours compare fits.
const _: () = assert!(ROW_LINE_BYTES_MAX < 1_024 && ROW_LINE_BYTES_MAX < 4_096);

// What a command may hold can be lowered here, never raised: neighbours must take it too.
const _: () = assert!(CLIENT_ID_BYTES_MAX == 4_096 && LOCATION_BYTES_MAX == 64);

macro_rules! limits {
    ($($meaning:literal $key:ident => $field:ident: $type:ty = $default:literal, $range:expr;)+) => {
        /// How much a server takes, keeps and waits for. Times are durations; what may be switched
        /// off is an option.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $meaning] pub $field: $type,)+
        }

        impl Limits {
            /// The keys, in the order of [`Limits::ALL`].
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// All that is known of the limits, in the order of the shipped `topology.toml`.
            pub const ALL: &'static [Limit] = &[$(Limit {
                key: stringify!($key),
                default: $default,
                range: $range,
                meaning: $meaning,
            }),+];

            /// The values in force as the file would have them, in the order of [`Limits::ALL`].
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field.number()),+]
            }

            fn set(&mut self, key: &str, number: u64) {
                match key {
                    $(stringify!($key) => self.$field = Amount::of(number),)+
                    _ => {}
                }
            }
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($field: Amount::of($default),)+ }
            }
        }
    };
}

limits! {
    "Longest line, delimiter not counted; a longer one is echoed in part, then the connection closed."
    line_bytes => line_bytes: usize = 16_384, 1_024..=1_048_576;
    "How much of a too long line is echoed."
    line_echo_bytes => line_echo_bytes: usize = 1_024, 0..=65_536;
    "How much is still read, and dropped, of a peer that speaks on while its connection is closed."
    linger_bytes => linger_bytes: usize = 1_048_576, 0..=1_073_741_824;
    "How long it is still read, and dropped, so that the last words for it arrive."
    linger_ms => linger: Duration = 2_000, 0..=60_000;
    "Longest client ID; with a longer one a command is invalid."
    client_id_bytes => client_id_bytes: usize = 4_096, 1..=4_096;
    "Longest location; with a longer one a command is invalid."
    location_bytes => location_bytes: usize = 64, 16..=64;
    "Clients connected at once; further ones are closed at once. 0 = as many as there are descriptors."
    connections => connections: Option<usize> = 0, 0..=1_000_000;
    "How long a line may take from its first byte to its end; then the connection is closed."
    unfinished_line_ms => unfinished_line: Duration = 30_000, 100..=3_600_000;
    "While so much waits to be sent on a connection, nothing is read from it."
    send_buffer_bytes => send_buffer_bytes: usize = 65_536, 4_096..=33_554_432;
    "While so many WHATSATs of a connection are unanswered, nothing is read from it."
    whatsats_per_connection => whatsats_per_connection: usize = 16, 1..=1_024;
    "Questions put to Places at once."
    whatsats_in_flight => whatsats_in_flight: usize = 64, 1..=1_024;
    "Questions that wait for their turn at Places; the next is answered with an error at once."
    whatsat_queue => whatsat_queue: usize = 1_024, 0..=65_536;
    "How long Places may take to answer; then the client gets an error in its place."
    whatsat_deadline_ms => whatsat_deadline: Duration = 8_000, 100..=600_000;
    "Longest head of a reply of Places; with a longer one the question failed."
    http_head_bytes => http_head_bytes: usize = 16_384, 1_024..=1_048_576;
    "Longest body of a reply of Places; with a longer one the question failed."
    http_body_bytes => http_body_bytes: usize = 4_194_304, 65_536..=67_108_864;
    "How much of the bodies of all replies is kept at once; beyond it a question fails."
    http_total_body_bytes => http_total_body_bytes: usize = 67_108_864, 65_536..=4_294_967_296;
    "TLS handshakes at once; further connections to Places wait for their turn."
    handshakes => handshakes: usize = 4, 1..=1_024;
    "How long it may take to look up the host of Places."
    dns_ms => dns: Duration = 2_000, 10..=600_000;
    "How long one address of Places may take to accept a connection."
    tcp_ms => tcp: Duration = 1_500, 10..=600_000;
    "How long a TLS handshake with Places may take."
    tls_ms => tls: Duration = 2_000, 10..=600_000;
    "How long Places may take from the question to the first byte of the reply."
    first_byte_ms => first_byte: Duration = 4_000, 10..=600_000;
    "How long Places may pause within a reply."
    between_bytes_ms => between_bytes: Duration = 2_000, 10..=600_000;
    "How long an unused connection to Places is kept; 0 = none is kept."
    idle_ms => idle: Duration = 90_000, 0..=3_600_000;
    "Clients whose place is kept; at the client port a new one is invalid when there are so many."
    known_clients => known_clients: usize = 1_000_000, 1..=100_000_000;
    "Memory for their places; at the client port a new client is invalid when it is used up."
    known_bytes => known_bytes: usize = 536_870_912, 1_048_576..=8_000_000_000;
    "An IAMAT stamped further ahead of the server's clock is invalid; 0 = accept any stamp."
    max_future_ms => max_future: Option<Duration> = 86_400_000, 0..=31_536_000_000;
    "A client's place is forgotten at this age; let it be the same at all servers. 0 = never."
    expire_after_s => expire_after: Option<Seconds> = 0, 0..=3_155_760_000;
    "A place stamped further ahead is taken from nobody; let it be the same at all servers. 0 = each is."
    ahead_max_s => ahead_max: Option<Seconds> = 0, 0..=3_155_760_000;
    "How long a neighbour may take to say HELLO; then the connection is closed."
    hello_ms => hello: Duration = 5_000, 100..=600_000;
    "How long a TLS handshake between servers may take; then the connection is closed."
    peer_tls_ms => peer_tls: Duration = 5_000, 100..=600_000;
    "TLS handshakes at once at the peer port; with one more the oldest is closed."
    peer_tls_handshakes => peer_tls_handshakes: usize = 64, 1..=128;
    "Bytes that a server may send before it has proved who it is; then the connection is closed."
    peer_tls_bytes => peer_tls_bytes: usize = 16_384, 4_096..=65_536;
    "How often a neighbour is sent a PING."
    ping_ms => ping: Duration = 5_000, 100..=600_000;
    "How long a neighbour may say nothing; then the connection is closed."
    silence_ms => silence: Duration = 15_000, 200..=3_600_000;
    "How often linked neighbours compare what they know."
    sync_ms => sync: Duration = 60_000, 100..=86_400_000;
    "With ack = \"peer\": how long the reply to an IAMAT waits for a neighbour to have it, too."
    ack_wait_ms => ack_wait: Duration = 250, 1..=60_000;
    "First pause before a neighbour is dialled again; each one after it is twice as long."
    retry_first_ms => retry_first: Duration = 200, 10..=60_000;
    "Longest pause before a neighbour is dialled again."
    retry_max_ms => retry_max: Duration = 5_000, 10..=3_600_000;
    "By how much at most chance shortens each of these pauses."
    retry_jitter_percent => retry_jitter_percent: u32 = 20, 0..=100;
    "While so much waits for a neighbour, only each client's newest place is kept for it."
    flood_buffer_bytes => flood_buffer_bytes: usize = 262_144, 4_096..=33_554_432;
    "How long it may take to connect; then it is given up."
    connect_ms => connect: Duration = 30_000, 100..=600_000;
    "How long a connection that is being closed may take to send the rest; then it is aborted."
    close_ms => close: Duration = 30_000, 100..=3_600_000;
    "How long connections are still served after SIGTERM."
    drain_ms => drain: Duration = 4_000, 0..=600_000;
}

/// A number of the file as a field has it.
trait Amount {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Amount for usize {
    fn of(number: u64) -> usize {
        number.try_into().unwrap_or(usize::MAX)
    }
    fn number(&self) -> u64 {
        *self as u64
    }
}

impl Amount for u32 {
    fn of(number: u64) -> u32 {
        number.try_into().unwrap_or(u32::MAX)
    }
    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

/// Milliseconds in the file.
impl Amount for Duration {
    fn of(number: u64) -> Duration {
        Duration::from_millis(number)
    }
    fn number(&self) -> u64 {
        self.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// A time for which milliseconds would be too fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Amount for Seconds {
    fn of(number: u64) -> Seconds {
        Seconds(number)
    }
    fn number(&self) -> u64 {
        self.0
    }
}

/// 0 in the file is no limit.
impl<T: Amount> Amount for Option<T> {
    fn of(number: u64) -> Option<T> {
        (number != 0).then(|| T::of(number))
    }
    fn number(&self) -> u64 {
        self.as_ref().map_or(0, T::number)
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

    /// Reads `[limits]`; without it the defaults hold.
    pub(super) fn read(section: Option<&Section<'_>>, findings: &mut Diagnostics<'_>) -> Limits {
        let mut limits = Limits::default();
        if let Some(section) = section {
            for limit in Limits::ALL {
                if let Some(number) = section.integer(limit, findings) {
                    limits.set(limit.key, number);
                }
            }
            limits.check_together(section, findings);
        }
        limits
    }

    /// Finds limits that are each in range and yet make no sense together.
    fn check_together(&self, section: &Section<'_>, findings: &mut Diagnostics<'_>) {
        let mut must = |holds: bool, keys: &[&str], what: String, remedy: &str| {
            // The defaults agree, so one of the keys stands in the file.
            let place = keys.iter().find_map(|key| section.place_of(key));
            if let (false, Some(place)) = (holds, place) {
                findings.fault(place, what, remedy);
            }
        };
        must(
            self.silence > self.ping,
            &["silence_ms", "ping_ms"],
            format!(
                "silence_ms {} is not longer than ping_ms {}",
                self.silence.number(),
                self.ping.number()
            ),
            "a neighbour needs time for an answer: let silence_ms be three times ping_ms",
        );
        must(
            self.retry_max >= self.retry_first,
            &["retry_max_ms", "retry_first_ms"],
            format!(
                "retry_max_ms {} is shorter than retry_first_ms {}",
                self.retry_max.number(),
                self.retry_first.number()
            ),
            "pauses grow from retry_first_ms to retry_max_ms",
        );
        must(
            self.longest_at_line_bytes() < self.line_bytes,
            &["line_bytes", "client_id_bytes", "location_bytes"],
            format!(
                "an AT line may have {} bytes, and line_bytes {} are taken",
                self.longest_at_line_bytes(),
                self.line_bytes
            ),
            "raise line_bytes or lower client_id_bytes: neighbours must take what clients can cause",
        );
        must(
            self.line_echo_bytes <= self.line_bytes,
            &["line_echo_bytes", "line_bytes"],
            format!(
                "line_echo_bytes {} is more than line_bytes {}",
                self.line_echo_bytes, self.line_bytes
            ),
            "so much of a line is not kept: lower line_echo_bytes",
        );
        must(
            self.line_bytes <= self.flood_buffer_bytes,
            &["flood_buffer_bytes", "line_bytes"],
            format!(
                "flood_buffer_bytes {} does not hold line_bytes {}",
                self.flood_buffer_bytes, self.line_bytes
            ),
            "raise flood_buffer_bytes, best to several times line_bytes",
        );
        must(
            self.whatsats_per_connection <= self.whatsats_in_flight + self.whatsat_queue,
            &["whatsats_per_connection", "whatsats_in_flight", "whatsat_queue"],
            format!(
                "one connection may ask {} WHATSATs, and all together {}",
                self.whatsats_per_connection,
                self.whatsats_in_flight + self.whatsat_queue
            ),
            "lower it to whatsats_in_flight and whatsat_queue together",
        );
        must(
            self.http_body_bytes <= self.http_total_body_bytes,
            &["http_total_body_bytes", "http_body_bytes"],
            format!(
                "http_total_body_bytes {} does not hold http_body_bytes {}",
                self.http_total_body_bytes, self.http_body_bytes
            ),
            "raise http_total_body_bytes, best to several times http_body_bytes",
        );
    }
}

impl Limit {
    /// The limit as it stands in the shipped `topology.toml`.
    pub fn in_toml(&self) -> String {
        let (key, default) = (self.key, grouped(self.default));
        format!("# {} ({})\n# {key} = {default}\n", self.meaning, self.range_in_words())
    }

    pub(super) fn range_in_words(&self) -> String {
        format!("{} to {}", grouped(*self.range.start()), grouped(*self.range.end()))
    }
}

/// `number` as TOML lets one write it: `1_048_576`.
pub(super) fn grouped(number: u64) -> String {
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

    #[test]
    fn every_default_is_in_its_range_and_is_what_the_field_has() {
        assert_eq!(
            Limits::default().values(),
            Limits::ALL.iter().map(|limit| limit.default).collect::<Vec<_>>()
        );
        for limit in Limits::ALL {
            assert!(limit.range.contains(&limit.default), "{}", limit.key);
        }
    }

    #[test]
    fn the_ends_of_every_range_fit_the_field() {
        for limit in Limits::ALL {
            for number in [*limit.range.start(), *limit.range.end()] {
                let mut limits = Limits::default();
                limits.set(limit.key, number);
                let index =
                    Limits::KEYS.iter().position(|&key| key == limit.key).expect("it is a key");
                assert_eq!(limits.values()[index], number, "{}", limit.key);
            }
        }
    }

    #[test]
    fn the_unit_of_a_key_stands_last() {
        const UNITS: &[&str] = &["_bytes", "_ms", "_s", "_percent"];
        const COUNTS: &[&str] = &[
            "connections",
            "whatsats_per_connection",
            "whatsats_in_flight",
            "whatsat_queue",
            "handshakes",
            "known_clients",
            "peer_tls_handshakes",
        ];
        for key in Limits::KEYS {
            assert!(COUNTS.contains(key) || UNITS.iter().any(|unit| key.ends_with(unit)), "{key}");
        }
    }

    #[test]
    fn zero_switches_off_only_what_is_an_option() {
        let limits = Limits::default();
        assert_eq!((limits.connections, limits.expire_after), (None, None));
        assert_eq!(limits.ahead_max, None);
        assert_eq!(limits.linger, Duration::from_secs(2));
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        let texts = [0, 12, 123, 1_234, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "123", "1_234", "123_456", "1_234_567"]);
    }
}
