//! The messages of a Protobuf file, and those that it uses, as a flat table: what the wire and the comparison need of a
//! descriptor. Messages within themselves are places that come round again; nothing here recurses.

use std::collections::HashMap;

use prost_reflect::{Cardinality, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

use super::super::{Broken, Limits};

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u32);

#[derive(Debug)]
pub struct Table {
    messages: Vec<Message>,
    /// The file's own messages, in its order.
    roots: Vec<Id>,
}

#[derive(Debug, Default)]
pub struct Message {
    /// Without the file's package: `Order.Line`, but `google.protobuf.Timestamp`.
    pub name: String,
    /// By number.
    pub fields: Vec<Field>,
    /// Those of [`Message::fields`] that have to be there.
    pub required: Vec<usize>,
    /// The messages that are defined within, in order. The entries of maps are none.
    pub inner: Vec<Id>,
    /// The same with a place for each entry of a map, as the descriptor has them.
    places: Vec<Option<Id>>,
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    pub name: String,
    pub kind: Type,
    pub label: Label,
    /// Of which only one is set at a time.
    pub oneof: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Single,
    Required,
    Repeated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar(Scalar),
    Message(Id),
    /// A message between two tags.
    Group(Id),
    /// A message that is one entry of a map.
    Entry(Id),
}

/// A type of one value, as far as it matters on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Double,
    Float,
    /// An integer, a boolean or an enum: of a negative one all ten bytes.
    Varint,
    /// An integer whose sign is its last bit.
    ZigZag,
    Fixed32,
    Fixed64,
    String,
    Bytes,
}

impl Table {
    pub fn new(file: &FileDescriptor, limits: &Limits) -> Result<Self, Broken> {
        let mut builder = Builder { package: file.package_name(), messages: Vec::new(), known: HashMap::new() };
        let roots: Vec<Id> = file.messages().map(|message| builder.id(message)).collect();
        let (mut table, mut at, mut types) = (Vec::new(), 0, 0);
        while let Some(message) = builder.messages.get(at).cloned() {
            types += 1 + message.fields().len();
            if types > limits.types {
                let what = format!("there are more than {} messages and fields: split the schema", limits.types);
                return Err(Broken::whole(what));
            }
            table.push(builder.message(&message));
            at += 1;
        }
        Ok(Table { messages: table, roots })
    }

    pub fn get(&self, id: Id) -> &Message {
        &self.messages[id.0 as usize]
    }

    pub fn roots(&self) -> &[Id] {
        &self.roots
    }

    /// The messages to which indexes may lead: among the file's, then among those within. None lead to the first. Some
    /// serializers count the entries of maps (Python, Go), some do not (Java).
    pub fn find(&self, indexes: &[u32]) -> Result<Vec<Id>, String> {
        let indexes = if indexes.is_empty() { &[0] } else { indexes };
        let plain = self.follow(indexes, |message, at| message.inner.get(at).copied());
        let counted = self.follow(indexes, |message, at| message.places.get(at).copied().flatten());
        let mut found: Vec<_> = plain.into_iter().chain(counted).collect();
        found.dedup();
        match found.is_empty() {
            true => Err(format!("there is no message {indexes:?} in the schema")),
            false => Ok(found),
        }
    }

    fn follow(&self, indexes: &[u32], inner: impl Fn(&Message, usize) -> Option<Id>) -> Option<Id> {
        let (first, rest) = indexes.split_first()?;
        let root = *self.roots.get(*first as usize)?;
        rest.iter().try_fold(root, |id, at| inner(self.get(id), *at as usize))
    }
}

struct Builder<'a> {
    package: &'a str,
    messages: Vec<MessageDescriptor>,
    known: HashMap<String, Id>,
}

impl Builder<'_> {
    /// The place of a message, which is read later if it is new.
    fn id(&mut self, message: MessageDescriptor) -> Id {
        let next = Id(u32::try_from(self.messages.len()).expect("a text of some megabytes has fewer"));
        let id = *self.known.entry(message.full_name().to_owned()).or_insert(next);
        if id == next {
            self.messages.push(message);
        }
        id
    }

    fn message(&mut self, message: &MessageDescriptor) -> Message {
        let full = message.full_name();
        let name = full.strip_prefix(self.package).and_then(|name| name.strip_prefix('.')).unwrap_or(full).to_owned();
        let mut fields: Vec<Field> = message.fields().map(|field| self.field(&field)).collect();
        fields.sort_by_key(|field| field.number);
        let required = (0..fields.len()).filter(|&at| fields[at].label == Label::Required).collect();
        let places: Vec<_> =
            message.child_messages().map(|inner| (!inner.is_map_entry()).then(|| self.id(inner))).collect();
        let inner = places.iter().flatten().copied().collect();
        Message { name, fields, required, inner, places }
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        let kind = match field.kind() {
            Kind::Message(message) if field.is_group() => Type::Group(self.id(message)),
            Kind::Message(message) if field.is_map() => Type::Entry(self.id(message)),
            Kind::Message(message) => Type::Message(self.id(message)),
            Kind::Double => Type::Scalar(Scalar::Double),
            Kind::Float => Type::Scalar(Scalar::Float),
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => {
                Type::Scalar(Scalar::Varint)
            }
            Kind::Sint32 | Kind::Sint64 => Type::Scalar(Scalar::ZigZag),
            Kind::Fixed32 | Kind::Sfixed32 => Type::Scalar(Scalar::Fixed32),
            Kind::Fixed64 | Kind::Sfixed64 => Type::Scalar(Scalar::Fixed64),
            Kind::String => Type::Scalar(Scalar::String),
            Kind::Bytes => Type::Scalar(Scalar::Bytes),
        };
        let label = match field.cardinality() {
            Cardinality::Optional => Label::Single,
            Cardinality::Required => Label::Required,
            Cardinality::Repeated => Label::Repeated,
        };
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned());
        Field { number: field.number(), name: field.name().to_owned(), kind, label, oneof }
    }
}

impl Message {
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.position(number).map(|at| &self.fields[at])
    }

    pub fn position(&self, number: u32) -> Option<usize> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

impl Type {
    /// For a sentence.
    pub fn title(self, table: &Table) -> String {
        match self {
            Type::Scalar(scalar) => scalar.title().to_owned(),
            Type::Message(id) => format!("message {}", table.get(id).name),
            Type::Group(id) => format!("group {}", table.get(id).name),
            Type::Entry(_) => "map".to_owned(),
        }
    }
}

impl Scalar {
    /// The types that are the same on the wire, in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Scalar::Double => "double",
            Scalar::Float => "float",
            Scalar::Varint => "int32, int64, uint32, uint64, bool or enum",
            Scalar::ZigZag => "sint32 or sint64",
            Scalar::Fixed32 => "fixed32 or sfixed32",
            Scalar::Fixed64 => "fixed64 or sfixed64",
            Scalar::String => "string",
            Scalar::Bytes => "bytes",
        }
    }
}
