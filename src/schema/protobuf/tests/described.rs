//! Files that come as their descriptors.

use super::super::super::{
    Kind, Referenced, Schema,
    testing::{broken, schema},
};

const TEXT: &str = r#"
    syntax = "proto3";
    package shop;
    import "google/protobuf/timestamp.proto";
    message Order {
      string order_id = 1;
      optional int32 amount = 2;
      repeated Item items = 3;
      map<string, int32> counts = 4;
      oneof what { string a = 5; Item b = 6; }
      google.protobuf.Timestamp at = 7;
    }
    message Item { string name = 1; Kind kind = 2; enum Kind { NONE = 0; ONE = 1; } }
"#;
/// The same file, as Python's generated code has it.
const DESCRIPTOR: &str = "CgdwLnByb3RvEgRzaG9wGh9nb29nbGUvcHJvdG9idWYvdGltZXN0YW1wLnByb3RvIoICCgVPcmRlchIQCghvcmRlcl9pZBgBIAEoCRITCg\
    ZhbW91bnQYAiABKAVIAYgBARIZCgVpdGVtcxgDIAMoCzIKLnNob3AuSXRlbRInCgZjb3VudHMYBCADKAsyFy5zaG9wLk9yZGVyLkNvdW50c0VudHJ5EgsKAWEYB\
    SABKAlIABIXCgFiGAYgASgLMgouc2hvcC5JdGVtSAASJgoCYXQYByABKAsyGi5nb29nbGUucHJvdG9idWYuVGltZXN0YW1wGi0KC0NvdW50c0VudHJ5EgsKA2tl\
    eRgBIAEoCRINCgV2YWx1ZRgCIAEoBToCOAFCBgoEd2hhdEIJCgdfYW1vdW50Ik4KBEl0ZW0SDAoEbmFtZRgBIAEoCRIdCgRraW5kGAIgASgOMg8uc2hvcC5JdGV\
    tLktpbmQiGQoES2luZBIICgROT05FEAASBwoDT05FEAFiBnByb3RvMw==";

#[test]
fn a_descriptor_is_the_same_schema_as_its_text() {
    let (text, described) = (schema(Kind::Protobuf, TEXT), schema(Kind::Protobuf, DESCRIPTOR));
    assert_eq!(text.normalized(), described.normalized());
    assert_eq!(text.descriptor(), described.descriptor());
    assert_eq!(schema(Kind::Protobuf, text.descriptor().unwrap()).normalized(), text.normalized());
    assert!(described.validate(&[0x10, 7]).is_ok() && described.validate(&[0x12, 1, b'7']).is_err());
    assert_eq!(schema(Kind::Avro, "\"int\"").descriptor(), None);
}

#[test]
fn what_refers_to_another_may_be_described_too() {
    let item = schema(Kind::Protobuf, "syntax = \"proto3\"; message Item { string name = 1; }");
    let order = "syntax = \"proto3\"; import \"item.proto\"; message Order { Item item = 1; }";
    let order_with = |text: &str, order: &str| {
        Schema::parse(Kind::Protobuf, order, &[Referenced { name: "item.proto", kind: Kind::Protobuf, text }])
    };
    let plain = order_with(item.text(), order).unwrap();
    let described = order_with(item.descriptor().unwrap(), plain.descriptor().unwrap()).unwrap();
    assert_eq!(plain.normalized(), described.normalized());
    assert!(Schema::parse(Kind::Protobuf, plain.descriptor().unwrap(), &[]).is_err());
}

/// Whoever registers may say anything.
#[test]
fn descriptors_that_are_damaged_harm_nobody() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let whole = STANDARD.decode(DESCRIPTOR).unwrap();
    for at in 0..whole.len() {
        for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            let _ = Schema::parse(Kind::Protobuf, &STANDARD.encode(&damaged), &[]);
        }
        let _ = Schema::parse(Kind::Protobuf, &STANDARD.encode(&whole[..at]), &[]);
    }
    let edition = STANDARD.encode(b"\x62\x08editions");
    broken(Kind::Protobuf, &edition, "$", "unknown syntax \"editions\"");
    for nothing in ["AAAA", "abcd", "===="] {
        assert!(Schema::parse(Kind::Protobuf, nothing, &[]).is_err(), "{nothing:?}");
    }
}
