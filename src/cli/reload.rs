//! `herd reload`: makes running servers read their configuration again, each at its Unix socket.

use super::exit::{Exit, Failure};
use super::patience::Patience;
use super::status::{answer_of, ask, sockets, told};
use super::topology_file::TopologyFile;
use super::{print_error, print_line};
use crate::config::Server;

/// Make the servers on this machine read their configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each server reads the topology and all files that it names, and checks them. If there is a fault,
nothing changes. It waits for the outcome, so `systemctl reload` can use it; the timeout is for each
server. SIGHUP does the same, and tells only the log. A server that is ending refuses.
Exits with 78 if a server refused the configuration, else with 69 if a server did not reply.")]
pub(super) struct ReloadArgs {
    /// Servers of the topology. Write `--` before a name that begins with a dash [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Refuse a configuration with changes that need a restart, and change nothing
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    patience: Patience,
}

impl ReloadArgs {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let topology = file.read_servers()?;
        let command: &[u8] = if self.strict { b"RELOAD strict\n" } else { b"RELOAD\n" };
        let mut failure = None;
        for (Server { name, .. }, path) in sockets(file, &topology, &self.names)? {
            let end = self.patience.end();
            let answer = ask(&path, command, end).and_then(|socket| answer_of(&socket, end));
            match answer.map_err(|e| told(&e, &path, self.patience)) {
                Ok(answer) => {
                    let outcome = answer["outcome"].as_str().unwrap_or_default();
                    if answer["reloaded"] == true {
                        print_line(&format!("{name}: {outcome}"));
                    } else {
                        failure = Some(Exit::Config);
                        print_error(format_args!("herd: {name}: {outcome}"));
                    }
                }
                Err(why) => {
                    failure = failure.or(Some(Exit::Unavailable));
                    print_error(format_args!("herd: {name}: {why}"));
                }
            }
        }
        failure.map_or(Ok(()), |exit| Err(Failure::new(exit, "")))
    }
}
