//! The topics, and the message that each of them carries.

use crate::Error;

/// Where events of one service go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What happened to orders.
    Orders,
    /// What happened to stock and reservations.
    Inventory,
    /// What happened to fulfillment orders.
    Fulfillment,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Orders, Self::Inventory, Self::Fulfillment];

    /// Name, owner and message: the one list that a new topic is added to.
    const fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Orders => ("entrepot.orders.v1", "orders", "entrepot.orders.v1.OrderEvent"),
            Self::Inventory => ("entrepot.inventory.v1", "inventory", "entrepot.inventory.v1.InventoryEvent"),
            Self::Fulfillment => {
                ("entrepot.fulfillment.v1", "fulfillment", "entrepot.fulfillment.v1.FulfillmentEvent")
            }
        }
    }

    /// The name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The service that owns the topic and keeps its events.
    pub const fn owner(self) -> &'static str {
        self.row().1
    }

    /// Full name of the message that every payload on this topic is.
    pub const fn message(self) -> &'static str {
        self.row().2
    }

    /// The topic of that name.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|topic| topic.name() == name)
            .ok_or_else(|| Error::UnknownTopic { name: name.to_owned() })
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_found_by_its_name_and_carries_a_message_of_its_package() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_name(topic.name()).unwrap(), topic);
            assert!(topic.message().starts_with(topic.name()));
            assert!(topic.name().contains(topic.owner()));
        }
        assert!(Topic::from_name("entrepot.prices.v1").is_err());
    }
}
