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
