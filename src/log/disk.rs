//! The log's file, which rotates when it has grown.
//!
//! In: bytes. Out: `Alford-2026-11-22T10-16-39Z.log`, and older files `....log.1` (the newest) to
//! `....log.N`; and `Alford.log`, a symbolic link to the newest file of the server. It knows neither lines nor time; the
//! [`LogFile`](super::LogFile) decides what an error means.
//!
//! Rotation renames each older file; the oldest is overwritten. The new file
//! is created first, under another name: if that fails (no descriptor left, folder gone), nothing
//! has been moved, the old file keeps growing, and the next write tries again.
//!
//! A server keeps `rotate_keep` older files over all its starts. A file is removed only if its whole name is one that
//! this file makes for this server: `Alford-2-2026-11-22T10-16-39Z.log` belongs to the server `Alford-2`.
//!
//! A file is provisional until the server has started: if the start fails, it is removed, no older file is, and the
//! link stays.

use crate::files;
use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
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
    /// Fails if rotation is due but fails; the message says what that means.
    fn rotate_if_due(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether further lines would go to a file that has lost its name: it was moved or removed.
    fn is_lost(&self) -> bool {
        false
    }

    /// Opens the file again under its name, and creates it if it does not exist. The old one is closed last.
    ///
    /// # Errors
    /// Fails if there is no such file and none can be created; further bytes then go to the old one.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The server has started or has new settings: the file stays and rotates by them, the link leads to it, and files
    /// beyond `rotate_keep` are removed.
    ///
    /// # Errors
    /// Fails if the link cannot be made or a file cannot be removed; the message says which.
    fn keep(&mut self, _: &LogSettings) -> io::Result<()> {
        Ok(())
    }
}

/// A file that rotates when it has `rotate_bytes`. A server keeps at most `rotate_keep` older files.
#[derive(Debug)]
pub struct RotatingFile {
    folder: PathBuf,
    server: String,
    path: PathBuf,
    file: File,
    size: u64,
    settings: LogSettings,
    /// Whether the file stays when this value is dropped.
    is_kept: bool,
}

