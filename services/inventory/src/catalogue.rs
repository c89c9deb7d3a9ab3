//! What is known of SKUs without asking: that a code is a plain item. That never changes, so it needs no refresh;
//! kits are read again each time, since their parts may change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use db::Tx;
use domain::id::Sku;
use domain::stock::kit::Kit;
use domain::stock::reservation::Line;
use domain::stock::{Key, Refusal};
use server::Violation;
use service::Fault;

use crate::command::{Command, Wanted};
use crate::error::Error;
use crate::store;

/// The most codes remembered; a fuller memory is emptied.
const LIMIT: usize = 200_000;

/// The memory.
#[derive(Default)]
pub(crate) struct Catalogue {
    plain: RwLock<HashSet<Sku>>,
}

impl Catalogue {
    /// The lines that each command wants to claim for each of its reservations, kits as their parts; an error per command
    /// for unknown SKUs.
    pub(crate) async fn claims(
        &self,
        tx: &mut Tx,
        commands: &[Command],
    ) -> Result<Vec<Result<Vec<Vec<Line>>, Error>>, Error> {
        let unsure = self.unsure(commands);
        let kits = if unsure.is_empty() { HashMap::new() } else { self.ask(tx, &unsure).await? };
        Ok(commands.iter().map(|command| of_command(command, &unsure, &kits)).collect())
    }

    /// Codes that may be kits or not exist.
    fn unsure(&self, commands: &[Command]) -> BTreeSet<Sku> {
        let plain = self.plain.read().unwrap_or_else(PoisonError::into_inner);
        let claims = commands.iter().flat_map(|command| command.act.reservations());
        let wanted = claims.flat_map(|(_, lines)| lines).map(|wanted| &wanted.position.sku);
        wanted.filter(|sku| !plain.contains(*sku)).cloned().collect()
    }

    /// What these codes are: a kit, a plain item (`None`), or unknown (missing).
    async fn ask(&self, tx: &mut Tx, unsure: &BTreeSet<Sku>) -> Result<HashMap<Sku, Option<Kit>>, Error> {
        let kinds = store::skus::kinds(tx, unsure).await?;
        let mut kits =
            store::skus::kits(tx, kinds.iter().filter(|(_, is_kit)| **is_kit).map(|(sku, _)| sku)).await?;
        let mut plain = self.plain.write().unwrap_or_else(PoisonError::into_inner);
        if plain.len() + kinds.len() > LIMIT {
            plain.clear();
        }
        let mut known = HashMap::with_capacity(kinds.len());
        for (sku, is_kit) in kinds {
            if !is_kit {
                plain.insert(sku.clone());
                known.insert(sku, None);
            } else if let Some(kit) = kits.remove(&sku) {
                known.insert(sku, Some(kit));
            }
        }
        Ok(known)
    }
}

fn of_command(
    command: &Command,
    unsure: &BTreeSet<Sku>,
    known: &HashMap<Sku, Option<Kit>>,
) -> Result<Vec<Vec<Line>>, Error> {
    let mut violations = Vec::new();
    let mut claims = Vec::new();
    for (claim, (_, wanted)) in command.act.reservations().enumerate() {
        let lines = lines(wanted, unsure, known, |line| {
            let text = format!("sku {} does not exist", wanted[line].position.sku);
            violations.push(Violation::new(format!("reservations[{claim}].lines[{line}].sku"), text));
        });
        claims.push(lines?);
    }
    if violations.is_empty() { Ok(claims) } else { Err(Fault::Invalid(violations).into()) }
}

/// The lines of one claim; `unknown` hears the index of each whose SKU does not exist.
fn lines(
    wanted: &[Wanted],
    unsure: &BTreeSet<Sku>,
    known: &HashMap<Sku, Option<Kit>>,
    mut unknown: impl FnMut(usize),
) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::with_capacity(wanted.len());
    for (index, wanted) in wanted.iter().enumerate() {
        let Wanted { line, position, units } = wanted;
        let kit = if unsure.contains(&position.sku) { known.get(&position.sku) } else { Some(&None) };
        match kit {
            Some(None) => lines.push(Line::plain(*line, position.clone(), *units)),
            Some(Some(kit)) => {
                for part in kit.parts() {
                    let key = Key { node: position.node.clone(), sku: part.sku.clone() };
                    let part = Line::part(*line, key, position.sku.clone(), part.per_kit, *units);
                    lines.push(part.ok_or(Refusal::Overflow)?);
                }
            }
            None => unknown(index),
        }
    }
    Ok(lines)
}
