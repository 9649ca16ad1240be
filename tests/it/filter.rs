//! The language of filters: what they take, what is refused and where, and that a program of many says what each of
//! them says by itself.

mod model;

use std::collections::BTreeMap;

use tilde::model::{
    Filter, Message, Payload, Reason, Records, Sequence, Stamp, Timestamp, Topic, filter::Program, limits,
};

/// A message as a filter sees it.
#[derive(Clone, Debug)]
struct Sample {
    topic: String,
    attributes: BTreeMap<String, String>,
    ordering_key: String,
    content_type: String,
}

impl Sample {
    fn new(topic: &str, attributes: &[(&str, &str)], ordering_key: &str, content_type: &str) -> Self {
        Sample {
            topic: topic.into(),
            attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ordering_key: ordering_key.into(),
            content_type: content_type.into(),
        }
    }

    /// As it lies in the log.
    fn record(&self) -> Vec<u8> {
        let message = Message {
            attributes: self.attributes.iter().map(|(key, value)| (key.into(), value.into())).collect(),
            ordering_key: (&self.ordering_key).into(),
            content_type: (&self.content_type).into(),
            message_id: "id".into(),
            ..Message::new(Topic::parse(&*self.topic).unwrap(), Payload::Text("payload".into()))
        };
        let mut record = Vec::new();
        message.encode(limits::MESSAGE_BYTES, &mut record).unwrap();
        Stamp::new(Timestamp::EPOCH).put(&mut record, Sequence(1));
        record
    }
}

/// Which of some messages each of some filters takes.
fn run(filters: &[Filter], records: &[Vec<u8>]) -> Vec<Vec<bool>> {
    let program = Program::new(filters);
    let mut taken = vec![Vec::new(); filters.len()];
    for records in records.chunks(64) {
        let rows = u64::MAX >> (64 - records.len());
        let answers = program.run(rows, |at| Records::new(&records[at]).next().unwrap().unwrap());
        for (taken, answer) in taken.iter_mut().zip(&answers) {
            assert_eq!(answer & !rows, 0, "nothing that was not asked about");
            taken.extend((0..records.len()).map(|at| answer >> at & 1 == 1));
        }
    }
    taken
}

#[track_caller]
fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).expect("it is not empty")
}

