//! A file of records: an append succeeds as a whole or leaves the file as it was.

use super::Disk;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// A file that is open on the disk.
#[derive(Debug, Default)]
pub(super) struct JournalFile {
    pub(super) number: u64,
    pub(super) name: String,
    /// The size in bytes.
    pub(super) size: u64,
    /// How many bytes from the beginning are on the disk.
    pub(super) synced: u64,
}

impl JournalFile {
    /// Creates an empty file.
    pub(super) fn create(
        disk: &mut dyn Disk,
        number: u64,
        name: String,
    ) -> io::Result<JournalFile> {
        disk.create(&name).map_err(|e| told(disk, "created", &name, &e))?;
        Ok(JournalFile { number, name, size: 0, synced: 0 })
    }

    /// Appends all of `bytes` or none.
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
                // Otherwise the next record would follow half a record. If this fails too, the file
                // ends in a torn tail, which the next start moves away; the caller appends nothing more.
                let _ = disk.truncate(&self.name, self.size);
            }
            return Err(told(disk, "written to", &self.name, &error));
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the whole file to the disk. Returns how long that took.
    pub(super) fn sync(&mut self, disk: &mut dyn Disk) -> io::Result<Duration> {
        let took = disk.sync(&self.name).map_err(|e| told(disk, "synced", &self.name, &e))?;
        self.synced = self.size;
        Ok(took)
    }

    /// Truncates the file to its first `size` bytes.
    pub(super) fn truncate(&mut self, disk: &mut dyn Disk, size: u64) -> io::Result<()> {
        disk.truncate(&self.name, size).map_err(|e| told(disk, "truncated", &self.name, &e))?;
        self.size = size;
        Ok(())
    }
}

/// A new file that will replace the current one.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    pub(super) file: JournalFile,
    /// The number of the next line to write.
    pub(super) next: usize,
    /// Whether the current file has lost its name.
    pub(super) old_is_lost: bool,
    /// The error of a write, after which the file is useless.
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

/// Adds to the error `e` the path of the file `name` and the operation that failed: `what` is its participle.
pub(super) fn told(disk: &dyn Disk, what: &str, name: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{} cannot be {what}: {e}", disk.path(name)))
}
