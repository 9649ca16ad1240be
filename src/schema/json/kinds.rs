//! The kinds of values that JSON has, as a set.

use std::ops::BitAnd;

use serde_json::Value;

/// Some of the kinds. A number is whole or it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kinds(u8);

/// Each kind alone, with its name in a sentence.
const EACH: [(Kinds, &str); 7] = [
    (Kinds(1), "null"),
    (Kinds(2), "a boolean"),
    (Kinds::WHOLE, "an integer"),
    (Kinds(8), "a number with a fraction"),
    (Kinds::STRING, "a string"),
    (Kinds::ARRAY, "an array"),
    (Kinds::OBJECT, "an object"),
];

impl Kinds {
    pub const ALL: Kinds = Kinds(127);
    pub const NONE: Kinds = Kinds(0);
    pub const SMALL: Kinds = Kinds(3);
    pub const WHOLE: Kinds = Kinds(4);
    pub const NUMBER: Kinds = Kinds(12);
    pub const STRING: Kinds = Kinds(16);
    pub const ARRAY: Kinds = Kinds(32);
    pub const OBJECT: Kinds = Kinds(64);

    /// What the keyword `type` allows.
    pub fn named(value: &Value) -> Kinds {
        let one = |name: &Value| match name.as_str() {
            Some("null") => Kinds(1),
            Some("boolean") => Kinds(2),
            Some("integer") => Kinds::WHOLE,
            Some("number") => Kinds::NUMBER,
            Some("string") => Kinds::STRING,
            Some("array") => Kinds::ARRAY,
            Some("object") => Kinds::OBJECT,
            _ => Kinds::NONE,
        };
        match value {
            Value::Array(names) => names.iter().map(one).fold(Kinds::NONE, Kinds::with),
            name => one(name),
        }
    }

    /// The kind of a value.
    pub fn of(value: &Value) -> Kinds {
        match value {
            Value::Null => Kinds(1),
            Value::Bool(_) => Kinds(2),
            Value::Number(number) => match number.as_f64() {
                Some(number) if number.fract() != 0.0 => Kinds(8),
                _ => Kinds::WHOLE,
            },
            Value::String(_) => Kinds::STRING,
            Value::Array(_) => Kinds::ARRAY,
            Value::Object(_) => Kinds::OBJECT,
        }
    }

    pub fn with(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether they have one in common.
    pub fn meets(self, other: Kinds) -> bool {
        !(self & other).is_empty()
    }

    /// Each alone; a number stays one kind, since hardly a schema tells the two apart.
    pub fn each(self) -> impl Iterator<Item = Kinds> {
        let small = [Kinds(1), Kinds(2), Kinds::NUMBER, Kinds::STRING, Kinds::ARRAY, Kinds::OBJECT];
        small.into_iter().map(move |kind| kind & self).filter(|kind| !kind.is_empty())
    }

    /// For a sentence: `a string, null`.
    pub fn title(self) -> String {
        let names: Vec<_> = EACH.iter().filter(|(kind, _)| self.meets(*kind)).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

impl BitAnd for Kinds {
    type Output = Kinds;

    fn bitand(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }
}
