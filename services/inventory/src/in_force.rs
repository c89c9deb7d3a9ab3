//! Which versions of policies positions follow at an instant. When that changes, positions are announced again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::{NodeId, Sku, derived};
use domain::policy::{Book, Scope, Version};
use jiff::Timestamp;

use crate::rules::KINDS;

/// The most nodes and SKUs that are looked at one by one; more of them: everything is.
const MOST_PIECES: usize = 1_000;

/// Versions by their numbers. One that names a group or a kind of nodes has a stamp of the nodes that these are: they change
/// without it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InForce {
    versions: BTreeMap<i64, String>,
    text: String,
}

/// Which positions a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of them.
    Everything,
    /// Those of these nodes and those of these SKUs.
    Some(BTreeSet<Piece>),
}

/// Some of the positions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Piece {
    /// Those of a SKU.
    Sku(Sku),
    /// Those of a node.
    Node(NodeId),
}

impl InForce {
    /// What is in force at that instant.
    pub(crate) fn of(book: &Book, at: Timestamp) -> Self {
        let mut stamps: HashMap<(Option<&str>, Option<&'static str>), String> = HashMap::new();
        let in_force = followed(book).filter(|version| version.is_in_force(at));
        let stamped = in_force.map(|version| {
            let Scope { group, kind, .. } = &version.scope;
            if group.is_none() && kind.is_none() {
                return (version.version, String::new());
            }
            let key = (group.as_deref(), kind.map(domain::network::Kind::name));
            let stamp = stamps.entry(key).or_insert_with(|| {
                let mut nodes: Vec<&str> = nodes_of(book, &version.scope).map(NodeId::as_str).collect();
                nodes.sort_unstable();
                derived("policy.nodes", &nodes.join("\n")).to_string()
            });
            (version.version, stamp.clone())
        });
        let versions: BTreeMap<i64, String> = stamped.collect();
        let word = |(version, stamp): (&i64, &String)| match stamp.as_str() {
            "" => version.to_string(),
            stamp => format!("{version}:{stamp}"),
        };
        let words: Vec<String> = versions.iter().map(word).collect();
        Self { text: words.join(" "), versions }
    }

    /// As a text: of equal ones it is equal.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// As it was written; what cannot be read was not in force.
    pub(crate) fn parse(text: &str) -> Self {
        let version = |word: &str| {
            let (version, stamp) = word.split_once(':').unwrap_or((word, ""));
            Some((version.parse().ok()?, stamp.to_owned()))
        };
        Self { versions: text.split_whitespace().filter_map(version).collect(), text: text.to_owned() }
    }

    /// The positions that follow other versions by one of both than by the other.
    pub(crate) fn differs_from(&self, other: &Self, book: &Book) -> Extent {
        let mut pieces = BTreeSet::new();
        let numbers: BTreeSet<i64> = self.versions.keys().chain(other.versions.keys()).copied().collect();
        for number in numbers {
            let (now, before) = (self.versions.get(&number), other.versions.get(&number));
            if now == before {
                continue;
            }
            let known = book.version(number).filter(|version| KINDS.contains(&version.kind()));
            let Some(version) = known else {
                return Extent::Everything;
            };
            match &version.scope {
                Scope { sku: Some(sku), .. } => drop(pieces.insert(Piece::Sku(sku.clone()))),
                Scope { node: Some(node), .. } => drop(pieces.insert(Piece::Node(node.clone()))),
                // nodes may have left the group: who they were is not known
                scope
                    if now.is_some() != before.is_some() && scope.group.is_some() | scope.kind.is_some() =>
                {
                    pieces.extend(nodes_of(book, scope).cloned().map(Piece::Node));
                }
                _ => return Extent::Everything,
            }
            if pieces.len() > MOST_PIECES {
                return Extent::Everything;
            }
        }
        Extent::Some(pieces)
    }
}

/// The versions that positions follow.
fn followed(book: &Book) -> impl Iterator<Item = &Arc<Version>> {
    book.versions().iter().filter(|version| KINDS.contains(&version.kind()))
}

/// When something begins or ends to be in force next.
fn next_change(book: &Book, after: Timestamp) -> Option<Timestamp> {
    let spans = followed(book).flat_map(|version| &version.in_force);
    let ends = spans.flat_map(|span| [Some(span.from), span.until]).flatten();
    ends.filter(|at| *at > after).min()
}

/// The nodes of the group and of the kind that a scope names.
fn nodes_of<'a>(book: &'a Book, scope: &'a Scope) -> impl Iterator<Item = &'a NodeId> {
    let group = scope.group.as_deref().map(|code| book.group(code));
    let fits = move |(node, facts): &(&NodeId, &domain::policy::NodeFacts)| {
        scope.kind.is_none_or(|kind| kind == facts.kind)
            && group.is_none_or(|group| group.is_some_and(|group| group.has(node, &facts.tags)))
    };
    book.nodes().filter(fits).map(|(node, _)| node)
}

/// What is in force, with the time for which it holds by the book that it was read from.
#[derive(Debug)]
struct Read {
    book: Arc<Book>,
    from: Timestamp,
    until: Option<Timestamp>,
    in_force: Arc<InForce>,
}

/// Remembers what is in force: it is asked more often than it changes.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Option<Read>>);

impl Memory {
    /// What is in force at that instant, and when that changes next.
    pub(crate) fn of(&self, book: &Arc<Book>, at: Timestamp) -> (Arc<InForce>, Option<Timestamp>) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |read: &&Read| {
            Arc::ptr_eq(&read.book, book) && read.from <= at && read.until.is_none_or(|until| at < until)
        };
        if let Some(read) = memory.as_ref().filter(holds) {
            return (Arc::clone(&read.in_force), read.until);
        }
        let (in_force, until) = (Arc::new(InForce::of(book, at)), next_change(book, at));
        let answer = Arc::clone(&in_force);
        *memory = Some(Read { book: Arc::clone(book), from: at, until, in_force });
        (answer, until)
    }
}
