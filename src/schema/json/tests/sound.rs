//! Whether what is called compatible is, on schemas and values at random.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::super::{Compatibility, Kind, Schema, compatibility::check};

const KINDS: &[&str] = &["null", "boolean", "integer", "number", "string", "array", "object"];
const NAMES: &[&str] = &["a", "b", "xa"];

/// A value from a small world, so that schemas and values meet.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1..4_i64).prop_map(Value::from),
        prop::sample::select(&[0.5, 2.0, 2.5][..]).prop_map(Value::from),
        prop::sample::select(&["", "a", "ab", "xab"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(NAMES), inner, 0..3)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// One keyword, with what it says.
fn keyword(inner: BoxedStrategy<Value>) -> impl Strategy<Value = (&'static str, Value)> {
    let count = || (0..4_u64).prop_map(Value::from);
    let bound = || prop_oneof![(-1..4_i64).prop_map(Value::from), Just(json!(1.5))];
    let name = prop::sample::select(NAMES);
    let list = || prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from);
    let members = |names: &'static [&'static str]| {
        prop::collection::hash_map(prop::sample::select(names), inner.clone(), 1..3)
            .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>())
    };
    let said = prop_oneof![
        prop::sample::select(KINDS).prop_map(|kind| ("type", json!(kind))),
        prop::sample::subsequence(KINDS, 1..4).prop_map(|kinds| ("type", json!(kinds))),
        prop::collection::vec(value(), 1..4).prop_map(|values| ("enum", json!(values))),
        value().prop_map(|value| ("const", value)),
        bound().prop_map(|bound| ("minimum", bound)),
        bound().prop_map(|bound| ("maximum", bound)),
        bound().prop_map(|bound| ("exclusiveMinimum", bound)),
        bound().prop_map(|bound| ("exclusiveMaximum", bound)),
        prop::sample::select(&[0.5, 1.0, 2.0][..]).prop_map(|step| ("multipleOf", json!(step))),
        prop::collection::vec(name, 1..3).prop_map(|mut names| {
            names.sort_unstable();
            names.dedup();
            ("required", json!(names))
        }),
        any::<bool>().prop_map(|unique| ("uniqueItems", json!(unique))),
        prop::sample::select(&["^x", "b$"][..]).prop_map(|pattern| ("pattern", json!(pattern))),
    ];
    let counts = &["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"][..];
    let one =
        &["not", "if", "then", "else", "items", "additionalItems", "additionalProperties", "contains", "propertyNames"]
            [..];
    prop_oneof![
        6 => said,
        2 => (prop::sample::select(counts), count()),
        2 => (prop::sample::select(one), inner.clone()),
        2 => (prop::sample::select(&["allOf", "anyOf", "items"][..]), list()),
        2 => members(NAMES).prop_map(|members| ("properties", members)),
        1 => members(&["^x", "b$"]).prop_map(|members| ("patternProperties", members)),
        1 => members(NAMES).prop_map(|members| ("dependencies", members)),
    ]
}

fn schemas() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(false)),
        Just(json!({})),
        prop::sample::select(KINDS).prop_map(|kind| json!({"type": kind})),
        Just(json!({"items": {"$ref": "#"}})),
        Just(json!({"additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop::collection::vec(keyword(inner), 1..4)
            .prop_map(|keywords| keywords.into_iter().map(|(name, said)| (name.to_owned(), said)).collect())
    })
    .boxed()
}

/// A schema, and one that differs from it in one keyword at its top or has nothing to do with it.
fn pair() -> impl Strategy<Value = (Value, Value)> {
    (schemas(), schemas(), keyword(schemas()), 0..4_u8).prop_map(|(one, other, (name, said), how)| {
        let mut changed = one.clone();
        match (how, changed.as_object_mut()) {
            (0, Some(keywords)) => drop(keywords.insert(name.to_owned(), said)),
            (1, Some(keywords)) => drop(keywords.keys().next().cloned().map(|first| keywords.remove(&first))),
            (2, _) => return (json!({"anyOf": [one, other]}), json!({"anyOf": [other, one, {"type": "null"}]})),
            _ => return (one, other),
        }
        (one, changed)
    })
}

static COMPATIBLE: AtomicUsize = AtomicUsize::new(0);
static VALID: AtomicUsize = AtomicUsize::new(0);

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    fn what_is_compatible_reads_all((earlier, new) in pair(), values in prop::collection::vec(value(), 24)) {
        let parse = |schema: &Value| Schema::parse(Kind::Json, &schema.to_string(), &[]);
        let (Ok(before), Ok(after)) = (parse(&earlier), parse(&new)) else { return Ok(()) };
        for (reader, writer, level) in [(&after, &before, Compatibility::Backward), (&before, &after, Compatibility::Forward)] {
            let is_compatible = check(level, &after, &[&before]).is_empty();
            COMPATIBLE.fetch_add(usize::from(is_compatible), Ordering::Relaxed);
            for value in values.iter().map(Value::to_string) {
                let (read, written) = (reader.validate(value.as_bytes()), writer.validate(value.as_bytes()).is_ok());
                VALID.fetch_add(usize::from(is_compatible && written), Ordering::Relaxed);
                prop_assert!(!is_compatible || !written || read.is_ok(), "{} {}: {:?}", level, value, read);
            }
        }
    }
}

/// The property would hold if nothing were compatible, or nothing valid.
#[test]
fn what_is_compatible_reads_what_was_written() {
    what_is_compatible_reads_all();
    let (compatible, valid) = (COMPATIBLE.load(Ordering::Relaxed), VALID.load(Ordering::Relaxed));
    assert!(compatible > 500 && valid > 5_000, "{compatible} compatible, {valid} valid values");
}
