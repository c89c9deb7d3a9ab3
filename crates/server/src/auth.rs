//! Who is calling, and what they may call.
//!
//! In this version the caller names itself in the metadata `x-entrepot-actor: kind/id` and is believed, so the
//! listener must not be reachable by strangers (the binary refuses a non-loopback address unless a setting allows it). The table
//! of method -> kinds is checked all the same: it fails closed, and a served method without a row stops the start.

use std::collections::{HashMap, HashSet};
use std::fmt;

use tonic::Status;

use crate::methods::Methods;
use crate::reason;
use crate::status::{DOMAIN, status};

/// The metadata key in which a caller names itself.
pub const ACTOR: &str = "x-entrepot-actor";

/// The metadata key in which a caller names the person who acts for it: an opaque handle.
pub const STAFF: &str = "x-entrepot-staff";

/// The kinds of callers.
pub mod kind {
    /// A buyer, through a storefront that vouches for them.
    pub const CUSTOMER: &str = "customer";
    /// A sales channel: web shop, app, mini program, marketplace feed.
    pub const CHANNEL: &str = "channel";
    /// A store or warehouse and its terminals; the id is the node.
    pub const STORE: &str = "store";
    /// An operator.
    pub const OPS: &str = "ops";
    /// Another service of ours.
    pub const SERVICE: &str = "service";
    /// Somebody who carries goods; the id is the courier's or the partner's name for it.
    pub const COURIER: &str = "courier";
    /// A machine without a person: a locker, a gate, a scale.
    pub const DEVICE: &str = "device";
    /// A company that works for us: logistics, repair.
    pub const PARTNER: &str = "partner";
    /// A payment provider, or the service that speaks for one.
    pub const PAYMENT: &str = "payment";
    /// Nobody in particular.
    pub const ANONYMOUS: &str = "anonymous";
    /// All of them, for methods open to everyone.
    pub const ALL: &[&str] =
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, COURIER, DEVICE, PARTNER, PAYMENT, ANONYMOUS];
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// One of [`kind::ALL`].
    pub kind: String,
    /// Which one of that kind.
    pub id: String,
    /// `kind/id`, with `#staff` when a person was named.
    actor: String,
    /// How many bytes of it are `kind/id`.
    identity: usize,
}

impl Principal {
    /// A principal from its two parts; `kind` and `id` are taken as they are.
    pub fn new(kind: &str, id: &str) -> Self {
        let actor = format!("{kind}/{id}");
        Self { kind: kind.to_owned(), id: id.to_owned(), identity: actor.len(), actor }
    }

    /// The caller that did not say who it is.
    pub fn anonymous() -> Self {
        Self::new(kind::ANONYMOUS, "anonymous")
    }

    /// One of our own services.
    pub fn service(name: &str) -> Self {
        Self::new(kind::SERVICE, name)
    }

    /// Who sent this request.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        if let Some(known) = request.extensions().get::<Self>() {
            return known.clone();
        }
        Self::from_headers(request.metadata().as_ref()).unwrap_or_else(|_| Self::anonymous())
    }

    /// Reads `kind/id`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, id) = text.split_once('/').ok_or("expected kind/id, such as store/SH-001")?;
        if !kind::ALL.contains(&kind) {
            return Err(format!("the kind is not one of {}", kind::ALL.join(", ")));
        }
        // it goes into events: a mail address has no place there
        if id.contains('@') {
            return Err("the id must be an opaque handle, not a mail address".to_owned());
        }
        if !is_handle(id, 128) {
            return Err("the id must be 1 to 128 of A-Z a-z 0-9 . _ : + -".to_owned());
        }
        Ok(Self::new(kind, id))
    }

    /// `kind/id`: whose request it is, and whose promise.
    pub fn as_str(&self) -> &str {
        &self.actor[..self.identity]
    }

    /// Who did it, as it is kept with what was done: `kind/id`, or `kind/id#staff` when a person was named.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The member of staff that the caller named, an opaque handle.
    pub fn staff(&self) -> Option<&str> {
        self.actor[self.identity..].strip_prefix('#')
    }

    pub(crate) fn from_headers(headers: &http::HeaderMap) -> Result<Self, Status> {
        let mut principal = match only(headers, ACTOR)? {
            Some(text) => Self::parse(text).map_err(|why| unauthenticated(ACTOR, &why))?,
            None => Self::anonymous(),
        };
        if let Some(staff) = only(headers, STAFF)? {
            if !is_handle(staff, 64) {
                let why = "must be an opaque handle, 1 to 64 of A-Z a-z 0-9 . _ : + -";
                return Err(unauthenticated(STAFF, why));
            }
            principal.actor.push('#');
            principal.actor.push_str(staff);
        }
        Ok(principal)
    }
}

/// Whether a text can name somebody in events: an opaque handle of 1 to `most` characters, no mail address and no name.
pub fn is_handle(text: &str, most: usize) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:+-".contains(c);
    (1..=most).contains(&text.len()) && text.chars().all(plain)
}

/// The value of a header that may be given once.
fn only<'a>(headers: &'a http::HeaderMap, name: &str) -> Result<Option<&'a str>, Status> {
    let mut given = headers.get_all(name).iter();
    let Some(first) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(unauthenticated(name, "duplicate"));
    }
    first.to_str().map(Some).map_err(|_| unauthenticated(name, "is not ASCII text"))
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn unauthenticated(header: &str, why: &str) -> Status {
    status(reason::ACTOR_MALFORMED, DOMAIN, format!("metadata {header}: {why}"), [])
}

/// One row of the role table.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Full method name, `/entrepot.orders.v1.OrdersService/PlaceOrder`.
    pub method: &'static str,
    /// The kinds that may call it.
    pub kinds: &'static [&'static str],
    /// The caller must say who it is, also where callers who do not may call the other methods.
    pub must_be_named: bool,
}

