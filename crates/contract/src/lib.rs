//! The contract, generated from `proto/` at build time: messages, clients and servers per package.
//!
//! Owns nothing but what `build.rs` makes, the buffers of its clients and servers ([`codec`]), and the check of
//! enum numbers in requests ([`enums`]); the words are explained in the `.proto` files.

#![expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    rustdoc::invalid_html_tags,
    reason = "generated code: documented in proto/, checked by buf lint"
)]

pub mod codec;
pub mod enums;

mod entrepot {
    pub mod r#type {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/entrepot.r#type.v1.rs"));
        }
    }
    pub mod orders {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/entrepot.orders.v1.rs"));
        }
    }
    pub mod inventory {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/entrepot.inventory.v1.rs"));
        }
    }
    pub mod fulfillment {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/entrepot.fulfillment.v1.rs"));
        }
    }
}

/// Words of google.type.
pub mod google {
    pub mod r#type {
        include!(concat!(env!("OUT_DIR"), "/google.r#type.rs"));
    }
}

pub use entrepot::{fulfillment, inventory, orders, r#type};

/// Everything the services speak, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
