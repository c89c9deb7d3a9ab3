//! What is refused before it is looked at as a call: hosts that are not ours, and what is not gRPC.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

use crate::body::boxed;
use crate::reason;
use crate::status::{DOMAIN, status};

/// The hosts that callers may name, in `Host` or `:authority`.
///
/// A browser that was led to a name of somebody else's, which now resolves to this machine, sends that name: without
/// this check the page behind it could call everything that listens here. `localhost`, loopback addresses and the address
/// that the connection came to are always ours. Only browsers are led astray, and they always name a host: a
/// request without one is served.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: Arc<[String]>,
}

impl Hosts {
    /// Names in addition to those that are always ours: `orders.example.com`, `*.example.com`, or `*` for any.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(|name| name.as_ref().trim().to_ascii_lowercase());
        Self { names: names.filter(|name| !name.is_empty()).collect() }
    }

    /// The host of `request` that is not ours, if it names one; `local` is where its connection came to.
    pub(crate) fn foreign<B>(&self, request: &Request<B>, local: IpAddr) -> Option<String> {
        let named = request.uri().authority().map(|authority| Ok(authority.as_str()));
        let hosts = request.headers().get_all(header::HOST).iter().map(HeaderValue::to_str);
        named.into_iter().chain(hosts).find_map(|host| match host {
            Ok(host) if host.is_empty() || self.is_ours(host, local) => None,
            Ok(host) => Some(host.chars().take(100).collect()),
            Err(_) => Some("not ASCII text".to_owned()),
        })
    }

    fn is_ours(&self, host: &str, local: IpAddr) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let host = authority.host().to_ascii_lowercase();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|ip| ip.is_loopback() || ip == local.to_canonical()) || host == "localhost" {
            return true;
        }
        self.names.iter().any(|name| match name.strip_prefix('*') {
            Some(rest) => host.ends_with(rest),
            None => host == *name,
        })
    }
}

/// The answer to a request that no service may see; `local` is where its connection came to.
pub(crate) fn refusal<B>(request: &Request<B>, hosts: &Hosts, local: IpAddr) -> Option<Response<Body>> {
    if let Some(host) = hosts.foreign(request, local) {
        return Some(misdirected(&host, is_grpc(request)));
    }
    // a preflight is answered by the layer below
    if request.method() == Method::OPTIONS || is_grpc(request) { None } else { Some(not_grpc()) }
}

/// What to say to a host that is not ours.
pub(crate) fn misdirected_text(host: &str) -> String {
    format!("this server does not serve the host `{host}`; add it to the setting server.hosts")
}

fn misdirected(host: &str, is_grpc: bool) -> Response<Body> {
    metrics::counter!("grpc_server_shed_total", "limit" => "HOSTS").increment(1);
    let text = misdirected_text(host);
    let mut response = if is_grpc {
        let facts = [("host".to_owned(), host.to_owned())];
        status(reason::HOST_NOT_SERVED, DOMAIN, text, facts).into_http()
    } else {
        plain(format!("{text}\n"))
    };
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    request.method() == Method::POST && kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn not_grpc() -> Response<Body> {
    let mut response = plain(
        "This port speaks gRPC and gRPC-Web, not JSON over HTTP.\n\
         Call it with a client made from the .proto files, or try it with grpcurl, which reads them from this port:\n\
         \n\
         \x20 grpcurl -plaintext HOST:PORT list\n\
         \x20 grpcurl -plaintext -d '{\"page_size\": 1}' HOST:PORT entrepot.orders.v1.OrderService/ListOrders\n\
         \n\
         Raw calls are POST requests with content-type application/grpc or application/grpc-web.\n"
            .to_owned(),
    );
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn plain(text: String) -> Response<Body> {
    let mut response = Response::new(boxed(Full::from(text)));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn named(host: &str) -> Request<()> {
        Request::post("/x").header(header::HOST, host).body(()).unwrap()
    }

    #[test]
    fn loopback_and_the_address_of_the_connection_are_ours() {
        let hosts = Hosts::default();
        for host in
            ["localhost", "LocalHost:7400", "127.0.0.1", "127.8.8.8:1", "[::1]:7400", "10.0.0.7:7400", ""]
        {
            assert_eq!(hosts.foreign(&named(host), LOCAL), None, "{host}");
        }
        for host in
            ["evil.example", "10.0.0.8", "localhost.evil.example", "[::2]", "a b", "127.0.0.1.evil.example"]
        {
            assert!(hosts.foreign(&named(host), LOCAL).is_some(), "{host}");
        }
        let without = Request::get("/livez").body(()).unwrap();
        assert_eq!(hosts.foreign(&without, LOCAL), None);
    }

    #[test]
    fn names_of_the_setting_are_ours_too() {
        let hosts = Hosts::new(["orders", " Shop.Example.com ", "*.internal"]);
        for host in ["orders:7400", "shop.example.com", "a.b.internal"] {
            assert_eq!(hosts.foreign(&named(host), LOCAL), None, "{host}");
        }
        for host in ["order", "orders.example", "internal", "x.shop.example.com"] {
            assert!(hosts.foreign(&named(host), LOCAL).is_some(), "{host}");
        }
        assert_eq!(Hosts::new(["*"]).foreign(&named("anything.example"), LOCAL), None);
    }

    #[test]
    fn both_the_authority_and_each_host_header_must_be_ours() {
        let hosts = Hosts::default();
        let authority = Request::post("http://evil.example/x").header(header::HOST, "localhost").body(());
        assert!(hosts.foreign(&authority.unwrap(), LOCAL).is_some());
        let two = Request::post("/x")
            .header(header::HOST, "localhost")
            .header(header::HOST, "evil.example")
            .body(());
        assert!(hosts.foreign(&two.unwrap(), LOCAL).is_some());
    }

    #[test]
    fn a_call_for_another_host_is_refused_in_the_words_of_its_protocol() {
        let call = Request::post("http://evil.example/x").header(header::CONTENT_TYPE, "application/grpc");
        let answer = refusal(&call.body(()).unwrap(), &Hosts::default(), LOCAL).unwrap();
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(
            tonic::Status::from_header_map(answer.headers()).unwrap().code(),
            tonic::Code::PermissionDenied
        );
        let page = Request::get("http://localhost/").body(()).unwrap();
        let answer = refusal(&page, &Hosts::default(), LOCAL).unwrap();
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let preflight = Request::options("http://localhost/x").body(()).unwrap();
        assert!(refusal(&preflight, &Hosts::default(), LOCAL).is_none());
    }
}
