//! CLOCKS: how long each waiting state lasts.

use jiff::SignedDuration;

use super::{Check, days, hours, minutes};
use crate::fulfillment::stage::{Counts, Step};
use crate::policy::scope::Scope;

body! {
    /// What a version says about clocks.
    ClocksBody,
    /// The clocks that apply to a thing. A clock that runs keeps its end, whatever version comes later.
    Clocks {
        /// In which a node accepts an offer.
        accept: SignedDuration,
        /// How long ready goods are kept for the customer.
        keep: SignedDuration,
        /// After the goods were ready, when the customer is reminded; zero: never.
        first_reminder: SignedDuration,
        /// The same for the second reminder.
        second_reminder: SignedDuration,
        /// In which goods of ended work are put back.
        put_back: SignedDuration,
        /// After the promised time, when unfinished work ends by itself.
        resolve: SignedDuration,
        /// Opening time that a keep time which would end while the node is shut reaches into the next opening.
        min_open: SignedDuration,
        /// In which goods that left the node reach the customer.
        transit: SignedDuration,
        /// In which a prepaid order is paid.
        payment: SignedDuration,
        /// How much longer a payment still takes the stock again.
        payment_grace: SignedDuration,
        /// In which a customer answers the options of a need.
        need_answer: SignedDuration,
        /// Share of a step's time after which it is at risk, in percent.
        at_risk_percent: i32,
    }
}

impl ClocksBody {
    pub(super) fn check(&self, scope: &Scope, check: &mut Check) {
        let counts = scope.method.and_then(|method| method.rules().clock_of(Step::Accept));
        let runs_always = counts.is_some_and(|(_, clock)| clock.counts != Counts::OpeningTime);
        let least = if runs_always { SignedDuration::from_secs(5) } else { minutes(1) };
        check.length("accept", self.accept, least, days(7));
        check.length("keep", self.keep, hours(1), days(60));
        check.length("put_back", self.put_back, hours(1), days(30));
        check.length("resolve", self.resolve, hours(1), days(60));
        check.length("min_open", self.min_open, SignedDuration::ZERO, hours(24));
        check.length("transit", self.transit, minutes(1), days(60));
        check.length("payment", self.payment, minutes(1), days(30));
        check.length("payment_grace", self.payment_grace, SignedDuration::ZERO, hours(24));
        check.length("need_answer", self.need_answer, minutes(1), days(30));
        check.number("at_risk_percent", self.at_risk_percent, 1, 99);
        let keep = self.keep.unwrap_or(days(60));
        for (field, reminder) in
            [("first_reminder", self.first_reminder), ("second_reminder", self.second_reminder)]
        {
            let Some(reminder) = reminder else { continue };
            if reminder.is_negative() || reminder >= keep {
                check.fault(field, "must be shorter than keep, or 0 for never");
            }
        }
        if let (Some(first), Some(second)) = (self.first_reminder, self.second_reminder)
            && second.is_positive()
            && second <= first
        {
            check.fault("second_reminder", "must be later than first_reminder, or 0 for never");
        }
    }
}
