//! What a caller may see, change and pay.

use contract::orders::v1 as pb;
use pb::TenderState;
use test_world::{by, fields, fresh, refusal};
use tonic::Code;

use crate::world::{World, line, request, worlds};

fn cancel(order: &pb::Order) -> pb::CancelOrderRequest {
    pb::CancelOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        reason: "REMORSE".to_owned(),
        lines: Vec::new(),
    }
}

#[tokio::test]
async fn a_customer_sees_and_cancels_its_own_orders_alone() {
    let missing = (Code::NotFound, "ORDER_NOT_FOUND".to_owned());
    for world in worlds().await {
        let order = world.unpaid().await;
        let mut client = world.client.clone();
        let order_id = order.order_id.clone();
        let get = pb::GetOrderRequest { order_id: order_id.clone() };
        let lookup = pb::GetOrderByChannelIdRequest {
            channel: "web".to_owned(),
            channel_order_id: order.channel_order_id.clone(),
        };
        let timeline = pb::ListOrderTimelineRequest { order_id: order_id.clone(), ..Default::default() };
        let watch = pb::WatchOrderRequest { order_id, ..Default::default() };
        let other = "customer/c-2";
        assert_eq!(refusal(client.get_order(by(other, get.clone())).await), missing);
        assert_eq!(refusal(client.get_order_by_channel_id(by(other, lookup.clone())).await), missing);
        assert_eq!(refusal(client.list_order_timeline(by(other, timeline.clone())).await), missing);
        assert_eq!(refusal(client.watch_order(by(other, watch.clone())).await), missing);
        assert_eq!(refusal(client.cancel_order(by(other, cancel(&order))).await), missing);
        let own = "customer/c-1";
        client.get_order(by(own, get)).await.unwrap();
        client.get_order_by_channel_id(by(own, lookup)).await.unwrap();
        client.list_order_timeline(by(own, timeline)).await.unwrap();
        client.watch_order(by(own, watch)).await.unwrap();
        client.cancel_order(by(own, cancel(&order))).await.unwrap();
    }
}

async fn place(world: &World, actor: &str, order: pb::PlaceOrderRequest) -> Result<pb::Order, tonic::Status> {
    Ok(world.client.clone().place_order(by(actor, order)).await?.into_inner().order.unwrap())
}

#[tokio::test]
async fn nobody_takes_a_number_of_another_channel() {
    for world in worlds().await {
        let order = |number: &str| request(number, vec![line("a", 1, 100)], TenderState::Due);
        let no = place(&world, "channel/app", order("1")).await.unwrap_err();
        assert_eq!(fields(&no), ["channel"]);
        let no = place(&world, "customer/c-1", order("1")).await.unwrap_err();
        assert_eq!(fields(&no), ["channel_order_id"]);
        let no = place(&world, "customer/c-2", order("")).await.unwrap_err();
        assert_eq!(fields(&no), ["customer_ref"]);
        let asked = pb::PlaceOrderRequest { customer_ref: String::new(), ..order("") };
        let placed = place(&world, "customer/c-1", asked.clone()).await.unwrap();
        assert_eq!(
            (placed.channel_order_id.as_str(), placed.customer_ref.as_str()),
            (&*asked.request_id, "c-1")
        );
        assert_eq!(place(&world, "customer/c-1", asked).await.unwrap().order_id, placed.order_id);
        place(&world, "channel/web", order("1")).await.unwrap();
    }
}

fn pay(order: &pb::Order) -> pb::PayOrderRequest {
    pb::PayOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        tender_id: order.tenders[0].tender_id.clone(),
        state: TenderState::Captured.into(),
        amount: order.tenders[0].amount.clone(),
        provider_ref: "psp-1".to_owned(),
    }
}

#[tokio::test]
async fn a_store_reports_only_what_is_paid_at_its_own_handover() {
    let no = (Code::PermissionDenied, "NOT_YOUR_MONEY".to_owned());
    for world in worlds().await {
        let mut client = world.client.clone();
        let prepaid = world.unpaid().await;
        assert_eq!(refusal(client.pay_order(by("store/store-1", pay(&prepaid))).await), no);
        let mut asked = request(&world.number(), vec![line("a", 1, 100)], TenderState::Due);
        asked.set_payment_terms(pb::PaymentTerms::PayAtHandover);
        let later = world.try_place(asked).await.unwrap();
        assert_eq!(refusal(client.pay_order(by("store/store-2", pay(&later))).await), no);
        client.pay_order(by("store/store-1", pay(&later))).await.unwrap();
        client.pay_order(by("payment/psp", pay(&prepaid))).await.unwrap();
    }
}
