//! The bodies of the fuzz targets, one for each parser of outside bytes. libFuzzer runs them, and `cargo test`
//! runs them on every file in `corpus/`.
//!
//! A body that returns has found no fault. A body does not only check that nothing panics: it checks everything
//! that its parser promises for any bytes and, where possible, compares it with a second, simpler
//! reader.

#![allow(unreachable_pub, reason = "it is a crate for the targets, and a module for the test")]

mod certificates;
mod comparison;
mod http;
mod journal;
mod lines;
#[path = "../../tests/support/memory_disk.rs"]
#[allow(clippy::duplicate_mod, reason = "the suite has it, too")]
mod memory_disk;
mod names;
mod nats;
mod phones;
mod places;
mod servers;
mod table;

pub use certificates::certificates;
pub use comparison::comparison;
pub use http::{http_chunks, http_request, http_response, http_tunnel};
pub use journal::journal;
pub use lines::{command, lines, rows};
pub use names::{base_url, dns_answer, dns_files, no_proxy, topology};
pub use nats::nats_server;
pub use phones::phone_body;
pub use places::{places_file, places_google, places_legacy, places_photon};
pub use servers::{client_port, peer_port, status_socket};
pub use table::table;

/// Checks the promises of a parser for any bytes.
pub type Body = fn(&[u8]);

/// All bodies. The name of each is also that of its target and of its folder under `corpus/`.
pub const ALL: &[(&str, Body)] = &[
    ("base_url", base_url),
    ("certificates", certificates),
    ("client_port", client_port),
    ("command", command),
    ("comparison", comparison),
    ("dns_answer", dns_answer),
    ("dns_files", dns_files),
    ("http_chunks", http_chunks),
    ("http_request", http_request),
    ("http_response", http_response),
    ("http_tunnel", http_tunnel),
    ("journal", journal),
    ("lines", lines),
    ("nats_server", nats_server),
    ("no_proxy", no_proxy),
    ("peer_port", peer_port),
    ("phone_body", phone_body),
    ("places_file", places_file),
    ("places_google", places_google),
    ("places_legacy", places_legacy),
    ("places_photon", places_photon),
    ("rows", rows),
    ("status_socket", status_socket),
    ("table", table),
    ("topology", topology),
];

/// Splits `data` into its first byte, which chooses a variant, and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Splits `data` into pieces whose lengths depend on `seed`.
fn pieces(seed: u8, data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    let mut turn = 0_u32;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        turn += 1;
        let length = 1 + usize::from(seed.rotate_left(turn) ^ seed) % 97;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// Parses `line` as an AT line.
fn at(line: &[u8]) -> Option<places_herd::wire::command::At<'_>> {
    use places_herd::wire::command::{Command, CommandLimits};
    match Command::parse(line, &CommandLimits::default()) {
        Ok(Command::At(at)) => Some(at),
        _ => None,
    }
}

/// Returns the canonical line of `at`, in which servers store and flood it.
fn relayed(at: &places_herd::wire::command::At<'_>) -> Vec<u8> {
    places_herd::wire::report::Report::relayed(at, &mut Vec::new()).line().to_vec()
}
