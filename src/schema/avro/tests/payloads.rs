//! Payloads, byte by byte.

use super::super::super::{
    Kind, Schema,
    testing::{schema, violates},
};

fn avro(text: &str) -> Schema {
    schema(Kind::Avro, text)
}

const LIST: &str = r#"{"type": "record", "name": "L", "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "L"]}]}"#;
const ORDER: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "string"},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
        {"name": "price", "type": "long"}, {"name": "gift", "type": "boolean"}]}}},
    {"name": "labels", "type": {"type": "map", "values": ["null", "string"]}}]}"#;

#[test]
fn what_is_right_is_taken() {
    for (text, payload) in [
        (r#""null""#, &[][..]),
        (r#""boolean""#, &[1]),
        (r#""int""#, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        (r#""int""#, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (r#""int""#, &[0x80, 0x00]),
        (r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        (r#""float""#, &[0, 0, 0xc0, 0x7f]),
        (r#""double""#, &[0; 8]),
        (r#""bytes""#, &[4, 0xff, 0]),
        (r#""string""#, &[4, 0xc3, 0xa9]),
        (r#"{"type": "fixed", "name": "F", "size": 3}"#, &[1, 2, 3]),
        (r#"{"type": "fixed", "name": "F", "size": 0}"#, &[]),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, &[2]),
        (r#"["null", "int"]"#, &[0]),
        (r#"["null", "int"]"#, &[2, 2]),
        (r#"{"type": "array", "items": "int"}"#, &[0]),
        (r#"{"type": "array", "items": "int"}"#, &[4, 2, 4, 2, 6, 0]),
        // A negative count, and the size of the block.
        (r#"{"type": "array", "items": "int"}"#, &[3, 4, 2, 4, 0]),
        (r#"{"type": "map", "values": "int"}"#, &[1, 6, 2, b'a', 2, 0]),
        (r#"{"type": "array", "items": "null"}"#, &[20, 0]),
        (r#"{"type": "record", "name": "R", "fields": []}"#, &[]),
        (LIST, &[2, 2, 4, 0]),
        (ORDER, &[2, b'1', 2, 20, 1, 0, 2, 2, b'k', 0, 0]),
    ] {
        avro(text).validate(payload).unwrap_or_else(|violation| panic!("{text} {payload:?}: {violation}"));
    }
    let uuid = b"\x48123e4567-e89b-12d3-A456-426655440000";
    avro(r#"{"type": "string", "logicalType": "uuid"}"#).validate(uuid).unwrap();
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, payload, path, what) in [
        (r#""null""#, &[0][..], "$", "1 bytes follow the value"),
        (r#""int""#, &[2, 0], "$", "1 bytes follow"),
        (r#""boolean""#, &[2], "$", "a boolean is the byte 0 or 1, not 2"),
        (r#""boolean""#, &[], "$", "1 bytes should follow, and the payload ends after 0"),
        (r#""int""#, &[], "$", "the payload ends within a number"),
        (r#""int""#, &[0x80], "$", "the payload ends within a number"),
        (r#""int""#, &[0x80, 0x80, 0x80, 0x80, 0x10], "$", "too large for an int"),
        (r#""int""#, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], "$", "too large for an int"),
        (r#""long""#, &[0xff; 11], "$", "more than 64 bits"),
        (r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "$", "more than 64 bits"),
        (r#""double""#, &[0; 7], "$", "8 bytes should follow, and the payload ends after 7"),
        (r#""bytes""#, &[1], "$", "the length -1 is negative"),
        (r#""bytes""#, &[6, 1, 2], "$", "3 bytes should follow, and the payload ends after 2"),
        // A length that is an allocation bomb for whoever believes it.
        (
            r#""bytes""#,
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            "$",
            "9223372036854775807 bytes should follow",
        ),
        (r#""string""#, &[4, 0xc3, 0x28], "$", "no UTF-8 from its byte 0 on"),
        (
            r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
            &[4],
            "$",
            "there is no 2: the schema has 2 symbols",
        ),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, &[1], "$", "there is no -1"),
        (r#"["null", "int"]"#, &[4], "$", "there is no 2: the schema has 2 branches"),
        (r#"["null", "int"]"#, &[3], "$", "there is no -2"),
        (r#"{"type": "array", "items": "int"}"#, &[2, 2], "$", "the payload ends within a number"),
        (r#"{"type": "array", "items": "int"}"#, &[4, 2, 0x80], "$[1]", "the payload ends within a number"),
        (
            r#"{"type": "array", "items": "int"}"#,
            &[3, 6, 2, 4, 0],
            "$",
            "a block says that it has 3 bytes, and its items take 2",
        ),
        (r#"{"type": "array", "items": "int"}"#, &[3, 1, 2, 4, 0], "$", "a block says that it has -1 bytes"),
        (r#"{"type": "array", "items": "boolean"}"#, &[2, 1, 4, 0, 7, 0], "$[2]", "not 7"),
        (r#"{"type": "map", "values": "boolean"}"#, &[2, 2, b'a', 9, 0], "$.a", "not 9"),
        (r#"{"type": "map", "values": "boolean"}"#, &[2, 6, b'a', b' ', b'b', 9, 0], "$[\"a b\"]", "not 9"),
        (r#"{"type": "map", "values": "int"}"#, &[2, 2, 0xff, 2, 0], "$", "no UTF-8"),
        (r#"{"type": "string", "logicalType": "uuid"}"#, &[4, b'a', b'b'], "$", "the string is no UUID"),
        (ORDER, &[2, b'1', 4, 20, 1, 20, 2, 0, 0], "$.items[1].gift", "not 2"),
        (ORDER, &[2, b'1', 0, 2, 2, b'k', 4, 0], "$.labels.k", "there is no 2"),
    ] {
        violates(&avro(text), payload, path, what);
    }
}

#[test]
fn bombs_are_refused_at_once() {
    let count = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0];
    let nulls = r#"{"type": "array", "items": "null"}"#;
    violates(&avro(nulls), &count, "$", "1152921504606846976 items");
    let most_negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0];
    let records =
        r#"{"type": "array", "items": {"type": "record", "name": "R", "fields": [{"name": "n", "type": "null"}]}}"#;
    violates(&avro(records), &count, "$", "1152921504606846976 items");
    violates(&avro(nulls), &most_negative, "$", "9223372036854775808 items that take no bytes");
    violates(&avro(r#"{"type": "array", "items": "int"}"#), &count, "$[1]", "ends within a number");
    // Each inner array has as many as are allowed, and all of them together more.
    let arrays = avro(&format!(r#"{{"type": "array", "items": {nulls}}}"#));
    let inner = [0xa0, 0x9c, 0x01, 0];
    arrays.validate(&[&[2][..], &inner, &[0]].concat()).unwrap();
    violates(&arrays, &[&[4][..], &inner, &inner, &[0]].concat(), "$[1]", "items that take no bytes");
    // Records of records of nothing, doubled forty times.
    let empty = (0..12).fold(r#"{"type": "record", "name": "R0", "fields": []}"#.to_owned(), |inner, at| {
        let name = at + 1;
        format!(
            r#"{{"type": "record", "name": "R{name}", "fields": [{{"name": "a", "type": {inner}}}, {{"name": "b", "type": "R{at}"}}]}}"#
        )
    });
    let doubled = (12..40).fold(empty, |done, at| {
        let name = at + 1;
        format!(r#"{done}, {{"type": "record", "name": "R{name}", "fields": [{{"name": "a", "type": "R{at}"}}, {{"name": "b", "type": "R{at}"}}]}}"#)
    });
    let all = avro(&format!("[{doubled}]"));
    all.validate(&[56]).unwrap();
}

#[test]
fn values_nest_no_deeper_than_is_allowed() {
    let list = avro(LIST);
    let chain = |length: usize| [[2, 2].repeat(length - 1), vec![2, 0]].concat();
    list.validate(&chain(100)).unwrap();
    let violation = list.validate(&chain(101)).unwrap_err();
    assert_eq!(violation.path, format!("${}", ".next".repeat(100)));
    assert_eq!(violation.what, "the value nests deeper than is allowed");
    assert!(list.validate(&[2, 2].repeat(500_000)).unwrap_err().what.contains("nests deeper"));
    // A type that has no end, and takes no bytes until there.
    let endless =
        avro(r#"{"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}, {"name": "s", "type": "R"}]}"#);
    assert!(endless.validate(&[]).unwrap_err().what.contains("nests deeper"));
}
