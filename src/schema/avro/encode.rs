//! Values as Avro has them in bytes: numbers, texts, and the defaults of fields. Never asks whether a default is of its
//! type, which [`default`](super::default) has.

use serde_json::Value;

use super::{
    types::{Id, Logical, Primitive, Record, Type, Types},
    walk::is_uuid,
};

/// What the defaults of a record may cost, in pairs of a value and a type: one may ask for others, and these for theirs.
const COST: usize = 100_000;
/// Bytes that they may have, about.
const BYTES: usize = 1 << 20;
/// Levels of a default, one within the other: as many as payloads may have.
const DEPTH: usize = 100;

/// Seven bits a byte, the lowest first; the lowest of all says whether it is negative.
pub fn long(number: i64, out: &mut Vec<u8>) {
    let mut bits = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// Bytes, or a text, with their length before them.
pub fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    index(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// The number of a branch or symbol, or how many items there are.
pub fn index(index: usize, out: &mut Vec<u8>) {
    long(i64::try_from(index).expect("nothing in memory has so many parts"), out);
}

/// Makes bytes of defaults, one behind the other.
pub struct Defaults<'a> {
    types: &'a Types,
    left: usize,
    depth: usize,
    /// What was made so far.
    pub out: Vec<u8>,
}

impl<'a> Defaults<'a> {
    pub fn new(types: &'a Types) -> Self {
        Defaults { types, left: COST, depth: DEPTH, out: Vec::new() }
    }

    /// Appends one; false if it is endless or too large, or a UUID that is none, and then what was appended makes no sense.
    pub fn add(&mut self, value: &Value, kind: Id) -> bool {
        if self.left == 0 || self.out.len() > BYTES {
            return false;
        }
        self.left -= 1;
        let types = self.types;
        match (types.get(kind), value) {
            (Type::Primitive(primitive), value) => self.primitive(value, *primitive),
            (Type::Logical(Primitive::String, Logical::Uuid), value) => {
                value.as_str().is_some_and(is_uuid) && self.primitive(value, Primitive::String)
            }
            (Type::Logical(..), value) => self.primitive(value, Primitive::Bytes),
            (Type::Fixed(_, size, _), Value::String(text)) => {
                put(latin(text).filter(|bytes| bytes.len() == *size), |bytes| self.out.extend(bytes))
            }
            (Type::Enum(symbols), Value::String(text)) => {
                put(symbols.symbols.iter().position(|symbol| symbol == text), |at| index(at, &mut self.out))
            }
            (Type::Array(items), Value::Array(values)) => self
                .deeper(|defaults| defaults.block(values.len(), values, |defaults, value| defaults.add(value, *items))),
            (Type::Map(kind), Value::Object(members)) => self.deeper(|defaults| {
                defaults.block(members.len(), members, |defaults, (name, value)| {
                    bytes(name.as_bytes(), &mut defaults.out);
                    defaults.add(value, *kind)
                })
            }),
            (Type::Union(branches), value) => branches.iter().enumerate().any(|(at, branch)| {
                let begin = self.out.len();
                index(at, &mut self.out);
                let fits = self.add(value, *branch);
                if !fits {
                    self.out.truncate(begin);
                }
                fits
            }),
            (Type::Record(record), Value::Object(members)) => {
                self.deeper(|defaults| defaults.record(record, |name| members.get(name)))
            }
            _ => false,
        }
    }

    fn primitive(&mut self, value: &Value, kind: Primitive) -> bool {
        let out = &mut self.out;
        match kind {
            Primitive::Null => value.is_null(),
            Primitive::Boolean => put(value.as_bool(), |value| out.push(value.into())),
            Primitive::Int => {
                put(value.as_i64().filter(|number| i32::try_from(*number).is_ok()), |number| long(number, out))
            }
            Primitive::Long => put(value.as_i64(), |number| long(number, out)),
            Primitive::Float => put(value.as_f64(), |number| out.extend((number as f32).to_le_bytes())),
            Primitive::Double => put(value.as_f64(), |number| out.extend(number.to_le_bytes())),
            Primitive::Bytes => put(value.as_str().and_then(latin), |value| bytes(&value, out)),
            Primitive::String => put(value.as_str(), |text| bytes(text.as_bytes(), out)),
        }
    }

    /// Items in one block, and the end.
    fn block<T>(
        &mut self,
        count: usize,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T) -> bool,
    ) -> bool {
        if count > 0 {
            index(count, &mut self.out);
        }
        items.into_iter().all(|value| item(self, value)) && put(Some(0), |end| index(end, &mut self.out))
    }

    /// A member that is missing takes the field's own default.
    fn record<'v>(&mut self, record: &'v Record, member: impl Fn(&str) -> Option<&'v Value>) -> bool {
        record.fields.iter().all(|field| {
            member(&field.name).or(field.default.as_ref()).is_some_and(|value| self.add(value, field.kind))
        })
    }

    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> bool) -> bool {
        if self.depth == 0 {
            return false;
        }
        self.depth -= 1;
        let fits = inner(self);
        self.depth += 1;
        fits
    }
}

/// Whether there is something, which is put where it belongs.
fn put<T>(value: Option<T>, put: impl FnOnce(T)) -> bool {
    value.map(put).is_some()
}

/// The bytes that a text stands for whose characters are bytes (ISO 8859-1).
pub fn latin(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect()
}
