//! Buffers log lines on their way to the disk, or to stderr.
//!
//! In: events and lines in and out. Out: writes of 64 KiB and more, or fewer bytes at a
//! [`flush`](LogFile::flush). It knows the time stamp, but no level filter and no timer.
//!
//! The idea: a line is appended to a buffer, and the buffer is written when it is full. When the
//! disk refuses a write, the buffer is kept, and lines that find it full are dropped and counted.
//! Only `flush`, which a timer calls ten times a second, retries a failing disk, so a
//! full disk costs no system call per line. When the disk accepts writes again, the buffer is written
//! first, then one line that says how many lines are missing and why, exactly where the gap is.
//!
//! A log that was moved or removed accepts every write, but nobody finds the lines. So a write checks, at most once a
//! second, whether the file still has its name, and opens a new one if not.
//!
//! Invariants: the buffer holds at most [`WAITING_BYTES`] and one line. After a line was dropped, all further lines
//! are dropped until the disk accepts writes again. A line is never torn: the rest of a short write is written first,
//! and rotation waits for it.

use std::fmt;
use std::io::{self, Write as _};

use ::log::kv::Value;
use ::log::{Level, Record};

use super::line::LineForm;
use super::{Clock, Direction, Escaped, LogDisk, Party, escape, plural};

/// The buffer is written when it holds this many bytes: 64 KiB.
pub const WAITING_BYTES: usize = 64 * 1024;

/// The shortest time between two checks whether the file still has its name.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// The longest time from the beginning of a turn to an event in it. A longer one means that the clock was set back.
const TURN_NS: u64 = 1_000_000_000;

/// A buffered log that goes on when the disk fails.
pub struct LogFile {
    pub(super) disk: Box<dyn LogDisk>,
    clock: Clock,
    form: LineForm,
    head: LinePrefix,
    /// The time of the last event.
    event_ns: u64,
    waiting: Vec<u8>,
    /// The disk has the beginning of the line whose rest is first in `waiting`.
    is_torn: bool,
    /// The time of the last check whether the file still has its name.
    looked_ns: u64,
    /// The number of lines dropped since the disk's last success.
    missing: u64,
    /// The number of lines dropped since the start because the disk refused writes.
    pub dropped: u64,
    /// Why the disk refused the last write; `None` if it succeeded.
    refusal: Option<io::Error>,
    /// Why the file that was moved or removed, or has to be opened again, could not be replaced.
    lost: Option<io::Error>,
    /// Whether the last rotation failed, which has been logged.
    cannot_rotate: bool,
    /// The log's own warnings, until its owner takes them.
    pub(super) complaints: Vec<String>,
}

impl LogFile {
    /// Makes a log on `disk`. `clock` gives the time of events and of the log's own warnings.
    pub fn new(disk: Box<dyn LogDisk>, clock: Clock) -> LogFile {
        LogFile {
            disk,
            clock,
            form: LineForm::new(false, false, false, ""),
            head: LinePrefix::default(),
            event_ns: 0,
            waiting: Vec::with_capacity(WAITING_BYTES + 4 * 1024),
            is_torn: false,
            looked_ns: 0,
            missing: 0,
            dropped: 0,
            refusal: None,
            lost: None,
            cannot_rotate: false,
            complaints: Vec::new(),
        }
    }

    /// Gives all further lines this form.
    pub(super) fn set_form(&mut self, form: LineForm) {
        self.form = form;
        self.head = LinePrefix::default();
    }

    /// Appends a line that was received or sent: `<time> INFO  <party> < <line>`.
    ///
    /// `unix_ns`: when it was read or written. `party`: the sender or the receiver. `line`: as on the wire,
    /// without its delimiter.
    ///
    /// `party` is a reference because its fields were written just before: a copy would read them in larger
    /// pieces, which defeats store forwarding and stalls the processor.
    #[inline]
    pub fn traffic(&mut self, unix_ns: u64, party: &Party<'_>, direction: Direction, line: &[u8]) {
        if self.form.is_json {
            return self.traffic_as_event(party, direction, line);
        }
        if !self.has_room() {
            return;
        }
        // All traffic lines of a turn carry the time of its beginning. After an event of the same turn they carry
        // the event's time instead, so that times in the log never go back.
        let is_behind = self.event_ns.wrapping_sub(unix_ns) < TURN_NS;
        let unix_ns = if is_behind { self.event_ns } else { unix_ns };
        if !self.head.is_of(unix_ns, party) {
            self.head.write(unix_ns, party, &mut self.form);
        }
        self.waiting.extend_from_slice(&self.head.text);
        self.waiting.extend_from_slice(direction.sign());
        escape(line, &mut self.waiting);
        self.waiting.push(b'\n');
        if self.waiting.len() >= WAITING_BYTES {
            self.write_unless_refused();
        }
    }

