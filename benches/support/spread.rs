//! How one report spreads through herds of up to a thousand servers: messages, hops, and the bounds of the graph.
//!
//! The servers are real and their network is in memory, as in the tests (`tests/support/cluster`).

use crate::cluster::graphs::Graph;
use std::time::Instant;

/// The number of reports for each graph, each to another server. The figures are those of the worst.
const REPORTS: usize = 4;

/// Prints a line of JSON for each graph, written as `SHAPE:SERVERS`.
pub(crate) fn spread(graphs: impl Iterator<Item = String>) {
    for argument in graphs {
        let (shape, servers) = argument.split_once(':').expect("SHAPE:SERVERS");
        let graph = Graph::new(shape, servers.parse().expect("a number of servers"));
        let begun = Instant::now();
        let mut herd = graph.herd();
        let reporters: Vec<usize> =
            (0..REPORTS).map(|report| report * (graph.servers - 1) / (REPORTS - 1)).collect();
        let spreads: Vec<_> =
            reporters.iter().map(|reporter| graph.spread(&mut herd, *reporter)).collect();
        let messages = spreads.iter().map(|spread| spread.messages).max().expect("a report");
        let hops = spreads.iter().map(|spread| spread.hops).max().expect("a report");
        let hops_max = reporters.iter().map(|reporter| graph.eccentricity(*reporter)).max();
        println!(
            "{{\"shape\": \"{shape}\", \"servers\": {servers}, \"edges\": {}, \"messages\": {messages}, \
             \"messages_max\": {}, \"hops\": {hops}, \"hops_max\": {}, \"run_s\": {:.3}}}",
            graph.edges.len(),
            graph.messages_max(),
            hops_max.expect("a report"),
            begun.elapsed().as_secs_f64(),
        );
    }
}
