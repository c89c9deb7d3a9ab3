"""How much memory the processes take: through a replay of their whole log, and for each open WatchOrder.

    tests/clients/run --memory BINARY [EVENTS] [STREAMS]      default: 100000 events, 2000 streams

On demand, not part of tests/run: figures mean something for a release build (cargo build --release) on a quiet machine.
Orders are placed and published again until the topics hold EVENTS events; then the consumer groups are deleted, so that
each process reads its whole log from the beginning, while its resident memory is read every 50 ms.
"""

import sys
import threading
import time
import uuid
from pathlib import Path

import grpc
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from check import CHANNEL, NODE, OPS, ORDERS, gbp, now, request_id, stock_a_store
from contract import Server
from processes import SERVICES, Platform

ORDERS_PLACED = 400
CALLERS = 8
STREAMS_PER_CHANNEL = 100
PATIENCE_S = 900


def resident_kib(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def place(orders, count):
    """Places orders from several threads; answers their ids."""
    ids, lock = [], threading.Lock()

    def buy():
        while True:
            with lock:
                if len(ids) >= count:
                    return
                ids.append(None)
                mine = len(ids) - 1
            body = {
                "request_id": request_id(),
                "channel": "web",
                "channel_order_id": str(uuid.uuid4()),
                "customer_ref": "customer-1",
                "lines": [{"sku": "TEA-1", "name": "Tea", "quantity": "1", "unit_price": gbp(4)}],
                "tenders": [
                    {"tender_id": "card", "kind": "card", "amount": gbp(4), "state": "TENDER_STATE_CAPTURED", "provider_ref": "paid"}
                ],
                "payment_terms": "PAYMENT_TERMS_PREPAID",
                "tax_included": True,
                "total": gbp(4),
                "groups": [{"method": "METHOD_PICKUP", "node_id": NODE}],
            }
            ids[mine] = orders.call(f"{ORDERS}/PlaceOrder", CHANNEL, body, deadline_s=60)["order"]["order_id"]

    orders.message("entrepot.orders.v1.PlaceOrderRequest")  # reflection is asked once, not by all threads at a time
    callers = [threading.Thread(target=buy) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return ids


class Log:
    """The topics of the platform."""

    def __init__(self, platform):
        self.topics = platform.topics
        self.admin = AdminClient({"bootstrap.servers": platform.broker})
        self.reader = Consumer({"bootstrap.servers": platform.broker, "group.id": f"{platform.prefix}memory"})
        self.groups = [f"{platform.prefix}{service}" for service in SERVICES]
        metadata = self.admin.list_topics(timeout=30)
        self.partitions = [TopicPartition(t, p) for t in self.topics for p in metadata.topics[t].partitions]

    def events(self):
        return sum(self.reader.get_watermark_offsets(one, timeout=30)[1] for one in self.partitions)

    def forget_groups(self):
        known = [group.group_id for group in self.admin.list_consumer_groups().result().valid]
        wanted = [group for group in known if any(group.endswith(service) for service in SERVICES) and group in self.groups]
        assert wanted, f"no group of the platform among {known}"
        for done in self.admin.delete_consumer_groups(wanted).values():
            done.result()


    def is_read(self):
        """Whether each group has committed the end of every partition of the two topics that it follows."""
        for group in self.groups:
            asked = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
            done = {(one.topic, one.partition): one.offset for one in asked[group].result().topic_partitions}
            ends = {(one.topic, one.partition): self.reader.get_watermark_offsets(one, timeout=30)[1] for one in self.partitions}
            behind = [place for place, offset in done.items() if offset < ends[place]]
            if behind or len({topic for topic, _ in done}) < 2:
                return False
        return True


def replay(platform, log):
    """Starts the processes without groups and answers the most memory of each until nothing lags."""
    platform.stop()
    log.forget_groups()
    platform.start()
    peaks = dict.fromkeys(SERVICES, 0)
    began, look_at = time.monotonic(), 0
    while True:
        for service in SERVICES:
            peaks[service] = max(peaks[service], resident_kib(platform.running[service]))
        if time.monotonic() > look_at:
            if log.is_read():
                print(f"read to its end by all in {time.monotonic() - began:.0f} s")
                return peaks
            look_at = time.monotonic() + 1
        assert time.monotonic() < began + PATIENCE_S, "the log was not read to its end in time"
        time.sleep(0.05)


def watch(platform, order_id, count):
    """Opens that many streams and answers the KiB that each takes once it is idle."""
    process = platform.running["orders"]
    servers = [
        Server(platform.address("orders"), options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-count // STREAMS_PER_CHANNEL))
    ]
    open_streams = []

    def more(number):
        for index in range(number):
            stream = servers[index % len(servers)].stream(f"{ORDERS}/WatchOrder", CHANNEL, {"order_id": order_id}, deadline_s=600)
            next(stream)
            open_streams.append(stream)

    more(len(servers))  # connections are there
    time.sleep(2)
    before = resident_kib(process)
    more(count)
    time.sleep(2)
    each = (resident_kib(process) - before) / count
    for server in servers:
        server.channel.close()
    return each


def main(binary, events=100_000, streams=2_000):
    with Platform(binary) as platform:
        inventory, fulfillment, orders = (Server(platform.address(service)) for service in SERVICES)
        stock_a_store(inventory, fulfillment)
        rows = [{"node_id": NODE, "sku": "TEA-1", "delta": "1000000", "kind": "MOVEMENT_KIND_RECEIPT", "reference": "many", "source_time": now()}]
        inventory.call("entrepot.inventory.v1.InventoryService/ApplyDeltas", OPS, {"request_id": request_id(), "source": "memory", "rows": rows})
        ids = place(orders, ORDERS_PLACED)
        log = Log(platform)
        while log.events() < events:
            for topic in SERVICES:
                platform.run("events", "resend", "--topic", topic, "--since", "all")
            time.sleep(1)
        print(f"{log.events()} events in the topics")
        idle = {service: resident_kib(platform.running[service]) for service in SERVICES}
        peaks = replay(platform, log)
        for service in SERVICES:
            print(f"{service}: {idle[service] / 1024:.0f} MB before, at most {peaks[service] / 1024:.0f} MB through the replay (aim: 60)")
        print(f"WatchOrder: {watch(platform, ids[0], streams):.1f} KiB for each of {streams} idle streams (aim: 8)")


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:]))
