//! Walks an encoded value along a schema that was compiled for it. Allocates nothing unless it fails, and never makes a
//! value; its time is bounded by the payload's bytes, whatever they claim.
//!
//! Stricter than a decoder has to be: a number has no more bytes than its type may have, a boolean is 0 or 1, a block's
//! size in bytes is what its items take, and nothing follows the value.

use std::str;

use super::super::violation::{Failed, failed};
use super::{
    plan::Op,
    types::{Id, Type, Types},
};

/// A walk under way.
pub struct Walk<'p, 'a> {
    ops: &'p [Op],
    types: &'p Types,
    rest: &'a [u8],
    /// Levels that are left.
    depth: usize,
    /// Items without bytes that are left.
    empty_items: u64,
}

pub type Walked<T = ()> = Result<T, Failed>;

impl<'p, 'a> Walk<'p, 'a> {
    /// At a payload's beginning, with as many levels and items without bytes as are allowed.
    pub fn new(ops: &'p [Op], types: &'p Types, payload: &'a [u8], depth: usize, empty_items: u64) -> Self {
        Walk { ops, types, rest: payload, depth, empty_items }
    }

    /// Whether all of the payload was walked.
    pub fn end(&self) -> Walked {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(failed(format!("{more} bytes follow the value: is it of another schema?"))),
        }
    }

    /// Walks a value.
    pub fn value(&mut self, kind: Id) -> Walked {
        match &self.ops[kind.index()] {
            Op::Skip => Ok(()),
            Op::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                other => Err(failed(format!("a boolean is the byte 0 or 1, not {}", other[0]))),
            },
            Op::Int => self.int().map(drop),
            Op::Long => self.long().map(drop),
            Op::Bytes => self.bytes().map(drop),
            Op::Text => self.text().map(drop),
            Op::Uuid => self.uuid().map(drop),
            Op::Fixed(size) => self.take(*size).map(drop),
            Op::Enum(symbols) => self.index(*symbols, "symbols").map(drop),
            Op::Union(branches) => {
                let branch = self.index(branches.len(), "branches")?;
                self.value(branches[branch])
            }
            Op::Array(items) => self.deeper(|walk| walk.array(*items)),
            Op::Map(values) => self.deeper(|walk| walk.map(*values)),
            Op::Record(fields) => self.record(kind, fields, |walk, field, _| walk.value(field)),
        }
    }

    /// Walks a value that is to be a text, and answers it. Bytes are one if they are UTF-8.
    pub fn text_within(&mut self, kind: Id) -> Walked<&'a str> {
        match &self.ops[kind.index()] {
            Op::Text => self.text(),
            Op::Bytes => utf8(self.bytes()?)
                .map_err(|at| failed(format!("the bytes are no UTF-8 from byte {at} on, and a text is wanted"))),
            Op::Uuid => self.uuid(),
            Op::Union(branches) => {
                let branch = self.index(branches.len(), "branches")?;
                self.text_within(branches[branch])
            }
            _ => Err(self.other(kind, "a text")),
        }
    }

    /// Walks a value that is to be a whole number, and answers it.
    pub fn long_within(&mut self, kind: Id) -> Walked<i64> {
        match &self.ops[kind.index()] {
            Op::Long => self.long(),
            Op::Int => self.int().map(i64::from),
            Op::Union(branches) => {
                let branch = self.index(branches.len(), "branches")?;
                self.long_within(branches[branch])
            }
            _ => Err(self.other(kind, "a whole number")),
        }
    }

    #[cold]
    fn other(&self, kind: Id, wanted: &str) -> Failed {
        failed(format!("{} is here, and {wanted} is wanted", self.types.get(kind).title()))
    }

    /// Walks a record, each field by `read`, which is told its index.
    pub fn record(
        &mut self,
        kind: Id,
        fields: &[(Id, u32)],
        mut read: impl FnMut(&mut Self, Id, u32) -> Walked,
    ) -> Walked {
        self.deeper(|walk| {
            for &(field, index) in fields {
                read(walk, field, index).map_err(|failed| walk.in_field(kind, index, failed))?;
            }
            Ok(())
        })
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
        utf8(self.bytes()?).map_err(|at| {
            failed(format!("the string is no UTF-8 from its byte {at} on: use bytes for what is no text"))
        })
    }

    fn uuid(&mut self) -> Walked<&'a str> {
        let text = self.text()?;
        match is_uuid(text) {
            true => Ok(text),
            false => Err(failed("the string is no UUID, as in 123e4567-e89b-12d3-a456-426655440000")),
        }
    }

    fn bytes(&mut self) -> Walked<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(failed(format!("the length {length} is negative"))),
        }
    }

    fn int(&mut self) -> Walked<i32> {
        let before = self.rest.len();
        let value = self.long()?;
        match i32::try_from(value) {
            Ok(value) if before - self.rest.len() <= 5 => Ok(value),
            _ => Err(failed("the number is too large for an int: use a long")),
        }
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

/// The text that bytes are, or else where they are none.
fn utf8(bytes: &[u8]) -> Result<&str, usize> {
    str::from_utf8(bytes).map_err(|fault| fault.valid_up_to())
}

/// Whether a text is a UUID in the form of RFC 9562.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
