//! Who calls, and what a refusal says.

use tonic::{Code, Request, Status};
use uuid::Uuid;

/// A UUID that nobody has.
pub fn v7() -> Uuid {
    Uuid::now_v7()
}

/// A request id that nobody used before.
pub fn fresh() -> String {
    v7().to_string()
}

/// A request in the name of `actor` (`kind/id`).
pub fn by<T>(actor: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(server::auth::ACTOR, actor.parse().unwrap());
    request
}

/// The reason of a refusal; empty if it has none.
pub fn reason(status: &Status) -> String {
    server::status::reason(status).unwrap_or_default()
}

/// The code and the reason of an answer that must be a refusal.
pub fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().unwrap();
    (status.code(), reason(&status))
}

/// The fields that a request was refused for.
pub fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    server::status::violations(status).into_iter().map(|violation| violation.field).collect()
}
