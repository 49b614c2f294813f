//! `herd journal`: what a journal holds, whether it is whole, and a smaller one in its place.
//!
//! `check` and `dump` open files for reading and nothing else: they may be used on the journal of a server
//! that runs. `compact` has to have the folder for itself.
//!
//! None of them reads a topology, so none knows `ahead_max_s`. But a server that has it passes over what lies too
//! far ahead, and goes by the newest line that does not; so `compact` keeps that one, too ([`NewestLines`]).

use super::exit::{Exit, Failure};
use super::{print_line, shown, unprinted};
use crate::files;
use crate::journal::{
    FileHead, Journal as Files, JournalSettings, KernelDisk, OpenError, Owner, Scan, Snapshot,
    Sync, TORN, files_of, scan,
};
use crate::log::plural;
use crate::server::persist::replay;
use crate::table::{MergeOutcome, Table};
use clap::{Args, Subcommand};
use herd_reactor::{MioIo, Moment, UnixNanos};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Look into a server's journal, or make it smaller
#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether every record is whole
    Check(Which),
    /// Print the line of every record
    Dump(Which),
    /// Write it anew, with only the newest line of each client
    ///
    /// If that lies ahead of this machine's clock, the newest that does not is kept beside it: a server
    /// with ahead_max_s may pass over the other. The server must not run.
    Compact(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// A journal, or the folder of one server's
    #[arg(value_name = "FILE-OR-FOLDER")]
    path: PathBuf,
    /// Pass over damage, and use what is whole around it
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
        let mut herd = Table::new(0);
        let mut scratch = Vec::new();
        let mut outcome = Ok(());
        for path in self.files()? {
            let scan = read(&path, &mut |line| replay(&mut herd, line, &mut scratch).is_some())?;
            let verdict = self.verdict(&path, &scan);
            let says = match &verdict {
                Err(failure) => failure.what.clone(),
                Ok(()) => format!("{}: {}", path.display(), described(&scan)),
            };
            print_line(&says);
            outcome = outcome.and(verdict);
        }
        print_line(&format!("{} in all", plural(herd.len(), "client")));
        outcome.map_err(|failure| Failure::new(failure.exit, ""))
    }

    fn dump(&self) -> Result<(), Failure> {
        let is_terminal = io::stdout().is_terminal();
        let mut out = io::BufWriter::new(io::stdout().lock());
        for path in self.files()? {
            // First the whole file: of a damaged one nothing is printed, unless that is wanted.
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
        if files_of(&[name]).is_empty() {
            let what =
                "is not called journal.NUMBER, so no server reads it: call it so, or name a folder";
            return Err(Failure::new(Exit::Usage, format!("{} {what}", newest.display())));
        }
        let owner = owner_of(&files)?;
        let mut kept = NewestLines::at(MioIo::wall_clock());
        let start = Instant::now();
        let disk = KernelDisk::new(&folder, move || start.elapsed());
        let (mut journal, replayed) =
            Files::open(Box::new(disk), settings(&folder), &owner, self.salvage, &mut |line| {
                kept.take(line)
            })
            .map_err(refused)?;
        let failed = |e: io::Error| Failure::new(Exit::Io, format!("{}: {e}", folder.display()));
        journal.rewrite(Moment::default(), &kept).map_err(failed)?;
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
                "ahead of this machine's clock: {}; of these clients the newest that is not is kept, too",
                plural(kept.ahead.len(), "line"),
            ));
        }
        if replayed.torn_bytes > 0 {
            let bytes = replayed.torn_bytes;
            print_line(&format!(
                "{bytes} bytes were a torn tail, and are in journal.NUMBER{TORN} now"
            ));
        }
        if replayed.damaged_bytes > 0 {
            print_line(&format!(
                "{} bytes were in no whole record, and are gone",
                replayed.damaged_bytes
            ));
        }
        journal.close(Moment::default(), &kept).map_err(failed)
    }

    /// The journals that are meant, oldest first, at least one.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let names: Vec<String> = fs::read_dir(&self.path)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            .map_err(|e| unreadable(&self.path, &e))?
            .into_iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let files = files_of(&names);
        if files.is_empty() {
            let what = format!("{} has no journal in it", self.path.display());
            return Err(Failure::new(Exit::Data, what));
        }
        Ok(files.into_iter().map(|(_, name)| self.path.join(name)).collect())
    }

    /// What a start of the server would say of this file.
    fn verdict(&self, path: &Path, scan: &Scan) -> Result<(), Failure> {
        let path = path.display().to_string();
        let refusal = match (&scan.head, scan.damaged_at()) {
            (FileHead::Newer(version), _) => OpenError::Newer(path, *version),
            (FileHead::CarriageReturn, _) => OpenError::CarriageReturn(path),
            (FileHead::Foreign, _) => OpenError::Foreign(path),
            (FileHead::Of(_), Some(at)) if !self.salvage => {
                OpenError::Damaged { path, at, records_after: scan.records_after }
            }
            (FileHead::Of(_) | FileHead::Cut, _) => return Ok(()),
        };
        Err(refused(refusal))
    }
}

