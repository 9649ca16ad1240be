//! Readers and writers.

use super::super::super::{
    Compatibility, Kind, Referenced, Schema,
    compatibility::check,
    testing::{Pair, schema},
};

/// A file of one message, or of what is given.
macro_rules! proto {
    ($($body:tt)*) => { concat!("syntax = \"proto3\"; package p; ", $($body)*) };
}

/// Expected of the new one for what the earlier wrote, and of the earlier one for what the new one writes.
const PAIRS: &[Pair] = &[
    Pair("the same", proto!("message M { int32 a = 1; }"), proto!("message M { int32 a = 1; }"), true, true),
    Pair("a field more", proto!("message M { }"), proto!("message M { int32 a = 1; }"), true, true),
    Pair("a field is renamed", proto!("message M { int32 a = 1; }"), proto!("message M { int32 b = 1; }"), true, true),
    Pair(
        "a field has another number",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { int32 a = 2; }"),
        true,
        true,
    ),
    Pair(
        "another package",
        "syntax = \"proto3\"; package p; message M { M m = 1; }",
        "syntax = \"proto3\"; package q; message M { M m = 1; }",
        true,
        true,
    ),
    Pair(
        "another syntax",
        "syntax = \"proto3\"; message M { int32 a = 1; }",
        "message M { optional int32 a = 1; }",
        true,
        true,
    ),
    // Types.
    Pair(
        "within the integers",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { uint64 a = 1; }"),
        true,
        true,
    ),
    Pair("integer to bool", proto!("message M { int64 a = 1; }"), proto!("message M { bool a = 1; }"), true, true),
    Pair(
        "integer to enum",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { E a = 1; } enum E { A = 0; }"),
        true,
        true,
    ),
    Pair(
        "one enum to another",
        proto!("message M { D a = 1; } enum D { A = 0; }"),
        proto!("message M { E a = 1; } enum E { B = 0; }"),
        true,
        true,
    ),
    Pair("to another sign", proto!("message M { int32 a = 1; }"), proto!("message M { sint32 a = 1; }"), false, false),
    Pair("within the signed", proto!("message M { sint64 a = 1; }"), proto!("message M { sint32 a = 1; }"), true, true),
    Pair(
        "within four bytes",
        proto!("message M { fixed32 a = 1; }"),
        proto!("message M { sfixed32 a = 1; }"),
        true,
        true,
    ),
    Pair(
        "within eight bytes",
        proto!("message M { fixed64 a = 1; }"),
        proto!("message M { sfixed64 a = 1; }"),
        true,
        true,
    ),
    Pair(
        "four to eight bytes",
        proto!("message M { fixed32 a = 1; }"),
        proto!("message M { fixed64 a = 1; }"),
        false,
        false,
    ),
    Pair(
        "eight bytes to double",
        proto!("message M { fixed64 a = 1; }"),
        proto!("message M { double a = 1; }"),
        false,
        false,
    ),
    Pair("float to double", proto!("message M { float a = 1; }"), proto!("message M { double a = 1; }"), false, false),
    Pair("string and bytes", proto!("message M { string a = 1; }"), proto!("message M { bytes a = 1; }"), true, true),
    Pair(
        "string to integer",
        proto!("message M { string a = 1; }"),
        proto!("message M { int32 a = 1; }"),
        false,
        false,
    ),
    Pair("bytes to message", proto!("message M { bytes a = 1; }"), proto!("message M { M a = 1; }"), false, false),
    Pair(
        "another message",
        proto!("message A { } message B { } message M { A a = 1; }"),
        proto!("message A { } message B { } message M { B a = 1; }"),
        false,
        false,
    ),
    Pair(
        "map to messages",
        proto!("message E { string key = 1; int32 value = 2; } message M { map<string, int32> a = 1; }"),
        proto!("message E { string key = 1; int32 value = 2; } message M { repeated E a = 1; }"),
        false,
        false,
    ),
    Pair(
        "a map's values change",
        proto!("message M { map<string, int32> a = 1; }"),
        proto!("message M { map<string, string> a = 1; }"),
        false,
        false,
    ),
    Pair(
        "a map's values stay alike",
        proto!("message M { map<string, int32> a = 1; }"),
        proto!("message M { map<string, int64> a = 1; }"),
        true,
        true,
    ),
    // Messages.
    Pair("a message more", proto!("message M { }"), proto!("message M { } message N { }"), true, false),
    Pair("a message is renamed", proto!("message M { }"), proto!("message N { }"), false, false),
    Pair(
        "messages in another order",
        proto!("message M { } message N { }"),
        proto!("message N { } message M { }"),
        true,
        true,
    ),
    Pair("a message within more", proto!("message M { }"), proto!("message M { message N { } }"), true, false),
    Pair(
        "within a message within",
        proto!("message M { message N { int32 a = 1; } }"),
        proto!("message M { message N { string a = 1; } }"),
        false,
        false,
    ),
    Pair(
        "within itself",
        proto!("message M { M next = 1; int32 a = 2; }"),
        proto!("message M { M next = 1; int64 a = 2; }"),
        true,
        true,
    ),
    Pair(
        "enums come and go",
        proto!("message M { } enum D { A = 0; }"),
        proto!("message M { } enum E { B = 0; C = 1; }"),
        true,
        true,
    ),
    // Labels.
    Pair(
        "a number repeats",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { repeated int32 a = 1; }"),
        false,
        false,
    ),
    Pair(
        "a string repeats",
        proto!("message M { string a = 1; }"),
        proto!("message M { repeated string a = 1; }"),
        true,
        true,
    ),
    Pair("a message repeats", proto!("message M { M a = 1; }"), proto!("message M { repeated M a = 1; }"), true, true),
    Pair(
        "it may be absent",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { optional int32 a = 1; }"),
        true,
        true,
    ),
    Pair("a required field more", "message M { }", "message M { required int32 a = 1; }", false, false),
    Pair("it is required", "message M { optional int32 a = 1; }", "message M { required int32 a = 1; }", false, true),
    Pair(
        "group to message",
        "message M { optional group A = 1 { } }",
        "message M { optional A a = 1; message A { } }",
        false,
        false,
    ),
    // Oneofs.
    Pair(
        "one moves into a new oneof",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { oneof o { int32 a = 1; } }"),
        true,
        true,
    ),
    Pair(
        "one moves, and another is new",
        proto!("message M { int32 a = 1; }"),
        proto!("message M { oneof o { int32 a = 1; int32 b = 2; } }"),
        true,
        true,
    ),
    Pair(
        "two move into a oneof",
        proto!("message M { int32 a = 1; int32 b = 2; }"),
        proto!("message M { oneof o { int32 a = 1; int32 b = 2; } }"),
        false,
        true,
    ),
    Pair(
        "one joins a oneof",
        proto!("message M { int32 a = 1; oneof o { int32 b = 2; } }"),
        proto!("message M { oneof o { int32 a = 1; int32 b = 2; } }"),
        false,
        false,
    ),
    Pair(
        "a oneof has one more",
        proto!("message M { oneof o { int32 a = 1; } }"),
        proto!("message M { oneof o { int32 a = 1; int32 b = 2; } }"),
        true,
        false,
    ),
    Pair(
        "one leaves a oneof",
        proto!("message M { oneof o { int32 a = 1; int32 b = 2; } }"),
        proto!("message M { oneof o { int32 a = 1; } int32 b = 2; }"),
        false,
        false,
    ),
];

