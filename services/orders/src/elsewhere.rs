//! Orders that were sold elsewhere: what can be held of them is held now, and the rest is looked for at once.
//!
//! Group by group first: the refusal of a hold names the group that is in its way. Where goods are missing, only the lines
//! that cannot be had are left out of their group. Pieces of one line stay together.

use std::collections::{BTreeMap, BTreeSet};

use contract::fulfillment::v1 as pb;
use domain::fulfillment::method::Method;
use domain::id::LineNo;
use domain::order::{Asked, Bounds, Draft, Missing};
use domain::policy;
use domain::time::Timestamp;
use tonic::Code;

use crate::command::Place;
use crate::error::Error;
use crate::error::reason::{LATER_THAN_WANTED, NOT_HELD};
use crate::hold::{NodeLimits, Wanted, WantedGroup};
use crate::{Orders, wire};

/// How often a hold is asked for: after that everything else is looked for.
const ROUNDS: usize = 20;
/// How often it is asked which lines of a group can be had: those that nobody asked about by then count as missing.
const MOST_ASKED: usize = 60;
/// Up to this many missing lines are looked for one by one; more of them group by group.
const ONE_BY_ONE: usize = 20;
/// The reason of goods that are not there.
const NO_STOCK: &str = "NO_STOCK";

/// Pieces per line.
type Lines = Vec<(LineNo, i64)>;

/// What is still to be held of an order, and what is left out.
struct Rest {
    groups: Vec<WantedGroup>,
    /// By group and reason.
    missing: BTreeMap<(u32, String), Lines>,
    /// The groups of which it was asked already what can be had.
    asked: BTreeSet<u32>,
}

/// Why a hold was refused.
struct No {
    /// The group that is in its way; none: all of them.
    group: Option<u32>,
    reason: String,
    /// The SKU that ran out, where it is named.
    sku: Option<String>,
}

impl Orders {
    /// Holds what can be held of a new order. Refused only for what repeating does not mend: its shape, unknown nodes and
    /// SKUs; and while a peer is away. The request ids are made of what is asked for, so that the same order finds what it
    /// held before. It counts for nobody's quota.
    pub(crate) async fn hold_what_can_be(
        &self,
        command: &Place,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Asked, Error> {
        let key = format!("orders.elsewhere/{}/{}", command.call.scope, command.call.id);
        let (book, channel) = (self.policies.book(), Some(command.draft.channel.as_str()));
        let said = |method| {
            book.sourcing(&policy::Asked { channel, method: Some(method), ..Default::default() }, now)
        };
        let mut rest = Rest::of(command, |method| Bounds::default().with(&said(method)).max_parts);
        let (mut held, mut last) = (None, NO_STOCK.to_owned());
        for _ in 0..ROUNDS {
            if rest.groups.is_empty() {
                break;
            }
            match self.hold_by_body(&key, &rest.wanted(&command.draft), until, now).await {
                Ok(found) => {
                    held = Some(found);
                    rest.groups.clear();
                }
                Err(error) => {
                    let no = No::read(&error).ok_or(error)?;
                    tracing::info!(channel = %command.draft.channel, number = %command.draft.channel_order_id,
                        group = ?no.group, reason = %no.reason, "an order that was sold elsewhere cannot be held whole");
                    self.leave_out(command, &mut rest, &no, now).await?;
                    last = no.reason;
                }
            }
        }
        rest.leave_all(&last);
        let (token, legs) = held.map_or((None, Vec::new()), |held| (Some(held.token), held.legs));
        Ok(Asked { groups: command.groups.clone(), legs, token, missing: rest.needs() })
    }

    /// Takes what was refused out of what is to be held.
    async fn leave_out(
        &self,
        command: &Place,
        rest: &mut Rest,
        no: &No,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(at) = rest.groups.iter().position(|wanted| Some(wanted.group.no) == no.group) else {
            rest.leave_all(&no.reason);
            return Ok(());
        };
        let wanted = &rest.groups[at];
        let mut lacking = Lines::new();
        if no.reason == NO_STOCK && wanted.lines.len() > 1 {
            let is_out = |line: &LineNo| sku_of(&command.draft, *line) == no.sku.as_deref();
            lacking.extend(wanted.lines.iter().filter(|(line, _)| no.sku.is_some() && is_out(line)));
            if lacking.is_empty() && rest.asked.insert(wanted.group.no) {
                lacking = self.lacking(command, wanted, now).await?;
            }
        }
        rest.leave(at, &lacking, &no.reason);
        Ok(())
    }

    /// The lines of a group that cannot be had, each by itself. Halves of the group are asked for, and halves of those.
    async fn lacking(&self, command: &Place, wanted: &WantedGroup, now: Timestamp) -> Result<Lines, Error> {
        let mut parts: Vec<&[(LineNo, i64)]> = halves(&wanted.lines).into();
        let (mut lacking, mut left) = (Lines::new(), MOST_ASKED);
        while let Some(part) = parts.pop() {
            if left == 0 {
                lacking.extend(part);
                continue;
            }
            left -= 1;
            if self.can_have(&command.draft, wanted, part, now).await? {
                continue;
            }
            match part {
                [] | [_] => lacking.extend(part),
                [..] => parts.extend(halves(part)),
            }
        }
        Ok(lacking)
    }

    /// Whether these lines of a group could be held now.
    async fn can_have(
        &self,
        draft: &Draft,
        wanted: &WantedGroup,
        part: &[(LineNo, i64)],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let group = &wanted.group;
        let line = |(line, quantity): &(LineNo, i64)| pb::CartLine {
            line: *line,
            sku: sku_of(draft, *line).unwrap_or_default().to_owned(),
            quantity: *quantity,
        };
        let request = pb::GetPromiseRequest {
            lines: part.iter().map(line).collect(),
            methods: vec![wire::method(group.method)],
            place: wire::place_of(group),
            node_id: group.node.as_ref().map(ToString::to_string).unwrap_or_default(),
            max_options: 1,
            wanted_window: group.wanted.filter(|window| window.end > now).map(wire::window),
            channel: draft.channel.clone(),
            ..pb::GetPromiseRequest::default()
        };
        Ok(!self.quotes(request).await?.is_empty())
    }
}

impl Rest {
    /// `most_parts`: the nodes that may share a group of a method.
    fn of(command: &Place, most_parts: impl Fn(Method) -> u32) -> Self {
        let wanted = |group: &domain::order::Group| {
            // More nodes may share what no node was chosen for.
            let parts = if group.node.is_none() { most_parts(group.method) } else { 1 };
            let limits = NodeLimits { parts, ..NodeLimits::default() };
            WantedGroup { group: group.clone(), lines: group.lines.clone(), limits }
        };
        let groups = command.groups.iter().map(wanted).collect();
        Self { groups, missing: BTreeMap::new(), asked: BTreeSet::new() }
    }

