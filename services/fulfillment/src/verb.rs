//! What the doors read before a verb: who asks, under which request id, for what.

use prost::Message;
use server::Principal;
use service::{Call, Fault, Fields};

use crate::error::Error;

/// Reads who asks for `verb` with this request.
pub(crate) fn call(
    principal: &Principal,
    verb: &str,
    request: &impl Message,
    request_id: &str,
) -> Result<Call, Error> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, principal, verb, request_id, request);
    Ok(fields.finish(call)?)
}

/// Two parts of a request, or all that is wrong with both.
pub(crate) fn both<A, B>(
    one: Result<A, impl Into<Error>>,
    other: Result<B, impl Into<Error>>,
) -> Result<(A, B), Error> {
    match (one.map_err(Into::into), other.map_err(Into::into)) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Error::Fault(Fault::Invalid(mut bad))), Err(Error::Fault(Fault::Invalid(more)))) => {
            bad.extend(more);
            Err(Fault::Invalid(bad).into())
        }
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}
