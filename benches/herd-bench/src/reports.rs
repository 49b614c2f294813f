//! What is told: which client, where, when.
//!
//! Each connection has clients of its own and tells of them in turn, with stamps that never come twice
//! and always grow. So for every reply there is one right text, also for a WHATSAT: the last that this
//! connection told of that client, whatever the others do.
//!
//! All lines are of one length. The next is made in place from the one before it: a few digits change,
//! nothing is allocated or formatted.

use crate::options::Mix;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `client-0000000.bench +34.068930-118.445127 1479413884.392014450`
pub(crate) const OPERANDS_BYTES: usize = 63;

/// A client, its place and the stamp.
pub(crate) type Operands = [u8; OPERANDS_BYTES];

/// `client-0000000.bench`
pub(crate) const CLIENT_BYTES: usize = 20;

/// `1479413884.392014450`
const STAMP_BYTES: usize = 20;

/// Seconds and nine digits. Later is greater.
pub(crate) type Stamp = [u8; STAMP_BYTES];

/// What is filled in.
const BLANK: Operands = *b"client-0000000.bench +00.000000+000.000000 0000000000.000000000";

const KEY_AT: usize = 7;
const KEY_DIGITS: usize = 7;
const LOCATION_AT: usize = CLIENT_BYTES + 1;
const LOCATION_BYTES: usize = 21;
const STAMP_AT: usize = LOCATION_AT + LOCATION_BYTES + 1;

/// Where clients are: in towns of four continents, and where there is none.
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

/// What is to be asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// Tell the server this.
    Tell(&'a Operands),
    /// Ask it; it was told this last.
    Ask(&'a Operands),
}

/// What all connections tell.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    operands: Operands,
    asked: Operands,
    clients_each: u32,
    /// For each connection the client that is next, counted from its own first.
    next: Vec<u32>,
    mix: Mix,
    composed: u64,
    /// Of each client the last stamp; empty where nobody asks.
    told: Vec<Stamp>,
}

impl Reports {
    /// `keys` clients dealt out to `connections`, rounded down, but one each at least; the first stamp is
    /// now.
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

    /// How many clients there are.
    pub(crate) fn clients(&self) -> u32 {
        self.clients_each * self.next.len() as u32
    }

    /// From now on remembers the last stamp of each client, whatever the mix is.
    pub(crate) fn remember(&mut self) {
        self.told.resize(self.clients() as usize, [b'0'; STAMP_BYTES]);
    }

    /// The last stamp of a client, if stamps are remembered.
    pub(crate) fn told(&self, key: u32) -> Option<&Stamp> {
        self.told.get(key as usize)
    }

    /// The next for `connection`, whatever the mix is.
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

    /// The next for `connection`, as the mix has it.
    #[inline]
    pub(crate) fn next(&mut self, connection: usize) -> Next<'_> {
        if self.mix.whatsat > 0 {
            // Evenly spread: of n requests that follow each other the same share, to one.
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

/// The client that `operands` are of, as a number, and their stamp; nothing if they cannot be ours.
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

/// What stands in `operands` for its place: latitude and longitude, each with its sign.
pub(crate) fn latitude_longitude(operands: &Operands) -> (&[u8], &[u8]) {
    operands[LOCATION_AT..LOCATION_AT + LOCATION_BYTES].split_at(10)
}

#[inline]
fn write_client(operands: &mut Operands, key: u32) {
    // Four digits and three, so that no division waits for another one's result.
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

/// A nanosecond later.
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
    fn who_asks_expects_what_this_connection_told_last() {
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
        // A digit more or less is another client.
        for byte in (0..KEY_AT).chain(KEY_AT + KEY_DIGITS..STAMP_AT) {
            other[byte] ^= 1;
            assert_eq!(key_and_stamp(&other), None, "{}", text(&other));
            other[byte] ^= 1;
        }
        assert_eq!(key_and_stamp(b"kiwi +1+2 3"), None);
    }
}
