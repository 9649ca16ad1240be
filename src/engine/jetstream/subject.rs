//! Where a topic lies in NATS: the subject of a topic, and the topic of a subject. Pure.
//!
//! A namespace has a stream, `tilde-NAMESPACE`, over the subjects `tilde.NAMESPACE.>`. A topic's segments, between its
//! slashes, are the tokens behind that. What a token cannot hold, or what means something in one, is written `=XX`, each
//! byte as two hexadecimal digits; an empty segment, which NATS does not allow, is `=`. So `orders/eu.de/` in `default`
//! is `tilde.default.orders.eu=2Ede.=`.

use super::escape;
use crate::model::{NamespaceName, Pattern};

/// What begins all subjects and streams.
const PREFIX: &str = "tilde";

/// The stream of a namespace.
pub fn stream(namespace: &NamespaceName) -> String {
    format!("{PREFIX}-{namespace}")
}

/// The namespace of a stream; None if it is none of ours.
pub fn namespace(stream: &str) -> Option<NamespaceName> {
    let name = stream.strip_prefix(PREFIX)?.strip_prefix('-')?;
    NamespaceName::parse(name).ok().filter(|namespace| namespace.as_str() == name)
}

/// All subjects of a namespace.
pub fn all(namespace: &NamespaceName) -> String {
    format!("{PREFIX}.{namespace}.>")
}

/// Where brokers that cannot get their entries in tell the others; no stream keeps it.
pub fn turn(namespace: &NamespaceName) -> String {
    format!("{PREFIX}-turn.{namespace}")
}

/// The subject of a topic.
pub fn of_topic(namespace: &NamespaceName, topic: &str) -> String {
    let mut subject = String::with_capacity(PREFIX.len() + namespace.as_str().len() + topic.len() + 2);
    subject.push_str(PREFIX);
    subject.push('.');
    subject.push_str(namespace.as_str());
    for segment in topic.split('/') {
        subject.push('.');
        push_token(&mut subject, segment);
    }
    subject
}

/// The topic of a subject; None if it is no topic's.
pub fn topic(namespace: &NamespaceName, subject: &str) -> Option<String> {
    let tokens =
        subject.strip_prefix(PREFIX)?.strip_prefix('.')?.strip_prefix(namespace.as_str())?.strip_prefix('.')?;
    let mut topic = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.split('.').enumerate() {
        if at > 0 {
            topic.push(b'/');
        }
        push_segment(&mut topic, token)?;
    }
    String::from_utf8(topic).ok()
}

/// The narrowest subjects of which NATS knows that hold all topics of a pattern: the topic's own, or whole segments.
pub fn filter(namespace: &NamespaceName, pattern: &Pattern) -> String {
    let prefix = match pattern {
        Pattern::Exact(topic) => return of_topic(namespace, topic),
        Pattern::Prefix(prefix) => prefix,
    };
    match prefix.rsplit_once('/') {
        Some((segments, _)) => format!("{}.>", of_topic(namespace, segments)),
        None => all(namespace),
    }
}

fn push_token(subject: &mut String, segment: &str) {
    match segment.is_empty() {
        true => subject.push('='),
        // Beyond ASCII everything is taken as it is: escaped, long topics would not fit into NATS' control line.
        false => escape::push(subject, segment, |c| !matches!(c, '.' | '*' | '>' | '\0'..=' ' | '\x7f')),
    }
}

fn push_segment(topic: &mut Vec<u8>, token: &str) -> Option<()> {
    match token {
        "=" => Some(()),
        "" => None,
        token => escape::pull(topic, token),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Topic, limits};

    fn home() -> NamespaceName {
        NamespaceName::default()
    }

    /// Whether NATS matches a subject with a filter.
    fn nats_matches(filter: &str, subject: &str) -> bool {
        match filter.strip_suffix('>') {
            Some(prefix) => subject.len() > prefix.len() && subject.starts_with(prefix),
            None => filter == subject,
        }
    }

    #[test]
    fn a_subject_reads_like_its_topic() {
        for (topic, subject) in [
            ("orders", "tilde.default.orders"),
            ("orders/eu.de/", "tilde.default.orders.eu=2Ede.="),
            ("/", "tilde.default.=.="),
            ("$dead/x y", "tilde.default.$dead.x=20y"),
            ("a=*>b", "tilde.default.a=3D=2A=3Eb"),
            ("ü/😀", "tilde.default.ü.😀"),
        ] {
            assert_eq!(of_topic(&home(), topic), subject);
        }
        for none in ["tilde.default", "tilde.default.a=2", "tilde.default.a=xx", "tilde.other.a", "tilde.default.a..b"]
        {
            assert_eq!(super::topic(&home(), none), None, "{none}");
        }
    }

    #[test]
    fn a_stream_names_its_namespace() {
        let team = NamespaceName::parse("team-1").unwrap();
        assert_eq!(namespace(&stream(&team)), Some(team));
        assert_eq!(
            (namespace("tilde-"), namespace("tilde"), namespace("tilde-A"), namespace("x")),
            (None, None, None, None)
        );
    }

    #[test]
    fn the_longest_topic_fits_into_the_control_line() {
        let longest = ".".repeat(limits::TOPIC_BYTES);
        let namespace = NamespaceName::parse(&"n".repeat(limits::NAMESPACE_BYTES)).unwrap();
        // Of 4,096 bytes, with a reply subject and the sizes.
        assert!(of_topic(&namespace, &longest).len() < 3_500);
    }

    proptest! {
        #[test]
        fn every_topic_comes_back(topic in "[a./=*> $é😀\u{2028}-]{1,30}") {
            let subject = of_topic(&home(), &topic);
            prop_assert!(!subject.contains([' ', '*', '>']) && subject.split('.').all(|token| !token.is_empty()));
            prop_assert_eq!(super::topic(&home(), &subject), Some(topic));
        }

        #[test]
        fn any_legal_topic_comes_back(topic in "\\PC{1,300}") {
            prop_assume!(Topic::parse(topic.as_str()).is_ok());
            prop_assert_eq!(super::topic(&home(), &of_topic(&home(), &topic)), Some(topic));
        }

        #[test]
        fn a_filter_leaves_nothing_out(topic in "[ab/.]{1,8}", pattern in "[ab/.]{0,4}~|[ab/.]{1,4}") {
            let pattern = Pattern::parse(&pattern).unwrap();
            let filter = filter(&home(), &pattern);
            if pattern.matches(&topic) {
                prop_assert!(nats_matches(&filter, &of_topic(&home(), &topic)), "{} in {}", topic, filter);
            }
        }
    }
}
