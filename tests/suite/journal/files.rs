//! The journal alone, without a server.

use super::settings;
use crate::support::cluster::memory_disk::{DiskFaults, MemoryDisk, SharedDisk};
use crate::support::dice::Dice;
use crate::support::logged::Logged;
use herd_reactor::Moment;
use places_herd::journal::record;
use places_herd::journal::{
    Disk, FileHead, Journal, JournalSettings, KernelDisk, OpenError, Owner, Replayed, Snapshot,
    Sync, files_of, scan,
};
use places_herd::table::Table;
use std::cell::RefMut;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn owner() -> Owner {
    Owner { server: "Alford".into(), herd: "places-herd".into() }
}

/// The state of a test: a version for each key. A line is `key version`, and the highest version of a key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Versions(BTreeMap<u64, (u64, String)>);

impl Versions {
    fn take(&mut self, line: &[u8]) -> bool {
        let text = str::from_utf8(line).unwrap_or("");
        let Some((key, version)) = text.split_once(' ') else { return false };
        let (Ok(key), Ok(version)) = (key.parse(), version.parse()) else { return false };
        let known = self.0.entry(key).or_default();
        if (version, text) > (known.0, known.1.as_str()) {
            *known = (version, text.to_owned());
        }
        true
    }

    fn version(&self, key: u64) -> u64 {
        self.0.get(&key).map_or(0, |known| known.0)
    }
}

/// In these tests the keys are numbered from 0 without gaps.
impl Snapshot for Versions {
    fn end(&self) -> usize {
        self.0.len()
    }
    fn line(&self, number: usize) -> Option<&[u8]> {
        self.0.get(&(number as u64)).map(|(_, line)| line.as_bytes())
    }
    fn bytes(&self) -> u64 {
        self.0.values().map(|(_, line)| line.len() as u64 + 11).sum()
    }
}

fn open(disk: MemoryDisk, sync: Sync) -> Result<(OnDisk, Replayed, Versions), OpenError> {
    let mut versions = Versions::default();
    let (journal, replayed) =
        open_with(disk, settings(sync), false, &mut |line| versions.take(line))?;
    Ok((journal, replayed, versions))
}

/// A journal, and its disk.
#[derive(Debug)]
struct OnDisk {
    journal: Journal,
    disk: SharedDisk,
}

impl Deref for OnDisk {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        &self.journal
    }
}

impl DerefMut for OnDisk {
    fn deref_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }
}

fn open_with(
    disk: MemoryDisk,
    settings: JournalSettings,
    salvage: bool,
    mut each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(OnDisk, Replayed), OpenError> {
    let disk = SharedDisk::new(disk);
    let held = Box::new(disk.clone());
    let (journal, replayed) =
        Journal::open(held, settings, &owner(), salvage, &mut each, &mut || false)?;
    Ok((OnDisk { journal, disk }, replayed))
}

fn disk_of(journal: OnDisk) -> MemoryDisk {
    journal.disk.take()
}

fn disk_in(journal: &OnDisk) -> RefMut<'_, MemoryDisk> {
    journal.disk.look()
}

/// Returns a disk with `bytes` as its only journal.
fn disk_with(bytes: &[u8]) -> MemoryDisk {
    let mut disk = MemoryDisk::new(1);
    disk.create("journal.1").expect("there is room");
    disk.append("journal.1", bytes).expect("there is room");
    disk.sync("journal.1").expect("it can be synced");
    disk.sync_folder().expect("it can be synced");
    disk
}

/// A temporary folder, removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("herd-journal-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn disk(&self) -> Box<KernelDisk> {
        let start = Instant::now();
        Box::new(KernelDisk::new(&self.0, move || start.elapsed()))
    }

    fn open(&self, owner: &Owner) -> Result<(Journal, Vec<String>), OpenError> {
        let mut lines = Vec::new();
        let settings = JournalSettings { compact_bytes: 1 << 20, ..settings(Sync::Always) };
        let mut each = |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        };
        let (journal, _) =
            Journal::open(self.disk(), settings, owner, false, &mut each, &mut || false)?;
        Ok((journal, lines))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at_line(number: u64) -> String {
    format!("AT Alford +0.263873386 client-{number} +34.068930-118.445127 {number}.392014450")
}

/// Writes a journal of 1,000 records to a real file, and returns the bytes of the file.
fn a_real_journal(test: &str) -> Vec<u8> {
    let folder = Folder::new(test);
    let (mut journal, lines) = folder.open(&owner()).expect("the folder can be made");
    assert!(lines.is_empty());
    for number in 0..1_000 {
        journal.note(at_line(number).as_bytes());
        if number % 10 == 9 {
            journal.commit(Moment::default(), &Versions::default()).expect("there is room");
        }
    }
    journal.close(Moment::default(), &Versions::default()).expect("it can be synced");
    drop(journal);
    let (_, lines) = folder.open(&owner()).expect("it is whole");
    assert_eq!(lines, (0..1_000).map(at_line).collect::<Vec<_>>());
    fs::read(folder.0.join("journal.1")).expect("it is there")
}

#[test]
fn cut_at_any_byte_a_journal_keeps_every_whole_record_before_the_cut() {
    let bytes = a_real_journal("cut");
    let head = owner().head().len();
    let settings = JournalSettings { compact_bytes: u64::MAX, ..settings(Sync::Always) };
    // A cut has the same effect in every record. So the test cuts at each byte of the first hundred records, of those
    // at the end of the first read, and of the last ones, and between them at one of 89 bytes.
    let near = |place: usize, cut: usize| place.abs_diff(cut) < 400;
    let telling =
        |cut| cut < 8_000 || cut % 89 == 0 || near(1 << 16, cut) || near(bytes.len(), cut);
    let cuts: Vec<usize> = (0..=bytes.len()).filter(|cut| telling(*cut)).collect();
    for &cut in &cuts {
        let lines = bytes[head.min(cut)..cut].iter().filter(|byte| **byte == b'\n').count();
        // A record that has lost only its newline is whole.
        let whole = lines + usize::from(cut > head && bytes.get(cut) == Some(&b'\n'));
        let mut read = 0;
        let mut each = |line: &[u8]| {
            assert_eq!(line, at_line(read as u64).as_bytes());
            read += 1;
            true
        };
        // Every cut file is scanned; every seventh is also opened and appended to, which takes longer.
        if cut % 7 != 0 {
            let scan = scan(&mut &bytes[..cut], &mut each).expect("memory can be read");
            assert_eq!((read, scan.damaged_at()), (whole, None), "cut at {cut}");
            continue;
        }
        let (mut journal, replayed) =
            open_with(disk_with(&bytes[..cut]), settings.clone(), false, &mut each)
                .unwrap_or_else(|refusal| panic!("cut at {cut}: {refusal}"));
        assert_eq!((read, replayed.records), (whole, whole as u64), "cut at {cut}");
        journal.note(b"a line of the next life");
        journal.commit(Moment::default(), &Versions::default()).expect("there is room");
        let mut disk = disk_of(journal);
        let names = disk.list().expect("it can be read");
        let files = files_of(&names).expect("all have numbers");
        let newest = files.last().expect("there is one").1.to_owned();
        let now = disk.bytes(&newest).expect("it is there");
        let mut last = Vec::new();
        let mut note = |line: &[u8]| {
            last = line.to_vec();
            true
        };
        let scan = scan(&mut &now[..], &mut note).expect("memory can be read");
        assert_eq!((scan.records, scan.bad_at), (whole as u64 + 1, None), "cut at {cut}");
        assert_eq!(last, b"a line of the next life");
    }
    println!("{} cuts: every whole record kept, no panic", cuts.len());
}

