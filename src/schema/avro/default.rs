//! Whether the defaults of fields are values of their types. Never fills one in.

use serde_json::Value;

use super::super::Broken;
use super::{
    encode::latin,
    types::{Id, Logical, Primitive, Type, Types},
};

/// Defaults that are to be looked at.
#[derive(Debug, Default)]
pub struct Defaults {
    expected: Vec<Expected>,
}

/// A default, the type it has to have, and where it stands.
#[derive(Debug)]
struct Expected {
    kind: Id,
    value: Value,
    path: String,
}

/// What all defaults together may cost, in pairs of a value and a type: unions in unions' records could ask for
/// exponentially many.
const COST: usize = 100_000;
/// Characters of a default that are shown.
const SHOWN: usize = 40;

impl Defaults {
    /// Will look at a default, once its type is complete.
    pub fn expect(&mut self, kind: Id, value: Value, path: String) {
        self.expected.push(Expected { kind, value, path });
    }

    /// Looks at what is there.
    pub fn check(&mut self, types: &Types) -> Result<(), Broken> {
        let mut checker = Checker { types, left: COST };
        for Expected { kind, value, path } in self.expected.drain(..) {
            let fits = checker.fits(&value, kind);
            if checker.left == 0 {
                return Err(Broken::new(path, "the defaults take too long to look at: make them simpler"));
            }
            if !fits {
                let shown: String = value.to_string().chars().take(SHOWN).collect();
                let what = format!("the default {shown} is no {}: change one of them", types.get(kind).title());
                return Err(Broken::new(path, what));
            }
        }
        Ok(())
    }
}

struct Checker<'a> {
    types: &'a Types,
    left: usize,
}

impl Checker<'_> {
    /// Recurses only into the value, whose depth is that of the document.
    fn fits(&mut self, value: &Value, kind: Id) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let types = self.types;
        match (types.get(kind), value) {
            (Type::Primitive(Primitive::Null), Value::Null) => true,
            (Type::Primitive(Primitive::Boolean), Value::Bool(_)) => true,
            (Type::Primitive(Primitive::Int), value) => {
                value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
            }
            (Type::Primitive(Primitive::Long), value) => value.as_i64().is_some(),
            (Type::Primitive(Primitive::Float | Primitive::Double), Value::Number(_)) => true,
            (Type::Logical(Primitive::String, Logical::Uuid), Value::String(_)) => true,
            (Type::Primitive(Primitive::String), Value::String(_)) => true,
            (Type::Primitive(Primitive::Bytes) | Type::Logical(Primitive::Bytes, _), Value::String(text)) => {
                latin(text).is_some()
            }
            (Type::Fixed(_, size, _), Value::String(text)) => latin(text).is_some_and(|bytes| bytes.len() == *size),
            (Type::Enum(symbols), Value::String(text)) => symbols.symbols.contains(text),
            (Type::Array(items), Value::Array(values)) => values.iter().all(|value| self.fits(value, *items)),
            (Type::Map(values), Value::Object(members)) => members.values().all(|value| self.fits(value, *values)),
            // Of any branch, since 1.12; before, it had to be of the first.
            (Type::Union(branches), value) => branches.iter().any(|branch| self.fits(value, *branch)),
            (Type::Record(record), Value::Object(members)) => {
                record.fields.iter().all(|field| match members.get(&field.name) {
                    Some(value) => self.fits(value, field.kind),
                    None => field.default.is_some(),
                })
            }
            _ => false,
        }
    }
}
