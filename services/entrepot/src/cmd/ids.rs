//! Ids as people give them to commands: as the API shows them, or as the UUID inside.

use bus::event::PREFIXES;
use uuid::Uuid;

/// The UUID of an aggregate, given as `ord_<uuid>`, `ful_<uuid>`, `rsv_<uuid>`, `pol_<uuid>` or `<uuid>`. A promise and its reservation
/// have the same UUID, so that `prm_<uuid>` finds the reservation.
pub(crate) fn aggregate(text: &str) -> Result<Uuid, String> {
    let known = PREFIXES.map(|(_, prefix)| prefix);
    let prefix = known.into_iter().chain(["prm_"]).find(|prefix| text.starts_with(prefix));
    let uuid = &text[prefix.map_or(0, str::len)..];
    Uuid::try_parse(uuid)
        .map_err(|_| format!("expected an id such as {}<uuid>, or a UUID", known.join("<uuid>, ")))
}

#[cfg(test)]
mod tests {
    use domain::id::{FulfillmentId, OrderId, ReservationId};

    use super::*;

    #[test]
    fn ids_are_read_as_the_api_shows_them() {
        let uuid = Uuid::from_u128(7);
        let shown = [
            OrderId::new(uuid).to_string(),
            FulfillmentId::new(uuid).to_string(),
            ReservationId::new(uuid).to_string(),
            format!("prm_{uuid}"),
            uuid.to_string(),
        ];
        for text in shown {
            assert_eq!(aggregate(&text), Ok(uuid), "{text}");
        }
        let prefixes = PREFIXES.map(|(_, prefix)| prefix);
        assert_eq!(prefixes, [OrderId::PREFIX, ReservationId::PREFIX, FulfillmentId::PREFIX, "pol_"]);
        for bad in ["", "ord_", "xyz_7", "ord_7"] {
            assert!(aggregate(bad).unwrap_err().contains("ord_<uuid>"), "{bad}");
        }
    }
}
