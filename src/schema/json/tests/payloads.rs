//! Payloads.

use std::time::{Duration, Instant};

use super::super::super::{
    Kind,
    testing::{schema, violates},
};

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let order = schema(
        Kind::Json,
        r#"{"type": "object", "required": ["order"], "properties": {"order": {"type": "object", "properties": {
            "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
            "3": {"type": "null"}, "a b": {"maxLength": 3}}, "additionalProperties": false}}}"#,
    );
    order.validate(br#"{"order": {"items": [{"price": 1}, {}], "a b": "abc"}}"#).unwrap();
    for (payload, path, what) in [
        (&b"{}"[..], "$", "\"order\" is a required property"),
        (b"", "$", "the payload is no JSON"),
        (b"{} {}", "$", "the payload is no JSON"),
        (b"\xff", "$", "the payload is no JSON"),
        (b"5", "$", "the value is not of type \"object\""),
        (
            br#"{"order": {"items": [{}, {"price": "secret"}]}}"#,
            "$.order.items[1].price",
            "the value is not of type \"number\"",
        ),
        (br#"{"order": {"3": 1}}"#, "$.order[\"3\"]", "the value is not of type \"null\""),
        (br#"{"order": {"a b": "abcd"}}"#, "$.order[\"a b\"]", "the value is longer than 3 characters"),
        (br#"{"order": {"more": 1}}"#, "$.order", "('more' was unexpected)"),
    ] {
        violates(&order, payload, path, what);
    }
}

#[test]
fn a_draft_is_as_it_says() {
    let first = r#""type": "array", "items": [{"type": "integer"}]"#;
    schema(Kind::Json, &format!("{{{first}}}")).validate(b"[1, 2]").unwrap();
    violates(&schema(Kind::Json, &format!("{{{first}}}")), b"[true]", "$[0]", "integer");
    let new = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "integer"}]}"#;
    violates(&schema(Kind::Json, new), b"[true]", "$[0]", "integer");
    let old = r#"{"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": true}"#;
    violates(&schema(Kind::Json, old), b"3", "$", "3");
    schema(Kind::Json, r#"{"format": "no-such-format"}"#).validate(b"\"x\"").unwrap();
    violates(&schema(Kind::Json, r#"{"format": "date"}"#), b"\"x\"", "$", "date");
}

#[test]
fn values_nest_no_deeper_than_is_allowed() {
    let any = schema(Kind::Json, "true");
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    any.validate(deep(100).as_bytes()).unwrap();
    violates(&any, deep(101).as_bytes(), "$", "the value nests deeper than 100 levels");
    violates(&any, "[".repeat(1 << 20).as_bytes(), "$", "nests deeper");
}

#[test]
fn values_nest_no_deeper_than_the_stack_is() {
    for keyword in ["allOf", "oneOf", "anyOf"] {
        for last in
            [r##""items": {"$ref": "#/definitions/d0"}"##, r##""additionalProperties": {"$ref": "#/definitions/d0"}"##]
        {
            let link = |at| format!(r##""d{at}": {{"{keyword}": [{{"$ref": "#/definitions/d{}"}}]}}"##, at + 1);
            let links: Vec<String> = (0..6).map(link).collect();
            let text = format!(
                r##"{{"$ref": "#/definitions/d0", "definitions": {{{}, "d6": {{"type": ["array", "object"], {last}}}}}}}"##,
                links.join(",")
            );
            let long = schema(Kind::Json, &text);
            let deep = |levels: usize, inner: &str| match last.contains("items") {
                true => format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels)),
                false => format!("{}{inner}{}", "{\"a\":".repeat(levels - 1) + "{", "}".repeat(levels)),
            };
            long.validate(deep(70, "").as_bytes()).unwrap();
            assert!(long.validate(deep(70, if last.contains("items") { "5" } else { "\"a\": 5" }).as_bytes()).is_err());
            violates(&long, deep(71, "").as_bytes(), "$", "the value nests deeper than 70 levels");
        }
    }
}

#[test]
fn bombs_take_no_time() {
    let begin = Instant::now();
    // Each level looks at the next twice, or once for each of three alternatives.
    for text in [
        r##"{"type": "array", "allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}"##,
        r##"{"type": "array", "oneOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}, "minItems": 3}, {"items": {"$ref": "#"}, "minItems": 4}]}"##,
    ] {
        let schema = schema(Kind::Json, text);
        let payload = |inner: &str| format!("{}{inner}{}", "[".repeat(99), "]".repeat(99));
        schema.validate(payload("").as_bytes()).unwrap();
        violates(
            &schema,
            payload("5").as_bytes(),
            "$",
            "it is not as the schema says, in a way that takes too long to tell",
        );
        violates(
            &schema,
            b"[[5]]",
            if text.contains("allOf") { "$[0][0]" } else { "$" },
            if text.contains("allOf") { "array" } else { "oneOf" },
        );
    }
    let evil = schema(Kind::Json, r#"{"pattern": "^(a+)+$"}"#);
    violates(&evil, format!("\"{}b\"", "a".repeat(100_000)).as_bytes(), "$", "the value does not match");
    let unique = schema(Kind::Json, r#"{"uniqueItems": true}"#);
    let items: Vec<String> = (0..50_000).map(|at| format!("[{at}]")).collect();
    unique.validate(format!("[{}]", items.join(",")).as_bytes()).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
