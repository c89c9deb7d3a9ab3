//! Money at the handover: what orders say is due, and what a store says was paid.

use contract::fulfillment::v1 as pb;
use contract::google::r#type::Money as PbMoney;
use contract::orders::v1 as orders;
use domain::fulfillment::{AtHandover, Payment};
use domain::money::{Currency, Money};
use service::Fields;
use service::wire::money;

use crate::error::Error;

/// An amount on the wire.
pub(crate) fn amount(amount: Money) -> PbMoney {
    money(amount.minor, amount.currency)
}

/// A payment as events have it.
pub(crate) fn hand_over_payment(payment: &Payment) -> pb::HandOverPayment {
    pb::HandOverPayment {
        kind: payment.kind.clone(),
        amount: Some(amount(payment.amount)),
        provider_ref: payment.provider_ref.clone(),
    }
}

/// The payment that a store reports with a handover.
pub(super) fn payment(fields: &mut Fields, given: &pb::HandOverPayment) -> Option<Payment> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let is_kind = (1..=32).contains(&given.kind.len()) && given.kind.bytes().all(is_plain);
    fields.check(is_kind, "payment.kind", "must be 1 to 32 of a-z 0-9 _");
    let currency = fields.currency("payment.amount", given.amount.as_ref());
    let minor = currency.and_then(|_| fields.minor("payment.amount", given.amount.as_ref(), currency));
    fields.check(minor.is_none_or(|minor| minor > 0), "payment.amount", "must be more than 0");
    let provider_ref = fields.text("payment.provider_ref", &given.provider_ref, 128);
    let amount = Money::new(minor?, currency?);
    Some(Payment { kind: given.kind.clone(), amount, provider_ref })
}

/// An amount of an event, at least 0.
pub(crate) fn due(amount: &PbMoney) -> Result<Money, Error> {
    let corrupt = |why: &dyn std::fmt::Display| {
        let PbMoney { currency_code, units, nanos } = amount;
        Error::corrupt(format!("an event whose amount due is {units} {nanos:09} {currency_code:?}: {why}"))
    };
    let read = Currency::new(&amount.currency_code)
        .and_then(|currency| Money::from_units(amount.units, amount.nanos, currency))
        .map_err(|why| corrupt(&why))?;
    if read.minor < 0 { Err(corrupt(&"it is negative")) } else { Ok(read) }
}

/// What the work of a leg is to bring in at its handovers, with the price of each line. None: nothing is due there.
pub(crate) fn at_handover(work: &orders::WorkRequest) -> Result<(Option<AtHandover>, Vec<i64>), Error> {
    let corrupt = |why: &str| Error::corrupt(format!("work {} was released, but {why}", work.fulfillment_id));
    let lines = work.lines.iter().map(|line| line.due.as_ref().map(due).transpose());
    let lines = lines.collect::<Result<Vec<Option<Money>>, Error>>()?;
    let total = work.due.as_ref().map(due).transpose()?;
    let prices: Vec<i64> = lines.iter().map(|due| due.map_or(0, |due| due.minor)).collect();
    let mut amounts = lines.iter().flatten().chain(&total);
    let Some(Money { currency, .. }) = amounts.next().copied() else { return Ok((None, prices)) };
    if amounts.any(|amount| amount.currency != currency) {
        return Err(corrupt("what is due has two currencies"));
    }
    let all = prices.iter().try_fold(0_i64, |sum, price| sum.checked_add(*price));
    let covered = all.and_then(|all| all.checked_sub(total.map_or(0, |due| due.minor)));
    let Some(covered_minor) = covered.filter(|covered| *covered >= 0) else {
        return Err(corrupt("more is due for it than its lines cost"));
    };
    Ok((Some(AtHandover { currency, covered_minor, collected_minor: 0 }), prices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pounds(units: i64) -> PbMoney {
        PbMoney { currency_code: "GBP".to_owned(), units, nanos: 0 }
    }

    fn work(due: impl Into<Option<PbMoney>>, lines: &[Option<PbMoney>]) -> orders::WorkRequest {
        let line = |due: &Option<PbMoney>| orders::WorkLine { due: due.clone(), ..Default::default() };
        orders::WorkRequest { due: due.into(), lines: lines.iter().map(line).collect(), ..Default::default() }
    }

    #[test]
    fn what_is_paid_already_covers_the_lines() {
        let covered = |work| at_handover(&work).unwrap().0.map(|at| at.covered_minor);
        assert_eq!(covered(work(None, &[None, None])), None);
        assert_eq!(covered(work(pounds(30), &[Some(pounds(10)), Some(pounds(20))])), Some(0));
        assert_eq!(covered(work(pounds(5), &[Some(pounds(10)), Some(pounds(20))])), Some(2_500));
        assert_eq!(covered(work(None, &[Some(pounds(10)), None])), Some(1_000));
    }

    #[test]
    fn amounts_that_do_not_fit_together_are_unreadable() {
        let euros = PbMoney { currency_code: "EUR".to_owned(), units: 1, nanos: 0 };
        let unknown = PbMoney { currency_code: "XXX".to_owned(), units: 1, nanos: 0 };
        let most = Some(pounds(i64::MAX / 100));
        for bad in [
            work(pounds(31), &[Some(pounds(30))]),
            work(pounds(1), &[None]),
            work(euros, &[Some(pounds(1))]),
            work(unknown, &[Some(pounds(1))]),
            work(pounds(-1), &[Some(pounds(1))]),
            work(None, &[most.clone(), most]),
        ] {
            assert!(at_handover(&bad).is_err(), "{bad:?}");
        }
    }
}
