//! `herd check`: finds what would keep a server from starting, and starts nothing.
//!
//! In: a topology, and the files and folders that it refers to. Out: all faults and warnings, each once. Nothing on the
//! disk changes. The faults are in the order in which `herd serve` finds them, so the exit status is that of the first.

use super::exit::{Exit, Failure};
use super::sources::{OpenPlaces, missing_key};
use super::topology_file::TopologyFile;
use super::{print_line, print_warning};
use crate::config::{Diagnostic, PeerTlsSettings, Server, Topology};
use crate::log::{self, plural};
use crate::server::client_access::ClientAccess;
use crate::server::peer_tls::{NOT_READABLE, PeerTls};
use herd_reactor::MioIo;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Print all faults and warnings of a topology and of the files, folders and certificates that it names
///
/// Run it as the user that runs the servers. It changes nothing on the disk. With a fault, its exit status is the one
/// that a server would exit with. A missing Google key is a warning, because only the servers need it.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Exit with 78 if there are warnings
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let mut topology = file.read()?;
        let mut warnings = topology.warnings().to_vec();
        let mut config = Vec::new();
        if let Err(faults) = OpenPlaces::open(&topology.places, |warning| warnings.push(warning)) {
            let missing = missing_key(&topology.places);
            let (missing, others): (Vec<_>, Vec<_>) =
                faults.into_iter().partition(|fault| *fault == missing);
            warnings.extend(missing.into_iter().map(Diagnostic::into_warning));
            config = others;
        }
        if let Some(settings) = &topology.peer_tls {
            check_certificates(&topology, settings, &mut warnings, &mut config);
        }
        check_access(&topology, &mut warnings, &mut config);
        let read = topology.bus.as_mut().map(|bus| bus.read_files(|it| warnings.push(it)));
        config.extend(read.and_then(Result::err).into_iter().flatten());
        let mut faults: Vec<(Exit, Diagnostic)> = Vec::new();
        let log = log::destination(&topology.log).folder;
        let log = log.and_then(|folder| check_folder(&topology, "log", &folder));
        faults.extend(log.map(|fault| (Exit::CannotCreate, fault)));
        faults.extend(config.into_iter().map(|fault| (Exit::Config, fault)));
        let status = topology.status_folder.as_deref();
        let status = status.and_then(|folder| check_folder(&topology, "status", folder));
        faults.extend(status.map(|fault| (Exit::CannotCreate, fault)));
        for server in topology.servers.iter().filter(|server| !server.plain) {
            let Some(journal) = &topology.journal else { break };
            let fault = check_folder(&topology, "journal", &journal.folder.join(&server.name));
            let fault = fault.map(|fault| (Exit::Io, fault));
            faults.extend(fault.filter(|fault| !faults.contains(fault)));
        }
        warnings.iter().for_each(print_warning);
        if let Some(&(exit, _)) = faults.first() {
            let faults: Vec<Diagnostic> = faults.into_iter().map(|(_, fault)| fault).collect();
            return Err(Failure { exit, ..file.refused(&faults) });
        }
        // Each edge counts at both of its ends.
        let ends: usize = topology.servers.iter().map(|server| server.neighbours.len()).sum();
        print_line(&format!(
            "{file}: {}, {}, no faults, {}",
            plural(topology.servers.len(), "server"),
            plural(ends / 2, "edge"),
            plural(warnings.len(), "warning"),
        ));
        match self.strict && !warnings.is_empty() {
            true => Err(Failure::config("with --strict a warning is a fault")),
            false => Ok(()),
        }
    }
}

/// Returns a fault if a server could not create a file in `folder`, the folder of the table `table`. A server creates
/// the folder if it does not exist.
pub(super) fn check_folder(topology: &Topology, table: &str, folder: &Path) -> Option<Diagnostic> {
    for path in folder.ancestors() {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // A server would create it in the folder above, or is kept out there. This is asked first, because another server
        // may create it at any moment.
        if path.symlink_metadata().is_err() {
            continue;
        }
        let why = match accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            // A file stands where the folder, or a folder above it, should be.
            _ if path.exists() && !path.is_dir() => Errno::NOTDIR,
            // Also if a dangling link is in its way.
            Err(why) => why,
            Ok(()) => return None,
        };
        let what = format!("[{table}] folder: cannot create a file in {}: {why}", path.display());
        let remedy = "let the user that runs the servers write there, or name another folder";
        return Some(topology.folder_keys[table].error(what, remedy));
    }
    None
}

/// Reads the certificates of the servers that have any on this machine, and prints how many days each is still valid.
/// Adds warnings and faults, each once.
fn check_certificates(
    topology: &Topology,
    settings: &PeerTlsSettings,
    warnings: &mut Vec<Diagnostic>,
    faults: &mut Vec<Diagnostic>,
) {
    let wall = MioIo::wall_clock();
    let is_here = |server: &&Server| {
        let file = |end| settings.folder.join(format!("{}.{end}", server.name)).exists();
        file("pem") || file("key")
    };
    let here: Vec<&Server> = topology.servers.iter().filter(is_here).collect();
    if here.is_empty() {
        let folder = settings.folder.display();
        let what = format!("{folder}: no server has a certificate in this folder");
        let (what, remedy) = match fs::metadata(settings.folder.join("ca.pem")) {
            Ok(_) => (what, "run \"herd pki issue NAME\" for each server"),
            Err(why) if why.kind() == ErrorKind::PermissionDenied => {
                (format!("{folder}: {why}"), NOT_READABLE)
            }
            Err(_) => (what, "run \"herd pki init\", then \"herd pki issue NAME\""),
        };
        faults.push(settings.here.error(what, remedy));
    }
    for server in here {
        match PeerTls::read(settings, &topology.herd, &server.name, wall) {
            Ok(tls) => {
                let [own, authority] = tls.days_left(wall);
                let days = plural(own as usize, "day");
                print_line(&format!("{}: {days} left, its authority {authority}", server.name));
                add_new(warnings, tls.warnings(wall));
            }
            // A fault of ca.pem is the same for all servers.
            Err(fault) => add_new(faults, vec![*fault]),
        }
    }
}

/// Reads the tokens, and the certificates for clients of the servers that have one on this machine; without any, those of
/// the first server. Adds warnings and faults, each once.
fn check_access(topology: &Topology, warnings: &mut Vec<Diagnostic>, faults: &mut Vec<Diagnostic>) {
    let wall = MioIo::wall_clock();
    let is_here = |server: &&Server| {
        let tls = topology.client_tls.as_ref();
        tls.is_some_and(|tls| tls.certificate.of_server(&server.name).path.exists())
    };
    let served = topology.servers.iter().filter(|server| !server.plain);
    let here: Vec<&Server> = served.clone().filter(is_here).collect();
    let first = served.take(usize::from(here.is_empty()));
    for server in here.iter().copied().chain(first) {
        match ClientAccess::read(topology, &server.name, wall) {
            Ok(access) => add_new(warnings, access.warnings(wall)),
            Err(more) => add_new(faults, more),
        }
    }
}

/// Adds those of `new` that `all` does not have.
fn add_new(all: &mut Vec<Diagnostic>, new: Vec<Diagnostic>) {
    for new in new {
        if !all.contains(&new) {
            all.push(new);
        }
    }
}
