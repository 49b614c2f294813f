//! What the journal asks of a disk: the few calls on files in one folder; and the kernel's.
//!
//! Tests put another one under the same journal: `MemoryDisk` of `tests/support`, which
//! loses and tears what was not synced.
//!
//! Files go by their names, so there is nothing to hold, and nothing that could outlive its file. A
//! file is opened or created before anything else is asked of it.

use crate::files;
use crate::log::{operand, shell_quoted};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One folder of a disk.
///
/// Every call may fail as the operating system's do. What was appended is on the disk only after
/// [`sync`](Disk::sync), what was created, renamed or removed only after
/// [`sync_folder`](Disk::sync_folder).
pub trait Disk: fmt::Debug {
    /// Keeps everybody else out of the folder, until this disk is dropped. Makes the folder if it is
    /// not there.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: somebody else has it.
    fn lock(&mut self) -> io::Result<()>;

    /// The names of the files in the folder, in any order.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Makes the empty file `name`, in place of one that may be there, and opens it.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Opens the file `name`, and tells its size.
    fn open(&mut self, name: &str) -> io::Result<u64>;

    /// Reads from `offset` on; 0 bytes are the end.
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes a beginning of `bytes` at the end of the file, and tells how many.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize>;

    /// Has the file's bytes on the disk when it returns, and tells how long that took. It is the one
    /// call that may take its time.
    ///
    /// # Errors
    ///
    /// What was appended since the last sync may be lost then, and another sync may not say so.
    fn sync(&mut self, name: &str) -> io::Result<Duration>;

    /// Cuts the file off behind `size` bytes.
    fn truncate(&mut self, name: &str, size: u64) -> io::Result<()>;

    /// Nothing more will be asked of the file `name`.
    fn close(&mut self, name: &str);

    /// Gives the file `from` the name `to`. It stays open.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`: something has that name, and keeps it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the file `name`.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Has the folder's names on the disk when it returns.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// Whether whoever opens the folder at its path finds there the lock that this disk holds, and the file
    /// that it has open under the name `name`. A few calls that wait for nothing.
    ///
    /// # Errors
    ///
    /// Why not: it was removed or renamed, or something else has its name.
    fn find(&mut self, name: &str) -> io::Result<()>;

    /// Locks the folder again if the lock is not [found](Disk::find), and makes it if it is not there.
    /// Files that are open stay so.
    ///
    /// # Errors
    ///
    /// As of [`lock`](Disk::lock).
    fn lock_again(&mut self) -> io::Result<()>;

    /// The file `name` as people find it: its path.
    fn path(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// The file that is locked. It stays empty, and stays.
const LOCK: &str = "lock";

/// Who may read a journal, which tells where people are: the owner, and the group.
const MODE: u32 = 0o640;

/// Who may look for one in its folder: the same.
const FOLDER_MODE: u32 = 0o750;

/// What others may do with a file or a folder.
const OTHERS: u32 = 0o007;

/// A folder of the machine's.
pub struct KernelDisk {
    folder: PathBuf,
    /// A monotonic clock, to time syncs by.
    clock: Box<dyn Fn() -> Duration>,
    lock: Option<File>,
    open: Vec<(String, File)>,
}

impl KernelDisk {
    /// The folder `folder`; touches nothing yet. `clock`: the time since any one moment.
    pub fn new(folder: &Path, clock: impl Fn() -> Duration + 'static) -> KernelDisk {
        let clock = Box::new(clock);
        KernelDisk { folder: folder.to_owned(), clock, lock: None, open: Vec::new() }
    }

    fn file(&self, name: &str) -> io::Result<&File> {
        let found = self.open.iter().find(|(open, _)| open == name);
        found.map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether the folder has the lock that is held.
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
        // An older version may have made it for all to read.
        let _ = lock.set_permissions(Permissions::from_mode(MODE));
        // It goes with its descriptor, however the process ends.
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        self.lock = Some(lock);
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?;
        // A name that is no text is none of ours.
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
            // Not every file system looks for the name itself; NFS does not.
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

/// Whether `path` leads to `file`: a name that is given to another file meanwhile does not.
fn is_at(file: &File, path: &Path) -> io::Result<()> {
    let (held, found) = (file.metadata()?, fs::metadata(path)?);
    match (held.dev(), held.ino()) == (found.dev(), found.ino()) {
        true => Ok(()),
        false => Err(io::Error::other("its name is another file's")),
    }
}

/// Makes `folder` and those it is in, and has their names on the disk.
fn make_folder(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find_map(|path| Some((path, path.symlink_metadata().ok()?)));
    if let Some((path, found)) = there.filter(|(path, _)| !path.is_dir()) {
        let (path, kind) = (operand(path), files::kind(found.file_type()));
        let what =
            format!("{path} is no folder but {kind}; move it away, or choose another folder");
        return Err(io::Error::other(what));
    }
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Takes the right to open `folder` from others: a journal in it that was brought back from a copy may be open
/// to them, and tells where people are.
fn shut_out_others(folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & OTHERS != 0
        && let Err(e) = fs::set_permissions(folder, Permissions::from_mode(mode & !OTHERS))
    {
        let folder = operand(folder);
        let typed = shell_quoted(&folder);
        log::warn!("journal: others may open {folder}: {e}; have its owner run `chmod o= {typed}`");
    }
    Ok(())
}

/// A file of a disk from `offset` on, to be read as long as nobody says stop.
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
