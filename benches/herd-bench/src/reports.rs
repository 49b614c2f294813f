//! Generates reports: client, location and time.
//!
//! Each connection has clients of its own and reports them in turn, with stamps that always grow. So there is exactly
//! one right reply to every request. For a WHATSAT it contains the last report of that client, which came from the
//! same connection.
//!
//! All lines have the same length. Each line is made in place from the one before it by changing a few digits; nothing
//! is allocated or formatted.

use crate::options::Mix;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `client-0000000.bench +34.068930-118.445127 1479413884.392014450`
pub(crate) const OPERANDS_BYTES: usize = 63;

/// A client, its location and the stamp.
pub(crate) type Operands = [u8; OPERANDS_BYTES];

/// `client-0000000.bench`
pub(crate) const CLIENT_BYTES: usize = 20;

/// `1479413884.392014450`
const STAMP_BYTES: usize = 20;

/// Seconds with nine decimals, as text. Later stamps compare greater.
pub(crate) type Stamp = [u8; STAMP_BYTES];

/// The template of all operands.
const BLANK: Operands = *b"client-0000000.bench +00.000000+000.000000 0000000000.000000000";

const KEY_AT: usize = 7;
const KEY_DIGITS: usize = 7;
const LOCATION_AT: usize = CLIENT_BYTES + 1;
const LOCATION_BYTES: usize = 21;
const STAMP_AT: usize = LOCATION_AT + LOCATION_BYTES + 1;

/// The locations of clients: in towns on five continents, and far from any town.
const LOCATIONS: [&[u8; LOCATION_BYTES]; 8] = [
    b"+34.068930-118.445127",
    b"+48.856613+002.352222",
    b"+35.676200+139.650300",
    b"-33.868800+151.209300",
    b"+51.507222-000.127500",
    b"-23.550500-046.633300",
    b"+38.900000-100.500000",
    b"-48.876700-123.393300",
];

/// The next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// An IAMAT with these operands.
    Tell(&'a Operands),
    /// A WHATSAT for this client, whose last IAMAT had these operands.
    Ask(&'a Operands),
}

/// The reports of all connections.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    operands: Operands,
    asked: Operands,
    clients_each: u32,
    /// The next client of each connection, counted from its first.
    next: Vec<u32>,
    mix: Mix,
    composed: u64,
    /// The last stamp of each client. Empty if no request needs it.
    told: Vec<Stamp>,
}

impl Reports {
    /// Divides `keys` clients among `connections`: rounded down, but at least one each. The first stamp is the present
    /// time.
    pub(crate) fn new(connections: u32, keys: u32, mix: Mix) -> Reports {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Reports::since(now, connections, keys, mix)
    }

    fn since(start: Duration, connections: u32, keys: u32, mix: Mix) -> Reports {
        let clients_each = (keys / connections).max(1);
        let mut operands = BLANK;
        let stamp = format!("{:010}.{:09}", start.as_secs(), start.subsec_nanos());
        operands[STAMP_AT..].copy_from_slice(&stamp.as_bytes()[..STAMP_BYTES]);
        let asked = if mix.whatsat > 0 { clients_each * connections } else { 0 };
        Reports {
            operands,
            asked: operands,
            clients_each,
            next: vec![0; connections as usize],
            mix,
            composed: 0,
            told: vec![[b'0'; STAMP_BYTES]; asked as usize],
        }
    }

    /// The number of clients.
    pub(crate) fn clients(&self) -> u32 {
        self.clients_each * self.next.len() as u32
    }

    /// Starts to store the last stamp of each client, regardless of the mix.
    pub(crate) fn remember(&mut self) {
        self.told.resize(self.clients() as usize, [b'0'; STAMP_BYTES]);
    }

    /// The last stamp of a client, if stamps are stored.
    pub(crate) fn told(&self, key: u32) -> Option<&Stamp> {
        self.told.get(key as usize)
    }

    /// The next IAMAT of `connection`, regardless of the mix.
    #[inline]
    pub(crate) fn tell(&mut self, connection: usize) -> &Operands {
        let key = self.turn(connection);
        tick(&mut self.operands[STAMP_AT..]);
        write_client(&mut self.operands, key);
        if let Some(told) = self.told.get_mut(key as usize) {
            told.copy_from_slice(&self.operands[STAMP_AT..]);
        }
        &self.operands
    }

    /// The next request of `connection`, according to the mix.
    #[inline]
    pub(crate) fn next(&mut self, connection: usize) -> Next<'_> {
        if self.mix.whatsat > 0 {
            // The WHATSATs are evenly spread: any n consecutive requests contain the same number of WHATSATs, give or
            // take one.
            let (ask, of) =
                (u64::from(self.mix.whatsat), u64::from(self.mix.iamat + self.mix.whatsat));
            self.composed += 1;
            if self.composed * ask % of < ask {
                return Next::Ask(self.ask(connection));
            }
        }
        Next::Tell(self.tell(connection))
    }

    fn ask(&mut self, connection: usize) -> &Operands {
        let key = self.turn(connection);
        write_client(&mut self.asked, key);
        self.asked[STAMP_AT..].copy_from_slice(&self.told[key as usize]);
        &self.asked
    }

    fn turn(&mut self, connection: usize) -> u32 {
        let next = &mut self.next[connection];
        let key = connection as u32 * self.clients_each + *next;
        *next = if *next + 1 == self.clients_each { 0 } else { *next + 1 };
        key
    }
}

