//! Who numbers its messages, so that sending them again publishes nothing twice.

use std::{fmt, sync::Arc};

use super::{Error, Reason, Result, limits, topic};

/// A producer's name: 1 to 255 bytes, by the rules of topics. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerName(Arc<str>);

impl ProducerName {
    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self> {
        let refuse = |message: String| Error::new(Reason::RequestInvalid, message).field("producer_id");
        topic::check(name, "producer_id", limits::NAME_BYTES).map_err(refuse)?;
        if name.contains('~') {
            return Err(refuse("a producer_id holds no `~`: that is for patterns".to_owned()));
        }
        Ok(ProducerName(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProducerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ProducerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_topics() {
        assert_eq!(ProducerName::parse("till-7").unwrap().as_str(), "till-7");
        for bad in ["", "a~", "a\n", &"x".repeat(256)] {
            assert_eq!(ProducerName::parse(bad).unwrap_err().violated_field(), Some("producer_id"), "{bad:?}");
        }
    }
}
