//! Walks an encoded message along its fields (<https://protobuf.dev/programming-guides/encoding/>). Allocates nothing
//! unless it fails or fields are required, and never makes a message. Fields that the schema does not have are skipped,
//! extensions too, as every decoder does.
//!
//! Stricter than a decoder has to be: a field that is there in another type's encoding is refused, not skipped, and a
//! string is UTF-8 in both syntaxes.

use std::str;

use super::super::{
    Violation,
    violation::{Failed, failed},
};
use super::table::{Field, Id, Label, Message, Scalar, Table, Type};

/// Whether a payload is a message, whose parts nest no deeper than so many levels.
pub fn check(table: &Table, message: Id, payload: &[u8], depth: usize) -> Result<(), Violation> {
    let mut rest = payload;
    Walk { table, depth }.message(table.get(message), &mut rest, None).map_err(|failed| failed.whole())
}

struct Walk<'a> {
    table: &'a Table,
    /// Levels that are left.
    depth: usize,
}

/// How a value is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Varint,
    Fixed64,
    Length,
    Start,
    End,
    Fixed32,
}

type Walked<T = ()> = Result<T, Failed>;

impl Walk<'_> {
    /// Reads fields to the end, or to the end of the group with this number.
    fn message(&mut self, message: &Message, rest: &mut &[u8], group: Option<u32>) -> Walked {
        let all = *rest;
        let mut seen = vec![false; message.required.len()];
        loop {
            if rest.is_empty() && group.is_none() {
                break;
            }
            let before = all.len() - rest.len();
            let (number, wire) = tag(rest)?;
            if wire == Wire::End {
                match group == Some(number) {
                    true => break,
                    false => return Err(failed(format!("the group {number} ends, which has not begun"))),
                }
            }
            let Some(at) = message.position(number) else {
                skip(number, wire, rest, self.depth)?;
                continue;
            };
            let field = &message.fields[at];
            self.field(field, wire, rest).map_err(|failed| match field.label {
                Label::Repeated => failed.item(earlier(number, &all[..before])).within(&field.name),
                _ => failed.within(&field.name),
            })?;
            if let Some(seen) = message.required.iter().position(|&required| required == at).map(|at| &mut seen[at]) {
                *seen = true;
            }
        }
        match message.required.iter().zip(seen).find(|(_, seen)| !seen) {
            Some((&at, _)) => Err(failed("it is required and not there").within(&message.fields[at].name)),
            None => Ok(()),
        }
    }

    fn field(&mut self, field: &Field, wire: Wire, rest: &mut &[u8]) -> Walked {
        match (field.kind, wire) {
            (Type::Message(id) | Type::Entry(id), Wire::Length) => {
                let mut inner = length(rest)?;
                self.deeper(|walk| walk.message(walk.table.get(id), &mut inner, None))
            }
            (Type::Group(id), Wire::Start) => {
                self.deeper(|walk| walk.message(walk.table.get(id), rest, Some(field.number)))
            }
            (Type::Scalar(scalar), wire) if wire == scalar.wire() => scalar.read(rest),
            // Numbers that repeat may stand packed, whatever the schema says.
            (Type::Scalar(scalar), Wire::Length) if field.label == Label::Repeated => {
                let mut inner = length(rest)?;
                while !inner.is_empty() {
                    scalar.read(&mut inner)?;
                }
                Ok(())
            }
            (kind, wire) => {
                let what =
                    format!("it is {} by the schema, and not encoded so: {}", kind.title(self.table), wire.title());
                Err(failed(what))
            }
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
}

impl Scalar {
    fn wire(self) -> Wire {
        match self {
            Scalar::Varint | Scalar::ZigZag => Wire::Varint,
            Scalar::Double | Scalar::Fixed64 => Wire::Fixed64,
            Scalar::Float | Scalar::Fixed32 => Wire::Fixed32,
            Scalar::String | Scalar::Bytes => Wire::Length,
        }
    }

    fn read(self, rest: &mut &[u8]) -> Walked {
        match self.wire() {
            Wire::Varint => varint(rest).map(drop),
            Wire::Fixed64 => take(8, rest).map(drop),
            Wire::Fixed32 => take(4, rest).map(drop),
            _ => {
                let bytes = length(rest)?;
                match self == Scalar::String && str::from_utf8(bytes).is_err() {
                    true => Err(failed("the string is no UTF-8: use bytes for what is no text")),
                    false => Ok(()),
                }
            }
        }
    }
}

impl Wire {
    fn title(self) -> &'static str {
        match self {
            Wire::Varint => "a varint is there",
            Wire::Fixed64 => "8 bytes are there",
            Wire::Fixed32 => "4 bytes are there",
            Wire::Length => "bytes with a length are there",
            Wire::Start | Wire::End => "a group is there",
        }
    }
}

