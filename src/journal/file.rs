//! A file of records: what is appended to it is in it as a whole, or not at all.

use super::Disk;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// A file that is open on the disk.
#[derive(Debug, Default)]
pub(super) struct JournalFile {
    pub(super) number: u64,
    pub(super) name: String,
    /// In bytes.
    pub(super) size: u64,
    /// How many bytes of it, from its beginning, are on the disk.
    pub(super) synced: u64,
}

impl JournalFile {
    /// Makes an empty file.
    pub(super) fn create(
        disk: &mut dyn Disk,
        number: u64,
        name: String,
    ) -> io::Result<JournalFile> {
        disk.create(&name).map_err(|e| told(disk, "created", &name, &e))?;
        Ok(JournalFile { number, name, size: 0, synced: 0 })
    }

    /// Appends all of `bytes`, or nothing.
    pub(super) fn append(&mut self, disk: &mut dyn Disk, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let error = match disk.append(&self.name, left) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) => {
                    left = &left[count..];
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            if left.len() < bytes.len() {
                // Else half a record would stand before whatever comes next. If this fails too, the file
                // ends in a torn tail, which the next start moves away; nothing more is appended here.
                let _ = disk.truncate(&self.name, self.size);
            }
            return Err(told(disk, "written to", &self.name, &error));
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Has all of it on the disk. Returns how long that took.
    pub(super) fn sync(&mut self, disk: &mut dyn Disk) -> io::Result<Duration> {
        let took = disk.sync(&self.name).map_err(|e| told(disk, "synced", &self.name, &e))?;
        self.synced = self.size;
        Ok(took)
    }

    /// Cuts off all behind the first `size` bytes.
    pub(super) fn truncate(&mut self, disk: &mut dyn Disk, size: u64) -> io::Result<()> {
        disk.truncate(&self.name, size).map_err(|e| told(disk, "truncated", &self.name, &e))?;
        self.size = size;
        Ok(())
    }
}

/// A file that is being written, to take the place of another.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    pub(super) file: JournalFile,
    /// The next line to be written.
    pub(super) next: usize,
    /// The file whose place it takes is not where it was.
    pub(super) old_is_lost: bool,
    /// Why it is of no use any more.
    pub(super) failure: Option<io::Error>,
}

impl Compaction {
    /// Appends `records`. If that fails, the next slice returns the error.
    pub(super) fn append(&mut self, disk: &mut dyn Disk, records: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.file.append(disk, records).err();
        }
    }
}

/// The error `e` with the path of the file `name`, and what could not be done to it.
pub(super) fn told(disk: &dyn Disk, what: &str, name: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{} cannot be {what}: {e}", disk.path(name)))
}
