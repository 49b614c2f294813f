//! Which topology a command reads, and what may be wrong with it.
//!
//! In: the option `--topology`, the environment, the file system. Out: a [`Topology`], or a failure whose message names
//! the file and how it was found. All commands search in this order, and take the first that there is:
//!
//! ```text
//! --topology FILE ─▶ HERD_TOPOLOGY ─▶ ./topology.toml ─▶ /etc/herd/topology.toml ─▶ the built-in topology
//! ```
//!
//! The built-in topology is the shipped topology.toml, compiled into the program and read as if it were the file
//! herd-data/topology.toml, so its log and its sockets are in herd-data. `herd up` writes that file, because the
//! servers that it starts only read files. From then on the file is what counts.

use super::exit::{Exit, Failure};
use super::print_error;
use crate::config::{Diagnostic, Server, Supposed, Topology, TopologyErrors, most_like};
use crate::files;
use crate::log::plural;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

const OPTION: &str = "--topology";
/// The environment variable that names the file. An empty one counts as unset.
const VARIABLE: &str = "HERD_TOPOLOGY";
pub(super) const HERE: &str = "topology.toml";
const SYSTEM: &str = "/etc/herd/topology.toml";
/// The mode of a folder to which only its owner may write.
pub(super) const FOLDER_MODE: u32 = 0o750;
const BUILT_IN_FILE: &str = "herd-data/topology.toml";

/// The shipped topology.
pub(super) const BUILT_IN: &str = include_str!("../../topology.toml");

/// How the built-in topology is found.
const BUILT_IN_IS_FOUND: &str = "built-in; no topology.toml is in this folder or in /etc/herd";

/// The file that describes the herd.
#[derive(Clone, Debug)]
pub(super) struct TopologyFile {
    path: PathBuf,
    /// How the file was found, for messages.
    found: &'static str,
}

impl fmt::Display for TopologyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = match self.is_built_in() && self.path.exists() {
            true => "from an earlier herd up; no topology.toml is in this folder or in /etc/herd",
            false => self.found,
        };
        write!(f, "{} ({found})", self.path.display())
    }
}

impl TopologyFile {
    /// Searches for the topology; `option`: the value of `--topology`.
    pub(super) fn find(option: Option<&Path>) -> TopologyFile {
        TopologyFile::search(option, env::var_os(VARIABLE), |path| is_there(Path::new(path)))
    }

    fn search(
        option: Option<&Path>,
        variable: Option<OsString>,
        exists: impl Fn(&str) -> bool,
    ) -> TopologyFile {
        let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
        let (path, found) = match (option, variable) {
            (Some(path), _) => (path.to_owned(), OPTION),
            (None, Some(path)) => (path, VARIABLE),
            _ if exists(HERE) => (HERE.into(), "in this folder"),
            _ if exists(SYSTEM) => (SYSTEM.into(), "no topology.toml is in this folder"),
            _ => (BUILT_IN_FILE.into(), BUILT_IN_IS_FOUND),
        };
        TopologyFile { path, found }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_built_in(&self) -> bool {
        self.found == BUILT_IN_IS_FOUND
    }

    /// The path, if a command in another terminal, in the same folder, has to name it.
    pub(super) fn named(&self) -> Option<&Path> {
        let is_named = [OPTION, VARIABLE].contains(&self.found);
        Some(self.path()).filter(|path| is_named && *path != Path::new(HERE))
    }

    /// Fails if there is only the built-in topology: a server must not start with addresses that its operator has
    /// not chosen.
    pub(super) fn must_be_a_file(&self) -> Result<(), Failure> {
        let what = format!(
            "there is no topology: --topology is not given, {VARIABLE} is not set, and neither ./{HERE} nor {SYSTEM} \
             exists; write one with \"herd init\""
        );
        (!self.is_built_in()).then_some(()).ok_or(Failure::config(what))
    }

    /// Writes the built-in topology to its file, for servers to read. Leaves a file that is there as it is, and other
    /// topologies too.
    pub(super) fn make(&self) -> Result<(), Failure> {
        if !self.is_built_in() {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let made = files::create_folder(folder, FOLDER_MODE).and_then(|()| {
            match write_new(&self.path, BUILT_IN) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
                written => written,
            }
        });
        made.map_err(|e| {
            let what = format!("{} cannot be written: {e}", self.path.display());
            let remedy = "change to a folder of yours, or name a topology with --topology FILE";
            Failure::new(Exit::CannotCreate, format!("{what}; {remedy}"))
        })
    }

    /// Reads the topology. If it has faults, prints all of them.
    pub(super) fn read(&self) -> Result<Topology, Failure> {
        self.read_supposing(Supposed::default())
    }

    /// Reads the topology for a command that only needs the servers: the files of its source of places may be missing, and
    /// nothing warns of servers whose stop cuts off others.
    pub(super) fn read_servers(&self) -> Result<Topology, Failure> {
        self.read_supposing(Supposed { no_source: true, no_search: true, ..Supposed::default() })
    }

    /// Reads the topology with the settings in `supposed` instead of its own. If it has faults, prints all of them.
    pub(super) fn read_supposing(&self, supposed: Supposed) -> Result<Topology, Failure> {
        let topology = match self.is_built_in() && !is_there(&self.path) {
            true => Topology::parse_supposing(BUILT_IN, &self.path, supposed),
            false => Topology::read_supposing(&self.path, supposed),
        };
        topology.map_err(|faults: TopologyErrors| self.refused(faults.iter().as_slice()))
    }

    /// Prints these faults of the topology, and returns the failure that counts them.
    pub(super) fn refused(&self, faults: &[Diagnostic]) -> Failure {
        faults.iter().for_each(print_error);
        Failure::config(format!("{self}: {}", plural(faults.len(), "fault")))
    }

    /// Each of the servers `names` once, in this order; without names all that this program can run.
    pub(super) fn servers<'t>(
        &self,
        topology: &'t Topology,
        names: &[String],
    ) -> Result<Vec<&'t Server>, Failure> {
        let all = topology.servers.iter().filter(|server| names.is_empty() && !server.plain);
        let new = names.iter().enumerate().filter(|(at, name)| !names[..*at].contains(name));
        all.map(Ok).chain(new.map(|(_, name)| self.server(topology, name))).collect()
    }

    /// The server `name`, or a failure that lists the servers there are.
    pub(super) fn server<'t>(
        &self,
        topology: &'t Topology,
        name: &str,
    ) -> Result<&'t Server, Failure> {
        topology.server(name).ok_or_else(|| {
            let names = || topology.servers.iter().map(|server| server.name.as_str());
            let meant = most_like(name, names());
            let meant =
                meant.map(|meant| format!(" (did you mean {meant:?}?)")).unwrap_or_default();
            let names = names().collect::<Vec<_>>().join(", ");
            let what = format!("{self} has no server {name:?}{meant}; its servers are {names}");
            Failure::new(Exit::Usage, what)
        })
    }

    /// The server `name` for this program to run. A plain server is refused: another program runs it.
    pub(super) fn server_to_run<'t>(
        &self,
        topology: &'t Topology,
        name: &str,
    ) -> Result<&'t Server, Failure> {
        let server = self.server(topology, name)?;
        let what = format!("{name} has plain = true in {self}, so another program must run it");
        (!server.plain).then_some(server).ok_or(Failure::new(Exit::Usage, what))
    }
}

