//! What older systems call a topic or a user, as Tilde may call it. Two that differ stay two: what is not allowed in a name
//! here is written as `%XX`, and so is the percent sign; what would be too long becomes its hash.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::model::limits;

/// A hash stands behind this; no escaped name begins so.
const HASHED: &str = "%#";
/// Of a subscription's name, each part: two of them and the system's name are a name.
const PART_BYTES: usize = (limits::NAME_BYTES - 15) / 2;
/// The empty name; no other escaped name is this.
const EMPTY: &str = "%";

/// A topic for what a system calls by these bytes.
pub fn topic(bytes: &[u8]) -> String {
    let mut name = escaped(bytes, "");
    if name.starts_with('$') {
        name.replace_range(..1, "%24");
    }
    match name.len() {
        0 => EMPTY.to_owned(),
        1..=limits::TOPIC_BYTES => name,
        _ => hashed(bytes),
    }
}

/// A subscription for what a system calls by these two: a word for the system, and a part each. Those of a system with the
/// same first part begin alike.
pub fn subscription(system: &str, first: &[u8], second: &[u8]) -> String {
    format!("{}{}", subscriptions(system, first), part(second))
}

/// What the names of subscriptions begin with that have this first part.
pub fn subscriptions(system: &str, first: &[u8]) -> String {
    format!("{system}/{}/", part(first))
}

fn part(bytes: &[u8]) -> String {
    let name = escaped(bytes, "/");
    if name.len() <= PART_BYTES { name } else { hashed(bytes) }
}

fn escaped(bytes: &[u8], besides: &str) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '~' | '%' => escape(letter.encode_utf8(&mut [0; 4]).as_bytes(), &mut out),
                letter if letter.is_control() || besides.contains(letter) => {
                    escape(letter.encode_utf8(&mut [0; 4]).as_bytes(), &mut out);
                }
                letter => out.push(letter),
            }
        }
        escape(chunk.invalid(), &mut out);
    }
    out
}

fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let written = write!(out, "%{byte:02X}");
        debug_assert!(written.is_ok(), "memory takes what is written");
    }
}

fn hashed(bytes: &[u8]) -> String {
    let mut out = HASHED.to_owned();
    for byte in Sha256::digest(bytes) {
        let written = write!(out, "{byte:02x}");
        debug_assert!(written.is_ok(), "memory takes what is written");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{SubscriptionName, Topic};

    #[test]
    fn what_is_plain_stays_as_it_is() {
        assert_eq!(topic(b"kittens_and_puppies"), "kittens_and_puppies");
        assert_eq!(topic("你好世界/a?".as_bytes()), "你好世界/a?");
        assert_eq!(topic(b"a~b%c\n\xff"), "a%7Eb%25c%0A%FF");
        assert_eq!((topic(b"").as_str(), topic(b"$x").as_str()), ("%", "%24x"));
        assert_eq!(subscription("mailbox", b"a/b", b"alice"), "mailbox/a%2Fb/alice");
        let (first, second) = ("a".repeat(300), format!("{}b", "a".repeat(299)));
        let long = |text: &str| subscription("mailbox", text.as_bytes(), b"u");
        assert!(long(&first).len() < 100 && long(&first) != long(&second));
        assert!(long(&first).starts_with(&subscriptions("mailbox", first.as_bytes())));
    }

    proptest! {
        #[test]
        fn names_are_allowed_and_two_that_differ_stay_two(
            names in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..6), 2..20),
            long in proptest::collection::vec(any::<u8>(), 1000..1200),
        ) {
            let topics: BTreeSet<_> = names.iter().map(|name| topic(name)).collect();
            prop_assert_eq!(topics.len(), names.len());
            prop_assert!(topics.iter().all(|name| Topic::parse_writable(name.as_str()).is_ok()));
            prop_assert!(Topic::parse_writable(topic(&long)).is_ok());
            let pairs: Vec<_> = names.iter().zip(names.iter().skip(1)).collect();
            let subscriptions: BTreeSet<_> = pairs.iter().map(|(a, b)| subscription("x", a, b)).collect();
            prop_assert_eq!(subscriptions.len(), pairs.len());
            prop_assert!(subscriptions.iter().all(|name| SubscriptionName::parse(name).is_ok()));
            prop_assert!(SubscriptionName::parse(&subscription("webhook-inbox", &long, &long)).is_ok());
        }
    }
}
