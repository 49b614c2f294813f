//! A disk in memory: in a crash it loses unsynced data, and it fails as a test demands.
//!
//! A crash leaves the worst state that a working disk may leave: of the bytes that were appended since the last
//! sync it keeps a first part, whose end may be garbled; of the names that were created and removed since the last
//! sync of the folder it keeps the first few. Bytes whose sync failed are lost even if a later sync of the same
//! file succeeds, as on Linux, where the kernel then forgets that it had to write them.
//!
//! All random choices come from one seed, which therefore identifies a run.

#![allow(dead_code, unreachable_pub, reason = "each test file uses only a part of it")]

use herd_reactor::SplitMix64;
use places_herd::journal::Disk;
use rustix::io::Errno;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;
use std::time::Duration;

/// Maximum bytes that a crash garbles at the end of the unsynced bytes that it keeps: a sector.
const SECTOR_BYTES: u64 = 512;

/// The faults of a [`MemoryDisk`]. None, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskFaults {
    /// The size of the disk, for all files together; beyond it writes return ENOSPC.
    pub room_bytes: Option<u64>,
    /// The probability that a write takes only a part.
    pub short_writes: f64,
    /// The probability that a write fails with EIO.
    pub write_errors: f64,
    /// The probability that a sync fails with EIO and loses the bytes to be synced.
    pub sync_errors: f64,
    /// Syncs return success without syncing: a crash may lose the bytes.
    pub syncs_lie: bool,
    /// Renaming returns EIO, and the file keeps its name.
    pub renames_fail: bool,
    /// Removing returns EIO, and the file stays.
    pub removals_fail: bool,
    /// Syncing the folder returns EIO, and its names stay unsynced.
    pub folder_syncs_fail: bool,
    /// The power fails after this number of calls: all later calls fail, until [`MemoryDisk::crash`].
    pub calls_left: Option<u64>,
}

/// A folder on a disk in memory. The head comment of this file describes the disk.
#[derive(Debug)]
pub struct MemoryDisk {
    /// The present faults; a test may change them.
    pub faults: DiskFaults,
    /// The duration of a sync.
    pub sync_time: RangeInclusive<Duration>,
    chance: SplitMix64,
    files: Vec<MemoryFile>,
    names: BTreeMap<String, usize>,
    /// The names as they are on the disk; `unsynced` has the changes since.
    names_synced: BTreeMap<String, usize>,
    unsynced: Vec<Naming>,
    locked: bool,
    calls: u64,
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: Vec<u8>,
    /// The number of its first bytes that are on the disk.
    synced: usize,
    /// The bytes after `synced` that were truncated since, but are still on the disk.
    cut_off: Vec<u8>,
    /// The ranges that failed syncs have lost.
    lost: Vec<Range<usize>>,
}

#[derive(Clone, Debug)]
enum Naming {
    Given(String, usize),
    Taken(String),
    Changed(String, String),
}

