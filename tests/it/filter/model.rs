//! Random filters, alone and many in one program, against a walk over a tree that anybody understands; and any text.

use proptest::prelude::*;

use super::{Filter, Sample, filter, run};

/// A filter as the walk sees it.
#[derive(Clone, Debug)]
enum Tree {
    Constant(bool),
    Has(&'static str),
    In(&'static str, Vec<&'static str>),
    Compare(Operand, &'static str, Operand),
    Method(Operand, &'static str, Operand),
    Size(Operand, &'static str, i64),
    Count(&'static str, i64),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Same(Box<Tree>, Box<Tree>),
}

#[derive(Clone, Debug)]
enum Operand {
    Literal(&'static str),
    Topic,
    OrderingKey,
    ContentType,
    Attribute(&'static str),
}

impl Tree {
    fn text(&self) -> String {
        let joined = |parts: &[Tree], sign: &str| {
            let parts: Vec<_> = parts.iter().map(|part| format!("({})", part.text())).collect();
            parts.join(sign)
        };
        match self {
            Tree::Constant(truth) => truth.to_string(),
            Tree::Has(name) => format!("has(attributes.{name})"),
            Tree::In(name, list) => format!("attributes[{name:?}] in {list:?}"),
            Tree::Compare(left, sign, right) => format!("{} {sign} {}", left.text(), right.text()),
            Tree::Method(left, name, right) => format!("{}.{name}({})", left.text(), right.text()),
            Tree::Size(operand, sign, number) => format!("size({}) {sign} {number}", operand.text()),
            Tree::Count(sign, number) => format!("{number} {sign} size(attributes)"),
            Tree::Not(inner) => format!("!({})", inner.text()),
            Tree::All(parts) => joined(parts, " && "),
            Tree::Any(parts) => joined(parts, " || "),
            Tree::Same(left, right) => format!("({}) == ({})", left.text(), right.text()),
        }
    }

    /// None where it cannot be said.
    fn walk(&self, sample: &Sample) -> Option<bool> {
        match self {
            Tree::Constant(truth) => Some(*truth),
            Tree::Has(name) => Some(sample.attributes.contains_key(*name)),
            Tree::In(name, list) => sample.attributes.get(*name).map(|value| list.contains(&value.as_str())),
            Tree::Compare(left, sign, right) => compare(&left.value(sample)?, sign, &right.value(sample)?),
            Tree::Method(left, name, right) => {
                let (left, right) = (left.value(sample)?, right.value(sample)?);
                Some(match *name {
                    "contains" => left.contains(&*right),
                    "startsWith" => left.starts_with(&*right),
                    _ => left.ends_with(&*right),
                })
            }
            Tree::Size(operand, sign, number) => {
                compare(&(operand.value(sample)?.chars().count() as i64), sign, number)
            }
            Tree::Count(sign, number) => compare(number, sign, &(sample.attributes.len() as i64)),
            Tree::Not(inner) => inner.walk(sample).map(|truth| !truth),
            Tree::All(parts) => decide(parts, sample, false),
            Tree::Any(parts) => decide(parts, sample, true),
            Tree::Same(left, right) => Some(left.walk(sample)? == right.walk(sample)?),
        }
    }
}

/// One part that is `decisive` decides; else one that cannot be said; else all are the contrary.
fn decide(parts: &[Tree], sample: &Sample, decisive: bool) -> Option<bool> {
    let parts: Vec<_> = parts.iter().map(|part| part.walk(sample)).collect();
    if parts.contains(&Some(decisive)) {
        return Some(decisive);
    }
    if parts.contains(&None) { None } else { Some(!decisive) }
}

fn compare<T: Ord>(left: &T, sign: &str, right: &T) -> Option<bool> {
    Some(match sign {
        "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    })
}

impl Operand {
    fn text(&self) -> String {
        match self {
            Operand::Literal(text) => format!("{text:?}"),
            Operand::Topic => "topic".into(),
            Operand::OrderingKey => "ordering_key".into(),
            Operand::ContentType => "content_type".into(),
            Operand::Attribute(name) => format!("attributes.{name}"),
        }
    }

    fn value(&self, sample: &Sample) -> Option<String> {
        match self {
            Operand::Literal(text) => Some(text.to_string()),
            Operand::Topic => Some(sample.topic.clone()),
            Operand::OrderingKey => Some(sample.ordering_key.clone()),
            Operand::ContentType => Some(sample.content_type.clone()),
            Operand::Attribute(name) => sample.attributes.get(*name).cloned(),
        }
    }
}

const TEXTS: [&str; 8] = ["", "a", "b", "ab", "ü", "aü", "a/b", "b/"];
const NAMES: [&str; 3] = ["x", "y", "zz"];
const SIGNS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

fn text() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&TEXTS[..])
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&NAMES[..])
}

fn sign() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&SIGNS[..])
}

fn field() -> impl Strategy<Value = Operand> {
    prop_oneof![
        1 => Just(Operand::Topic),
        1 => Just(Operand::OrderingKey),
        1 => Just(Operand::ContentType),
        3 => name().prop_map(Operand::Attribute),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![2 => text().prop_map(Operand::Literal), 1 => field()]
}

fn tree() -> impl Strategy<Value = Tree> {
    let method = proptest::sample::select(&["contains", "startsWith", "endsWith"][..]);
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Tree::Constant),
        2 => name().prop_map(Tree::Has),
        2 => (name(), proptest::collection::vec(text(), 1..4)).prop_map(|(name, list)| Tree::In(name, list)),
        6 => (operand(), sign(), operand()).prop_map(|(left, sign, right)| Tree::Compare(left, sign, right)),
        4 => (field(), method, operand()).prop_map(|(left, name, right)| Tree::Method(left, name, right)),
        2 => (field(), sign(), 0..4i64).prop_map(|(field, sign, number)| Tree::Size(field, sign, number)),
        1 => (sign(), 0..4i64).prop_map(|(sign, number)| Tree::Count(sign, number)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Tree::Not(Box::new(inner))),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Tree::All),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Tree::Any),
            (inner.clone(), inner).prop_map(|(left, right)| Tree::Same(Box::new(left), Box::new(right))),
        ]
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let attributes = proptest::collection::vec((name(), text()), 0..4);
    let topic = text().prop_filter("a topic is never empty", |text| !text.is_empty());
    (topic, attributes, text(), text())
        .prop_map(|(topic, attributes, key, kind)| Sample::new(topic, &attributes, key, kind))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_says_what_a_walk_over_the_tree_says(
        trees in proptest::collection::vec(tree(), 1..12),
        samples in proptest::collection::vec(sample(), 1..70),
    ) {
        let filters: Vec<_> = trees.iter().map(|tree| filter(&tree.text())).collect();
        let records: Vec<_> = samples.iter().map(Sample::record).collect();
        let taken = run(&filters, &records);
        for ((tree, filter), taken) in trees.iter().zip(&filters).zip(taken) {
            let expected: Vec<_> = samples.iter().map(|sample| tree.walk(sample) == Some(true)).collect();
            prop_assert_eq!(&taken, &expected, "{}", tree.text());
            prop_assert_eq!(&run(std::slice::from_ref(filter), &records)[0], &expected, "{} by itself", tree.text());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        try_text(&text);
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(word(), 0..200)) {
        try_text(&words.concat());
    }

    #[test]
    fn nothing_that_was_cut_or_changed_makes_it_panic(
        tree in tree(),
        at in any::<prop::sample::Index>(),
        letter in any::<char>(),
    ) {
        let text: Vec<char> = tree.text().chars().collect();
        let at = at.index(text.len());
        try_text(&text[..at].iter().collect::<String>());
        let changed = text[..at].iter().chain([&letter]).chain(&text[at + 1..]);
        try_text(&changed.collect::<String>());
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    const WORDS: [&str; 30] = [
        "topic",
        "attributes",
        ".x",
        "[\"x\"]",
        "(",
        ")",
        "[",
        "]",
        "!",
        "-",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "in",
        " ",
        "\n",
        "//",
        "'",
        "\"\"\"",
        "\\",
        "1",
        "0x",
        "has",
        "size",
        ".contains",
        ",",
        "true",
    ];
    proptest::sample::select(&WORDS[..])
}

/// It is refused with a place within it, or it can be asked.
fn try_text(text: &str) {
    match Filter::parse(text) {
        Ok(Some(filter)) => drop(run(&[filter], &[Sample::new("a", &[("x", "a")], "", "").record()])),
        Ok(None) => assert!(text.trim().is_empty()),
        Err(error) => assert!(error.violated_field() == Some("filter") && !error.message().is_empty()),
    }
}
