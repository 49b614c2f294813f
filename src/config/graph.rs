//! The graph of neighbours: which servers reach each other, and which become unreachable when one stops.
//!
//! In: the servers by number, and for each the numbers of its neighbours. Out: groups of servers that reach each
//! other. It knows no names.
//!
//! The idea: a herd has at most 1,024 servers, so a server is a cut vertex if a search without it finds more groups.
//! It looks up the smaller of two sets, the servers not seen yet and a server's neighbours, in the larger one, so that not
//! every search follows every edge. Tarjan's algorithm would find all cut vertices in one search, but is harder to verify.

use std::collections::BTreeSet;

/// The neighbours of each server, by number. The relation is symmetric.
pub(super) type NeighbourGraph = [BTreeSet<usize>];

/// Returns the graph with one more vertex, the last one, which is a neighbour of each server for which `is_on` holds.
pub(super) fn with_hub(
    neighbours: &NeighbourGraph,
    is_on: impl Fn(&usize) -> bool,
) -> Vec<BTreeSet<usize>> {
    let (hub, mut neighbours) = (neighbours.len(), neighbours.to_vec());
    let on: BTreeSet<usize> = (0..hub).filter(is_on).collect();
    for server in &on {
        neighbours[*server].insert(hub);
    }
    neighbours.push(on);
    neighbours
}

/// Returns the groups of servers that can reach each other while `stopped` is not running. Each group is in
/// ascending order; the largest group comes first.
pub(super) fn groups(neighbours: &NeighbourGraph, stopped: Option<usize>) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    let mut unseen: BTreeSet<usize> =
        (0..neighbours.len()).filter(|n| Some(*n) != stopped).collect();
    while let Some(first) = unseen.pop_first() {
        let mut group = vec![first];
        let mut next = 0;
        while let Some(&server) = group.get(next) {
            let found: Vec<usize> = unseen.intersection(&neighbours[server]).copied().collect();
            found.iter().for_each(|server| {
                unseen.remove(server);
            });
            group.extend(found);
            next += 1;
        }
        group.sort_unstable();
        groups.push(group);
    }
    // The sort is stable: among groups of the same size, the first in the file comes first.
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// The groups into which the neighbours of `server` fall when it stops; fewer than two if it is not a cut vertex.
pub(super) fn groups_without(neighbours: &NeighbourGraph, server: usize) -> Vec<Vec<usize>> {
    let mut groups = groups(neighbours, Some(server));
    groups.retain(|group| group.iter().any(|member| neighbours[server].contains(member)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn neighbours(count: usize, edges: &[(usize, usize)]) -> Vec<BTreeSet<usize>> {
        let mut neighbours = vec![BTreeSet::new(); count];
        for &(a, b) in edges {
            neighbours[a].insert(b);
            neighbours[b].insert(a);
        }
        neighbours
    }

    fn cut_servers(neighbours: &NeighbourGraph) -> Vec<usize> {
        (0..neighbours.len())
            .filter(|&server| groups_without(neighbours, server).len() > 1)
            .collect()
    }

    #[test]
    fn a_ring_has_no_cut_server_and_a_chain_has_all_but_its_ends() {
        let chain = [(0, 1), (1, 2), (2, 3)];
        assert_eq!(cut_servers(&neighbours(4, &chain)), [1, 2]);
        assert_eq!(cut_servers(&neighbours(4, &[&chain[..], &[(3, 0)]].concat())), [0; 0]);
    }

    #[test]
    fn the_largest_group_comes_first() {
        assert_eq!(
            groups(&neighbours(6, &[(1, 5), (5, 3), (2, 4)]), None),
            [vec![1, 3, 5], vec![2, 4], vec![0]]
        );
        assert_eq!(groups(&[], None), [[0; 0]; 0]);
    }

    #[test]
    fn a_server_without_neighbours_is_no_cut_server() {
        assert_eq!(cut_servers(&neighbours(3, &[(0, 1)])), [0; 0]);
    }

    proptest! {
        /// Two servers are in one group if a chain of edges joins them: Warshall's algorithm, by definition.
        #[test]
        fn the_servers_of_a_group_are_those_that_reach_each_other(
            edges in prop::collection::vec((0_usize..9, 0_usize..9), 0..16),
            stopped in prop::option::of(0_usize..9),
        ) {
            let neighbours = neighbours(9, &edges);
            let runs = |server: usize| Some(server) != stopped;
            let mut reaches: Vec<Vec<bool>> = (0..9)
                .map(|a| (0..9).map(|b| runs(a) && runs(b) && (a == b || neighbours[a].contains(&b))).collect())
                .collect();
            for (via, a, b) in (0..729).map(|n| (n / 81, n / 9 % 9, n % 9)) {
                reaches[a][b] |= reaches[a][via] && reaches[via][b];
            }
            let groups = groups(&neighbours, stopped);
            for a in (0..9).filter(|a| runs(*a)) {
                let group: Vec<usize> = (0..9).filter(|b| reaches[a][*b]).collect();
                prop_assert_eq!(groups.iter().filter(|other| **other == group).count(), 1);
            }
            prop_assert_eq!(groups.concat().len(), 9 - usize::from(stopped.is_some()));
        }

        #[test]
        fn without_a_cut_server_there_are_more_groups_and_without_another_there_are_not(
            edges in prop::collection::vec((0_usize..9, 0_usize..9), 0..16),
        ) {
            let neighbours = neighbours(9, &edges);
            let cut = cut_servers(&neighbours);
            let before = groups(&neighbours, None).len();
            for server in 0..9 {
                let after = groups(&neighbours, Some(server)).len();
                prop_assert_eq!(after > before, cut.contains(&server));
            }
        }
    }
}
