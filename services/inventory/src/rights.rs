//! Who may call what, and whose stock a caller may change.

use domain::id::NodeId;
use server::auth::kind::{ALL, CHANNEL, OPS, SERVICE, STORE};
use server::{Access, Principal};

use crate::error::Error;

const WORKERS: &[&str] = &[SERVICE, OPS];
const FEEDERS: &[&str] = &[SERVICE, OPS, CHANNEL, STORE];

/// The kinds of callers of each method.
pub const ACCESS: &[Access] = &[
    Access::to("/entrepot.inventory.v1.InventoryService/PutSkus", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/GetSku", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/ListSkus", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/ApplySnapshot", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ApplyDeltas", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ImportStock", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/CloseSnapshot", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/AdjustStock", &[SERVICE, OPS, STORE]),
    Access::to("/entrepot.inventory.v1.InventoryService/SetSafetyStock", &[SERVICE, OPS, STORE]),
    Access::to("/entrepot.inventory.v1.InventoryService/Reserve", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ReleaseReservation", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ExtendReservation", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/GetReservation", &[SERVICE, OPS, STORE, CHANNEL]),
    Access::to("/entrepot.inventory.v1.InventoryService/GetAvailability", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/BatchGetAvailability", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/ListAvailability", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/StreamPositions", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ListMovements", &[SERVICE, OPS, STORE]),
    Access::to("/entrepot.inventory.v1.InventoryService/Audit", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryEventsService/ReplayEvents", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryEventsService/ListHeads", WORKERS),
];

/// A store changes the stock of its own node alone.
pub(crate) fn own_node(who: &Principal, node: &NodeId) -> Result<(), Error> {
    if service::speaks_for(who, node) { Ok(()) } else { Err(Error::NotYourNode(node.clone())) }
}
