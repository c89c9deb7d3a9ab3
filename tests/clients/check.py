"""Buys one basket online, picks it up in the store, and reads what the bus said about it."""

import sys
import threading
import uuid
from datetime import datetime, timezone

import grpc

import events
from contract import Refused, Server
from processes import Platform

INVENTORY = "entrepot.inventory.v1.InventoryService"
NETWORK = "entrepot.fulfillment.v1.NetworkService"
PROMISE = "entrepot.fulfillment.v1.PromiseService"
WORK = "entrepot.fulfillment.v1.WorkService"
ORDERS = "entrepot.orders.v1.OrderService"

OPS, CHANNEL, STORE = "ops/setup", "channel/web", "store/LDN-01"
NODE = "LDN-01"


def ok(text):
    print(f"ok: {text}")


def request_id():
    return str(uuid.uuid4())


def now():
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


def gbp(pounds, pence=0):
    return {"currency_code": "GBP", "units": str(pounds), "nanos": pence * 10_000_000}


def stock_a_store(inventory, fulfillment):
    """One store that is always open, and two SKUs on its shelf."""
    skus = [{"sku": "TEA-1", "name": "Tea", "unit": "UNIT_PIECE"}, {"sku": "MUG-7", "name": "Mug", "unit": "UNIT_PIECE"}]
    inventory.call(f"{INVENTORY}/PutSkus", OPS, {"request_id": request_id(), "skus": skus})
    days = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
    node = {
        "node_id": NODE,
        "name": "London, Strand",
        "kind": "NODE_KIND_STORE",
        "place": {"point": {"latitude": 51.511, "longitude": -0.119}},
        "time_zone": "Europe/London",
        "hours": [{"day": day, "open_time": {"hours": 0}, "close_time": {"hours": 24}} for day in days],
        "services": [{"method": "METHOD_PICKUP", "preparation": "1800s"}],
    }
    fulfillment.call(f"{NETWORK}/PutNodes", OPS, {"request_id": request_id(), "nodes": [node]})
    rows = [{"node_id": NODE, "sku": "TEA-1", "on_hand": "10"}, {"node_id": NODE, "sku": "MUG-7", "on_hand": "5"}]
    snapshot = {"request_id": request_id(), "source": "till", "reference": "morning", "source_time": now(), "rows": rows}
    answer = inventory.call(f"{INVENTORY}/ApplySnapshot", OPS, snapshot)
    assert all(row["verdict"] == "ROW_VERDICT_APPLIED" for row in answer["results"]), answer
    ok("SKUs, a node and a stock snapshot went in by reflection alone")


def basket():
    return {
        "request_id": request_id(),
        "channel": "web",
        "channel_order_id": f"W-{uuid.uuid4().hex[:12]}",
        "customer_ref": "c-4711",
        "lines": [
            {"sku": "TEA-1", "name": "Tea", "quantity": "2", "unit_price": gbp(3, 50)},
            {"sku": "MUG-7", "name": "Mug", "quantity": "1", "unit_price": gbp(8)},
        ],
        "tenders": [{"tender_id": "t1", "kind": "card", "amount": gbp(15), "state": "TENDER_STATE_CAPTURED"}],
        "payment_terms": "PAYMENT_TERMS_PREPAID",
        "tax_included": True,
        "total": gbp(15),
        "groups": [{"method": "METHOD_PICKUP", "node_id": NODE}],
    }


