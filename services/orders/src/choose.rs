//! Choosing a way out of a need: what was quoted is held now, or the pieces wait or are dropped.

use contract::orders::v1 as pb;
use domain::id::{NeedId, OptionId};
use domain::order::seek::not_before;
use domain::order::{Changed, Choice, Group, Need, NeedState, OptionKind, Order, Quote, Refusal, Span};
use domain::time::{Timestamp, after_ms};
use server::Principal;

use crate::command::Choose;
use crate::error::Error;
use crate::hold::{Held, NodeLimits, Wanted, WantedGroup};
use crate::reply::{Reply, uses};
use crate::seek::{Seen, refusal};
use crate::{Orders, rights, steps, store};

/// How often the order is looked at again when it changed while stock was being held for it.
const ATTEMPTS: u32 = 3;
/// How much earlier than quoted the goods may be ready, in milliseconds.
const EARLIER_MS: i64 = 60 * 60_000;

impl Orders {
    /// Takes an option.
    pub(crate) async fn choose(
        &self,
        command: Choose,
        caller: &Principal,
    ) -> Result<pb::ChooseOptionResponse, Error> {
        if let Some(reply) = command.call.saved(&self.db).await? {
            return Ok(reply);
        }
        for _ in 0..ATTEMPTS {
            let now = self.clock.business();
            let seen = self.find_as_of(command.order, now).await?;
            rights::must_own(caller, &seen)?;
            let (need, choice) = self.chosen(&seen, command.option, now).await?;
            let held = match &choice.place {
                None => None,
                Some(quote) => match self.hold_chosen(&seen, need, choice.kind, quote, &command, now).await {
                    Ok(held) => Some(held),
                    // A duplicate of this call was faster, and the order has what it held.
                    Err(Error::PromiseTaken) => continue,
                    Err(error) => {
                        let Some(reason) = refusal(&error) else { return Err(error) };
                        return Err(self.gone(&seen, need.id, reason, now).await);
                    }
                },
            };
            let as_seen = Seen::of(need);
            let write = || self.write_choice(&command, &as_seen, choice, held.as_ref(), caller, now);
            let written = db::retry(3, Error::is_retry, write).await;
            if let Some(held) = &held
                && !written.as_ref().is_ok_and(|reply| uses(reply, held.token))
            {
                self.release_unless_used(held.token, command.order).await;
            }
            match written {
                Err(Error::ChangedMeanwhile) => {}
                Ok(reply) => {
                    self.watchers.wake(&command.order.uuid());
                    return Ok(reply);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::ChangedMeanwhile)
    }

    /// The option, and the need that it is a way out of.
    async fn chosen<'a>(
        &self,
        order: &'a Order,
        option: OptionId,
        now: Timestamp,
    ) -> Result<(&'a Need, &'a Choice), Error> {
        let found = order.needs.iter().find_map(|need| Some((need, need.option(option)?)));
        if let Some((need, choice)) = found {
            if choice.valid_until <= now {
                return Err(self.gone(order, need.id, "EXPIRED".to_owned(), now).await);
            }
            return Ok((need, choice));
        }
        // One that was offered before, and not any more.
        let mut tx = self.db.read().await?;
        let number = store::need_of_option(&mut tx, order.id, option).await?;
        drop(tx);
        let need = number.and_then(|no| order.need_no(no));
        let need = need.ok_or(Error::OptionNotFound(option))?;
        Err(match need.state() {
            NeedState::Seeking | NeedState::Asked => {
                Error::OptionGone { need: need.id, reason: "NOT_OFFERED_ANY_MORE".to_owned() }
            }
            state @ (NeedState::Sourced | NeedState::Dropped) => {
                Refusal::NeedOver { need: need.id, state }.into()
            }
        })
    }

    /// An option is gone: others are looked for at once.
    async fn gone(&self, order: &Order, need: NeedId, reason: String, now: Timestamp) -> Error {
        let sooner = self.adjust(order.id, |order| order.seek_again(need, now)).await;
        if let Err(error) = sooner {
            tracing::warn!(order_id = %order.id, need_id = %need, %error, "other options are looked for later");
        }
        Error::OptionGone { need, reason }
    }

    /// Holds what was quoted: at that node, by that method, at about that time. All of it but the pieces is stored, and the
    /// request ids are made of it: the same call finds what it held before.
    async fn hold_chosen(
        &self,
        order: &Order,
        need: &Need,
        kind: OptionKind,
        quote: &Quote,
        command: &Choose,
        now: Timestamp,
    ) -> Result<Held, Error> {
        let group = order.group(need.group).ok_or(Error::ChangedMeanwhile)?;
        let latest = quote.latest();
        let floor = not_before(order, need, kind).unwrap_or(Timestamp::MIN);
        let from = after_ms(quote.window.start, -EARLIER_MS).max(floor).min(after_ms(latest, -1));
        let group = Group {
            method: quote.method,
            node: Some(quote.node.clone()),
            wanted: Some(Span { start: from, end: latest }),
            not_later_than: Some(latest),
            ..group.clone()
        };
        let wanted = WantedGroup { group, lines: need.open(), limits: NodeLimits::default() };
        let key = format!("orders.choose/{}/{}", command.call.scope, command.call.id);
        let until = after_ms(now, self.config.hold_ms(None));
        self.hold_by_body(&key, &Wanted::of_groups(order, vec![wanted]), until, now).await
    }

    async fn write_choice(
        &self,
        command: &Choose,
        seen: &Seen,
        choice: &Choice,
        held: Option<&Held>,
        caller: &Principal,
        now: Timestamp,
    ) -> Result<pb::ChooseOptionResponse, Error> {
        let chosen = |order: Order| {
            let changed = self.take(order, seen, choice.kind, held, now)?;
            let note = steps::note("OPTION_CHOSEN", words_of(choice), caller.actor(), now);
            let reply = Reply::of(&changed.order);
            Ok((changed, Some(note), reply))
        };
        self.write_by(&command.call, command.order, caller, now, chosen).await
    }

    fn take(
        &self,
        order: Order,
        seen: &Seen,
        kind: OptionKind,
        held: Option<&Held>,
        now: Timestamp,
    ) -> Result<Changed, Error> {
        let need = seen.need();
        let is_open = order.need(need).is_some_and(Need::is_open);
        if is_open && !seen.has_same_pieces(&order) {
            return Err(Error::ChangedMeanwhile);
        }
        Ok(match (held, kind) {
            (Some(held), _) => order.reroute(need, held.legs.clone(), now)?,
            (None, OptionKind::Drop) => order.choose_drop(need, now)?,
            (None, OptionKind::Wait | OptionKind::OtherNode | OptionKind::OtherMethod) => {
                let policy = self.policy_of_need(&order, need, now);
                order.choose_wait(need, &policy, now)?
            }
        })
    }
}

/// What was chosen, for people.
fn words_of(choice: &Choice) -> String {
    match (&choice.place, choice.kind) {
        (Some(quote), _) => {
            let method = domain::words::plain(quote.method.name());
            format!("{method} at {}, ready at {}", quote.node, quote.window.start)
        }
        (None, OptionKind::Drop) => "the pieces are not wanted any more".to_owned(),
        (None, OptionKind::Wait | OptionKind::OtherNode | OptionKind::OtherMethod) => {
            "the customer waits longer".to_owned()
        }
    }
}
