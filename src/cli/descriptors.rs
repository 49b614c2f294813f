//! The descriptors of a process, and the share that clients get.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors that clients do not get, beside one for each neighbour: for listeners, strangers at the peer
/// port, the poll and the log, and one in reserve. If the limit is low, clients do not get a quarter of all.
const DESCRIPTORS_KEPT: usize = 64;

/// The number of clients that may be connected at once, of a server with so many neighbours; then the number of
/// descriptors that they leave, and the number that they should leave.
pub(super) fn connections_max(neighbours: usize) -> (usize, usize, usize) {
    let descriptors = raise_descriptor_limit();
    let wanted = DESCRIPTORS_KEPT + neighbours;
    let kept = wanted.min(descriptors / 4);
    (descriptors - kept, kept, wanted)
}

/// Raises the limit of open files to its maximum, and returns it.
pub(super) fn raise_descriptor_limit() -> usize {
    let given = getrlimit(Resource::Nofile);
    let most = Rlimit { current: given.maximum, ..given };
    let descriptors = match setrlimit(Resource::Nofile, most) {
        Ok(()) => most.current,
        Err(_) => given.current,
    };
    descriptors.and_then(|most| most.try_into().ok()).unwrap_or(usize::MAX)
}
