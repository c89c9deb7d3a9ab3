//! The two schemas.
use test_world::Ground;

use crate::world::{SETS, worlds};

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let schema = Ground::same_tables(SETS).await;
    assert!(schema.tables.contains_key("order_timeline"));
}

#[tokio::test]
async fn pieces_that_do_not_sum_to_what_was_asked_cannot_be_stored() {
    for world in worlds().await {
        world.paid().await;
        for broken in
            ["UPDATE order_leg_lines SET picked = picked + 1", "UPDATE order_lines SET open = quantity + 1"]
        {
            let mut tx = world.db.begin().await.unwrap();
            assert!(tx.execute(broken, Vec::new()).await.is_err(), "{broken}");
        }
    }
}

#[test]
fn every_served_method_has_a_row_in_the_role_table() {
    let methods = server::methods::Methods::read(&[contract::DESCRIPTORS]).unwrap();
    let table = server::auth::Table::new(orders::ACCESS.iter().copied(), &methods, orders::SERVICES, true);
    assert!(table.is_ok(), "{:?}", table.err());
}