    #[cold]
    fn traffic_as_event(&mut self, party: &Party<'_>, direction: Direction, line: &[u8]) {
        let key = if let Party::Named(_) = party { "neighbour" } else { "conn" };
        let direction = if direction == Direction::In { "in" } else { "out" };
        let members = [
            ("event", Value::from("line")),
            (key, Value::from_display(party)),
            ("direction", Value::from(direction)),
        ];
        let (line, mut record) = (Escaped(line), Record::builder());
        record.level(Level::Info).key_values(&members);
        self.event(&record.args(format_args!("{line}")).build());
    }

    /// Appends an event. A warning or an error is written immediately.
    pub fn event(&mut self, record: &Record<'_>) {
        if !self.has_room() {
            return;
        }
        self.event_ns = (self.clock)();
        self.form.event(record, self.event_ns, &mut self.waiting);
        if record.level() <= Level::Warn || self.waiting.len() >= WAITING_BYTES {
            self.write_unless_refused();
        }
    }

    /// Writes as much of the buffer as the disk accepts.
    pub fn flush(&mut self) {
        // A write may add a line of the log's own, but at most thrice, so the loop ends.
        while self.unwritten() {
            self.write();
            if self.refusal.is_some() {
                break;
            }
        }
    }

    /// Opens a new file if the old one was moved or removed. It looks at most once a second.
    fn look(&mut self) {
        let now_ns = (self.clock)();
        if now_ns.abs_diff(self.looked_ns) < LOOK_EVERY_NS {
            return;
        }
        self.looked_ns = now_ns;
        if !self.disk.is_lost() {
            self.lost = None;
        } else if self.replace() {
            let what = "the log file was moved or removed; the log goes on in this new one";
            self.append(Level::Info, what);
        }
    }

    /// Writes the buffer, then opens the file again under its name. If that fails, the old file stays in use.
    pub(super) fn reopen(&mut self) -> bool {
        self.flush();
        self.replace()
    }

    fn replace(&mut self) -> bool {
        self.lost = self.disk.reopen().err();
        if self.lost.is_none() {
            self.begin_file();
        }
        self.lost.is_none()
    }

    /// Goes on with the buffer on another disk.
    pub(super) fn move_to(&mut self, disk: Box<dyn LogDisk>) {
        (self.disk, self.lost) = (disk, None);
        self.begin_file();
    }

    /// Drops the rest of a torn line, which belongs to the old file.
    fn begin_file(&mut self) {
        if std::mem::take(&mut self.is_torn) {
            let end = self.waiting.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.waiting.drain(..end);
            self.missing += 1;
            self.dropped += 1;
        }
    }