impl RotatingFile {
    /// Creates `<server>-<start>.log` in `folder`, and the folder if it does not exist. `start`: the time, as
    /// `2026-11-22T10-16-39Z`.
    ///
    /// It never touches an existing file: the new file is then called `<server>-<start>-2.log`, and so on.
    ///
    /// # Errors
    /// Fails if the folder or the file cannot be created; the message names it.
    pub fn create(
        settings: &LogSettings,
        folder: &Path,
        server: &str,
        start: &str,
    ) -> io::Result<RotatingFile> {
        const NAMES_TRIED: u32 = 1_000;

        make(folder)?;
        for attempt in 1..=NAMES_TRIED {
            let number = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let path = folder.join(format!("{server}-{start}{number}.log"));
            match options().create_new(true).open(&path) {
                Ok(file) => {
                    return Ok(RotatingFile {
                        folder: folder.to_owned(),
                        server: server.to_owned(),
                        path,
                        file,
                        size: 0,
                        settings: settings.clone(),
                        is_kept: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(named(error, &path)),
            }
        }
        Err(named(ErrorKind::AlreadyExists.into(), &folder.join(format!("{server}-{start}.log"))))
    }

    /// Returns the path of the current file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn rotate(&mut self) -> io::Result<()> {
        let begun = self.beside("new");
        let file = files::open_in_place(&begun, options().create(true))?;
        for age in (0..self.settings.rotate_keep).rev() {
            match fs::rename(self.elder(age), self.elder(age + 1)) {
                // There are fewer older files than `rotate_keep`, or an operator has removed one.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
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

    /// Makes the link to the current file. It is made under another name and renamed, so that it exists at any time.
    fn link(&self) -> io::Result<()> {
        let [link, new] =
            ["log", "log.new"].map(|end| self.folder.join(format!("{}.{end}", self.server)));
        if link.symlink_metadata().is_ok_and(|found| !found.is_symlink()) {
            let what = "it is not a symbolic link; move it away";
            return Err(named(io::Error::new(ErrorKind::AlreadyExists, what), &link));
        }
        // A start that was killed may have left it.
        if new.is_symlink() {
            let _ = fs::remove_file(&new);
        }
        let target = self.path.file_name().unwrap_or_default();
        symlink(target, &new).and_then(|()| fs::rename(&new, &link)).map_err(|e| named(e, &link))
    }

    /// Removes this server's oldest files, so that `rotate_keep` are left beside the current one.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut ours = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|e| named(e, &self.folder))?.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if let Some(age) = entry.file_name().to_str().and_then(|name| age(name, &self.server))
                && is_file
                && entry.path() != self.path
            {
                ours.push((age, entry.path()));
            }
        }
        ours.sort_unstable();
        let beyond = ours.len().saturating_sub(self.settings.rotate_keep as usize);
        ours[..beyond].iter().try_for_each(|(_, path)| match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(named(error, path)),
            _ => Ok(()),
        })
    }
}

impl LogDisk for RotatingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn rotate_if_due(&mut self) -> io::Result<()> {
        // Rotation before the server has started would leave files of a start that fails.
        let most = self.settings.rotate_bytes;
        if !self.is_kept || most == 0 || self.size < most {
            return Ok(());
        }
        let told = |what: &str, e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
        self.rotate().map_err(|e| {
            told("rotate_bytes: cannot start a new log file, so this one keeps growing", e)
        })?;
        self.remove_oldest().map_err(|e| told("rotate_keep: cannot remove an old log file", e))
    }

    fn is_lost(&self) -> bool {
        !files::is_at(&self.file, &self.path).unwrap_or(false)
    }

    fn reopen(&mut self) -> io::Result<()> {
        make(&self.folder)?;
        let opened = files::open_in_place(&self.path, options().create(true));
        self.file = opened.map_err(|error| named(error, &self.path))?;
        self.size = self.file.metadata().map_or(0, |file| file.len());
        if self.is_kept {
            // It is gone if the folder was. If it cannot be made, that was told at the start.
            let _ = self.link();
        }
        Ok(())
    }

    fn keep(&mut self, settings: &LogSettings) -> io::Result<()> {
        self.settings.clone_from(settings);
        self.is_kept = true;
        let linked = self.link();
        self.remove_oldest().and(linked)
    }
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // If this fails, the next start that succeeds counts it as an old file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates the folder if it does not exist.
fn make(folder: &Path) -> io::Result<()> {
    files::create_folder(folder, FOLDER_MODE).map_err(|error| named(error, folder))
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.append(true).mode(MODE);
    options
}

/// The order of the log files of `server` by their names, oldest first: by the time of the start, the number after it,
/// and the rotations since. `None` if `name` is not exactly a name that [`RotatingFile`] gives a file of this server.
fn age(name: &str, server: &str) -> Option<(String, u64, Reverse<u64>)> {
    const START: &str = "dddd-dd-ddTdd-dd-ddZ";

    // A number after `sign` that is greater than `least`, or `least` without both.
    let number = |text: &str, sign: char, least: u64| match text {
        "" => Some(least),
        _ => text
            .strip_prefix(sign)?
            .parse()
            .ok()
            .filter(|number| *number > least && format!("{sign}{number}") == text),
    };
    let rest = name.strip_prefix(server)?.strip_prefix('-')?;
    let (start, rest) = rest.split_at_checked(START.len())?;
    let (attempt, rotations) = rest.split_once(".log")?;
    let is_start = start.replace(|c: char| c.is_ascii_digit(), "d") == START;
    let age = (start.to_owned(), number(attempt, '-', 1)?, Reverse(number(rotations, '.', 0)?));
    is_start.then_some(age)
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    const START: &str = "2026-11-22T10-16-39Z";

    /// The file of Alford's start at [`START`], and its rotations.
    fn name(end: &str) -> String {
        format!("Alford-{START}{end}")
    }

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
            let mut file = self.starting("Alford", START, rotate_bytes, rotate_keep);
            file.is_kept = true;
            file
        }

        fn starting(
            &self,
            server: &str,
            start: &str,
            rotate_bytes: u64,
            rotate_keep: u64,
        ) -> RotatingFile {
            let settings = LogSettings { rotate_bytes, rotate_keep, ..LogSettings::default() };
            RotatingFile::create(&settings, &self.0.join("log"), server, start)
                .expect("the folder can be made")
        }

        fn names(&self) -> Vec<String> {
            self.contents().into_iter().map(|(name, _)| name).collect()
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

    fn keep(file: &mut RotatingFile) -> io::Result<()> {
        let settings = file.settings.clone();
        file.keep(&settings)
    }

    fn write(file: &mut RotatingFile, text: &str) {
        assert_eq!(file.append(text.as_bytes()).expect("there is room"), text.len());
    }

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let folder = Folder::new("exists");
        for (text, name) in [("one", ".log"), ("two", "-2.log"), ("three", "-3.log")] {
            let mut file = folder.file(0, 0);
            write(&mut file, text);
            assert_eq!(file.path(), folder.0.join("log").join(self::name(name)));
        }
        assert_eq!(folder.contents()[2], (name(".log"), "one".into()));
    }

    #[test]
    fn only_rotate_keep_older_files_are_kept_and_the_newest_is_1() {
        let folder = Folder::new("elders");
        let mut file = folder.file(4, 2);
        for text in ["1111", "2222", "3333", "4444", "55"] {
            write(&mut file, text);
            file.rotate_if_due().expect("the folder can be written");
        }
        let expected = [(".log", "55"), (".log.1", "4444"), (".log.2", "3333")];
        assert_eq!(folder.contents(), expected.map(|(end, text)| (name(end), text.into())));
    }

    #[test]
    fn with_rotate_keep_0_a_new_file_replaces_the_old_one() {
        let folder = Folder::new("none");
        let mut file = folder.file(4, 0);
        for text in ["1111", "2222", "3"] {
            write(&mut file, text);
            file.rotate_if_due().expect("the folder can be written");
        }
        assert_eq!(folder.contents(), [(name(".log"), "3".into())]);
    }

    #[test]
    fn others_may_read_neither_the_log_nor_older_files() {
        let folder = Folder::new("mode");
        let mut file = folder.file(4, 1);
        write(&mut file, "1111");
        file.rotate_if_due().expect("the folder can be written");
        for name in [".log", ".log.1"].map(name) {
            let metadata = fs::metadata(folder.0.join("log").join(&name)).expect("it is there");
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
        let in_the_way = folder.0.join("log").join(name(".log.new"));
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
        let expected = [(".log", "3"), (".log.1", "11112222")];
        assert_eq!(folder.contents(), expected.map(|(end, text)| (name(end), text.into())));
    }

    #[test]
    fn a_log_that_was_removed_does_not_stop_rotation() {
        let folder = Folder::new("taken");
        let mut file = folder.file(4, 2);
        write(&mut file, "1111");
        fs::remove_file(file.path()).expect("it was there");
        file.rotate_if_due().expect("the folder can be written");
        write(&mut file, "2");
        assert_eq!(folder.contents(), [(name(".log"), "2".into())]);
    }

    #[test]
    fn the_error_names_the_folder_that_cannot_be_made() {
        let folder = Folder::new("named");
        fs::create_dir_all(&folder.0).expect("the system's own folder can be written");
        fs::write(folder.0.join("log"), "a file").expect("the folder can be written");
        let error = {
            let (settings, path) = (LogSettings::default(), folder.0.join("log"));
            RotatingFile::create(&settings, &path, "Alford", START)
                .expect_err("a file is in the way")
        };
        assert!(
            error.to_string().starts_with(&folder.0.join("log").display().to_string()),
            "{error}"
        );
    }

    /// The starts of Alford, oldest first.
    const STARTS: [&str; 4] = [
        "2025-12-31T23-59-59Z",
        "2026-01-01T00-00-00Z",
        "2026-11-22T10-16-39Z",
        "2026-11-22T10-16-40Z",
    ];

    #[test]
    fn rotate_keep_counts_the_older_files_of_all_starts_of_this_server_alone() {
        let folder = Folder::new("starts");
        let others = [
            format!("Alford-2-{}.log", STARTS[0]),
            format!("Alford-{0}-{0}.log", STARTS[0]),
            format!("Alford-{}.log.gz", STARTS[0]),
            format!("Alford-{}.log.1.gz", STARTS[0]),
            format!("Alford-{}.log.01", STARTS[0]),
            format!("Alford-{}-.log", STARTS[0]),
            format!("Alford-{}-+2.log", STARTS[0]),
            format!("Alford-{}-1.log", STARTS[0]),
            format!("Alford-{}.log.0", STARTS[0]),
            format!("alford-{}.log", STARTS[0]),
            "Alford-2025-12-31T23:59:59Z.log".into(),
            "Alford-.log".into(),
        ];
        fs::create_dir_all(folder.0.join("log")).expect("the folder can be made");
        for other in &others {
            fs::write(folder.0.join("log").join(other), "other").expect("there is room");
        }
        for start in STARTS {
            let mut file = folder.starting("Alford", start, 4, 2);
            keep(&mut file).expect("the folder can be written");
            write(&mut file, "1111");
            file.rotate_if_due().expect("the folder can be written");
        }
        let mut expected = others.to_vec();
        // The last start's two files, and the newest one of the start before.
        expected.extend([3, 3, 2].map(|start| format!("Alford-{}.log", STARTS[start])));
        expected.dedup();
        expected.push(format!("Alford-{}.log.1", STARTS[3]));
        expected.push("Alford.log".into());
        expected.sort();
        assert_eq!(folder.names(), expected);
    }

    #[test]
    fn the_oldest_start_goes_first_then_the_smaller_number_then_the_older_rotation() {
        let old_to_new = ["-2.log.3", "-2.log", "-10.log.2", "-10.log.1", "-10.log"];
        let mut names = vec![format!("Alford-{}.log", STARTS[1])];
        names.extend(old_to_new.map(name));
        let ages: Vec<_> =
            names.iter().map(|name| age(name, "Alford").expect("it is ours")).collect();
        assert!(ages.is_sorted(), "{ages:?}");
    }

    #[test]
    fn a_start_that_fails_leaves_no_file_and_neither_link_nor_older_files_change() {
        let folder = Folder::new("failed");
        let mut first = folder.starting("Alford", STARTS[0], 0, 0);
        write(&mut first, "first");
        keep(&mut first).expect("the folder can be written");
        let before = folder.contents();
        let mut second = folder.starting("Alford", STARTS[1], 4, 1);
        write(&mut second, "second");
        second.rotate_if_due().expect("it waits for the start");
        drop(second);
        drop(first);
        assert_eq!(folder.contents(), before);
        assert_eq!(before.len(), 2, "the file and the link");
    }

    #[test]
    fn the_link_leads_to_the_newest_file_and_a_file_in_its_place_is_left_alone() {
        let folder = Folder::new("link");
        let link = folder.0.join("log/Alford.log");
        for start in STARTS {
            let mut file = folder.starting("Alford", start, 0, 9);
            keep(&mut file).expect("the folder can be written");
            let target = format!("Alford-{start}.log");
            assert_eq!(fs::read_link(&link).expect("a link"), Path::new(&target), "relative");
        }
        fs::remove_file(&link).expect("it was there");
        fs::write(&link, "an operator's").expect("there is room");
        let why = keep(&mut folder.file(0, 9)).expect_err("a file is in the way").to_string();
        assert!(why.ends_with("Alford.log: it is not a symbolic link; move it away"), "{why}");
        assert_eq!(fs::read_to_string(&link).expect("text"), "an operator's");
    }

    #[test]
    fn a_file_that_was_moved_or_removed_or_whose_folder_is_gone_is_noticed_and_replaced() {
        let folder = Folder::new("lost");
        let mut file = folder.file(0, 0);
        assert!(!file.is_lost());
        write(&mut file, "one");
        let moved = folder.0.join("log").join("moved");
        fs::rename(file.path(), &moved).expect("it was there");
        assert!(file.is_lost());
        write(&mut file, "two");
        file.reopen().expect("the folder can be written");
        assert!(!file.is_lost());
        write(&mut file, "three");
        assert_eq!(fs::read_to_string(&moved).expect("text"), "onetwo");
        assert_eq!(fs::read_to_string(file.path()).expect("text"), "three");

        fs::remove_dir_all(folder.0.join("log")).expect("it is ours");
        assert!(file.is_lost());
        file.reopen().expect("the folder can be made");
        write(&mut file, "four");
        let link = ("Alford.log".to_owned(), "four".into());
        assert_eq!(folder.contents(), [(name(".log"), "four".into()), link]);

        // Another program may have created it, as logrotate does.
        fs::remove_file(file.path()).expect("it was there");
        fs::write(file.path(), "new").expect("there is room");
        assert!(file.is_lost());
        file.reopen().expect("it is a file");
        write(&mut file, "er");
        assert_eq!((file.size, folder.contents().remove(0).1), (5, "newer".into()));
    }

    #[test]
    fn while_a_lost_file_cannot_be_replaced_the_old_one_stays_in_use() {
        let folder = Folder::new("blocked");
        let mut file = folder.file(0, 0);
        let moved = folder.0.join("log").join("moved");
        fs::rename(file.path(), &moved).expect("it was there");
        fs::create_dir(file.path()).expect("the folder can be written");
        assert!(file.reopen().is_err());
        write(&mut file, "kept");
        assert_eq!(fs::read_to_string(&moved).expect("text"), "kept");
        fs::remove_dir(file.path()).expect("it is empty");
    }

    proptest! {
        #[test]
        fn no_name_of_another_server_is_taken_for_one_of_ours(
            ours in "[A-Za-z0-9-]{1,30}", other in "[A-Za-z0-9-]{1,30}", start in 0..4_usize, end in "(-[2-9])?",
        ) {
            let name = format!("{other}-{}{end}.log", STARTS[start]);
            prop_assert_eq!(age(&name, &ours).is_some(), ours == other);
        }
    }
}
