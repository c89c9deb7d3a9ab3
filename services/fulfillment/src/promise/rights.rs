//! Who may read and change a promise.

use domain::promise::token::Refusal;
use server::Principal;
use server::auth::kind;

use crate::error::Error;
use crate::store::promise::Stored;
use service::Call;

/// A promise is known to who asked for it, to services and to operators. To others it does not exist.
pub(crate) fn must_know(who: &Principal, promise: &Stored) -> Result<(), Error> {
    if is_ours(who) || who.as_str() == promise.owner {
        Ok(())
    } else {
        Err(Error::PromiseNotFound(promise.token.to_string()))
    }
}

fn is_ours(who: &Principal) -> bool {
    who.kind == kind::SERVICE || who.kind == kind::OPS
}

/// A promise that lasts is changed by its holder, by services and by operators. Its creator holds it until an order
/// takes it.
pub(crate) fn must_hold(call: &Call, promise: &Stored) -> Result<(), Error> {
    must_know(&call.who, promise)?;
    if is_ours(&call.who) || !promise.state.holds() {
        return Ok(());
    }
    match (promise.order(), &promise.taken_by) {
        (Some(order), _) => Err(Refusal::OtherOrder(order).into()),
        (None, Some(_)) => Err(Error::PromiseTaken(promise.token)),
        (None, None) => Ok(()),
    }
}

/// Lets a service that relies on a promise hold it from now on. Answers whether that is new.
pub(crate) fn take(call: &Call, promise: &mut Stored) -> bool {
    let is_new =
        call.is_service() && call.who.as_str() != promise.taken_by.as_deref().unwrap_or(&promise.owner);
    if is_new {
        promise.taken_by = Some(call.who.to_string());
    }
    is_new
}
