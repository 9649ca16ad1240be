//! A schema: a text that keeps the rules of its kind, ready to look at payloads.

use std::sync::Arc;

use super::{Broken, Kind, Limits, Violation, avro::Avro, frame, json::Json, nesting, protobuf::Protobuf};

/// What a schema of a few bytes takes.
const SMALLEST: usize = 4 << 10;

/// A schema that makes sense. Costly to make and to keep, cheap to use: share one.
#[derive(Debug)]
pub struct Schema {
    text: Box<str>,
    // Of the text and of those that it refers to.
    bytes: usize,
    pub(super) rules: Rules,
}

/// What the kinds have made of the text.
#[derive(Debug)]
pub(super) enum Rules {
    /// Shared with those who read and write its fields.
    Avro(Arc<Avro>),
    Json(Box<Json>),
    Protobuf(Box<Protobuf>),
}

/// A schema that another refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Referenced<'a> {
    /// As the other names it: the path of an `import` (Protobuf), the URI of a `$ref` (JSON). Avro goes by the names of the
    /// types within; there it is for errors only.
    pub name: &'a str,
    /// What it is written in, which is that of the other.
    pub kind: Kind,
    /// What it says.
    pub text: &'a str,
}

impl Schema {
    /// Reads a schema. `references` are all that it needs, those of its references too, each after what it itself needs;
    /// nothing else is looked for, but the files that Google ships with Protobuf.
    pub fn parse(kind: Kind, text: &str, references: &[Referenced<'_>]) -> Result<Self, Broken> {
        Schema::parse_within(&Limits::default(), kind, text, references)
    }

    /// Reads a schema within limits of the caller's.
    pub fn parse_within(
        limits: &Limits,
        kind: Kind,
        text: &str,
        references: &[Referenced<'_>],
    ) -> Result<Self, Broken> {
        let bytes: usize = text.len() + references.iter().map(|referenced| referenced.text.len()).sum::<usize>();
        if bytes > limits.bytes {
            return Err(Broken::whole(format!(
                "with what it refers to it has {bytes} bytes: at most {} are allowed",
                limits.bytes
            )));
        }
        if references.len() > limits.references {
            let what = format!("it refers to {} others: at most {} are allowed", references.len(), limits.references);
            return Err(Broken::whole(what));
        }
        for Referenced { name, kind: other, text } in references {
            if *other != kind {
                let what = format!("it is written in {other}: a schema in {kind} refers to {kind} only");
                return Err(Broken::whole(what).referenced(name));
            }
            nesting::check(kind, text, limits).map_err(|broken| broken.referenced(name))?;
        }
        nesting::check(kind, text, limits)?;
        let rules = match kind {
            Kind::Avro => Rules::Avro(Arc::new(Avro::parse(text, references, limits)?)),
            Kind::Json => Rules::Json(Box::new(Json::parse(text, references, limits)?)),
            Kind::Protobuf => Rules::Protobuf(Box::new(Protobuf::parse(text, references, limits)?)),
        };
        Ok(Schema { text: text.into(), bytes, rules })
    }

    /// What it is written in.
    pub fn kind(&self) -> Kind {
        match self.rules {
            Rules::Avro(_) => Kind::Avro,
            Rules::Json(_) => Kind::Json,
            Rules::Protobuf(_) => Kind::Protobuf,
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// About how many bytes it takes in memory: so many times what its texts have. Measured by what the allocator has given
    /// out for schemas of 1 to 4,000 fields, members or types: 5 to 17 times the text for Avro, 6 to 25 for Protobuf, and for
    /// JSON 39 to 99, most of it the table of subschemas. A JSON Schema of nothing but different patterns takes 400 times,
    /// and one of a few bytes some KiB.
    pub fn size(&self) -> usize {
        let times = match self.kind() {
            Kind::Avro | Kind::Protobuf => 16,
            Kind::Json => 64,
        };
        SMALLEST + times * self.bytes
    }

    /// Equal for two schemas that say the same in the same order, however they are spelled. Avro: names in full, members
    /// sorted, no white space. JSON: members sorted, no white space. Protobuf: the file's descriptor, in hexadecimal;
    /// comments and layout are not in it, the order of messages is, since a frame's message indexes go by it.
    pub fn normalized(&self) -> &str {
        match &self.rules {
            Rules::Avro(avro) => avro.normalized(),
            Rules::Json(json) => json.normalized(),
            Rules::Protobuf(protobuf) => protobuf.normalized(),
        }
    }

    /// Protobuf: the descriptor of the file in base64, without what it imports. The other kinds have none.
    pub fn descriptor(&self) -> Option<&str> {
        match &self.rules {
            Rules::Protobuf(protobuf) => Some(protobuf.descriptor()),
            Rules::Avro(_) | Rules::Json(_) => None,
        }
    }

    /// Whether what follows the zero byte and the id in the registry's frame is as the schema says: for Protobuf that begins
    /// with the message that it is.
    pub fn validate_framed(&self, framed: &[u8]) -> Result<(), Violation> {
        match &self.rules {
            Rules::Protobuf(protobuf) => {
                let (message, payload) = frame::message(framed)?;
                protobuf.validate(payload, &message)
            }
            _ => self.validate(framed),
        }
    }

    /// Whether a payload, without the registry's frame, is as the schema says. Protobuf: as its first message.
    pub fn validate(&self, payload: &[u8]) -> Result<(), Violation> {
        self.validate_as(payload, &[0])
    }

    /// The same of another message than a Protobuf file's first: its index among the file's, then among those within
    /// that one, and so on, as the registry's frame has it. None is the first. The other kinds have no messages.
    pub fn validate_as(&self, payload: &[u8], message: &[u32]) -> Result<(), Violation> {
        match &self.rules {
            Rules::Avro(avro) => avro.validate(payload),
            Rules::Json(json) => json.validate(payload),
            Rules::Protobuf(protobuf) => protobuf.validate(payload, message),
        }
    }
}
