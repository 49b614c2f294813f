//! The journal: any file, and any sequence of events in its folder.

use super::memory_disk::{MemoryDisk, SharedDisk};
use super::{at, choice, relayed};
use herd_reactor::Moment;
use places_herd::journal::record::{self, RECORD_BYTES_MAX};
use places_herd::journal::{FileHead, Journal, JournalSettings, Owner, Scan, Sync, scan};
use places_herd::server::persist::replay;
use places_herd::table::{ReportOrigin, Table};
use places_herd::wire::report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::time::Duration;

/// Checks one of three promises, which the first byte chooses. The scan of any bytes agrees with a plain reader. All
/// records before and after some damage are read back, and no others. No committed line is lost, whenever the
/// power fails.
pub fn journal(data: &[u8]) {
    let (seed, rest) = choice(data);
    match seed % 3 {
        0 => any_bytes(seed, rest),
        1 => damaged(seed, rest),
        _ => lives(seed, rest),
    }
}

fn owner() -> Owner {
    Owner { server: "A".into(), herd: "h".into() }
}

/// A reader of these bytes, at most the given number in one read.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(into.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// Scans `bytes`; only AT lines are valid.
fn scanned(seed: u8, bytes: &[u8]) -> (Scan, Vec<Vec<u8>>) {
    let mut lines = Vec::new();
    let at_a_time = 1 + usize::from(seed) * 7;
    let scan = scan(&mut Slow(bytes, at_a_time), &mut |line: &[u8]| {
        let is_at = at(line).is_some();
        lines.extend(is_at.then(|| line.to_vec()));
        is_at
    });
    (scan.expect("memory can be read"), lines)
}

fn any_bytes(seed: u8, bytes: &[u8]) {
    let (scan, lines) = scanned(seed, bytes);
    let mut pieces = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = pieces.next().unwrap_or_default();
    let ended = first.ends_with(b"\n");
    assert_eq!(scan.head, FileHead::parse(first.strip_suffix(b"\n").unwrap_or(first), ended));
    let mut found = Found::default();
    let mut size = first.len() as u64;
    let pieces: Vec<_> = match scan.head {
        FileHead::Of(_) => pieces.collect(),
        // The whole file is a torn tail.
        FileHead::Cut => {
            found.garbage(0, size);
            vec![]
        }
        _ => vec![],
    };
    for piece in pieces {
        found.piece(size, piece);
        size += piece.len() as u64;
    }
    assert_eq!((scan.size, scan.records), (size, found.lines.len() as u64));
    assert_eq!(
        (scan.bad_at, scan.bad_bytes, scan.records_after),
        (found.bad_at, found.bad_bytes, found.after)
    );
    assert_eq!(lines, found.lines);
}

/// The plain reader's result for the bytes after the first line.
#[derive(Default)]
struct Found {
    lines: Vec<Vec<u8>>,
    bad_at: Option<u64>,
    bad_bytes: u64,
    after: u64,
}

impl Found {
    /// Reads a piece: a line with its newline, or the rest of the file.
    fn piece(&mut self, at_byte: u64, piece: &[u8]) {
        let bytes = piece.len() as u64;
        let (text, newline) = match piece.strip_suffix(b"\n") {
            Some(text) => (text, 1),
            None => (piece, 0),
        };
        if let Some(line) = record_of(text).filter(|_| newline == 1) {
            return self.record(at_byte, line, bytes);
        }
        // For each checksum, search backwards for the nearest beginning of a record that it matches.
        let mut from = 0;
        for end in 10..=text.len() {
            if end <= from || !text[end - 10..end].starts_with(b" *") {
                continue;
            }
            let starts = (from..end).rev().filter(|&start| text[start..end].starts_with(b"AT "));
            let found = starts.filter_map(|start| Some((start, record_of(&text[start..end])?)));
            if let Some((start, line)) = found.take(1).next() {
                self.garbage(at_byte + from as u64, (start - from) as u64);
                let last = if end == text.len() { newline } else { 0 };
                self.record(at_byte + start as u64, line, (end + last - start) as u64);
                from = end + last;
            }
        }
        let all = text.len() + newline;
        self.garbage(at_byte + from as u64, all.saturating_sub(from) as u64);
    }

    fn record(&mut self, at_byte: u64, line: &[u8], bytes: u64) {
        if at(line).is_none() {
            return self.garbage(at_byte, bytes);
        }
        self.lines.push(line.to_vec());
        self.after += u64::from(self.bad_at.is_some());
    }

    fn garbage(&mut self, at_byte: u64, bytes: u64) {
        if bytes > 0 {
            self.bad_at.get_or_insert(at_byte);
            self.bad_bytes += bytes;
        }
    }
}

