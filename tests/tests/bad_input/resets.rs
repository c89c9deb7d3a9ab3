//! Callers whose calls all expire at once are honest: their connection goes on.

use contract::orders::v1 as ord;
use flows::world::PATIENCE;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::raw::{Port, frame, header_block, http2_frame, preface};
use super::{nobody, shop};

const GET: &str = "/entrepot.orders.v1.OrderService/GetOrder";

/// As many as a connection may have (`server.max_streams_per_connection`), less the call that comes after them.
const CALLS: u32 = 127;

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GO_AWAY: u8 = 7;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_calls_expire_together_is_not_sent_away() {
    let (world, _) = shop().await;
    let head = header_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", GET),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    let message = frame(&ord::GetOrderRequest { order_id: nobody("ord_") }.encode_to_vec());
    let mut bytes = preface();
    let expired = |number: u32| 2 * number + 1;
    for number in 0..CALLS {
        bytes.extend(http2_frame(HEADERS, 4, expired(number), &head));
        bytes.extend(http2_frame(0, 1, expired(number), &message));
    }
    for number in 0..CALLS {
        bytes.extend(http2_frame(RESET, 0, expired(number), &[0, 0, 0, 8]));
    }
    let last = expired(CALLS);
    bytes.extend(http2_frame(HEADERS, 4, last, &head));
    bytes.extend(http2_frame(0, 1, last, &message));
    let mut stream = Port::of(&world).connect().await;
    stream.write_all(&bytes).await.expect("sent");
    let answered = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("the connection goes on");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload).await.expect("the connection goes on");
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            assert_ne!(head[3], GO_AWAY, "{payload:?}");
            if head[3] == HEADERS && of == last {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("answered");
    world.stop().await;
}
