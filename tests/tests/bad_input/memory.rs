//! The memory of a process under a crowd of hostile requests.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::task::JoinSet;

use super::raw::{Port, call, empties, frame, framed, gzip, headers};

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

/// The most that the process may grow to, in KiB. A message of 256 KiB of empty messages is some 50 MiB of them once
/// read; as many are read at once as there are threads.
const MOST: u64 = 384 * 1024;

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
