//! Parameters of an address as fields of a message: they become what protobuf's JSON says of them. Never looks whether a
//! value makes sense for its call.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::{
    model::Result,
    server::http::{problem::invalid, query::unknown},
    units::Span,
};

/// Whether a message has the field that a parameter names.
pub fn has(message: &MessageDescriptor, name: &str) -> bool {
    field(message, name.split('.').next().unwrap_or_default()).is_some()
}

/// What a change is to change.
pub const MASK: &str = "update_mask";
/// What stands in an answer and is nobody's wish when it is sent back: what says which it is, what cannot change, and what
/// the broker alone knows.
const ANSWERS: [&str; 9] =
    ["name", "namespace", "etag", "start", "state", "stats", "state_reason", "paused_until", "secret_count"];
/// An answer has none of them, whatever there are.
const SECRETS: &str = "secrets";

/// Says what a change is to change, if it does not itself: all that its body names, so that an empty value is one, too.
pub fn mask(object: &mut Map<String, Value>, message: &MessageDescriptor) {
    let Some(mask) = field(message, MASK) else { return };
    if object.contains_key(mask.name()) || object.contains_key(mask.json_name()) {
        return;
    }
    let mut paths = Vec::new();
    for inner in message.fields().filter(|inner| inner.name() != MASK) {
        let there = object.get(inner.name()).or_else(|| object.get(inner.json_name()));
        if let (Some(Value::Object(there)), Kind::Message(within)) = (there, inner.kind()) {
            gather(there, &within, "", &mut paths);
        }
    }
    // Without one, only what is given counts: nothing is.
    if !paths.is_empty() {
        object.insert(mask.json_name().to_owned(), camel(&paths.join(",")).into());
    }
}

