//! How the words of a filter stand together. Never knows which names there are.

use super::{
    Fault,
    token::{self, Kind, Token},
};
use crate::model::limits;

/// A part of a filter, and the byte where it begins.
#[derive(Debug)]
pub struct Node {
    /// Where it begins.
    pub at: usize,
    /// What it is.
    pub form: Form,
}

/// What a part of a filter is.
#[derive(Debug)]
pub enum Form {
    /// `topic`
    Name(String),
    /// `"a"`
    Text(String),
    /// `1`
    Number(i64),
    /// `true`
    Truth(bool),
    /// `attributes.x`
    Part(Box<Node>, String),
    /// `attributes["x"]`
    Index(Box<Node>, Box<Node>),
    /// `size(topic)`, `topic.size()`: of whom, if of anybody, what, with what.
    Call(Option<Box<Node>>, String, Vec<Node>),
    /// `["a", "b"]`
    List(Vec<Node>),
    /// `!a`
    Not(Box<Node>),
    /// `a && b`
    All(Vec<Node>),
    /// `a || b`
    Any(Vec<Node>),
    /// `a == b`
    Compare(Comparison, Box<Node>, Box<Node>),
    /// `a in b`
    In(Box<Node>, Box<Node>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// Names that no part of a value has.
const KEYWORDS: [&str; 4] = ["in", "true", "false", "null"];

/// Reads a filter.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut parser = Parser { tokens: token::tokens(text)?, next: 0, depth: 0 };
    let node = parser.any()?;
    match parser.peek().kind {
        Kind::End => Ok(node),
        _ => Err(parser.unexpected("the filter should end here, or go on with && or ||")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next]
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].clone();
        // The end is never passed.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn accept(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek().kind, Kind::Sign(found) if found == sign);
        if is {
            self.take();
        }
        is
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Fault> {
        match self.accept(sign) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("a `{sign}` is missing"))),
        }
    }

    /// What is wrong with the next word; `else_` where nothing better can be said.
    fn unexpected(&self, else_: &str) -> Fault {
        let message = match self.peek().kind {
            Kind::Sign("=") => "equality is written `==`",
            Kind::Sign("?" | ":") => "there is no `?:` in a filter: use && and ||",
            Kind::Sign("-") => {
                "there is no arithmetic in a filter; an attribute with a `-` in its name is attributes[\"a-b\"]"
            }
            Kind::Sign("+" | "*" | "/" | "%") => "there is no arithmetic in a filter",
            Kind::Sign("{" | "}") => "there are no maps or structures in a filter",
            Kind::Sign("==" | "!=" | "<" | "<=" | ">" | ">=") => "one comparison at a time: use parentheses, or &&",
            _ => else_,
        };
        Fault::new(self.peek().at, message)
    }

    /// Goes one level deeper, and back.
    fn deeper<T>(&mut self, at: usize, inner: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == limits::FILTER_DEPTH {
            let message = format!("it is nested more than {} deep: write it flatter", limits::FILTER_DEPTH);
            return Err(Fault::new(at, message));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn any(&mut self) -> Result<Node, Fault> {
        self.joined("||", Form::Any, Self::all)
    }

    fn all(&mut self) -> Result<Node, Fault> {
        self.joined("&&", Form::All, Self::relation)
    }

    /// One or more parts with a sign between them.
    fn joined(
        &mut self,
        sign: &str,
        form: impl FnOnce(Vec<Node>) -> Form,
        part: impl Fn(&mut Self) -> Result<Node, Fault>,
    ) -> Result<Node, Fault> {
        let first = part(self)?;
        if !matches!(self.peek().kind, Kind::Sign(found) if found == sign) {
            return Ok(first);
        }
        let at = first.at;
        let mut parts = vec![first];
        while self.accept(sign) {
            parts.push(part(self)?);
        }
        Ok(Node { at, form: form(parts) })
    }

    fn relation(&mut self) -> Result<Node, Fault> {
        let left = self.unary()?;
        let comparison = match &self.peek().kind {
            Kind::Sign("==") => Comparison::Equal,
            Kind::Sign("!=") => Comparison::Unequal,
            Kind::Sign("<") => Comparison::Below,
            Kind::Sign("<=") => Comparison::AtMost,
            Kind::Sign(">") => Comparison::Above,
            Kind::Sign(">=") => Comparison::AtLeast,
            Kind::Name(name) if name == "in" => {
                self.take();
                let right = self.unary()?;
                return Ok(Node { at: left.at, form: Form::In(Box::new(left), Box::new(right)) });
            }
            _ => return Ok(left),
        };
        self.take();
        let right = self.unary()?;
        Ok(Node { at: left.at, form: Form::Compare(comparison, Box::new(left), Box::new(right)) })
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        let at = self.peek().at;
        if self.accept("!") {
            let inner = self.deeper(at, Self::unary)?;
            return Ok(Node { at, form: Form::Not(Box::new(inner)) });
        }
        let negative = matches!(self.peek().kind, Kind::Sign("-"));
        if let (true, Some(Kind::Number(value))) = (negative, self.tokens.get(self.next + 1).map(|token| &token.kind)) {
            let form = Form::Number(-*value);
            self.take();
            self.take();
            return Ok(Node { at, form });
        }
        self.member()
    }

    /// A value, and what is asked of it.
    fn member(&mut self) -> Result<Node, Fault> {
        let mut node = self.primary()?;
        // Each `.` and `[` makes the tree deeper.
        let depth = self.depth;
        loop {
            let at = node.at;
            if self.accept(".") {
                let Token { at: place, kind: Kind::Name(name) } = self.take() else {
                    self.next -= 1;
                    return Err(self.unexpected("a name is missing after the `.`"));
                };
                if KEYWORDS.contains(&&*name) {
                    let message = format!("`{name}` is a word of the language: write attributes[\"{name}\"]");
                    return Err(Fault::new(place, message));
                }
                let owner = Box::new(node);
                let form = match self.accept("(") {
                    true => Form::Call(Some(owner), name, self.deeper(place, |parser| parser.list(")"))?),
                    false => Form::Part(owner, name),
                };
                node = Node { at, form };
            } else if self.accept("[") {
                let index = self.deeper(at, Self::any)?;
                self.expect("]")?;
                node = Node { at, form: Form::Index(Box::new(node), Box::new(index)) };
            } else {
                self.depth = depth;
                return Ok(node);
            }
            if self.depth == limits::FILTER_DEPTH {
                return Err(Fault::new(at, "too much is asked of one value, one after the other"));
            }
            self.depth += 1;
        }
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let token = self.take();
        let at = token.at;
        let form = match token.kind {
            Kind::Text(text) => Form::Text(text),
            Kind::Number(number) => Form::Number(number),
            Kind::Name(name) if name == "true" || name == "false" => Form::Truth(name == "true"),
            Kind::Name(name) if name != "in" => match self.accept("(") {
                true => Form::Call(None, name, self.deeper(at, |parser| parser.list(")"))?),
                false => Form::Name(name),
            },
            Kind::Sign("(") => {
                let inner = self.deeper(at, Self::any)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Kind::Sign("[") => Form::List(self.deeper(at, |parser| parser.list("]"))?),
            Kind::End => return Err(Fault::new(at, "something is missing here")),
            _ => {
                self.next -= 1;
                return Err(self.unexpected("a field, a text in quotes or a number should stand here"));
            }
        };
        Ok(Node { at, form })
    }

    /// What stands between commas, up to the closing sign.
    fn list(&mut self, end: &'static str) -> Result<Vec<Node>, Fault> {
        let mut parts = Vec::new();
        while !self.accept(end) {
            parts.push(self.any()?);
            if !self.accept(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(parts)
    }
}
