//! Stock of a few SKUs near a place, from the view in memory, with its age.

use contract::fulfillment::v1 as pb;
use domain::time::from_micros;

use crate::Fulfillment;
use crate::error::Error;
use crate::network::index::{Key, nearest_first, point};
use crate::promise::command::Nearby;
use crate::wire::promise::metres;
use crate::wire::timestamp;

impl Fulfillment {
    /// The nearest nodes within the radius that have had any of the SKUs, with what they can promise of each to a channel.
    pub(crate) fn nearby(
        &self,
        asked: &Nearby,
        channel: Option<&str>,
    ) -> Result<pb::ListNearbyAvailabilityResponse, Error> {
        let now = self.clock.business();
        let index = self.network.index();
        let stock = self.atp.read();
        if !stock.is_loaded() {
            return Err(Error::ViewLoading);
        }
        let stock = stock.through(channel);
        let from = point(asked.place);
        let mut ways: Vec<(f32, Key)> =
            index.by_code().iter().filter_map(|key| Some((index.nearness(*key, from)?, *key))).collect();
        let all = ways.len();
        nearest_first(&mut ways, all);
        let mut nodes = Vec::new();
        for (_, key) in ways {
            let Some(timed) = index.timed(key, now) else { continue };
            let node = &timed.node;
            let distance = asked.place.distance_m(node.position);
            if distance > asked.radius_m || nodes.len() >= asked.most {
                break;
            }
            let skus: Vec<pb::SkuAvailability> = asked
                .skus
                .iter()
                .filter_map(|sku| {
                    let figure = stock.available(key, sku.as_str())?;
                    let update_time = Some(timestamp(from_micros(figure.changed)));
                    Some(pb::SkuAvailability { sku: sku.to_string(), atp: figure.atp, update_time })
                })
                .collect();
            if !skus.is_empty() {
                nodes.push(pb::NearbyAvailability {
                    node_id: node.id.to_string(),
                    node_name: node.name.clone(),
                    distance_m: metres(Some(distance)),
                    skus,
                    is_open: timed.openings().is_open(now),
                });
            }
        }
        Ok(pb::ListNearbyAvailabilityResponse { nodes, read_time: Some(timestamp(now)) })
    }
}
