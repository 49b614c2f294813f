//! The line store: one AT line for every client, all of them in one allocation.
//!
//! In: reports. Out: their slots, and the reports. It does not know which
//! report is newer, nor how to find a client by its id; the [table](crate::table) does.
//!
//! The idea: a million lines of some 80 bytes must not be a million allocations. They are stored in
//! consecutive slots, each with a header of 12 bytes before the line:
//!
//! ```text
//! | key | room | line | client: start | length | stamp | AT Welsh +0.5 kiwi +34-118 1479413884 |
//!   u32   u16    u16            u8       u16      u8
//! ```
//!
//! Lengths are in bytes, except `room`, the size of the slot: it counts units of two bytes, as do the
//! slots' start positions, which therefore fit into 32 bits up to 8 GiB. Header and line are adjacent because
//! with a million clients each further cache miss costs as much as parsing the whole command. The stamp is
//! not stored as a number: that would take 8 bytes per client, and usually the texts of two stamps show which
//! one is later.
//!
//! A new line of the same client overwrites the old one. A line that is longer than its slot moves
//! to a larger slot, and the old slot becomes free for another line of its size, or of at least half its
//! size. Slots neither shrink nor merge: the lines of one client differ only in the digits of
//! their numbers and the name of their server. A line that moves gets a slot with a few spare bytes,
//! so that a client's line moves once or twice in its life.
//!
//! The slot and the key of a forgotten client become free for another client. When the last client is
//! forgotten, all slots are discarded.

use crate::wire::report::{Report, Stored};
use std::ops::Range;

/// A client's number in its server's table, from 0. The key of a forgotten client goes to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(u32);

impl ClientKey {
    pub(crate) fn new(index: usize) -> ClientKey {
        ClientKey(u32::try_from(index).expect("a table has fewer than 2^32 clients"))
    }

    pub(crate) fn to_le_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_le_bytes(bytes: [u8; 4]) -> ClientKey {
        ClientKey(u32::from_le_bytes(bytes))
    }

    /// Returns the key as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Slots begin and end at multiples of this many bytes.
const UNIT: usize = 2;
const HEADER: usize = 12;
const CACHE_LINE: usize = 64;

/// The spare room in the new slot of a line that moves, in units: enough for eight more digits. Each move leaves
/// behind a slot that is too small for lines that move later, so fewer moves save memory.
const SPARE: u16 = 4;

/// The maximum size of the store in bytes: a slot's start must fit into 32 bits.
const END: usize = (NOWHERE.0 as usize).saturating_mul(UNIT);

/// Every client's line.
#[derive(Debug)]
pub(crate) struct LineStore {
    bytes: Vec<u8>,
    /// The maximum length of `bytes`.
    end: usize,
    /// The slot of each client's line, by its key; [`NOWHERE`] if no client has the key.
    slots: Vec<Slot>,
    /// The keys that no client has.
    unused: Vec<ClientKey>,
    /// The free slots, by their room.
    free: Vec<Vec<Slot>>,
    /// The size of all free slots together.
    free_bytes: usize,
    /// The length of all lines together, in bytes.
    line_bytes: usize,
}

/// The position of a header and its line, in units from the start of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// Stands for the slot of a key that no client has.
const NOWHERE: Slot = Slot(u32::MAX);

/// The 12 bytes before a line.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) key: ClientKey,
    room: u16,
    line: u16,
    client_start: u8,
    client: u16,
    stamp: u8,
}

impl Default for LineStore {
    fn default() -> LineStore {
        LineStore::ending_at(END)
    }
}

impl LineStore {
    /// Makes an empty store for at most `end` bytes, capped at [`END`].
    pub(crate) fn ending_at(end: usize) -> LineStore {
        LineStore {
            bytes: Vec::new(),
            end: end.min(END),
            slots: Vec::new(),
            unused: Vec::new(),
            free: Vec::new(),
            free_bytes: 0,
            line_bytes: 0,
        }
    }

