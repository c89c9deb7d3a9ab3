//! Which nodes exist. Inventory does not know: figures of a mistyped node would be kept where no order ever looks.

use std::collections::BTreeSet;

use contract::fulfillment::v1::ListNodesRequest;
use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use server::Peer;
use tonic::Code;

use super::rows::{Refused, Sheet};
use crate::exit::{Exit, Result};

/// The most pages of nodes that are asked for: half a million nodes.
const MOST_PAGES: usize = 1_000;

/// The codes of all nodes; `None` when fulfillment is not served there.
pub(super) async fn known(peer: Peer) -> Result<Option<BTreeSet<String>>> {
    let mut client = NetworkServiceClient::new(peer);
    let mut nodes = BTreeSet::new();
    let mut page_token = String::new();
    for _ in 0..MOST_PAGES {
        let request = ListNodesRequest { page_size: 500, page_token };
        let page = match client.list_nodes(request).await {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(None),
            Err(status) => return Err(Exit::from_status(&status)),
        };
        nodes.extend(page.nodes.into_iter().map(|node| node.node_id));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(Some(nodes))
}

/// Refuses the rows of nodes that do not exist.
pub(super) fn refuse_unknown(sheet: &mut Sheet, known: &BTreeSet<String>) {
    let (rows, refused) = (&mut sheet.rows, &mut sheet.refused);
    rows.retain(|row| {
        let node = &row.request.node_id;
        if known.contains(node) {
            return true;
        }
        let message = if node.is_empty() {
            "node_id: the cell is empty".to_owned()
        } else {
            let nearest = nearest(node, known).map_or_else(String::new, |near| format!("; is it {near}?"));
            format!("node_id: there is no node {node}{nearest}")
        };
        refused.push(Refused {
            line: row.line,
            reason: "UNKNOWN_NODE".to_owned(),
            message,
            place: Some((node.clone(), row.request.sku.clone())),
        });
        false
    });
    refused.sort_by_key(|refused| refused.line);
}

/// The known node that is spelled most alike, if one is at all.
fn nearest<'a>(node: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let distance = |code: &&String| strsim::damerau_levenshtein(&node.to_lowercase(), &code.to_lowercase());
    let best = known.iter().min_by_key(distance)?;
    (distance(&best) * 3 <= node.chars().count().max(3)).then_some(best.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_node_is_proposed_when_it_is_near() {
        let known: BTreeSet<String> = ["sha-01", "sha-02", "bjs-07"].map(str::to_owned).into();
        assert_eq!(nearest("SHA-01", &known), Some("sha-01"));
        assert_eq!(nearest("sah-02", &known), Some("sha-02"));
        assert_eq!(nearest("warehouse", &known), None);
        assert_eq!(nearest("x", &BTreeSet::new()), None);
    }
}