/// How often a field was there before. Only asked of bytes that have been walked.
#[cold]
fn earlier(number: u32, mut before: &[u8]) -> u64 {
    let mut found = 0;
    while let Ok((other, wire)) = tag(&mut before) {
        found += u64::from(other == number);
        if skip(other, wire, &mut before, usize::MAX).is_err() {
            break;
        }
    }
    found
}

/// Skips the value of a field. Groups within groups are counted, not recursed into.
fn skip(number: u32, wire: Wire, rest: &mut &[u8], depth: usize) -> Walked {
    match wire {
        Wire::Varint => varint(rest).map(drop),
        Wire::Fixed64 => take(8, rest).map(drop),
        Wire::Fixed32 => take(4, rest).map(drop),
        Wire::Length => length(rest).map(drop),
        Wire::End => Err(failed(format!("the group {number} ends, which has not begun"))),
        Wire::Start => {
            let mut open = vec![number];
            while let Some(&last) = open.last() {
                match tag(rest)? {
                    (number, Wire::End) if number == last => drop(open.pop()),
                    (_, Wire::Start) if open.len() >= depth => {
                        return Err(failed("the value nests deeper than is allowed"));
                    }
                    (number, Wire::Start) => open.push(number),
                    (number, wire) => skip(number, wire, rest, depth)?,
                }
            }
            Ok(())
        }
    }
}

/// The number of a field, and how its value is encoded.
fn tag(rest: &mut &[u8]) -> Walked<(u32, Wire)> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Varint,
        1 => Wire::Fixed64,
        2 => Wire::Length,
        3 => Wire::Start,
        4 => Wire::End,
        5 => Wire::Fixed32,
        other => return Err(failed(format!("there is no wire type {other}: is the payload Protobuf?"))),
    };
    match u32::try_from(tag).map(|tag| tag >> 3) {
        Ok(number @ 1..) => Ok((number, wire)),
        _ => Err(failed("there is no field of this number: they go from 1 to 536870911")),
    }
}

fn varint(rest: &mut &[u8]) -> Walked<u64> {
    let mut number = 0;
    for (at, &byte) in rest.iter().enumerate().take(10) {
        // The tenth byte has room for one bit.
        if at == 9 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *rest = &rest[at + 1..];
            return Ok(number);
        }
    }
    Err(match rest.len() {
        0..10 => failed("the payload ends within a number"),
        _ => failed("a number has more than 64 bits"),
    })
}

fn length<'a>(rest: &mut &'a [u8]) -> Walked<&'a [u8]> {
    let length = varint(rest)?;
    take(usize::try_from(length).unwrap_or(usize::MAX), rest)
}

fn take<'a>(length: usize, rest: &mut &'a [u8]) -> Walked<&'a [u8]> {
    match rest.split_at_checked(length) {
        Some((taken, after)) => {
            *rest = after;
            Ok(taken)
        }
        None => Err(failed(format!("{length} bytes should follow, and the payload ends after {}", rest.len()))),
    }
}