def refuse_bad_input(orders):
    order = basket()
    order["lines"][0]["quantity"] = "0"
    order["lines"][1]["unit_price"] = gbp(-1)
    try:
        orders.call(f"{ORDERS}/PlaceOrder", CHANNEL, order)
        raise AssertionError("an order of nothing was accepted")
    except Refused as refused:
        assert refused.code == "INVALID_ARGUMENT", refused
        assert refused.reason and refused.domain, refused
        assert any("lines[0].quantity" in field for field in refused.fields), refused.fields
        assert any("lines[1].unit_price" in field for field in refused.fields), refused.fields
    ok("a bad order comes back with ErrorInfo and every wrong field")
    try:
        orders.call(f"{ORDERS}/GetOrder", CHANNEL, {"order_id": f"ord_{uuid.uuid4()}"})
        raise AssertionError("an order that nobody placed was found")
    except Refused as refused:
        assert (refused.code, refused.reason) == ("NOT_FOUND", "ORDER_NOT_FOUND"), (refused.code, refused.reason)
    ok("an order that nobody placed is NOT_FOUND / ORDER_NOT_FOUND")


class Watch(threading.Thread):
    """The store's screen: follows the node's stream and notes which orders it saw."""

    def __init__(self, fulfillment):
        super().__init__(daemon=True)
        self.fulfillment, self.seen, self.news = fulfillment, {}, threading.Condition()

    def run(self):
        try:
            for answer in self.fulfillment.stream(f"{WORK}/WatchWork", STORE, {"node_id": NODE}, deadline_s=120):
                if "item" in answer:
                    work = answer["item"]["fulfillment_order"]
                    with self.news:
                        self.seen.setdefault(work["order_id"], []).append(work)
                        self.news.notify_all()
        except grpc.RpcError:
            pass

    def wait_for(self, order_id, limit_s=30):
        with self.news:
            assert self.news.wait_for(lambda: order_id in self.seen, limit_s), f"{order_id} is not on the store's stream"
            return self.seen[order_id][0]


def place_and_collect(orders, fulfillment):
    watch = Watch(fulfillment)
    watch.start()
    wanted = basket()
    order = orders.call(f"{ORDERS}/PlaceOrder", CHANNEL, wanted)["order"]
    assert order["order_id"].startswith("ord_"), order
    again = orders.call(f"{ORDERS}/PlaceOrder", CHANNEL, wanted)["order"]
    assert again["order_id"] == order["order_id"], "the same request_id made a second order"
    ok("an order was placed by reflection, and the same request_id gives the same order")
    try:
        orders.call(f"{ORDERS}/PlaceOrder", CHANNEL, {**wanted, "customer_ref": "c-4712"})
        raise AssertionError("the same request_id with another body was accepted")
    except Refused as refused:
        assert refused.reason == "REQUEST_ID_REUSED", (refused.code, refused.reason)
    ok("the same request_id with another body is refused")

    work = watch.wait_for(order["order_id"])
    assert [(line["sku"], line["quantity"]) for line in work["lines"]] == [("TEA-1", "2"), ("MUG-7", "1")], work
    ok("the store's stream shows it")
    step = {"fulfillment_id": work["fulfillment_id"]}
    fulfillment.call(f"{WORK}/AcceptWork", STORE, {"request_id": request_id(), **step})
    fulfillment.call(f"{WORK}/StartPicking", STORE, {"request_id": request_id(), **step})
    picked = [{"line": 1, "picked": "2"}, {"line": 2, "picked": "1"}]
    fulfillment.call(f"{WORK}/PickLines", STORE, {"request_id": request_id(), "lines": picked, **step})
    fulfillment.call(f"{WORK}/MarkReady", STORE, {"request_id": request_id(), **step})
    issued = fulfillment.call(
        f"{WORK}/IssuePickupCode", CHANNEL, {"request_id": request_id(), **step}
    )
    assert len(issued["code"].replace("-", "")) >= 8, "the code is too short"
    handed = fulfillment.call(
        f"{WORK}/HandOver",
        STORE,
        {"request_id": request_id(), "code": issued["code"], "collector": "COLLECTOR_KIND_BUYER", **step},
    )
    assert handed["fulfillment_order"]["state"] == "FULFILLMENT_STATE_DONE", handed
    ok("accepted, picked, ready, handed over against its code")

    for answer in orders.stream(f"{ORDERS}/WatchOrder", CHANNEL, {"order_id": order["order_id"]}):
        if answer["order"]["status"] == "ORDER_STATUS_COMPLETED":
            break
    ok("the order's own stream ends in COMPLETED")
    return order["order_id"]


