//! Both engines have the same tables.

use db::testing;
use test_world::Ground;

use crate::world::SETS;

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    Ground::same_tables(SETS).await;
}

#[tokio::test]
async fn migrating_again_does_nothing() {
    for db in testing::engines(SETS).await {
        assert_eq!(db.migrate(inventory::MIGRATION_SET, inventory::MIGRATIONS).await.unwrap(), 0);
    }
}
