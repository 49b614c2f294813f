//! A plain neighbour that behaves like the Python original, as far as its neighbours can see. It takes AT
//! lines that are strictly newer, puts its own name into them, and sends them to all its neighbours, on a
//! new connection each time.

use super::plan::Plan;
use crate::support::cluster::{Cluster, TalkId};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Plain {
    name: &'static str,
    neighbours: Vec<&'static str>,
    /// The stamp of each client's line.
    newest: BTreeMap<String, u64>,
    unfinished: BTreeMap<TalkId, String>,
}

impl Plain {
    /// Makes the plain neighbour of a plan, which listens in `cluster` from now on.
    pub(crate) fn new(plan: &Plan, cluster: &mut Cluster) -> Option<Plain> {
        let number = plan.plain?;
        let edges = plan.edges.iter().filter(|edge| edge.contains(&number));
        let neighbours = edges.map(|[one, other]| plan.servers[one + other - number]).collect();
        let name = plan.servers[number];
        cluster.play(name);
        Some(Plain { name, neighbours, newest: BTreeMap::new(), unfinished: BTreeMap::new() })
    }

    /// Reads the lines that have arrived, and passes on the new ones.
    pub(crate) fn turn(&mut self, cluster: &mut Cluster) {
        let mut news = String::new();
        for caller in cluster.callers() {
            let text = self.unfinished.entry(caller).or_default();
            text.push_str(&cluster.hear(caller));
            let end = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text.drain(..end).collect::<String>().lines() {
                let Some(report) = super::at_line::AtLine::read(line.trim_end()) else {
                    continue;
                };
                let stamp = self.newest.entry(report.client.clone()).or_default();
                if report.stamp_nanos > *stamp {
                    *stamp = report.stamp_nanos;
                    let mut words: Vec<&str> = line.split(' ').collect();
                    words[1] = self.name;
                    news.push_str(&format!("{}\r\n", words.join(" ").trim_end()));
                }
            }
        }
        if !news.is_empty() {
            for neighbour in &self.neighbours {
                let peer = cluster.topology().server(neighbour).expect("it is listed").peer_listen;
                let talk = cluster.begin_dial(peer);
                cluster.send(talk, &news);
                cluster.end(talk);
            }
        }
    }
}
