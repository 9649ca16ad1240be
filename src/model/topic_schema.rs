//! What topics demand of payloads: a pattern, how much it matters, and where the schema is. Never knows a schema.

use std::{borrow::Cow, fmt};

use super::{Error, Pattern, Reason, Result, limits, topic};

/// Behind a topic's name, the subject that serializers take unless they are told otherwise.
const SUFFIX: &str = "-value";

/// One rule. Of several the first whose pattern matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSchema {
    /// For which topics.
    pub pattern: Pattern,
    /// How much it matters.
    pub enforcement: Enforcement,
    /// Whose versions payloads must be; empty: the topic's name and `-value`.
    pub subject: Box<str>,
}

/// What becomes of a payload that is not as its schema says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// It is taken, and nobody looks.
    Off,
    /// It is taken, counted, and told in the log.
    Warn,
    /// It is refused.
    #[default]
    Enforce,
}

impl TopicSchema {
    /// Checks a rule.
    pub fn parse(pattern: &str, enforcement: Enforcement, subject: &str) -> Result<Self> {
        let refuse = |what: String| Error::new(Reason::NamespaceInvalid, what);
        let pattern = Pattern::parse(pattern).map_err(|error| refuse(error.message().to_owned()).field("pattern"))?;
        if !subject.is_empty() {
            topic::check(subject, "subject", limits::NAME_BYTES).map_err(|what| refuse(what).field("subject"))?;
        }
        Ok(TopicSchema { pattern, enforcement, subject: subject.into() })
    }

    /// Whose versions the payloads of a topic must be.
    pub fn subject_of(&self, topic: &str) -> Cow<'_, str> {
        match self.subject.is_empty() {
            true => Cow::Owned(format!("{topic}{SUFFIX}")),
            false => Cow::Borrowed(&self.subject),
        }
    }
}

impl Enforcement {
    /// Every one, with its word.
    pub const ALL: [(Enforcement, &str); 3] =
        [(Enforcement::Off, "off"), (Enforcement::Warn, "warn"), (Enforcement::Enforce, "enforce")];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Enforcement::ALL.iter().find(|(known, _)| *known == self).expect("all are listed").1
    }
}

/// As flags and stored settings write it: `PATTERN=ENFORCEMENT`, and `:SUBJECT` if one is named.
impl fmt::Display for TopicSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.enforcement.as_str())?;
        match self.subject.is_empty() {
            true => Ok(()),
            false => write!(f, ":{}", self.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_subject_or_goes_by_the_topic() {
        let rule = TopicSchema::parse("orders/~", Enforcement::Warn, "").unwrap();
        assert_eq!(
            (rule.subject_of("orders/eu"), rule.to_string()),
            ("orders/eu-value".into(), "orders/~=warn".into())
        );
        let rule = TopicSchema::parse("a", Enforcement::default(), "s").unwrap();
        assert_eq!((rule.subject_of("a"), rule.to_string()), ("s".into(), "a=enforce:s".into()));
        let refusal = TopicSchema::parse("", Enforcement::Off, "").unwrap_err();
        assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::NamespaceInvalid, Some("pattern")));
        assert_eq!(TopicSchema::parse("a", Enforcement::Off, "\n").unwrap_err().violated_field(), Some("subject"));
    }
}
