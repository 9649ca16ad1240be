//! The fields of records: what is read and written, by itself and against `apache-avro`.

use apache_avro::{Schema as Other, types::Value as Theirs};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{
    super::super::{
        Broken, Kind, RecordReader, RecordWriter, Schema,
        record::{Shape, Value},
        testing::schema,
    },
    random::{self, Maker, Speller, decode, encode},
};

fn record(fields: Json) -> Schema {
    schema(Kind::Avro, &json!({"type": "record", "name": "shop.Order", "fields": fields}).to_string())
}

/// A record of one field `f`.
fn of(kind: Json) -> Schema {
    record(json!([{"name": "f", "type": kind}]))
}

fn read<'a>(reader: &RecordReader, payload: &'a [u8]) -> Vec<Value<'a>> {
    let mut values = [Value::Long(-1); 2];
    reader.read(payload, &mut values).unwrap();
    values.to_vec()
}

fn written(writer: &RecordWriter, values: &[Value<'_>]) -> Vec<u8> {
    let mut out = vec![7];
    writer.write(values, &mut out);
    assert_eq!(out.remove(0), 7, "what was there stays");
    out
}

#[track_caller]
fn broken<T: std::fmt::Debug>(result: Result<T, Broken>, what: &str) {
    let broken = result.expect_err(what);
    assert!(broken.path == "$" && broken.what.contains(what), "{broken}");
}

#[test]
fn fields_are_read_among_others() {
    let schema = record(json!([
        {"name": "note", "type": ["null", "string"]},
        {"name": "id", "type": "string", "aliases": ["number"]},
        {"name": "items", "type": {"type": "array", "items": "int"}},
        {"name": "nothing", "type": "null"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}}
    ]));
    let payload = [&[2, 2, b'n', 4][..], "é".as_bytes(), &[2, 6, 0, 3]].concat();
    let reader = schema.reader(&[("time", Shape::Long), ("id", Shape::Text)]).unwrap();
    assert_eq!(read(&reader, &payload), [Value::Long(-2), Value::Text("é")]);
    let reader = schema.reader(&[("note", Shape::Text), ("time", Shape::Long)]).unwrap();
    assert_eq!(read(&reader, &payload), [Value::Text("n"), Value::Long(-2)]);
    let mut values = [Value::Long(0); 2];
    let mut told = |payload: &[u8]| reader.read(&payload.to_vec().leak()[..], &mut values).unwrap_err();
    assert_eq!(told(&[0]).to_string(), "the payload breaks its schema at $.note: null is here, and a text is wanted");
    assert_eq!(told(&[4]).path, "$.note");
    // What is not asked for is looked at, too.
    assert_eq!(told(&[2, 0, 2, 0xff]).path, "$.id");
    assert!(told(&[&payload[..], &[0]].concat()).what.contains("1 bytes follow"));
    assert!(told(&payload[..payload.len() - 1]).what.contains("ends within a number"));
    broken(schema.reader(&[("number", Shape::Text)]), "record shop.Order has no field number: add it, as a string");
    broken(schema.reader(&[("id", Shape::Text), ("id", Shape::Text)]), "the field id is asked for twice");
    // Of no field, it is a check.
    let nothing = schema.reader(&[]).unwrap();
    assert!(nothing.read(&payload, &mut []).is_ok() && nothing.read(&[], &mut []).is_err());
    assert!(record(json!([])).reader(&[]).unwrap().read(&[], &mut []).is_ok());
}