impl MemoryDisk {
    /// Creates an empty folder. All random choices come from `seed`.
    pub fn new(seed: u64) -> MemoryDisk {
        MemoryDisk {
            faults: DiskFaults::default(),
            sync_time: Duration::ZERO..=Duration::ZERO,
            chance: SplitMix64::new(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            unsynced: Vec::new(),
            locked: false,
            calls: 0,
        }
    }

    /// Turns the power off and on again: unsynced data is lost or torn, and the lock is free. All faults remain,
    /// except for a power failure.
    pub fn crash(&mut self) {
        let done = self.roll(self.unsynced.len() as u64 + 1) as usize;
        let mut names = std::mem::take(&mut self.names_synced);
        for naming in self.unsynced.drain(..).take(done) {
            naming.apply(&mut names);
        }
        (self.names, self.names_synced) = (names.clone(), names);
        for number in 0..self.files.len() {
            self.crash_file(number);
        }
        self.locked = false;
        self.faults.calls_left = None;
    }

    /// Ends the process but not the machine: nothing is lost, and the lock is free.
    pub fn release(&mut self) {
        self.locked = false;
    }

    /// The number of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The size of all files, in bytes.
    pub fn size(&self) -> u64 {
        self.names.values().map(|&number| self.files[number].bytes.len() as u64).sum()
    }

    /// The bytes of the file `name`, if it exists; for tests that read or damage them.
    pub fn bytes(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        let number = *self.names.get(name)?;
        Some(&mut self.files[number].bytes)
    }

    fn crash_file(&mut self, number: usize) {
        let unsynced = self.files[number].bytes.len().saturating_sub(self.files[number].synced);
        let kept = self.roll(unsynced as u64 + 1) as usize;
        let garbled = match self.roll(2) {
            0 => 0,
            _ => self.roll(SECTOR_BYTES.min(kept as u64) + 1) as usize,
        };
        let noise: Vec<u8> = match self.roll(2) {
            0 => vec![0; garbled],
            _ => (0..garbled).map(|_| self.chance.next_u64() as u8).collect(),
        };
        let comes_back = self.roll(2) == 0;
        let file = &mut self.files[number];
        let end = file.bytes.len().min(file.synced + kept);
        file.bytes.truncate(end);
        file.bytes.truncate(end - garbled);
        file.bytes.extend(noise);
        let cut_off = std::mem::take(&mut file.cut_off);
        if comes_back && !cut_off.is_empty() {
            file.bytes.truncate(file.synced);
            file.bytes.extend(cut_off);
        }
        for lost in std::mem::take(&mut file.lost) {
            let end = lost.end.min(file.bytes.len());
            file.bytes[lost.start.min(end)..end].fill(0);
        }
        file.synced = file.bytes.len();
    }

    /// A number below `below`.
    fn roll(&mut self, below: u64) -> u64 {
        self.chance.next_u64() % below.max(1)
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0
            && (self.chance.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }

    /// Counts a call, and fails it if the power is off.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match &mut self.faults.calls_left {
            Some(0) => Err(Errno::IO.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn number(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| Errno::NOENT.into())
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsynced.push(naming);
    }
}

fn fail_if(fails: bool) -> io::Result<()> {
    if fails { Err(Errno::IO.into()) } else { Ok(()) }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Naming::Given(name, number) => drop(names.insert(name.clone(), *number)),
            Naming::Taken(name) => drop(names.remove(name)),
            Naming::Changed(from, to) => {
                if let Some(number) = names.remove(from) {
                    names.insert(to.clone(), number);
                }
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn lock(&mut self) -> io::Result<()> {
        self.call()?;
        match std::mem::replace(&mut self.locked, true) {
            true => Err(Errno::AGAIN.into()),
            false => Ok(()),
        }
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        self.call()?;
        Ok(self.names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.call()?;
        self.files.push(MemoryFile::default());
        self.name(Naming::Given(name.to_owned(), self.files.len() - 1));
        Ok(())
    }

    fn open(&mut self, name: &str) -> io::Result<u64> {
        self.call()?;
        Ok(self.files[self.number(name)?].bytes.len() as u64)
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.call()?;
        let bytes = &self.files[self.number(name)?].bytes;
        let rest = bytes.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize> {
        self.call()?;
        let number = self.number(name)?;
        if self.happens(self.faults.write_errors) {
            return Err(Errno::IO.into());
        }
        let room = self.faults.room_bytes.map_or(u64::MAX, |room| room.saturating_sub(self.size()));
        let mut count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        if count > 1 && self.happens(self.faults.short_writes) {
            count = 1 + self.roll(count as u64 - 1) as usize;
        }
        self.files[number].bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn sync(&mut self, name: &str) -> io::Result<Duration> {
        self.call()?;
        let number = self.number(name)?;
        let fails = self.happens(self.faults.sync_errors);
        let (least, most) = (*self.sync_time.start(), *self.sync_time.end());
        let spread = most.saturating_sub(least).as_nanos() as u64;
        let took = least + Duration::from_nanos(self.roll(spread + 1));
        if self.faults.syncs_lie && !fails {
            return Ok(took);
        }
        let file = &mut self.files[number];
        if fails {
            file.lost.push(file.synced..file.bytes.len());
        }
        file.synced = file.bytes.len();
        file.cut_off.clear();
        match fails {
            true => Err(Errno::IO.into()),
            false => Ok(took),
        }
    }

    fn truncate(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.call()?;
        let number = self.number(name)?;
        let file = &mut self.files[number];
        let size = (size as usize).min(file.bytes.len());
        if size < file.synced {
            let mut cut_off = file.bytes[size..file.synced].to_vec();
            cut_off.append(&mut file.cut_off);
            (file.synced, file.cut_off) = (size, cut_off);
        }
        file.bytes.truncate(size);
        // Bytes that are written there next are new to the kernel, so they are not lost yet.
        file.lost.retain_mut(|lost| {
            lost.end = lost.end.min(size);
            lost.start < lost.end
        });
        Ok(())
    }

    fn close(&mut self, _name: &str) {}

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.call()?;
        fail_if(self.faults.renames_fail)?;
        self.number(from)?;
        if self.names.contains_key(to) {
            return Err(Errno::EXIST.into());
        }
        self.name(Naming::Changed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.call()?;
        fail_if(self.faults.removals_fail)?;
        self.number(name)?;
        self.name(Naming::Taken(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.call()?;
        fail_if(self.faults.folder_syncs_fail)?;
        if self.faults.syncs_lie {
            return Ok(());
        }
        self.names_synced = self.names.clone();
        self.unsynced.clear();
        Ok(())
    }

    /// Works without power, because it reads the memory of the operating system. So it is not counted as a call.
    fn find(&mut self, name: &str) -> io::Result<()> {
        self.number(name).map(drop)
    }

    fn lock_again(&mut self) -> io::Result<()> {
        self.call()?;
        self.locked = true;
        Ok(())
    }
}

/// A disk that outlives its journal, and that a test can inspect meanwhile.
#[derive(Clone, Debug)]
pub struct SharedDisk(Rc<RefCell<MemoryDisk>>);

impl SharedDisk {
    /// Shares `disk`.
    pub fn new(disk: MemoryDisk) -> SharedDisk {
        SharedDisk(Rc::new(RefCell::new(disk)))
    }

    /// Borrows the disk. Drop the borrow before the journal is used.
    pub fn look(&self) -> RefMut<'_, MemoryDisk> {
        self.0.borrow_mut()
    }

    /// Takes the disk out, in the state in which a dead process leaves it.
    pub fn take(&self) -> MemoryDisk {
        self.0.replace(MemoryDisk::new(0))
    }
}

macro_rules! shared {
    ($(fn $call:ident(&mut self $(, $name:ident: $kind:ty)*) -> $result:ty;)*) => {
        impl Disk for SharedDisk {
            $(fn $call(&mut self $(, $name: $kind)*) -> $result {
                self.0.borrow_mut().$call($($name),*)
            })*
        }
    };
}

shared! {
    fn lock(&mut self) -> io::Result<()>;
    fn list(&mut self) -> io::Result<Vec<String>>;
    fn create(&mut self, name: &str) -> io::Result<()>;
    fn open(&mut self, name: &str) -> io::Result<u64>;
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize>;
    fn sync(&mut self, name: &str) -> io::Result<Duration>;
    fn truncate(&mut self, name: &str, size: u64) -> io::Result<()>;
    fn close(&mut self, name: &str) -> ();
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&mut self, name: &str) -> io::Result<()>;
    fn sync_folder(&mut self) -> io::Result<()>;
    fn find(&mut self, name: &str) -> io::Result<()>;
    fn lock_again(&mut self) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seed: u64, synced: &[u8], unsynced: &[u8]) -> MemoryDisk {
        let mut disk = MemoryDisk::new(seed);
        disk.create("a").unwrap();
        disk.append("a", synced).unwrap();
        disk.sync("a").unwrap();
        disk.sync_folder().unwrap();
        disk.append("a", unsynced).unwrap();
        disk
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_anything_of_the_rest() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = written(seed, b"synced", b"rest");
            disk.crash();
            let bytes = disk.bytes("a").unwrap().clone();
            assert!(bytes.starts_with(b"synced") && bytes.len() <= 10);
            lengths.insert(bytes.len());
        }
        assert_eq!(lengths.len(), 5);
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_one_brings_back() {
        let mut disk = written(1, b"synced", b"lost");
        disk.faults.sync_errors = 1.0;
        assert!(disk.sync("a").is_err());
        disk.faults.sync_errors = 0.0;
        disk.append("a", b"more").unwrap();
        disk.sync("a").unwrap();
        disk.crash();
        assert_eq!(disk.bytes("a").unwrap(), b"synced\0\0\0\0more");
    }

    #[test]
    fn what_is_written_where_something_lost_was_cut_off_is_kept() {
        let mut disk = written(1, b"synced", b"lost");
        disk.faults.sync_errors = 1.0;
        assert!(disk.sync("a").is_err());
        disk.faults.sync_errors = 0.0;
        disk.truncate("a", 6).unwrap();
        disk.append("a", b"more").unwrap();
        disk.sync("a").unwrap();
        disk.crash();
        assert_eq!(disk.bytes("a").unwrap(), b"syncedmore");
    }

    #[test]
    fn a_sync_that_lies_keeps_nothing() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = written(seed, b"synced", b"rest");
            disk.faults.syncs_lie = true;
            disk.sync("a").unwrap();
            disk.crash();
            lengths.insert(disk.bytes("a").unwrap().len());
        }
        assert_eq!(lengths.len(), 5);
    }

    #[test]
    fn names_are_on_the_disk_when_the_folder_was_synced() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut disk = written(seed, b"synced", b"");
            disk.rename("a", "b").unwrap();
            disk.create("c").unwrap();
            disk.crash();
            outcomes.insert(disk.list().unwrap().concat());
        }
        let expected = ["a", "b", "bc"].map(str::to_owned);
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_then_nothing() {
        let mut disk = written(1, b"12345", b"");
        disk.faults.room_bytes = Some(8);
        assert_eq!(disk.append("a", b"67890").unwrap(), 3);
        assert_eq!(disk.append("a", b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.faults.room_bytes = None;
        assert_eq!(disk.append("a", b"x").unwrap(), 1);
    }

    #[test]
    fn without_power_nothing_works_until_the_crash() {
        let mut disk = written(1, b"synced", b"");
        disk.faults.calls_left = Some(1);
        disk.append("a", b"x").unwrap();
        assert!(disk.sync("a").is_err() && disk.list().is_err());
        disk.crash();
        assert_eq!(disk.list().unwrap(), ["a"]);
    }
}