fn read(path: &Path, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<Scan, Failure> {
    let mut file = files::open(path).map_err(|e| unreadable(path, &e))?;
    scan(&mut file, each).map_err(|e| unreadable(path, &e))
}

/// Whose the newest of `files` is that has a whole first line, oldest first.
fn owner_of(files: &[PathBuf]) -> Result<Owner, Failure> {
    let mut newest = String::new();
    for path in files.iter().rev() {
        newest = path.display().to_string();
        match read(path, &mut |_| true)?.head {
            FileHead::Of(owner) => return Ok(owner),
            FileHead::Newer(version) => return Err(refused(OpenError::Newer(newest, version))),
            FileHead::CarriageReturn => return Err(refused(OpenError::CarriageReturn(newest))),
            FileHead::Foreign => break,
            // A start passes over it, too.
            FileHead::Cut => {}
        }
    }
    Err(refused(OpenError::Foreign(newest)))
}

/// What a journal is compacted to: of each client the newest line, and if that lies ahead of the clock also
/// the newest that does not. No limit need be known for that: each lets in the second.
struct NewestLines {
    /// Of each client the newest line that does not lie ahead,
    let_in: Table,
    /// and the newest that does.
    ahead: Table,
    scratch: Vec<u8>,
}

impl NewestLines {
    /// Nothing yet; `wall`: the clock.
    fn at(wall: UnixNanos) -> NewestLines {
        let mut let_in = Table::new(0);
        let_in.let_in_until(wall.into());
        NewestLines { let_in, ahead: Table::new(0), scratch: Vec::new() }
    }

    /// Whether `record` makes sense.
    fn take(&mut self, record: &[u8]) -> bool {
        match replay(&mut self.let_in, record, &mut self.scratch) {
            Some(MergeOutcome::Ahead) => {
                replay(&mut self.ahead, record, &mut self.scratch);
                true
            }
            verdict => verdict.is_some(),
        }
    }

    fn clients(&self) -> usize {
        let ahead_alone = self.ahead.iter().filter(|(_, at)| !self.let_in.knows(at.client()));
        self.let_in.len() + ahead_alone.count()
    }
}

impl Snapshot for NewestLines {
    fn end(&self) -> usize {
        self.let_in.keys() + self.ahead.keys()
    }

    fn line(&self, number: usize) -> Option<&[u8]> {
        match number.checked_sub(self.let_in.keys()) {
            None => self.let_in.line_of(number),
            Some(number) => self.ahead.line_of(number),
        }
    }

    fn bytes(&self) -> u64 {
        self.let_in.bytes() + self.ahead.bytes()
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
        (_, Some(at)) => format!("{bad} of them from byte {at} on in no whole record"),
        (None, None) => "whole".to_owned(),
    };
    format!("{server} of {herd}, {records}, {} bytes, {whole}", scan.size)
}

/// For a journal that nothing is noted in.
fn settings(folder: &Path) -> JournalSettings {
    JournalSettings {
        folder: folder.to_owned(),
        sync: Sync::Always,
        compact_bytes: u64::MAX,
        compact_factor: u64::MAX,
        compact_keys: 1_000,
        retry: Duration::ZERO,
        slow_sync: Duration::MAX,
    }
}

fn unreadable(path: &Path, e: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("{} cannot be read: {e}", path.display()))
}

/// Why a journal is not opened, as an exit status.
pub(super) fn refused(refusal: OpenError) -> Failure {
    let exit = match refusal {
        OpenError::Locked(_) | OpenError::Stopped => Exit::Unavailable,
        OpenError::Os(..) => Exit::Io,
        OpenError::Anothers(..)
        | OpenError::Newer(..)
        | OpenError::CarriageReturn(_)
        | OpenError::Foreign(_)
        | OpenError::Damaged { .. } => Exit::Data,
    };
    Failure::new(exit, refusal.to_string())
}
