//! `herd journal`: checks, prints and compacts a server's journal.
//!
//! `check` and `dump` only read, so they may be used on the journal of a running server. `compact` locks the folder.
//!
//! No subcommand reads a topology, so none knows `ahead_max_s`. A server with that limit ignores lines that are too far
//! in the future, and uses the newest line that is not. So `compact` keeps that line, too ([`NewestLines`]).

use super::exit::{Exit, Failure};
use super::{print_line, shown, unprinted};
use crate::files;
use crate::journal::{
    Disk, FileHead, Journal, JournalSettings, KernelDisk, OpenError, Owner, Scan, Snapshot, Sync,
    files_of, scan,
};
use crate::log::{operand, plural};
use crate::server::persist::replay;
use crate::table::{MergeOutcome, Table};
use clap::{Args, Subcommand};
use herd_reactor::{MioIo, Moment, UnixNanos};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Check, print or compact a server's journal
#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check whether every record is complete
    Check(Which),
    /// Print the line of every record
    Dump(Which),
    /// Keep only the newest line of each client
    ///
    /// If that line is ahead of this machine's clock, the newest line that is not is kept, too, because a server with
    /// ahead_max_s may ignore the first. The server must not run.
    Compact(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// A journal, or a server's folder of journals
    #[arg(value_name = "FILE-OR-FOLDER")]
    path: PathBuf,
    /// Skip damaged records, and use the complete ones around them
    #[arg(long)]
    salvage: bool,
}

impl JournalArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Check(which) => which.check(),
            What::Dump(which) => which.dump(),
            What::Compact(which) => which.compact(),
        }
    }
}

impl Which {
    fn check(&self) -> Result<(), Failure> {
        let mut table = Table::new(0);
        let mut scratch = Vec::new();
        let mut outcome = Ok(());
        for path in self.files()? {
            let scan = read(&path, &mut |line| replay(&mut table, line, &mut scratch).is_some())?;
            let verdict = self.verdict(&path, &scan);
            let says = match &verdict {
                Err(failure) => failure.what.clone(),
                Ok(()) => format!("{}: {}", path.display(), described(&scan)),
            };
            print_line(&says);
            outcome = outcome.and(verdict);
        }
        print_line(&format!("{} in all", plural(table.len(), "client")));
        outcome.map_err(|failure| Failure::new(failure.exit, ""))
    }

    fn dump(&self) -> Result<(), Failure> {
        let is_terminal = io::stdout().is_terminal();
        let mut out = io::BufWriter::new(io::stdout().lock());
        for path in self.files()? {
            // Read the whole file first: nothing of a damaged file is printed without --salvage.
            self.verdict(&path, &read(&path, &mut |_| true)?)?;
            let mut printed = Ok(());
            read(&path, &mut |line| {
                if printed.is_ok() {
                    let line = shown(line, is_terminal);
                    printed = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
                }
                true
            })?;
            if let Err(e) = printed {
                return unprinted(&e);
            }
        }
        out.flush().or_else(|e| unprinted(&e))
    }

    fn compact(&self) -> Result<(), Failure> {
        let files = self.files()?;
        let newest = files.last().expect("there is one at least, or a failure");
        let folder = newest.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        let name = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if files_of(&[name]).is_ok_and(|files| files.is_empty()) {
            let what =
                "is not called journal.NUMBER, so no server reads it: rename it, or name a folder";
            return Err(Failure::new(Exit::Usage, format!("{} {what}", newest.display())));
        }
        let owner = self.owner_of(&files)?;
        let mut kept = NewestLines::at(MioIo::wall_clock());
        let start = Instant::now();
        let disk = KernelDisk::new(&folder, move || start.elapsed());
        let mut each = |line: &[u8]| kept.take(line);
        // No report is added, so the limits do not matter.
        let settings = JournalSettings {
            folder: folder.clone(),
            sync: Sync::Always,
            compact_bytes: u64::MAX,
            compact_factor: u64::MAX,
            compact_keys: 1_000,
            retry: Duration::ZERO,
            slow_sync: Duration::MAX,
        };
        let (mut journal, replayed) =
            Journal::open(Box::new(disk), settings, &owner, self.salvage, &mut each, &mut || false)
                .map_err(refused)?;
        let failed = |e: io::Error| Failure::new(Exit::Io, format!("{}: {e}", folder.display()));
        journal.compact(Moment::default(), &kept).map_err(failed)?;
        print_line(&format!(
            "{}: {} of {} in {} bytes, now {} bytes",
            folder.display(),
            plural(replayed.records as usize, "record"),
            plural(kept.clients(), "client"),
            replayed.bytes,
            journal.size(),
        ));
        if !kept.ahead.is_empty() {
            print_line(&format!(
                "ahead of this machine's clock: {}; the newest line of these clients that is not ahead was kept, too",
                plural(kept.ahead.len(), "line"),
            ));
        }
        for (bytes, became) in [
            (replayed.torn_bytes, "a torn tail, and are in journal.NUMBER.torn now"),
            (replayed.damaged_bytes, "in incomplete records, and were removed"),
        ] {
            if bytes > 0 {
                print_line(&format!("{bytes} bytes were {became}"));
            }
        }
        journal.close(Moment::default(), &kept).map_err(failed)
    }