/// The number of the client in `operands`, and the stamp; `None` if this program did not generate them.
pub(crate) fn key_and_stamp(operands: &[u8]) -> Option<(u32, Stamp)> {
    let operands: &Operands = operands.try_into().ok()?;
    let digits = &operands[KEY_AT..KEY_AT + KEY_DIGITS];
    let key = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let stamp = *operands.last_chunk::<STAMP_BYTES>()?;
    let mut ours = BLANK;
    write_client(&mut ours, key);
    ours[STAMP_AT..].copy_from_slice(&stamp);
    (ours == *operands).then_some((key, stamp))
}

/// The latitude and the longitude in `operands`, each with its sign.
pub(crate) fn latitude_longitude(operands: &Operands) -> (&[u8], &[u8]) {
    operands[LOCATION_AT..LOCATION_AT + LOCATION_BYTES].split_at(10)
}

/// The stamp in `operands`.
pub(crate) fn stamp(operands: &Operands) -> &[u8] {
    &operands[STAMP_AT..]
}

#[inline]
fn write_client(operands: &mut Operands, key: u32) {
    // The digits are computed in two groups, so that no division waits for the result of another.
    let (high, low) = (key / 1_000, key % 1_000);
    let digit = |number: u32| b'0' + (number % 10) as u8;
    let digits = [
        digit(high / 1_000),
        digit(high / 100),
        digit(high / 10),
        digit(high),
        digit(low / 100),
        digit(low / 10),
        digit(low),
    ];
    operands[KEY_AT..KEY_AT + KEY_DIGITS].copy_from_slice(&digits);
    let location = LOCATIONS[key as usize % LOCATIONS.len()];
    operands[LOCATION_AT..LOCATION_AT + LOCATION_BYTES].copy_from_slice(location);
}

/// Adds a nanosecond to the stamp.
#[inline]
fn tick(stamp: &mut [u8]) {
    for digit in stamp.iter_mut().rev() {
        match digit {
            b'.' => {}
            b'9' => *digit = b'0',
            _ => {
                *digit += 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::KEYS_MAX;

    const TELL: Mix = Mix { iamat: 1, whatsat: 0 };

    fn text(operands: &Operands) -> &str {
        std::str::from_utf8(operands).expect("ASCII")
    }

    #[test]
    fn each_connection_tells_of_its_own_clients_in_turn() {
        let mut reports = Reports::since(Duration::new(1_479_413_884, 0), 2, 4, TELL);
        let told: Vec<String> =
            [0, 1, 0, 0].iter().map(|c| text(reports.tell(*c)).to_owned()).collect();
        assert_eq!(
            told,
            [
                "client-0000000.bench +34.068930-118.445127 1479413884.000000001",
                "client-0000002.bench +35.676200+139.650300 1479413884.000000002",
                "client-0000001.bench +48.856613+002.352222 1479413884.000000003",
                "client-0000000.bench +34.068930-118.445127 1479413884.000000004",
            ]
        );
    }

    #[test]
    fn stamps_grow_past_every_nine() {
        let mut stamp = *b"1479413899.999999998";
        tick(&mut stamp);
        assert_eq!(&stamp, b"1479413899.999999999");
        tick(&mut stamp);
        assert_eq!(&stamp, b"1479413900.000000000");
    }

    #[test]
    fn a_whatsat_expects_the_last_report_of_its_connection() {
        let mix = Mix { iamat: 1, whatsat: 1 };
        let mut reports = Reports::since(Duration::ZERO, 1, 1, mix);
        for _ in 0..100 {
            let Next::Tell(told) = reports.next(0) else { panic!("IAMAT is first") };
            let told = *told;
            assert_eq!(reports.next(0), Next::Ask(&told));
        }
    }

    #[test]
    fn the_mix_is_what_was_said_and_even() {
        let mut reports = Reports::since(Duration::ZERO, 1, 10, Mix { iamat: 7, whatsat: 3 });
        let asked: Vec<bool> =
            (0..1_000).map(|_| matches!(reports.next(0), Next::Ask(_))).collect();
        for ten in asked.chunks(10) {
            assert_eq!(ten.iter().filter(|asked| **asked).count(), 3);
        }
    }

    #[test]
    fn there_is_a_client_for_each_connection() {
        assert_eq!(Reports::since(Duration::ZERO, 50, 3, TELL).clients(), 50);
        assert_eq!(Reports::since(Duration::ZERO, 3, 1_000, TELL).clients(), 999);
    }

    #[test]
    fn a_client_is_found_again_by_its_number() {
        let mut reports = Reports::since(Duration::ZERO, 1, KEYS_MAX, TELL);
        reports.next[0] = KEYS_MAX - 1;
        let last = *reports.tell(0);
        assert_eq!(key_and_stamp(&last).map(|(key, _)| key), Some(9_999_999));
        assert_eq!(latitude_longitude(&last), (&b"-48.876700"[..], &b"-123.393300"[..]));
        let mut other = last;
        // A changed byte outside the number and the stamp makes the operands foreign.
        for byte in (0..KEY_AT).chain(KEY_AT + KEY_DIGITS..STAMP_AT) {
            other[byte] ^= 1;
            assert_eq!(key_and_stamp(&other), None, "{}", text(&other));
            other[byte] ^= 1;
        }
        assert_eq!(key_and_stamp(b"kiwi +1+2 3"), None);
    }
}
