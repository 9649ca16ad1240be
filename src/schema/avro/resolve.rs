//! Whether a reader's schema reads what a writer's wrote: the specification's rules ("Schema Resolution"), where it
//! leaves room as Java's `SchemaCompatibility` has them. Names match by their last part, or by an alias of the reader's.
//! One rule more than Java, and the specification's: two decimals have the same precision and scale, since a reader
//! would take one number for another.
//!
//! Every pair of types is looked at once, without recursion; what a pair needs of others is settled afterwards, so that
//! types within themselves are judged right. Never looks at a payload.

use std::collections::HashMap;

use super::super::{
    fault::{FAULTS, Fault},
    path,
};
use super::types::{Enum, Id, Primitive, Record, Type, Types};

/// Pairs of a reader's type and a writer's that are looked at.
const PAIRS: usize = 200_000;

/// Why the reader, a table and its root, cannot read what the writer wrote.
pub fn resolve(reader: (&Types, Id), writer: (&Types, Id)) -> Vec<Fault> {
    let mut resolution = Resolution { reader: reader.0, writer: writer.0, pairs: Vec::new(), known: HashMap::new() };
    resolution.pair(reader.1, writer.1);
    let mut at = 0;
    while at < resolution.pairs.len() {
        if at == PAIRS {
            return vec![Fault::new(path::ROOT, "there are too many types to compare: split the schema")];
        }
        let Pair { reader, writer, .. } = resolution.pairs[at];
        resolution.look(at, reader, writer);
        at += 1;
    }
    resolution.settle();
    resolution.faults()
}

struct Resolution<'a> {
    reader: &'a Types,
    writer: &'a Types,
    pairs: Vec<Pair>,
    known: HashMap<(Id, Id), usize>,
}

/// A type of the reader's that meets one of the writer's.
struct Pair {
    reader: Id,
    writer: Id,
    /// What is wrong with the two themselves: the place within, and a sentence.
    wrong: Vec<(String, String)>,
    needs: Vec<Need>,
    fails: bool,
}

/// What has to be read within: one of these pairs, at a place.
struct Need {
    step: String,
    any: Vec<usize>,
}

