//! What the parts of a filter mean: which names there are, what may be asked of what, and what all of it costs. Never
//! sees a message.

use super::{
    Fault,
    condition::{Condition, Field, Order, Question, Relation},
    syntax::{Comparison, Form, Node},
};
use crate::model::limits;

/// The condition that a filter is.
pub fn condition(node: &Node) -> Result<Condition, Fault> {
    Checker { cost: 0 }.condition(node)
}

/// What a part of a filter is worth.
enum Value {
    Condition(Condition),
    Text(Text),
    Number(Number),
    Attributes,
    List(Vec<Value>),
}

#[derive(Clone)]
enum Text {
    Literal(Box<str>),
    Field(Field),
}

#[derive(Clone)]
enum Number {
    Literal(i64),
    Size(Field),
    Attributes,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Condition(_) => "a condition",
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::Attributes => "all attributes",
            Value::List(_) => "a list",
        }
    }
}

struct Checker {
    cost: usize,
}

impl Checker {
    fn condition(&mut self, node: &Node) -> Result<Condition, Fault> {
        let value = self.value(node)?;
        let advice = match value {
            Value::Condition(condition) => return Ok(condition),
            Value::Text(_) => ": compare it, as in topic == \"a\"",
            Value::Number(_) => ": compare it, as in size(topic) > 3",
            Value::Attributes | Value::List(_) => ": ask for one of them, as in \"a\" in attributes",
        };
        let what = value.kind();
        Err(Fault::new(node.at, format!("this is {what}, and a condition should stand here{advice}")))
    }

    fn conditions(&mut self, nodes: &[Node]) -> Result<Vec<Condition>, Fault> {
        nodes.iter().map(|node| self.condition(node)).collect()
    }

    fn value(&mut self, node: &Node) -> Result<Value, Fault> {
        Ok(match &node.form {
            Form::Text(text) => Value::Text(Text::Literal(text.as_str().into())),
            Form::Number(number) => Value::Number(Number::Literal(*number)),
            Form::Truth(truth) => Value::Condition(Condition::Constant(*truth)),
            Form::Name(name) => field(node.at, name)?,
            Form::Part(owner, name) => self.attribute(owner, name, node.at)?,
            Form::Index(owner, index) => match self.value(index)? {
                Value::Text(Text::Literal(name)) => self.attribute(owner, &name, node.at)?,
                _ => return Err(Fault::new(index.at, "the name of an attribute is a text in quotes")),
            },
            Form::Call(None, name, arguments) => self.function(node.at, name, arguments)?,
            Form::Call(Some(owner), name, arguments) => self.method(owner, name, arguments, node.at)?,
            Form::List(parts) => Value::List(parts.iter().map(|part| self.value(part)).collect::<Result<_, Fault>>()?),
            Form::Not(inner) => Value::Condition(Condition::Not(Box::new(self.condition(inner)?))),
            Form::All(parts) => Value::Condition(Condition::All(self.conditions(parts)?)),
            Form::Any(parts) => Value::Condition(Condition::Any(self.conditions(parts)?)),
            Form::Compare(comparison, left, right) => {
                let (left, value) = (self.value(left)?, self.value(right)?);
                Value::Condition(self.compare(node.at, *comparison, left, value)?)
            }
            Form::In(left, right) => Value::Condition(self.within(left, right, node.at)?),
        })
    }

    fn attribute(&mut self, owner: &Node, name: &str, at: usize) -> Result<Value, Fault> {
        match self.value(owner)? {
            Value::Attributes => Ok(Value::Text(Text::Field(Field::Attribute(name.into())))),
            other => {
                let what = other.kind();
                Err(Fault::new(at, format!("{what} has no parts: only attributes do, as in attributes.x")))
            }
        }
    }

    fn ask(&mut self, at: usize, question: Question) -> Result<Condition, Fault> {
        self.cost += question.cost();
        if self.cost > limits::FILTER_COST {
            let message = format!(
                "it asks for too much: at most {} comparisons, of which contains, size, and one field against another \
                 count for 16 each",
                limits::FILTER_COST
            );
            return Err(Fault::new(at, message));
        }
        Ok(Condition::Ask(question))
    }

