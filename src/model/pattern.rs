//! What a subscriber asks for: an exact topic, or all that begin alike.

use std::{collections::HashSet, fmt};

use super::{Error, Reason, Result, limits, topic};

/// One pattern. Read from left to right; at the first `~` it matches, whatever follows in topic or pattern. Without
/// `~` it is the exact topic. `~` alone is every topic but those that begin with `$`, which only a pattern that
/// begins with `$` reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// The topic itself.
    Exact(Box<str>),
    /// Every topic that begins so. Empty: every topic that is not the broker's own.
    Prefix(Box<str>),
}

impl Pattern {
    /// Checks a pattern once; from then on it is a type.
    pub fn parse(text: &str) -> Result<Self> {
        topic::check(text, "pattern", limits::TOPIC_BYTES)
            .map_err(|message| Error::new(Reason::PatternInvalid, message).field("topics"))?;
        Ok(match text.split_once('~') {
            Some((prefix, _)) => Pattern::Prefix(prefix.into()),
            None => Pattern::Exact(text.into()),
        })
    }

    /// Whether a message of this topic is wanted.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Pattern::Exact(name) => **name == *topic,
            Pattern::Prefix(prefix) if prefix.is_empty() => !topic::is_reserved(topic),
            Pattern::Prefix(prefix) => topic.starts_with(&**prefix),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exact(name) => f.write_str(name),
            Pattern::Prefix(prefix) => write!(f, "{prefix}~"),
        }
    }
}

/// The patterns of one stream, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct PatternSet {
    patterns: Vec<Pattern>,
    exact: HashSet<Box<str>>,
    // Sorted, none of them the beginning of another: so the only candidate is the greatest that is not above the
    // topic (every text between a prefix and a topic that begins with it begins with it too).
    prefixes: Vec<Box<str>>,
    all: bool,
}

impl PatternSet {
    /// Parses the patterns of a request: 1 to 1,000 of them.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        if texts.is_empty() || texts.len() > limits::PATTERNS {
            let message = format!(
                "{} patterns are given: it takes 1 to {}, for example \"orders/~\", or \"~\" for everything",
                texts.len(),
                limits::PATTERNS
            );
            return Err(Error::new(Reason::PatternInvalid, message).field("topics"));
        }
        let parsed = texts.iter().map(|text| Pattern::parse(text.as_ref())).collect::<Result<Vec<_>>>()?;
        Ok(PatternSet::new(parsed))
    }

    /// A set of these patterns.
    pub fn new(mut patterns: Vec<Pattern>) -> Self {
        patterns.sort();
        patterns.dedup();
        let mut set = PatternSet { patterns, ..PatternSet::default() };
        for pattern in &set.patterns {
            match pattern {
                Pattern::Exact(name) => drop(set.exact.insert(name.clone())),
                Pattern::Prefix(prefix) if prefix.is_empty() => set.all = true,
                Pattern::Prefix(prefix) => match set.prefixes.last() {
                    Some(shorter) if prefix.starts_with(&**shorter) => {}
                    _ => set.prefixes.push(prefix.clone()),
                },
            }
        }
        set
    }

    /// Every topic that is not the broker's own.
    pub fn all() -> Self {
        PatternSet::new(vec![Pattern::Prefix("".into())])
    }

    /// The patterns, sorted, each once.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether every topic that is not the broker's own is wanted.
    pub fn wants_all(&self) -> bool {
        self.all
    }

    /// Whether any pattern matches.
    pub fn matches(&self, topic: &str) -> bool {
        if self.all && !topic::is_reserved(topic) {
            return true;
        }
        let candidates = self.prefixes.partition_point(|prefix| **prefix <= *topic);
        let by_prefix = candidates > 0 && topic.starts_with(&*self.prefixes[candidates - 1]);
        by_prefix || (!self.exact.is_empty() && self.exact.contains(topic))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as the contract words it, one character after the other.
    fn naive(pattern: &str, topic: &str) -> bool {
        if topic.starts_with('$') && !pattern.starts_with('$') {
            return false;
        }
        let mut rest = topic.chars();
        for c in pattern.chars() {
            if c == '~' {
                return true;
            }
            if rest.next() != Some(c) {
                return false;
            }
        }
        rest.next().is_none()
    }

    #[test]
    fn the_examples_of_the_contract() {
        let matches = |pattern: &str, topic: &str| Pattern::parse(pattern).unwrap().matches(topic);
        assert!(matches("ab~", "ab") && matches("ab~", "abc") && !matches("ab~", "a"));
        assert!(matches("a~z", "abc"));
        assert!(matches("~", "x") && !matches("~", "$dead/x") && matches("$~", "$dead/x"));
        assert!(!matches("A~", "abc"));
        assert!(Pattern::parse("").is_err() && Pattern::parse("a\n~").is_err());
    }

    proptest! {
        #[test]
        fn a_set_matches_what_one_of_its_patterns_matches(
            patterns in proptest::collection::vec("[$ab~]{1,4}", 1..12),
            topics in proptest::collection::vec("[$ab]{1,5}", 1..12),
        ) {
            let set = PatternSet::parse(&patterns).unwrap();
            for topic in topics {
                let expected = patterns.iter().any(|pattern| naive(pattern, &topic));
                prop_assert_eq!(set.matches(&topic), expected, "{:?} {}", patterns, topic);
            }
        }
    }
}
