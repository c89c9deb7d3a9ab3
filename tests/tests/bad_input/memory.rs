//! The memory of a process under a crowd of hostile requests.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use contract::orders::v1 as ord;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::raw::{
    Port, call, empties, frame, framed, gzip, header_block, headers, http2_frame, preface, send,
};

/// A platform in a process of its own, so that its memory is its own.
struct Served {
    child: Child,
    port: Port,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let data = folder.path().join("data").display().to_string();
        let mut child = Command::new(flows::processes::binary())
            .args(["serve", "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("TOKIO_WORKER_THREADS", "2")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is ours");
        BufReader::new(stdout).read_line(&mut line).expect("it says when it is ready");
        let address = line.split("gRPC ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
        let port = Port::at(address.expect("it says where").trim());
        Self { child, port, _folder: folder }
    }

    /// The most memory that it ever had, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Callers at once.
const CROWD: usize = 16;

/// The most that the process may grow to, in KiB. A message of 1.25 MiB of empty messages would be some 250 MiB of them
/// once read: it is not.
const MOST: u64 = 192 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_bombs_does_not_swell_the_process() {
    let served = Served::start();
    let zeros = gzip(&vec![0; 16 << 20]);
    let attacks = [
        ("/entrepot.orders.v1.OrderService/PlaceOrder", frame(&empties(5, 130_000)), false),
        ("/entrepot.fulfillment.v1.NetworkService/PutNodes", frame(&empties(2, 130_000)), false),
        ("/entrepot.orders.v1.OrderService/PlaceOrder", framed(1, &zeros), true),
    ];
    for (path, body, is_packed) in attacks {
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (port, body) = (served.port.clone(), body.clone());
            let named = if is_packed { headers(&[("grpc-encoding", "gzip")]) } else { headers(&[]) };
            crowd.spawn(async move { call(&port, path, named, body).await });
        }
        while let Some(answer) = crowd.join_next().await {
            let (code, reason) = answer.expect("answered").code();
            assert_ne!(code, tonic::Code::Ok, "{path}");
            assert!(!reason.is_empty(), "{path}");
        }
        let peak = served.peak();
        assert!(peak < MOST, "{path}: {peak} KiB");
    }
}

const GET: &str = "/entrepot.orders.v1.OrderService/GetOrder";

/// Floods of frames, some ten thousand each, on one connection.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    const FRAMES: u32 = 20_000;
    let headers = header_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", GET),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
    ]);
    let each =
        |frames: &dyn Fn(u32) -> Vec<u8>| (0..FRAMES).flat_map(|index| frames(2 * index + 1)).collect();
    let open = http2_frame(1, 4, 1, &headers);
    let then = |frame: Vec<u8>| [open.clone(), frame.repeat(FRAMES as usize)].concat();
    let never_ends = http2_frame(1, 0, 1, &headers);
    let more_headers = http2_frame(9, 0, 1, &header_block(&[("x-more", "headers")]));
    vec![
        (
            "streams that are reset at once",
            each(&|stream| {
                [http2_frame(1, 4, stream, &headers), http2_frame(3, 0, stream, &[0, 0, 0, 8])].concat()
            }),
        ),
        ("streams that never send their message", each(&|stream| http2_frame(1, 4, stream, &headers))),
        (
            "streams that make us reset them",
            each(&|stream| {
                [http2_frame(1, 4, stream, &headers), http2_frame(8, 0, stream, &[0; 4])].concat()
            }),
        ),
        ("headers without an end", [never_ends.clone(), more_headers.repeat(FRAMES as usize)].concat()),
        ("empty pieces of headers", [never_ends, http2_frame(9, 0, 1, &[]).repeat(FRAMES as usize)].concat()),
        ("empty pieces of a message", then(http2_frame(0, 0, 1, &[]))),
        ("a message byte by byte", then(http2_frame(0, 0, 1, &[0]))),
        ("pings", then(http2_frame(6, 0, 0, &[0; 8]))),
        ("settings", then(http2_frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("priorities", then(http2_frame(2, 0, 1, &[0, 0, 0, 0, 1]))),
        ("larger windows", then(http2_frame(8, 0, 0, &[0, 0, 0, 1]))),
        ("frames of an unknown kind", then(http2_frame(200, 0, 1, &[0; 16]))),
        ("resets of what never was", each(&|stream| http2_frame(3, 0, stream, &[0; 4]))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_neither_stops_nor_swells_the_process() {
    let served = Served::start();
    let nobody = ord::GetOrderRequest { order_id: super::nobody("ord_") }.encode_to_vec();
    for (what, flood) in floods() {
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut stream = served.port.connect().await;
            // It may be hung up on, or no longer be read from: nobody waits for it.
            let flood = [preface(), flood.clone()].concat();
            streams.push(tokio::spawn(async move {
                let _ = stream.write_all(&flood).await;
                stream
            }));
        }
        let answer = send(&served.port, GET, &nobody).await;
        assert_eq!(answer.code(), (tonic::Code::NotFound, "ORDER_NOT_FOUND".to_owned()), "amid {what}");
        for stream in &mut streams {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), stream).await;
        }
        let answer = send(&served.port, GET, &nobody).await;
        assert_eq!(answer.code(), (tonic::Code::NotFound, "ORDER_NOT_FOUND".to_owned()), "after {what}");
        let peak = served.peak();
        assert!(peak < MOST, "{what}: {peak} KiB");
        streams.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
