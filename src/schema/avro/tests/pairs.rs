//! Readers and writers.

use super::super::super::{
    Compatibility, Kind, Schema,
    compatibility::check,
    testing::{Pair, schema},
};

/// Expected of the new one for what the earlier wrote, and of the earlier one for what the new one writes.
const PAIRS: &[Pair] = &[
    // Primitives.
    Pair("the same", r#""int""#, r#""int""#, true, true),
    Pair("int to long", r#""int""#, r#""long""#, true, false),
    Pair("int to float", r#""int""#, r#""float""#, true, false),
    Pair("int to double", r#""int""#, r#""double""#, true, false),
    Pair("long to float", r#""long""#, r#""float""#, true, false),
    Pair("long to double", r#""long""#, r#""double""#, true, false),
    Pair("float to double", r#""float""#, r#""double""#, true, false),
    Pair("string and bytes", r#""string""#, r#""bytes""#, true, true),
    Pair("int to boolean", r#""int""#, r#""boolean""#, false, false),
    Pair("int to string", r#""int""#, r#""string""#, false, false),
    Pair("null to int", r#""null""#, r#""int""#, false, false),
    Pair("double to bytes", r#""double""#, r#""bytes""#, false, false),
    // Logical types.
    Pair("a date is an int", r#"{"type": "int", "logicalType": "date"}"#, r#""int""#, true, true),
    Pair("a date widens", r#"{"type": "int", "logicalType": "date"}"#, r#""long""#, true, false),
    Pair(
        "the same decimal",
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#,
        r#"{"logicalType": "decimal", "scale": 2, "precision": 9, "type": "bytes"}"#,
        true,
        true,
    ),
    Pair(
        "a decimal of another scale",
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}"#,
        false,
        false,
    ),
    Pair(
        "a decimal of another precision",
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 9}"#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 10}"#,
        false,
        false,
    ),
    Pair(
        "a decimal becomes bytes",
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 9}"#,
        r#""bytes""#,
        true,
        true,
    ),
    Pair("a uuid is a string", r#"{"type": "string", "logicalType": "uuid"}"#, r#""string""#, true, true),
    // Arrays and maps.
    Pair("items widen", r#"{"type": "array", "items": "int"}"#, r#"{"type": "array", "items": "long"}"#, true, false),
    Pair(
        "items change",
        r#"{"type": "array", "items": "int"}"#,
        r#"{"type": "array", "items": "boolean"}"#,
        false,
        false,
    ),
    Pair("values widen", r#"{"type": "map", "values": "int"}"#, r#"{"type": "map", "values": "double"}"#, true, false),
    Pair("array to map", r#"{"type": "array", "items": "int"}"#, r#"{"type": "map", "values": "int"}"#, false, false),
    // Fixed.
    Pair(
        "the same fixed",
        r#"{"type": "fixed", "name": "F", "size": 4}"#,
        r#"{"type": "fixed", "name": "F", "size": 4}"#,
        true,
        true,
    ),
    Pair(
        "fixed of another size",
        r#"{"type": "fixed", "name": "F", "size": 4}"#,
        r#"{"type": "fixed", "name": "F", "size": 5}"#,
        false,
        false,
    ),
    Pair(
        "fixed of another name",
        r#"{"type": "fixed", "name": "F", "size": 4}"#,
        r#"{"type": "fixed", "name": "G", "size": 4}"#,
        false,
        false,
    ),
    Pair(
        "fixed with an alias",
        r#"{"type": "fixed", "name": "F", "size": 4}"#,
        r#"{"type": "fixed", "name": "G", "size": 4, "aliases": ["F"]}"#,
        true,
        false,
    ),
    Pair("fixed to bytes", r#"{"type": "fixed", "name": "F", "size": 4}"#, r#""bytes""#, false, false),
    // Enums.
    Pair(
        "a symbol more",
        r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}"#,
        true,
        false,
    ),
    Pair(
        "a symbol less",
        r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#,
        false,
        true,
    ),
    Pair(
        "a symbol less and a default",
        r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A"], "default": "A"}"#,
        true,
        true,
    ),
    Pair(
        "a symbol more and the earlier had a default",
        r#"{"type": "enum", "name": "E", "symbols": ["A"], "default": "A"}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A", "B"], "default": "A"}"#,
        true,
        true,
    ),
    Pair(
        "symbols in another order",
        r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["B", "A"]}"#,
        true,
        true,
    ),
    Pair(
        "enum of another name",
        r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#,
        r#"{"type": "enum", "name": "D", "symbols": ["A"]}"#,
        false,
        false,
    ),
    Pair("enum to string", r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, r#""string""#, false, false),
    // Records.
    Pair(
        "a field more with a default",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 0}]}"#,
        true,
        true,
    ),
    Pair(
        "a field more without",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]}"#,
        false,
        true,
    ),
    Pair(
        "a field less that had a default",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 0}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        true,
        true,
    ),
    Pair(
        "a field less that had none",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        true,
        false,
    ),
    Pair(
        "an optional field more",
        r#"{"type": "record", "name": "R", "fields": []}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "b", "type": ["null", "int"], "default": null}]}"#,
        true,
        true,
    ),
    Pair(
        "nullable is no default",
        r#"{"type": "record", "name": "R", "fields": []}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "b", "type": ["null", "int"]}]}"#,
        false,
        true,
    ),
    Pair(
        "a field widens",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}"#,
        true,
        false,
    ),
    Pair(
        "a field changes",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string", "default": ""}]}"#,
        false,
        false,
    ),
    Pair(
        "fields in another order",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "b", "type": "string"}, {"name": "a", "type": "int"}]}"#,
        true,
        true,
    ),
    Pair(
        "a field is renamed",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "b", "type": "int"}]}"#,
        false,
        false,
    ),
    Pair(
        "a field is renamed with an alias",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "b", "type": "int", "aliases": ["a"]}]}"#,
        true,
        false,
    ),
    Pair(
        "a field is renamed with an alias, and both have defaults",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": 1}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "b", "type": "int", "default": 1, "aliases": ["a"]}]}"#,
        true,
        true,
    ),
    Pair(
        "aliases of several fields",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": 1}, {"name": "b", "type": "int", "default": 1}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "c", "type": "int", "default": 1, "aliases": ["a", "b"]}]}"#,
        false,
        true,
    ),
    Pair(
        "a record of another name",
        r#"{"type": "record", "name": "R", "fields": []}"#,
        r#"{"type": "record", "name": "S", "fields": []}"#,
        false,
        false,
    ),
    Pair(
        "a record with an alias",
        r#"{"type": "record", "name": "R", "fields": []}"#,
        r#"{"type": "record", "name": "S", "fields": [], "aliases": ["R"]}"#,
        true,
        false,
    ),
    Pair(
        "an alias within a namespace",
        r#"{"type": "record", "name": "R", "namespace": "n", "fields": []}"#,
        r#"{"type": "record", "name": "S", "namespace": "n", "fields": [], "aliases": ["R"]}"#,
        true,
        false,
    ),
    Pair(
        "an alias of another namespace",
        r#"{"type": "record", "name": "R", "namespace": "m", "fields": []}"#,
        r#"{"type": "record", "name": "S", "namespace": "n", "fields": [], "aliases": ["R"]}"#,
        false,
        false,
    ),
    Pair(
        "another namespace",
        r#"{"type": "record", "name": "R", "namespace": "m", "fields": []}"#,
        r#"{"type": "record", "name": "R", "namespace": "n", "fields": []}"#,
        true,
        true,
    ),
    Pair(
        "record to map",
        r#"{"type": "record", "name": "R", "fields": []}"#,
        r#"{"type": "map", "values": "int"}"#,
        false,
        false,
    ),
    Pair(
        "a record within changes",
        r#"{"type": "record", "name": "R", "fields": [{"name": "s", "type": {"type": "record", "name": "S", "fields": []}}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "s", "type": {"type": "record", "name": "S", "fields": [{"name": "x", "type": "int"}]}}]}"#,
        false,
        true,
    ),
    // Unions.
    Pair("the same union", r#"["null", "int"]"#, r#"["null", "int"]"#, true, true),
    Pair("branches in another order", r#"["null", "int"]"#, r#"["int", "null"]"#, true, true),
    Pair("a branch more", r#"["null", "int"]"#, r#"["null", "int", "string"]"#, true, false),
    Pair("a type becomes a union with it", r#""int""#, r#"["null", "int"]"#, true, false),
    Pair("a union becomes its only type", r#"["int"]"#, r#""int""#, true, true),
    Pair("a branch widens", r#"["null", "int"]"#, r#"["null", "long"]"#, true, false),
    Pair("a type becomes a wider branch", r#""int""#, r#"["null", "double"]"#, true, false),
    Pair("another union", r#"["null", "int"]"#, r#"["null", "boolean"]"#, false, false),
    Pair("all branches widen to one", r#"["int", "long"]"#, r#""double""#, true, false),
    Pair("string branch becomes bytes", r#"["null", "string"]"#, r#"["null", "bytes"]"#, true, true),
    Pair(
        "records are told by name",
        r#"[{"type": "record", "name": "A", "fields": []}, {"type": "record", "name": "B", "fields": []}]"#,
        r#"[{"type": "record", "name": "B", "fields": []}, {"type": "record", "name": "A", "fields": []}]"#,
        true,
        true,
    ),
    Pair(
        "a record branch is missing",
        r#"[{"type": "record", "name": "A", "fields": []}, {"type": "record", "name": "B", "fields": []}]"#,
        r#"[{"type": "record", "name": "A", "fields": []}]"#,
        false,
        true,
    ),
    Pair(
        "one of two branches of that name reads it",
        r#"{"type": "record", "name": "A", "fields": []}"#,
        r#"[{"type": "record", "name": "A", "namespace": "x", "fields": [{"name": "i", "type": "int"}]}, {"type": "record", "name": "A", "namespace": "y", "fields": []}]"#,
        true,
        true,
    ),
    Pair(
        "one of two branches reads it by one of two within",
        r#"{"type": "record", "name": "A", "fields": [{"name": "u", "type": {"type": "record", "name": "B", "fields": []}}]}"#,
        r#"[{"type": "record", "name": "y.A", "fields": [{"name": "i", "type": "int"}]},
            {"type": "record", "name": "x.A", "fields": [{"name": "u", "type": [
                {"type": "record", "name": "p.B", "fields": [{"name": "i", "type": "int"}]},
                {"type": "record", "name": "q.B", "fields": []}]}]}]"#,
        true,
        false,
    ),
    // Recursive types.
    Pair(
        "the same list",
        r#"{"type": "record", "name": "L", "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "L"]}]}"#,
        r#"{"type": "record", "name": "L", "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "L"]}]}"#,
        true,
        true,
    ),
    Pair(
        "a list widens",
        r#"{"type": "record", "name": "L", "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "L"]}]}"#,
        r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}, {"name": "v", "type": "long"}]}"#,
        true,
        false,
    ),
    Pair(
        "two levels of a list become one",
        r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", {"type": "record", "name": "M", "aliases": ["L"], "fields": [{"name": "next", "type": ["null", "L"]}]}]}]}"#,
        r#"{"type": "record", "name": "L", "aliases": ["M"], "fields": [{"name": "next", "type": ["null", "L"]}]}"#,
        true,
        true,
    ),
    Pair(
        "within a tree",
        r#"{"type": "record", "name": "T", "fields": [{"name": "kids", "type": {"type": "array", "items": "T"}}]}"#,
        r#"{"type": "record", "name": "T", "fields": [{"name": "kids", "type": {"type": "map", "values": "T"}}]}"#,
        false,
        false,
    ),
    Pair(
        "a branch is only read by what fails within",
        r#"{"type": "record", "name": "L", "fields": [{"name": "v", "type": "string"}, {"name": "next", "type": ["null", "L"]}]}"#,
        r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}, {"name": "v", "type": "int"}]}"#,
        false,
        false,
    ),
];

#[test]
fn pairs_are_judged_in_every_mode() {
    assert!(PAIRS.len() >= 60, "{}", PAIRS.len());
    PAIRS.iter().for_each(|pair| pair.hold(Kind::Avro));
}

#[test]
fn what_is_in_the_way_is_told_with_its_place() {
    let record = |fields: &str| {
        let items = format!(r#"{{"type": "array", "items": {{"type": "record", "name": "I", "fields": [{fields}]}}}}"#);
        let map = format!(r#"{{"type": "map", "values": ["null", {items}]}}"#);
        schema(Kind::Avro, &format!(r#"{{"type": "record", "name": "R", "fields": [{{"name": "m", "type": {map}}}]}}"#))
    };
    let earlier = record(r#"{"name": "a", "type": "string"}"#);
    let new = record(r#"{"name": "a", "type": "int"}, {"name": "b", "type": "int"}"#);
    let found = check(Compatibility::Full, &new, &[&earlier]);
    let told: Vec<String> = found.iter().map(|found| found.said_of(7)).collect();
    let new_reads = "it cannot read what version 7 wrote, at ";
    assert_eq!(
        told,
        [
            format!("{new_reads}$.m.*[*].b: the reader asks for this field, which was not written and has no default"),
            format!("{new_reads}$.m.*[*].a: string was written, and int cannot read it"),
            "version 7 cannot read what it writes, at $.m.*[*].a: int was written, and string cannot read it"
                .to_owned(),
        ]
    );
}

/// A record of as many fields, all of the same types within themselves, in as many names.
fn ring(name: &str, length: usize, leaf: &str) -> String {
    let link = |at: usize| match at {
        at if at + 1 == length => format!(r#"{{"name": "next", "type": ["null", "{name}0"]}}"#),
        _ => String::new(),
    };
    (0..length).rev().fold(String::new(), |inner, at| {
        let field = match inner.is_empty() {
            true => link(at),
            false => format!(r#"{{"name": "next", "type": ["null", {inner}]}}"#),
        };
        format!(
            r#"{{"type": "record", "name": "{name}{at}", "aliases": [{}], "fields": [{{"name": "v", "type": "{leaf}"}}, {field}]}}"#,
            (0..40).map(|at| format!("\"W{at}\"")).collect::<Vec<_>>().join(", ")
        )
    })
}

#[test]
fn rings_of_different_lengths_are_compared_without_recursion() {
    let (long, short) = (schema(Kind::Avro, &ring("R", 23, "long")), schema(Kind::Avro, &ring("W", 19, "int")));
    assert_eq!(check(Compatibility::Backward, &long, &[&short]), []);
    let found = check(Compatibility::Backward, &short, &[&long]);
    assert_eq!(found[0].path, "$");
    let narrow = schema(Kind::Avro, &ring("R", 23, "boolean"));
    let found = check(Compatibility::Backward, &narrow, &[&short]);
    assert_eq!(found.len(), 50, "as many as are told");
    assert!(found.iter().all(|found| found.what.contains("int was written")), "{found:?}");
}

#[test]
fn transitive_levels_look_at_all_that_went_before() {
    let versions = [r#""int""#, r#""long""#, r#""double""#].map(|text| schema(Kind::Avro, text));
    let [int, long, double] = &versions;
    let with_default = schema(Kind::Avro, r#"["int", "long"]"#);
    for (new, earlier, level, expected) in [
        (double, [int, long], Compatibility::BackwardTransitive, &[][..]),
        (double, [int, long], Compatibility::ForwardTransitive, &[0, 1]),
        (double, [int, long], Compatibility::FullTransitive, &[0, 1]),
        (long, [double, int], Compatibility::Backward, &[]),
        (long, [double, int], Compatibility::BackwardTransitive, &[0]),
        (long, [int, double], Compatibility::Forward, &[]),
        (long, [int, double], Compatibility::ForwardTransitive, &[0]),
        (long, [int, long], Compatibility::Full, &[]),
        (long, [int, long], Compatibility::FullTransitive, &[0]),
        (&with_default, [int, long], Compatibility::BackwardTransitive, &[]),
        (int, [double, double], Compatibility::None, &[]),
    ] {
        let mut found: Vec<usize> = check(level, new, &earlier).iter().map(|found| found.earlier).collect();
        found.dedup();
        assert_eq!(found, expected, "{level}: {} after {:?}", new.text(), earlier.map(|earlier| earlier.text()));
    }
    assert_eq!(check(Compatibility::FullTransitive, int, &[] as &[&Schema]), []);
}
