//! Texts that are no schemas.

use super::super::super::{
    Compatibility, Kind, Referenced, Schema,
    compatibility::check,
    testing::{broken, broken_with, schema},
};

#[test]
fn broken_schemas_say_where_and_why() {
    for (text, path, what) in [
        ("", "1:0", "this is no JSON"),
        ("[]", "$", "a JSON Schema is an object, true or false"),
        (r#"{"type": 5}"#, "$.type", "5 is not valid"),
        (r#"{"type": "strin"}"#, "$.type", "\"strin\" is not valid"),
        (r#"{"properties": {"a": {"minLength": -1}}}"#, "$.properties.a.minLength", "-1 is less than the minimum of 0"),
        (r#"{"required": "a"}"#, "$.required", "\"a\" is not of type \"array\""),
        (r#"{"pattern": "("}"#, "$.pattern", "\"(\" is not a \"regex\""),
        (r#"{"pattern": "^(?=a)"}"#, "$.pattern", "is not a \"regex\""),
        (r#"{"$schema": "http://example.com/own"}"#, "$[\"$schema\"]", "this draft is not known"),
        (r#"{"$id": "http://[", "type": "string"}"#, "$[\"$id\"]", "the id is no URI"),
        (r##"{"$ref": "#/definitions/a"}"##, "$", "leads nowhere"),
        (r#"{"properties": {"a": {"$ref": "http://example.com/other.json"}}}"#, "$.properties.a", "leads nowhere"),
        (r#"{"$ref": "file:///etc/passwd"}"#, "$", "leads nowhere"),
        (r#"{"$defs": {"a": {"items": {"$ref": "a.json#/b"}}}}"#, "$[\"$defs\"].a.items", "leads nowhere"),
        (r#"{"items": {"$id": "a", "$schema": "http://example.com/own"}}"#, "$.items", "this draft is not known"),
    ] {
        broken(Kind::Json, text, path, what);
    }
}

#[test]
fn schemas_that_have_no_end_are_refused() {
    for text in [
        r##"{"$ref": "#"}"##,
        r##"{"allOf": [{"$ref": "#"}]}"##,
        r##"{"anyOf": [{"$ref": "#/definitions/a"}], "definitions": {"a": {"not": {"$ref": "#"}}}}"##,
        r##"{"$schema": "https://json-schema.org/draft/2020-12/schema", "$dynamicAnchor": "x", "if": {"$dynamicRef": "#x"}}"##,
        r##"{"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveAnchor": true, "not": {"$recursiveRef": "#"}}"##,
    ] {
        broken(Kind::Json, text, "$", "refers to itself for the same value, without end");
    }
    for text in [
        r##"{"properties": {"a": {"$ref": "#"}}}"##,
        r##"{"items": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}"##,
        r##"{"$schema": "https://json-schema.org/draft/2020-12/schema", "$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}}"##,
    ] {
        schema(Kind::Json, text).validate(b"[[[]]]").unwrap();
    }
}

#[test]
fn enormous_and_deep_schemas_are_refused() {
    let deep = |levels: usize| format!("{}true{}", r#"{"not": "#.repeat(levels), "}".repeat(levels));
    schema(Kind::Json, &deep(96));
    broken(Kind::Json, &deep(97), "$", "its brackets nest deeper than 96 levels");
    broken(Kind::Json, &deep(50_000), "$", "nest deeper");
    broken(Kind::Json, &format!(r#"{{"title": "{}"}}"#, "x".repeat(1 << 20)), "$", "at most 1048576 are allowed");
    let wide: Vec<String> = (0..10_001).map(|at| format!(r#""p{at}": {{}}"#)).collect();
    let text = format!(r#"{{"properties": {{{}}}}}"#, wide.join(","));
    assert!(Schema::parse(Kind::Json, &text, &[]).unwrap_err().what.contains("more than 10000 subschemas"));
    let patterns: Vec<String> = (0..257).map(|at| format!(r#""p{at}": {{"pattern": "a"}}"#)).collect();
    let text = format!(r#"{{"properties": {{{}}}}}"#, patterns.join(","));
    assert!(Schema::parse(Kind::Json, &text, &[]).unwrap_err().what.contains("more than 256 patterns"));
    broken(Kind::Json, r#"{"pattern": "((a{1000}){1000}){1000}"}"#, "$.pattern", "is not a \"regex\"");
    // One value is looked at twice as often by each of forty definitions.
    let doubled: Vec<String> = (0..40)
        .map(|at| {
            let next = at + 1;
            format!(
                r##""d{at}": {{"allOf": [{{"$ref": "#/definitions/d{next}"}}, {{"$ref": "#/definitions/d{next}"}}]}}"##
            )
        })
        .collect();
    let text = format!(r##"{{"$ref": "#/definitions/d0", "definitions": {{{}, "d40": true}}}}"##, doubled.join(","));
    let refused = Schema::parse(Kind::Json, &text, &[]).unwrap_err();
    let row = |length: usize| {
        let next = |at| format!(r##""d{at}": {{"anyOf": [{{"$ref": "#/definitions/d{}"}}]}}"##, at + 1);
        let row: Vec<String> = (0..length).map(next).collect();
        format!(
            r##"{{"$ref": "#/definitions/d0", "definitions": {{{}, "d{length}": {{"type": "string"}}}}}}"##,
            row.join(",")
        )
    };
    let long = schema(Kind::Json, &row(499));
    long.validate(b"\"a\"").unwrap();
    long.validate(b"1").unwrap_err();
    let short = schema(Kind::Json, &row(498));
    assert!(
        check(Compatibility::Backward, &long, &[&short])[0].what.contains("too many subschemas refer to one another")
    );
    assert!(Schema::parse(Kind::Json, &row(500), &[]).unwrap_err().what.contains("or 1000 in a row"));
    assert!(refused.what.contains("more than 10000 subschemas apply to one value"), "{refused}");
}

#[test]
fn references_are_found_by_their_names_only() {
    let item = Referenced { name: "item.json", kind: Kind::Json, text: r#"{"type": "integer"}"# };
    let far = Referenced { name: "http://example.com/far.json", kind: Kind::Json, text: r#"{"$ref": "item.json"}"# };
    let within =
        Referenced { name: "defs.json", kind: Kind::Json, text: r#"{"definitions": {"n": {"type": "null"}}}"# };
    for (text, references, right, wrong) in [
        (r#"{"$ref": "item.json"}"#, &[item][..], "1", "\"a\""),
        (r#"{"$id": "http://example.com/a/b.json", "items": {"$ref": "item.json"}}"#, &[item], "[1]", "[null]"),
        (
            r#"{"$ref": "http://example.com/far.json"}"#,
            &[Referenced { name: "http://example.com/item.json", ..item }, far],
            "1",
            "null",
        ),
        (
            r##"{"$id": "urn:example:a", "items": {"$ref": "#/definitions/b"}, "definitions": {"b": {"type": "null"}}}"##,
            &[item],
            "[null]",
            "[1]",
        ),
        (
            r##"{"$id": "http://example.com/a#", "items": {"$ref": "#/definitions/b"}, "definitions": {"b": {"type": "null"}}}"##,
            &[item],
            "[null]",
            "[1]",
        ),
        (r##"{"$ref": "defs.json#/definitions/n"}"##, &[within], "null", "1"),
        (r##"{"$ref": "http://json-schema.org/draft-07/schema#"}"##, &[], "true", "1"),
    ] {
        let schema = Schema::parse(Kind::Json, text, references).unwrap_or_else(|broken| panic!("{broken}: {text}"));
        schema.validate(right.as_bytes()).unwrap();
        assert!(schema.validate(wrong.as_bytes()).is_err(), "{text}");
    }
    broken_with(Kind::Json, r#"{"$ref": "items.json"}"#, &[item], "$", "leads nowhere");
    let bad = Referenced { text: "{", ..item };
    broken_with(Kind::Json, "true", &[bad], "item.json 1:1", "this is no JSON");
    let bad = Referenced { name: "http://[", ..item };
    broken_with(Kind::Json, "true", &[bad], "http://[ $", "its name is no URI");
    let bad = Referenced { text: r#"{"type": 5}"#, ..item };
    broken_with(Kind::Json, r#"{"$ref": "item.json"}"#, &[bad], "item.json $.type", "5 is not valid");
    let avro = Referenced { kind: Kind::Avro, ..item };
    broken_with(Kind::Json, "true", &[avro], "item.json $", "a schema in JSON refers to JSON only");
}

#[test]
fn one_spelling_is_the_same_schema() {
    let spaced = schema(Kind::Json, " { \"type\" :\n\"string\", \"maxLength\": 3 }");
    assert_eq!(spaced.normalized(), r#"{"maxLength":3,"type":"string"}"#);
    assert_eq!(spaced.kind(), Kind::Json);
}
