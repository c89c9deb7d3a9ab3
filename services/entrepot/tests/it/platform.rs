//! The platform as one value, as tests and the demo use it.

use clock::Clock;
use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use contract::inventory::v1::{AuditRequest, PutSkusRequest, Sku, Unit};
use entrepot::compose::Platform;
use entrepot::config::{Config, Service};
use entrepot::data::{self, ClockMode};
use entrepot::exit::Class;
use jiff::Timestamp;
use server::status::reason;
use server::{Principal, peer};
use tonic::Code;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn put_apple() -> PutSkusRequest {
    let apple = Sku {
        sku: "APPLE".to_owned(),
        name: "Apple".to_owned(),
        unit: i32::from(Unit::Piece),
        ..Sku::default()
    };
    PutSkusRequest { request_id: "8c5e1c0e-5f4b-4d53-9d6a-0f8f6c5a3b11".to_owned(), skus: vec![apple] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_on_a_virtual_clock_moves_only_when_told_and_goes_on_where_it_stood() {
    let home = tempfile::tempdir().unwrap();
    let begin = at("2011-12-01T08:00:00Z");
    let clock = data::virtual_clock(home.path(), begin).unwrap();
    let platform = Platform::start(Config::embedded(home.path()), clock).await.unwrap();
    assert!(platform.idle().await.unwrap());
    assert_eq!(platform.clock().business(), begin);
    let later = at("2011-12-02T08:00:00Z");
    assert!(platform.clock().advance_to(later));
    assert_eq!(platform.run_due(later).await.unwrap(), 0);
    assert!(platform.next_due().await.unwrap().is_none_or(|due| due > later));
    assert!(platform.shutdown().await.is_clean());

    assert_eq!(data::read_clock(home.path()).unwrap(), Some(ClockMode::Virtual { now: later }));
    let clock = data::virtual_clock(home.path(), begin).unwrap();
    assert_eq!(clock.business(), later);
    let refused = Platform::start(Config::embedded(home.path()), Clock::system()).await.err().unwrap();
    assert_eq!(refused.class, Class::Directory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_alike_over_the_network_and_in_this_process() {
    let home = tempfile::tempdir().unwrap();
    let platform = Platform::start(Config::embedded(home.path()), Clock::system()).await.unwrap();
    let ops = Principal::new("ops", "test");
    for peer in [platform.peer(), peer::remote(&platform.address()).unwrap()] {
        let mut client = InventoryServiceClient::new(peer::acting(peer.clone(), &ops));
        let answer = client.put_skus(put_apple()).await.unwrap().into_inner();
        assert_eq!(answer.skus[0].sku, "APPLE");
        assert!(client.audit(AuditRequest {}).await.unwrap().into_inner().ok);
        let store = peer::acting(peer, &Principal::new("store", "N1"));
        let refused = InventoryServiceClient::new(store).put_skus(put_apple()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(reason(&refused).as_deref(), Some("CALLER_NOT_ALLOWED"));
    }
    assert!(platform.database(Service::Orders).is_some());
    assert!(platform.shutdown().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_platforms_live_in_one_process() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Platform::start(Config::embedded(one.path()), Clock::system()).await.unwrap();
    let second = Platform::start(Config::embedded(two.path()), Clock::system()).await.unwrap();
    assert_ne!(first.address(), second.address());
    assert!(first.shutdown().await.is_clean());
    let mut client = InventoryServiceClient::new(peer::remote(&second.address()).unwrap());
    assert!(client.audit(AuditRequest {}).await.is_ok());
    assert!(second.shutdown().await.is_clean());
}