#[test]
fn what_may_be_read_is_what_avro_promotes() {
    let uuid = json!({"type": "string", "logicalType": "uuid"});
    for (kind, shape, payload, expected) in [
        (json!("int"), Shape::Long, &[3][..], Value::Long(-2)),
        (json!(["null", "int", "long"]), Shape::Long, &[2, 3], Value::Long(-2)),
        (json!(["null", "int", "long"]), Shape::Long, &[4, 3], Value::Long(-2)),
        (json!("bytes"), Shape::Text, &[2, b'a'], Value::Text("a")),
        (json!(["string", "bytes"]), Shape::Text, &[2, 2, b'a'], Value::Text("a")),
        (uuid.clone(), Shape::Text, b"\x48123e4567-e89b-12d3-A456-426655440000", {
            Value::Text("123e4567-e89b-12d3-A456-426655440000")
        }),
    ] {
        let schema = of(kind);
        let mut values = [Value::Long(0)];
        schema.reader(&[("f", shape)]).unwrap().read(payload, &mut values).unwrap();
        assert_eq!(values, [expected], "{}", schema.text());
    }
    for (kind, shape, payload, what) in [
        (json!("bytes"), Shape::Text, &[2, 0xff][..], "the bytes are no UTF-8 from byte 0 on"),
        (json!("string"), Shape::Text, &[2, 0xff], "the string is no UTF-8"),
        (json!("int"), Shape::Long, &[0x80, 0x80, 0x80, 0x80, 0x10], "too large for an int"),
        (json!(["string", "double"]), Shape::Text, &[2, 0, 0, 0, 0, 0, 0, 0, 0], "double is here"),
        (json!(["long", "string"]), Shape::Long, &[2, 0], "string is here, and a whole number is wanted"),
        (uuid, Shape::Text, &[2, b'a'], "no UUID"),
    ] {
        let schema = of(kind);
        let violation = schema.reader(&[("f", shape)]).unwrap().read(payload, &mut [Value::Long(0)]).unwrap_err();
        assert_eq!(violation.path, "$.f");
        assert!(violation.what.contains(what), "{violation}");
    }
    for (kind, shape) in [
        (json!("long"), Shape::Text),
        (json!("string"), Shape::Long),
        (json!("double"), Shape::Long),
        (json!(["null", "float"]), Shape::Long),
        (json!({"type": "enum", "name": "E", "symbols": ["A"]}), Shape::Text),
        (json!({"type": "array", "items": "string"}), Shape::Text),
    ] {
        broken(of(kind).reader(&[("f", shape)]), "the field f of record shop.Order can be no ");
    }
    for (kind, text, what) in [
        (Kind::Avro, r#""string""#, "it is a string, and only a record has fields"),
        (Kind::Json, "{}", "it is written in JSON, and only AVRO's records have such fields"),
    ] {
        broken(schema(kind, text).reader(&[]), what);
        broken(schema(kind, text).writer(&[]), what);
    }
}

#[test]
fn fields_are_written_and_the_others_take_their_defaults() {
    let item = json!({"type": "record", "name": "Item", "fields": [
        {"name": "price", "type": "long"},
        {"name": "gift", "type": "boolean", "default": true}]});
    let schema = record(json!([
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["a", "bc"]},
        {"name": "id", "type": ["null", {"type": "string", "logicalType": "uuid"}, "long"], "default": null},
        {"name": "none", "type": {"type": "map", "values": "int"}, "default": {}},
        {"name": "text", "type": ["null", "bytes", "string"]},
        {"name": "item", "type": item, "default": {"price": -1}},
        {"name": "labels", "type": {"type": "map", "values": ["null", "int"]}, "default": {"k": 1}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}, "default": "B"},
        {"name": "raw", "type": "bytes", "default": "\u{ff}\u{0}"},
        {"name": "mark", "type": {"type": "fixed", "name": "Mark", "size": 2}, "default": "é!"},
        {"name": "union", "type": [{"type": "fixed", "name": "Three", "size": 3}, "Mark", "string"], "default": "ab"},
        {"name": "float", "type": "float", "default": 1},
        {"name": "double", "type": "double", "default": -0.5},
        {"name": "int", "type": "int", "default": -2147483648},
        {"name": "nothing", "type": "null", "default": null}
    ]));
    let writer = schema.writer(&[("text", Shape::Text), ("id", Shape::Long)]).unwrap();
    let payload = written(&writer, &[Value::Text("é"), Value::Long(i64::MIN)]);
    let expected = [
        &[4, 2, b'a', 4, b'b', b'c', 0][..],
        &[4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[0],
        &[4, 4, 0xc3, 0xa9],
        &[1, 1],
        &[2, 2, b'k', 2, 2, 0],
        &[2],
        &[4, 0xff, 0],
        &[0xe9, b'!'],
        &[2, b'a', b'b'],
        &[0, 0, 0x80, 0x3f],
        &[0, 0, 0, 0, 0, 0, 0xe0, 0xbf],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    assert_eq!(payload, expected.concat());
    schema.validate(&payload).unwrap();
    let reader = schema.reader(&[("id", Shape::Long), ("text", Shape::Text)]).unwrap();
    assert_eq!(read(&reader, &payload), [Value::Long(i64::MIN), Value::Text("é")]);
    assert_eq!(written(&record(json!([])).writer(&[]).unwrap(), &[]), [0; 0]);
}

#[test]
fn what_cannot_be_written_is_told_with_its_name() {
    let two = || record(json!([{"name": "a", "type": "string", "aliases": ["c"]}, {"name": "b", "type": "long"}]));
    broken(two().writer(&[("a", Shape::Text)]), "the field b of record shop.Order, and it has no default");
    broken(two().writer(&[("c", Shape::Text)]), "has no field c: add it, as a string");
    broken(two().writer(&[("a", Shape::Text), ("a", Shape::Text)]), "the field a is asked for twice");
    for (kind, shape) in [
        (json!("int"), Shape::Long),
        (json!("double"), Shape::Long),
        (json!("bytes"), Shape::Text),
        (json!({"type": "string", "logicalType": "uuid"}), Shape::Text),
        (json!(["null", "int"]), Shape::Long),
    ] {
        broken(of(kind).writer(&[("f", shape)]), "the field f of record shop.Order does not take every ");
    }
    let bad_uuid = json!([{"name": "u", "type": {"type": "string", "logicalType": "uuid"}, "default": "no"}]);
    broken(record(bad_uuid).writer(&[]), "the default of the field u cannot be written");
    let nulls = json!([{"name": "n", "type": {"type": "array", "items": "null"}, "default": vec![Json::Null; 10_001]}]);
    broken(record(nulls).writer(&[]), "its defaults break it at $.n: 10001 items that take no bytes");
}

#[test]
fn defaults_end() {
    let endless = record(json!([{"name": "inner", "type": "shop.Order", "default": {}}]));
    broken(endless.writer(&[]), "the default of the field inner cannot be written, as it has no end");
    // Each record is twice the one before.
    let mut fields = vec![json!({"name": "f0", "type": {"type": "record", "name": "R0", "fields": [
        {"name": "n", "type": "int", "default": 0}]}, "default": {}})];
    for at in 1..40 {
        let half = |name: &str| json!({"name": name, "type": format!("R{}", at - 1), "default": {}});
        let twice = json!({"type": "record", "name": format!("R{at}"), "fields": [half("a"), half("b")]});
        fields.push(json!({"name": format!("f{at}"), "type": twice, "default": {}}));
    }
    broken(record(fields.clone().into()).writer(&[]), "has no end, is too large");
    record(fields[..10].into()).writer(&[]).unwrap();
    let long = json!({"name": "R", "type": "record", "fields": [
        {"name": "t", "type": "string", "default": "x".repeat(100_000)}]});
    let mut fields = vec![json!({"name": "r0", "type": long, "default": {}})];
    fields.extend((1..50).map(|at| json!({"name": format!("r{at}"), "type": "R", "default": {}})));
    broken(record(fields.into()).writer(&[]), "has no end, is too large");
}

/// A field of a record at random.
#[derive(Clone, Debug)]
enum Field {
    /// One that is read or written by its name.
    Named(Json, Shape),
    Other(random::Shape),
}

fn field(named: fn() -> Vec<(Json, Shape)>) -> impl Strategy<Value = Field> {
    prop_oneof![
        prop::sample::select(named()).prop_map(|(kind, shape)| Field::Named(kind, shape)),
        random::shape().prop_map(Field::Other),
    ]
}

fn readable() -> Vec<(Json, Shape)> {
    let text = ["string", "bytes"].map(|kind| (json!(kind), Shape::Text));
    let long = ["long", "int"].map(|kind| (json!(kind), Shape::Long));
    let unions = [
        (json!(["null", "string"]), Shape::Text),
        (json!(["bytes", "double", "string"]), Shape::Text),
        (json!(["int", "null", {"type": "long", "logicalType": "timestamp-millis"}]), Shape::Long),
    ];
    text.into_iter().chain(long).chain(unions).collect()
}

fn writable() -> Vec<(Json, Shape)> {
    vec![
        (json!("string"), Shape::Text),
        (json!(["null", "string"]), Shape::Text),
        (json!(["int", "long", "string"]), Shape::Text),
        (json!("long"), Shape::Long),
        (json!({"type": "long", "logicalType": "timestamp-millis"}), Shape::Long),
        (json!(["int", "null", "long"]), Shape::Long),
    ]
}

/// A record of the fields, and the names and shapes of those that are named.
fn spelled(fields: &[Field]) -> (Json, Vec<(String, Shape)>) {
    let (mut speller, mut named) = (Speller::default(), Vec::new());
    let spell = |(at, field): (usize, &Field)| {
        let name = format!("field{at}");
        let kind = match field {
            Field::Named(kind, shape) => {
                named.push((name.clone(), *shape));
                kind.clone()
            }
            Field::Other(shape) => speller.spell(shape),
        };
        json!({"name": name, "type": kind})
    };
    let fields: Vec<Json> = fields.iter().enumerate().map(spell).collect();
    (json!({"type": "record", "name": "Root", "fields": fields}), named)
}

fn borrowed(named: &[(String, Shape)]) -> Vec<(&str, Shape)> {
    named.iter().map(|(name, shape)| (name.as_str(), *shape)).collect()
}

/// What should be read of another's value, if it is of the shape.
fn ours(value: &Theirs, shape: Shape) -> Option<Value<'_>> {
    Some(match (value, shape) {
        (Theirs::Union(_, inner), _) => ours(inner, shape)?,
        (Theirs::String(text), Shape::Text) => Value::Text(text),
        (Theirs::Bytes(bytes), Shape::Text) => Value::Text(str::from_utf8(bytes).ok()?),
        (Theirs::Int(number), Shape::Long) => Value::Long((*number).into()),
        (Theirs::Long(number) | Theirs::TimestampMillis(number), Shape::Long) => Value::Long(*number),
        _ => return None,
    })
}

