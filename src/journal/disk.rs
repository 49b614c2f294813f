//! The journal's view of a disk: the few operations on the files of one folder; and their implementation with
//! the kernel.
//!
//! Tests run the same journal on another disk: `MemoryDisk` of `tests/support`, which
//! loses and tears bytes that were not synced.
//!
//! Callers name files instead of holding handles, so no handle can outlive its file. A
//! file must be opened or created before any other operation on it.

use crate::files;
use crate::log::{operand, shell_quoted};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One folder of a disk.
///
/// Every operation may fail like the operating system's. Appended bytes are on the disk only after
/// [`sync`](Disk::sync); created, renamed and removed names only after
/// [`sync_folder`](Disk::sync_folder).
pub trait Disk: fmt::Debug {
    /// Locks the folder against other processes until this disk is dropped. Creates the folder if it does
    /// not exist.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: another process has locked it.
    fn lock(&mut self) -> io::Result<()>;

    /// Returns the names of the files in the folder, in any order.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Creates the empty file `name`, replacing an existing one, and opens it.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Opens the file `name`, and returns its size.
    fn open(&mut self, name: &str) -> io::Result<u64>;

    /// Reads from `offset` on; returns 0 at the end of the file.
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes the first bytes of `bytes` at the end of the file, and returns how many.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize>;

    /// Puts the file's bytes on the disk before it returns; returns how long that took. It is the only
    /// operation that may take long.
    ///
    /// # Errors
    ///
    /// Bytes appended since the last sync may be lost, and a later sync may succeed nevertheless.
    fn sync(&mut self, name: &str) -> io::Result<Duration>;

    /// Truncates the file to `size` bytes.
    fn truncate(&mut self, name: &str, size: u64) -> io::Result<()>;

    /// Closes the file `name`.
    fn close(&mut self, name: &str);

    /// Renames the file `from` to `to`. It stays open.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`: the name is taken; the file that has it stays as it is.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the file `name`.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Puts the folder's names on the disk before it returns.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// Checks that the folder's path still leads to the lock that this disk holds, and `name` to the file that
    /// it has open. It takes a few system calls, none of which blocks.
    ///
    /// # Errors
    ///
    /// The file or the folder was removed or renamed, or something else has its name.
    fn find(&mut self, name: &str) -> io::Result<()>;

    /// Locks the folder again if the lock is not [found](Disk::find); creates the folder if it does not exist.
    /// Open files stay open.
    ///
    /// # Errors
    /// Fails as [`lock`](Disk::lock) does.
    fn lock_again(&mut self) -> io::Result<()>;