#[test]
fn pairs_are_judged_in_every_mode() {
    assert!(PAIRS.len() >= 30, "{}", PAIRS.len());
    PAIRS.iter().for_each(|pair| pair.hold(Kind::Protobuf));
}

#[test]
fn what_is_in_the_way_is_told_with_its_place() {
    let earlier = schema(
        Kind::Protobuf,
        proto!("message Order { message Line { double price = 1; } repeated Line lines = 1; } message Gone { }"),
    );
    let new =
        schema(Kind::Protobuf, proto!("message Order { message Line { string price = 1; } repeated Line lines = 1; }"));
    let found = check(Compatibility::Backward, &new, &[&earlier]);
    let told: Vec<String> = found.iter().map(|found| found.said_of(7)).collect();
    assert_eq!(
        told,
        [
            "it cannot read what version 7 wrote, at $.Gone: the message was \
             written, and the schema of the reader has it not",
            "it cannot read what version 7 wrote, at $.Order.Line.price: it was \
             written as double, and is read as string",
        ]
    );
}

#[test]
fn transitive_levels_look_at_all_that_went_before() {
    let [one, two, three] = ["", "int32 a = 1;", "string a = 1;"]
        .map(|fields| schema(Kind::Protobuf, &format!("syntax = \"proto3\"; message M {{ {fields} }}")));
    for (new, earlier, level, expected) in [
        (&one, [&three, &two], Compatibility::FullTransitive, &[][..]),
        (&three, [&two, &one], Compatibility::Backward, &[]),
        (&three, [&two, &one], Compatibility::BackwardTransitive, &[0]),
        (&three, [&two, &one], Compatibility::Forward, &[]),
        (&three, [&two, &one], Compatibility::ForwardTransitive, &[0]),
        (&three, [&two, &two], Compatibility::FullTransitive, &[0, 0, 1, 1]),
    ] {
        let found: Vec<usize> = check(level, new, &earlier).iter().map(|found| found.earlier).collect();
        assert_eq!(found, expected, "{level}");
    }
}

#[test]
fn what_is_imported_counts() {
    let text = "syntax = \"proto3\"; import \"a.proto\"; message M { A a = 1; }";
    let with = |a: &str| {
        Schema::parse(Kind::Protobuf, text, &[Referenced { name: "a.proto", kind: Kind::Protobuf, text: a }]).unwrap()
    };
    let whole = with("syntax = \"proto3\"; message A { int32 n = 1; }");
    let text = with("syntax = \"proto3\"; message A { string n = 1; }");
    assert_eq!(check(Compatibility::Backward, &text, &[&whole])[0].path, "$.A.n");
}
