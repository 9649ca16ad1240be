//! Payloads, byte by byte.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::{DynamicMessage, MessageDescriptor, prost_types::FileDescriptorSet};
use protox::{
    Compiler,
    file::{DescriptorSetFileResolver, File},
};

use super::super::super::{
    Kind, Schema,
    testing::{schema, violates},
};

const ALL: &str = r#"syntax = "proto3"; message M {
    int32 i = 1; sint64 z = 2; fixed32 f = 3; double d = 4; string s = 5; bytes b = 6; M m = 7;
    repeated int32 r = 8; repeated string t = 9; map<string, M> k = 10; bool o = 11; E e = 12; repeated M ms = 13;
} enum E { A = 0; }"#;

fn proto(text: &str) -> Schema {
    schema(Kind::Protobuf, text)
}

#[test]
fn what_is_right_is_taken() {
    let all = proto(ALL);
    for payload in [
        &[][..],
        &[8, 1],
        // A negative number takes ten bytes.
        &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[29, 1, 2, 3, 4, 33, 1, 2, 3, 4, 5, 6, 7, 8],
        &[42, 2, 0xc3, 0xa9, 50, 1, 0xff],
        &[58, 2, 8, 1],
        // Packed, and not.
        &[66, 2, 1, 2, 64, 3],
        &[82, 7, 10, 1, b'a', 18, 2, 8, 1],
        // A value that the enum has not, and a field that the message has not: a group within a group.
        &[96, 99],
        &[0xa3, 6, 0xa3, 6, 8, 1, 0xa4, 6, 0xa4, 6],
        // The last one counts.
        &[8, 1, 8, 2],
    ] {
        all.validate(payload).unwrap_or_else(|violation| panic!("{payload:?}: {violation}"));
    }
    let old = proto("message M { required int32 a = 1; optional group G = 2 { optional int32 b = 3; } }");
    old.validate(&[19, 24, 1, 20, 8, 1]).unwrap();
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let all = proto(ALL);
    for (payload, path, what) in [
        (&[8][..], "$.i", "the payload ends within a number"),
        (&[8, 0x80], "$.i", "the payload ends within a number"),
        (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "$.i", "more than 64 bits"),
        (&[0x80], "$", "the payload ends within a number"),
        (&[0], "$", "there is no field of this number"),
        (&[0x80, 0x80, 0x80, 0x80, 0x10], "$", "there is no field of this number"),
        (&[14], "$", "there is no wire type 6"),
        (&[15], "$", "there is no wire type 7"),
        (
            &[10, 1, 1],
            "$.i",
            "int64, uint32, uint64, bool or enum by the schema, and not encoded so: bytes with a length",
        ),
        (&[40, 1], "$.s", "it is string by the schema, and not encoded so: a varint is there"),
        (&[56, 1], "$.m", "it is message M by the schema"),
        (&[29, 1, 2, 3], "$.f", "4 bytes should follow, and the payload ends after 3"),
        (&[33, 1], "$.d", "8 bytes should follow"),
        (&[42, 5, b'a'], "$.s", "5 bytes should follow, and the payload ends after 1"),
        // A length that is an allocation bomb for whoever believes it.
        (
            &[50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            "$.b",
            "18446744073709551615 bytes should follow",
        ),
        (&[42, 1, 0xff], "$.s", "the string is no UTF-8"),
        (&[58, 2, 42, 3], "$.m.s", "3 bytes should follow, and the payload ends after 0"),
        (&[66, 2, 1, 0x80], "$.r[0]", "ends within a number"),
        (&[74, 1, b'a', 8, 1, 74, 1, 0xff], "$.t[1]", "no UTF-8"),
        (&[106, 0, 106, 2, 8, 1, 106, 2, 40, 1], "$.ms[2].s", "a varint is there"),
        (&[82, 4, 18, 2, 40, 1], "$.k[0].value.s", "a varint is there"),
        (&[12], "$", "the group 1 ends, which has not begun"),
        (&[0xa3, 6, 0xac, 6], "$", "the group 101 ends, which has not begun"),
        (&[0xa3, 6, 8], "$", "ends within a number"),
    ] {
        violates(&all, payload, path, what);
    }
    let old =
        proto("message M { required int32 a = 1; optional M m = 2; optional group G = 3 { optional int32 b = 4; } }");
    violates(&old, &[], "$.a", "it is required and not there");
    violates(&old, &[8, 1, 18, 0], "$.m.a", "it is required and not there");
    violates(&old, &[8, 1, 27, 32], "$.g.b", "ends within a number");
    violates(&old, &[8, 1, 27, 36], "$.g", "the group 4 ends, which has not begun");
}

#[test]
fn values_nest_no_deeper_than_is_allowed() {
    let all = proto(ALL);
    let nested = |levels: usize| {
        (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut length = inner.len();
            let mut outer = vec![58];
            while length > 0x7f {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            [outer, inner].concat()
        })
    };
    all.validate(&nested(100)).unwrap();
    violates(&all, &nested(101), &format!("${}", ".m".repeat(101)), "nests deeper than is allowed");
    all.validate(&[[0xa3, 6].repeat(100), [0xa4, 6].repeat(100)].concat()).unwrap();
    violates(&all, &[0xa3, 6].repeat(500_000), "$", "nests deeper than is allowed");
}

#[test]
fn messages_are_found_by_their_indexes() {
    let text = "syntax = \"proto3\"; message A { map<string, string> m = 1; message B { message C { string s = 1; } } } message D { int32 i = 1; }";
    let all = proto(text);
    for (indexes, payload, expected) in [
        (&[][..], &[8, 1][..], Some("$.m[0]")),
        (&[0], &[10, 0], None),
        (&[1], &[8, 1], None),
        (&[1], &[10, 0], Some("$.i")),
        (&[0, 0, 0], &[10, 1, b'a'], None),
        (&[0, 0, 0], &[8, 1], Some("$.s")),
    ] {
        assert_eq!(all.validate_as(payload, indexes).err().map(|violation| violation.path).as_deref(), expected);
    }
    for indexes in [&[2][..], &[0, 2], &[1, 0], &[u32::MAX]] {
        assert!(all.validate_as(&[], indexes).unwrap_err().what.contains("there is no message"), "{indexes:?}");
    }
    let none = proto("syntax = \"proto3\"; enum E { A = 0; }");
    violates(&none, &[], "$", "there is no message [0]");
}

/// As the serializers in Python and Go count, and as the one in Java does.
#[test]
fn entries_of_maps_may_be_counted_among_the_messages_within() {
    let order = proto(
        "syntax = \"proto3\"; message Order { map<string, int32> parts = 1; message Note { string text = 1; } \
         message Line { fixed64 price = 1; } }",
    );
    let (note, line) = (&[0x0a, 1, b'a'][..], &[0x09, 0, 0, 0, 0, 0, 0, 0, 0][..]);
    for (indexes, payload) in [([0, 0], note), ([0, 1], note), ([0, 1], line), ([0, 2], line)] {
        assert_eq!(order.validate_as(payload, &indexes), Ok(()), "{indexes:?}");
    }
    assert_eq!(order.validate_as(line, &[0, 0]).unwrap_err().path, "$.text");
    assert!(order.validate_as(note, &[0, 2]).is_err());
    assert!(order.validate_as(note, &[0, 3]).unwrap_err().what.contains("there is no message"));
}

/// The same schema here and there.
static BOTH: LazyLock<(Schema, MessageDescriptor)> = LazyLock::new(|| (proto(ALL), other()));

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is accepted here `prost` decodes. The other way round it is stricter, as [`super::super::walk`] says.
    #[test]
    fn agrees_with_another_decoder(
        parts in prop::collection::vec((1..15_u8, 0..6_u8, prop::collection::vec(any::<u8>(), 0..9)), 0..8),
    ) {
        let mut payload = Vec::new();
        for (number, wire, bytes) in parts {
            payload.push(number << 3 | wire);
            match wire {
                0 => payload.push(bytes.len() as u8),
                2 => payload.push(bytes.len() as u8),
                _ => (),
            }
            if wire != 0 {
                payload.extend(bytes);
            }
        }
        let (schema, other) = &*BOTH;
        if schema.validate(&payload).is_ok() {
            let decoded = DynamicMessage::decode(other.clone(), payload.as_slice());
            prop_assert!(decoded.is_ok(), "{:?}: {:?}", payload, decoded);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in r#"(syntax = "proto[23]"; ?)?((message|enum|oneof|map|option|import|repeated|extend|group|reserved|\{|\}|\[|\]|<|>|=|;|"|'|//|/\*|A|b|1|-|\.|,|\(|\)) ?){0,30}"#) {
        let _ = Schema::parse(Kind::Protobuf, &text, &[]);
    }
}

/// The same text as the other decoder has it.
fn other() -> MessageDescriptor {
    let file = File::from_source("m.proto", ALL).unwrap().file_descriptor_proto().clone();
    let files = DescriptorSetFileResolver::new(FileDescriptorSet { file: vec![file] });
    let mut compiler = Compiler::with_file_resolver(files);
    compiler.open_file("m.proto").unwrap().descriptor_pool().get_message_by_name("M").unwrap()
}