    /// Returns the number of lines.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.unused.len()
    }

    /// Returns the number of keys, unused ones included. They are numbered from 0.
    pub(crate) fn keys(&self) -> usize {
        self.slots.len()
    }

    /// Returns the keys that no client has.
    pub(crate) fn unused(&self) -> &[ClientKey] {
        &self.unused
    }

    /// Returns the bytes of all slots in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() - self.free_bytes
    }

    /// Returns the length of all lines together, in bytes.
    pub(crate) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Returns the bytes of all slots, free ones included.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a free slot fits this line.
    pub(crate) fn has_slot_for(&self, report: &Report<'_>) -> bool {
        self.free_room(units(report)).is_some()
    }

    /// Returns the slot of the client with this key; panics if no client has it.
    pub(crate) fn slot(&self, key: ClientKey) -> Slot {
        self.find(key.index()).expect("a client has this key")
    }

    /// Returns the slot of the client with key number `index`; `None` if no client has this key.
    pub(crate) fn find(&self, index: usize) -> Option<Slot> {
        self.slots.get(index).copied().filter(|&slot| slot != NOWHERE)
    }

    pub(crate) fn key(&self, slot: Slot) -> ClientKey {
        self.read(slot).0.key
    }

    #[inline]
    pub(crate) fn client(&self, slot: Slot) -> &[u8] {
        let (header, line) = self.read(slot);
        &line[header.client_range()]
    }

    /// Reads from both cache lines that the search for a client needs, so that the misses of consecutive calls overlap.
    /// `black_box` keeps the compiler from removing the reads.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot) {
        let next = self.bytes.get(slot.start() + CACHE_LINE);
        std::hint::black_box((self.bytes[slot.start()], next.copied()));
    }

    pub(crate) fn line(&self, slot: Slot) -> &[u8] {
        let (header, line) = self.read(slot);
        &line[..usize::from(header.line)]
    }

    pub(crate) fn report(&self, slot: Slot) -> Report<'_> {
        self.stored(slot).1.report()
    }

    /// Returns the header and the line in a slot.
    #[inline]
    pub(crate) fn stored(&self, slot: Slot) -> (Header, Stored<'_>) {
        let (header, line) = self.read(slot);
        let line = &line[..usize::from(header.line)];
        (header, Stored::new(line, header.client_range(), usize::from(header.stamp)))
    }

    /// Stores the line of a new client. `None` if there is no room; then nothing has changed.
    pub(crate) fn push(&mut self, report: &Report<'_>) -> Option<Slot> {
        let (slot, room) = self.take_slot(units(report), 0)?;
        let key = self.unused.pop().unwrap_or_else(|| {
            self.slots.push(NOWHERE);
            ClientKey::new(self.slots.len() - 1)
        });
        self.slots[key.index()] = slot;
        self.line_bytes += report.line().len();
        self.write(slot, key, room, report);
        Some(slot)
    }

    /// Forgets a line; its slot and its key become free.
    pub(crate) fn forget(&mut self, slot: Slot) {
        let Header { key, room, line, .. } = self.read(slot).0;
        self.line_bytes -= usize::from(line);
        self.slots[key.index()] = NOWHERE;
        self.unused.push(key);
        self.leave(slot, room);
        if self.len() == 0 {
            self.bytes.clear();
            self.free.clear();
            self.free_bytes = 0;
            debug_assert_eq!(self.line_bytes, 0);
        }
    }

    /// Replaces the line in `slot`, which has the header `old`; returns the new slot. `None` if there is
    /// no room for a longer line; then nothing has changed.
    ///
    /// Allocates nothing if the line fits its slot.
    #[inline]
    pub(crate) fn replace(&mut self, slot: Slot, old: Header, report: &Report<'_>) -> Option<Slot> {
        let Header { key, room, line, .. } = old;
        let needed = units(report);
        let line_bytes = self.line_bytes + report.line().len() - usize::from(line);
        if needed <= room {
            self.line_bytes = line_bytes;
            self.write(slot, key, room, report);
            return Some(slot);
        }
        let (larger, larger_room) = self.take_slot(needed, SPARE)?;
        self.leave(slot, room);
        self.slots[key.index()] = larger;
        self.line_bytes = line_bytes;
        self.write(larger, key, larger_room, report);
        Some(larger)
    }

    /// Returns the header, and all bytes from the line on.
    fn read(&self, slot: Slot) -> (Header, &[u8]) {
        let bytes = &self.bytes[slot.start()..];
        let (header, line) = bytes.split_first_chunk().expect("a slot has a header");
        (Header::from_bytes(header), line)
    }

    fn write(&mut self, slot: Slot, key: ClientKey, room: u16, report: &Report<'_>) {
        let line = report.line();
        let client = report.client_range();
        let header = Header {
            key,
            room,
            line: short(line.len()),
            client_start: byte(client.start),
            client: short(client.len()),
            stamp: byte(report.stamp_text().len()),
        };
        let bytes = &mut self.bytes[slot.start()..];
        let (start, rest) = bytes.split_first_chunk_mut().expect("a slot has a header");
        *start = header.to_bytes();
        rest[..line.len()].copy_from_slice(line);
    }

    /// Returns a slot of at least `room` units, and its room. It takes a free slot if one fits; else it adds a new
    /// slot with `spare` more units, or without them if the store has no room for these. `None` if there is no room.
    fn take_slot(&mut self, room: u16, spare: u16) -> Option<(Slot, u16)> {
        if let Some(free) = self.free_room(room)
            && let Some(slot) = self.free[usize::from(free)].pop()
        {
            self.free_bytes -= usize::from(free) * UNIT;
            debug_assert_eq!(self.free_bytes, self.sum_of_free());
            return Some((slot, free));
        }
        let start = self.bytes.len();
        let unit = u32::try_from(start / UNIT).ok()?;
        let end_of = |room: u16| start + usize::from(room) * UNIT;
        let room = [room.saturating_add(spare), room]
            .into_iter()
            .find(|&room| end_of(room) <= self.end)?;
        self.bytes.resize(end_of(room), 0);
        Some((Slot(unit), room))
    }

    /// Returns the room of the smallest free slot with at least `room` units. It ignores slots of more than twice
    /// `room`, so that long slots remain for long lines.
    fn free_room(&self, room: u16) -> Option<u16> {
        if self.free_bytes == 0 {
            return None;
        }
        let fitting = room..=room.saturating_mul(2);
        fitting
            .into_iter()
            .find(|&room| self.free.get(usize::from(room)).is_some_and(|slots| !slots.is_empty()))
    }

    /// Makes a slot free for another line.
    fn leave(&mut self, slot: Slot, room: u16) {
        self.free_bytes += usize::from(room) * UNIT;
        let room = usize::from(room);
        if self.free.len() <= room {
            self.free.resize(room + 1, Vec::new());
        }
        self.free[room].push(slot);
        debug_assert_eq!(self.free_bytes, self.sum_of_free());
    }

    /// Computes the correct value of `free_bytes`.
    fn sum_of_free(&self) -> usize {
        self.free.iter().enumerate().map(|(room, slots)| room * UNIT * slots.len()).sum()
    }
}

