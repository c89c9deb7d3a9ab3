//! What a line costs, component by component, and what its pieces have of each.

use super::row::Component;
use super::share::Share;
use crate::id::LineNo;
use crate::money::split;
use crate::order::{Charge, Line};

/// When a part of the price goes back with pieces that the customer does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReturnRule {
    /// Each piece gives back its part.
    ProRata,
    /// With the last piece: once no piece of the order is delivered or still to come.
    WithLastPiece,
    /// Never.
    Kept,
}

impl ReturnRule {
    /// Every rule.
    pub const ALL: [Self; 3] = [Self::ProRata, Self::WithLastPiece, Self::Kept];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProRata => "PRO_RATA",
            Self::WithLastPiece => "WITH_LAST_PIECE",
            Self::Kept => "KEPT",
        }
    }

    /// The rule of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// One component of what a line costs: what it adds to the components that were spread before it. So the first pieces of a
/// line bear what a division leaves over, of the sum of the components as of each by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub component: Component,
    /// When it goes back.
    pub rule: ReturnRule,
    with: Share,
    without: Share,
}

impl Part {
    /// What some pieces have of it, in minor units; a discount is negative. `first` counts from 1.
    pub fn of(&self, first: i64, units: i64) -> i64 {
        let range = |share: &Share| share.of(first - 1 + units) - share.of(first - 1);
        range(&self.with) - range(&self.without)
    }
}

/// The components of a line, one on top of the other.
struct Pile {
    pieces: i64,
    height_minor: i64,
    parts: Vec<Part>,
}

impl Pile {
    /// Spreads an amount, which may be negative, on top of what is there.
    fn add(&mut self, component: Component, minor: i64) {
        if minor != 0 {
            let [without, with] = [0, minor].map(|more| Share::new(self.height_minor + more, self.pieces));
            self.height_minor += minor;
            self.parts.push(Part { component, rule: ReturnRule::ProRata, with, without });
        }
    }

    /// Spreads an amount by itself: it does not go back piece by piece.
    fn beside(&mut self, component: Component, rule: ReturnRule, minor: i64) {
        let [without, with] = [0, minor].map(|minor| Share::new(minor, self.pieces));
        self.parts.push(Part { component, rule, with, without });
    }
}

/// What all lines of an order cost, component by component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    lines: Vec<(LineNo, i64, Vec<Part>)>,
}

impl Parts {
    /// The components of a line; none: the order has no such line.
    pub fn line(&self, no: LineNo) -> &[Part] {
        self.lines.binary_search_by_key(&no, |(no, ..)| *no).map_or(&[], |at| &self.lines[at].2)
    }

    /// All lines, with their pieces and components.
    pub(super) fn lines(&self) -> impl Iterator<Item = (LineNo, i64, &[Part])> {
        self.lines.iter().map(|(no, pieces, parts)| (*no, *pieces, parts.as_slice()))
    }

    /// What some pieces of a line cost with everything, in minor units.
    pub fn price(&self, no: LineNo, first: i64, units: i64) -> i64 {
        self.line(no).iter().map(|part| part.of(first, units)).sum()
    }
}

/// What lines and charges cost. The lines are in the order of their numbers. The parts of all lines sum to the total.
pub fn parts(lines: &[Line], charges: &[Charge]) -> Parts {
    let totals: Vec<i64> = lines.iter().map(|line| line.total_minor).collect();
    let spread: Vec<(&Charge, Vec<i64>)> =
        charges.iter().map(|charge| (charge, split(charge.amount_minor, &totals))).collect();
    let of_line = |(at, line): (usize, &Line)| {
        let mut pile = goods(line);
        for (charge, spread) in spread.iter().filter(|(_, spread)| spread[at] != 0) {
            let component = Component::Charge(charge.code.clone());
            match charge.rule {
                ReturnRule::ProRata => pile.add(component, spread[at]),
                rule @ (ReturnRule::WithLastPiece | ReturnRule::Kept) => {
                    pile.beside(component, rule, spread[at]);
                }
            }
        }
        (line.no, line.amounts.quantity, pile.parts)
    };
    Parts { lines: lines.iter().enumerate().map(of_line).collect() }
}