impl Access {
    /// A row: `kinds` may call `method`.
    pub const fn to(method: &'static str, kinds: &'static [&'static str]) -> Self {
        Self { method, kinds, must_be_named: false }
    }

    /// A row: `kinds` may call `method`, and no caller that does not say who it is, whatever the settings allow.
    pub const fn named(method: &'static str, kinds: &'static [&'static str]) -> Self {
        Self { method, kinds, must_be_named: true }
    }
}

/// Why a role table cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// A served method that nobody may call: a row was forgotten.
    #[error("the method {0} has no row in the role table")]
    Missing(String),
    /// A row for a method that does not exist.
    #[error("the role table has a row for {0}, which no descriptor declares")]
    Unknown(String),
    /// Two rows for one method.
    #[error("the role table has two rows for {0}")]
    Twice(String),
    /// A row with a kind that no principal can have.
    #[error("the role table lets `{1}` call {0}, which is not a kind of caller")]
    Kind(String, String),
}

/// The role table: which kinds may call which method.
#[derive(Debug, Clone)]
pub struct Table {
    rows: HashMap<&'static str, Access>,
    anonymous_allowed: bool,
}

impl Table {
    /// Joins the rows of all services and checks them against the methods that are served: `services` are full
    /// names such as `entrepot.orders.v1.OrdersService`.
    pub fn new(
        rows: impl IntoIterator<Item = Access>,
        methods: &Methods,
        services: &[&str],
        anonymous_allowed: bool,
    ) -> Result<Self, TableError> {
        let mut table = HashMap::new();
        for row in rows {
            if methods.get(row.method).is_none() {
                return Err(TableError::Unknown(row.method.to_owned()));
            }
            if let Some(odd) = row.kinds.iter().find(|kind| !kind::ALL.contains(kind)) {
                return Err(TableError::Kind(row.method.to_owned(), (*odd).to_owned()));
            }
            if table.insert(row.method, row).is_some() {
                return Err(TableError::Twice(row.method.to_owned()));
            }
        }
        let served: HashSet<&str> = services.iter().copied().collect();
        let mut missing: Vec<&str> = methods
            .all()
            .filter(|(path, method)| served.contains(method.service.as_str()) && !table.contains_key(path))
            .map(|(path, _)| path)
            .collect();
        missing.sort_unstable();
        match missing.first() {
            Some(path) => Err(TableError::Missing((*path).to_owned())),
            None => Ok(Self { rows: table, anonymous_allowed }),
        }
    }

    /// Whether `principal` may call `method`.
    pub fn permits(&self, method: &str, principal: &Principal) -> bool {
        let Some(row) = self.rows.get(method) else {
            return false;
        };
        let anonymous = principal.kind == kind::ANONYMOUS && self.anonymous_allowed && !row.must_be_named;
        anonymous || row.kinds.contains(&principal.kind.as_str())
    }

    pub(crate) fn check(&self, method: &str, principal: &Principal) -> Result<(), Status> {
        if self.permits(method, principal) {
            return Ok(());
        }
        let facts =
            [("method".to_owned(), method.to_owned()), ("actor".to_owned(), principal.as_str().to_owned())];
        let text = format!("a caller of kind {} may not call {method}", principal.kind);
        Err(status(reason::CALLER_NOT_ALLOWED, DOMAIN, text, facts))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn an_actor_is_kind_slash_id() {
        let store = Principal::parse("store/SH-001").unwrap();
        assert_eq!(
            (store.kind.as_str(), store.id.as_str(), store.as_str()),
            ("store", "SH-001", "store/SH-001")
        );
    }

    #[test]
    fn a_malformed_actor_is_refused() {
        for bad in ["", "store", "store/", "king/1", "Store/1", "store/a b", "store/a/b", "store/\u{4e2d}"] {
            assert!(Principal::parse(bad).is_err(), "{bad:?}");
        }
        let personal = Principal::parse("customer/joe@example.com").unwrap_err();
        assert_eq!(personal, "the id must be an opaque handle, not a mail address");
        assert!(Principal::parse(&format!("store/{}", "x".repeat(129))).is_err());
    }

    #[test]
    fn a_person_who_acts_for_a_caller_is_named_with_what_was_done() {
        let mut headers = http::HeaderMap::new();
        headers.append(ACTOR, "store/SH-001".parse().unwrap());
        headers.append(STAFF, "st-17".parse().unwrap());
        let who = Principal::from_headers(&headers).unwrap();
        assert_eq!((who.as_str(), who.actor()), ("store/SH-001", "store/SH-001#st-17"));
        assert_eq!(Principal::parse("store/SH-001").unwrap().actor(), "store/SH-001");
        headers.insert(STAFF, "ann@example.com".parse().unwrap());
        let refused = Principal::from_headers(&headers).unwrap_err();
        assert!(refused.message().contains(STAFF), "{}", refused.message());
        headers.insert(STAFF, "st-17".parse().unwrap());
        headers.append(STAFF, "st-18".parse().unwrap());
        assert!(Principal::from_headers(&headers).is_err());
    }

    #[test]
    fn an_absent_actor_is_anonymous_and_two_are_refused() {
        let mut headers = http::HeaderMap::new();
        assert_eq!(Principal::from_headers(&headers).unwrap(), Principal::anonymous());
        headers.append(ACTOR, "store/1".parse().unwrap());
        assert_eq!(Principal::from_headers(&headers).unwrap().as_str(), "store/1");
        headers.append(ACTOR, "ops/1".parse().unwrap());
        assert_eq!(Principal::from_headers(&headers).unwrap_err().code(), Code::Unauthenticated);
    }
}