impl Slot {
    fn start(self) -> usize {
        self.0 as usize * UNIT
    }
}

impl Header {
    fn client_range(self) -> Range<usize> {
        let start = usize::from(self.client_start);
        start..start + usize::from(self.client)
    }

    fn from_bytes(bytes: &[u8; HEADER]) -> Header {
        let [k0, k1, k2, k3, r0, r1, l0, l1, client_start, c0, c1, stamp] = *bytes;
        Header {
            key: ClientKey::from_le_bytes([k0, k1, k2, k3]),
            room: u16::from_le_bytes([r0, r1]),
            line: u16::from_le_bytes([l0, l1]),
            client_start,
            client: u16::from_le_bytes([c0, c1]),
            stamp,
        }
    }

    fn to_bytes(self) -> [u8; HEADER] {
        let [k0, k1, k2, k3] = self.key.to_le_bytes();
        let [r0, r1] = self.room.to_le_bytes();
        let [l0, l1] = self.line.to_le_bytes();
        let [c0, c1] = self.client.to_le_bytes();
        [k0, k1, k2, k3, r0, r1, l0, l1, self.client_start, c0, c1, self.stamp]
    }
}

/// Returns the units that the slot of this line needs.
fn units(report: &Report<'_>) -> u16 {
    short((HEADER + report.line().len()).div_ceil(UNIT))
}

