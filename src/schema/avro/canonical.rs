//! An Avro schema in one spelling: names in full, no namespaces, no object where a name will do. As the specification's
//! parsing canonical form, and more: what a reader goes by (defaults, aliases, documentation, any other attribute) stays.
//! Never looks at whether it is a schema.

use serde_json::{Map, Value};

use super::name;

/// The same document, spelled so.
pub fn canonical(schema: &Value, namespace: &str) -> Value {
    match schema {
        Value::String(name) => name::full(name, namespace).into(),
        Value::Array(branches) => branches.iter().map(|branch| canonical(branch, namespace)).collect(),
        Value::Object(attributes) => object(attributes, namespace),
        other => other.clone(),
    }
}

fn object(attributes: &Map<String, Value>, namespace: &str) -> Value {
    let mut spelled = attributes.clone();
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    match text("type") {
        Some("record" | "error" | "enum" | "fixed") => {
            let full = name::defined(text("name").unwrap_or_default(), text("namespace"), namespace);
            let inner = name::namespace(&full);
            spelled.remove("namespace");
            if let Some(Value::Array(aliases)) = spelled.get_mut("aliases") {
                for alias in aliases {
                    *alias = name::full(alias.as_str().unwrap_or_default(), inner).into();
                }
            }
            for field in spelled.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
                retype(field.as_object_mut(), "type", inner);
            }
            spelled.insert("name".to_owned(), full.into());
        }
        Some("array") => retype(Some(&mut spelled), "items", namespace),
        Some("map") => retype(Some(&mut spelled), "values", namespace),
        _ => {
            retype(Some(&mut spelled), "type", namespace);
            if spelled.len() == 1 {
                return spelled.remove("type").unwrap_or_default();
            }
        }
    }
    Value::Object(spelled)
}

fn retype(attributes: Option<&mut Map<String, Value>>, name: &str, namespace: &str) {
    if let Some(kind) = attributes.and_then(|attributes| attributes.get_mut(name)) {
        *kind = canonical(kind, namespace);
    }
}
