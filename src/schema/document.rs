//! Schemas that are written in JSON: how they are read, and how two of them are compared. Never knows what is in them.

use serde_json::Value;

use super::Broken;

/// Reads a document. The caller has looked at its size and depth.
pub fn parse(text: &str) -> Result<Value, Broken> {
    serde_json::from_str(text).map_err(|fault| {
        let place = format!("{}:{}", fault.line(), fault.column());
        let what = fault.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        Broken::new(place, format!("this is no JSON: {what}"))
    })
}

/// The shortest text of a document, its members in order: the same for two that differ in white space, or in the order of
/// members, only.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            // Whether a map keeps its order depends on what else is built with it.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            list(text, ['{', '}'], members, |(name, value), text| {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(value, text);
            });
        }
        Value::Array(items) => list(text, ['[', ']'], items, write),
        plain => text.push_str(&plain.to_string()),
    }
}

fn list<T>(
    text: &mut String,
    [open, close]: [char; 2],
    parts: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    text.push(open);
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(part, text);
    }
    text.push(close);
}
