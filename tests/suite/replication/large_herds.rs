//! Herds of up to 1,024 servers: one report reaches all servers, with as many messages and hops as the graph demands.

use crate::support::cluster::SECOND;
use crate::support::cluster::graphs::{Graph, Spread};
use places_herd::config::SERVERS_MAX;

#[test]
fn a_report_reaches_all_servers_with_the_messages_and_hops_of_the_graph() {
    for (shape, servers) in
        [("mesh", 40), ("hubs", 200), ("ring", SERVERS_MAX), ("tree", SERVERS_MAX)]
    {
        let graph = Graph::new(shape, servers);
        let mut herd = graph.herd();
        let spread = graph.spread(&mut herd, servers - 1);
        let (least, most) = (servers - 1, graph.messages_max());
        assert!(
            (least..=most).contains(&spread.messages),
            "{shape}: {spread:?}, {least} to {most}"
        );
        assert_eq!(spread.hops, graph.eccentricity(servers - 1), "{shape}");
    }
}

#[test]
fn a_server_with_1023_neighbours_links_all_of_them_and_serves_them() {
    let graph = Graph::new("star", SERVERS_MAX);
    let mut herd = graph.herd();
    assert_eq!(herd.linked("s0").len(), 1_023);
    // A leaf's report goes to the hub, and from there to all others.
    assert_eq!(graph.spread(&mut herd, 1_000), Spread { messages: 1_023, hops: 2 });
    // The hub dials all its neighbours again, and they accept it.
    herd.crash("s0");
    herd.run_for(SECOND);
    herd.start("s0");
    herd.run_for(20 * SECOND);
    assert_eq!(herd.linked("s0").len(), 1_023);
    assert_eq!(herd.member("s0").table.len(), 1, "the neighbours have sent their reports");
    let state = herd.member("s0").table.state_hash();
    assert_eq!(herd.member("s512").table.state_hash(), state);
}
