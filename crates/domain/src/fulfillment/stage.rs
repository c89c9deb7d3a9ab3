//! Stages: the path of the units of a fulfillment order, as data of its method.
//!
//! A stage says where its units are, who reports that they came there, how long they may stay and what happens then, what
//! proves the step, what the customer hears, and whether the goods still are at the node. Nothing else in the workspace
//! knows the path of a method: [`super::Order::advance`] walks it, the clocks of the order follow from it.

use super::buckets::Bucket;
use super::state::State;

/// The stages that methods are made of, and the places off their path that units move to and from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// Offered to the node.
    Offered,
    /// Accepted by the node.
    Accepted,
    /// Somebody picks.
    Picking,
    /// Taken from the shelf.
    Picked,
    /// In a package.
    Packed,
    /// Waiting at the node for the customer or the courier.
    Ready,
    /// With a courier or carrier: the goods have left the node.
    InCustody,
    /// With the customer.
    Done,
    /// Off the path: left the shelf, and does not go to the customer.
    PutBack,
    /// Off the path: back on the shelf.
    Shelf,
    /// Off the path: brought back to the node undelivered.
    Returned,
    /// Off the path: lost on the way.
    Lost,
}

impl Name {
    /// Every name.
    pub const ALL: [Self; 12] = [
        Self::Offered,
        Self::Accepted,
        Self::Picking,
        Self::Picked,
        Self::Packed,
        Self::Ready,
        Self::InCustody,
        Self::Done,
        Self::PutBack,
        Self::Shelf,
        Self::Returned,
        Self::Lost,
    ];

    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "OFFERED",
            Self::Accepted => "ACCEPTED",
            Self::Picking => "PICKING",
            Self::Picked => "PICKED",
            Self::Packed => "PACKED",
            Self::Ready => "READY",
            Self::InCustody => "IN_CUSTODY",
            Self::Done => "DONE",
            Self::PutBack => "PUT_BACK",
            Self::Shelf => "SHELF",
            Self::Returned => "RETURNED",
            Self::Lost => "LOST",
        }
    }

    /// The stage of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// What somebody does who brings units here, as refusals say it.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Offered => "offer",
            Self::Accepted => "accept",
            Self::Picking => "start picking",
            Self::Picked => "pick",
            Self::Packed => "pack",
            Self::Ready => "mark as ready",
            Self::InCustody => "dispatch",
            Self::Done => "hand over",
            Self::PutBack | Self::Shelf => "put back",
            Self::Returned => "bring back",
            Self::Lost => "lose",
        }
    }
}

/// One stage of a method.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Which one.
    pub name: Name,
    /// How an order stands whose last units are here.
    pub state: State,
    /// How it stands instead once some units are with the customer.
    pub partly: Option<State>,
    /// Where its units are. Stages that follow each other in one bucket are steps of the whole order.
    pub bucket: Bucket,
    /// All units come here at once: nothing may be left before.
    pub is_whole: bool,
    /// Who reports that units came here. That party owns the clock of the stage before.
    pub reporter: Reporter,
    /// How long units may stay here; the last stage has none.
    pub clock: Option<Clock>,
    /// What proves that units may come here.
    pub proof: Option<Proof>,
    /// What the customer hears.
    pub notice: Notices,
    /// What being here means for the claim on the stock.
    pub stock_effect: StockEffect,
}

impl Stage {
    /// A stage of the node's own work, from which the others differ in what they name.
    pub const WORK: Self = Self {
        name: Name::Picking,
        state: State::Picking,
        partly: None,
        bucket: Bucket::ToPick,
        is_whole: false,
        reporter: Reporter::Node,
        clock: None,
        proof: None,
        notice: Notices { entered: None, reminder: None, expired: None },
        stock_effect: StockEffect::Held,
    };

    /// The offer, and the clock of the node's answer.
    pub const fn offered(accept: Clock) -> Self {
        Self {
            name: Name::Offered,
            state: State::Offered,
            reporter: Reporter::Platform,
            clock: Some(accept),
            ..Self::WORK
        }
    }

    /// The node took the work; the goods must be ready at the promised time.
    pub const ACCEPTED: Self =
        Self { name: Name::Accepted, state: State::Accepted, clock: Some(Clock::PREPARE), ..Self::WORK };

    /// Somebody picks.
    pub const PICKING: Self = Self { clock: Some(Clock::PREPARE), ..Self::WORK };

    /// Units that left the shelf.
    pub const PICKED: Self = Self { name: Name::Picked, bucket: Bucket::Picked, ..Self::PICKING };
}

/// Who reports a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The platform itself.
    Platform,
    /// The node that works.
    Node,
    /// The courier or carrier that takes the goods along.
    Courier,
}

impl Reporter {
    /// The name for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "PLATFORM",
            Self::Node => "NODE",
            Self::Courier => "COURIER",
        }
    }
}

/// The clock of one or more stages. It starts when the first units come to one of them, and runs while units are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The step whose time it counts; stages that follow each other may share it.
    pub step: Step,
    /// When the time of the step is over.
    pub due: Due,
    /// Which minutes it counts.
    pub counts: Counts,
    /// What happens when it ends.
    pub on_expiry: OnExpiry,
}

impl Clock {
    /// The goods are ready at the promised time.
    pub const PREPARE: Self = Self {
        step: Step::Prepare,
        due: Due::Promised,
        counts: Counts::AllTime,
        on_expiry: OnExpiry::GiveUp,
    };
}

/// The steps whose time is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The node must answer.
    Accept,
    /// The goods must be ready.
    Prepare,
    /// The customer or the courier must come.
    Collect,
    /// The goods must reach the customer.
    Deliver,
    /// Goods that the customer does not get must be back on the shelf.
    PutBack,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Accept, Self::Prepare, Self::Collect, Self::Deliver, Self::PutBack];

    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Prepare => "PREPARE",
            Self::Collect => "COLLECT",
            Self::Deliver => "DELIVER",
            Self::PutBack => "PUT_BACK",
        }
    }

    /// The step of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

/// When the time of a step is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// This long after the clock started, and there it ends.
    After(Span),
    /// At the promised time; the clock ends [`Span::Resolve`] later.
    Promised,
}

/// The lengths of time that settings give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// In which the node accepts an offer.
    Accept,
    /// For which goods wait at the node for the customer or the courier.
    Keep,
    /// In which goods reach the customer once they have left the node.
    Transit,
    /// In which goods are back on the shelf.
    PutBack,
    /// After the promised time, until unfinished work ends.
    Resolve,
}

/// Which time a clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Every minute.
    AllTime,
    /// Every minute; an end that would come while the node is shut moves into its next opening.
    IntoOpening,
    /// Only the minutes in which the node is open.
    OpeningTime,
}

/// What the end of a clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnExpiry {
    /// All units at the node are given up: those on the shelf are free, the others must be put back.
    GiveUp,
    /// The goods must be put back; until they are, a late customer may still collect them.
    PutBack,
    /// The units are lost.
    Lose,
}

/// What proves a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The pickup code that the channel gave to the customer.
    PickupCode,
}

/// The templates of what the customer hears about a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notices {
    /// When units come here.
    pub entered: Option<&'static str>,
    /// While they wait here; the number of the reminder follows.
    pub reminder: Option<&'static str>,
    /// When their time here is over.
    pub expired: Option<&'static str>,
}

/// What a stage means for the claim on the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StockEffect {
    /// The goods are at the node, and claimed.
    Held,
    /// The goods have left the node.
    Consumed,
}