/// A value as a default has it.
fn default(value: &Theirs) -> Json {
    let latin = |bytes: &[u8]| json!(bytes.iter().map(|byte| char::from(*byte)).collect::<String>());
    match value {
        Theirs::Null => Json::Null,
        Theirs::Boolean(value) => json!(value),
        Theirs::Int(number) => json!(number),
        Theirs::Long(number) => json!(number),
        Theirs::Float(number) => json!(number),
        Theirs::Double(number) => json!(number),
        Theirs::Bytes(bytes) | Theirs::Fixed(_, bytes) => latin(bytes),
        Theirs::Decimal(decimal) => latin(&Vec::<u8>::try_from(decimal).unwrap()),
        Theirs::String(text) | Theirs::Enum(_, text) => json!(text),
        Theirs::Uuid(uuid) => json!(uuid.to_string()),
        Theirs::Union(_, inner) => default(inner),
        Theirs::Array(items) => items.iter().map(default).collect(),
        Theirs::Map(members) => members.iter().map(|(name, value)| (name.clone(), default(value))).collect(),
        Theirs::Record(fields) => fields.iter().map(|(name, value)| (name.clone(), default(value))).collect(),
        other => panic!("none is made: {other:?}"),
    }
}

/// The same with unions in which a default can only be of one branch.
fn plain(shape: &random::Shape) -> random::Shape {
    use random::Shape::{Array, Map, Primitive, Record, Union};
    match shape {
        Union(branches) => Union(vec![Primitive("null"), plain(&branches[0])]),
        Array(items) => Array(Box::new(plain(items))),
        Map(values) => Map(Box::new(plain(values))),
        Record(fields) => Record(fields.iter().map(plain).collect()),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    fn reads(
        fields in prop::collection::vec(field(readable), 0..6),
        random in prop::collection::vec(any::<u8>(), 0..80),
        cut in any::<prop::sample::Index>(),
    ) {
        let (spelled, named) = spelled(&fields);
        let text = spelled.to_string();
        let schema = schema(Kind::Avro, &text);
        let value = Maker::new(&spelled, random).value(&spelled);
        let payload = encode(&Other::parse_str(&text).unwrap(), value.clone()).unwrap();
        let Theirs::Record(theirs) = value else { unreachable!() };
        let find = |name: &str| &theirs.iter().find(|(known, _)| known == name).unwrap().1;
        let expected: Vec<_> = named.iter().map(|(name, shape)| ours(find(name), *shape)).collect();
        let reader = schema.reader(&borrowed(&named)).unwrap();
        let mut values = vec![Value::Long(0); named.len()];
        let read = reader.read(&payload, &mut values);
        match expected.iter().position(Option::is_none) {
            None => {
                prop_assert_eq!(read, Ok(()));
                prop_assert_eq!(values.into_iter().map(Some).collect::<Vec<_>>(), expected);
            }
            Some(at) => prop_assert_eq!(read.unwrap_err().path, format!("$.{}", named[at].0), "{}", text),
        }
        // What is broken is broken to both.
        let part = &payload[..cut.index(payload.len() + 1)];
        let mut values = vec![Value::Long(0); named.len()];
        let read = reader.read(part, &mut values);
        prop_assert!(read.is_err() || schema.validate(part).is_ok());
    }

    fn writes(
        fields in prop::collection::vec(field(writable), 0..6),
        random in prop::collection::vec(any::<u8>(), 0..80),
        texts in prop::collection::vec(".{0,9}", 6),
        numbers in prop::collection::vec(any::<i64>(), 6),
    ) {
        let plain = |field: &Field| match field {
            Field::Other(shape) => Field::Other(plain(shape)),
            named => named.clone(),
        };
        let (mut spelled, named) = spelled(&fields.iter().map(plain).collect::<Vec<_>>());
        let other = Other::parse_str(&spelled.to_string()).unwrap();
        let Theirs::Record(made) = Maker::new(&spelled.clone(), random).value(&spelled) else { unreachable!() };
        for (field, (_, value)) in spelled["fields"].as_array_mut().unwrap().iter_mut().zip(&made) {
            field["default"] = default(value);
        }
        let values: Vec<_> = named.iter().enumerate().map(|(at, (_, shape))| match shape {
            Shape::Text => Value::Text(&texts[at]),
            Shape::Long => Value::Long(numbers[at]),
        }).collect();
        let schema = schema(Kind::Avro, &spelled.to_string());
        let payload = written(&schema.writer(&borrowed(&named)).unwrap(), &values);
        prop_assert_eq!(schema.validate(&payload), Ok(()));
        let Some(Theirs::Record(theirs)) = decode(&other, &payload) else {
            return Err(TestCaseError::fail(format!("{payload:?} is not decoded: {spelled}")));
        };
        for ((name, value), field) in theirs.iter().zip(spelled["fields"].as_array().unwrap()) {
            match named.iter().position(|(known, _)| known == name) {
                Some(at) => prop_assert_eq!(ours(value, named[at].1), Some(values[at])),
                None => prop_assert_eq!(default(value).to_string(), field["default"].to_string(), "{}", spelled),
            }
        }
    }
}

/// The other implementation goes as deep as a payload leads it.
fn deep(test: fn()) {
    std::thread::Builder::new().stack_size(256 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn what_another_writes_is_read() {
    deep(reads);
}

#[test]
fn what_is_written_another_reads() {
    deep(writes);
}
