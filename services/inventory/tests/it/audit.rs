//! The audit finds what was doctored, and names it.

use contract::inventory::v1 as pb;
use db::params;
use test_world::reason;

use crate::world::{World, line, worlds};

async fn doctor(world: &World, sql: &'static str) {
    let mut tx = world.db.begin().await.unwrap();
    assert_eq!(tx.execute(sql, params![]).await.unwrap(), 1, "{sql}");
    tx.commit().await.unwrap();
}

fn broken(audit: &pb::AuditResponse) -> Vec<&str> {
    assert_eq!(audit.ok, audit.laws.iter().all(|law| law.ok));
    audit.laws.iter().filter(|law| !law.ok).map(|law| law.law.as_str()).collect()
}

#[tokio::test]
async fn the_audit_names_the_first_row_that_breaks_a_law() {
    let cases: [(&str, &str, &[&str], &str); 7] = [
        (
            "UPDATE positions SET on_hand = on_hand + 1 WHERE sku = 'B'",
            "UPDATE positions SET on_hand = on_hand - 1 WHERE sku = 'B'",
            &["ON_HAND_IS_SUM_OF_LEDGER"],
            "n1 B: on_hand 21, ledger 20",
        ),
        (
            "UPDATE positions SET reserved = 0 WHERE sku = 'A'",
            "UPDATE positions SET reserved = 3 WHERE sku = 'A'",
            &["RESERVED_IS_SUM_OF_LEDGER", "RESERVED_IS_SUM_OF_CLAIMS"],
            "n1 A: reserved 0, ledger 3",
        ),
        (
            "UPDATE reservation_lines SET held = held - 1, consumed = consumed + 1 WHERE sku = 'A'",
            "UPDATE reservation_lines SET held = held + 1, consumed = consumed - 1 WHERE sku = 'A'",
            &["RESERVED_IS_SUM_OF_CLAIMS", "CONSUMED_IS_SUM_OF_CLAIMS"],
            "n1 A: reserved 3, open reservation lines 2",
        ),
        (
            "UPDATE positions SET quarantine = 5 WHERE sku = 'B'",
            "UPDATE positions SET quarantine = 0 WHERE sku = 'B'",
            &["QUARANTINE_IS_SUM_OF_LEDGER"],
            "n1 B: quarantine 5, ledger 0",
        ),
        (
            "UPDATE movements SET on_hand_after = 9 WHERE sku = 'A' AND movement_no = 1",
            "UPDATE movements SET on_hand_after = 10 WHERE sku = 'A' AND movement_no = 1",
            &["LEDGER_IS_A_CHAIN"],
            "n1 A: movement 1",
        ),
        (
            "UPDATE positions SET last_movement = 9 WHERE sku = 'B'",
            "UPDATE positions SET last_movement = 1 WHERE sku = 'B'",
            &["LEDGER_ENDS_AT_POSITION"],
            "n1 B: last movement 9, ledger has 1 rows up to number 1",
        ),
        (
            "UPDATE reservations SET state = 'RELEASED', until_at = NULL WHERE state = 'HELD'",
            "UPDATE reservations SET state = 'CONFIRMED' WHERE state = 'RELEASED'",
            &["STATE_FOLLOWS_LINES"],
            "rsv_",
        ),
    ];
    for world in worlds().await {
        world.stock("n1", &[("A", 10), ("B", 20)]).await;
        world.hold(vec![line(1, "n1", "A", 3)]).await.unwrap();
        world.check().await;
        let clean = world.audit().await;
        assert_eq!((clean.positions, clean.reservations, clean.movements), (2, 1, 3));
        for (damage, repair, laws, first) in cases {
            doctor(&world, damage).await;
            let audit = world.audit().await;
            assert_eq!(broken(&audit), laws, "{damage}");
            let named = audit.laws.iter().find(|law| !law.ok).unwrap();
            assert!(named.first.starts_with(first) && named.broken > 0, "{named:?}");
            doctor(&world, repair).await;
        }
        doctor(&world, "DELETE FROM positions WHERE sku = 'B'").await;
        assert_eq!(broken(&world.audit().await), ["NOTHING_WITHOUT_POSITION"]);
    }
}

#[tokio::test]
async fn a_crowd_of_audits_takes_turns_and_the_rest_is_told_to_come_back() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let audits = (0..12).map(|_| async { world.client().audit(pb::AuditRequest {}).await });
        let (done, refused): (Vec<_>, Vec<_>) =
            futures_util::future::join_all(audits).await.into_iter().partition(Result::is_ok);
        assert!(done.len() >= 4, "{} done", done.len());
        assert!(done.into_iter().all(|answer| answer.unwrap().into_inner().ok));
        assert!(!refused.is_empty());
        for refusal in refused {
            let status = refusal.unwrap_err();
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            assert_eq!(reason(&status), "TOO_MANY_AUDITS");
        }
        assert!(world.client().audit(pb::AuditRequest {}).await.unwrap().into_inner().ok);
    }
}
