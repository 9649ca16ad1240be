//! Whether all values that a writer's schema allows are valid for a reader's. Sound but for two agreements, and not
//! complete: what cannot be decided by the rules here is taken for incompatible.
//!
//! Decided are the kinds of values, lists of values, bounds, lengths, counts, members (a member that only the reader
//! describes may have been anything, unless the writer's schema is closed), items, `allOf`, and `anyOf`/`oneOf` whose
//! alternatives each fit one of the reader's. Equal or incompatible are `not`, `if`, `dependencies`, `contains`,
//! `propertyNames`, `unevaluated…`, and what refers dynamically; so is a changed `pattern` or `format`, and
//! `patternProperties` whose patterns the writer has not.
//!
//! The agreements, as Confluent has them: a member that is required and has a default may be missing from what was
//! written, since a reader fills it in; and the alternatives of `oneOf` are taken to exclude one another.

use std::collections::HashMap;

use serde_json::Value;

use super::super::{
    fault::{FAULTS, Fault},
    path,
};
use super::{
    kinds::Kinds,
    says,
    table::{Id, Node, Table},
    writer::Writer,
};

/// Pairs of subschemas that are looked at: alternatives of alternatives could be exponentially many.
const PAIRS: usize = 200_000;

/// Pairs that are looked at within one another.
const STACK: usize = 256;

/// Why a value of the writer's may not be valid for the reader. Values deeper than `depth` are never valid.
pub fn read(reader: &Table, writer: &Table, depth: usize) -> Vec<Fault> {
    let mut reading = Reading {
        reader,
        left: PAIRS,
        depth,
        assumed: Vec::new(),
        leant: usize::MAX,
        settled: HashMap::new(),
        trials: 0,
        faults: Vec::new(),
    };
    reading.schema(Table::ROOT, Writer::new(writer, [Table::ROOT]), path::ROOT);
    if reading.left == 0 {
        return vec![Fault::new(path::ROOT, "the schemas have too many alternatives to compare")];
    }
    reading.faults.truncate(FAULTS);
    reading.faults
}

/// A reader's subschema, and the writer's values that meet it.
type Pair = (Id, Vec<Id>, Kinds);

struct Reading<'a> {
    reader: &'a Table,
    /// Pairs that may still be looked at.
    left: usize,
    /// Levels that may still be gone down.
    depth: usize,
    /// Pairs that are being looked at: they fit unless it is found within that they do not.
    assumed: Vec<Pair>,
    /// The outermost of these that was taken for granted since this was last set.
    leant: usize,
    /// Pairs of which it is known whether they fit.
    settled: HashMap<Pair, bool>,
    /// Alternatives that are being tried, whose faults nobody is told.
    trials: usize,
    faults: Vec<Fault>,
}

