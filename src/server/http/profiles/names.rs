//! What older systems call a topic or a user, as Tilde may call it. Two that differ stay two: what is not allowed in a name
//! here is written as `%XX`, and so is the percent sign; what would be too long becomes its hash.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::model::limits;

/// A hash stands behind this; no escaped name begins so.
const HASHED: &str = "%#";
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
        _ => hashed("", &[bytes]),
    }
}

/// A subscription for what a system calls by these parts: a word for the system, and a part each.
pub fn subscription(system: &str, parts: &[&[u8]]) -> String {
    let names: Vec<_> = parts.iter().map(|part| escaped(part, "/")).collect();
    let name = format!("{system}/{}", names.join("/"));
    if name.len() <= limits::NAME_BYTES { name } else { hashed(&format!("{system}/"), parts) }
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

fn hashed(front: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut out = format!("{front}{HASHED}");
    for byte in hash.finalize() {
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
        assert_eq!(subscription("mailbox", &[b"a/b", b"alice"]), "mailbox/a%2Fb/alice");
        let (first, second) = ("a".repeat(300), format!("{}b", "a".repeat(299)));
        let long = |text: &str| subscription("mailbox", &[text.as_bytes(), b"u"]);
        assert!(long(&first).len() < 100 && long(&first) != long(&second));
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
            let subscriptions: BTreeSet<_> = pairs.iter().map(|(a, b)| subscription("x", &[a, b])).collect();
            prop_assert_eq!(subscriptions.len(), pairs.len());
            prop_assert!(subscriptions.iter().all(|name| SubscriptionName::parse(name).is_ok()));
            prop_assert!(SubscriptionName::parse(&subscription("x", &[&long, &long])).is_ok());
        }
    }
}
