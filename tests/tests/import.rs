//! Files of stock figures, sent with the program to a platform on each database.

use std::path::PathBuf;
use std::process::Command;

use contract::inventory::v1 as inv;
use flows::processes::binary;
use flows::world::{NODE, People, World, fresh};

/// A platform, and a folder for files.
struct Office {
    world: World,
    ops: People,
    folder: tempfile::TempDir,
}

impl Office {
    /// One on each database.
    async fn each() -> Vec<Self> {
        let mut offices = Vec::new();
        for world in [Some(World::embedded().await), World::postgres().await].into_iter().flatten() {
            let ops = world.clients("ops/test");
            let folder = tempfile::tempdir().expect("the temporary folder is writable");
            offices.push(Self { world, ops, folder });
        }
        offices
    }

    fn file(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("stock.csv");
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// Imports a file with these flags: whether all went well, and what was said.
    fn import(&self, content: impl AsRef<[u8]>, flags: &[&str]) -> (bool, String) {
        let output = Command::new(binary())
            .arg("import")
            .arg(self.file(content))
            .args(["--source", "wms", "--address", &self.world.platform.address()])
            .args(flags)
            .current_dir(std::env::temp_dir())
            .output()
            .expect("the program runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    async fn on_hand(&self, sku: &str) -> i64 {
        self.ops.position(NODE, sku).await.on_hand
    }

    async fn end(self) {
        self.ops.audit().await;
        self.world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_file_is_news_when_it_was_taken_later() {
    for office in Office::each().await {
        let file = format!("node_id,sku,on_hand,name\n{NODE},TEA,20,Tea\n");
        let (ok, said) = office.import(&file, &[]);
        assert!(ok && said.contains("1 rows applied, 0 known already, 0 refused"), "{said}");
        let sale = inv::DeltaRow {
            node_id: NODE.to_owned(),
            sku: "TEA".to_owned(),
            delta: -15,
            kind: inv::MovementKind::Sale.into(),
            reference: fresh(),
            source_time: Some(entrepot::clients::timestamp(office.world.platform.clock().wall())),
        };
        let sold =
            inv::ApplyDeltasRequest { request_id: fresh(), source: "till".to_owned(), rows: vec![sale] };
        office.ops.clients.inventory.clone().apply_deltas(sold).await.expect("sold");
        assert_eq!(office.on_hand("TEA").await, 5);
        // restocked: the figures of the evening are those of the morning
        let at = office.world.platform.clock().wall().to_string();
        let (ok, said) = office.import(&file, &["--at", &at]);
        assert!(ok && said.contains("1 rows applied"), "{said}");
        assert_eq!(office.on_hand("TEA").await, 20);
        let (ok, said) = office.import(&file, &["--at", &at]);
        assert!(ok && said.contains("0 rows applied, 1 known already"), "{said}");
        office.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_row_of_a_file_is_named_with_its_cause_and_the_figure_that_stays() {
    for office in Office::each().await {
        office.ops.stock(NODE, &[("TEA", 7), ("CUP", 9)]).await;
        let rows = [
            "node_id,sku,on_hand,name".to_owned(),
            format!("{NODE},TEA,10.000,"),
            format!("{NODE},1.23457E+12,4,Pot"),
            String::new(),
            "sah-01,TEA,5,".to_owned(),
            format!("{NODE},CUP,12,"),
            format!("{NODE},\"NEW\",3,\"Apron \u{1F469}\u{200D}\u{1F373}\""),
        ];
        let (ok, said) = office.import(rows.join("\r\n"), &[]);
        assert!(!ok, "{said}");
        for wanted in [
            "line 2: MALFORMED on_hand: `10.000` is not a whole number: it may mean 10 with decimals or 10000",
            "line 3: DAMAGED_CODE sku: does not exist; a spreadsheet has shortened a long code",
            "line 5: UNKNOWN_NODE node_id: there is no node sah-01; is it sha-01?",
            "line 2: old figure still on sale: sha-01 TEA has 7 on hand, 7 available",
            "2 rows applied, 0 known already, 3 refused",
        ] {
            assert!(said.contains(wanted), "{wanted}\n{said}");
        }
        assert_eq!((office.on_hand("TEA").await, office.on_hand("CUP").await), (7, 12));
        assert_eq!(office.on_hand("NEW").await, 3);

        let (ok, said) = office.import("node_id,sku,on_hand\nsah-01,TEA,5\n", &["--allow-unknown-nodes"]);
        assert!(ok && said.contains("1 rows applied"), "{said}");
        office.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_shape_is_refused_with_the_way_in() {
    for office in Office::each().await {
        let (ok, said) = office.import(format!("node_id;sku;on_hand;name\n{NODE};TEA;5;Tea\n"), &[]);
        assert!(!ok && said.contains("line 1: the cells are separated by `;`"), "{said}");
        let semicolons = format!("node_id;sku;on_hand;name\n{NODE};TEA;5;Tea\n");
        let (ok, said) = office.import(semicolons, &["--separator", ";"]);
        assert!(ok, "{said}");
        let mut gbk = format!("node_id,sku,on_hand,name\n{NODE},YE,5,").into_bytes();
        gbk.extend(b"\xb2\xe8\xd2\xb6\xb2\xe8\xd2\xb6\n");
        let (ok, said) = office.import(&gbk, &[]);
        assert!(!ok && said.contains("line 2: the file is not UTF-8 but looks like GBK"), "{said}");
        let (ok, said) = office.import(&gbk, &["--encoding", "gbk"]);
        assert!(ok, "{said}");
        let get = inv::GetSkuRequest { sku: "YE".to_owned() };
        let sku = office.ops.clients.inventory.clone().get_sku(get).await.expect("made").into_inner().sku;
        assert_eq!(sku.expect("made").name, "茶叶茶叶");
        office.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_sets_the_rest_to_0_unless_that_is_too_much_or_in_doubt() {
    for office in Office::each().await {
        let rows = |skus: &[(&str, i64)]| {
            let rows = skus.iter().map(|(sku, units)| format!("{NODE},{sku},{units},item\n"));
            format!("node_id,sku,on_hand,name\n{}", rows.collect::<String>())
        };
        let (ok, said) = office.import(rows(&[("A", 10), ("B", 10), ("C", 10), ("D", 10)]), &["--full"]);
        assert!(ok && said.contains(": 0 positions that are not in the file were set to 0"), "{said}");

        let (ok, said) = office.import(rows(&[("A", 10), ("B", 10), ("C", 10)]), &["--full"]);
        assert!(ok && said.contains("sha-01 D: not in the file, 10 -> 0"), "{said}");
        assert_eq!(office.on_hand("D").await, 0);

        // a row that is refused may be any of those that seem absent
        let (ok, said) = office.import(rows(&[("A", 11), ("B", 10)]) + "sha-01,C,x,\n", &["--full"]);
        assert!(!ok && said.contains("nothing was set to 0 at sha-01"), "{said}");
        assert_eq!((office.on_hand("A").await, office.on_hand("C").await), (11, 10));

        let (ok, said) = office.import(rows(&[("A", 10)]), &["--full"]);
        assert!(!ok && said.contains("67 % of the stock of sha-01 would vanish"), "{said}");
        assert_eq!(office.on_hand("C").await, 10);
        let at = said.split("--full --force --at ").nth(1).expect("the way out").trim();
        let (ok, said) = office.import(rows(&[("A", 10)]), &["--full", "--force", "--at", at]);
        assert!(ok && said.contains("0 rows applied, 1 known already"), "{said}");
        assert_eq!((office.on_hand("B").await, office.on_hand("C").await), (0, 0));
        office.end().await;
    }
}
