//! `herd init`: writes a topology for the servers that are named on the command line.
//!
//! In: names. Out: a new file in which the servers have ports of this machine in order, and are linked so that the end
//! of one server cuts no other off: two by one edge, more in a ring. Without names it is the shipped topology. Faults
//! of names are found by reading a topology with these names, so that they are the same as those of a file.

use super::exit::{Exit, Failure};
use super::print_line;
use super::topology_file::{BUILT_IN, HERE, TopologyFile, write_new};
use crate::config::{Diagnostic, Topology};
use crate::log::shell_quoted;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

const HEAD: &str = "\
# The herd: its servers, where they listen, and which servers are linked. All servers of the herd read this file.
# \"herd check\" prints all faults in it, and \"herd config\" lists all keys.

# Servers whose topology has another name here are rejected.
herd = \"places-herd\"

# Clients connect to the address `client`, neighbours to `peer`, browsers and phone apps to `http`. `neighbours` are the
# servers that this one is linked to. To serve other machines, write addresses of this machine in place of 127.0.0.1, and
# read docs/peer-tls.md and docs/http.md.
";

/// Write a topology for these servers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes topology.toml into the current folder, or the file that --topology names. It overwrites no
file. The servers get the ports 12000, 12001... for clients, 12100, 12101... for neighbours and
12200, 12201... for HTTP, and are linked in a ring. With more than 100 servers the ports for
neighbours begin at 12200, 12300..., and those for HTTP at 12400, 12600...

The smallest topology that works:

  herd = \"mine\"
  [[server]]
  name = \"Alford\"
  client = \"127.0.0.1:12000\"
  peer = \"127.0.0.1:12100\"")]
pub(super) struct InitArgs {
    /// Names of servers. Write `--` before a name that begins with a dash [default: the five servers of the built-in
    /// topology]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl InitArgs {
    /// Writes the file; `option`: the value of `--topology`.
    pub(super) fn run(&self, option: Option<&Path>) -> Result<(), Failure> {
        let path = option.unwrap_or(Path::new(HERE));
        let text = if self.names.is_empty() { BUILT_IN.into() } else { topology(&self.names)? };
        write_new(path, &text).map_err(|e| {
            let is_there = e.kind() == ErrorKind::AlreadyExists;
            let move_it = if is_there { "move it away, or " } else { "" };
            let what = format!(
                "{} cannot be written: {e}; {move_it}name another file with --topology FILE",
                path.display()
            );
            Failure::new(Exit::CannotCreate, what)
        })?;
        let shown = shell_quoted(&path.to_string_lossy()).into_owned();
        // Commands may find another file unless this one is named.
        let is_found = TopologyFile::find(None).path() == path;
        let named = if is_found { String::new() } else { format!(" --topology={shown}") };
        let names = self.names.join(", ");
        let servers = if names.is_empty() { "the built-in topology" } else { &names };
        print_line(&format!("{shown}: {servers}\nTo start the servers, type: herd up{named}"));
        Ok(())
    }
}

/// The text of a topology with these servers, or the faults of their names.
fn topology(names: &[String]) -> Result<String, Failure> {
    let path = Path::new(HERE);
    // The names are checked in a topology without neighbours, because each neighbour would repeat the fault of its
    // name.
    Topology::parse(&text(names, |_| Vec::new()), path).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(Diagnostic::without_place).collect();
        Failure::new(Exit::Usage, faults.join("\nherd: "))
    })?;
    Ok(text(names, |number| ring(number, names.len())))
}

/// The numbers of the servers beside server `number` in a ring of `count`.
fn ring(number: usize, count: usize) -> Vec<usize> {
    let mut beside = vec![(number + count - 1) % count, (number + 1) % count];
    beside.sort_unstable();
    beside.dedup();
    beside.retain(|other| *other != number);
    beside
}

fn text(names: &[String], neighbours: impl Fn(usize) -> Vec<usize>) -> String {
    let mut text = HEAD.to_owned();
    for (number, name) in names.iter().enumerate() {
        let apart = names.len().next_multiple_of(100);
        let [client, peer, http] = [0, 1, 2].map(|kind| 12_000 + kind * apart + number);
        // A name with control characters is read, and refused, too. TOML allows every string of JSON without DEL.
        let name = serde_json::Value::from(name.as_str()).to_string().replace('\x7f', r"\u007f");
        let neighbours: Vec<&String> = neighbours(number).iter().map(|at| &names[*at]).collect();
        let _ = write!(
            text,
            "\n[[server]]\nname = {name}\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n\
             http = \"127.0.0.1:{http}\"\nneighbours = {neighbours:?}\n"
        );
    }
    // The rest is the same for any servers.
    let rest = BUILT_IN.rsplit_once("neighbours = ").and_then(|(_, rest)| rest.split_once('\n'));
    text + rest.map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("s{number}")).collect()
    }

    #[test]
    fn any_number_of_servers_is_linked_without_a_warning() {
        for count in [1, 2, 3, 4, 5, 1_024] {
            let text = topology(&names(count)).expect("the names are good");
            let read = Topology::parse(&text, Path::new(HERE)).expect("there is no fault");
            assert!(read.warnings().is_empty(), "{count}: {:?}", read.warnings());
            let links = read.servers.iter().map(|server| server.neighbours.len()).sum::<usize>();
            assert_eq!(links / 2, if count > 2 { count } else { count - 1 }, "{count}");
            assert!(text.contains("\n# [journal]\n") && read.journal.is_none(), "{text}");
        }
    }

    #[test]
    fn faults_of_names_are_those_of_a_topology_and_each_is_told_once() {
        for (names, faults) in [
            (&["a b", "c", "d"][..], "name cannot be \"a b\"; "),
            (&["a", "a"], "two servers are named \"a\"; "),
            (&["..", "a"], "name cannot be \"..\", which denotes a folder; "),
            (&[""], "name cannot be \"\"; "),
            (&["\\\u{1b}\u{7f}\u{9b}\n"], "name cannot be \"\\\\x1b\\x7f\\xc2\\x9b\\x0a\"; "),
        ] {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            let failure = topology(&names).expect_err("they are refused");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.starts_with(faults) && !failure.what.contains('\n'), "{failure}");
        }
        let many = topology(&names(1_025)).expect_err("there are too many");
        assert!(many.what.starts_with("too many servers: a herd has at most 1024"), "{many}");
    }
}
