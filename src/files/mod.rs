//! Files that are read from their beginning, and that cannot keep us waiting.
//!
//! In: a path. Out: a file, or all its bytes. What is no regular file is not opened: a pipe waits for its writer,
//! and a device may have no end.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file for reading.
pub fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// All bytes of a regular file, and who may open it. One of more than `bytes_max` bytes is an error.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Permissions)> {
    let (file, mut bytes) = (open(path)?, Vec::new());
    let permissions = file.metadata()?.permissions();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::other(format!("it has more than {bytes_max} bytes"))),
        false => Ok((bytes, permissions)),
    }
}