def stock_is_right(inventory):
    position = {}
    for sku in ("TEA-1", "MUG-7"):
        answer = inventory.call(f"{INVENTORY}/GetAvailability", CHANNEL, {"node_id": NODE, "sku": sku})
        position[sku] = int(answer["availability"].get("atp", 0))
    assert position == {"TEA-1": 8, "MUG-7": 4}, position
    audit = inventory.call(f"{INVENTORY}/Audit", OPS, {})
    assert audit["ok"], audit
    ok("stock went down by what was sold, and the audit is clean")


def read_the_bus(broker, topics, orders, order_id):
    aggregate = order_id.removeprefix("ord_")

    def of_order(seen):
        return [one for one in seen if one[2] == aggregate]

    def complete(seen):
        over = any(one[3].get_type() == "entrepot.orders.v1.OrderCompleted" for one in of_order(seen))
        return over and len({one[0] for one in seen}) == len(topics)

    seen = events.read(broker, topics, complete)
    own = of_order(seen)
    ok(f"confluent-kafka read {len(seen)} events, {len(own)} of them of this order")
    pool = {"entrepot.orders.v1.OrderEvent": orders.message("entrepot.orders.v1.OrderEvent")}
    for number, (_, _, key, event, headers) in enumerate(own, start=1):
        assert event.get_specversion() == "1.0", headers
        assert event.get_source() == "/entrepot/orders", headers
        assert event.get_subject() == aggregate == key, headers
        assert event.get_datacontenttype() == "application/protobuf", headers
        assert uuid.UUID(event.get_id()), headers
        assert event.get_time().tzinfo is not None, headers
        assert event.get_type().startswith("entrepot.orders.v1."), headers
        assert event.get_extension("partitionkey") == key, headers
        sequence = event.get_extension("sequence")
        assert len(sequence) == 20 and int(sequence) == number, f"sequence {sequence}, expected {number}"
        message_name = event.get_dataschema().removeprefix("type.googleapis.com/")
        body = pool[message_name].FromString(event.get_data())
        assert body.order_id == order_id, body
        assert body.version == number, body
        assert body.WhichOneof("body"), body
    assert own[0][3].get_type() == "entrepot.orders.v1.OrderPlaced"
    assert len({one[1] for one in own}) == 1, "the events of one order are in one partition"
    assert len({one[3].get_id() for one in own}) == len(own), "an event id came twice"
    ok("the CloudEvents SDK decodes them: headers, dense sequence, one partition, the protobuf body")
    sources = {one[3].get_source() for one in seen}
    assert sources == {"/entrepot/orders", "/entrepot/inventory", "/entrepot/fulfillment"}, sources
    text = repr([one[4] for one in seen])
    assert "c-4711" not in text, "a customer handle in a header"
    ok("all three services publish, and no header names a customer")


def main():
    with Platform(sys.argv[1]) as platform:
        orders, inventory, fulfillment = (
            Server(platform.address(name)) for name in ("orders", "inventory", "fulfillment")
        )
        assert "entrepot.orders.v1.OrderService" in orders.services(), orders.services()
        assert orders.services() == orders.services_by_reflection_v1(), "the two reflection services differ"
        ok("reflection v1alpha and v1 name the same services")
        stock_a_store(inventory, fulfillment)
        zipped = Server(platform.address("orders"), compression=grpc.Compression.Gzip)
        refuse_bad_input(zipped)
        ok("a client that compresses with gzip is understood")
        order_id = place_and_collect(orders, fulfillment)
        stock_is_right(inventory)
        read_the_bus(platform.broker, platform.topics, orders, order_id)


if __name__ == "__main__":
    main()
