//! Where events may go, as it is configured. Names compare without case. Pure.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// In capital letters: so it stands in keys and in events.
    pub name: String,
    /// Where its events are published.
    pub output_topic: String,
    /// The subject of the registry whose newest schema they are written in.
    pub output_subject: String,
}

/// Destinations by their names, as JSON or TOML has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured(Vec<(String, Parts)>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parts {
    output_topic: String,
    output_subject: String,
}

/// Why it makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonsense(String);

impl Configured {
    /// Reads the text of a flag: `{"FINANCE": {"output_topic": "…", "output_subject": "…"}, …}`.
    pub fn from_json(text: &str) -> Result<Self, Nonsense> {
        serde_json::from_str(text).map_err(|error| match error.is_data() {
            true => Nonsense(format!("the destination configurations make no sense: {error}")),
            false => Nonsense(format!("the destination configurations are no JSON: {error}")),
        })
    }

    /// The destinations, by name; at least one.
    pub fn destinations(&self) -> Result<Vec<Destination>, Nonsense> {
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        let mut destinations = Vec::new();
        for (written, Parts { output_topic, output_subject }) in &self.0 {
            let name = canonical(written);
            if name.is_empty() {
                return Err(Nonsense("a destination has an empty name".to_owned()));
            }
            for (part, value) in [("output_topic", output_topic), ("output_subject", output_subject)] {
                if value.is_empty() {
                    return Err(Nonsense(format!("destination {written:?} has no {part}")));
                }
            }
            if output_topic.contains('~') {
                return Err(Nonsense(format!(
                    "destination {written:?} has a pattern as output_topic: a topic has no `~`"
                )));
            }
            if let Some(other) = known.insert(name.clone(), written) {
                let what = match other == written {
                    true => format!("destination {written:?} is there twice"),
                    false => format!("destinations {other:?} and {written:?} are the same, as case does not count"),
                };
                return Err(Nonsense(what));
            }
            let (output_topic, output_subject) = (output_topic.clone(), output_subject.clone());
            destinations.push(Destination { name, output_topic, output_subject });
        }
        destinations.sort_by(|one: &Destination, other| one.name.cmp(&other.name));
        match destinations.is_empty() {
            true => Err(Nonsense("there is no destination: configure one at least".to_owned())),
            false => Ok(destinations),
        }
    }
}

impl<'de> Deserialize<'de> for Configured {
    /// Keeps what is named twice, so that it can be refused.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Configured;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("destinations by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Configured, A::Error> {
                let mut named = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    named.push(entry);
                }
                Ok(Configured(named))
            }
        }
        from.deserialize_map(Names)
    }
}

/// A destination's name as it is compared.
pub fn canonical(name: &str) -> String {
    name.trim().to_uppercase()
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Destination>, String> {
        let destinations = Configured::from_json(text).and_then(|configured| configured.destinations());
        destinations.map_err(|nonsense| nonsense.to_string())
    }

    #[test]
    fn names_are_in_capital_letters() {
        let text = r#"{"marketing": {"output_topic": "m", "output_subject": "s"},
            "FINANCE": {"output_topic": "f", "output_subject": "s"}}"#;
        let found = read(text).unwrap();
        let told: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.output_topic.as_str())).collect();
        assert_eq!(told, [("FINANCE", "f"), ("MARKETING", "m")]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, expected) in [
            (r#"{"A": {"output_topic": "m"}}"#, r#"destination "A" has no output_subject"#),
            (r#"{"A": {"output_subject": "m"}}"#, r#"destination "A" has no output_topic"#),
            (r#"{"A": {"output_topic": "m", "output_subject": ""}}"#, r#"destination "A" has no output_subject"#),
            ("{}", "there is no destination"),
            (r#"{"A": {"output_topic": "m~", "output_subject": "s"}}"#, "a topic has no `~`"),
            (r#"{" ": {"output_topic": "m", "output_subject": "s"}}"#, "empty name"),
            (r#"{"A": {"output_topic": "m", "output_subject": "s", "x": 1}}"#, "unknown field `x`"),
            (r#"{"A": {"output_topic": 7, "output_subject": "s"}}"#, "make no sense"),
            ("[]", "make no sense"),
            (
                r#"{"A": {"output_topic": "m", "output_subject": "s"}, "A": {"output_topic": "m", "output_subject": "s"}}"#,
                r#"destination "A" is there twice"#,
            ),
            ("{", "no JSON"),
            (
                r#"{"a": {"output_topic": "m", "output_subject": "s"}, "A": {"output_topic": "m", "output_subject": "s"}}"#,
                r#"destinations "a" and "A" are the same"#,
            ),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
    }
}