/// The paths of what an object names, down to what has no parts of its own.
fn gather(object: &Map<String, Value>, message: &MessageDescriptor, front: &str, paths: &mut Vec<String>) {
    for (name, value) in object {
        // A name that nobody knows is refused when the message is made.
        let Some(known) = field(message, name) else { continue };
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if ANSWERS.contains(&known.name()) || (known.name() == SECRETS && is_empty) {
            continue;
        }
        let path = format!("{front}{}", known.name());
        match (value, known.kind()) {
            (Value::Object(inner), Kind::Message(within))
                if !known.is_map()
                    && !known.is_list()
                    && !within.full_name().starts_with("google.")
                    && !inner.is_empty() =>
            {
                gather(inner, &within, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}

/// What a parser says, without what was sent to it: a value may be a secret in the wrong place.
pub fn without_values(said: &str) -> String {
    let mut out = String::with_capacity(said.len());
    for (at, part) in said.split('"').enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => out.push_str("\"…\""),
        }
    }
    out
}

/// Puts the value of a parameter into the object that is to become the message. Names are those of the contract, in either
/// of the two ways in which protobuf writes them; a field of a field stands behind a dot, as does a key of a map.
pub fn put(object: &mut Map<String, Value>, message: &MessageDescriptor, name: &str, value: &str) -> Result<()> {
    put_at(object, message, name, name, value)
}

fn put_at(
    object: &mut Map<String, Value>,
    message: &MessageDescriptor,
    whole: &str,
    name: &str,
    value: &str,
) -> Result<()> {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let Some(field) = field(message, first) else {
        let known: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
        return Err(unknown(whole, &known.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    let known = if object.contains_key(field.name()) { field.name() } else { field.json_name() }.to_owned();
    if rest.is_empty() && !field.is_map() {
        let value = json(&field, whole, value)?;
        return match object.get_mut(&known) {
            Some(Value::Array(values)) if field.is_list() => {
                values.push(value);
                Ok(())
            }
            Some(there) if *there != value => Err(invalid(whole, "is given twice, with two values")),
            Some(_) => Ok(()),
            None => {
                object.insert(known, if field.is_list() { Value::Array(vec![value]) } else { value });
                Ok(())
            }
        };
    }
    let Value::Object(inner) = object.entry(known).or_insert_with(|| Map::new().into()) else {
        return Err(invalid(whole, "is given twice, with two values"));
    };
    match field.kind() {
        _ if field.is_map() && !rest.is_empty() => {
            inner.insert(rest.to_owned(), value.into());
            Ok(())
        }
        Kind::Message(within) if !field.is_list() && !field.is_map() => put_at(inner, &within, whole, rest, value),
        _ => Err(invalid(whole, "has no such part")),
    }
}

fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// A value as JSON says it.
fn json(field: &FieldDescriptor, name: &str, value: &str) -> Result<Value> {
    Ok(match field.kind() {
        Kind::Bool => match value {
            "true" | "1" | "" => true.into(),
            "false" | "0" => false.into(),
            _ => return Err(invalid(name, &format!("is {value:?}: it takes true or false"))),
        },
        Kind::Enum(values) => {
            // The common beginning of the names may be left out: synced is DURABILITY_SYNCED.
            let wanted = value.to_ascii_uppercase();
            let known = values.values().find(|known| {
                known.name() == wanted || known.name().strip_suffix(&wanted).is_some_and(|front| front.ends_with('_'))
            });
            match known {
                Some(known) => known.name().into(),
                None => {
                    let names: Vec<_> = values.values().map(|known| known.name().to_owned()).collect();
                    return Err(invalid(name, &format!("is {value:?}: it takes one of {}", names.join(", "))));
                }
            }
        }
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => duration(value).into(),
            "google.protobuf.FieldMask" => camel(value).into(),
            "google.protobuf.Timestamp" => value.into(),
            _ => return Err(invalid(name, "has parts: name one, behind a dot")),
        },
        _ => value.into(),
    })
}

/// A length of time as people write it, in seconds; anything else stays as it is, and is refused further on.
fn duration(value: &str) -> String {
    match value.parse::<Span>() {
        Ok(Span(span)) => format!("{}.{:09}s", span.as_secs(), span.subsec_nanos()),
        Err(_) => value.to_owned(),
    }
}

/// `retry_policy.max_attempts` as JSON writes it: `retryPolicy.maxAttempts`.
fn camel(paths: &str) -> String {
    let mut upper = false;
    let mut out = String::with_capacity(paths.len());
    for letter in paths.chars() {
        match letter {
            '_' => upper = true,
            letter if upper => {
                out.extend(letter.to_uppercase());
                upper = false;
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::rpc::POOL, *};

    fn object(message: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let message = POOL.get_message_by_name(&format!("tilde.v1.{message}")).unwrap();
        let mut object = Map::new();
        parameters.iter().try_for_each(|(name, value)| put(&mut object, &message, name, value))?;
        Ok(object.into())
    }

    #[test]
    fn parameters_become_what_json_says() {
        let parameters = [
            ("subscription", "a"),
            ("max_messages", "7"),
            ("maxWait", "1m30s"),
            ("ack_mode", "auto"),
            ("include_backing_off", "true"),
        ];
        let expected = json!({
            "subscription": "a", "maxMessages": "7", "maxWait": "90.000000000s", "ackMode": "ACK_MODE_AUTO",
            "includeBackingOff": true,
        });
        assert_eq!(object("PullRequest", &parameters).unwrap(), expected);
        let parameters = [
            ("start.sequence", "4"),
            ("topics", "a"),
            ("topics", "b~"),
            ("labels.team.name", "x"),
            ("retry_policy.max_attempts", "3"),
        ];
        let expected = json!({
            "start": { "sequence": "4" }, "topics": ["a", "b~"], "labels": { "team.name": "x" },
            "retryPolicy": { "maxAttempts": "3" },
        });
        assert_eq!(object("Subscription", &parameters).unwrap(), expected);
        let mask = object("UpdateSubscriptionRequest", &[("update_mask", "ack_deadline,retry_policy.max_attempts")]);
        assert_eq!(mask.unwrap(), json!({ "updateMask": "ackDeadline,retryPolicy.maxAttempts" }));
    }

    #[test]
    fn a_change_names_what_its_body_names() {
        let change = POOL.get_message_by_name("tilde.v1.UpdateSubscriptionRequest").unwrap();
        let masked = |body: Value, mask: Option<&str>| {
            let mut object = Map::from_iter([("subscription".to_owned(), body)]);
            object.extend(mask.map(|mask| ("update_mask".to_owned(), mask.into())));
            super::mask(&mut object, &change);
            let mut paths: Vec<_> = object.get("updateMask")?.as_str()?.split(',').map(str::to_owned).collect();
            paths.sort();
            Some(paths.join(","))
        };
        let body = json!({
            "name": "a", "etag": "1", "filter": "", "labels": {}, "topics": [], "ackDeadline": "5s", "push_config": null,
            "state": "STATE_PAUSED", "stats": {}, "retry_policy": { "maxAttempts": 3, "minBackoff": "1s" }, "nobody": 1,
        });
        let expected = "ackDeadline,filter,labels,pushConfig,retryPolicy.maxAttempts,retryPolicy.minBackoff,topics";
        assert_eq!(masked(body, None).as_deref(), Some(expected));
        assert_eq!(masked(json!({ "name": "a" }), None), None);
        let push = json!({ "pushConfig": { "url": "http://x.example", "secrets": [], "secretCount": 1 } });
        assert_eq!(masked(push, None).as_deref(), Some("pushConfig.url"), "an answer has no secrets");
        assert_eq!(masked(json!({ "filter": "" }), Some("labels")), None, "it says so itself");
    }

    #[test]
    fn what_was_sent_is_not_told() {
        assert_eq!(
            without_values(r#"invalid type: string "whsec_x", expected a list"#),
            "invalid type: string \"…\", expected a list"
        );
        assert_eq!(without_values("unrecognized field name 'x'"), "unrecognized field name 'x'");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (message, name, value) in [
            ("PullRequest", "max_message", "1"),
            ("PullRequest", "include_backing_off", "maybe"),
            ("PullRequest", "ack_mode", "never"),
            ("Subscription", "start", "new"),
            ("Subscription", "start.sequences", "1"),
            ("Subscription", "name.first", "1"),
            ("Subscription", "labels", "1"),
        ] {
            assert_eq!(object(message, &[(name, value)]).unwrap_err().violated_field(), Some(name), "{name}");
        }
        assert!(object("PullRequest", &[("subscription", "a"), ("subscription", "b")]).is_err());
    }
}
