//! Any number of filters, made ready to be asked about many messages: what several of them ask is asked once, what is
//! compared for equality is looked up, and 64 messages are answered at a time. Each message is read once, where it lies.
//! Never changes.

use std::collections::HashMap;

use memchr::memmem::Finder;

use super::{
    Condition, Filter,
    condition::{Field, Order, Question, Relation},
    quick::TextMap,
};
use crate::model::{Record, record::Part};

/// Filters, ready.
#[derive(Debug, Default)]
pub struct Program {
    filters: Vec<Step>,
    // The fields that are asked for anything.
    fields: Vec<Asked>,
    topic: Option<usize>,
    ordering_key: Option<usize>,
    content_type: Option<usize>,
    attributes: TextMap<usize>,
    // Questions about more than one field, and how many attributes there are.
    pairs: Vec<(usize, Field, Relation, Field)>,
    counts: Vec<(usize, Order, i64)>,
    // For each question, about which field it is, if it is about one.
    subjects: Vec<Option<usize>>,
    // A message's topic says everything.
    topic_only: bool,
}

/// What is asked of one field.
#[derive(Debug, Default)]
struct Asked {
    equal: TextMap<usize>,
    tests: Vec<(usize, Test)>,
}

/// A question about one field that has to be tried.
#[derive(Debug)]
enum Test {
    Below(Box<[u8]>),
    AtMost(Box<[u8]>),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    Size(Order, i64),
}

/// A condition over numbered questions.
#[derive(Debug)]
enum Step {
    Constant(bool),
    Ask(usize),
    Has(usize),
    Not(Box<Step>),
    All(Vec<Step>),
    Any(Vec<Step>),
    Same(Box<Step>, Box<Step>),
}

/// What is true of which messages, and what is false: one bit each. What has neither bit cannot be said.
#[derive(Clone, Copy)]
struct Truth {
    yes: u64,
    no: u64,
}

/// The answers about up to 64 messages.
struct Answers {
    rows: u64,
    present: Vec<u64>,
    yes: Vec<u64>,
    no: Vec<u64>,
}

impl Program {
    /// Makes filters ready.
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut program = Program::default();
        let mut known = HashMap::new();
        for filter in filters {
            let step = program.step(filter.condition(), &mut known);
            program.filters.push(step);
        }
        program.topic_only = program.attributes.is_empty()
            && program.ordering_key.is_none()
            && program.content_type.is_none()
            && program.pairs.is_empty()
            && program.counts.is_empty();
        program
    }

    /// How many filters.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Asks all filters about up to 64 messages: those whose bit is set in `rows`, each found by the number of its bit.
    /// For each filter answers which of them it takes.
    pub fn run<'a>(&self, rows: u64, record: impl Fn(usize) -> Record<'a>) -> Box<[u64]> {
        let mut answers = Answers {
            rows,
            present: vec![0; self.fields.len()],
            yes: vec![0; self.subjects.len()],
            no: vec![0; self.subjects.len()],
        };
        let mut left = rows;
        while left != 0 {
            let row = left.trailing_zeros() as usize;
            left &= left - 1;
            self.ask(&record(row), 1 << row, &mut answers);
        }
        for (at, subject) in self.subjects.iter().enumerate() {
            if let Some(field) = subject {
                answers.no[at] = answers.present[*field] & !answers.yes[at];
            }
        }
        self.filters.iter().map(|filter| filter.truth(&answers).yes).collect()
    }

    /// Asks everything of one message.
    fn ask(&self, record: &Record<'_>, bit: u64, answers: &mut Answers) {
        if let Some(field) = self.topic {
            self.ask_field(field, record.topic().as_bytes(), bit, answers);
        }
        if self.topic_only {
            return;
        }
        let (mut ordering_key, mut content_type, mut count) = (&[][..], &[][..], 0);
        for part in record.parts() {
            match part {
                Part::OrderingKey(text) => ordering_key = text,
                Part::ContentType(text) => content_type = text,
                Part::Attribute(name, value) => {
                    count += 1;
                    if let Some(&field) = self.attributes.get(name) {
                        self.ask_field(field, value, bit, answers);
                    }
                }
            }
        }
        if let Some(field) = self.ordering_key {
            self.ask_field(field, ordering_key, bit, answers);
        }
        if let Some(field) = self.content_type {
            self.ask_field(field, content_type, bit, answers);
        }
        for (question, order, number) in &self.counts {
            answers.put(*question, bit, order.holds(&count, number));
        }
        for (question, left, relation, right) in &self.pairs {
            if let (Some(left), Some(right)) = (value(record, left), value(record, right)) {
                answers.put(*question, bit, relation.holds(left, right));
            }
        }
    }

    fn ask_field(&self, field: usize, text: &[u8], bit: u64, answers: &mut Answers) {
        let asked = &self.fields[field];
        answers.present[field] |= bit;
        if let Some(&question) = asked.equal.get(text) {
            answers.yes[question] |= bit;
        }
        for (question, test) in &asked.tests {
            if test.holds(text) {
                answers.yes[*question] |= bit;
            }
        }
    }

    fn step<'a>(&mut self, condition: &'a Condition, known: &mut HashMap<&'a Question, usize>) -> Step {
        let mut steps =
            |conditions: &'a [Condition]| conditions.iter().map(|condition| self.step(condition, known)).collect();
        match condition {
            Condition::Constant(truth) => Step::Constant(*truth),
            Condition::All(parts) => Step::All(steps(parts)),
            Condition::Any(parts) => Step::Any(steps(parts)),
            Condition::Not(inner) => Step::Not(Box::new(self.step(inner, known))),
            Condition::Same(left, right) => {
                Step::Same(Box::new(self.step(left, known)), Box::new(self.step(right, known)))
            }
            Condition::Ask(Question::Has(name)) => Step::Has(self.field(&Field::Attribute(name.clone()))),
            Condition::Ask(question) => match known.get(question) {
                Some(&number) => Step::Ask(number),
                None => {
                    let number = self.number(question);
                    known.insert(question, number);
                    Step::Ask(number)
                }
            },
        }
    }

    /// Adds a question.
    fn number(&mut self, question: &Question) -> usize {
        let number = self.subjects.len();
        let subject = match question {
            Question::Has(_) => unreachable!("it is asked of the field itself"),
            Question::Attributes(order, count) => {
                self.counts.push((number, *order, *count));
                None
            }
            Question::Fields(left, relation, right) => {
                self.pairs.push((number, left.clone(), *relation, right.clone()));
                None
            }
            Question::Size(field, order, size) => {
                let field = self.field(field);
                self.fields[field].tests.push((number, Test::Size(*order, *size)));
                Some(field)
            }
            Question::Text(field, Relation::Order(Order::Equal), text) => {
                let field = self.field(field);
                self.fields[field].equal.insert(text.as_bytes().into(), number);
                Some(field)
            }
            Question::Text(field, relation, text) => {
                let field = self.field(field);
                self.fields[field].tests.push((number, Test::new(*relation, text.as_bytes())));
                Some(field)
            }
        };
        self.subjects.push(subject);
        number
    }

    /// The number of a field that is asked for something.
    fn field(&mut self, field: &Field) -> usize {
        let next = self.fields.len();
        let number = match field {
            Field::Topic => *self.topic.get_or_insert(next),
            Field::OrderingKey => *self.ordering_key.get_or_insert(next),
            Field::ContentType => *self.content_type.get_or_insert(next),
            Field::Attribute(name) => *self.attributes.entry(name.as_bytes().into()).or_insert(next),
        };
        if number == next {
            self.fields.push(Asked::default());
        }
        number
    }
}