    /// Returns the journals, oldest first, at least one.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut disk = KernelDisk::new(&self.path, || Duration::ZERO);
        let names = disk.list().map_err(|e| unreadable(&self.path, &e))?;
        let files = files_of(&names);
        let files = files.map_err(|why| refused(OpenError::Unusable(disk.path("") + &why)))?;
        if files.is_empty() {
            return Err(self.holds_none());
        }
        Ok(files.into_iter().map(|(_, name)| self.path.join(name)).collect())
    }

    /// Returns the failure with which a server would refuse this file.
    fn verdict(&self, path: &Path, scan: &Scan) -> Result<(), Failure> {
        let refusal = scan.refusal(&operand(path), None, self.salvage);
        refusal.map_or(Ok(()), |why| Err(refused(OpenError::Unusable(why))))
    }

    /// Returns the owner in the newest of `files` that has a complete first line. `files` begins with the oldest.
    fn owner_of(&self, files: &[PathBuf]) -> Result<Owner, Failure> {
        for path in files.iter().rev() {
            let scan = read(path, &mut |_| true)?;
            self.verdict(path, &scan)?;
            // A server skips a file that ends in its first line, too.
            if let FileHead::Of(owner) = scan.head {
                return Ok(owner);
            }
        }
        Err(self.holds_none())
    }

    fn holds_none(&self) -> Failure {
        Failure::new(Exit::Data, format!("there is no journal in {}", self.path.display()))
    }
}

fn read(path: &Path, mut each: &mut dyn FnMut(&[u8]) -> bool) -> Result<Scan, Failure> {
    let file = files::open_in_place(path, File::options().read(true));
    let scan = file.and_then(|mut file| scan(&mut file, &mut each));
    scan.map_err(|e| unreadable(path, &e))
}

/// The lines that a compacted journal keeps: the newest line of each client, and if that is ahead of the clock also the
/// newest that is not, which every value of `ahead_max_s` allows.
struct NewestLines {
    /// The newest line of each client that is not ahead of the clock.
    not_ahead: Table,
    /// The newest line of each client that is ahead of the clock.
    ahead: Table,
    scratch: Vec<u8>,
}

impl NewestLines {
    /// Returns an empty set of lines. `wall`: the current time.
    fn at(wall: UnixNanos) -> NewestLines {
        let mut not_ahead = Table::new(0);
        not_ahead.set_newest(wall.into());
        NewestLines { not_ahead, ahead: Table::new(0), scratch: Vec::new() }
    }

    /// Takes a record. Returns whether it is valid.
    fn take(&mut self, record: &[u8]) -> bool {
        match replay(&mut self.not_ahead, record, &mut self.scratch) {
            Some(MergeOutcome::Ahead) => {
                replay(&mut self.ahead, record, &mut self.scratch);
                true
            }
            outcome => outcome.is_some(),
        }
    }

    fn clients(&self) -> usize {
        let ahead_alone = self.ahead.iter().filter(|(_, at)| !self.not_ahead.knows(at.client()));
        self.not_ahead.len() + ahead_alone.count()
    }
}

impl Snapshot for NewestLines {
    fn end(&self) -> usize {
        self.not_ahead.keys() + self.ahead.keys()
    }

    fn line(&self, number: usize) -> Option<&[u8]> {
        match number.checked_sub(self.not_ahead.keys()) {
            None => self.not_ahead.line_of(number),
            Some(number) => self.ahead.line_of(number),
        }
    }

    fn bytes(&self) -> u64 {
        self.not_ahead.bytes() + self.ahead.bytes()
    }
}

fn described(scan: &Scan) -> String {
    let records = plural(scan.records as usize, "record");
    let FileHead::Of(Owner { server, herd }) = &scan.head else {
        return format!("{} bytes of a first line, and no record", scan.size);
    };
    let bad = scan.bad_bytes;
    let whole = match (scan.torn_at(), scan.damaged_at()) {
        (Some(at), _) => format!("the last {bad} of them, from byte {at} on, are a torn tail"),
        (_, Some(at)) => format!("{bad} of them, from byte {at} on, are in incomplete records"),
        (None, None) => "whole".to_owned(),
    };
    format!("{server} of {herd}, {records}, {} bytes, {whole}", scan.size)
}

fn unreadable(path: &Path, e: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot read {}: {e}", path.display()))
}

/// Returns the failure of a journal that cannot be opened.
pub(super) fn refused(refusal: OpenError) -> Failure {
    let exit = match refusal {
        OpenError::Locked(_) | OpenError::Stopped => Exit::Unavailable,
        OpenError::Os(_) => Exit::Io,
        OpenError::Unusable(_) => Exit::Data,
    };
    Failure::new(exit, refusal.to_string())
}
