//! What a filter asks of a message, once its types are known to be right. Never sees a message.
//!
//! What is asked of an attribute that a message has not is neither true nor false. It stays so under `!`, and in `&&`
//! and `||` where the other parts do not decide; a message is taken only where the whole is true.

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The same for every message.
    Constant(bool),
    /// One question.
    Ask(Question),
    /// The contrary.
    Not(Box<Condition>),
    /// False where one is false, true where all are true.
    All(Vec<Condition>),
    /// True where one is true, false where all are false.
    Any(Vec<Condition>),
    /// Both are true, or both are false.
    Same(Box<Condition>, Box<Condition>),
}

/// A question that is asked of a message once, however many filters ask it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Whether there is an attribute of this name. Never neither.
    Has(Box<str>),
    /// Whether a field and a text are in a relation.
    Text(Field, Relation, Box<str>),
    /// Whether two fields are.
    Fields(Field, Relation, Field),
    /// How many characters a field has, compared with a number.
    Size(Field, Order, i64),
    /// How many attributes there are, compared with a number.
    Attributes(Order, i64),
}

/// A text of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Where it was published.
    Topic,
    /// Empty if there is none.
    OrderingKey,
    /// Empty if there is none.
    ContentType,
    /// Neither true nor false if there is none.
    Attribute(Box<str>),
}

/// How two texts stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// By order, which is that of their characters' numbers.
    Order(Order),
    /// The first contains the second.
    Contains,
    /// The first starts with the second.
    StartsWith,
    /// The first ends with the second.
    EndsWith,
}

/// How two values are ordered; the other comparisons are the contrary of one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// They are equal.
    Equal,
    /// The first comes before the second.
    Below,
    /// The first does not come after the second.
    AtMost,
}

impl Order {
    /// Whether it holds.
    pub fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Order::Equal => left == right,
            Order::Below => left < right,
            Order::AtMost => left <= right,
        }
    }
}

impl Question {
    /// What it costs to ask it, against comparing two texts: those cost more that go through all of a text.
    pub fn cost(&self) -> usize {
        match self {
            Question::Text(_, Relation::Contains, _) | Question::Fields(..) | Question::Size(..) => 16,
            Question::Has(_) | Question::Text(..) | Question::Attributes(..) => 1,
        }
    }
}
