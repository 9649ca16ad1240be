//! Walks an encoded value along a schema that was compiled for it. Allocates nothing unless it fails, and never makes a
//! value; its time is bounded by the payload's bytes, whatever they claim.
//!
//! Stricter than a decoder has to be: a number has no more bytes than its type may have, a boolean is 0 or 1, a block's
//! size in bytes is what its items take, and nothing follows the value.

use std::str;

use super::super::{
    Limits, Violation,
    violation::{Failed, failed},
};
use super::types::{Id, Logical, Primitive, Type, Types};

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
enum Op {
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
        let mut walk = Walk { ops: &self.ops, types, rest: payload, depth: self.depth, empty_items: self.empty_items };
        let read = walk.value(self.root).and_then(|()| match walk.rest.len() {
            0 => Ok(()),
            more => Err(failed(format!("{more} bytes follow the value: is it of another schema?"))),
        });
        read.map_err(|failed| failed.whole())
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

/// A walk under way.
struct Walk<'a> {
    ops: &'a [Op],
    types: &'a Types,
    rest: &'a [u8],
    /// Levels that are left.
    depth: usize,
    /// Items without bytes that are left.
    empty_items: u64,
}

type Walked<T = ()> = Result<T, Failed>;

impl<'a> Walk<'a> {
    fn value(&mut self, kind: Id) -> Walked {
        match &self.ops[kind.index()] {
            Op::Skip => Ok(()),
            Op::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                other => Err(failed(format!("a boolean is the byte 0 or 1, not {}", other[0]))),
            },
            Op::Int => self.int(),
            Op::Long => self.long().map(drop),
            Op::Bytes => self.bytes().map(drop),
            Op::Text => self.text().map(drop),
            Op::Uuid => match is_uuid(self.text()?) {
                true => Ok(()),
                false => Err(failed("the string is no UUID, as in 123e4567-e89b-12d3-a456-426655440000")),
            },
            Op::Fixed(size) => self.take(*size).map(drop),
            Op::Enum(symbols) => self.index(*symbols, "symbols").map(drop),
            Op::Union(branches) => {
                let branch = self.index(branches.len(), "branches")?;
                self.value(branches[branch])
            }
            Op::Array(items) => self.deeper(|walk| walk.array(*items)),
            Op::Map(values) => self.deeper(|walk| walk.map(*values)),
            Op::Record(fields) => self.deeper(|walk| {
                for &(field, index) in fields {
                    walk.value(field).map_err(|failed| walk.in_field(kind, index, failed))?;
                }
                Ok(())
            }),
        }
    }

    fn deeper(&mut self, walk: impl FnOnce(&mut Self) -> Walked) -> Walked {
        if self.depth == 0 {
            return Err(failed("the value nests deeper than is allowed"));
        }
        self.depth -= 1;
        walk(self)?;
        self.depth += 1;
        Ok(())
    }

    #[cold]
    fn in_field(&self, record: Id, index: u32, failed: Failed) -> Failed {
        match self.types.get(record) {
            Type::Record(record) => failed.within(&record.fields[index as usize].name),
            _ => failed,
        }
    }

    fn array(&mut self, items: Id) -> Walked {
        let is_empty = matches!(self.ops[items.index()], Op::Skip);
        let mut index = 0;
        self.blocks(|walk, count| {
            if is_empty {
                return walk.empty(count);
            }
            for _ in 0..count {
                walk.value(items).map_err(|failed| failed.item(index))?;
                index += 1;
            }
            Ok(())
        })
    }

    fn map(&mut self, values: Id) -> Walked {
        self.blocks(|walk, count| {
            for _ in 0..count {
                let key = walk.text()?;
                walk.value(values).map_err(|failed| failed.within(key))?;
            }
            Ok(())
        })
    }

    /// Reads blocks until the one that has no items. A negative count is followed by the block's size in bytes.
    fn blocks(&mut self, mut items: impl FnMut(&mut Self, u64) -> Walked) -> Walked {
        loop {
            match self.long()? {
                0 => return Ok(()),
                count if count > 0 => items(self, count.unsigned_abs())?,
                count => {
                    let size = self.long()?;
                    let before = self.rest.len();
                    items(self, count.unsigned_abs())?;
                    let taken = before - self.rest.len();
                    if i64::try_from(taken) != Ok(size) {
                        let what = format!("a block says that it has {size} bytes, and its items take {taken}");
                        return Err(failed(what));
                    }
                }
            }
        }
    }

    /// Counts items that take no bytes: the few bytes that claim them could have a reader make any number.
    fn empty(&mut self, count: u64) -> Walked {
        match self.empty_items.checked_sub(count) {
            Some(left) => {
                self.empty_items = left;
                Ok(())
            }
            None => Err(failed(format!("{count} items that take no bytes are more than is allowed"))),
        }
    }

    fn index(&mut self, below: usize, what: &str) -> Walked<usize> {
        // Most are one byte.
        let index = match self.rest {
            [byte @ 0..0x80, rest @ ..] if byte & 1 == 0 => {
                self.rest = rest;
                i64::from(byte >> 1)
            }
            _ => self.long()?,
        };
        match usize::try_from(index) {
            Ok(index) if index < below => Ok(index),
            _ => Err(failed(format!("there is no {index}: the schema has {below} {what}, counted from 0"))),
        }
    }

    fn text(&mut self) -> Walked<&'a str> {
        let bytes = self.bytes()?;
        str::from_utf8(bytes).map_err(|fault| {
            failed(format!(
                "the string is no UTF-8 from its byte {} on: use bytes for what is no text",
                fault.valid_up_to()
            ))
        })
    }

    fn bytes(&mut self) -> Walked<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(failed(format!("the length {length} is negative"))),
        }
    }

    fn int(&mut self) -> Walked {
        let before = self.rest.len();
        let value = self.long()?;
        if before - self.rest.len() > 5 || i32::try_from(value).is_err() {
            return Err(failed("the number is too large for an int: use a long"));
        }
        Ok(())
    }

    /// A number of seven bits a byte, the lowest first, that says by its lowest bit whether it is negative.
    fn long(&mut self) -> Walked<i64> {
        let mut number = 0_u64;
        for (at, &byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte has room for one bit.
            if at == 9 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(match self.rest.len() {
            0..10 => failed("the payload ends within a number"),
            _ => failed("a number has more than 64 bits"),
        })
    }

    fn take(&mut self, length: usize) -> Walked<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => {
                let what = format!("{length} bytes should follow, and the payload ends after {}", self.rest.len());
                Err(failed(what))
            }
        }
    }
}

/// Whether a text is a UUID in the form of RFC 9562.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
