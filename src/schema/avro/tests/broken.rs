//! Texts that are no schemas, and texts that are though they look odd.

use super::super::super::{
    Kind, Limits, Referenced, Schema,
    testing::{broken, broken_with, schema},
};

/// The text, where it is broken, and what is said.
const BROKEN: &[(&str, &str, &str)] = &[
    ("", "1:0", "this is no JSON"),
    ("{\"type\": \"int\"", "1:14", "this is no JSON"),
    ("5", "$", "a type is a name, a list of types (a union) or an object"),
    (r#"{"name": "R"}"#, "$", "the object has no type"),
    (r#""Order""#, "$", "there is no type Order: define it before it is used"),
    (r#""record""#, "$", "record stands alone: write {\"type\": \"record\""),
    (
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "enum"}]}"#,
        "$.fields[0].type",
        "stands alone",
    ),
    (r#"{"type": "record", "fields": []}"#, "$", "the type has no name"),
    (r#"{"type": "record", "name": "R"}"#, "$", "add \"fields\""),
    (r#"{"type": "record", "name": "R", "fields": {}}"#, "$", "add \"fields\""),
    (r#"{"type": "record", "name": "R", "fields": [1]}"#, "$.fields[0]", "a field is an object"),
    (r#"{"type": "record", "name": "R", "fields": [{"type": "int"}]}"#, "$.fields[0]", "the field has no name"),
    (r#"{"type": "record", "name": "R", "fields": [{"name": "a"}]}"#, "$.fields[0]", "a field has a type"),
    (
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#,
        "$.fields[1]",
        "two fields a: rename one",
    ),
    (
        r#"{"type": "record", "name": "R", "fields": [{"name": "a-b", "type": "int"}]}"#,
        "$.fields[0]",
        "\"a-b\" is no name: use letters, digits and underscores",
    ),
    (r#"{"type": "record", "name": "9R", "fields": []}"#, "$", "\"9R\" is no name"),
    (r#"{"type": "record", "name": "a..b", "fields": []}"#, "$", "\"a..b\" is no name"),
    (r#"{"type": "record", "name": "R", "namespace": "a b", "fields": []}"#, "$", "\"a b\" is no namespace"),
    (r#"{"type": "record", "name": "n.string", "fields": []}"#, "$", "string is Avro's own type"),
    (r#"{"type": "record", "name": 5, "fields": []}"#, "$", "\"name\" is a text"),
    (
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "order": "up"}]}"#,
        "$.fields[0]",
        "the order of a field is \"ascending\"",
    ),
    (
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "aliases": "b"}]}"#,
        "$.fields[0]",
        "\"aliases\" is a list of names",
    ),
    (r#"{"type": "record", "name": "R", "aliases": ["a b"], "fields": []}"#, "$", "the alias \"a b\" is no name"),
    // Names that collide.
    (
        r#"[{"type": "fixed", "name": "F", "size": 1}, {"type": "enum", "name": "F", "symbols": ["A"]}]"#,
        "$[1]",
        "F is defined twice",
    ),
    (
        r#"{"type": "record", "name": "n.R", "fields": [{"name": "a", "type": {"type": "record", "name": "R", "fields": []}}]}"#,
        "$.fields[0].type",
        "n.R is defined twice",
    ),
    // Unions.
    ("[]", "$", "the union is empty"),
    (r#"["int", ["null"]]"#, "$[1]", "a union stands directly in a union"),
    (r#"["int", "null", "int"]"#, "$[2]", "the union has two of int"),
    (r#"[{"type": "array", "items": "int"}, {"type": "array", "items": "long"}]"#, "$[1]", "two of array"),
    (r#"["string", {"type": "string", "logicalType": "uuid"}]"#, "$[1]", "two of string"),
    // Enums.
    (r#"{"type": "enum", "name": "E"}"#, "$", "add \"symbols\""),
    (r#"{"type": "enum", "name": "E", "symbols": []}"#, "$", "the enum has no symbols"),
    (r#"{"type": "enum", "name": "E", "symbols": ["A", "B", "A"]}"#, "$.symbols[2]", "the symbol A is there twice"),
    (r#"{"type": "enum", "name": "E", "symbols": ["A", 1]}"#, "$.symbols[1]", "a symbol is a text"),
    (r#"{"type": "enum", "name": "E", "symbols": ["a b"]}"#, "$.symbols[0]", "\"a b\" is no symbol"),
    (r#"{"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}"#, "$", "the default B is none of the symbols"),
    // Fixed, arrays, maps.
    (r#"{"type": "fixed", "name": "F"}"#, "$", "a fixed has a size in bytes"),
    (r#"{"type": "fixed", "name": "F", "size": -1}"#, "$", "from 0 to 2147483647"),
    (r#"{"type": "fixed", "name": "F", "size": 99999999999}"#, "$", "from 0 to 2147483647"),
    (r#"{"type": "fixed", "name": "F", "size": "4"}"#, "$", "a fixed has a size in bytes"),
    (r#"{"type": "array"}"#, "$", "an array says what its items are: add \"items\""),
    (r#"{"type": "map"}"#, "$", "a map says what its values are: add \"values\""),
    (r#"{"type": "map", "values": "Nothing"}"#, "$.values", "there is no type Nothing"),
];

#[test]
fn broken_schemas_say_where_and_why() {
    for (text, path, what) in BROKEN {
        broken(Kind::Avro, text, path, what);
    }
}

#[test]
fn defaults_are_values_of_their_types() {
    let record = |kind: &str, default: &str| {
        format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "a", "type": {kind}, "default": {default}}}]}}"#
        )
    };
    let inner = r#"{"type": "record", "name": "I", "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 1}]}"#;
    for (kind, default) in [
        (r#""int""#, "1"),
        (r#""long""#, "9223372036854775807"),
        (r#""double""#, "1"),
        (r#""bytes""#, r#""\u00ff""#),
        (r#"["null", "int"]"#, "null"),
        (r#"["null", "int"]"#, "1"),
        (r#"{"type": "array", "items": "int"}"#, "[1, 2]"),
        (r#"{"type": "map", "values": "int"}"#, r#"{"a": 1}"#),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, r#""ab""#),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, r#""A""#),
        (inner, r#"{"x": 1}"#),
        (r#"["null", "R"]"#, "null"),
    ] {
        schema(Kind::Avro, &record(kind, default));
    }
    for (kind, default, what) in [
        (r#""int""#, "\"1\"", "the default \"1\" is no int"),
        (r#""int""#, "2147483648", "is no int"),
        (r#""int""#, "1.5", "is no int"),
        (r#""long""#, "9223372036854775808", "is no long"),
        (r#""string""#, "null", "is no string"),
        (r#""bytes""#, r#""\u0100""#, "is no bytes"),
        (r#"["null", "int"]"#, "\"x\"", "is no union"),
        (r#"{"type": "array", "items": "int"}"#, "[1, null]", "is no array"),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, r#""abc""#, "is no fixed F"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, r#""B""#, "is no enum E"),
        (inner, "{}", "is no record I"),
        (r#""boolean""#, &format!("\"{}\"", "x".repeat(999)), "is no boolean"),
    ] {
        broken(Kind::Avro, &record(kind, default), "$.fields[0].default", what);
    }
}

#[test]
fn defaults_that_ask_for_too_much_are_refused() {
    let union = r#"["null", "A", "B"]"#;
    let record = |name: &str, union: &str| {
        format!(r#"{{"type": "record", "name": "{name}", "fields": [{{"name": "x", "type": {union}}}]}}"#)
    };
    let inner = format!(r#"["null", "A", {}]"#, record("B", union));
    let value = (0..60).fold("1".to_owned(), |inner, _| format!(r#"{{"x": {inner}}}"#));
    let text = format!(
        r#"[{}, {{"type": "record", "name": "R", "fields": [{{"name": "d", "type": "A", "default": {value}}}]}}]"#,
        record("A", &inner)
    );
    broken(Kind::Avro, &text, "$[1].fields[0].default", "take too long to look at");
}

#[test]
fn enormous_and_deep_schemas_are_refused() {
    let deep = format!("{}\"int\"{}", r#"{"type": "array", "items": "#.repeat(50_000), "}".repeat(50_000));
    broken(Kind::Avro, &deep, "$", "at most 1048576 are allowed");
    broken(Kind::Avro, &deep[..900_000], "$", "its brackets nest deeper than 96 levels");
    broken(Kind::Avro, &"[".repeat(1 << 19), "$", "nest deeper");
    let level = |text: &str, times| {
        (0..times).fold(text.to_owned(), |inner, _| format!(r#"{{"type": "array", "items": {inner}}}"#))
    };
    schema(Kind::Avro, &level("\"int\"", 96));
    broken(Kind::Avro, &level("\"int\"", 97), "$", "name the inner types");
    let wide: Vec<String> =
        (0..10_001).map(|at| format!(r#"{{"type": "fixed", "name": "F{at}", "size": 1}}"#)).collect();
    broken(Kind::Avro, &format!("[{}]", wide.join(",")), "$[10000]", "more than 10000 types");
    let fields: Vec<String> = (0..10_001).map(|at| format!(r#"{{"name": "f{at}", "type": "int"}}"#)).collect();
    let record = format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","));
    broken(Kind::Avro, &record, "$.fields[10000]", "more than 10000 fields");
    let large = format!(r#"{{"type": "int", "doc": "{}"}}"#, "x".repeat(1 << 20));
    broken(Kind::Avro, &large, "$", "at most 1048576 are allowed");
    let limits = Limits { bytes: 4, ..Limits::default() };
    assert!(Schema::parse_within(&limits, Kind::Avro, "\"int\"", &[]).unwrap_err().what.contains("it has 5 bytes"));
    let many = vec![Referenced { name: "a", kind: Kind::Avro, text: "\"int\"" }; 257];
    broken_with(Kind::Avro, "\"int\"", &many, "$", "at most 256 are allowed");
}

#[test]
fn names_lead_into_references() {
    let item = Referenced {
        name: "item.avsc",
        kind: Kind::Avro,
        text: r#"{"type": "record", "name": "Item", "namespace": "shop", "fields": [{"name": "price", "type": "long"}]}"#,
    };
    let order = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "items", "type": {"type": "array", "items": "Item"}}]}"#;
    let list = Referenced { name: "list.avsc", kind: Kind::Avro, text: order };
    Schema::parse(Kind::Avro, order, &[item]).unwrap();
    Schema::parse(Kind::Avro, r#""shop.Order""#, &[item, list]).unwrap();
    broken(Kind::Avro, order, "$.fields[0].type.items", "there is no type shop.Item");
    broken_with(Kind::Avro, order, &[list, item], "list.avsc $.fields[0].type.items", "there is no type shop.Item");
    broken_with(Kind::Avro, order, &[item, list], "$", "shop.Order is defined twice");
    broken_with(Kind::Avro, order, &[Referenced { text: "{", ..item }], "item.avsc 1:1", "this is no JSON");
    let other = Referenced { kind: Kind::Json, ..item };
    broken_with(
        Kind::Avro,
        order,
        &[other],
        "item.avsc $",
        "it is written in JSON: a schema in AVRO refers to AVRO only",
    );
}

#[test]
fn odd_schemas_are_schemas() {
    for text in [
        r#"{"type": {"type": "int"}}"#,
        r#"{"type": ["null", "int"]}"#,
        r#"{"type": "int", "logicalType": "no-such-type"}"#,
        r#"{"type": "bytes", "logicalType": "decimal"}"#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}"#,
        r#"{"type": "string", "logicalType": 5}"#,
        r#"{"type": "error", "name": "E", "fields": []}"#,
        r#"{"type": "fixed", "name": "F", "size": 0}"#,
        r#"{"type": "record", "name": "R", "doc": 5, "extra": {"a": 1}, "fields": []}"#,
        r#"{"type": "record", "name": "R", "namespace": "", "fields": []}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}"#,
        r#"{"type": "record", "name": "n.A", "fields": [{"name": "b", "type": {"type": "record", "name": "B", "fields": []}}, {"name": "c", "type": "n.B"}]}"#,
        r#"[{"type": "record", "name": "A", "fields": []}, {"type": "record", "name": "n.B", "fields": [{"name": "a", "type": "A"}]}]"#,
    ] {
        schema(Kind::Avro, text);
    }
}

#[test]
fn one_spelling_is_the_same_schema() {
    let spelled = r#"{"type":"record","name":"R","namespace":"n","doc":"d","fields":[
        {"name":"a","type":{"type":"int"}},
        {"default":null,"name":"b","type":["null", {"type":"fixed","name":"F","size":2,"aliases":["G"]}]},
        {"name":"c","type":"F"}, {"name":"d","type":{"type":"long","logicalType":"date"}}]}"#;
    let normalized = r#"{"doc":"d","fields":[{"name":"a","type":"int"},{"default":null,"name":"b","type":["null",{"aliases":["n.G"],"name":"n.F","size":2,"type":"fixed"}]},{"name":"c","type":"n.F"},{"name":"d","type":{"logicalType":"date","type":"long"}}],"name":"n.R","type":"record"}"#;
    let parsed = schema(Kind::Avro, spelled);
    assert_eq!(parsed.normalized(), normalized);
    assert_eq!(parsed.text(), spelled);
    assert_eq!(schema(Kind::Avro, normalized).normalized(), normalized, "it is a schema, and its own spelling");
    assert_eq!(schema(Kind::Avro, "  \"int\"\n").normalized(), schema(Kind::Avro, r#"{"type": "int"}"#).normalized());
    assert_ne!(
        schema(Kind::Avro, &spelled.replace("\"d\"", "\"e\"")).normalized(),
        normalized,
        "a doc is a part of it"
    );
}