/// Whether the file exists. A file that cannot be examined counts as existing: reading it fails, and the fault is
/// printed.
fn is_there(path: &Path) -> bool {
    let is_missing = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
    !fs::symlink_metadata(path).is_err_and(|e| is_missing(e.kind()))
}

/// Writes a file that does not exist yet, whole or not at all.
pub(super) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| drop(fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topology_that_there_is_counts() {
        let found = |option: Option<&str>, variable: Option<&str>, files: &[&str]| {
            let option = option.map(Path::new);
            let found = TopologyFile::search(option, variable.map(OsString::from), |path| {
                files.contains(&path)
            });
            found.to_string()
        };
        let all = [HERE, SYSTEM];
        assert_eq!(found(Some("a"), Some("b"), &all), "a (--topology)");
        assert_eq!(found(None, Some("b"), &all), "b (HERD_TOPOLOGY)");
        assert_eq!(found(None, Some(""), &all), "topology.toml (in this folder)");
        assert_eq!(found(None, None, &all), "topology.toml (in this folder)");
        assert_eq!(
            found(None, None, &[SYSTEM]),
            "/etc/herd/topology.toml (no topology.toml is in this folder)"
        );
        assert_eq!(
            found(None, None, &[]),
            "herd-data/topology.toml (built-in; no topology.toml is in this folder or in /etc/herd)"
        );
    }

    #[test]
    fn a_topology_that_was_named_is_named_again() {
        let named = |option: Option<&str>, variable: Option<&str>| {
            let variable = variable.map(OsString::from);
            let found = TopologyFile::search(option.map(Path::new), variable, |_| false);
            found.named().map(Path::to_owned)
        };
        assert_eq!(named(Some("a"), None), Some("a".into()));
        assert_eq!(named(None, Some("b")), Some("b".into()));
        assert_eq!(named(Some(HERE), None), None);
        assert_eq!(named(None, None), None);
    }

    #[test]
    fn the_files_of_the_built_in_topology_are_in_herd_data() {
        let file = TopologyFile::search(None, None, |_| false);
        let topology = Topology::parse(BUILT_IN, file.path()).expect("it has no fault");
        assert_eq!(topology.log.folder, Path::new("herd-data/log"));
        assert_eq!(topology.status_folder.as_deref(), Some(Path::new("herd-data/run")));
        assert_eq!(topology.servers.len(), 5);
        assert_eq!(file.must_be_a_file().expect_err("it is none").exit, Exit::Config);
    }
}