    fn compare(&mut self, at: usize, comparison: Comparison, left: Value, right: Value) -> Result<Condition, Fault> {
        use Comparison::{Above, AtLeast, AtMost, Below, Equal, Unequal};
        if let (Value::Condition(left), Value::Condition(right)) = (&left, &right) {
            let same = Condition::Same(Box::new(left.clone()), Box::new(right.clone()));
            return match comparison {
                Equal => Ok(same),
                Unequal => Ok(Condition::Not(Box::new(same))),
                _ => Err(Fault::new(at, "conditions have no order: compare them with == or !=")),
            };
        }
        // What is left of the other comparisons is the contrary of these.
        let (order, contrary) = match comparison {
            Equal => (Order::Equal, false),
            Unequal => (Order::Equal, true),
            Below => (Order::Below, false),
            AtMost => (Order::AtMost, false),
            Above => (Order::AtMost, true),
            AtLeast => (Order::Below, true),
        };
        let holds = match (left, right) {
            (Value::Text(left), Value::Text(right)) => self.ordered_texts(at, order, left, right)?,
            (Value::Number(left), Value::Number(right)) => self.ordered_numbers(at, order, left, right)?,
            (left, right) => return Err(mismatch(at, &left, &right)),
        };
        Ok(if contrary { Condition::Not(Box::new(holds)) } else { holds })
    }

    fn ordered_texts(&mut self, at: usize, order: Order, left: Text, right: Text) -> Result<Condition, Fault> {
        let relation = Relation::Order(order);
        match (left, right) {
            (Text::Literal(left), Text::Literal(right)) => Ok(Condition::Constant(order.holds(&left, &right))),
            (Text::Field(left), Text::Literal(right)) => self.ask(at, Question::Text(left, relation, right)),
            (Text::Field(left), Text::Field(right)) => self.ask(at, Question::Fields(left, relation, right)),
            (Text::Literal(left), Text::Field(right)) => {
                let (order, contrary) = mirrored(order);
                let asked = self.ask(at, Question::Text(right, Relation::Order(order), left))?;
                Ok(if contrary { Condition::Not(Box::new(asked)) } else { asked })
            }
        }
    }

    fn ordered_numbers(&mut self, at: usize, order: Order, left: Number, right: Number) -> Result<Condition, Fault> {
        let mut ask = |number: Number, order: Order, literal: i64| match number {
            Number::Size(field) => self.ask(at, Question::Size(field, order, literal)),
            Number::Attributes => self.ask(at, Question::Attributes(order, literal)),
            Number::Literal(number) => Ok(Condition::Constant(order.holds(&number, &literal))),
        };
        match (left, right) {
            (left, Number::Literal(right)) => ask(left, order, right),
            (Number::Literal(left), right) => {
                let (order, contrary) = mirrored(order);
                let asked = ask(right, order, left)?;
                Ok(if contrary { Condition::Not(Box::new(asked)) } else { asked })
            }
            _ => Err(Fault::new(at, "a size is compared with a number, not with another size")),
        }
    }

    /// `left in right`
    fn within(&mut self, left: &Node, right: &Node, at: usize) -> Result<Condition, Fault> {
        match (self.value(left)?, self.value(right)?) {
            (Value::Text(Text::Literal(name)), Value::Attributes) => self.ask(at, Question::Has(name)),
            (_, Value::Attributes) => Err(Fault::new(left.at, "the name of an attribute is a text in quotes")),
            (value, Value::List(parts)) => {
                if parts.is_empty() {
                    return Err(Fault::new(right.at, "the list is empty: nothing is in it"));
                }
                let equal = parts.into_iter().map(|part| match (&value, part) {
                    (Value::Text(left), Value::Text(right)) => {
                        self.ordered_texts(at, Order::Equal, left.clone(), right)
                    }
                    (Value::Number(left), Value::Number(right)) => {
                        self.ordered_numbers(at, Order::Equal, left.clone(), right)
                    }
                    (left, right) => Err(mismatch(at, left, &right)),
                });
                Ok(Condition::Any(equal.collect::<Result<_, Fault>>()?))
            }
            (_, other) => {
                let what = other.kind();
                Err(Fault::new(right.at, format!("`in` asks a list or attributes, and this is {what}")))
            }
        }
    }

