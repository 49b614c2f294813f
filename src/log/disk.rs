//! The log's file, which rotates when it has grown.
//!
//! In: bytes. Out: `Alford-2026-11-22T10-16-39Z.log`, and older files `....log.1` (the newest) to
//! `....log.N`. It knows neither lines nor time; the
//! [`LogFile`](super::LogFile) decides what an error means.
//!
//! Rotation renames each older file; the oldest is overwritten. The new file
//! is created first, under another name: if that fails (no descriptor left, folder gone), nothing
//! has been moved, the old file keeps growing, and the next write tries again.

use crate::files;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LogSettings;

/// The mode of log files, which contain people's locations: only the owner and the group may read them.
const MODE: u32 = 0o640;

/// The mode of the log folder if it is created here.
const FOLDER_MODE: u32 = 0o750;

/// The log's view of a disk.
pub trait LogDisk {
    /// Writes as much of the beginning of `bytes` as fits, and returns the number of bytes written.
    ///
    /// # Errors
    /// Fails if the operating system cannot write; then nothing was written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Starts a new file if the current one is too large. Called only at the end of a line.
    ///
    /// # Errors
    /// Fails if rotation is due but fails; further bytes then go to the old file.
    fn rotate_if_due(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Replaces `rotate_bytes` and `rotate_keep`.
    fn set_rotation(&mut self, _settings: &LogSettings) {}
}

/// A file that rotates when it has `rotate_bytes`, and keeps at most `rotate_keep` older files.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotate_bytes: u64,
    rotate_keep: u64,
}

impl RotatingFile {
    /// Creates `<name>.log` in the folder of `settings`, and the folder if it does not exist.
    ///
    /// It never touches an existing file: the new file is then called `<name>-2.log`, and so on.
    ///
    /// # Errors
    /// Fails if the folder or the file cannot be created; the message names it.
    pub fn create(settings: &LogSettings, name: &str) -> io::Result<RotatingFile> {
        const NAMES_TRIED: u32 = 1_000;

        let folder = &settings.folder;
        let folders = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        folders.map_err(|error| named(error, folder))?;
        for attempt in 1..=NAMES_TRIED {
            let number = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let path = folder.join(format!("{name}{number}.log"));
            match File::options().append(true).create_new(true).mode(MODE).open(&path) {
                Ok(file) => {
                    let &LogSettings { rotate_bytes, rotate_keep, .. } = settings;
                    return Ok(RotatingFile { path, file, size: 0, rotate_bytes, rotate_keep });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(named(error, &path)),
            }
        }
        Err(named(io::ErrorKind::AlreadyExists.into(), &folder.join(format!("{name}.log"))))
    }

    /// Returns the path of the current file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn rotate(&mut self) -> io::Result<()> {
        let begun = self.beside("new");
        let mut options = File::options();
        let file = files::open_in_place(&begun, options.append(true).create(true).mode(MODE))?;
        for age in (0..self.rotate_keep).rev() {
            match fs::rename(self.elder(age), self.elder(age + 1)) {
                // There are fewer older files than `rotate_keep`, or an operator has removed one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
        fs::rename(&begun, &self.path)?;
        self.file = file;
        self.size = 0;
        Ok(())
    }

    /// Returns the path of the file from `age` rotations ago.
    fn elder(&self, age: u64) -> PathBuf {
        if age == 0 { self.path.clone() } else { self.beside(&age.to_string()) }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(end);
        path.into()
    }
}

impl LogDisk for RotatingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn rotate_if_due(&mut self) -> io::Result<()> {
        if self.rotate_bytes == 0 || self.size < self.rotate_bytes {
            return Ok(());
        }
        // The file is shorter if an operator has truncated it.
        debug_assert!(self.file.metadata().is_ok_and(|file| file.len() <= self.size));
        self.rotate()
    }

    fn set_rotation(&mut self, settings: &LogSettings) {
        (self.rotate_bytes, self.rotate_keep) = (settings.rotate_bytes, settings.rotate_keep);
    }
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A temporary folder, removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("places-herd-{}-{test}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }

        fn file(&self, rotate_bytes: u64, rotate_keep: u64) -> RotatingFile {
            let settings = LogSettings { folder: self.0.join("log"), rotate_bytes, rotate_keep };
            RotatingFile::create(&settings, "Alford").expect("the folder can be made")
        }

        fn contents(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(self.0.join("log"))
                .expect("the folder is there")
                .map(|entry| entry.expect("an entry").path())
                .map(|path| {
                    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                    (name, fs::read_to_string(path).expect("text"))
                })
                .collect();
            files.sort();
            files
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(file: &mut RotatingFile, text: &str) {
        assert_eq!(file.append(text.as_bytes()).expect("there is room"), text.len());
    }

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let folder = Folder::new("exists");
        for (text, name) in
            [("one", "Alford.log"), ("two", "Alford-2.log"), ("three", "Alford-3.log")]
        {
            let mut file = folder.file(0, 0);
            write(&mut file, text);
            assert_eq!(file.path(), folder.0.join("log").join(name));
        }
        assert_eq!(folder.contents()[2], ("Alford.log".into(), "one".into()));
    }

    #[test]
    fn only_rotate_keep_older_files_are_kept_and_the_newest_is_1() {
        let folder = Folder::new("elders");
        let mut file = folder.file(4, 2);
        for text in ["1111", "2222", "3333", "4444", "55"] {
            write(&mut file, text);
            file.rotate_if_due().expect("the folder can be written");
        }
        let expected = [("Alford.log", "55"), ("Alford.log.1", "4444"), ("Alford.log.2", "3333")];
        assert_eq!(folder.contents(), expected.map(|(name, text)| (name.into(), text.into())));
    }

    #[test]
    fn with_rotate_keep_0_a_new_file_replaces_the_old_one() {
        let folder = Folder::new("none");
        let mut file = folder.file(4, 0);
        for text in ["1111", "2222", "3"] {
            write(&mut file, text);
            file.rotate_if_due().expect("the folder can be written");
        }
        assert_eq!(folder.contents(), [("Alford.log".into(), "3".into())]);
    }

    #[test]
    fn others_may_read_neither_the_log_nor_older_files() {
        let folder = Folder::new("mode");
        let mut file = folder.file(4, 1);
        write(&mut file, "1111");
        file.rotate_if_due().expect("the folder can be written");
        for name in ["Alford.log", "Alford.log.1"] {
            let metadata = fs::metadata(folder.0.join("log").join(name)).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o7137, 0, "{name}");
        }
        let metadata = fs::metadata(folder.0.join("log")).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o7027, 0, "the folder");
    }

