//! Which nodes serve a group together when none of them has all of it.

use std::cmp::Reverse;

/// The pieces of each line that a node serves, by the index of the node.
pub type Part = (usize, Vec<i64>);

/// Covers the pieces wanted of each line with what nodes have of them, in at most `parts` parts, or not at all. It takes no
/// more parts than the least that it finds, and from each node as much as it can; among equals the first node is taken.
///
/// It looks for one node, for a pair and so on: what serves more is taken first, after each node that could be the first.
/// One node or two are always found; three or more may be missed where no such choice leads to them.
pub fn cover(wanted: &[i64], nodes: &[Vec<i64>], parts: usize) -> Option<Vec<Part>> {
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    first.sort_by_key(|index| (Reverse(gives(wanted, &nodes[*index])), *index));
    (1..=parts).find_map(|most| first.iter().find_map(|first| greedy(wanted, nodes, *first, most)))
}

/// Of pieces of each line no more than `most` together, the first lines first.
pub fn at_most(mut pieces: Vec<i64>, most: i64) -> Vec<i64> {
    let mut left = most;
    for pieces in &mut pieces {
        *pieces = (*pieces).min(left);
        left -= *pieces;
    }
    pieces
}

/// Takes all that a node has, then from the one that has the most of what is left, and so on.
fn greedy(wanted: &[i64], nodes: &[Vec<i64>], first: usize, most: usize) -> Option<Vec<Part>> {
    let (mut left, mut parts, mut next) = (wanted.to_vec(), Vec::with_capacity(most), Some(first));
    while left.iter().any(|pieces| *pieces > 0) {
        let node = next.filter(|_| parts.len() < most)?;
        let taken: Vec<i64> = left.iter().zip(&nodes[node]).map(|(left, has)| *has.min(left)).collect();
        if taken.iter().all(|pieces| *pieces == 0) {
            return None;
        }
        left.iter_mut().zip(&taken).for_each(|(left, taken)| *left -= taken);
        parts.push((node, taken));
        let others = (0..nodes.len()).filter(|other| parts.iter().all(|(node, _)| node != other));
        next = others.max_by_key(|other| (gives(&left, &nodes[*other]), Reverse(*other)));
    }
    Some(parts)
}

/// How many of the pieces a node has.
fn gives(wanted: &[i64], has: &[i64]) -> i64 {
    wanted.iter().zip(has).map(|(wanted, has)| *wanted.min(has)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_node_that_has_most_serves_most() {
        let nodes = [vec![1, 0], vec![2, 1], vec![0, 5]];
        assert_eq!(cover(&[2, 3], &nodes, 5), Some(vec![(1, vec![2, 1]), (2, vec![0, 2])]));
        assert_eq!(cover(&[2, 3], &nodes, 1), None);
        assert_eq!(cover(&[4, 1], &nodes, 5), None, "there is not as much");
    }

    #[test]
    fn a_node_that_has_all_serves_alone_and_the_first_of_several() {
        let nodes = [vec![2, 1], vec![2, 2], vec![3, 3]];
        assert_eq!(cover(&[2, 2], &nodes, 5), Some(vec![(1, vec![2, 2])]));
    }

    #[test]
    fn a_share_is_cut_to_what_a_node_may_take() {
        assert_eq!(at_most(vec![2, 4, 3], 5), [2, 3, 0]);
        assert_eq!(at_most(vec![2, 4], 6), [2, 4]);
        assert_eq!(at_most(vec![2, 4], 0), [0, 0]);
        assert_eq!(at_most(vec![i64::MAX, 1], i64::MAX), [i64::MAX, 0]);
    }

    #[test]
    fn a_pair_is_found_where_the_largest_part_leads_nowhere() {
        let nodes = [vec![2, 2], vec![3, 0], vec![0, 3]];
        assert_eq!(cover(&[3, 3], &nodes, 2), Some(vec![(1, vec![3, 0]), (2, vec![0, 3])]));
    }

    proptest! {
        #[test]
        fn a_cover_has_all_pieces_and_no_more_than_there_are(
            wanted in prop::collection::vec(1..5_i64, 1..5),
            nodes in prop::collection::vec(prop::collection::vec(0..5_i64, 4), 0..6),
            parts in 0..5_usize,
        ) {
            let nodes: Vec<Vec<i64>> =
                nodes.into_iter().map(|node| node[..wanted.len()].to_vec()).collect();
            let serves = |chosen: &[usize]| {
                let has = |line: usize| chosen.iter().map(|node| nodes[*node][line]).sum::<i64>();
                wanted.iter().enumerate().all(|(line, pieces)| has(line) >= *pieces)
            };
            let alone = (0..nodes.len()).any(|node| serves(&[node]));
            let pair = (0..nodes.len()).any(|one| (0..one).any(|other| serves(&[one, other])));
            let Some(cover) = cover(&wanted, &nodes, parts) else {
                prop_assert!(parts < 1 || !alone);
                prop_assert!(parts < 2 || !pair);
                return Ok(());
            };
            prop_assert!(cover.len() <= parts);
            prop_assert_eq!(cover.len() == 1, alone, "one that has all serves alone");
            let chosen: std::collections::BTreeSet<_> = cover.iter().map(|(node, _)| node).collect();
            prop_assert_eq!(chosen.len(), cover.len(), "each node once");
            for (node, pieces) in &cover {
                prop_assert!(pieces.iter().sum::<i64>() > 0);
                for (pieces, has) in pieces.iter().zip(&nodes[*node]) {
                    prop_assert!((0..=*has).contains(pieces));
                }
            }
            for (line, wanted) in wanted.iter().enumerate() {
                prop_assert_eq!(cover.iter().map(|(_, pieces)| pieces[line]).sum::<i64>(), *wanted);
            }
        }
    }
}
