//! Texts that are no schemas.

use super::super::super::{
    Kind, Limits, Referenced, Schema,
    testing::{broken, broken_with, schema},
};

#[test]
fn broken_schemas_say_where_and_why() {
    for (text, path, what) in [
        ("syntax = \"proto3\"; message M {", "$", "but reached end of file"),
        ("message 5", "1:9", "expected an identifier, but found '5'"),
        ("syntax = \"proto9\";", "1:10", "unknown syntax 'proto9'"),
        ("syntax = \"proto3\";\nmessage M { int32 a = 1; int32 a = 2; }", "2:32", "name of field 'a' conflicts"),
        ("syntax = \"proto3\"; message M { int32 a = 1; int32 b = 1; }", "1:55", "field number '1' is already used"),
        ("syntax = \"proto3\"; message M { int32 a = 0; }", "1:42", "must be between 1 and 536870911"),
        ("syntax = \"proto3\"; message M { int32 a = 19000; }", "1:42", "invalid field number '19000'"),
        (
            "syntax = \"proto3\"; message M { required int32 a = 1; }",
            "1:32",
            "required fields are not allowed in proto3",
        ),
        ("syntax = \"proto3\"; message M { N n = 1; }", "1:32", "name 'N' is not defined"),
        ("syntax = \"proto3\"; message M { } message M { }", "1:42", "name 'M' is defined twice"),
        ("syntax = \"proto3\"; enum E { A = 1; }", "1:33", "the first value for proto3 enums must be 0"),
        ("syntax = \"proto3\"; enum E { A = 0; B = 0; }", "1:40", "enum number '0' has already been used"),
        ("syntax = \"proto3\"; enum E { }", "1:20", "enums must have at least one value"),
        ("syntax = \"proto3\";\nimport \"other.proto\";", "2:1", "not found: add it to the references"),
        ("syntax = \"proto3\"; import \"$\";", "$", "import cycle detected"),
        ("\u{0}", "1:1", "invalid"),
    ] {
        broken(Kind::Protobuf, text, path, what);
    }
    assert!(Schema::parse(Kind::Protobuf, "syntax = \"proto3\"; import \"/etc/passwd\";", &[]).is_err());
}

#[test]
fn enormous_and_deep_schemas_are_refused() {
    let deep = |levels: usize| format!("{}{}", "message M { ".repeat(levels), "}".repeat(levels));
    broken(Kind::Protobuf, &deep(90), "1:373", "reached maximum recursion limit for nested messages");
    broken(Kind::Protobuf, &deep(97), "$", "its brackets nest deeper than 96 levels");
    broken(Kind::Protobuf, &deep(50_000), "$", "nest deeper");
    let option = |levels: usize| {
        let (open, close) = ("a: {".repeat(levels), "}".repeat(levels));
        format!(
            "import \"google/protobuf/descriptor.proto\"; message A {{ optional A a = 1; }} extend google.protobuf.MessageOptions {{ optional A x = 50000; }} message M {{ option (x) = {{ {open} {close} }}; }}"
        )
    };
    schema(Kind::Protobuf, &option(90));
    broken(Kind::Protobuf, &option(20_000), "$", "nest deeper");
    let wide: Vec<String> = (1..10_000).map(|at| format!("int32 f{at} = {at};")).collect();
    schema(Kind::Protobuf, &format!("syntax = \"proto3\"; message M {{ {} }}", wide.join(" ")));
    let text = format!("syntax = \"proto3\"; message N {{ }} message M {{ {} }}", wide.join(" "));
    broken(Kind::Protobuf, &text, "$", "more than 10000 messages and fields");
    broken(Kind::Protobuf, &" ".repeat((1 << 20) + 1), "$", "at most 1048576 are allowed");
    // A chain of imports, as long as is allowed, and a ring of them.
    let names: Vec<String> = (0..257).map(|at| format!("f{at}.proto")).collect();
    let texts: Vec<String> = names.iter().map(|name| format!("syntax = \"proto3\"; import \"{name}\";")).collect();
    let mut references: Vec<Referenced<'_>> =
        (0..256).map(|at| Referenced { name: &names[at + 1], kind: Kind::Protobuf, text: &texts[at] }).collect();
    references[0].text = "syntax = \"proto3\";";
    Schema::parse(Kind::Protobuf, &texts[256], &references).unwrap();
    references[0].text = &texts[256];
    broken_with(Kind::Protobuf, &texts[256], &references, "f256.proto $", "import cycle detected");
    references.push(references[0]);
    broken_with(Kind::Protobuf, &texts[256], &references, "$", "at most 256 are allowed");
    let limits = Limits { references: 0, ..Limits::default() };
    assert!(
        Schema::parse_within(&limits, Kind::Protobuf, "", &references[..1]).unwrap_err().what.contains("at most 0")
    );
}

#[test]
fn imports_are_found_by_their_names_only() {
    let item = Referenced {
        name: "shop/item.proto",
        kind: Kind::Protobuf,
        text: "syntax = \"proto3\"; package shop; import \"google/protobuf/timestamp.proto\"; message Item { google.protobuf.Timestamp at = 1; }",
    };
    let order =
        "syntax = \"proto3\"; package shop; import \"shop/item.proto\"; message Order { repeated Item items = 1; }";
    let parsed = Schema::parse(Kind::Protobuf, order, &[item]).unwrap();
    parsed.validate(&[10, 4, 10, 2, 8, 1]).unwrap();
    assert_eq!(parsed.validate(&[10, 4, 10, 2, 10, 0]).unwrap_err().path, "$.items[0].at.seconds");
    broken_with(
        Kind::Protobuf,
        order,
        &[Referenced { name: "item.proto", ..item }],
        "1:34",
        "add it to the references",
    );
    let bad = Referenced { text: "message", ..item };
    broken_with(Kind::Protobuf, order, &[bad], "shop/item.proto $", "reached end of file");
}

#[test]
fn layout_is_no_part_of_a_schema_and_the_order_is() {
    let one = schema(Kind::Protobuf, "syntax = \"proto3\"; // why\nmessage A { int32 a = 1; }\nmessage B { }");
    let same = schema(Kind::Protobuf, "syntax='proto3';message A{int32 a=1;}message B{}");
    let turned = schema(Kind::Protobuf, "syntax='proto3';message B{}message A{int32 a=1;}");
    assert_eq!(one.normalized(), same.normalized());
    assert_ne!(one.normalized(), turned.normalized());
}
