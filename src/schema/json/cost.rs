//! What a schema asks of whoever validates: whether it ever ends, and how much work a payload can make. Never sees a
//! payload.

use super::super::{Broken, Limits};
use super::table::{Id, Node, Table};

/// What a value of some depth costs at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Subschemas that look at the values on one way from its top to its deepest, if nothing is remembered of what was
    /// looked at before.
    pub work: u64,
    /// Subschemas that look at once, one called by the other.
    stack: usize,
}

/// Subschemas that may look at once: about 1 KiB of stack each, in a build for debugging.
const STACK: usize = 1_000;

/// What a payload costs, by its depth, as far down as the stack suffices. Refuses a schema that applies itself to the same
/// value without end, or too many subschemas to one: `jsonschema` follows where it is led.
pub fn by_depth(table: &Table, limits: &Limits) -> Result<Vec<Cost>, Broken> {
    let order = inner_first(table)?;
    let mut below = vec![Cost::default(); table.len()];
    let mut costs = Vec::with_capacity(limits.payload_depth + 1);
    for depth in 0..=limits.payload_depth {
        let mut level = vec![Cost::default(); table.len()];
        for &id in &order {
            let node = table.get(id);
            let inner = here(node).map(|inner| level[inner.index()]);
            let Cost { work, stack } = inner.fold(within(node, &below), Cost::both);
            let cost = Cost { work: work.saturating_add(1), stack: stack + 1 };
            if depth == 0 && (cost.work > limits.types as u64 || cost.stack > STACK) {
                let what = format!(
                    "more than {} subschemas apply to one value, or {STACK} in a row: refer less from within",
                    limits.types
                );
                return Err(Broken::new(table.path(id), what));
            }
            level[id.index()] = cost;
        }
        let root = level[Table::ROOT.index()];
        if root.stack > STACK {
            break;
        }
        costs.push(root);
        below = level;
    }
    Ok(costs)
}

impl Cost {
    /// One is done after the other.
    fn both(self, other: Cost) -> Cost {
        Cost { work: self.work.saturating_add(other.work), stack: self.stack.max(other.stack) }
    }

    /// One is done or the other.
    fn either(self, other: Cost) -> Cost {
        Cost { work: self.work.max(other.work), stack: self.stack.max(other.stack) }
    }
}

/// What a subschema applies to the value that it is applied to.
fn here(node: &Node) -> impl Iterator<Item = Id> {
    let any = node.any.iter().flat_map(|(_, list)| list);
    node.all.iter().chain(any).chain(&node.here).copied()
}

/// What it applies to one part of the value at most. A member is named or it is not: one of these looks at it.
fn within(node: &Node, below: &[Cost]) -> Cost {
    let cost = |id: &Id| below[id.index()];
    let members = node.named.values().chain(&node.other).map(cost);
    let items = node.first.iter().chain(&node.rest).map(cost);
    let one = members.chain(items).fold(Cost::default(), Cost::either);
    node.patterns.values().chain(&node.within).map(cost).fold(one, Cost::both)
}

/// All subschemas, each after those that it applies to the same value.
fn inner_first(table: &Table) -> Result<Vec<Id>, Broken> {
    let mut outer = vec![Vec::new(); table.len()];
    let mut waiting = vec![0_usize; table.len()];
    for id in table.ids() {
        for inner in here(table.get(id)) {
            outer[inner.index()].push(id);
            waiting[id.index()] += 1;
        }
    }
    let mut order: Vec<Id> = table.ids().filter(|id| waiting[id.index()] == 0).collect();
    let mut at = 0;
    while let Some(&id) = order.get(at) {
        for &outer in &outer[id.index()] {
            waiting[outer.index()] -= 1;
            if waiting[outer.index()] == 0 {
                order.push(outer);
            }
        }
        at += 1;
    }
    match table.ids().find(|id| waiting[id.index()] > 0) {
        None => Ok(order),
        Some(id) => Err(Broken::new(
            table.path(id),
            "it refers to itself for the same value, without end: refer to it for a part of the value only",
        )),
    }
}
