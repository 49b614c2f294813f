//! Opens files and makes folders that an operator names, without ever blocking on them.
//!
//! In: a path. Out: an open file, or all its bytes. It also recognises compressed files and encodings other than
//! UTF-8. It opens regular files only: a pipe would block until it has a writer, and a device may have no end.

mod given;

pub use given::{credential_or, given_folder, is_credential};

use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Creates a folder, and those above it, with this mode, if it does not exist.
pub fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Opens a regular file for reading.
pub fn open(path: &Path) -> io::Result<File> {
    regular(fs::metadata(path)?.file_type())?;
    File::open(path)
}

/// Opens a regular file with `options`. It does not follow a symbolic link, so that writes stay in the folder.
pub fn open_in_place(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    in_place(path)?;
    // If something else has taken the name since the check, the open neither blocks nor follows a link.
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

/// Returns all bytes of a regular file, and its permissions; a credential counts as readable by its owner only. A file of
/// more than `bytes_max` bytes is an error.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Permissions)> {
    let (file, mut bytes) = (open(path)?, Vec::new());
    let mut permissions = file.metadata()?.permissions();
    if is_credential(path) {
        permissions.set_mode(0o400);
    }
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::other(format!("it has more than {bytes_max} bytes"))),
        false => Ok((bytes, permissions)),
    }
}

/// Fails if `path` is not a regular file; the error says what it is and what to do. A path that does not exist is
/// fine.
pub fn in_place(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata().map_or(Ok(()), |found| regular(found.file_type()));
    found.map_err(|e| io::Error::other(format!("{e}; move it away")))
}

/// Fails unless `found` is a regular file; the error says what it is.
pub fn regular(found: FileType) -> io::Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(format!("it is not a regular file but {}", kind(found)))),
    }
}

/// Checks that `path` leads to `file` and not to another file with the same name. For this the file system must give an
/// open file and its name the same inode number, as all local ones and NFS do.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (held, found) = (file.metadata()?, fs::metadata(path)?);
    Ok((held.dev(), held.ino()) == (found.dev(), found.ino()))
}

/// Describes a type of file.
pub fn kind(found: FileType) -> &'static str {
    match found {
        file if file.is_file() => "a regular file",
        folder if folder.is_dir() => "a folder",
        link if link.is_symlink() => "a symbolic link",
        pipe if pipe.is_fifo() => "a named pipe",
        socket if socket.is_socket() => "a socket",
        _ => "a device",
    }
}

/// The first bytes of compressed files and of other encodings, each with the command that makes the file UTF-8.
const ENCODED: [(&[u8], &str); 9] = [
    (b"\x1f\x8b", "it is compressed with gzip: decompress it first, as with `gunzip`"),
    (b"BZh", "it is compressed with bzip2: decompress it first, as with `bunzip2`"),
    (b"\xfd7zXZ", "it is compressed with xz: decompress it first, as with `unxz`"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: decompress it first, as with `unzstd`"),
    (b"PK\x03\x04", "it is a zip archive: take the file out of it first, as with `unzip`"),
    (b"\xff\xfe\0\0", "it is UTF-32: convert it first, as with `iconv -f UTF-32 -t UTF-8`"),
    (b"\0\0\xfe\xff", "it is UTF-32: convert it first, as with `iconv -f UTF-32 -t UTF-8`"),
    (b"\xff\xfe", "it is UTF-16: convert it first, as with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "it is UTF-16: convert it first, as with `iconv -f UTF-16 -t UTF-8`"),
];

/// Describes a file that begins with `bytes`, and says what to do, if it is compressed or in an encoding other
/// than UTF-8.
pub fn encoded(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        // Two ASCII letters in UTF-16, without a byte order mark.
        [1..=255, 0, 1..=255, 0, ..] => {
            Some("it is UTF-16: convert it first, as with `iconv -f UTF-16LE -t UTF-8`")
        }
        [0, 1..=255, 0, 1..=255, ..] => {
            Some("it is UTF-16: convert it first, as with `iconv -f UTF-16BE -t UTF-8`")
        }
        _ => ENCODED.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| *what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_files_and_other_encodings_are_recognised() {
        let utf_16 = |text: &str, to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(to_bytes).collect()
        };
        for (bytes, what) in [
            (b"\x1f\x8b\x08\0".to_vec(), Some("gunzip")),
            (b"BZh91AY&SY".to_vec(), Some("bunzip2")),
            (b"\xfd7zXZ\0".to_vec(), Some("unxz")),
            (b"\x28\xb5\x2f\xfd\x04".to_vec(), Some("unzstd")),
            (b"PK\x03\x04\x14".to_vec(), Some("unzip")),
            (utf_16("\u{feff}{\"type\"", u16::to_le_bytes), Some("iconv -f UTF-16 ")),
            (utf_16("\u{feff}{\"type\"", u16::to_be_bytes), Some("iconv -f UTF-16 ")),
            (utf_16("HERDJ", u16::to_le_bytes), Some("iconv -f UTF-16LE ")),
            (utf_16("HERDJ", u16::to_be_bytes), Some("iconv -f UTF-16BE ")),
            (b"\xff\xfe\0\0{\0\0\0".to_vec(), Some("iconv -f UTF-32 ")),
            (b"\0\0\xfe\xff\0\0\0{".to_vec(), Some("iconv -f UTF-32 ")),
            (b"\xef\xbb\xbf{".to_vec(), None),
            (b"HERDJ 1".to_vec(), None),
            (b"1\tParis".to_vec(), None),
            (vec![0; 8], None),
            (b"H\0\0\0".to_vec(), None),
            (b"{".to_vec(), None),
            (vec![], None),
        ] {
            let told = encoded(&bytes);
            let is_told = told.is_some_and(|told| what.is_some_and(|what| told.contains(what)));
            assert!(is_told || (told, what) == (None, None), "{bytes:?}: {told:?}");
        }
    }

    #[test]
    fn the_error_says_what_is_there_instead_of_a_regular_file() {
        for (path, what) in [("/", "a folder"), ("/dev/null", "a device")] {
            let told = open(Path::new(path)).expect_err("it is not a file").to_string();
            assert_eq!(told, format!("it is not a regular file but {what}"));
        }
    }
}
