//! Health, reflection, the role table and the admin port.

use futures_util::{StreamExt as _, stream};
use server::admin::{self, Readiness};
use server::auth::{Table, TableError};
use server::door::{self, Limits, Offer};
use server::methods::Methods;
use server::{Access, Door, Hosts, Principal, Shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::echo::{self, Echo};

#[tokio::test]
async fn health_follows_what_the_process_says() {
    let door = echo::door(&Echo::default(), &Limits::default(), &Shutdown::new());
    let mut client = HealthClient::new(door.peer());
    for (is_serving, expected) in [(true, ServingStatus::Serving), (false, ServingStatus::NotServing)] {
        door.set_serving(is_serving).await;
        for service in ["", echo::SERVICE] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = client.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), expected, "{service}");
        }
    }
}

#[tokio::test]
async fn health_needs_no_role_and_takes_gzip() {
    let strict = Limits { anonymous_allowed: false, ..Limits::default() };
    let door = echo::door(&Echo::default(), &strict, &Shutdown::new());
    let mut client =
        HealthClient::new(door.peer()).send_compressed(server::GZIP).accept_compressed(server::GZIP);
    assert!(client.check(HealthCheckRequest::default()).await.is_ok());
}

macro_rules! reflection_lists {
    ($version:ident, $door:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new($door.peer()).send_compressed(server::GZIP);
        let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let asked = stream::iter([
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned())),
            ask(MessageRequest::FileContainingSymbol("test.v1.EchoService".to_owned())),
        ]);
        let answers = client.server_reflection_info(asked).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(|a| a.unwrap().message_response.unwrap()).collect().await;
        let MessageResponse::ListServicesResponse(list) = &answers[0] else { panic!("{answers:?}") };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        assert!(
            names.contains(&"test.v1.EchoService") && names.contains(&"grpc.health.v1.Health"),
            "{names:?}"
        );
        for answer in &answers[1..] {
            assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
        }
    }};
}

#[tokio::test]
async fn reflection_speaks_both_versions_and_knows_the_error_details() {
    let door = echo::door(&Echo::default(), &Limits::default(), &Shutdown::new());
    reflection_lists!(v1, door);
    reflection_lists!(v1alpha, door);
}

#[test]
fn a_method_without_a_row_stops_the_start() {
    let methods = Methods::read(&[echo::descriptors()]).unwrap();
    let table = |rows: Vec<Access>| Table::new(rows, &methods, &[echo::SERVICE], true).map(|_| ());
    assert_eq!(table(echo::ACCESS.to_vec()), Ok(()));
    assert_eq!(table(echo::ACCESS[..2].to_vec()), Err(TableError::Missing(echo::WATCH.to_owned())));
    let odd = Access::to("/test.v1.EchoService/Sing", &["store"]);
    assert_eq!(table([&echo::ACCESS[..], &[odd]].concat()), Err(TableError::Unknown(odd.method.to_owned())));
    let twice = [&echo::ACCESS[..], &echo::ACCESS[..1]].concat();
    assert_eq!(table(twice), Err(TableError::Twice(echo::SAY.to_owned())));
    let king = Access::to(echo::SAY, &["king"]);
    assert_eq!(
        table(vec![king, echo::ACCESS[1], echo::ACCESS[2]]),
        Err(TableError::Kind(echo::SAY.to_owned(), "king".to_owned()))
    );
}

#[test]
fn a_row_for_named_callers_is_closed_to_those_who_do_not_say_who_they_are() {
    let methods = Methods::read(&[echo::descriptors()]).unwrap();
    let rows = [Access::named(echo::SAY, &["store", "service"]), echo::ACCESS[1], echo::ACCESS[2]];
    let nobody = Principal::anonymous();
    for allowed in [true, false] {
        let table = Table::new(rows, &methods, &[echo::SERVICE], allowed).unwrap();
        assert!(!table.permits(echo::SAY, &nobody));
        assert_eq!(table.permits(echo::LOOK, &nobody), allowed);
        assert!(table.permits(echo::SAY, &Principal::new("store", "SH-001")));
    }
}

#[test]
fn a_service_without_descriptors_stops_the_start() {
    let offer = Offer {
        routes: tonic::service::RoutesBuilder::default(),
        services: &["test.v1.Nobody"],
        descriptors: &[],
        access: Vec::new(),
    };
    let refused = Door::new(offer, &Limits::default(), Shutdown::new()).err().unwrap();
    assert!(matches!(refused, door::Error::Service(name) if name == "test.v1.Nobody"));
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_admin_port_tells_of_life_readiness_version_and_figures() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, stop) = (Shutdown::new(), Shutdown::new());
    let readiness = Readiness::new().check("database", || async { Ok("1 ms".to_owned()) });
    let served = tokio::spawn(admin::run(
        listener,
        Hosts::default(),
        readiness,
        "entrepot 0.1.0",
        shutdown.clone(),
        stop.clone(),
    ));
    server::telemetry::metrics();
    metrics::counter!("grpc_server_handled_total", "method" => "/a.B/C", "code" => "Ok").increment(1);

    assert!(get(address, "/livez").await.ends_with("ok\n"));
    assert!(get(address, "/readyz").await.contains("database: ok 1 ms"));
    assert!(get(address, "/version").await.ends_with("entrepot 0.1.0\n"));
    assert!(get(address, "/metrics").await.contains("grpc_server_handled_total"));

    shutdown.begin();
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    stop.begin();
    served.await.unwrap();
}

#[tokio::test]
async fn a_generated_client_over_a_peer_can_be_used_in_a_task() {
    let door = echo::door(&Echo::default(), &Limits::default(), &Shutdown::new());
    let peer = door.peer();
    let task =
        tokio::spawn(async move { HealthClient::new(peer).check(HealthCheckRequest::default()).await });
    assert!(task.await.unwrap().is_ok());
}