    /// Returns the path of the file `name`, for messages.
    fn path(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// The name of the file that is locked. It is empty, and is never removed.
const LOCK: &str = "lock";

/// The mode of journal files, which contain people's locations: only the owner and the group may read them.
const MODE: u32 = 0o640;

/// The mode of a folder that is created: only the owner and the group may open it.
const FOLDER_MODE: u32 = 0o750;

/// The permission bits of others.
const OTHERS: u32 = 0o007;

/// A folder on a disk of this machine.
pub struct KernelDisk {
    folder: PathBuf,
    /// A monotonic clock, which times syncs.
    clock: Box<dyn Fn() -> Duration>,
    lock: Option<File>,
    open: Vec<(String, File)>,
}

impl KernelDisk {
    /// Makes a disk of `folder`, without touching it yet. `clock`: returns the time since a fixed moment.
    pub fn new(folder: &Path, clock: impl Fn() -> Duration + 'static) -> KernelDisk {
        let clock = Box::new(clock);
        KernelDisk { folder: folder.to_owned(), clock, lock: None, open: Vec::new() }
    }

    fn file(&self, name: &str) -> io::Result<&File> {
        let found = self.open.iter().find(|(open, _)| open == name);
        found.map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Checks that the folder's lock file is the one that this disk holds.
    fn find_lock(&self) -> io::Result<()> {
        let lock = self.lock.as_ref().ok_or(ErrorKind::NotFound)?;
        is_at(lock, &self.folder.join(LOCK))
    }

    fn opened(&mut self, name: &str, file: File) {
        self.close(name);
        self.open.push((name.to_owned(), file));
    }
}

impl Disk for KernelDisk {
    fn lock(&mut self) -> io::Result<()> {
        make_folder(&self.folder)?;
        shut_out_others(&self.folder)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let path = self.folder.join(LOCK);
        let lock = files::open_in_place(&path, &mut options)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", operand(&path))))?;
        // An older version may have created it readable for all.
        let _ = lock.set_permissions(Permissions::from_mode(MODE));
        // The kernel releases the lock with its descriptor, however the process ends.
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        self.lock = Some(lock);
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?;
        // A name that is not UTF-8 is not a journal's.
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        match self.remove(name) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = File::options();
        options.read(true).append(true).create_new(true).mode(MODE);
        let file = options.open(self.folder.join(name))?;
        self.opened(name, file);
        Ok(())
    }

    fn open(&mut self, name: &str) -> io::Result<u64> {
        let path = self.folder.join(name);
        let file = files::open_in_place(&path, File::options().read(true).append(true))?;
        let size = file.metadata()?.len();
        self.opened(name, file);
        Ok(size)
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file(name)?.read_at(into, offset)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.file(name)?, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<Duration> {
        let begun = (self.clock)();
        self.file(name)?.sync_data()?;
        Ok((self.clock)().saturating_sub(begun))
    }

    fn truncate(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.file(name)?.set_len(size)
    }

    fn close(&mut self, name: &str) {
        self.open.retain(|(open, _)| open != name);
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (old, new) = (self.folder.join(from), self.folder.join(to));
        match renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE) {
            // Not every file system supports NOREPLACE; NFS does not.
            Err(Errno::INVAL) if new.symlink_metadata().is_ok() => return Err(Errno::EXIST.into()),
            Err(Errno::INVAL) => fs::rename(old, new)?,
            renamed => renamed?,
        }
        for (name, _) in self.open.iter_mut().filter(|(name, _)| name == from) {
            *name = to.to_owned();
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.close(name);
        let path = self.folder.join(name);
        fs::remove_file(&path).map_err(|e| files::in_place(&path).err().unwrap_or(e))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn find(&mut self, name: &str) -> io::Result<()> {
        self.find_lock()?;
        is_at(self.file(name)?, &self.folder.join(name))
    }

    fn lock_again(&mut self) -> io::Result<()> {
        self.find_lock().or_else(|_| self.lock())
    }

    fn path(&self, name: &str) -> String {
        operand(&self.folder.join(name))
    }
}

impl fmt::Debug for KernelDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelDisk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Checks that `path` leads to `file` and not to another file with the same name.
fn is_at(file: &File, path: &Path) -> io::Result<()> {
    match files::is_at(file, path)? {
        true => Ok(()),
        false => Err(io::Error::other("another file has its name")),
    }
}

/// Creates `folder` and its parents, and syncs their names to the disk.
fn make_folder(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find_map(|path| Some((path, path.symlink_metadata().ok()?)));
    if let Some((path, found)) = there.filter(|(path, _)| !path.is_dir()) {
        let (path, kind) = (operand(path), files::kind(found.file_type()));
        let what =
            format!("{path} is not a folder but {kind}; move it away, or choose another folder");
        return Err(io::Error::other(what));
    }
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    files::create_folder(folder, FOLDER_MODE)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Removes the permissions of others from `folder`: a journal that was restored from a copy may be readable
/// by all, and contains people's locations.
fn shut_out_others(folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & OTHERS != 0
        && let Err(e) = fs::set_permissions(folder, Permissions::from_mode(mode & !OTHERS))
    {
        let folder = operand(folder);
        let typed = shell_quoted(&folder);
        log::warn!(
            "journal: other users may open {folder}: {e}; have its owner run `chmod o= {typed}`"
        );
    }
    Ok(())
}

/// Reads a file from `offset` on, until `stops` returns true.
pub(super) struct FileReader<'d> {
    pub(super) disk: &'d mut dyn Disk,
    pub(super) name: &'d str,
    pub(super) offset: u64,
    pub(super) stops: &'d mut dyn FnMut() -> bool,
}

impl io::Read for FileReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if (self.stops)() {
            return Err(io::Error::other("told to stop"));
        }
        let count = self.disk.read_at(self.name, self.offset, into)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_file_is_no_option() {
        let disk = KernelDisk::new(Path::new("-x"), || Duration::ZERO);
        assert_eq!(disk.path("journal.1"), "./-x/journal.1");
    }
}