    fn function(&mut self, at: usize, name: &str, arguments: &[Node]) -> Result<Value, Fault> {
        match (name, arguments) {
            ("has", [Node { form: Form::Part(owner, name), .. }]) => match self.value(owner)? {
                Value::Attributes => Ok(Value::Condition(self.ask(at, Question::Has(name.as_str().into()))?)),
                _ => Err(Fault::new(at, HAS)),
            },
            ("has", _) => Err(Fault::new(at, HAS)),
            ("size", [argument]) => {
                let value = self.value(argument)?;
                size(argument.at, value)
            }
            ("size", _) => Err(Fault::new(at, "size() takes one text, or attributes")),
            (name, _) => Err(unknown(at, name)),
        }
    }

    fn method(&mut self, owner: &Node, name: &str, arguments: &[Node], at: usize) -> Result<Value, Fault> {
        let relation = match name {
            "contains" => Relation::Contains,
            "startsWith" => Relation::StartsWith,
            "endsWith" => Relation::EndsWith,
            "size" if arguments.is_empty() => {
                let value = self.value(owner)?;
                return size(owner.at, value);
            }
            name => return Err(unknown(at, name)),
        };
        let [argument] = arguments else {
            return Err(Fault::new(at, format!("{name}() takes one text, as in topic.{name}(\"a\")")));
        };
        let field = match self.value(owner)? {
            Value::Text(Text::Field(field)) => field,
            other => {
                let what = other.kind();
                return Err(Fault::new(
                    at,
                    format!("{name}() is asked of a field, as topic or attributes.x, not of {what} as here"),
                ));
            }
        };
        let question = match self.value(argument)? {
            Value::Text(Text::Literal(text)) => Question::Text(field, relation, text),
            Value::Text(Text::Field(other)) => Question::Fields(field, relation, other),
            other => {
                let what = other.kind();
                return Err(Fault::new(argument.at, format!("{name}() takes a text in quotes, not {what}")));
            }
        };
        Ok(Value::Condition(self.ask(at, question)?))
    }
}

const HAS: &str = "has() takes an attribute by its name, as in has(attributes.x); for a name that is no plain word write \
                   \"ce-type\" in attributes";

fn field(at: usize, name: &str) -> Result<Value, Fault> {
    Ok(match name {
        "topic" => Value::Text(Text::Field(Field::Topic)),
        "ordering_key" => Value::Text(Text::Field(Field::OrderingKey)),
        "content_type" => Value::Text(Text::Field(Field::ContentType)),
        "attributes" => Value::Attributes,
        name => {
            let message = format!(
                "there is no {name:?}: a filter knows topic, attributes, ordering_key and content_type; texts stand in \
                 quotes"
            );
            return Err(Fault::new(at, message));
        }
    })
}

fn size(at: usize, value: Value) -> Result<Value, Fault> {
    Ok(Value::Number(match value {
        Value::Text(Text::Field(field)) => Number::Size(field),
        Value::Text(Text::Literal(text)) => Number::Literal(text.chars().count() as i64),
        Value::Attributes => Number::Attributes,
        other => {
            let what = other.kind();
            return Err(Fault::new(at, format!("size() takes a text, or attributes, not {what}")));
        }
    }))
}

fn unknown(at: usize, name: &str) -> Fault {
    let message = match name {
        "matches" => {
            "there is no matches(), as nobody knows what it costs: use contains, startsWith or endsWith".into()
        }
        "contains" | "startsWith" | "endsWith" => format!("{name}() is asked of a field, as in topic.{name}(\"a\")"),
        "has" => HAS.into(),
        name => format!("there is no {name}(): a filter knows has, size, contains, startsWith and endsWith"),
    };
    Fault::new(at, message)
}

/// The comparison of the second with the first; and whether it is the contrary.
fn mirrored(order: Order) -> (Order, bool) {
    match order {
        Order::Equal => (Order::Equal, false),
        // a < b is not b <= a.
        Order::Below => (Order::AtMost, true),
        Order::AtMost => (Order::Below, true),
    }
}

fn mismatch(at: usize, left: &Value, right: &Value) -> Fault {
    let advice = match (left, right) {
        (Value::Text(_), Value::Number(_) | Value::Condition(_))
        | (Value::Number(_) | Value::Condition(_), Value::Text(_)) => ": fields are texts, so write \"1\" or \"true\"",
        (Value::Attributes, _) | (_, Value::Attributes) => ": name one of them, as in attributes.x",
        (Value::List(_), _) | (_, Value::List(_)) => ": use `in`, as in topic in [\"a\", \"b\"]",
        _ => "",
    };
    Fault::new(at, format!("{} is compared with {}{advice}", left.kind(), right.kind()))
}
