//! Which later schemas may follow earlier ones. The levels are those of Confluent's registry: `BACKWARD` lets the new
//! schema read what the earlier one wrote, `FORWARD` the earlier one what the new one writes, `FULL` both; the
//! transitive levels look at all earlier ones instead of the last. What one may read of another is for each kind of
//! schema to say.

use std::{borrow::Borrow, fmt, str::FromStr};

use super::{Schema, definition::Rules, fault::Fault, path};

/// How far apart a schema and those before it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compatibility {
    /// Anything goes.
    None,
    /// Whoever reads by the new one reads what the last one wrote. What the registry does unasked.
    #[default]
    Backward,
    /// Whoever reads by the new one reads what any earlier one wrote.
    BackwardTransitive,
    /// Whoever reads by the last one reads what the new one writes.
    Forward,
    /// Whoever reads by any earlier one reads what the new one writes.
    ForwardTransitive,
    /// Backward and forward.
    Full,
    /// Backward and forward with any earlier one.
    FullTransitive,
}

/// Why a schema may not follow an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// Which of the earlier ones, counted from 0 and the oldest.
    pub earlier: usize,
    /// Whether it is the new one that cannot read what the earlier one wrote; else it is the other way round.
    pub backward: bool,
    /// Where: in the data as in [`super::Violation`], with `[*]` for any item and `.*` for any member; in Protobuf among
    /// the file's messages, as in `$.Order.items`.
    pub path: String,
    /// What is in the way.
    pub what: String,
}

impl Compatibility {
    /// Every level there is.
    pub const ALL: [Compatibility; 7] = [
        Compatibility::None,
        Compatibility::Backward,
        Compatibility::BackwardTransitive,
        Compatibility::Forward,
        Compatibility::ForwardTransitive,
        Compatibility::Full,
        Compatibility::FullTransitive,
    ];

    /// Its name in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Compatibility::None => "NONE",
            Compatibility::Backward => "BACKWARD",
            Compatibility::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Compatibility::Forward => "FORWARD",
            Compatibility::ForwardTransitive => "FORWARD_TRANSITIVE",
            Compatibility::Full => "FULL",
            Compatibility::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    fn looks_backward(self) -> bool {
        use Compatibility::{Backward, BackwardTransitive, Full, FullTransitive};
        matches!(self, Backward | BackwardTransitive | Full | FullTransitive)
    }

    fn looks_forward(self) -> bool {
        use Compatibility::{Forward, ForwardTransitive, Full, FullTransitive};
        matches!(self, Forward | ForwardTransitive | Full | FullTransitive)
    }

    /// Whether it looks at all earlier versions instead of the last.
    pub fn is_transitive(self) -> bool {
        use Compatibility::{BackwardTransitive, ForwardTransitive, FullTransitive};
        matches!(self, BackwardTransitive | ForwardTransitive | FullTransitive)
    }
}

/// Whether `new` may follow `earlier`, the oldest first: nothing is in the way if nothing comes back.
pub fn check(level: Compatibility, new: &Schema, earlier: &[impl Borrow<Schema>]) -> Vec<Incompatible> {
    let first = if level.is_transitive() { 0 } else { earlier.len().saturating_sub(1) };
    let mut found = Vec::new();
    for (at, earlier) in earlier.iter().map(Borrow::borrow).enumerate().skip(first) {
        let faults = |backward, reader, writer| {
            let told = move |Fault { path, what }| Incompatible { earlier: at, backward, path, what };
            read(reader, writer).into_iter().map(told)
        };
        if level.looks_backward() {
            found.extend(faults(true, new, earlier));
        }
        if level.looks_forward() {
            found.extend(faults(false, earlier, new));
        }
    }
    found
}

/// What keeps `reader` from reading what `writer` wrote.
fn read(reader: &Schema, writer: &Schema) -> Vec<Fault> {
    match (&reader.rules, &writer.rules) {
        (Rules::Avro(reader), Rules::Avro(writer)) => reader.read(writer),
        (Rules::Json(reader), Rules::Json(writer)) => reader.read(writer),
        (Rules::Protobuf(reader), Rules::Protobuf(writer)) => reader.read(writer),
        _ => {
            let what = format!("{} was written, and {} cannot read it", writer.kind(), reader.kind());
            vec![Fault::new(path::ROOT, what)]
        }
    }
}

impl Incompatible {
    /// A sentence, for which the earlier schema is the version of that number.
    pub fn said_of(&self, version: u32) -> String {
        let Incompatible { backward, path, what, .. } = self;
        match backward {
            true => format!("it cannot read what version {version} wrote, at {path}: {what}"),
            false => format!("version {version} cannot read what it writes, at {path}: {what}"),
        }
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compatibility {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Compatibility::ALL.into_iter().find(|level| level.as_str() == text);
        named.ok_or_else(|| {
            let names = Compatibility::ALL.map(Compatibility::as_str).join(", ");
            format!("{text:?} is no level of compatibility: use one of {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, testing::schema};
    use super::*;

    #[test]
    fn levels_are_read_as_they_are_written() {
        for level in Compatibility::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("full".parse::<Compatibility>().unwrap_err().contains("FULL_TRANSITIVE"));
    }

    #[test]
    fn kinds_do_not_follow_one_another() {
        let (avro, json) = (schema(Kind::Avro, "\"int\""), schema(Kind::Json, "{\"type\": \"integer\"}"));
        let found = check(Compatibility::Backward, &json, &[&avro]);
        assert_eq!(found[0].what, "AVRO was written, and JSON cannot read it");
        assert_eq!(check(Compatibility::None, &json, &[&avro]), []);
    }

    #[test]
    fn a_schema_may_be_shared() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&schema(Kind::Json, "true"));
    }
}
