//! The two schemas.

use crate::world::worlds;

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let worlds = worlds().await;
    let [sqlite, postgres] = worlds.as_slice() else { return };
    let (sqlite, postgres) = (db::testing::schema(&sqlite.db).await, db::testing::schema(&postgres.db).await);
    assert_eq!(sqlite, postgres);
    assert!(sqlite.tables.contains_key("order_timeline"));
}

#[tokio::test]
async fn a_line_whose_buckets_do_not_sum_to_what_was_ordered_can_not_be_stored() {
    for world in worlds().await {
        world.paid().await;
        let mut tx = world.db.begin().await.unwrap();
        let broken = tx.execute("UPDATE order_lines SET picked = picked + 1", Vec::new()).await;
        assert!(broken.is_err());
    }
}

#[test]
fn every_served_method_has_a_row_in_the_role_table() {
    let methods = server::methods::Methods::read(&[contract::DESCRIPTORS]).unwrap();
    let table = server::auth::Table::new(orders::ACCESS.iter().copied(), &methods, orders::SERVICES, true);
    assert!(table.is_ok(), "{:?}", table.err());
}
