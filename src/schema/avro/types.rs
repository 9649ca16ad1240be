//! The types of an Avro schema as a flat table, in which names are already places. Recursion of types is a place that
//! comes round again; nothing here recurses.

use serde_json::Value;

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Primitive(Primitive),
    /// Bytes that a logical type gives a meaning.
    Logical(Primitive, Logical),
    Fixed(Name, usize, Option<Logical>),
    Enum(Enum),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Record),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

/// The logical types that matter here: to what a payload may hold, or to who can read it. Any other is ignored, as is
/// one that breaks its own rules (the specification, "Logical Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    Decimal { precision: u64, scale: u64 },
    Uuid,
}

/// A name with its namespace: `shop.Order`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub full: String,
    /// Other full names by which a reader knows it.
    pub aliases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Enum {
    pub name: Name,
    pub symbols: Vec<String>,
    /// What a reader takes a symbol for that it does not know.
    pub default: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub name: Name,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub kind: Id,
    pub default: Option<Value>,
}

/// The types of one schema.
#[derive(Clone, Debug, Default)]
pub struct Types {
    types: Vec<Type>,
}

impl Primitive {
    pub const ALL: [Primitive; 8] = [
        Primitive::Null,
        Primitive::Boolean,
        Primitive::Int,
        Primitive::Long,
        Primitive::Float,
        Primitive::Double,
        Primitive::Bytes,
        Primitive::String,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Primitive::Null => "null",
            Primitive::Boolean => "boolean",
            Primitive::Int => "int",
            Primitive::Long => "long",
            Primitive::Float => "float",
            Primitive::Double => "double",
            Primitive::Bytes => "bytes",
            Primitive::String => "string",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Primitive::ALL.into_iter().find(|primitive| primitive.as_str() == name)
    }
}

impl Name {
    /// Its last part: `Order` of `shop.Order`.
    pub fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or_default()
    }
}

impl Type {
    /// The name of a type that has one.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Type::Fixed(name, ..) => Some(name),
            Type::Enum(symbols) => Some(&symbols.name),
            Type::Record(record) => Some(&record.name),
            _ => None,
        }
    }

    /// What it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Type::Primitive(primitive) | Type::Logical(primitive, _) => primitive.as_str(),
            Type::Fixed(..) => "fixed",
            Type::Enum(_) => "enum",
            Type::Array(_) => "array",
            Type::Map(_) => "map",
            Type::Union(_) => "union",
            Type::Record(_) => "record",
        }
    }

    /// What it is, for a sentence: `record shop.Order`, `long`.
    pub fn title(&self) -> String {
        match self.name() {
            Some(name) => format!("{} {}", self.kind(), name.full),
            None => self.kind().to_owned(),
        }
    }

    pub fn decimal(&self) -> Option<(u64, u64)> {
        match self {
            Type::Logical(_, Logical::Decimal { precision, scale })
            | Type::Fixed(_, _, Some(Logical::Decimal { precision, scale })) => Some((*precision, *scale)),
            _ => None,
        }
    }
}

impl Types {
    pub fn len(&self) -> usize {
        self.types.len()
    }

    pub fn get(&self, id: Id) -> &Type {
        &self.types[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &Type> {
        self.types.iter()
    }

    pub fn add(&mut self, kind: Type) -> Id {
        let id = Id(u32::try_from(self.types.len()).expect("the limit on types is far below"));
        self.types.push(kind);
        id
    }

    /// Puts a type where its name was before it was known.
    pub fn set(&mut self, id: Id, kind: Type) {
        self.types[id.0 as usize] = kind;
    }
}

impl Id {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