/// Returns the line before ` *` and eight digits if they are its checksum, which is calculated bit by bit.
fn record_of(text: &[u8]) -> Option<&[u8]> {
    let (line, digits) = text.split_at_checked(text.len().checked_sub(10)?)?;
    let mut crc = !0_u32;
    for byte in line {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    (digits == format!(" *{:08X}", !crc).as_bytes() && text.len() < RECORD_BYTES_MAX)
        .then_some(line)
}

/// Returns an AT line for each line of `text`: the line itself or, if it is not an AT line, one with the line's text as
/// the client's id.
fn at_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').take(40);
    lines
        .enumerate()
        .filter_map(|(n, line)| {
            let client: Vec<u8> =
                line.iter().copied().filter(|byte| !b" \t\r\x0b\x0c".contains(byte)).collect();
            let made = [b"AT A +0.5 ", &client[..], b" +1+1 ", n.to_string().as_bytes()].concat();
            at(line).map(|at| relayed(&at)).or_else(|| at(&made).map(|_| made.clone()))
        })
        .collect()
}

fn damaged(seed: u8, data: &[u8]) {
    let Some((&[high, low, what, by], text)) = data.split_first_chunk() else { return };
    let lines = at_lines(text);
    let mut bytes = owner().head();
    let head = bytes.len();
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for line in &lines {
        starts.push(bytes.len());
        record::write(&mut bytes, line);
        ends.push(bytes.len());
    }
    let whole = scanned(seed, &bytes);
    assert_eq!((whole.0.bad_at, &whole.1), (None, &lines));
    // The damage is after the first line, which names the owner.
    let offset = head + usize::from(u16::from_be_bytes([high, low])) % (bytes.len() - head + 1);
    let size = bytes.len();
    let damage_end = match what % 4 {
        0 => {
            bytes.truncate(offset);
            size
        }
        1 => {
            drop(bytes.splice(offset..offset, std::iter::repeat_n(by, 1 + usize::from(what >> 2))));
            offset
        }
        2 => {
            let end = size.min(offset + 1 + usize::from(by));
            drop(bytes.drain(offset..end));
            end
        }
        _ if offset < size => {
            bytes[offset] ^= by;
            offset + 1
        }
        _ => offset,
    };
    let (scan, found) = scanned(seed, &bytes);
    let kept = ends.iter().filter(|end| **end <= offset).count();
    assert_eq!(found.get(..kept), Some(&lines[..kept]), "the records before the damage");
    let behind = &lines[starts.iter().filter(|start| **start < damage_end).count()..];
    assert!(found.ends_with(behind), "the records after the damage");
    let mut written = lines.iter();
    for line in &found {
        assert!(written.any(|other| other == line), "never written: {}", line.escape_ascii());
    }
    assert_eq!(scan.records, found.len() as u64);
}

/// Returns the table's lines by client.
fn known(table: &Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let lines = table.iter().map(|(_, report)| (report.client(), report.line()));
    lines.map(|(client, line)| (client.to_vec(), line.to_vec())).collect()
}

fn open(disk: &SharedDisk, sync: Sync) -> (Journal, Table) {
    let settings = JournalSettings {
        folder: "journal".into(),
        sync,
        compact_bytes: 300,
        compact_factor: 2,
        compact_keys: 2,
        retry: Duration::from_secs(5),
        slow_sync: Duration::from_secs(1),
    };
    let mut table = Table::new(1);
    let mut scratch = Vec::new();
    let mut each = |record: &[u8]| replay(&mut table, record, &mut scratch).is_some();
    let disk = Box::new(disk.clone());
    let opened = Journal::open(disk, settings, &owner(), false, &mut each, &mut || false);
    let (journal, _) = opened.unwrap_or_else(|why| panic!("{why}"));
    (journal, table)
}

/// Notes each line. Before the line, `.` ends the turn, `^` kills the process, and `~` cuts the power.
fn lives(seed: u8, text: &[u8]) {
    let sync = [Sync::Always, Sync::EverySecond, Sync::No][usize::from(seed / 3) % 3];
    let mut disk = MemoryDisk::new(u64::from(seed));
    disk.faults.short_writes = 0.3;
    let disk = SharedDisk::new(disk);
    let (mut journal, mut table) = open(&disk, sync);
    let mut noted = BTreeSet::new();
    let mut committed = BTreeMap::new();
    for (turn, line) in text.split(|byte| *byte == b'\n').take(60).enumerate() {
        let (what, line) = choice(line);
        if b".^~".contains(&what) {
            let now = Moment::from_nanos(turn as u64 * 300_000_000);
            journal.commit(now, &table).expect("there is room");
            committed = known(&table);
        }
        if b"^~".contains(&what) {
            // Pending records are lost, as with a dead process.
            match what {
                b'~' => disk.look().crash(),
                _ => disk.look().release(),
            }
            (journal, table) = open(&disk, sync);
            if what == b'^' || sync == Sync::Always {
                assert_eq!(known(&table), committed);
            }
            assert!(known(&table).values().all(|line| noted.contains(line)));
        }
        for line in at_lines(line) {
            let at = at(&line).expect("it is one");
            if table.merge(&Report::relayed(&at, &mut Vec::new()), ReportOrigin::Server).1.is_news()
            {
                journal.note(&line);
                noted.insert(line);
            }
        }
    }
}
