//! What a command finds in its environment. Pure.

use crate::pb::v1::Message;

/// What the names of attributes begin with.
pub const ATTRIBUTE: &str = "TILDE_ATTRIBUTE_";

/// The variables of one message; `attempt` counts how often it was delivered, from 1. What the message does not have is empty, so that none of an outer command shines
/// through. Of two attributes with one name as a variable, the last in their order stays.
pub fn of(message: &Message, attempt: u32) -> Vec<(String, String)> {
    let own = [
        ("TILDE_TOPIC", message.topic.clone()),
        ("TILDE_SEQUENCE", message.sequence.to_string()),
        ("TILDE_ATTEMPT", attempt.to_string()),
        ("TILDE_MESSAGE_ID", message.message_id.clone()),
        ("TILDE_ORDERING_KEY", message.ordering_key.clone()),
        ("TILDE_CONTENT_TYPE", message.content_type.clone()),
        ("TILDE_REPLY_TO", message.reply_to.clone()),
        ("TILDE_CORRELATION_ID", message.correlation_id.clone()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let attributes = message.attributes.iter().map(|(key, value)| (name(key), value.clone()));
    own.chain(attributes).map(|(name, value)| (name, speakable(value))).collect()
}

fn name(key: &str) -> String {
    let letter = |letter: char| match letter.to_ascii_uppercase() {
        upper @ ('A'..='Z' | '0'..='9' | '_') => upper,
        _ => '_',
    };
    ATTRIBUTE.chars().chain(key.chars().map(letter)).collect()
}

/// A zero ends a variable's value: it cannot be in one.
fn speakable(value: String) -> String {
    match value.contains('\0') {
        true => value.replace('\0', "\u{fffd}"),
        false => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_shell_knows() {
        for (key, expected) in [("ce-type", "CE_TYPE"), ("a.b/c", "A_B_C"), ("ä", "_"), ("Übung_7", "_BUNG_7")] {
            assert_eq!(name(key), format!("TILDE_ATTRIBUTE_{expected}"));
        }
    }

    #[test]
    fn all_parts_have_a_variable() {
        let attributes = [("k".to_owned(), "v\0w".to_owned())].into();
        let message = Message { topic: "a/b".into(), sequence: 7, attributes, ..Message::default() };
        let variables = of(&message, 2);
        let value = |name: &str| variables.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!((value("TILDE_TOPIC"), value("TILDE_SEQUENCE")), (Some("a/b"), Some("7")));
        assert_eq!((value("TILDE_ATTEMPT"), value("TILDE_MESSAGE_ID")), (Some("2"), Some("")));
        assert_eq!((value("TILDE_ORDERING_KEY"), value("TILDE_CONTENT_TYPE")), (Some(""), Some("")));
        assert_eq!(value("TILDE_ATTRIBUTE_K"), Some("v\u{fffd}w"));
    }
}