impl Resolution<'_> {
    /// The number of a pair, which is looked at later if it is new.
    fn pair(&mut self, reader: Id, writer: Id) -> usize {
        *self.known.entry((reader, writer)).or_insert_with(|| {
            self.pairs.push(Pair { reader, writer, wrong: Vec::new(), needs: Vec::new(), fails: false });
            self.pairs.len() - 1
        })
    }

    fn need(&mut self, at: usize, step: impl Into<String>, reader: Id, writer: Id) {
        let pair = self.pair(reader, writer);
        self.pairs[at].needs.push(Need { step: step.into(), any: vec![pair] });
    }

    fn wrong(&mut self, at: usize, step: impl Into<String>, what: impl Into<String>) {
        self.pairs[at].wrong.push((step.into(), what.into()));
    }

    fn look(&mut self, at: usize, reader_id: Id, writer_id: Id) {
        let (reader, writer) = (self.reader.get(reader_id), self.writer.get(writer_id));
        match (reader, writer) {
            (_, Type::Union(branches)) => branches.iter().for_each(|branch| self.need(at, "", reader_id, *branch)),
            (Type::Union(branches), _) => self.look_union(at, branches, writer_id),
            _ if !meets(reader, writer) => {
                let what = format!("{} was written, and {} cannot read it", writer.title(), reader.title());
                self.wrong(at, "", what);
            }
            (Type::Array(reader), Type::Array(writer)) => self.need(at, path::ITEMS, *reader, *writer),
            (Type::Map(reader), Type::Map(writer)) => self.need(at, path::MEMBERS, *reader, *writer),
            (Type::Enum(reader), Type::Enum(writer)) => self.look_enum(at, reader, writer),
            (Type::Record(reader), Type::Record(writer)) => self.look_record(at, reader, writer),
            (Type::Fixed(_, reader, _), Type::Fixed(_, writer, _)) if reader != writer => {
                self.wrong(at, "", format!("a fixed of {writer} bytes was written, and {reader} are read"));
            }
            _ => {
                if let (Some(reader), Some(writer)) = (reader.decimal(), writer.decimal())
                    && reader != writer
                {
                    let what = format!(
                        "a decimal with precision {} and scale {} was written, and one with {} and {} is read",
                        writer.0, writer.1, reader.0, reader.1
                    );
                    self.wrong(at, "", what);
                }
            }
        }
    }

    /// What is no union is read by any branch that can.
    fn look_union(&mut self, at: usize, branches: &[Id], writer_id: Id) {
        let writer = self.writer.get(writer_id);
        let meeting = branches.iter().filter(|branch| meets(self.reader.get(**branch), writer)).copied();
        let any: Vec<usize> = meeting.collect::<Vec<_>>().into_iter().map(|id| self.pair(id, writer_id)).collect();
        match any.is_empty() {
            true => {
                let what = format!("{} was written, and no branch of the union reads it", writer.title());
                self.wrong(at, "", what);
            }
            false => self.pairs[at].needs.push(Need { step: String::new(), any }),
        }
    }

    fn look_enum(&mut self, at: usize, reader: &Enum, writer: &Enum) {
        let unknown: Vec<_> = writer.symbols.iter().filter(|symbol| !reader.symbols.contains(symbol)).collect();
        if reader.default.is_none() && !unknown.is_empty() {
            let shown: Vec<_> = unknown.iter().take(5).map(|symbol| symbol.as_str()).collect();
            let more = if unknown.len() > shown.len() { ", …" } else { "" };
            let symbols = format!("{}{more}", shown.join(", "));
            let what = format!("the reader's enum has no {symbols}, and no default to read it as");
            self.wrong(at, "", what);
        }
    }

    fn look_record(&mut self, at: usize, reader: &Record, writer: &Record) {
        let written: HashMap<&str, Id> = writer.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
        for field in &reader.fields {
            let step = path::name(&field.name);
            let aliased = field.aliases.iter().filter_map(|alias| written.get(alias.as_str()).copied());
            let found: Vec<Id> = match written.get(field.name.as_str()) {
                Some(&same) => vec![same],
                None => aliased.collect(),
            };
            match found[..] {
                [writer] => self.need(at, step, field.kind, writer),
                [] if field.default.is_some() => (),
                [] => self.wrong(at, step, "the reader asks for this field, which was not written and has no default"),
                _ => self.wrong(at, step, "its aliases name several of the fields that were written"),
            }
        }
    }

    /// A pair fails if something is wrong with it, or if all fail that would do for one of its needs.
    fn settle(&mut self) {
        let mut needed_by = vec![Vec::new(); self.pairs.len()];
        for (at, pair) in self.pairs.iter().enumerate() {
            pair.needs.iter().flat_map(|need| &need.any).for_each(|&inner| needed_by[inner].push(at));
        }
        let mut failing: Vec<usize> = (0..self.pairs.len()).filter(|&at| !self.pairs[at].wrong.is_empty()).collect();
        while let Some(at) = failing.pop() {
            if std::mem::replace(&mut self.pairs[at].fails, true) {
                continue;
            }
            let is_lost = |outer: &&usize| {
                let mut needs = self.pairs[**outer].needs.iter();
                needs.any(|need| need.any.iter().all(|&inner| self.pairs[inner].fails))
            };
            failing.extend(needed_by[at].iter().filter(is_lost));
        }
    }

    /// What is wrong, from the root inwards. A pair with others within is told at the first place where it is met.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut told = vec![false; self.pairs.len()];
        let mut left = vec![(0, path::ROOT.to_owned())];
        while let Some((at, path)) = left.pop() {
            let pair = &self.pairs[at];
            let is_leaf = pair.needs.is_empty();
            if !pair.fails || !is_leaf && std::mem::replace(&mut told[at], true) {
                continue;
            }
            faults.extend(pair.wrong.iter().map(|(step, what)| Fault::new(format!("{path}{step}"), what)));
            for need in pair.needs.iter().rev().filter(|need| need.any.iter().all(|&inner| self.pairs[inner].fails)) {
                left.push((need.any[0], format!("{path}{}", need.step)));
            }
            if faults.len() >= FAULTS {
                faults.truncate(FAULTS);
                break;
            }
        }
        faults
    }
}

/// Whether a type may read another as far as their kinds and names go.
fn meets(reader: &Type, writer: &Type) -> bool {
    use Primitive::{Bytes, Double, Float, Int, Long, String};
    match (reader, writer) {
        (Type::Primitive(reader) | Type::Logical(reader, _), Type::Primitive(writer) | Type::Logical(writer, _)) => {
            reader == writer
                || matches!(
                    (writer, reader),
                    (Int, Long | Float | Double)
                        | (Long, Float | Double)
                        | (Float, Double)
                        | (String, Bytes)
                        | (Bytes, String)
                )
        }
        _ => match (reader.name(), writer.name()) {
            (Some(name), Some(written)) => {
                reader.kind() == writer.kind()
                    && (name.short() == written.short() || name.aliases.contains(&written.full))
            }
            (None, None) => reader.kind() == writer.kind(),
            _ => false,
        },
    }
}
