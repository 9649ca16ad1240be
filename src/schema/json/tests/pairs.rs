//! Readers and writers.

use super::super::super::{
    Compatibility, Kind, Referenced, Schema,
    compatibility::check,
    testing::{Pair, schema},
};

/// Expected of the new one for what the earlier allowed, and of the earlier one for what the new one allows.
const PAIRS: &[Pair] = &[
    Pair("the same", r#"{"type": "string"}"#, r#"{"type": "string"}"#, true, true),
    Pair("everything and nothing", "false", "true", true, false),
    Pair("a type for everything", "true", r#"{"type": "string"}"#, false, true),
    // Kinds.
    Pair("integer to number", r#"{"type": "integer"}"#, r#"{"type": "number"}"#, true, false),
    Pair("a type more", r#"{"type": "string"}"#, r#"{"type": ["string", "null"]}"#, true, false),
    Pair("another type", r#"{"type": "string"}"#, r#"{"type": "boolean"}"#, false, false),
    // Lists of values.
    Pair("a value more", r#"{"enum": ["a"]}"#, r#"{"enum": ["a", "b"]}"#, true, false),
    Pair("a value for all strings", r#"{"type": "string"}"#, r#"{"enum": ["a"]}"#, false, true),
    Pair("a constant becomes a list", r#"{"const": 1}"#, r#"{"enum": [1.0, 2]}"#, true, false),
    Pair("listed booleans are all", r#"{"type": "boolean"}"#, r#"{"enum": [true, false]}"#, true, true),
    Pair("listed values keep a bound", r#"{"enum": [3, 4]}"#, r#"{"type": "integer", "minimum": 3}"#, true, false),
    // Numbers.
    Pair("a lower minimum", r#"{"type": "number", "minimum": 2}"#, r#"{"type": "number", "minimum": 1}"#, true, false),
    Pair("a maximum goes", r#"{"type": "number", "maximum": 2}"#, r#"{"type": "number"}"#, true, false),
    Pair(
        "the bound itself is out",
        r#"{"type": "number", "minimum": 2}"#,
        r#"{"type": "number", "exclusiveMinimum": 2}"#,
        false,
        true,
    ),
    Pair(
        "draft 4 spells it another way",
        r#"{"$schema": "http://json-schema.org/draft-04/schema#", "type": "number", "maximum": 2, "exclusiveMaximum": true}"#,
        r#"{"type": "number", "exclusiveMaximum": 2}"#,
        true,
        true,
    ),
    Pair("a bound on what is no number", r#"{"type": "string"}"#, r#"{"type": "string", "minimum": 2}"#, true, true),
    Pair(
        "a multiple of a multiple",
        r#"{"type": "number", "multipleOf": 4}"#,
        r#"{"type": "number", "multipleOf": 2}"#,
        true,
        false,
    ),
    Pair(
        "integers are multiples of 1",
        r#"{"type": "integer"}"#,
        r#"{"type": "integer", "multipleOf": 1}"#,
        true,
        true,
    ),
    // Strings.
    Pair("longer", r#"{"type": "string", "maxLength": 2}"#, r#"{"type": "string", "maxLength": 3}"#, true, false),
    Pair("shorter", r#"{"type": "string"}"#, r#"{"type": "string", "minLength": 1}"#, false, true),
    Pair("no length at all", r#"{"type": "string"}"#, r#"{"type": "string", "minLength": 0}"#, true, true),
    Pair("a pattern comes", r#"{"type": "string"}"#, r#"{"type": "string", "pattern": "^a"}"#, false, true),
    Pair(
        "a pattern changes",
        r#"{"type": "string", "pattern": "^a"}"#,
        r#"{"type": "string", "pattern": "^b"}"#,
        false,
        false,
    ),
    Pair("a format comes", r#"{"type": "string"}"#, r#"{"type": "string", "format": "date"}"#, false, true),
    // Members.
    Pair(
        "a member more, and it was open",
        r#"{"type": "object"}"#,
        r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#,
        false,
        true,
    ),
    Pair(
        "a member more, and it was closed",
        r#"{"type": "object", "additionalProperties": false}"#,
        r#"{"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}"#,
        true,
        false,
    ),
    Pair(
        "a member more, of what the others were",
        r#"{"type": "object", "additionalProperties": {"type": "string"}}"#,
        r#"{"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}"#,
        true,
        true,
    ),
    Pair("a member more that may be anything", r#"{"type": "object"}"#, r#"{"properties": {"a": true}}"#, true, false),
    Pair("it closes", r#"{"type": "object"}"#, r#"{"type": "object", "additionalProperties": false}"#, false, true),
    Pair(
        "a member widens",
        r#"{"type": "object", "properties": {"a": {"type": "integer"}}}"#,
        r#"{"type": "object", "properties": {"a": {"type": "number"}}}"#,
        true,
        false,
    ),
    Pair(
        "required",
        r#"{"type": "object", "properties": {"a": {"type": "integer"}}}"#,
        r#"{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}"#,
        false,
        true,
    ),
    Pair(
        "required with a default",
        r#"{"type": "object", "properties": {"a": {"type": "integer"}}}"#,
        r#"{"type": "object", "properties": {"a": {"type": "integer", "default": 0}}, "required": ["a"]}"#,
        true,
        true,
    ),
    Pair(
        "more members",
        r#"{"type": "object", "maxProperties": 2}"#,
        r#"{"type": "object", "maxProperties": 3}"#,
        true,
        false,
    ),
    Pair(
        "the same patterns of names",
        r#"{"type": "object", "patternProperties": {"^x": {"type": "integer"}}}"#,
        r#"{"type": "object", "patternProperties": {"^x": {"type": "number"}}}"#,
        true,
        false,
    ),
    Pair(
        "a pattern of names comes",
        r#"{"type": "object"}"#,
        r#"{"type": "object", "patternProperties": {"^x": {"type": "number"}}}"#,
        false,
        true,
    ),
    // Items.
    Pair(
        "items widen",
        r#"{"type": "array", "items": {"type": "integer"}}"#,
        r#"{"type": "array", "items": {"type": "number"}}"#,
        true,
        false,
    ),
    Pair("unique", r#"{"type": "array"}"#, r#"{"type": "array", "uniqueItems": true}"#, false, true),
    Pair(
        "a tuple in two drafts",
        r#"{"type": "array", "items": [{"type": "string"}], "additionalItems": false}"#,
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array", "prefixItems": [{"type": "string"}], "items": false}"#,
        true,
        true,
    ),
    Pair(
        "a tuple grows",
        r#"{"type": "array", "items": [{"type": "string"}], "additionalItems": false}"#,
        r#"{"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": false}"#,
        true,
        false,
    ),
    // Sums and products.
    Pair(
        "an alternative more",
        r#"{"anyOf": [{"type": "string"}]}"#,
        r#"{"anyOf": [{"type": "string"}, {"type": "null"}]}"#,
        true,
        false,
    ),
    Pair(
        "a type becomes alternatives",
        r#"{"type": ["string", "null"]}"#,
        r#"{"oneOf": [{"type": "null"}, {"type": "string"}]}"#,
        true,
        true,
    ),
    Pair(
        "alternatives in another order",
        r#"{"oneOf": [{"type": "string"}, {"const": 1}]}"#,
        r#"{"oneOf": [{"const": 1}, {"type": "string"}]}"#,
        true,
        true,
    ),
    Pair(
        "one more holds",
        r#"{"allOf": [{"type": "string"}]}"#,
        r#"{"allOf": [{"type": "string"}, {"maxLength": 3}]}"#,
        false,
        true,
    ),
    Pair(
        "a product is its parts",
        r#"{"type": "string", "maxLength": 3}"#,
        r#"{"allOf": [{"type": "string"}, {"maxLength": 3}]}"#,
        true,
        true,
    ),
    Pair(
        "a tagged alternative grows",
        r#"{"oneOf": [{"type": "object", "properties": {"t": {"const": "a"}}, "required": ["t"]}]}"#,
        r#"{"oneOf": [{"type": "object", "properties": {"t": {"const": "a"}}, "required": ["t"]}, {"type": "object", "properties": {"t": {"const": "b"}}, "required": ["t"]}]}"#,
        true,
        false,
    ),
    Pair(
        "each alternative keeps something out",
        "{}",
        r#"{"anyOf": [{"properties": {"a": false}}, {"required": ["b"]}]}"#,
        false,
        true,
    ),
    Pair(
        "what a pattern may name is not closed",
        r#"{"type": "object", "patternProperties": {"^x": true}, "additionalProperties": false}"#,
        r#"{"type": "object", "properties": {"xa": {"type": "string"}}}"#,
        false,
        false,
    ),
    // The first alternative fails where it comes round to itself; what was taken for granted there must not help the second.
    Pair(
        "what fits on a condition is not settled",
        r##"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {"q": {"$ref": "#/$defs/x"}, "s": {"$ref": "#/$defs/w"}},
            "$defs": {"x": {"type": "object", "properties": {"back": {"$ref": "#/$defs/w"}}},
                      "w": {"type": "object", "properties": {"q": {"$ref": "#/$defs/x"}}}}}"##,
        r##"{"$schema": "https://json-schema.org/draft/2020-12/schema",
            "anyOf": [{"$ref": "#/$defs/d"}, {"properties": {"s": {"$ref": "#/$defs/d"}}}],
            "$defs": {"d": {"properties": {"q": {"properties": {"back": {"$ref": "#/$defs/d", "required": ["z"]}}}}}}}"##,
        false,
        false,
    ),
    // What is not decided.
    Pair("the same not", r#"{"not": {"type": "string"}}"#, r#"{"not": {"type": "string"}, "title": "x"}"#, true, true),
    Pair("another not", r#"{"not": {"type": "string"}}"#, r#"{"not": {"type": "null"}}"#, false, false),
    Pair(
        "a condition comes",
        r#"{"type": "integer"}"#,
        r#"{"type": "integer", "if": {"minimum": 3}, "then": {"maximum": 9}}"#,
        false,
        true,
    ),
    // References.
    Pair(
        "a reference is what it names",
        r##"{"properties": {"a": {"$ref": "#/definitions/a"}}, "definitions": {"a": {"type": "integer"}}}"##,
        r#"{"properties": {"a": {"type": "number"}}}"#,
        true,
        false,
    ),
    Pair(
        "what stands beside a reference counts for nothing in draft 7",
        r##"{"$ref": "#/definitions/a", "definitions": {"a": {"type": "string"}}}"##,
        r##"{"$ref": "#/definitions/a", "minLength": 5, "definitions": {"a": {"type": "string"}}}"##,
        true,
        true,
    ),
    Pair(
        "a keyword that its draft has not says nothing",
        r#"{"$schema": "http://json-schema.org/draft-04/schema#", "const": 1}"#,
        r#"{"const": 1}"#,
        false,
        true,
    ),
    Pair(
        "a format is an annotation later",
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "format": "date"}"#,
        r#"{"format": "date"}"#,
        false,
        true,
    ),
    Pair(
        "a tree widens",
        r##"{"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}}}"##,
        r##"{"type": "object", "properties": {"v": {"type": "number"}, "kids": {"type": "array", "items": {"$ref": "#"}}}}"##,
        true,
        false,
    ),
    Pair(
        "a not with a reference is not decided",
        r##"{"not": {"$ref": "#/definitions/a"}, "definitions": {"a": {"type": "integer"}}}"##,
        r##"{"not": {"$ref": "#/definitions/a"}, "definitions": {"a": {"type": "number"}}}"##,
        false,
        false,
    ),
];

#[test]
fn pairs_are_judged_in_every_mode() {
    assert!(PAIRS.len() >= 30, "{}", PAIRS.len());
    PAIRS.iter().for_each(|pair| pair.hold(Kind::Json));
}

#[test]
fn what_is_in_the_way_is_told_with_its_place() {
    let order = |item: &str, more: &str| {
        let items =
            format!(r#"{{"type": "array", "items": {{"type": "object", "properties": {{"price": {item}}}{more}}}}}"#);
        schema(Kind::Json, &format!(r#"{{"type": "object", "properties": {{"items": {items}}}}}"#))
    };
    let earlier = order(r#"{"type": "number"}"#, "");
    let new = order(r#"{"type": "number", "minimum": 1}"#, r#", "required": ["id"], "additionalProperties": false"#);
    let told: Vec<_> =
        check(Compatibility::Backward, &new, &[&earlier]).into_iter().map(|found| (found.path, found.what)).collect();
    let told: Vec<_> = told.iter().map(|(path, what)| (path.as_str(), what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("$.items[*].id", "it is required now and has no default, and could be missing before"),
            ("$.items[*].price", "minimum is 1 now and refuses more than before, when it was not there"),
            ("$.items[*].*", "something was allowed here, and nothing is any more"),
        ]
    );
}

#[test]
fn transitive_levels_look_at_all_that_went_before() {
    let versions =
        ["1", "2", "3"].map(|most| schema(Kind::Json, &format!(r#"{{"type": "string", "maxLength": {most}}}"#)));
    let [one, two, three] = &versions;
    for (new, earlier, level, expected) in [
        (three, [one, two], Compatibility::BackwardTransitive, &[][..]),
        (three, [one, two], Compatibility::ForwardTransitive, &[0, 1]),
        (two, [three, one], Compatibility::Backward, &[]),
        (two, [three, one], Compatibility::BackwardTransitive, &[0]),
        (two, [one, two], Compatibility::FullTransitive, &[0]),
    ] {
        let found: Vec<usize> = check(level, new, &earlier).iter().map(|found| found.earlier).collect();
        assert_eq!(found, expected, "{level}");
    }
}

#[test]
fn what_references_name_counts() {
    let text = r#"{"type": "object", "properties": {"a": {"$ref": "a.json"}}}"#;
    let with =
        |a: &str| Schema::parse(Kind::Json, text, &[Referenced { name: "a.json", kind: Kind::Json, text: a }]).unwrap();
    let (whole, any) = (with(r#"{"type": "integer"}"#), with(r#"{"type": "number"}"#));
    assert_eq!(check(Compatibility::Backward, &any, &[&whole]), []);
    assert_eq!(check(Compatibility::Backward, &whole, &[&any])[0].path, "$.a");
}

#[test]
fn alternatives_of_alternatives_end() {
    let union = |length: &str| {
        let list = |at| {
            format!(r#"{{"anyOf": [{{"required": ["a{at}"]}}, {{"required": ["b{at}"]}}, {{"{length}": {at}}}]}}"#)
        };
        let all: Vec<String> = (0..24).map(list).collect();
        schema(Kind::Json, &format!(r#"{{"allOf": [{}]}}"#, all.join(",")))
    };
    let (earlier, new) = (union("minProperties"), union("maxProperties"));
    let found = check(Compatibility::Backward, &new, &[&earlier]);
    assert!(!found.is_empty());
}

#[test]
fn long_ways_down_are_gone_as_far_as_values_nest() {
    let chain = |leaf: &str, levels: usize| {
        let link = |at| {
            let next = at + 1;
            format!(
                r##""d{at}": {{"anyOf": [{{"type": "null"}}, {{"type": "array", "items": {{"$ref": "#/definitions/d{next}"}}}}]}}"##
            )
        };
        let links: Vec<String> = (0..levels).map(link).collect();
        let text = links.join(",");
        schema(
            Kind::Json,
            &format!(
                r##"{{"$ref": "#/definitions/d0", "definitions": {{{text}, "d{levels}": {{"type": "{leaf}"}}}}}}"##
            ),
        )
    };
    let found = |levels| check(Compatibility::Backward, &chain("integer", levels), &[&chain("string", levels)]);
    assert_eq!(found(40).len(), 1);
    assert_eq!(found(40)[0].path, format!("${}", "[*]".repeat(40)));
    assert_eq!(found(1_000), [], "no value nests as deep");
}

#[test]
fn what_is_shared_is_looked_at_once() {
    let chain = |leaf: &str| {
        let link = |at| {
            let next = at + 1;
            let twice = ["a", "b"].map(|name| format!(r##""{name}": {{"$ref": "#/definitions/d{next}"}}"##)).join(",");
            format!(
                r##""d{at}": {{"anyOf": [{{"type": "object", "properties": {{{twice}}}}}, {{"required": ["c"], "properties": {{{twice}}}}}]}}"##
            )
        };
        let links: Vec<String> = (0..40).map(link).collect();
        let text = links.join(",");
        schema(
            Kind::Json,
            &format!(r##"{{"$ref": "#/definitions/d0", "definitions": {{{text}, "d40": {{"type": "{leaf}"}}}}}}"##),
        )
    };
    let (number, integer) = (chain("number"), chain("integer"));
    assert_eq!(check(Compatibility::Backward, &number, &[&integer]), []);
    let found = check(Compatibility::Backward, &integer, &[&number]);
    assert!(found[0].what.contains("no alternative of anyOf takes"), "{found:?}");
}