#[test]
fn no_flipped_bit_makes_a_wrong_record() {
    const FLIPS: u64 = 10_000;
    let mut bytes = a_real_journal("flips");
    let lines: std::collections::BTreeSet<Vec<u8>> =
        (0..1_000).map(|number| at_line(number).into_bytes()).collect();
    let mut dice = Dice::new(20_261_122);
    let (mut wrong, mut refused, mut cut_off) = (0, 0, 0);
    for _ in 0..FLIPS {
        let bit = dice.roll(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut kept = 0;
        let scan = scan(&mut &bytes[..], &mut |line: &[u8]| {
            kept += 1;
            wrong += u64::from(!lines.contains(line));
            true
        })
        .expect("memory can be read");
        match (&scan.head, scan.damaged_at(), scan.torn_at()) {
            (FileHead::Of(found), ..) if *found != owner() => refused += 1,
            (FileHead::Of(_), Some(_), _) => refused += 1,
            (FileHead::Of(_), None, Some(_)) => cut_off += 1,
            (FileHead::Of(_), None, None) => panic!("the flipped bit {bit} was not detected"),
            _ => refused += 1,
        }
        if matches!(scan.head, FileHead::Of(_)) {
            assert!(kept >= 998, "bit {bit}: {kept} of 1,000 records kept");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    println!(
        "{FLIPS} flipped bits: {wrong} wrong records, {refused} refused, {cut_off} tails cut off"
    );
    assert_eq!(wrong, 0);
}

#[test]
fn damage_in_the_middle_is_refused_with_its_place_and_salvage_keeps_what_is_around_it() {
    let mut bytes = a_real_journal("middle");
    let place = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(499).unwrap().0;
    bytes[place + 5] ^= 1;
    match open_with(disk_with(&bytes), settings(Sync::Always), false, &mut |_| true) {
        Err(OpenError::Unusable(said)) => {
            let at = place + 1;
            let damaged = format!("damaged at byte {at}, before 500 intact records");
            assert!(said.contains(&damaged) && said.contains("--salvage"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let mut count = 0;
    let mut each = |_: &[u8]| {
        count += 1;
        true
    };
    let (journal, replayed) = open_with(disk_with(&bytes), settings(Sync::Always), true, &mut each)
        .expect("salvage was wanted");
    assert_eq!((count, replayed.records), (999, 999));
    assert!(journal.wake(Moment::default()).is_some(), "it is to be compacted");
}

#[test]
fn a_start_stopped_while_reading_changes_no_file_and_frees_the_lock() {
    let folder = Folder::new("stop");
    folder.disk().lock().expect("it is made");
    let mut older = owner().head();
    (0..5_000).for_each(|n| record::write(&mut older, format!("client {n}").as_bytes()));
    let newer = [owner().head(), b"half a rec".to_vec()].concat();
    let files = [("journal.1", &older), ("journal.2", &newer)];
    files.iter().for_each(|(name, bytes)| fs::write(folder.0.join(name), bytes).expect("ours"));
    let mut stopped = 0;
    let known = loop {
        let (mut asked, mut known) = (0, 0);
        let mut stops = || {
            asked += 1;
            asked > stopped
        };
        let mut each = |_: &[u8]| {
            known += 1;
            true
        };
        let settings = settings(Sync::Always);
        match Journal::open(folder.disk(), settings, &owner(), false, &mut each, &mut stops) {
            Err(OpenError::Stopped) => stopped += 1,
            Err(other) => panic!("{other}"),
            Ok(_) => break known,
        }
        for (name, bytes) in files {
            assert!(fs::read(folder.0.join(name)).expect("it is there") == *bytes, "{name}");
        }
    };
    assert!(stopped >= 4, "it was also stopped in the middle: {stopped}");
    assert_eq!(known, 5_000, "all records are there when it is not stopped");
}

#[test]
fn a_folder_has_one_user() {
    let folder = Folder::new("lock");
    let (journal, _) = folder.open(&owner()).expect("nobody has it");
    match folder.open(&owner()) {
        Err(OpenError::Locked(path)) => assert!(path.contains("herd-journal-"), "{path}"),
        other => panic!("{other:?}"),
    }
    drop(journal);
    folder.open(&owner()).expect("nobody has it any more");
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// Returns the modes of the folder and of the files in it.
fn modes_in(folder: &Path) -> Vec<(PathBuf, u32)> {
    let files =
        fs::read_dir(folder).expect("it is there").map(|file| file.expect("an entry").path());
    [folder.to_owned()]
        .into_iter()
        .chain(files)
        .map(|path| (path.clone(), mode_of(&path)))
        .collect()
}

#[test]
fn others_may_not_read_where_people_are() {
    let folder = Folder::new("mode");
    let (mut journal, _) = folder.open(&owner()).expect("a new one");
    for _ in 0..2 {
        let modes = modes_in(&folder.0);
        assert_eq!(modes.len(), 3, "the folder, the lock, a journal: {modes:?}");
        for (path, mode) in modes {
            let widest = if path == folder.0 { 0o750 } else { 0o640 };
            assert_eq!(mode & !widest, 0, "{path:?}: {mode:o}");
        }
        journal.compact(Moment::default(), &Table::new(0)).expect("there is room");
    }
}

#[test]
fn a_folder_that_others_may_open_is_shut_at_the_start() {
    let folder = Folder::new("wide");
    fs::create_dir(&folder.0).expect("it can be made");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o2775)).expect("it is ours");
    // A file restored from a copy may be readable by all, but others cannot open the folder.
    fs::write(folder.0.join("journal.1"), owner().head()).expect("it can be written");
    folder.open(&owner()).expect("it is ours");
    assert_eq!(mode_of(&folder.0) & 0o777, 0o770, "what the group may do stays");
}

#[test]
fn anothers_journal_is_refused_and_left_alone() {
    for (head, said) in [
        ("HERDJ 1 Bolden places-herd\n", "is the journal of Bolden in the herd places-herd"),
        ("HERDJ 1 Alford other\n", "is the journal of Alford in the herd other"),
        ("HERDJ 2 Alford places-herd\n", "has format 2, and this program reads 1"),
        ("herdj\n", "is not a journal"),
        ("HERDJ 1 Alford places-herd\x0bAT Alford", "is not a journal: its first line is not"),
        ("HERDJ 1 Alford places-\x1b[2Jherd\n", "is not a journal"),
        ("HERDJ 1 Alford places-herd\r\n", "has changed its line ends from LF to CR LF"),
        ("HERDJ 1 Alford places-herd\rAT Alford\r", "has changed its line ends"),
        ("{}", "is not a journal"),
    ] {
        let folder = Folder::new("anothers");
        fs::create_dir_all(&folder.0).expect("it can be made");
        let file = folder.0.join("journal.3");
        fs::write(&file, head).expect("it can be written");
        let refusal = folder.open(&owner()).expect_err("it is not ours").to_string();
        assert!(refusal.contains("journal.3") && refusal.contains(said), "{refusal}");
        assert!(!refusal.contains(char::is_control), "{refusal:?}");
        assert_eq!(fs::read(&file).expect("it is there"), head.as_bytes());
    }
}

/// Things other than a regular file that may have a file's name.
type Impostor = (&'static str, fn(&Path));

const IMPOSTORS: [Impostor; 5] = [
    ("a named pipe", |path| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
            .expect("it can be made");
    }),
    ("a socket", |path| {
        std::os::unix::net::UnixListener::bind(path).map(drop).expect("it can be made");
    }),
    ("a folder", |path| fs::create_dir(path).expect("it can be made")),
    ("a symbolic link", |path| symlink("/dev/full", path).expect("it can be made")),
    ("a symbolic link", |path| symlink("nowhere", path).expect("it can be made")),
];

#[test]
fn something_else_under_a_files_name_is_reported_and_never_waited_for() {
    for (what, make) in IMPOSTORS {
        for name in ["lock", "journal.1", "journal.7"] {
            let folder = Folder::new("impostor");
            fs::create_dir(&folder.0).expect("it can be made");
            make(&folder.0.join(name));
            let refusal = folder.open(&owner()).expect_err("it is not a file").to_string();
            let said = format!("it is not a regular file but {what}; move it away");
            assert!(refusal.contains(name) && refusal.ends_with(&said), "{name}: {refusal}");
            assert!(!folder.0.join("nowhere").exists(), "no file is created through a link");
        }
        // Under the name of an unfinished file it is removed, if possible; under that of a torn tail it is renamed.
        let folder = Folder::new("impostor");
        fs::create_dir(&folder.0).expect("it can be made");
        make(&folder.0.join("journal.2.new"));
        make(&folder.0.join("journal.1.torn"));
        fs::write(folder.0.join("journal.1"), torn(&["0 1"], b"half a rec")).expect("it is ours");
        match folder.open(&owner()) {
            Ok(_) => {
                let torn = fs::read(folder.0.join("journal.1.torn")).expect("it was moved");
                assert_eq!(torn, b"half a rec");
                assert!(folder.0.join("journal.1.torn.1").symlink_metadata().is_ok(), "{what}");
            }
            Err(refusal) => {
                let said = format!(
                    "journal.2.new cannot be removed: it is not a regular file but {what}; move it away"
                );
                assert!(what == "a folder" && refusal.to_string().ends_with(&said), "{refusal}");
            }
        }
    }
}

#[test]
fn something_else_under_a_folders_name_is_reported() {
    let folder = Folder::new("no-folder");
    fs::create_dir(&folder.0).expect("it can be made");
    for (what, make) in IMPOSTORS.iter().filter(|(what, _)| *what != "a folder") {
        let path = folder.0.join("Alford");
        make(&path);
        for below in [path.clone(), path.join("herd"), path.join("herd/Alford")] {
            let mut disk = KernelDisk::new(&below, || Duration::ZERO);
            let refusal = disk.lock().expect_err("it is not a folder").to_string();
            let said = format!("{} is not a folder but {what}; move it away", path.display());
            assert!(refusal.starts_with(&said), "{refusal}");
        }
        fs::remove_file(&path).expect("it is ours");
    }
}

#[test]
fn a_folder_may_be_a_link_to_one() {
    let folder = Folder::new("link");
    fs::create_dir(&folder.0).expect("it can be made");
    fs::create_dir(folder.0.join("there")).expect("it can be made");
    let link = folder.0.join("Alford");
    symlink("there", &link).expect("it can be made");
    let mut disk = KernelDisk::new(&link, || Duration::ZERO);
    disk.lock().expect("it is a folder");
    assert!(folder.0.join("there/lock").exists());
}

/// Runs turns of a server with 20 keys, some of which change in each turn, until an error. Returns the versions
/// that were committed.
fn live_through(journal: &mut Journal, versions: &mut Versions, turns: u64, seed: u64) -> Versions {
    let mut dice = Dice::new(seed);
    let mut kept = versions.clone();
    for turn in 1..=turns {
        for _ in 0..dice.roll(6) {
            let key = dice.roll(20).min(versions.end() as u64);
            let line = format!("{key} {}", versions.version(key) + 1);
            versions.take(line.as_bytes());
            journal.note(line.as_bytes());
        }
        let now = Moment::from_nanos(turn * 1_000_000);
        match journal.commit(now, versions) {
            Ok(()) if journal.is_sound() => kept = versions.clone(),
            Ok(()) => {}
            Err(_) => break,
        }
    }
    kept
}

#[test]
fn a_crash_at_any_call_of_the_disk_loses_nothing_that_was_committed() {
    const TURNS: u64 = 400;
    let (mut journal, _, mut versions) = open(MemoryDisk::new(1), Sync::Always).unwrap();
    live_through(&mut journal, &mut versions, TURNS, 1);
    let (counts, calls) = (journal.counts(), disk_in(&journal).calls());
    assert!(counts.compactions > 5, "{counts:?}");
    for call in 0..calls {
        let mut disk = MemoryDisk::new(call);
        disk.faults.calls_left = Some(call);
        let mut kept = Versions::default();
        let mut left = match open(disk, Sync::Always) {
            Ok((mut journal, _, mut versions)) => {
                kept = live_through(&mut journal, &mut versions, TURNS, 1);
                disk_of(journal)
            }
            // The power failed before there was a journal.
            Err(_) => MemoryDisk::new(call),
        };
        left.crash();
        let (mut journal, _, mut found) =
            open(left, Sync::Always).unwrap_or_else(|why| panic!("call {call}: {why}"));
        for (key, (version, _)) in &kept.0 {
            assert!(found.version(*key) >= *version, "call {call}, key {key}: not {version}");
        }
        // The next life works, and ends with one file.
        live_through(&mut journal, &mut found, 30, call);
        let names = disk_in(&journal).list().expect("it can be read");
        assert_eq!(journals(&journal).len(), 1, "call {call}: {names:?}");
        let torn = names.iter().filter(|name| name.contains(".torn")).count();
        assert!(names.len() <= 2 + torn && torn <= 5, "call {call}: {names:?}");
        let mut left = disk_of(journal);
        left.crash();
        let (_, _, again) = open(left, Sync::Always).unwrap();
        assert_eq!(again, found, "call {call}");
    }
    println!("a crash at each of {calls} calls, {} compactions: nothing lost", counts.compactions);
}

#[test]
fn with_always_a_failure_is_the_end() {
    for (writes, syncs) in [(1.0, 0.0), (0.0, 1.0)] {
        let (mut journal, _, versions) = open(MemoryDisk::new(1), Sync::Always).unwrap();
        disk_in(&journal).faults =
            DiskFaults { write_errors: writes, sync_errors: syncs, ..DiskFaults::default() };
        journal.note(b"0 1");
        let calls = disk_in(&journal).calls();
        let error = journal.commit(Moment::default(), &versions).expect_err("it failed");
        assert!(error.to_string().starts_with("journal.1 cannot be "), "{error}");
        // It does not retry: one write; or one write, one sync, and the truncation of the unsynced bytes.
        assert_eq!(disk_in(&journal).calls() - calls, if writes > 0.0 { 1 } else { 3 });
    }
}

#[test]
fn new_settings_apply_to_what_is_not_synced_yet() {
    let (mut journal, _, mut versions) = open(MemoryDisk::new(1), Sync::EverySecond).unwrap();
    commit_one(&mut journal, &mut versions, 0).expect("it is kept");
    let before = journal.counts().sync_durations.count();
    journal.set_settings(&settings(Sync::Always));
    journal.commit(Moment::from_nanos(1), &versions).expect("it is synced");
    assert_eq!(journal.counts().sync_durations.count(), before + 1);
    commit_one(&mut journal, &mut versions, 1).expect("it is synced at once");
    assert_eq!(journal.counts().sync_durations.count(), before + 2);
    journal.set_settings(&settings(Sync::No));
    commit_one(&mut journal, &mut versions, 5_000).expect("it is kept");
    assert_eq!(journal.counts().sync_durations.count(), before + 2);
}

#[test]
fn the_records_of_a_failed_sync_are_not_read_at_the_next_start() {
    let (mut journal, _, mut versions) = open(MemoryDisk::new(1), Sync::Always).unwrap();
    let mut note = |journal: &mut Journal, line: &[u8]| {
        versions.take(line);
        journal.note(line);
        journal.commit(Moment::default(), &versions)
    };
    note(&mut journal, b"0 1").expect("it is kept");
    disk_in(&journal).faults.sync_errors = 1.0;
    note(&mut journal, b"1 1").expect_err("the sync fails, and the server ends");
    let mut disk = disk_of(journal);
    disk.release();
    disk.faults.sync_errors = 0.0;
    // The machine keeps running, so the kernel's cache would still show bytes that never reach the disk.
    let (mut journal, replayed, found) = open(disk, Sync::Always).expect("it is whole");
    assert_eq!((found.version(0), found.version(1), replayed.torn_bytes), (1, 0, 0));
    note(&mut journal, b"2 1").expect("it is kept");
    let mut disk = disk_of(journal);
    disk.crash();
    let (_, _, found) = open(disk, Sync::Always).expect("nothing behind a gap");
    assert_eq!((found.version(0), found.version(2)), (1, 1));
}

#[test]
fn what_is_read_at_the_start_is_on_the_disk() {
    for seed in 0..20 {
        let (mut journal, _, mut versions) =
            open(MemoryDisk::new(seed), Sync::EverySecond).unwrap();
        live_through(&mut journal, &mut versions, 5, 1);
        // The process is killed before the sync, and restarted; then the power fails.
        let mut disk = disk_of(journal);
        disk.release();
        let (journal, _, read) = open(disk, Sync::EverySecond).expect("it is whole");
        assert_eq!(read, versions, "seed {seed}");
        let mut disk = disk_of(journal);
        disk.crash();
        let (_, _, found) = open(disk, Sync::EverySecond).expect("it is whole");
        assert_eq!(found, read, "seed {seed}");
    }
}

#[test]
fn with_the_other_policies_a_new_file_mends_it() {
    for sync in [Sync::EverySecond, Sync::No] {
        let (mut journal, _, mut versions) = open(MemoryDisk::new(1), sync).unwrap();
        let kept = live_through(&mut journal, &mut versions, 20, 1);
        let size = disk_in(&journal).size();
        disk_in(&journal).faults.room_bytes = Some(size + 3);
        let commit = |journal: &mut Journal, versions: &mut Versions, millis: u64, line: &str| {
            versions.take(line.as_bytes());
            journal.note(line.as_bytes());
            journal.commit(Moment::from_nanos(millis * 1_000_000), versions).expect("never fatal");
        };
        commit(&mut journal, &mut versions, 10_000, "0 1000");
        assert!(!journal.is_sound());
        // The half record that had room is cut off again.
        assert_eq!(disk_in(&journal).size(), size);
        // It retries every few seconds, not more often.
        let failures = journal.counts().failures;
        for millis in 10_001..14_999 {
            commit(&mut journal, &mut versions, millis, "1 1001");
        }
        assert!(!journal.is_sound() && journal.counts().failures <= failures + 1);
        disk_in(&journal).faults.room_bytes = None;
        let mut recovered = None;
        for millis in 15_000..25_000 {
            commit(&mut journal, &mut versions, millis, &format!("2 {millis}"));
            if journal.is_sound() && recovered.is_none() {
                recovered = Some(millis);
            }
        }
        println!("{sync:?}: room again at 14,999 ms, sound at {recovered:?} ms");
        assert!(recovered.is_some_and(|at| at < 20_100));
        // The new file has the lines committed before the failure and those noted while it was broken.
        let mut disk = disk_of(journal);
        disk.release();
        let (_, _, found) = open(disk, sync).expect("it is whole");
        assert_eq!(found, versions);
        assert!(kept.0.iter().all(|(key, (version, _))| found.version(*key) >= *version));
    }
}

#[test]
fn no_failure_is_logged_after_the_line_that_a_new_file_is_complete() {
    let log = Logged::here();
    for sync in [Sync::EverySecond, Sync::No] {
        let settings = JournalSettings { retry: Duration::from_millis(50), ..settings(sync) };
        let (mut journal, _) =
            open_with(MemoryDisk::new(1), settings, false, &mut |_| true).expect("it is empty");
        let mut versions = Versions::default();
        commit_one(&mut journal, &mut versions, 0).expect("there is room");
        log.take();
        disk_in(&journal).faults.room_bytes = Some(0);
        for millis in 10_000..10_300 {
            commit_one(&mut journal, &mut versions, millis).expect("never fatal");
        }
        disk_in(&journal).faults.room_bytes = None;
        for millis in 10_300..12_000 {
            commit_one(&mut journal, &mut versions, millis).expect("never fatal");
        }
        let lines = log.take();
        let errors = lines.iter().filter(|line| line.starts_with("ERROR")).count();
        let whole = lines.iter().position(|line| line.contains("the server accepts reports again"));
        assert_eq!((errors, whole), (2, Some(2)), "{lines:?}");
        assert!(lines[0].ends_with(": 1 failure of this kind"), "{lines:?}");
        assert!(lines[1].contains(" failures of this kind"), "{lines:?}");
    }
}

#[test]
fn what_is_noted_while_it_is_broken_is_in_the_new_file() {
    let (mut journal, _, mut versions) = open(MemoryDisk::new(3), Sync::EverySecond).unwrap();
    disk_in(&journal).faults.sync_errors = 1.0;
    live_through(&mut journal, &mut versions, 3, 7);
    let note = |journal: &mut Journal, versions: &mut Versions, second: u64| {
        let line = format!("0 {}", versions.version(0) + 1);
        versions.take(line.as_bytes());
        journal.note(line.as_bytes());
        journal.commit(Moment::from_nanos(second * 1_000_000_000), versions).expect("never fatal");
    };
    (2..4).for_each(|second| note(&mut journal, &mut versions, second));
    assert!(!journal.is_sound());
    disk_in(&journal).faults.sync_errors = 0.0;
    (9..20).for_each(|second| note(&mut journal, &mut versions, second));
    assert!(journal.is_sound());
    let now = Moment::from_nanos(30_000_000_000);
    journal.commit(now, &versions).expect("it is sound");
    let mut disk = disk_of(journal);
    disk.crash();
    let (_, _, found) = open(disk, Sync::EverySecond).expect("the new file is whole");
    assert_eq!(found, versions);
}

/// Notes and commits one more line, `millis` after the start.
fn commit_one(journal: &mut Journal, versions: &mut Versions, millis: u64) -> std::io::Result<()> {
    let line = format!("0 {}", versions.version(0) + 1);
    versions.take(line.as_bytes());
    journal.note(line.as_bytes());
    journal.commit(Moment::from_nanos(millis * 1_000_000), versions)
}

/// Runs turns a second apart until `journal` has been compacted. Returns their number.
fn until_compacted(journal: &mut Journal, versions: &mut Versions, from: u64) -> u64 {
    let before = journal.counts().compactions;
    for turn in 1..1_000 {
        commit_one(journal, versions, (from + turn) * 1_000).expect("the disk is sound");
        if journal.counts().compactions > before {
            return turn;
        }
    }
    panic!("it is not compacted");
}

/// Returns the numbers of the journals on a disk.
fn journals(journal: &OnDisk) -> Vec<u64> {
    let names = disk_in(journal).list().expect("it can be read");
    let files = files_of(&names).expect("all have numbers");
    files.into_iter().map(|(number, _)| number).collect()
}

/// Writes enough lines in ten seconds to make a compaction due, with `faults` on the disk. Also returns the first error
/// of a commit.
fn compact_with(
    sync: Sync,
    faults: fn(&mut DiskFaults),
) -> (OnDisk, Versions, Option<std::io::Error>) {
    let (mut journal, _, mut versions) = open(MemoryDisk::new(1), sync).unwrap();
    faults(&mut disk_in(&journal).faults);
    let failure =
        (0..1_000).find_map(|turn| commit_one(&mut journal, &mut versions, turn * 10).err());
    assert!(journal.counts().failures > 0, "the fault was met: {:?}", journal.counts());
    (journal, versions, failure)
}

#[test]
fn a_new_file_that_cannot_be_renamed_leaves_the_old_one_in_use() {
    for sync in [Sync::Always, Sync::EverySecond, Sync::No] {
        let (mut journal, mut versions, failure) =
            compact_with(sync, |faults| faults.renames_fail = true);
        assert!(failure.is_none() && journal.is_sound(), "{sync:?}: {failure:?}");
        assert_eq!(journals(&journal), [1], "{sync:?}");
        assert_eq!(journal.counts().compactions, 0);
        // It retries every five seconds, not in every turn.
        assert!(journal.counts().failures <= 3, "{:?}", journal.counts());
        disk_in(&journal).faults.renames_fail = false;
        until_compacted(&mut journal, &mut versions, 20);
        assert_eq!(journals(&journal), [2], "{sync:?}");
        commit_one(&mut journal, &mut versions, 2_000_000).expect("the disk is sound");
        let mut disk = disk_of(journal);
        disk.release();
        let (_, _, found) = open(disk, sync).expect("it is whole");
        assert_eq!(found, versions, "{sync:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_synced_is_the_end_with_always() {
    for seed in 0..20 {
        let (mut journal, _, mut versions) = open(MemoryDisk::new(seed), Sync::Always).unwrap();
        disk_in(&journal).faults.folder_syncs_fail = true;
        let failure =
            (0..1_000).find_map(|turn| commit_one(&mut journal, &mut versions, turn).err());
        let failure = failure.expect("a crash could leave either file");
        assert!(failure.to_string().contains("cannot be put on the disk"), "{failure}");
        // Either file has all acknowledged lines: all but those of the last turn.
        let mut disk = disk_of(journal);
        disk.faults = DiskFaults::default();
        disk.crash();
        let (_, _, found) = open(disk, Sync::Always).expect("it is whole");
        assert!(found.version(0) + 1 >= versions.version(0), "seed {seed}");
    }
}

#[test]
fn with_the_other_policies_a_folder_that_cannot_be_synced_leaves_few_files() {
    for sync in [Sync::EverySecond, Sync::No] {
        let (mut journal, mut versions, failure) =
            compact_with(sync, |faults| faults.folder_syncs_fail = true);
        assert!(failure.is_none() && !journal.is_sound(), "{sync:?}: {failure:?}");
        // After an hour of attempts there are at most two files: the one that survives a crash, and the newest.
        for second in 11..3_600 {
            commit_one(&mut journal, &mut versions, second * 1_000).expect("never fatal");
            assert!(!journal.is_sound());
        }
        assert!(journal.counts().failures > 300, "{:?}", journal.counts());
        let left = journals(&journal);
        assert!(left.len() <= 2 && left[0] == 1, "{sync:?}: {left:?}");
        disk_in(&journal).faults.folder_syncs_fail = false;
        let turns = until_compacted(&mut journal, &mut versions, 3_600);
        assert!(journal.is_sound() && turns <= 6, "{turns} s");
        assert_eq!(journals(&journal).len(), 1, "{sync:?}");
        let mut disk = disk_of(journal);
        disk.release();
        let (_, _, found) = open(disk, sync).expect("it is whole");
        assert_eq!(found, versions, "{sync:?}");
    }
}

#[test]
fn an_old_file_that_cannot_be_removed_goes_the_next_time() {
    let (mut journal, _, mut versions) = open(MemoryDisk::new(1), Sync::Always).unwrap();
    disk_in(&journal).faults.removals_fail = true;
    until_compacted(&mut journal, &mut versions, 0);
    assert_eq!(journals(&journal), [1, 2]);
    assert!(journal.is_sound());
    disk_in(&journal).faults.removals_fail = false;
    until_compacted(&mut journal, &mut versions, 1_000);
    assert_eq!(journals(&journal), [3]);
    let mut disk = disk_of(journal);
    disk.crash();
    let (_, _, found) = open(disk, Sync::Always).expect("it is whole");
    assert_eq!(found, versions);
}

#[test]
fn short_writes_are_finished() {
    let mut disk = MemoryDisk::new(5);
    disk.faults.short_writes = 0.9;
    let (mut journal, _, mut versions) = open(disk, Sync::Always).unwrap();
    let kept = live_through(&mut journal, &mut versions, 300, 5);
    let mut disk = disk_of(journal);
    disk.crash();
    assert_eq!(open(disk, Sync::Always).expect("it is whole").2, kept);
}

#[test]
fn a_turn_of_megabytes_does_not_wait_for_its_end() {
    let settings = JournalSettings { compact_bytes: u64::MAX, ..settings(Sync::Always) };
    let (mut journal, _) =
        open_with(MemoryDisk::new(1), settings, false, &mut |_| true).expect("a new one");
    let line = [b'x'; 60_000];
    let calls = disk_in(&journal).calls();
    (0..100).for_each(|_| journal.note(&line));
    assert!(disk_in(&journal).calls() >= calls + 5);
    journal.commit(Moment::default(), &Versions::default()).expect("there is room");
    let mut disk = disk_of(journal);
    disk.crash();
    assert_eq!(disk.size(), owner().head().len() as u64 + 100 * (60_000 + 11));
}

#[test]
fn what_is_written_at_once_is_64_kib_at_most_or_one_record_that_is_longer() {
    let settings = JournalSettings { compact_bytes: u64::MAX, ..settings(Sync::No) };
    let (mut journal, _) =
        open_with(MemoryDisk::new(1), settings, false, &mut |_| true).expect("a new one");
    let mut noted = disk_in(&journal).size();
    let mut written = noted;
    for number in 0..3_000 {
        let length = if number % 1_000 == 999 { 65_535 } else { number * 37 % 900 };
        journal.note(&vec![b'x'; length]);
        noted += length as u64 + 11;
        let now = disk_in(&journal).size();
        assert!(now - written <= 65_546 && noted - now <= 65_546, "record {number}");
        written = now;
    }
    journal.commit(Moment::default(), &Versions::default()).expect("there is room");
    assert_eq!(disk_in(&journal).size(), noted);
}

#[test]
fn a_turn_is_one_write_and_with_always_one_sync() {
    for (sync, calls) in [(Sync::No, 1), (Sync::EverySecond, 1), (Sync::Always, 2)] {
        let (mut journal, _, versions) = open(MemoryDisk::new(1), sync).unwrap();
        let before = disk_in(&journal).calls();
        (0..50).for_each(|number| journal.note(format!("{number} 1").as_bytes()));
        journal.commit(Moment::default(), &versions).expect("there is room");
        assert_eq!(disk_in(&journal).calls() - before, calls, "{sync:?}");
        // A turn without news does not touch the disk.
        journal.commit(Moment::default(), &versions).expect("there is nothing to do");
        assert_eq!(disk_in(&journal).calls() - before, calls, "{sync:?}");
    }
}

#[test]
fn an_orderly_end_syncs_and_mends() {
    for breaks in [false, true] {
        let (mut journal, _, mut versions) = open(MemoryDisk::new(1), Sync::No).unwrap();
        live_through(&mut journal, &mut versions, 20, 1);
        disk_in(&journal).faults.write_errors = if breaks { 1.0 } else { 0.0 };
        live_through(&mut journal, &mut versions, 20, 2);
        assert_eq!(journal.is_sound(), !breaks);
        disk_in(&journal).faults.write_errors = 0.0;
        journal.close(Moment::default(), &versions).expect("there is room");
        let mut disk = disk_of(journal);
        disk.crash();
        assert_eq!(open(disk, Sync::No).expect("it is whole").2, versions);
    }
}

#[test]
fn a_slow_sync_is_timed() {
    let (mut journal, _, versions) = open(MemoryDisk::new(1), Sync::Always).unwrap();
    let time = Duration::from_millis(230);
    disk_in(&journal).sync_time = time..=time;
    journal.note(b"0 1");
    journal.commit(Moment::default(), &versions).expect("it is slow, not broken");
    assert_eq!((journal.counts().last_sync, journal.counts().longest_sync), (time, time));
}

/// A way in which an operator may damage the folder of a running server.
type Loss = (&'static str, fn(&Path));

const LOSSES: [Loss; 6] = [
    ("the folder is renamed", |folder| {
        fs::rename(folder, folder.with_extension("away")).expect("it is ours");
    }),
    ("the folder is removed", |folder| fs::remove_dir_all(folder).expect("it is ours")),
    ("an older folder is put in its place", |folder| {
        fs::rename(folder, folder.with_extension("away")).expect("it is ours");
        fs::create_dir(folder).expect("it is ours");
        let old = [owner().head(), b"0 1 *1F70181A\n".to_vec()].concat();
        fs::write(folder.join("journal.9"), old).expect("it is ours");
    }),
    ("the file is removed", |folder| {
        fs::remove_file(folder.join("journal.1")).expect("it is ours");
    }),
    ("the file is replaced by a copy", |folder| {
        fs::copy(folder.join("journal.1"), folder.join("copy")).expect("it is ours");
        fs::rename(folder.join("copy"), folder.join("journal.1")).expect("it is ours");
    }),
    ("the lock is removed", |folder| fs::remove_file(folder.join("lock")).expect("it is ours")),
];

/// Creates a journal in `folder` with one committed line, `0 1`.
fn begun(folder: &Folder, sync: Sync) -> (Journal, Versions) {
    let settings = JournalSettings { compact_bytes: 1 << 20, ..settings(sync) };
    let (mut journal, _) =
        Journal::open(folder.disk(), settings, &owner(), false, &mut |_: &[u8]| true, &mut || {
            false
        })
        .expect("it is ours");
    let mut versions = Versions::default();
    commit_one(&mut journal, &mut versions, 0).expect("it is kept");
    (journal, versions)
}

/// Returns the lines that the next start finds in `folder`.
fn found_in(folder: &Folder) -> Result<Versions, OpenError> {
    let mut versions = Versions::default();
    let mut each = |line: &[u8]| versions.take(line);
    let settings = settings(Sync::Always);
    Journal::open(folder.disk(), settings, &owner(), false, &mut each, &mut || false)?;
    Ok(versions)
}

/// Checks that the folder of a lost journal is locked again, and that the next start finds all lines.
#[track_caller]
fn is_whole_at_the_next_start(journal: Journal, folder: &Folder, held: &Versions, what: &str) {
    assert!(matches!(found_in(folder), Err(OpenError::Locked(_))), "{what}: not locked");
    drop(journal);
    assert_eq!(found_in(folder).expect("it is whole"), *held, "{what}");
    let _ = fs::remove_dir_all(folder.0.with_extension("away"));
}

#[test]
fn with_always_nothing_is_acknowledged_that_a_start_would_not_find() {
    for (what, lose) in LOSSES {
        let folder = Folder::new("lost-always");
        let (mut journal, mut versions) = begun(&folder, Sync::Always);
        lose(&folder.0);
        commit_one(&mut journal, &mut versions, 1).expect("the folder can be made again");
        assert!(journal.is_sound(), "{what}");
        assert_eq!((journal.counts().failures, journal.counts().compactions), (1, 1), "{what}");
        is_whole_at_the_next_start(journal, &folder, &versions, what);
    }
}

#[test]
fn with_always_a_folder_that_cannot_be_made_again_is_the_end() {
    let folder = Folder::new("lost-end");
    let (mut journal, mut versions) = begun(&folder, Sync::Always);
    fs::remove_dir_all(&folder.0).expect("it is ours");
    fs::write(&folder.0, "a file where the folder was").expect("it is ours");
    let error = commit_one(&mut journal, &mut versions, 1).expect_err("nothing is kept");
    assert!(error.to_string().contains("cannot be locked"), "{error}");
    fs::remove_file(&folder.0).expect("it is ours");
}

#[test]
fn with_the_other_policies_a_journal_that_is_lost_is_made_again_within_a_second_of_news() {
    for (what, lose) in LOSSES {
        for sync in [Sync::EverySecond, Sync::No] {
            let folder = Folder::new("lost");
            let (mut journal, mut versions) = begun(&folder, sync);
            lose(&folder.0);
            let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
            assert!(journal.wake(at(0)).is_some_and(|wake| wake <= at(1_000)), "{what}: asleep");
            commit_one(&mut journal, &mut versions, 999).expect("never fatal");
            assert!(journal.is_sound(), "{what}: not yet");
            let before = journal.counts();
            for millis in 1_000..1_010 {
                journal.commit(at(millis), &versions).expect("never fatal");
            }
            assert!(journal.is_sound(), "{what}: {:?}", journal.counts());
            assert_eq!(journal.counts().compactions, before.compactions + 1, "{what}");
            assert_eq!(journal.counts().failures, before.failures + 1, "{what}");
            commit_one(&mut journal, &mut versions, 1_020).expect("never fatal");
            is_whole_at_the_next_start(journal, &folder, &versions, what);
        }
    }
}

#[test]
fn a_journal_that_is_lost_while_nothing_happens_is_made_again_within_a_minute() {
    let folder = Folder::new("lost-idle");
    let (mut journal, versions) = begun(&folder, Sync::Always);
    fs::remove_dir_all(&folder.0).expect("it is ours");
    let wake = journal.wake(Moment::default()).expect("it will look");
    assert!(wake <= Moment::from_nanos(60_000_000_000), "{wake:?}");
    journal.commit(wake, &versions).expect("the folder can be made again");
    assert_eq!((journal.counts().failures, journal.counts().compactions), (1, 1));
    drop(journal);
    assert_eq!(found_in(&folder).expect("it is whole"), versions);
}

#[test]
fn an_orderly_end_finds_out_too_that_the_journal_is_lost() {
    for (what, lose) in LOSSES {
        let folder = Folder::new("lost-end-in-good-order");
        let (mut journal, versions) = begun(&folder, Sync::EverySecond);
        lose(&folder.0);
        journal.close(Moment::default(), &versions).expect("the folder can be made again");
        drop(journal);
        assert_eq!(found_in(&folder).expect("it is whole"), versions, "{what}");
        let _ = fs::remove_dir_all(folder.0.with_extension("away"));
    }
}

/// Creates a journal whose compaction is under way. Also returns the number of commits so far, one per millisecond.
fn while_compacting(test: &str) -> (Folder, Journal, Versions, u64) {
    let folder = Folder::new(test);
    let settings = JournalSettings { compact_bytes: 2_000, ..settings(Sync::EverySecond) };
    let (mut journal, _) =
        Journal::open(folder.disk(), settings, &owner(), false, &mut |_: &[u8]| true, &mut || {
            false
        })
        .expect("ours");
    let mut versions = Versions::default();
    (0..100).for_each(|key| assert!(versions.take(format!("{key} 1").as_bytes())));
    (0..100).for_each(|key| journal.note(format!("{key} 1").as_bytes()));
    (0..100).for_each(|_| journal.note(b"0 1"));
    let mut millis = 0;
    while !folder.0.join("journal.2.new").exists() {
        millis += 1;
        assert!(millis < 100, "it is not compacted");
        commit_one(&mut journal, &mut versions, millis).expect("never fatal");
    }
    (folder, journal, versions, millis)
}

#[test]
fn a_compaction_that_was_under_way_when_the_folder_went_is_begun_again() {
    let (folder, mut journal, mut versions, _) = while_compacting("lost-compacting");
    fs::rename(&folder.0, folder.0.with_extension("away")).expect("it is ours");
    (1_000..1_100).for_each(|millis| {
        commit_one(&mut journal, &mut versions, millis).expect("never fatal");
    });
    drop(journal);
    assert_eq!(found_in(&folder).expect("it is whole"), versions);
    fs::remove_dir_all(folder.0.with_extension("away")).expect("it is ours");
}

#[test]
fn a_journal_of_the_highest_number_is_written_anew_and_read_again() {
    let highest = u64::MAX / 2 - 1;
    // Once there is no other journal, and once the first numbers are taken.
    for others in [vec![], vec![0, 1]] {
        let mut disk = MemoryDisk::new(1);
        for number in others.iter().chain([&highest]) {
            let name = format!("journal.{number}");
            disk.create(&name).expect("there is room");
            disk.append(&name, &torn(&[&format!("{} 1", 2 + number % 10)], b"")).expect("room");
        }
        let (mut journal, replayed, mut versions) = open(disk, Sync::Always).expect("it is ours");
        assert_eq!(replayed.files, others.len() + 1);
        // This keeps the keys numbered without gaps.
        (0..10).for_each(|key| assert!(versions.take(format!("{key} 1").as_bytes())));
        (0..3).for_each(|_| assert!(until_compacted(&mut journal, &mut versions, 0) > 0));
        assert_eq!(journals(&journal).len(), 1);
        let mut disk = disk_of(journal);
        disk.crash();
        let (_, _, found) = open(disk, Sync::Always).expect("it is whole");
        assert_eq!(found, versions, "{others:?}");
    }
}

#[test]
fn a_journal_with_an_invalid_number_is_rejected_and_not_skipped() {
    let no_number = ["9223372036854775807", "18446744073709551615", "99999999999999999999", "007"];
    for number in no_number {
        let name = format!("journal.{number}");
        let mut disk = disk_with(&torn(&["0 1"], b""));
        disk.rename("journal.1", &name).expect("it is there");
        let disk = SharedDisk::new(disk);
        let refusal = start(&disk, Sync::No).expect_err("its lines count");
        assert!(matches!(refusal, OpenError::Unusable(_)), "{refusal}");
        let refusal = refusal.to_string();
        assert!(refusal.starts_with(&name) && refusal.contains("rename it"), "{refusal}");
        assert_eq!(disk.look().list().expect("it can be read"), [name]);
    }
    let mut disk = disk_with(&torn(&["0 1"], b""));
    for name in ["journal.", "journal.+5", "journal.1.gz", "journal.old", "journal.1e3"] {
        disk.create(name).expect("there is room");
    }
    let (_, replayed, _) = open(disk, Sync::No).expect("the others are not journals");
    assert_eq!(replayed.files, 1);
}

#[test]
fn a_journal_that_is_put_into_the_folder_of_a_running_server_is_kept_and_read() {
    for sync in [Sync::Always, Sync::EverySecond, Sync::No] {
        let (mut journal, _, mut versions) = open(MemoryDisk::new(1), sync).expect("it is empty");
        for name in ["journal.2", "journal.3"] {
            let mut disk = disk_in(&journal);
            disk.create(name).expect("there is room");
            disk.append(name, &torn(&[&format!("1 {name}").replace("journal.", "7")], b""))
                .expect("there is room");
            disk.sync(name).expect("it can be synced");
        }
        until_compacted(&mut journal, &mut versions, 0);
        assert_eq!(journals(&journal), [2, 3, 4]);
        assert_eq!(journal.counts().failures, 0, "nothing has failed");
        let mut disk = disk_of(journal);
        disk.release();
        let (_, _, found) = open(disk, sync).expect("all are whole");
        assert_eq!((found.version(0), found.version(1)), (versions.version(0), 73));
    }
}

#[test]
fn what_is_put_into_a_folder_while_the_new_file_is_written_is_neither_written_over_nor_removed() {
    // The copy gets the new file's name, then the old one's.
    for place in ["journal.2", "journal.1"] {
        let (folder, mut journal, mut versions, mut millis) = while_compacting("put-there");
        fs::write(folder.0.join("copy"), torn(&["5 77"], b"")).expect("it is ours");
        fs::rename(folder.0.join("copy"), folder.0.join(place)).expect("it is ours");
        let before = journal.counts().compactions;
        while journal.counts().compactions == before {
            millis += 1;
            assert!(millis < 900, "it is not placed");
            commit_one(&mut journal, &mut versions, millis).expect("never fatal");
        }
        drop(journal);
        let found = found_in(&folder).expect("all are whole");
        assert_eq!((found.version(0), found.version(5)), (versions.version(0), 77), "{place}");
    }
}

/// Returns the bytes of the file `name`.
fn read_on(disk: &mut MemoryDisk, name: &str) -> Option<Vec<u8>> {
    disk.bytes(name).cloned()
}

/// Returns a journal with these records, followed by the bytes `tail`.
fn torn(records: &[&str], tail: &[u8]) -> Vec<u8> {
    let mut bytes = owner().head();
    records.iter().for_each(|line| record::write(&mut bytes, line.as_bytes()));
    [bytes, tail.to_vec()].concat()
}

#[test]
fn a_torn_tail_is_moved_whatever_its_length_and_the_last_five_are_kept() {
    let folder = Folder::new("torn");
    fs::create_dir(&folder.0).expect("it can be made");
    let file = folder.0.join("journal.3");
    let whole = torn(&["0 1", "1 1"], b"");
    let tails = (0..8_usize).map(|number| [vec![b'x'; number * 40_000], vec![0; 9]].concat());
    for (number, tail) in tails.enumerate() {
        fs::write(&file, [&whole[..], &tail].concat()).expect("it can be written");
        let versions = found_in(&folder).expect("a torn tail does not stop a start");
        assert_eq!((versions.version(0), versions.version(1)), (1, 1));
        assert_eq!(fs::read(&file).expect("it is there"), whole);
        let moved = fs::read(folder.0.join("journal.3.torn")).expect("it was moved");
        assert!(moved == tail, "tail {number} was changed");
        assert_eq!(mode_of(&folder.0.join("journal.3.torn")) & !0o640, 0);
    }
    let names = folder.disk().list().expect("it can be read");
    let mut left: Vec<_> = names.iter().filter(|name| name.contains(".torn")).collect();
    left.sort();
    let numbered = (1..5).map(|age| format!("journal.3.torn.{age}"));
    let expected: Vec<_> = ["journal.3.torn".to_owned()].into_iter().chain(numbered).collect();
    assert_eq!(left, expected.iter().collect::<Vec<_>>());
    let oldest = fs::read(folder.0.join("journal.3.torn.4")).expect("it is kept");
    assert_eq!(oldest.len(), 3 * 40_000 + 9, "the last five of eight are kept");
}

#[test]
fn of_the_torn_tails_of_many_journals_the_last_five_are_kept() {
    let folder = Folder::new("torn-numbers");
    fs::create_dir(&folder.0).expect("it can be made");
    for number in [1, 2, 9, 10, 11, 30, 100] {
        let file = folder.0.join(format!("journal.{number}"));
        fs::write(&file, torn(&["0 1"], b"half a rec")).expect("it can be written");
        found_in(&folder).expect("a torn tail does not stop a start");
        fs::remove_file(&file).expect("it is there");
    }
    let names = folder.disk().list().expect("it can be read");
    let left = names.iter().filter(|name| name.contains(".torn")).cloned();
    let expected = [9, 10, 11, 30, 100].map(|number| format!("journal.{number}.torn"));
    assert_eq!(left.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}

#[test]
fn only_what_a_journal_has_left_itself_is_removed_at_a_start() {
    let folder = Folder::new("strangers");
    fs::create_dir(&folder.0).expect("it can be made");
    let mine: Vec<_> = (1..8).map(|number| format!("journal.{number}.torn")).collect();
    let left = ["journal.1.new", "journal.18.new", "journal.1.torn.new"];
    let strangers = [
        "journal.backup.new",
        "journal.1.torn.torn.new",
        "journal.new",
        "journal..new",
        "journal.01.new",
        "journal.1.old.new",
        "journal.1.torn.1.new",
        "journal.torn.new",
        "journal.backup.torn",
        "journal.0.torn.20261129",
        "journal.0.torn.5",
        "journal.0.torn.01",
        "journal.+0.torn",
        "journal.00.torn",
    ];
    for name in mine.iter().map(String::as_str).chain(left).chain(strangers) {
        fs::write(folder.0.join(name), name).expect("it can be written");
    }
    fs::write(folder.0.join("journal.9"), torn(&["0 1"], b"half a rec")).expect("as well");
    found_in(&folder).expect("nothing is in its way");
    for name in strangers {
        let kept = fs::read(folder.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(kept, name.as_bytes());
    }
    for name in left.into_iter().chain(["journal.3.torn"]) {
        assert!(!folder.0.join(name).exists(), "{name}");
    }
    for name in ["journal.4.torn", "journal.9.torn"] {
        assert!(folder.0.join(name).exists(), "{name}");
    }
}

#[test]
fn a_torn_tail_that_finds_no_room_among_the_older_ones_is_left_and_says_what_is_in_the_way() {
    // All five torn tails belong to this journal; or one of them belongs to an older journal.
    for (ages, numbers, oldest) in
        [(0..6, 1..2, "journal.1.torn.4"), (0..1, 0..5, "journal.0.torn")]
    {
        let folder = Folder::new("torn-folders");
        let named = |number| ages.clone().map(move |age| format!("journal.{number}.torn.{age}"));
        let names: Vec<_> =
            numbers.flat_map(named).map(|name| name.replace(".torn.0", ".torn")).collect();
        for name in &names {
            fs::create_dir_all(folder.0.join(name)).expect("it can be made");
            fs::write(folder.0.join(name).join("mine"), name).expect("it can be written");
        }
        let bytes = torn(&["0 1"], b"half a rec");
        fs::write(folder.0.join("journal.1"), &bytes).expect("it can be written");
        for _ in 0..2 {
            let refusal = found_in(&folder).expect_err("it cannot be moved").to_string();
            let said = format!("{oldest} cannot be removed: it is not a regular file but a folder");
            assert!(refusal.contains(&said), "{refusal}");
            assert_eq!(fs::read(folder.0.join("journal.1")).expect("it is there"), bytes);
            let mut left = folder.disk().list().expect("it can be read");
            left.retain(|name| name.contains(".torn"));
            left.sort();
            assert_eq!(left, names, "each has its name");
            for name in &names {
                let mine = fs::read_to_string(folder.0.join(name).join("mine"));
                assert_eq!(mine.expect("it is there"), *name);
            }
        }
        fs::remove_dir_all(folder.0.join(oldest)).expect("it is ours");
        let _ = fs::remove_dir_all(folder.0.join("journal.1.torn.5"));
        assert_eq!(found_in(&folder).expect("there is room").version(0), 1);
    }
}

#[test]
fn a_file_of_zeros_is_a_torn_tail_and_its_server_starts() {
    for tail in [&[0; 5_000][..], b"HERDJ 1 Alford places-herd\0\0\0"] {
        let folder = Folder::new("torn-zeros");
        fs::create_dir(&folder.0).expect("it can be made");
        fs::write(folder.0.join("journal.1"), tail).expect("it can be written");
        found_in(&folder).expect("no record follows");
        let moved = fs::read(folder.0.join("journal.1.torn")).expect("it was moved");
        assert_eq!(moved, tail);
    }
}

#[test]
fn torn_tails_of_all_files_are_moved_and_no_compaction_removes_them() {
    let mut disk = disk_with(&torn(&["0 1"], b"half a rec"));
    disk.create("journal.2").expect("there is room");
    disk.append("journal.2", &torn(&["1 1"], &[0; 100])).expect("there is room");
    disk.create("journal.3").expect("there is room");
    disk.append("journal.3", b"HERDJ 1 Alf").expect("there is room");
    let (mut journal, replayed, mut versions) =
        open(disk, Sync::Always).expect("nothing is damaged");
    assert_eq!((replayed.files, replayed.records, replayed.torn_bytes), (2, 2, 121));
    until_compacted(&mut journal, &mut versions, 0);
    let mut disk = disk_of(journal);
    disk.release();
    for (name, tail) in [
        ("journal.1.torn", &b"half a rec"[..]),
        ("journal.2.torn", &[0; 100]),
        ("journal.3.torn", b"HERDJ 1 Alf"),
    ] {
        assert_eq!(read_on(&mut disk, name).as_deref(), Some(tail), "{name}");
    }
    let (journal, replayed, found) = open(disk, Sync::Always).expect("it is whole");
    assert_eq!((found, replayed.torn_bytes), (versions, 0));
    assert_eq!(journals(&journal), [4]);
}

/// Returns the lines that a start on `disk` reads.
fn start(disk: &SharedDisk, sync: Sync) -> Result<Versions, OpenError> {
    let mut versions = Versions::default();
    let disk = Box::new(disk.clone());
    let mut each = |line: &[u8]| versions.take(line);
    Journal::open(disk, settings(sync), &owner(), false, &mut each, &mut || false)?;
    Ok(versions)
}

#[test]
fn a_record_behind_one_that_had_lost_its_newline_is_read_again() {
    let whole = torn(&[&at_line(1)], b"");
    let without = &whole[..whole.len() - 1];
    for tail in [&b""[..], b"\0", b"\x0b", b"\r\n", &[b'x'; 300_000], b"half a rec\n"] {
        let mut lines = Vec::new();
        let mut each = |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        };
        let disk = disk_with(&[without, tail].concat());
        let (mut journal, _) =
            open_with(disk, settings(Sync::Always), false, &mut each).expect("no damage");
        journal.note(at_line(2).as_bytes());
        journal.commit(Moment::default(), &Versions::default()).expect("there is room");
        let mut disk = disk_of(journal);
        disk.crash();
        assert_eq!(read_on(&mut disk, "journal.1"), Some(torn(&[&at_line(1), &at_line(2)], b"")));
        open_with(disk, settings(Sync::Always), false, &mut each).expect("no damage");
        assert_eq!(lines, [at_line(1), at_line(1), at_line(2)]);
    }
}

#[test]
fn a_torn_tail_that_cannot_be_moved_is_left_and_the_journal_is_not_opened() {
    let bytes = torn(&["0 1"], &[b'x'; 100]);
    let room_bytes = Some(bytes.len() as u64 + 60);
    let faults: [(&str, DiskFaults); 6] = [
        ("full", DiskFaults { room_bytes: Some(0), ..DiskFaults::default() }),
        ("nearly full", DiskFaults { room_bytes, ..DiskFaults::default() }),
        ("no writes", DiskFaults { write_errors: 1.0, ..DiskFaults::default() }),
        ("no syncs", DiskFaults { sync_errors: 1.0, ..DiskFaults::default() }),
        ("no renames", DiskFaults { renames_fail: true, ..DiskFaults::default() }),
        ("no folder", DiskFaults { folder_syncs_fail: true, ..DiskFaults::default() }),
    ];
    for (what, faults) in faults {
        for sync in [Sync::Always, Sync::EverySecond, Sync::No] {
            let disk = SharedDisk::new(disk_with(&bytes));
            disk.look().faults = faults.clone();
            for _ in 0..2 {
                let refusal = start(&disk, sync).expect_err(what).to_string();
                let at = bytes.len() - 100;
                let said = format!(
                    "the last 100 bytes of journal.1, from byte {at} on, hold no whole record; they cannot be moved to \
                     journal.1.torn (make room, or move the journal away): "
                );
                let said = said.as_str();
                assert!(refusal.starts_with(said), "{what}: {refusal}");
                assert_eq!(disk.look().bytes("journal.1"), Some(&mut bytes.clone()), "{what}");
                disk.look().release();
            }
            disk.look().faults = DiskFaults::default();
            assert_eq!(start(&disk, sync).expect("it can be moved").version(0), 1, "{what}");
            assert_eq!(disk.look().bytes("journal.1.torn"), Some(&mut vec![b'x'; 100]));
        }
    }
}

#[test]
fn a_crash_at_any_call_while_a_torn_tail_is_moved_loses_nothing_and_makes_no_second_copy() {
    let tail = [b'x'; 150_000];
    let bytes = torn(&["0 1"], &tail);
    for seed in 0..20 {
        let mut is_moved = false;
        for call in 0.. {
            let mut disk = MemoryDisk::new(seed);
            for (name, bytes) in [("journal.1", &bytes[..]), ("journal.1.torn", b"an older one")] {
                disk.create(name).expect("there is room");
                disk.append(name, bytes).expect("there is room");
                disk.sync(name).expect("it can be synced");
            }
            disk.sync_folder().expect("it can be synced");
            disk.faults.calls_left = Some(call);
            let disk = SharedDisk::new(disk);
            is_moved = start(&disk, Sync::Always).is_ok();
            disk.look().crash();
            let what = format!("seed {seed}, call {call}");
            assert_eq!(start(&disk, Sync::Always).expect(&what).version(0), 1, "{what}");
            let disk = &mut disk.look();
            let mut names = disk.list().expect("it can be read");
            names.sort();
            assert_eq!(names, ["journal.1", "journal.1.torn", "journal.1.torn.1"], "{what}");
            assert!(disk.bytes("journal.1.torn").is_some_and(|moved| *moved == tail), "{what}");
            assert_eq!(read_on(disk, "journal.1.torn.1").expect("it is kept"), b"an older one");
            if is_moved {
                break;
            }
        }
        assert!(is_moved);
    }
}

#[test]
fn a_start_stopped_while_it_moves_a_torn_tail_leaves_the_journal() {
    let bytes = torn(&["0 1"], &[0; 150_000]);
    for stopped in 0.. {
        let disk = SharedDisk::new(disk_with(&bytes));
        let mut asked = 0;
        let mut stops = || {
            asked += 1;
            asked > stopped
        };
        let opened = Journal::open(
            Box::new(disk.clone()),
            settings(Sync::No),
            &owner(),
            false,
            &mut |_: &[u8]| true,
            &mut stops,
        );
        match opened {
            Ok(_) => {
                assert!(stopped > 5, "it was also stopped while it copied: {stopped}");
                return;
            }
            Err(refusal) => assert!(matches!(refusal, OpenError::Stopped), "{refusal}"),
        }
        assert!(disk.look().bytes("journal.1").is_some_and(|left| *left == bytes));
    }
}
