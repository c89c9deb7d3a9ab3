//! A hold whose call to inventory was sent twice, because its connection broke.

use http::{HeaderValue, Request, Response};
use jiff::SignedDuration;
use server::{Peer, peer};
use test_world::by;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::react::shop;
use crate::support::hold;

/// Inventory behind a connection that breaks: the first sending of `Reserve` has its effect, and the second one is
/// turned away.
fn broken(inventory: Peer) -> Peer {
    BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
        let inventory = inventory.clone();
        async move {
            let is_reserve = request.uri().path().ends_with("/Reserve");
            let answer: Response<Body> = inventory.oneshot(request).await?;
            if !is_reserve {
                return Ok(answer);
            }
            let mut refusal = Status::resource_exhausted("shed").into_http::<Body>();
            refusal.headers_mut().insert(peer::RESENT, HeaderValue::from_static("1"));
            Ok::<_, Status>(refusal)
        }
    }))
}

#[tokio::test]
async fn stock_of_a_call_that_was_sent_twice_and_then_shed_is_released() {
    for world in shop().await {
        let inventory = broken(world.inventory.peer());
        let world = world.over(inventory).await;
        let request = hold("lon-1", &[("A", 3)]);
        let refused = world.promises().hold_promise(by("customer/1", request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!((world.taken().await, world.inventory.held()), (1, 1), "the hold has no answer yet");
        world.pass(SignedDuration::from_secs(31));
        world.run_due().await;
        world.run_due().await;
        assert_eq!(
            (world.taken().await, world.inventory.held()),
            (0, 0),
            "long before the end of the reservation"
        );
    }
}