    /// What is to be held now, its lines in the order of the request.
    fn wanted(&self, draft: &Draft) -> Wanted {
        let mut pieces: BTreeMap<LineNo, i64> = BTreeMap::new();
        for (no, quantity) in self.groups.iter().flat_map(|wanted| &wanted.lines) {
            *pieces.entry(*no).or_default() += quantity;
        }
        let line = |line: &domain::order::DraftLine| {
            pieces.get(&line.no).map(|pieces| (line.no, line.sku.clone(), *pieces))
        };
        let cart = draft.lines.iter().filter_map(line).collect();
        Wanted { cart, groups: self.groups.clone(), channel: draft.channel.clone(), ..Wanted::default() }
    }

    /// Leaves lines of a group out; all of them, if there are none.
    fn leave(&mut self, at: usize, lacking: &Lines, reason: &str) {
        let group = &mut self.groups[at];
        let is_out = |line: &LineNo| lacking.is_empty() || lacking.iter().any(|(no, _)| no == line);
        let out = group.lines.extract_if(.., |(line, _)| is_out(line));
        self.missing.entry((group.group.no, reason.to_owned())).or_default().extend(out);
        if group.lines.is_empty() {
            self.groups.remove(at);
        }
    }

    fn leave_all(&mut self, reason: &str) {
        while !self.groups.is_empty() {
            self.leave(0, &Lines::new(), reason);
        }
    }

    /// What becomes needs. Goods that are missing come at different times, so a few of them are looked for one by one.
    fn needs(self) -> Vec<Missing> {
        let lacking = self.missing.iter().filter(|((_, reason), _)| reason == NO_STOCK);
        let is_few = lacking.map(|(_, lines)| lines.len()).sum::<usize>() <= ONE_BY_ONE;
        let mut needs = Vec::new();
        for ((group, reason), mut lines) in self.missing {
            lines.sort_unstable();
            let size = if is_few && reason == NO_STOCK { 1 } else { lines.len().max(1) };
            let need =
                |part: &[(LineNo, i64)]| Missing { group, lines: part.to_vec(), reason: reason.clone() };
            needs.extend(lines.chunks(size).map(need));
        }
        needs
    }
}

impl No {
    /// Why nothing can be held now, where the order is looked for all the same. None: it is refused, or sent again.
    fn read(error: &Error) -> Option<Self> {
        let of_group =
            |group, reason: &str| Self { group: Some(group), reason: reason.to_owned(), sku: None };
        match error {
            Error::Peer(answer) if answer.code() == Code::FailedPrecondition => {
                let reason = server::status::reason(answer)?;
                let mut facts = server::status::facts(answer);
                // A group that is refused for its shape, and what is not about a group at all.
                let is_shape = matches!(reason.as_str(), "UNKNOWN_NODE" | "UNKNOWN_SKU");
                let group = facts.get("group").filter(|_| !is_shape)?.parse().ok()?;
                Some(Self { sku: facts.remove("sku"), ..of_group(group, &reason) })
            }
            Error::LaterThanWanted { group, .. } => Some(of_group(*group, LATER_THAN_WANTED.name)),
            Error::NotHeld => Some(Self { group: None, reason: NOT_HELD.name.to_owned(), sku: None }),
            _ => None,
        }
    }
}

fn sku_of(draft: &Draft, no: LineNo) -> Option<&str> {
    draft.lines.iter().find(|line| line.no == no).map(|line| line.sku.as_str())
}

fn halves(lines: &[(LineNo, i64)]) -> [&[(LineNo, i64)]; 2] {
    let (first, second) = lines.split_at(lines.len() / 2);
    [first, second]
}