/// Converts a length within a line to the header's 16 bits.
fn short(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("the limits of its fields keep an AT line below 64 KiB")
}

/// Converts a length before the client's id or after the location to the header's 8 bits.
fn byte(bytes: usize) -> u8 {
    u8::try_from(bytes).expect("names, differences and stamps are short")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, CommandLimits};

    /// The tests of the index make slots with this constructor.
    impl Slot {
        pub(crate) fn numbered(number: u64) -> Slot {
            Slot(number as u32)
        }

        pub(crate) fn number(self) -> u64 {
            self.0.into()
        }
    }

    /// Runs `with` on the report of an AT line.
    fn at<T>(line: &str, with: impl FnOnce(&Report<'_>) -> T) -> T {
        match Command::parse(line.as_bytes(), &CommandLimits::default()) {
            Ok(Command::At(at)) => with(&Report::relayed(&at, &mut Vec::new())),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn replace(lines: &mut LineStore, slot: Slot, report: &Report<'_>) -> Slot {
        let (old, _) = lines.stored(slot);
        lines.replace(slot, old, report).expect("room")
    }

    #[test]
    fn what_is_stored_is_what_was_given() {
        let mut lines = LineStore::default();
        for (index, line) in [
            "AT Alford +0.263873386 kiwi +34.068930-118.445127 1479413884.392014450",
            "AT B -1e-5 \u{fffd} -0-0 1",
            &format!("AT {} +0.5 {} +1+1 5.25", "s".repeat(64), "c".repeat(4096)),
        ]
        .into_iter()
        .enumerate()
        {
            at(line, |report| {
                let slot = lines.push(report).expect("room");
                assert_eq!(lines.key(slot).index(), index);
                assert_eq!(lines.slot(ClientKey::new(index)), slot);
                assert_eq!(lines.client(slot), report.client());
                assert_eq!(lines.report(slot), *report);
            });
        }
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_line_that_fits_stays_and_allocates_nothing() {
        let mut lines = LineStore::default();
        let slot = at("AT Alford +0.500 kiwi +1+1 5.25", |first| lines.push(first).expect("room"));
        let (address, capacity) = (lines.bytes.as_ptr(), lines.bytes.capacity());
        let length = lines.bytes.len();
        for line in ["AT Welsh +0.50 kiwi +1+1 6", "AT Parker -0.25 kiwi +2+2 7.250"] {
            at(line, |report| {
                assert_eq!(replace(&mut lines, slot, report), slot);
                assert_eq!(lines.report(slot), *report);
            });
        }
        assert_eq!((lines.bytes.as_ptr(), lines.bytes.capacity()), (address, capacity));
        assert_eq!(lines.bytes.len(), length);
    }

    #[test]
    fn a_line_too_long_moves_and_its_slot_is_used_again() {
        let mut lines = LineStore::default();
        let old = at("AT A +0.5 kiwi +1+1 5", |short| lines.push(short).expect("room"));
        let new = at("AT A +0.5 kiwi +1.25+1.25 5.125", |long| replace(&mut lines, old, long));
        assert_ne!(new, old);
        assert_eq!(lines.slot(ClientKey::new(0)), new);
        assert_eq!(lines.client(new), b"kiwi");
        assert_eq!(at("AT A +0.5 plum +1+1 5", |short| lines.push(short).expect("room")), old);
        assert_eq!(lines.client(new), b"kiwi");
        assert_eq!(lines.client(old), b"plum");
    }

    #[test]
    fn a_line_that_has_moved_grows_by_eight_bytes_where_it_is() {
        let mut lines = LineStore::default();
        let old = at("AT A +0.5 kiwi +1+1 5", |short| lines.push(short).expect("room"));
        let new = at("AT Alford +0.5 kiwi +1+1 5", |long| replace(&mut lines, old, long));
        assert_ne!(new, old);
        let memory = lines.memory();
        for stamp in ["6.0", "7.00", "8.000", "9.0000000"] {
            at(&format!("AT Alford +0.5 kiwi +1+1 {stamp}"), |longer| {
                assert_eq!(replace(&mut lines, new, longer), new);
                assert_eq!(lines.report(new), *longer);
            });
        }
        assert_eq!(lines.memory(), memory);
        let newest = "AT Alford +0.5 kiwi +1+1 9.000000000";
        assert_ne!(at(newest, |longer| replace(&mut lines, new, longer)), new);
    }

    #[test]
    fn where_memory_ends_a_line_that_moves_has_nothing_to_spare() {
        let (old, new) = ("AT A +0.5 kiwi +1+1 5", "AT Alford +0.5 kiwi +1+1 5");
        let slot_of = |line| at(line, |report| usize::from(units(report)) * UNIT);
        let mut lines = LineStore::ending_at(slot_of(old) + slot_of(new));
        let slot = at(old, |line| lines.push(line).expect("room"));
        at(new, |line| replace(&mut lines, slot, line));
        assert_eq!(lines.memory(), slot_of(old) + slot_of(new));
    }

    #[test]
    fn the_slot_and_the_key_of_a_forgotten_line_are_used_again() {
        let mut lines = LineStore::default();
        let slots = ["kiwi", "plum", "pear"].map(|client| {
            at(&format!("AT A +0.5 {client} +1+1 5"), |line| lines.push(line).expect("room"))
        });
        let (memory, bytes) = (lines.memory(), lines.bytes());
        assert_eq!(memory, bytes);
        lines.forget(slots[1]);
        assert_eq!((lines.len(), lines.keys(), lines.find(1)), (2, 3, None));
        assert_eq!(lines.unused(), [ClientKey::new(1)]);
        assert!(lines.bytes() < bytes && lines.memory() == memory);
        // The free slot fits a line of at least half its length, but not a longer one.
        let long = format!("AT A +0.5 {} +1+1 5", "c".repeat(40));
        assert!(!at(&long, |line| lines.has_slot_for(line)));
        assert!(at("AT A 0 figs +1+1 5", |line| lines.has_slot_for(line)));
        let again = at("AT A 0 figs +1+1 5", |line| lines.push(line).expect("room"));
        assert_eq!((again, lines.key(again).index()), (slots[1], 1));
        assert_eq!((lines.client(again), lines.client(slots[2])), (&b"figs"[..], &b"pear"[..]));
        assert_eq!((lines.bytes(), lines.memory()), (bytes, memory));
    }

    #[test]
    fn a_slot_more_than_twice_as_long_waits_for_a_longer_line() {
        let mut lines = LineStore::default();
        let long = format!("AT A +0.5 {} +1+1 5", "c".repeat(400));
        let slot = at(&long, |line| lines.push(line).expect("room"));
        at("AT A +0.5 kiwi +1+1 5", |line| lines.push(line).expect("room"));
        lines.forget(slot);
        assert_ne!(at("AT A +0.5 plum +1+1 5", |line| lines.push(line).expect("room")), slot);
        assert_eq!(at(&long, |line| lines.push(line).expect("room")), slot);
    }

    #[test]
    fn with_the_last_line_all_slots_are_forgotten() {
        let mut lines = LineStore::default();
        for round in 1..4 {
            let line = format!("AT A +0.5 {} +1+1 5", "c".repeat(100 * round));
            let slot = at(&line, |line| lines.push(line).expect("room"));
            assert_eq!((lines.keys(), lines.memory()), (1, lines.bytes()));
            lines.forget(slot);
            assert_eq!((lines.len(), lines.memory()), (0, 0));
        }
    }
}
