//! The table `[status]`: where servers can be asked how they are.
//!
//! In: the table, if it is there, and the servers. Out: the folder of their sockets, near enough that the
//! path of each fits the address of a socket. Knows no file.

use super::diagnostic::{Diagnostics, quoted};
use super::servers::Server;
use super::toml_section::Section;
use std::path::{Path, PathBuf};

/// Longest path that the address of a socket takes; one more byte of it ends the path (unix(7), sun_path).
const PATH_BYTES_MAX: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// Where the server `name` can be asked, if sockets lie in `folder`.
pub fn socket_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sock"))
}

/// Reads `[status]`. `folder`: the topology file's. An empty name is nowhere.
pub(super) fn read(
    top: &Section<'_>,
    folder: &Path,
    servers: &[Server],
    diagnostics: &mut Diagnostics<'_>,
) -> Option<PathBuf> {
    let section = top.section("[status]", diagnostics);
    let name = section.text_or_default("folder");
    if name.is_empty() {
        return None;
    }
    let folder = folder.join(name);
    let served = servers.iter().filter(|server| !server.plain);
    let longest = served.map(|server| server.name.as_str()).max_by_key(|name| name.len());
    let longest = longest.unwrap_or_default();
    let bytes = socket_path(&folder, longest).as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        let what = format!(
            "the path of the status socket of {} has {bytes} bytes, and a socket takes {PATH_BYTES_MAX}",
            quoted(longest)
        );
        let room = (PATH_BYTES_MAX + name.len()).saturating_sub(bytes);
        let place = section.place_of("folder").or(section.head);
        diagnostics.error(place, what, remedy(room));
    }
    Some(folder)
}

/// What to write instead, if a name has `room` for so many bytes where it stands.
fn remedy(room: usize) -> String {
    let elsewhere = "a short path from /, such as folder = \"/run/herd\"";
    match room {
        0 => format!("name {elsewhere}"),
        1 => format!("a name of 1 byte fits here; or name {elsewhere}"),
        _ => format!("a name of {room} bytes fits here; or name {elsewhere}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::SocketAddr;

    #[test]
    fn the_longest_path_is_the_one_that_an_address_takes() {
        // That of who asks, and that of who listens.
        let std = |bytes| SocketAddr::from_pathname("x".repeat(bytes)).is_ok();
        let socket2 = |bytes| socket2::SockAddr::unix("x".repeat(bytes)).is_ok();
        assert!(std(PATH_BYTES_MAX) && socket2(PATH_BYTES_MAX));
        assert!(!std(PATH_BYTES_MAX + 1) && !socket2(PATH_BYTES_MAX + 1));
    }
}