    /// Why the log cannot be written or has no name, if that is so. A reader that is slow for a moment is no failure.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        let is_grave =
            |why: &&io::Error| self.missing > 0 || why.kind() != io::ErrorKind::WouldBlock;
        self.lost.as_ref().or(self.refusal.as_ref().filter(is_grave))
    }

    /// The number of lines in the buffer.
    pub(super) fn waiting_lines(&self) -> u64 {
        memchr::memchr_iter(b'\n', &self.waiting).count() as u64
    }

    /// Whether there is anything to flush: lines, or the number of missing ones.
    pub fn unwritten(&self) -> bool {
        !self.waiting.is_empty() || self.missing > 0
    }

    /// Whether the buffer has room for a line; if not, counts the line as dropped.
    #[inline]
    fn has_room(&mut self) -> bool {
        if self.missing > 0 || self.waiting.len() >= WAITING_BYTES {
            debug_assert!(
                self.refusal.is_some(),
                "a full buffer is written, unless the disk refuses"
            );
            self.missing += 1;
            self.dropped += 1;
            return false;
        }
        true
    }

    fn write_unless_refused(&mut self) {
        if self.refusal.is_none() {
            self.write();
        }
    }

    fn write(&mut self) {
        self.look();
        let mut written = 0;
        let refusal = loop {
            if written == self.waiting.len() {
                break None;
            }
            match self.disk.append(&self.waiting[written..]) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        if let Some(last) = written.checked_sub(1) {
            self.is_torn = self.waiting[last] != b'\n';
        }
        self.waiting.drain(..written);
        match refusal {
            Some(why) => self.refusal = Some(why),
            None => self.all_is_written(),
        }
    }

    fn all_is_written(&mut self) {
        let refusal = self.refusal.take();
        let missing = std::mem::take(&mut self.missing);
        if let (Some(why), 1..) = (refusal, missing) {
            let (lines, are) =
                (plural(missing as usize, "line"), if missing == 1 { "is" } else { "are" });
            self.complain(&format!(
                "{lines} {are} missing here: the log could not be written: {why}"
            ));
        }
        match self.disk.rotate_if_due() {
            Err(why) if !self.cannot_rotate => {
                self.cannot_rotate = true;
                self.complain(&why.to_string());
            }
            Err(_) => {}
            Ok(()) => self.cannot_rotate = false,
        }
    }

    /// Appends a warning of the log's own to the buffer.
    pub(super) fn complain(&mut self, what: &str) {
        self.append(Level::Warn, what);
        self.complaints.push(what.to_owned());
    }

    /// Appends a line of the log's own to the buffer, even if it is full.
    fn append(&mut self, level: Level, what: &str) {
        let args = format_args!("{what}");
        let record = Record::builder().level(level).args(args).build();
        self.form.event(&record, (self.clock)(), &mut self.waiting);
    }

    /// Appends an event that has no record and bypasses the filter.
    pub(super) fn tell(&mut self, level: Level, what: &str) {
        self.event(&Record::builder().level(level).args(format_args!("{what}")).build());
    }
}

/// The prefix of the last traffic line, `<time> INFO  <party>`. The next line often has the same prefix:
/// all lines of one read have the same time, and so have their replies.
#[derive(Debug, Default)]
struct LinePrefix {
    text: Vec<u8>,
    unix_ns: u64,
    /// The party, if it is numbered.
    party: Option<(&'static str, u32)>,
}

impl LinePrefix {
    /// Whether this is the prefix of a line of `unix_ns` and `party`. Always false for a named party.
    #[inline]
    fn is_of(&self, unix_ns: u64, party: &Party<'_>) -> bool {
        match (self.party, party) {
            // The words are constants, so that comparing pointers replaces comparing texts.
            (Some((word, number)), Party::Numbered(other, n)) => {
                self.unix_ns == unix_ns && number == *n && std::ptr::eq(word, *other)
            }
            _ => false,
        }
    }

