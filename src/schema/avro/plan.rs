//! A schema compiled to what a walk of its payloads needs: one operation for each type. Never reads a payload itself.

use super::super::{Limits, Violation};
use super::{
    types::{Id, Logical, Primitive, Type, Types},
    walk::{Walk, Walked},
};

/// A schema, compiled. What takes no bytes is left out of it.
#[derive(Debug)]
pub struct Plan {
    /// One for each type, at its place in the table.
    ops: Vec<Op>,
    root: Id,
    depth: usize,
    empty_items: u64,
}

/// What to read.
#[derive(Debug)]
pub enum Op {
    /// Nothing: the value takes no bytes.
    Skip,
    Boolean,
    Int,
    Long,
    Bytes,
    Text,
    Uuid,
    /// Exactly so many bytes.
    Fixed(usize),
    /// An index below this.
    Enum(usize),
    Array(Id),
    Map(Id),
    Union(Box<[Id]>),
    /// The fields that take bytes, each with its index in the record.
    Record(Box<[(Id, u32)]>),
}

impl Plan {
    pub fn new(types: &Types, root: Id, limits: &Limits) -> Self {
        let empty = empty(types);
        let op = |(at, kind): (usize, &Type)| match kind {
            _ if empty[at] => Op::Skip,
            Type::Primitive(primitive) | Type::Logical(primitive, Logical::Decimal { .. }) => match primitive {
                Primitive::Null => Op::Skip,
                Primitive::Boolean => Op::Boolean,
                Primitive::Int => Op::Int,
                Primitive::Long => Op::Long,
                Primitive::Float => Op::Fixed(4),
                Primitive::Double => Op::Fixed(8),
                Primitive::Bytes => Op::Bytes,
                Primitive::String => Op::Text,
            },
            Type::Logical(_, Logical::Uuid) => Op::Uuid,
            Type::Fixed(_, size, _) => Op::Fixed(*size),
            Type::Enum(symbols) => Op::Enum(symbols.symbols.len()),
            Type::Array(items) => Op::Array(*items),
            Type::Map(values) => Op::Map(*values),
            Type::Union(branches) => Op::Union(branches.as_slice().into()),
            Type::Record(record) => {
                let fields = (0..).zip(&record.fields).filter(|(_, field)| !empty[field.kind.index()]);
                Op::Record(fields.map(|(at, field)| (field.kind, at)).collect())
            }
        };
        Plan {
            ops: types.iter().enumerate().map(op).collect(),
            root,
            depth: limits.payload_depth,
            empty_items: limits.empty_items,
        }
    }

    /// Whether a payload is one value of the schema and nothing else. The types are those of which the plan was made.
    pub fn check(&self, payload: &[u8], types: &Types) -> Result<(), Violation> {
        self.walk(payload, types, |walk| walk.value(self.root))
    }

    /// The same of a record, each field of which is walked by `read`, which is told its index. It is called in their order,
    /// and not of fields that take no bytes.
    pub fn check_record<'a>(
        &self,
        payload: &'a [u8],
        types: &Types,
        read: impl FnMut(&mut Walk<'_, 'a>, Id, u32) -> Walked,
    ) -> Result<(), Violation> {
        self.walk(payload, types, |walk| match &self.ops[self.root.index()] {
            Op::Record(fields) => walk.record(self.root, fields, read),
            _ => walk.value(self.root),
        })
    }

    fn walk<'a>(
        &self,
        payload: &'a [u8],
        types: &Types,
        read: impl FnOnce(&mut Walk<'_, 'a>) -> Walked,
    ) -> Result<(), Violation> {
        let mut walk = Walk::new(&self.ops, types, payload, self.depth, self.empty_items);
        read(&mut walk).and_then(|()| walk.end()).map_err(|failed| failed.whole())
    }
}

/// Which types never take a byte: null, fixed of size 0, and records of nothing else. A record within itself is none.
fn empty(types: &Types) -> Vec<bool> {
    let mut empty = vec![false; types.len()];
    // Each round finds one more level of records; the last finds nothing.
    loop {
        let mut found = false;
        for (at, kind) in types.iter().enumerate().filter(|(_, kind)| kind.name().is_some() || kind.kind() == "null") {
            let is_empty = match kind {
                Type::Primitive(_) => true,
                Type::Fixed(_, size, _) => *size == 0,
                Type::Record(record) => record.fields.iter().all(|field| empty[field.kind.index()]),
                _ => false,
            };
            found |= is_empty && !empty[at];
            empty[at] = is_empty;
        }
        if !found {
            return empty;
        }
    }
}
