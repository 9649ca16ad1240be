//! What subscriptions and their consumers are called.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::model::{Error, Reason, Result, limits, topic};

/// A subscription's name: 1 to 255 bytes, by the rules of topics. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionName(Arc<str>);

impl SubscriptionName {
    /// Checks a name once; from then on it is a type.
    pub fn parse(name: &str) -> Result<Self> {
        check(name, "subscription's name", "name").map(SubscriptionName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A consumer's name: 1 to 255 bytes, by the rules of topics. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(Arc<str>);

impl ConsumerName {
    /// Checks a name once; from then on it is a type.
    pub fn parse(name: &str) -> Result<Self> {
        check(name, "consumer_id", "consumer_id").map(ConsumerName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str, what: &str, field: &str) -> Result<Arc<str>> {
    let refuse = |message: String| Error::new(Reason::SubscriptionInvalid, message).field(field);
    topic::check(name, what, limits::NAME_BYTES).map_err(refuse)?;
    match name.contains('~') {
        true => Err(refuse(format!("a {what} holds no `~`: that is for patterns"))),
        false => Ok(name.into()),
    }
}

impl fmt::Display for SubscriptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for SubscriptionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_topics() {
        assert_eq!(SubscriptionName::parse("orders/eu").unwrap().as_str(), "orders/eu");
        assert_eq!(ConsumerName::parse(&"x".repeat(255)).unwrap().as_str().len(), 255);
        for bad in ["", "a~", "a\n", &"x".repeat(256)] {
            let refusals = [SubscriptionName::parse(bad).unwrap_err(), ConsumerName::parse(bad).unwrap_err()];
            assert_eq!(refusals.each_ref().map(Error::reason), [Reason::SubscriptionInvalid; 2], "{bad:?}");
            assert_eq!(refusals.each_ref().map(Error::violated_field), [Some("name"), Some("consumer_id")]);
        }
    }
}