impl Reading<'_> {
    /// Whether all values of the writer's are valid.
    fn schema(&mut self, reader: Id, writer: Writer<'_>, path: &str) -> bool {
        let mut alternatives = vec![writer];
        while let Some(alternative) = alternatives.pop() {
            self.left = self.left.saturating_sub(1);
            match alternative.split() {
                _ if alternative.is_never() => (),
                _ if self.left == 0 => return false,
                Some(split) => alternatives.extend(split.into_iter().rev()),
                None if !self.alternative(reader, alternative, path) => return false,
                None => (),
            }
        }
        true
    }

    /// The same where the writer's values are one alternative.
    fn alternative(&mut self, reader: Id, writer: Writer<'_>, path: &str) -> bool {
        let pair = (reader, writer.roots.clone(), writer.kinds);
        if let Some(at) = self.assumed.iter().position(|assumed| *assumed == pair) {
            self.leant = self.leant.min(at);
            return true;
        }
        match self.settled.get(&pair) {
            Some(true) => return true,
            // A fault has to be told again at every place, but to whoever only tries.
            Some(false) if self.trials > 0 => {
                self.fault(path, "it does not fit");
                return false;
            }
            _ => (),
        }
        if self.trials == 0 && self.faults.len() >= FAULTS {
            return false;
        }
        if self.assumed.len() == STACK {
            self.fault(path, "too many subschemas refer to one another here to compare them");
            return false;
        }
        let leant = std::mem::replace(&mut self.leant, usize::MAX);
        let fits = self.assuming(pair.clone(), &writer, path);
        // What fits only if an outer pair does is not settled before that is.
        if !fits || self.leant >= self.assumed.len() {
            self.settled.insert(pair, fits);
            self.leant = leant;
        }
        self.leant = self.leant.min(leant);
        fits
    }

    /// All that holds of the reader's values, where a pair is taken to fit.
    fn assuming(&mut self, pair: Pair, writer: &Writer<'_>, path: &str) -> bool {
        let before = self.faults.len();
        let mut parts = vec![pair.0];
        self.assumed.push(pair);
        while let Some(id) = parts.pop() {
            let node = self.reader.get(id);
            parts.extend(node.all.iter().rev());
            self.node(node, writer, path);
        }
        self.assumed.pop();
        self.faults.len() == before
    }

    /// A part of the values, one level down. Below the last level no value is valid.
    fn part(&mut self, reader: Id, writer: Writer<'_>, path: &str) {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                self.schema(reader, writer, path);
                self.depth += 1;
            }
            None => self.leant = 0,
        }
    }

    fn fault(&mut self, path: &str, what: impl Into<String>) {
        self.faults.push(Fault::new(path, what));
    }

    /// One subschema, without what it refers to.
    fn node(&mut self, node: &Node, writer: &Writer<'_>, path: &str) {
        if node.is_never {
            return self.fault(path, "something was allowed here, and nothing is any more");
        }
        let kinds = writer.kinds.without(node.kinds());
        if !kinds.is_empty() {
            return self.fault(path, format!("{} was allowed, and is not any more", kinds.title()));
        }
        for (keyword, value) in &node.says {
            if let Some(what) = says::refuses(keyword, value, writer) {
                self.fault(path, what);
            }
        }
        self.required(node, writer, path);
        if writer.kinds.meets(Kinds::OBJECT) {
            self.members(node, writer, path);
        }
        if writer.kinds.meets(Kinds::ARRAY) {
            self.items(node, writer, path);
        }
        for (keyword, alternatives) in &node.any {
            self.alternatives(keyword, alternatives, writer, path);
        }
        let same = |part: &Node| {
            node.opaque.iter().all(|(keyword, opaque)| opaque.is_whole && part.opaque.get(keyword) == Some(opaque))
        };
        if !node.opaque.is_empty() && !writer.parts().any(same) {
            let keywords: Vec<_> = node.opaque.keys().copied().collect();
            let what = format!("{} changed, and whether it still fits is not decided", keywords.join(", "));
            self.fault(path, what);
        }
    }

    fn required(&mut self, node: &Node, writer: &Writer<'_>, path: &str) {
        let required = node.says.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|_| writer.kinds.meets(Kinds::OBJECT)) {
            let has_default = node.named.get(name).is_some_and(|&id| self.reader.get(id).has_default);
            if !writer.requires(name) && !has_default {
                let path = format!("{path}{}", path::name(name));
                self.fault(&path, "it is required now and has no default, and could be missing before");
            }
        }
    }

    fn members(&mut self, node: &Node, writer: &Writer<'_>, path: &str) {
        for (name, &id) in &node.named {
            self.part(id, writer.member(name), &format!("{path}{}", path::name(name)));
        }
        for (pattern, &id) in &node.patterns {
            let place = format!("{path}[?{pattern:?}]");
            match writer.pattern(pattern) {
                Some(writer) => self.part(id, writer, &place),
                None => self.fault(&place, "the pattern of names is new, and whether it still fits is not decided"),
            }
        }
        let Some(other) = node.other else { return };
        for part in writer.parts() {
            for name in part.named.keys().filter(|name| !node.named.contains_key(*name)) {
                self.part(other, writer.member(name), &format!("{path}{}", path::name(name)));
            }
            for pattern in part.patterns.keys().filter(|pattern| !node.patterns.contains_key(*pattern)) {
                if let Some(writer) = writer.pattern(pattern) {
                    self.part(other, writer, &format!("{path}[?{pattern:?}]"));
                }
            }
        }
        self.part(other, writer.others(), &format!("{path}{}", path::MEMBERS));
    }

    fn items(&mut self, node: &Node, writer: &Writer<'_>, path: &str) {
        for (at, &id) in node.first.iter().enumerate() {
            self.part(id, writer.item(at), &format!("{path}{}", path::index(at as u64)));
        }
        let Some(rest) = node.rest else { return };
        let described = writer.parts().map(|part| part.first.len()).max().unwrap_or(0);
        for at in node.first.len()..described {
            self.part(rest, writer.item(at), &format!("{path}{}", path::index(at as u64)));
        }
        self.part(rest, writer.item(usize::MAX), &format!("{path}{}", path::ITEMS));
    }

    /// One of the alternatives has to take all that the writer may have written.
    fn alternatives(&mut self, keyword: &str, alternatives: &[Id], writer: &Writer<'_>, path: &str) {
        let could = |id: &&Id| !Writer::new(self.reader, [**id]).is_without(writer.kinds);
        let likely: Vec<Id> = alternatives.iter().filter(could).copied().collect();
        // What is wrong with the only one that could do says more than that none does.
        if let [only] = likely[..] {
            self.schema(only, writer.clone(), path);
            return;
        }
        let before = self.faults.len();
        self.trials += 1;
        let fits = likely.iter().any(|&id| self.schema(id, writer.clone(), path));
        self.trials -= 1;
        self.faults.truncate(before);
        match writer.by_kind() {
            _ if fits => (),
            Some(each) => each.iter().for_each(|writer| self.alternatives(keyword, alternatives, writer, path)),
            None => {
                let kind = writer.kinds.title();
                self.fault(path, format!("{kind} was allowed that no alternative of {keyword} takes"));
            }
        }
    }
}