/// What the pieces of a line cost without charges. No piece costs less than nothing, as no discount is more than what it is
/// taken off.
fn goods(line: &Line) -> Pile {
    let amounts = &line.amounts;
    let included = if amounts.tax_included { amounts.tax } else { 0 };
    let mut pile = Pile { pieces: amounts.quantity, height_minor: 0, parts: Vec::new() };
    pile.add(Component::Goods, amounts.unit_price * amounts.quantity - included);
    let goods = pile.parts.pop();
    for (promotion, minor) in &line.promotions {
        pile.add(Component::Discount(promotion.clone()), -minor);
    }
    let named: i64 = line.promotions.iter().map(|(_, minor)| minor).sum();
    pile.add(Component::Discount(String::new()), named - amounts.discount);
    // Discounts come first, so that a price that is cut into two amounts has them in the first.
    pile.parts.extend(goods);
    pile.add(Component::Tax, amounts.tax);
    pile
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Sku;
    use crate::order::{Amounts, Buckets, Own};

    fn line(no: LineNo, amounts: Amounts, promotions: &[(&str, i64)]) -> Line {
        Line {
            no,
            sku: Sku::new("sku").unwrap(),
            name: String::new(),
            amounts,
            total_minor: amounts.total().unwrap(),
            promotions: promotions.iter().map(|(name, minor)| ((*name).to_owned(), *minor)).collect(),
            own: Own::default(),
            buckets: Buckets::default(),
            cancel_requested: 0,
            cancel_reason: String::new(),
        }
    }

    fn charge(code: &str, amount_minor: i64, rule: ReturnRule) -> Charge {
        Charge { code: code.to_owned(), description: String::new(), amount_minor, rule }
    }

    /// What each piece costs is frozen: a later version must spread these amounts alike.
    #[test]
    fn the_pieces_of_a_line_have_these_parts() {
        let amounts = Amounts { unit_price: 1_000, quantity: 3, discount: 500, tax: 416, tax_included: true };
        let other = Amounts { unit_price: 999, quantity: 1, discount: 0, tax: 0, tax_included: true };
        let lines = [line(1, amounts, &[("SUMMER", 250), ("LOYAL", 200)]), line(2, other, &[])];
        let charges = [charge("POSTAGE", 499, ReturnRule::WithLastPiece), charge("BAG", 5, ReturnRule::Kept)];
        let parts = parts(&lines, &charges);
        let of = |no, piece| -> Vec<(String, i64)> {
            parts.line(no).iter().map(|part| (part.component.to_string(), part.of(piece, 1))).collect()
        };
        let row = |amounts: [i64; 7]| -> Vec<(String, i64)> {
            let names = [
                "DISCOUNT:SUMMER",
                "DISCOUNT:LOYAL",
                "DISCOUNT:",
                "GOODS",
                "TAX",
                "CHARGE:POSTAGE",
                "CHARGE:BAG",
            ];
            names.map(str::to_owned).into_iter().zip(amounts).collect()
        };
        assert_eq!(of(1, 1), row([-84, -66, -17, 862, 139, 119, 2]));
        assert_eq!(of(1, 2), row([-83, -67, -16, 861, 138, 119, 1]));
        assert_eq!(of(1, 3), row([-83, -67, -17, 861, 139, 119, 1]));
        let single = [("GOODS", 999), ("CHARGE:POSTAGE", 142), ("CHARGE:BAG", 1)];
        assert_eq!(of(2, 1), single.map(|(name, minor)| (name.to_owned(), minor)));
        assert_eq!(parts.price(1, 1, 3) + parts.price(2, 1, 1), 2_500 + 999 + 499 + 5);
    }

    proptest! {
        #[test]
        fn no_piece_costs_less_than_nothing(
            unit_price in 0_i64..50,
            quantity in 1_i64..20,
            named in prop::collection::vec(1_i64..200, 0..5),
            rest in 0_i64..100,
            tax in 0_i64..=100,
            tax_included in any::<bool>(),
        ) {
            let gross = unit_price * quantity;
            let mut left = gross;
            let take = |wanted: i64, left: &mut i64| {
                let taken = wanted.min(*left);
                *left -= taken;
                taken
            };
            let named: Vec<i64> = named.into_iter().map(|minor| take(minor, &mut left)).filter(|minor| *minor > 0).collect();
            let discount = named.iter().sum::<i64>() + take(rest, &mut left);
            let tax = left * tax / 100;
            let amounts = Amounts { unit_price, quantity, discount, tax, tax_included };
            let names: Vec<String> = (0..named.len()).map(|i| format!("p{i}")).collect();
            let named: Vec<(&str, i64)> = names.iter().map(String::as_str).zip(named).collect();
            let line = line(1, amounts, &named);
            let total = line.total_minor;
            let parts = parts(&[line], &[]);
            let prices: Vec<i64> = (1..=quantity).map(|piece| parts.price(1, piece, 1)).collect();
            prop_assert!(prices.iter().all(|price| *price >= 0), "{:?}", prices);
            prop_assert_eq!(prices.iter().sum::<i64>(), total);
            // A node that is paid piece by piece knows the total alone.
            for pieces in 0..=quantity {
                prop_assert_eq!(parts.price(1, 1, pieces), Share::new(total, quantity).of(pieces));
            }
        }
    }
}
