//! Where a message is published.

use std::{borrow::Cow, fmt};

use super::{Error, Reason, Result, limits};

/// A topic: UTF-8, 1 to 1,024 bytes, no control characters, no `~`. Topics that begin with `$` are the broker's own. It
/// may be borrowed from the request that named it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(Cow<'a, str>);

impl<'a> Topic<'a> {
    /// Checks a name once; from then on it is a type.
    pub fn parse(name: impl Into<Cow<'a, str>>) -> Result<Self> {
        let name = name.into();
        check(&name, "topic", limits::TOPIC_BYTES)
            .and_then(|()| match name.contains('~') {
                true => Err("a topic holds no `~`: that is for patterns, which subscribers use".into()),
                false => Ok(()),
            })
            .map_err(|message| Error::new(Reason::TopicInvalid, message).field("topic"))?;
        Ok(Topic(name))
    }

    /// The same, borrowed from nothing.
    pub fn into_owned(self) -> Topic<'static> {
        Topic(self.0.into_owned().into())
    }

    /// Checks a name to which a client wants to publish: as [`Topic::parse`], and not one of the broker's own, but for those
    /// where the replies to calls are awaited.
    pub fn parse_writable(name: impl Into<Cow<'a, str>>) -> Result<Self> {
        let topic = Topic::parse(name)?;
        if topic.is_reserved() && !topic.is_reply() {
            let message = "topics that begin with `$` are written by the broker alone: choose another first character";
            return Err(Error::new(Reason::TopicInvalid, message).field("topic"));
        }
        Ok(topic)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the replies to calls are awaited there.
    pub fn is_reply(&self) -> bool {
        let number = self.0.strip_prefix(REPLIES);
        number.is_some_and(|number| number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
    }

    /// Whether it is one of the broker's own.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }
}

/// Where the replies to calls are awaited: a topic for each broker begins so, and ends in 16 hexadecimal digits.
pub const REPLIES: &str = "$reply/";

/// Whether a topic's name is one of the broker's own.
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$')
}

/// The rules that topics, patterns and names share. The error is a sentence about `what`.
pub fn check(name: &str, what: &str, most: usize) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the {what} is empty: it takes 1 to {most} bytes"));
    }
    if name.len() > most {
        return Err(format!("the {what} has {} bytes: at most {most} are allowed", name.len()));
    }
    // Nearly all names are plain: they are looked at byte by byte.
    if name.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return Ok(());
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, c)) => Err(format!("the {what} holds the control character {c:?} at byte {at}: take it out")),
        None => Ok(()),
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken_and_names_that_are_not() {
        for good in ["a", "orders/eu.de", "ä ö", "$dead/x", "a\u{200b}b", &"x".repeat(1024)] {
            assert!(Topic::parse(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a~", "~", "a\nb", "a\u{7f}", "\u{85}", &"x".repeat(1025)] {
            assert_eq!(Topic::parse(bad).unwrap_err().reason(), Reason::TopicInvalid, "{bad:?}");
        }
        for own in ["$dead/x", "$reply/", "$reply/0", "$reply/000000000000000g", "$reply/0123456789abcdef0"] {
            assert!(Topic::parse_writable(own).is_err(), "{own}");
        }
        assert!(Topic::parse_writable("$reply/0123456789abcdef").is_ok());
    }
}