    fn write(&mut self, unix_ns: u64, party: &Party<'_>, form: &mut LineForm) {
        self.text.clear();
        form.begin(Level::Info, unix_ns, &mut self.text);
        self.unix_ns = unix_ns;
        self.party = match *party {
            Party::Named(name) => {
                escape(name, &mut self.text);
                None
            }
            Party::Numbered(word, number) => {
                // Writing to a Vec never fails.
                let _ = write!(self.text, "{word},{number}");
                Some((word, number))
            }
        };
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFile")
            .field("waiting_bytes", &self.waiting.len())
            .field("missing", &self.missing)
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;

    /// A disk under the test's control.
    #[derive(Clone, Default)]
    struct TestDisk(Arc<Mutex<Inside>>);

    #[derive(Default)]
    struct Inside {
        text: Vec<u8>,
        /// The number of bytes that still fit.
        room: usize,
        /// The maximum number of bytes it takes in one write.
        bite: usize,
        appends: usize,
        rotation_fails: bool,
        rotations: usize,
        is_lost: bool,
        cannot_reopen: bool,
        /// The content of the files before the last reopening.
        old: Vec<u8>,
    }

    impl TestDisk {
        fn new(room: usize) -> TestDisk {
            let disk = TestDisk::default();
            disk.inside().room = room;
            disk.inside().bite = usize::MAX;
            disk
        }

        fn inside(&self) -> MutexGuard<'_, Inside> {
            self.0.lock().expect("no test panics while it holds the disk")
        }

        fn log(&self) -> LogFile {
            LogFile::new(Box::new(self.clone()), || 1_795_342_599_123_456_789)
        }

        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.inside().text.clone())
                .expect("text")
                .lines()
                .map(String::from)
                .collect()
        }
    }

    impl LogDisk for TestDisk {
        fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inside = self.inside();
            inside.appends += 1;
            let taken = bytes.len().min(inside.room).min(inside.bite);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inside.room -= taken;
            inside.text.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn rotate_if_due(&mut self) -> io::Result<()> {
            let mut inside = self.inside();
            assert!(
                inside.text.is_empty() || inside.text.ends_with(b"\n"),
                "rotated within a line"
            );
            inside.rotations += 1;
            if inside.rotation_fails { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }

        fn is_lost(&self) -> bool {
            self.inside().is_lost
        }

        fn reopen(&mut self) -> io::Result<()> {
            let mut inside = self.inside();
            if inside.cannot_reopen {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            inside.is_lost = false;
            let text = std::mem::take(&mut inside.text);
            inside.old.extend(text);
            Ok(())
        }
    }

    #[test]
    fn no_line_of_a_turn_is_stamped_before_the_event_above_it_unless_the_clock_was_set_back() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        let event_ns = 1_795_342_599_123_456_789;
        let party = Party::Numbered("Chatserver", 7);
        log.traffic(event_ns - 5_000, &party, Direction::In, b"x");
        event(&mut log, Level::Info, "an event");
        for unix_ns in [event_ns - 5_000, event_ns + 5_000, event_ns - 2 * TURN_NS] {
            log.traffic(unix_ns, &party, Direction::Out, b"? x");
        }
        log.flush();
        let micros: Vec<String> = disk.lines().iter().map(|line| line[17..26].to_owned()).collect();
        assert_eq!(micros, ["39.123451", "39.123456", "39.123456", "39.123461", "37.123456"]);
    }

    fn event(log: &mut LogFile, level: Level, text: &str) {
        log.tell(level, text);
    }

    fn number(log: &mut LogFile, number: usize) {
        log.traffic(0, &Party::Named(b"c"), Direction::In, format!("{number:064}").as_bytes());
    }

    /// A number of lines that the buffer cannot hold.
    const MANY: usize = 2 * WAITING_BYTES / 64;

    #[test]
    fn a_line_names_the_time_the_connection_and_the_direction() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        log.traffic(
            0,
            &Party::Named(b"client 127.0.0.1:4711"),
            Direction::In,
            b"WHATSAT kiwi\t10 5",
        );
        log.traffic(1_000, &Party::Named(b"Parker"), Direction::Out, b"AT Alford +0.1 kiwi +1-2 3");
        assert!(log.unwritten());
        log.flush();
        assert!(!log.unwritten());
        assert_eq!(
            disk.lines(),
            [
                r"1970-01-01T00:00:00.000000Z INFO  client 127.0.0.1:4711 < WHATSAT kiwi\x0910 5",
                "1970-01-01T00:00:00.000001Z INFO  Parker > AT Alford +0.1 kiwi +1-2 3",
            ]
        );
    }

    #[test]
    fn in_json_a_line_is_an_object_with_the_text_of_the_text_form() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        log.set_form(LineForm::new(true, false, false, "Alford"));
        log.traffic(0, &Party::Numbered("Chatserver", 12), Direction::In, b"IAMAT \"k\\\xff 1");
        log.traffic(0, &Party::Named(b"Par\nker"), Direction::Out, b"PING");
        log.flush();
        let lines: Vec<serde_json::Value> =
            disk.lines().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let (time, server) = ("2026-11-22T10:16:39.123456Z", "Alford");
        let expected = [
            serde_json::json!({
                "time": time, "level": "INFO", "server": server, "event": "line",
                "conn": "Chatserver,12", "direction": "in", "text": "IAMAT \"k\\\\\\xff 1",
            }),
            serde_json::json!({
                "time": time, "level": "INFO", "server": server, "event": "line",
                "neighbour": "Par\\x0aker", "direction": "out", "text": "PING",
            }),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_prefix_is_reused_only_for_the_same_party_and_time() {
        const CLIENT: &str = "Chatserver";
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        for (unix_ns, party) in [
            (0, Party::Numbered(CLIENT, 12)),
            (0, Party::Numbered(CLIENT, 12)),
            (1_000, Party::Numbered(CLIENT, 12)),
            (1_000, Party::Numbered(CLIENT, 13)),
            (1_000, Party::Numbered("Status", 13)),
            (1_000, Party::Named(b"Par\nker")),
            (1_000, Party::Named(b"Welsh")),
            (1_000, Party::Numbered("Status", 13)),
        ] {
            log.traffic(unix_ns, &party, Direction::In, b"x");
        }
        log.flush();
        let expected = [
            "0Z INFO  Chatserver,12",
            "0Z INFO  Chatserver,12",
            "1Z INFO  Chatserver,12",
            "1Z INFO  Chatserver,13",
            "1Z INFO  Status,13",
            r"1Z INFO  Par\x0aker",
            "1Z INFO  Welsh",
            "1Z INFO  Status,13",
        ];
        let expected = expected.map(|line| format!("1970-01-01T00:00:00.00000{line} < x"));
        assert_eq!(disk.lines(), expected);
    }

    #[test]
    fn nothing_is_written_before_64_kib_wait() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        (0..MANY).for_each(|n| number(&mut log, n));
        log.flush();
        let Inside { text, appends, .. } = &*disk.inside();
        assert_eq!(*appends, text.len().div_ceil(WAITING_BYTES));
    }

    #[test]
    fn a_warning_is_written_at_once_and_an_info_is_not() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        event(&mut log, Level::Info, "WARN me");
        assert_eq!(disk.lines().len(), 0);
        event(&mut log, Level::Warn, "low");
        assert_eq!(disk.lines().len(), 2);
        event(&mut log, Level::Error, "lower");
        assert_eq!(disk.lines().len(), 3);
    }

    #[test]
    fn short_writes_tear_no_line() {
        let disk = TestDisk::new(usize::MAX);
        disk.inside().bite = 7;
        let mut log = disk.log();
        (0..MANY).for_each(|n| number(&mut log, n));
        log.flush();
        assert_eq!(disk.lines().len(), MANY);
    }

    #[test]
    fn a_full_disk_costs_lines_but_not_their_count_nor_the_reason() {
        let disk = TestDisk::new(1_000);
        let mut log = disk.log();
        (0..MANY).for_each(|n| number(&mut log, n));
        log.flush();
        assert!(log.unwritten(), "the disk is full");
        disk.inside().room = usize::MAX;
        log.flush();
        number(&mut log, MANY);
        log.flush();

        let lines = disk.lines();
        let kept = lines.len() - 2;
        assert!(
            (WAITING_BYTES / 112..MANY).contains(&kept),
            "the first are kept, as many as the buffer holds"
        );
        for (n, line) in lines[..kept].iter().enumerate() {
            assert!(line.ends_with(&format!("{n:064}")), "line {n} is {line}");
        }
        let why = io::Error::from(io::ErrorKind::StorageFull);
        let missing = MANY - kept;
        assert_eq!(
            lines[kept],
            format!(
                "2026-11-22T10:16:39.123456Z WARN  {missing} lines are missing here: the log could not be written: {why}"
            )
        );
        assert!(lines[kept + 1].ends_with(&format!("{MANY:064}")));
    }

    #[test]
    fn while_the_disk_refuses_the_buffer_and_the_system_calls_stay_bounded() {
        let disk = TestDisk::new(0);
        let mut log = disk.log();
        (0..MANY).for_each(|n| number(&mut log, n));
        (0..MANY).for_each(|_| event(&mut log, Level::Warn, "low"));
        assert_eq!(disk.inside().appends, 1);
        (0..10).for_each(|_| log.flush());
        assert_eq!(disk.inside().appends, 11);
        assert!(log.waiting.len() < WAITING_BYTES + 112, "64 KiB and one line");
    }

    #[test]
    fn a_refusal_that_costs_no_line_is_not_mentioned() {
        let disk = TestDisk::new(0);
        let mut log = disk.log();
        event(&mut log, Level::Warn, "low");
        disk.inside().room = usize::MAX;
        log.flush();
        assert_eq!(disk.lines(), ["2026-11-22T10:16:39.123456Z WARN  low"]);
    }

    #[test]
    fn dev_full_stops_nothing() {
        struct DevFull(File);
        impl LogDisk for DevFull {
            fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
                io::Write::write(&mut self.0, bytes)
            }
        }
        let file = File::options().write(true).open("/dev/full").expect("Linux has one");
        let mut log = LogFile::new(Box::new(DevFull(file)), || 0);
        (0..MANY).for_each(|n| number(&mut log, n));
        log.flush();
        assert!(log.missing > 0);
        assert_eq!(log.dropped, log.missing);
        assert_eq!(log.refusal.as_ref().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_log_that_cannot_be_rotated_says_so_once_and_goes_on() {
        let disk = TestDisk::new(usize::MAX);
        disk.inside().rotation_fails = true;
        let mut log = disk.log();
        for n in 0..5 {
            number(&mut log, n);
            log.flush();
        }
        let complaints =
            disk.lines().iter().filter(|line| line.contains("permission denied")).count();
        assert_eq!((complaints, disk.lines().len()), (1, 6));
        assert!(disk.inside().rotations >= 5, "it is tried again");
    }

    #[test]
    fn a_log_that_was_moved_goes_on_in_a_new_file_without_losing_a_line() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        number(&mut log, 1);
        log.flush();
        disk.inside().is_lost = true;
        number(&mut log, 2);
        // The clock stands still, and a check was made in its present second.
        log.flush();
        assert_eq!(disk.lines().len(), 2, "at most one check a second");
        log.looked_ns = 0;
        number(&mut log, 3);
        log.flush();
        let lines = disk.lines();
        assert!(lines[0].ends_with(&format!("{:064}", 3)), "{lines:?}");
        assert!(lines[1].contains("was moved or removed"), "{lines:?}");
        assert_eq!((lines.len(), log.dropped), (2, 0));
        assert_eq!(disk.inside().old.iter().filter(|byte| **byte == b'\n').count(), 2);
    }

    #[test]
    fn a_log_of_warnings_alone_notices_that_it_was_moved() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        disk.inside().is_lost = true;
        event(&mut log, Level::Warn, "low");
        let lines = disk.lines();
        assert!(
            lines[0].ends_with(" low") && lines[1].contains("was moved or removed"),
            "{lines:?}"
        );
        assert!(disk.inside().old.is_empty());
    }

    #[test]
    fn a_file_that_is_under_its_name_again_is_no_failure() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        disk.inside().is_lost = true;
        disk.inside().cannot_reopen = true;
        number(&mut log, 1);
        log.flush();
        assert!(log.failure().is_some());
        disk.inside().is_lost = false;
        log.looked_ns = 0;
        number(&mut log, 2);
        log.flush();
        assert!(log.failure().is_none());
    }

    #[test]
    fn a_log_that_cannot_be_opened_again_fails_and_goes_on_in_the_old_file() {
        let disk = TestDisk::new(usize::MAX);
        let mut log = disk.log();
        disk.inside().is_lost = true;
        disk.inside().cannot_reopen = true;
        number(&mut log, 1);
        log.flush();
        assert_eq!(disk.lines().len(), 1);
        assert_eq!(log.failure().map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
        disk.inside().cannot_reopen = false;
        assert!(log.reopen());
        assert!(log.failure().is_none());
    }

    #[test]
    fn a_log_whose_only_line_was_torn_goes_on_in_the_new_file() {
        let disk = TestDisk::new(50);
        let mut log = disk.log();
        number(&mut log, 1);
        log.flush();
        assert!(log.reopen(), "the old disk is full");
        disk.inside().room = usize::MAX;
        log.flush();
        number(&mut log, 2);
        log.flush();
        let lines = disk.lines();
        assert!(lines[0].contains("1 line is missing here"), "{lines:?}");
        assert!(lines[1].ends_with(&format!("{:064}", 2)), "{lines:?}");
    }

    #[test]
    fn lines_that_a_full_disk_refused_go_to_the_disk_that_the_log_moves_to() {
        let (full, disk) = (TestDisk::new(0), TestDisk::new(usize::MAX));
        let mut log = full.log();
        number(&mut log, 1);
        log.flush();
        log.move_to(Box::new(disk.clone()));
        log.flush();
        assert!(disk.lines()[0].ends_with(&format!("{:064}", 1)));
        assert_eq!((disk.lines().len(), log.dropped, log.failure().is_none()), (1, 0, true));
    }

    #[test]
    fn the_rest_of_a_torn_line_is_not_written_to_the_new_file() {
        let disk = TestDisk::new(50);
        let mut log = disk.log();
        number(&mut log, 1);
        number(&mut log, 2);
        log.flush();
        assert!(log.reopen(), "the old disk is full");
        disk.inside().room = usize::MAX;
        log.flush();
        let lines = disk.lines();
        assert!(lines[0].ends_with(&format!("{:064}", 2)), "{lines:?}");
        assert!(lines[1].contains("1 line is missing here"), "{lines:?}");
        assert_eq!((lines.len(), log.dropped), (2, 1));
    }
}
