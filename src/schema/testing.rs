//! What the tests of all kinds share: schemas from texts, and what is expected of two of them.

use super::{Compatibility, Kind, Referenced, Schema, compatibility::check};

pub fn schema(kind: Kind, text: &str) -> Schema {
    Schema::parse(kind, text, &[]).unwrap_or_else(|broken| panic!("{broken}\n{text}"))
}

/// Two schemas, an earlier and a new one, and whether the new one reads what the earlier wrote, and the other way round.
pub struct Pair(pub &'static str, pub &'static str, pub &'static str, pub bool, pub bool);

impl Pair {
    /// The verdict in every mode that looks at one earlier schema.
    pub fn hold(&self, kind: Kind) {
        let Pair(name, earlier, new, backward, forward) = self;
        let (earlier, new) = (schema(kind, earlier), schema(kind, new));
        for (level, expected) in [
            (Compatibility::None, true),
            (Compatibility::Backward, *backward),
            (Compatibility::Forward, *forward),
            (Compatibility::Full, *backward && *forward),
        ] {
            let found = check(level, &new, &[&earlier]);
            assert_eq!(found.is_empty(), expected, "{name}, {level}: {found:?}");
            assert!(found.iter().all(|found| found.path.starts_with('$') && !found.what.is_empty()), "{found:?}");
        }
        for same in [&earlier, &new] {
            assert_eq!(check(Compatibility::FullTransitive, same, &[same]), [], "{name}: a schema reads itself");
        }
    }
}

/// A text that is no schema, where it is broken, and a part of the sentence.
pub fn broken(kind: Kind, text: &str, path: &str, what: &str) {
    broken_with(kind, text, &[], path, what);
}

pub fn broken_with(kind: Kind, text: &str, references: &[Referenced<'_>], path: &str, what: &str) {
    let shown: String = text.chars().take(200).collect();
    let broken = Schema::parse(kind, text, references).err().unwrap_or_else(|| panic!("it is no schema: {shown}"));
    assert_eq!(broken.path, path, "{broken}: {shown}");
    assert!(broken.what.contains(what), "{broken}: {shown}");
}

/// A payload that breaks its schema, where, and a part of the sentence.
pub fn violates(schema: &Schema, payload: &[u8], path: &str, what: &str) {
    let violation = schema.validate(payload).expect_err(what);
    assert_eq!(violation.path, path, "{violation}");
    assert!(violation.what.contains(what), "{violation}");
}