    #[test]
    fn zero_bytes_means_never() {
        let folder = Folder::new("never");
        let mut file = folder.file(0, 2);
        write(&mut file, "1111");
        file.rotate_if_due().expect("nothing is due");
        assert_eq!(folder.contents().len(), 1);
    }

    #[test]
    fn when_no_new_file_can_be_made_nothing_moves_and_the_old_one_grows_on() {
        let folder = Folder::new("stuck");
        let mut file = folder.file(4, 2);
        let in_the_way = folder.0.join("log/Alford.log.new");
        fs::create_dir(&in_the_way).expect("the folder can be written");
        write(&mut file, "1111");
        assert!(file.rotate_if_due().is_err());
        write(&mut file, "2222");
        fs::remove_dir(&in_the_way).expect("it is empty");
        // Opening a pipe without a reader would block the loop.
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &in_the_way, kind, mode, 0).expect("it can be made");
        assert!(file.rotate_if_due().is_err());
        fs::remove_file(&in_the_way).expect("it is ours");
        file.rotate_if_due().expect("nothing is in the way now");
        write(&mut file, "3");
        let expected = [("Alford.log", "3"), ("Alford.log.1", "11112222")];
        assert_eq!(folder.contents(), expected.map(|(name, text)| (name.into(), text.into())));
    }

    #[test]
    fn a_log_that_was_removed_does_not_stop_rotation() {
        let folder = Folder::new("taken");
        let mut file = folder.file(4, 2);
        write(&mut file, "1111");
        fs::remove_file(file.path()).expect("it was there");
        file.rotate_if_due().expect("the folder can be written");
        write(&mut file, "2");
        assert_eq!(folder.contents(), [("Alford.log".into(), "2".into())]);
    }

    #[test]
    fn the_error_names_the_folder_that_cannot_be_made() {
        let folder = Folder::new("named");
        fs::create_dir_all(&folder.0).expect("the system's own folder can be written");
        fs::write(folder.0.join("log"), "a file").expect("the folder can be written");
        let settings =
            LogSettings { folder: folder.0.join("log"), rotate_bytes: 0, rotate_keep: 0 };
        let error = RotatingFile::create(&settings, "Alford").expect_err("a file is in the way");
        assert!(
            error.to_string().starts_with(&folder.0.join("log").display().to_string()),
            "{error}"
        );
    }
}