impl Test {
    fn new(relation: Relation, text: &[u8]) -> Self {
        match relation {
            Relation::Order(Order::Equal) => unreachable!("it is looked up"),
            Relation::Order(Order::Below) => Test::Below(text.into()),
            Relation::Order(Order::AtMost) => Test::AtMost(text.into()),
            Relation::Contains => Test::Contains(Box::new(Finder::new(text).into_owned())),
            Relation::StartsWith => Test::StartsWith(text.into()),
            Relation::EndsWith => Test::EndsWith(text.into()),
        }
    }

    // The order of UTF-8's bytes is that of the characters.
    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Test::Below(than) => text < &**than,
            Test::AtMost(than) => text <= &**than,
            Test::StartsWith(start) => text.starts_with(start),
            Test::EndsWith(end) => text.ends_with(end),
            Test::Contains(part) => part.find(text).is_some(),
            Test::Size(order, size) => order.holds(&characters(text), size),
        }
    }
}

impl Relation {
    fn holds(self, left: &[u8], right: &[u8]) -> bool {
        match self {
            Relation::Order(order) => order.holds(left, right),
            Relation::Contains => memchr::memmem::find(left, right).is_some(),
            Relation::StartsWith => left.starts_with(right),
            Relation::EndsWith => left.ends_with(right),
        }
    }
}

impl Step {
    /// The logic of CEL, whose errors are what cannot be said: one part that decides is enough.
    fn truth(&self, answers: &Answers) -> Truth {
        match self {
            Step::Constant(true) => Truth { yes: answers.rows, no: 0 },
            Step::Constant(false) => Truth { yes: 0, no: answers.rows },
            Step::Ask(question) => Truth { yes: answers.yes[*question], no: answers.no[*question] },
            Step::Has(field) => {
                let present = answers.present[*field];
                Truth { yes: present, no: answers.rows & !present }
            }
            Step::Not(inner) => {
                let Truth { yes, no } = inner.truth(answers);
                Truth { yes: no, no: yes }
            }
            Step::All(parts) => parts.iter().fold(Truth { yes: answers.rows, no: 0 }, |all, part| {
                let part = part.truth(answers);
                Truth { yes: all.yes & part.yes, no: all.no | part.no }
            }),
            Step::Any(parts) => parts.iter().fold(Truth { yes: 0, no: answers.rows }, |any, part| {
                let part = part.truth(answers);
                Truth { yes: any.yes | part.yes, no: any.no & part.no }
            }),
            Step::Same(left, right) => {
                let (left, right) = (left.truth(answers), right.truth(answers));
                let (yes, no) = (left.yes & right.yes | left.no & right.no, left.yes & right.no | left.no & right.yes);
                Truth { yes, no }
            }
        }
    }
}

impl Answers {
    fn put(&mut self, question: usize, bit: u64, holds: bool) {
        let answers = if holds { &mut self.yes } else { &mut self.no };
        answers[question] |= bit;
    }
}

/// A field of a message, if it has it.
fn value<'a>(record: &Record<'a>, field: &Field) -> Option<&'a [u8]> {
    let mut parts = record.parts();
    let found = match field {
        Field::Topic => Some(record.topic().as_bytes()),
        Field::Attribute(wanted) => parts.find_map(|part| match part {
            Part::Attribute(name, value) if name == wanted.as_bytes() => Some(value),
            _ => None,
        }),
        Field::OrderingKey => parts.find_map(|part| match part {
            Part::OrderingKey(text) => Some(text),
            _ => None,
        }),
        Field::ContentType => parts.find_map(|part| match part {
            Part::ContentType(text) => Some(text),
            _ => None,
        }),
    };
    match field {
        Field::Attribute(_) => found,
        _ => Some(found.unwrap_or_default()),
    }
}

/// How many characters a text has. The later bytes of a character all begin with the bits 10.
fn characters(text: &[u8]) -> i64 {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as i64
}
