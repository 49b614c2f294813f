//! The table `[status]`: the folder of the status sockets.
//!
//! In: the table, if the file has it, and the servers. Out: the folder, checked so that the path of each socket
//! fits a socket address. It opens no file.

use super::diagnostic::{Diagnostics, quoted};
use super::servers::Server;
use super::toml_section::Section;
use std::path::{Path, PathBuf};

/// Longest path of a socket address in bytes, without the NUL byte that ends it (unix(7), `sun_path`).
const PATH_BYTES_MAX: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// The path of the status socket of the server `name` in `folder`.
pub fn socket_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sock"))
}

/// Reads `[status]`. `folder`: the topology file's folder. An empty name means that there are no status sockets.
pub(super) fn read(
    top: &Section<'_>,
    folder: &Path,
    servers: &[Server],
    diagnostics: &mut Diagnostics<'_>,
) -> Option<PathBuf> {
    let section = top.section("[status]", diagnostics);
    if section.text("folder").is_some_and(|name| name.get_ref().is_empty()) {
        return None;
    }
    let folder = section.folder("RUNTIME_DIRECTORY", folder);
    let served = servers.iter().filter(|server| !server.plain);
    let longest = served.map(|server| server.name.as_str()).max_by_key(|name| name.len());
    let longest = longest.unwrap_or_default();
    let bytes = socket_path(&folder, longest).as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        let what = format!(
            "the path of the status socket of {} has {bytes} bytes, but a socket address holds at most {PATH_BYTES_MAX}",
            quoted(longest)
        );
        let name = section.text_or_default("folder");
        let room = (PATH_BYTES_MAX + name.len()).saturating_sub(bytes);
        let place = section.place_of("folder").or(section.head);
        diagnostics.error(place, what, remedy(room));
    }
    Some(folder)
}

/// The remedy; `room` is the longest folder name in bytes that would fit.
fn remedy(room: usize) -> String {
    let elsewhere = "use a short path from /, such as folder = \"/run/herd\"";
    match room {
        0 => elsewhere.to_owned(),
        1 => format!("shorten folder to 1 byte, or {elsewhere}"),
        _ => format!("shorten folder to {room} bytes, or {elsewhere}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::SocketAddr;

    #[test]
    fn the_longest_path_is_the_one_that_an_address_takes() {
        // The client uses std's address, the server socket2's.
        let std = |bytes| SocketAddr::from_pathname("x".repeat(bytes)).is_ok();
        let socket2 = |bytes| socket2::SockAddr::unix("x".repeat(bytes)).is_ok();
        assert!(std(PATH_BYTES_MAX) && socket2(PATH_BYTES_MAX));
        assert!(!std(PATH_BYTES_MAX + 1) && !socket2(PATH_BYTES_MAX + 1));
    }
}