/// Each filter with the messages that it takes, by their letters.
const TABLE: &[(&str, &str)] = &[
    // Texts, equal and not.
    (r#"topic == "team/docs/readme""#, "a"),
    (r#"topic != "team/docs/readme""#, "bc"),
    (r#""ü" == topic"#, "b"),
    (r#"topic == 'team/code' "#, "c"),
    (r#"attributes.important == "true""#, "a"),
    (r#"attributes.important == "True""#, ""),
    (r#"attributes["ce-type"] == "a""#, "a"),
    (r#"attributes['important'] == "false""#, "c"),
    (r#"ordering_key == "k1""#, "a"),
    (r#"content_type == "application/json""#, "a"),
    (r#"attributes.empty == """#, "a"),
    (r#"attributes["in"] == "side""#, "c"),
    // What a message has not: no match, whatever is asked.
    (r#"attributes.lang == "rust""#, "c"),
    (r#"attributes.lang != "rust""#, ""),
    (r#"!(attributes.lang == "rust")"#, ""),
    (r#"!(attributes.lang != "go")"#, ""),
    (r#"attributes.none < "z" || attributes.none >= "z""#, ""),
    (r#"!has(attributes.lang) || attributes.lang != "rust""#, "ab"),
    (r#"attributes.lang == "rust" || topic == "ü""#, "bc"),
    (r#"topic == "ü" || attributes.lang == "rust""#, "bc"),
    (r#"!(attributes.lang == "go" && topic == "ü")"#, "ac"),
    (r#"!(topic == "ü" && attributes.lang == "go")"#, "ac"),
    (r#"attributes.lang == "x" && topic == "team/code" || topic == "ü""#, "b"),
    // Texts have none of the keys: they are empty.
    (r#"ordering_key == """#, "bc"),
    (r#"content_type != """#, "a"),
    (r#"size(ordering_key) == 0"#, "bc"),
    // Order.
    (r#"topic < "team/d""#, "c"),
    (r#"topic <= "team/code""#, "c"),
    (r#"topic > "team/code""#, "ab"),
    (r#"topic >= "team/code""#, "abc"),
    (r#""team/d" > topic"#, "c"),
    (r#""team/code" >= topic"#, "c"),
    (r#""team/code" < topic"#, "ab"),
    (r#""team/code" <= topic"#, "abc"),
    (r#"attributes.n < "9""#, "a"),
    // Logic.
    (r#"attributes.important == "true" && topic.contains("/docs/")"#, "a"),
    (r#"attributes.important == "false" && topic.contains("/docs/")"#, ""),
    (r#"topic == "ü" || topic == "team/code" && false"#, "b"),
    (r#"(topic == "ü" || topic == "team/code") && false"#, ""),
    (r#"!(topic == "ü")"#, "ac"),
    (r#"!!(topic == "ü")"#, "b"),
    (r#"true"#, "abc"),
    (r#"false"#, ""),
    (r#"!false && (true || false)"#, "abc"),
    (r#"(topic == "ü") == (ordering_key == "")"#, "ab"),
    (r#"(topic == "ü") != has(attributes.important)"#, "abc"),
    (r#"(attributes.none == "a") == false"#, ""),
    (r#"has(attributes.important) == true"#, "ac"),
    // Lists and maps.
    (r#"attributes["ce-type"] in ["a", "b"]"#, "a"),
    (r#"attributes["ce-type"] in ["b", "c",]"#, ""),
    (r#"!(attributes["ce-type"] in ["b", "c"])"#, "a"),
    (r#"topic in ["ü", "team/code", "x"]"#, "bc"),
    (r#""ü" in [topic, ordering_key]"#, "b"),
    (r#""a" in ["a", "b"]"#, "abc"),
    (r#"size(attributes) in [0, 4]"#, "b"),
    (r#""ce-type" in attributes"#, "a"),
    (r#"!("ce-type" in attributes)"#, "bc"),
    (r#"has(attributes.lang)"#, "c"),
    (r#"!has(attributes.lang)"#, "ab"),
    // Parts of texts.
    (r#"topic.startsWith("team/")"#, "ac"),
    (r#"topic.endsWith("readme")"#, "a"),
    (r#"topic.contains("")"#, "abc"),
    (r#"topic.contains("TEAM")"#, ""),
    (r#"attributes.lang.startsWith("ru")"#, "c"),
    (r#"!attributes.lang.startsWith("go")"#, "c"),
    (r#"content_type.endsWith("/json")"#, "a"),
    (r#"ordering_key.startsWith("")"#, "abc"),
    // Sizes, in characters.
    (r#"size(topic) == 1"#, "b"),
    (r#"topic.size() > 9"#, "a"),
    (r#"size(topic) <= 9"#, "bc"),
    (r#"9 < size(topic)"#, "a"),
    (r#"size(attributes.empty) == 0"#, "a"),
    (r#"size(attributes.lang) != 4"#, ""),
    (r#"size(attributes) == 0"#, "b"),
    (r#"attributes.size() >= 2"#, "ac"),
    (r#"size(topic) > -1"#, "abc"),
    (r#"size("ü") == 1 && 0x10 == 16"#, "abc"),
    // Fields against each other.
    (r#"attributes.important == attributes.important"#, "ac"),
    (r#"attributes.side == topic"#, ""),
    (r#"attributes.whole == topic"#, "c"),
    (r#"topic.contains(attributes.lang)"#, ""),
    (r#"topic.startsWith(attributes.start)"#, "c"),
    (r#"ordering_key < topic"#, "abc"),
    (r#"topic <= content_type"#, ""),
    // How texts are written.
    (r#"topic == "\u00fc""#, "b"),
    (r#"topic == "\xfc""#, "b"),
    (r#"topic == '\374'"#, "b"),
    (r#"topic == "\U000000fc""#, "b"),
    (r#"topic == '''ü'''"#, "b"),
    (r#"topic == r"ü" && r'\n' == "\\n""#, "b"),
    ("topic == \"\"\"ü\"\"\" // and nothing else", "b"),
    ("\n  topic ==\n // the first\n  \"ü\"\n", "b"),
    (r#""\"\'\`\?\a\b\f\n\r\t\v\\" == "\x22\x27\x60\x3f\x07\x08\x0c\x0a\x0d\x09\x0b\x5C""#, "abc"),
];

#[test]
fn what_is_taken() {
    let samples = samples();
    let records: Vec<_> = samples.iter().map(Sample::record).collect();
    assert!(TABLE.len() >= 50);
    let filters: Vec<_> = TABLE.iter().map(|(text, _)| filter(text)).collect();
    let letters = |taken: &[bool]| -> String {
        "abc".chars().zip(taken).filter(|(_, taken)| **taken).map(|(letter, _)| letter).collect()
    };
    // All in one program, and each by itself.
    for ((text, expected), taken) in TABLE.iter().zip(run(&filters, &records)) {
        assert_eq!(letters(&taken), *expected, "{text}");
        assert_eq!(letters(&run(&[filter(text)], &records)[0]), *expected, "{text}, by itself");
    }
}

fn samples() -> [Sample; 3] {
    let a = [("important", "true"), ("ce-type", "a"), ("n", "10"), ("empty", ""), ("x", "1")];
    let c = [("important", "false"), ("lang", "rust"), ("whole", "team/code"), ("start", "team"), ("in", "side")];
    [
        Sample::new("team/docs/readme", &a, "k1", "application/json"),
        Sample::new("ü", &[], "", ""),
        Sample::new("team/code", &c, "", ""),
    ]
}

/// What is refused, at which column (of which line), and a word of why.
const REFUSED: &[(&str, usize, usize, &str)] = &[
    ("topic", 1, 1, "this is a text"),
    ("size(topic)", 1, 1, "this is a number"),
    ("attributes", 1, 1, "this is all attributes"),
    ("attributes.x", 1, 1, "compare it"),
    ("true && topic", 1, 9, "this is a text"),
    ("!topic", 1, 2, "a condition should stand here"),
    ("foo == \"a\"", 1, 1, "there is no \"foo\""),
    ("topic == foo", 1, 10, "texts stand in quotes"),
    ("topic = \"a\"", 1, 7, "`==`"),
    ("topic == \"a\" & true", 1, 14, "`&&`"),
    ("topic == \"a\" | true", 1, 14, "`||`"),
    ("topic == \"a\" true", 1, 14, "go on with && or ||"),
    ("topic == ", 1, 9, "something is missing"),
    ("topic == \"a", 1, 10, "a quote is missing"),
    ("topic == \"a\n\"", 1, 10, "does not end on its line"),
    ("topic == \"\\q\"", 1, 11, "no such escape"),
    ("topic == \"\\ud800\"", 1, 11, "no such escape"),
    ("topic == \"\\400\"", 1, 11, "no such escape"),
    ("topic == b\"a\"", 1, 10, "bytes are of no use"),
    ("topic == 1", 1, 1, "a text is compared with a number"),
    ("attributes.x == true", 1, 1, "write \"1\" or \"true\""),
    ("attributes == topic", 1, 1, "all attributes is compared with a text"),
    ("topic == [\"a\"]", 1, 1, "use `in`"),
    ("topic in \"a\"", 1, 10, "`in` asks a list"),
    ("topic in []", 1, 10, "the list is empty"),
    ("topic in [1]", 1, 1, "compared with a number"),
    ("topic in attributes", 1, 1, "a text in quotes"),
    ("true < false", 1, 1, "have no order"),
    ("topic.x == \"a\"", 1, 1, "only attributes do"),
    ("attributes.x.y == \"a\"", 1, 1, "has no parts"),
    ("attributes.in == \"a\"", 1, 12, "a word of the language"),
    ("attributes[topic] == \"a\"", 1, 12, "a text in quotes"),
    ("attributes.ce-type == \"a\"", 1, 14, "attributes[\"a-b\"]"),
    ("size(topic) + 1 == 2", 1, 13, "no arithmetic"),
    ("size(topic) == size(ordering_key)", 1, 1, "not with another size"),
    ("topic == \"a\" == true", 1, 14, "one comparison at a time"),
    ("topic == \"a\" ? true : false", 1, 14, "there is no `?:`"),
    ("{\"a\": 1}", 1, 1, "no maps"),
    ("topic.matches(\"a.*\")", 1, 1, "nobody knows what it costs"),
    ("topic.lower() == \"a\"", 1, 1, "there is no lower()"),
    ("attributes.all(a, a == \"x\")", 1, 1, "there is no all()"),
    ("startsWith(topic, \"a\")", 1, 1, "is asked of a field"),
    ("topic.startsWith()", 1, 1, "takes one text"),
    ("topic.contains(1)", 1, 16, "not a number"),
    ("\"abc\".contains(topic)", 1, 1, "is asked of a field"),
    ("has(topic)", 1, 1, "has() takes an attribute"),
    ("has(attributes[\"x\"])", 1, 1, "\"ce-type\" in attributes"),
    ("size()", 1, 1, "size() takes one text"),
    ("size([\"a\"]) == 1", 1, 6, "not a list"),
    ("size(topic) > 1.5", 1, 15, "only whole numbers"),
    ("size(topic) > 99999999999999999999", 1, 15, "only whole numbers"),
    ("(topic == \"a\"", 1, 14, "a `)` is missing"),
    ("topic == \"a\")", 1, 13, "should end here"),
    ("topic in [\"a\" \"b\"]", 1, 15, "a `]` is missing"),
    ("topic. == \"a\"", 1, 8, "one comparison at a time"),
    ("#", 1, 1, "has no meaning"),
    ("topic == “a”", 1, 10, "has no meaning"),
    ("true &&\n  ü == topic", 2, 3, "has no meaning"),
    ("true &&\n  \"ü\" == foo", 2, 10, "there is no \"foo\""),
];

#[test]
fn what_is_refused_and_where() {
    assert_eq!(Filter::parse("").unwrap(), None);
    assert_eq!(Filter::parse(" \n").unwrap(), None);
    for &(text, line, column, why) in REFUSED {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!((error.reason(), error.violated_field()), (Reason::FilterInvalid, Some("filter")), "{text}");
        let place = [("line", line.to_string()), ("column", column.to_string())];
        assert_eq!(error.metadata(), place, "{text}: {error}");
        assert!(error.message().contains(why), "{text}: {error}");
    }
    let message = |text: &str| Filter::parse(text).unwrap_err().message().to_owned();
    assert!(message("true && foo").starts_with("the filter makes no sense at column 9, `foo`: there is no \"foo\""));
    assert!(message("true &&").starts_with("the filter makes no sense at its end: something"));
    assert!(message("true\n&& fo").starts_with("the filter makes no sense at line 2, column 4, `fo`: "));
}

#[test]
fn what_would_be_expensive_is_refused() {
    let refusal = |text: &str| Filter::parse(text).expect_err("it is too much").message().to_owned();
    let deep = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    assert_eq!(run(&[filter(&deep(limits::FILTER_DEPTH))], &[samples()[0].record()]), [[true]]);
    assert!(refusal(&deep(limits::FILTER_DEPTH + 1)).contains("nested more than 32 deep"));
    assert!(refusal(&format!("{}true", "!".repeat(2000))).contains("nested more than"));
    assert!(refusal(&"[".repeat(2000)).contains("nested more than"));
    assert!(refusal(&"size(".repeat(800)).contains("nested more than"));
    assert!(refusal(&format!("topic{}", ".x".repeat(1000))).contains("one after the other"));
    let contains: Vec<_> = (0..33).map(|n| format!("topic.contains(\"{n}\")")).collect();
    assert!(Filter::parse(&contains[..32].join("||")).is_ok());
    assert!(refusal(&contains.join("||")).contains("it asks for too much"));
    let list: Vec<_> = (0..513).map(|n| format!("'{}'", n % 10)).collect();
    assert!(Filter::parse(&format!("topic in [{}]", list[..512].join(","))).is_ok());
    assert!(refusal(&format!("topic in [{}]", list.join(","))).contains("at most 512 comparisons"));
    assert!(refusal(&format!("true || {}", "topic=='a'||".repeat(400))).contains("at most 4096 are allowed"));
    assert_eq!(Filter::parse(&"ü".repeat(3000)).unwrap_err().violated_field(), Some("filter"));
}

#[test]
fn what_is_written_otherwise_is_the_same() {
    assert_eq!(
        filter("topic=='a'&&has(attributes.x)"),
        filter("  topic == \"\\x61\" && (\"x\" in attributes) // same")
    );
    assert_ne!(filter("topic == 'a'"), filter("topic == 'b'"));
}
