//! Names of Avro's types: which are names, and what their namespace is. Never knows which are defined.

use super::types::Primitive;

/// Whether it is one: letters, digits and underscores, and no digit first.
pub fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Whether it is one, with or without a namespace.
pub fn is_full(name: &str) -> bool {
    name.split('.').all(is_plain)
}

/// The full name of what is called so within a namespace, which may be empty. A primitive has none.
pub fn full(name: &str, namespace: &str) -> String {
    match name {
        name if name.contains('.') || namespace.is_empty() || Primitive::named(name).is_some() => name.to_owned(),
        name => format!("{namespace}.{name}"),
    }
}

/// The namespace of a full name, in which what it contains is named.
pub fn namespace(full: &str) -> &str {
    full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}

/// The full name of a type that is defined with these two attributes within a namespace. A dot in the name counts more
/// than an attribute, and the attribute more than what encloses it.
pub fn defined(name: &str, attribute: Option<&str>, enclosing: &str) -> String {
    full(name, attribute.unwrap_or(enclosing))
}
