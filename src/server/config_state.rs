//! The configuration that a server has in force, and what the last attempt to reload it brought.
//!
//! In: a topology, and later the outcomes of reloads. Out: the member `config` of the status. [`ConfigReader`] is how the
//! server reaches the file: it opens no file itself.

use super::client_access::ClientAccess;
use super::peer_tls::PeerTls;
use super::place_queries::PlacesInUse;
use crate::config::{Change, ServerView, Topology};
use herd_reactor::UnixNanos;
use log::Level;
use serde_json::{Value, json};
use std::fmt;

/// Reads the configuration of a server again, with all files that it names.
pub trait ConfigReader: fmt::Debug {
    /// Reads and checks everything, and prepares all that can fail. Changes nothing.
    ///
    /// `in_force`: the configuration that the server uses now. `herd`: the herd's name in it.
    ///
    /// # Errors
    /// Fails if there is any fault; returns all of them.
    fn read(
        &mut self,
        in_force: &ServerView,
        herd: &str,
        wall: UnixNanos,
    ) -> Result<Prepared, Vec<String>>;

    /// Whether this process was started in a terminal, which has been closed since.
    fn terminal_has_closed(&self) -> bool;
}

/// Everything that a new configuration needs and that could fail: it is made before anything is changed.
#[derive(Debug)]
pub struct Prepared {
    /// The new file.
    pub topology: Topology,
    /// What differs from the configuration in force.
    pub changes: Vec<Change>,
    /// The new source of places; `None`: it has not changed.
    pub places: Option<PlacesInUse>,
    /// The certificates, if the file has `[peer_tls]`.
    pub peer_tls: Option<PeerTls>,
    /// The tokens, and the certificate for clients.
    pub access: ClientAccess,
    /// The number of clients for which the process has descriptors.
    pub connections_max: usize,
}

/// The configuration in force, and the outcome of the last attempt to reload it.
#[derive(Debug, Default)]
pub(super) struct ConfigState {
    pub(super) in_force: ServerView,
    /// Of the file that was applied last.
    pub(super) sha256: String,
    pub(super) loaded_at: UnixNanos,
    pub(super) last_attempt: UnixNanos,
    /// What the last attempt changed.
    pub(super) changes: Vec<String>,
    /// The changes in the file that was applied last that need a restart.
    pub(super) restart_pending: Vec<String>,
    /// Why the last attempt was refused; empty if it succeeded, or if there was none.
    pub(super) errors: Vec<String>,
}

impl ConfigState {
    /// The state of the server `name` of `topology` at its start; `None` if there is no such server.
    pub(super) fn of(topology: &Topology, name: &str) -> Option<ConfigState> {
        Some(ConfigState {
            in_force: topology.view_of(name)?,
            sha256: topology.sha256.clone(),
            ..ConfigState::default()
        })
    }

    /// The member `config` of the status; times are in seconds since 1970.
    pub(super) fn json(&self) -> Value {
        let seconds = |UnixNanos(nanos)| nanos / 1_000_000_000;
        json!({
            "sha256": self.sha256,
            "loaded_at": seconds(self.loaded_at),
            "last_attempt": seconds(self.last_attempt),
            "last_error": (!self.errors.is_empty()).then(|| self.errors.join("; ")),
            "restart_pending": self.restart_pending,
        })
    }

    /// The answer to `RELOAD`.
    pub(super) fn outcome(&self) -> Value {
        json!({
            "reloaded": self.errors.is_empty(),
            "outcome": self.in_words().1,
            "changes": self.changes,
            "restart_pending": self.restart_pending,
            "errors": self.errors,
        })
    }

    /// What the last attempt brought, in one line, and the level at which to log it.
    fn in_words(&self) -> (Level, String) {
        let [changes, pending, errors] =
            [&self.changes, &self.restart_pending, &self.errors].map(|texts| texts.join(", "));
        let changes = if changes.is_empty() { "nothing has changed" } else { &changes };
        match (self.errors.is_empty(), self.restart_pending.is_empty()) {
            (true, true) => (Level::Info, format!("reloaded: {changes}")),
            (true, false) => {
                (Level::Warn, format!("reloaded: {changes}; needs a restart: {pending}"))
            }
            _ => (Level::Error, format!("refused, nothing has changed: {errors}")),
        }
    }

    /// Logs the outcome of an attempt that `by` asked for.
    pub(super) fn log(&self, by: &str) {
        let (level, what) = self.in_words();
        log::log!(level, "{by}: {what}");
    }
}
