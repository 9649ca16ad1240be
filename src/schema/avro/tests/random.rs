//! Schemas and values at random, and `apache-avro`, which reads and writes them.

use std::collections::HashMap;

use apache_avro::{
    Schema as Other, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// A type at random. What it is called is decided when it is spelled.
#[derive(Clone, Debug)]
pub enum Shape {
    Primitive(&'static str),
    Uuid,
    Decimal,
    Fixed(usize),
    Enum(usize),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<Shape>),
    /// Null, or a type that has a name by then: the record that it stands in, too.
    Named(usize),
}

/// A type.
pub fn shape() -> impl Strategy<Value = Shape> {
    const PRIMITIVES: &[&str] = &["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    let leaf = prop_oneof![
        8 => prop::sample::select(PRIMITIVES).prop_map(Shape::Primitive),
        1 => Just(Shape::Uuid),
        1 => Just(Shape::Decimal),
        1 => (0..9_usize).prop_map(Shape::Fixed),
        1 => (1..4_usize).prop_map(Shape::Enum),
        2 => any::<usize>().prop_map(Shape::Named),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Shape::Array(Box::new(inner))),
            inner.clone().prop_map(|inner| Shape::Map(Box::new(inner))),
            prop::collection::vec(inner.clone(), 1..5).prop_map(Shape::Union),
            prop::collection::vec(inner, 0..6).prop_map(Shape::Record),
        ]
    })
}

/// Spells types, and knows by their names those that have one.
#[derive(Default)]
pub struct Speller {
    names: Vec<String>,
}

impl Speller {
    fn name(&mut self, prefix: &str) -> String {
        let name = format!("{prefix}{}", self.names.len());
        self.names.push(name.clone());
        name
    }

    pub fn spell(&mut self, shape: &Shape) -> Json {
        match shape {
            Shape::Primitive(name) => json!(name),
            Shape::Uuid => json!({"type": "string", "logicalType": "uuid"}),
            Shape::Decimal => json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
            Shape::Fixed(size) => json!({"type": "fixed", "name": self.name("F"), "size": size}),
            Shape::Enum(count) => {
                let symbols: Vec<String> = (0..*count).map(|at| format!("S{at}")).collect();
                json!({"type": "enum", "name": self.name("E"), "symbols": symbols})
            }
            Shape::Array(items) => json!({"type": "array", "items": self.spell(items)}),
            Shape::Map(values) => json!({"type": "map", "values": self.spell(values)}),
            Shape::Union(branches) => {
                let mut spelled: Vec<Json> = Vec::new();
                for branch in branches.iter().filter(|branch| !matches!(branch, Shape::Union(_) | Shape::Named(_))) {
                    let known = self.names.len();
                    let branch = self.spell(branch);
                    match spelled.iter().any(|other| kind(other) == kind(&branch)) {
                        true => self.names.truncate(known),
                        false => spelled.push(branch),
                    }
                }
                if spelled.is_empty() { json!(["null"]) } else { json!(spelled) }
            }
            Shape::Record(fields) => {
                let name = self.name("R");
                let field = |(at, shape): (usize, &Shape)| json!({"name": format!("f{at}"), "type": self.spell(shape)});
                let fields: Vec<Json> = fields.iter().enumerate().map(field).collect();
                json!({"type": "record", "name": name, "fields": fields})
            }
            Shape::Named(number) if self.names.is_empty() => json!(["null", "int"][number % 2]),
            Shape::Named(number) => json!(["null", self.names[number % self.names.len()]]),
        }
    }
}

fn kind(schema: &Json) -> &str {
    schema["name"].as_str().or(schema["type"].as_str()).or(schema.as_str()).unwrap_or("union")
}

/// The types that have a name.
fn named<'a>(schema: &'a Json, names: &mut HashMap<&'a str, &'a Json>) {
    if let (Some(name), Some("record" | "enum" | "fixed")) = (schema["name"].as_str(), schema["type"].as_str()) {
        names.insert(name, schema);
    }
    for inner in schema.as_array().into_iter().flatten().chain(schema["fields"].as_array().into_iter().flatten()) {
        named(inner, names);
    }
    for inner in ["type", "items", "values"].into_iter().filter_map(|name| schema.get(name)) {
        named(inner, names);
    }
}

/// Values at random, which end when the bytes do.
pub struct Maker<'a> {
    names: HashMap<&'a str, &'a Json>,
    random: std::vec::IntoIter<u8>,
}

impl<'a> Maker<'a> {
    /// Of a schema, for the names of its types.
    pub fn new(schema: &'a Json, random: Vec<u8>) -> Self {
        let mut names = HashMap::new();
        named(schema, &mut names);
        Maker { names, random: random.into_iter() }
    }

    /// The next byte. When they are at an end, the smallest value is made: the first branch, no items.
    fn byte(&mut self) -> u8 {
        self.random.next().unwrap_or(0)
    }

    fn long(&mut self) -> i64 {
        let number = (0..self.byte() % 9).fold(0_u64, |number, _| number << 8 | u64::from(self.byte()));
        number as i64
    }

    fn text(&mut self) -> String {
        (0..self.byte() % 6).map(|_| ['a', '"', 'é', '€', '𝄞', ' '][usize::from(self.byte()) % 6]).collect()
    }

    /// A value of a type of the schema.
    pub fn value(&mut self, schema: &'a Json) -> Value {
        if let Some(branches) = schema.as_array() {
            let at = usize::from(self.byte()) % branches.len();
            return Value::Union(at as u32, Box::new(self.value(&branches[at])));
        }
        let few = self.byte() % 4;
        match schema.as_str().or(schema["type"].as_str()).unwrap() {
            "null" => Value::Null,
            "boolean" => Value::Boolean(few > 1),
            "int" => Value::Int(self.long() as i32),
            "long" => Value::Long(self.long()),
            "float" => Value::Float(self.long() as f32),
            "double" => Value::Double(self.long() as f64),
            "bytes" if schema["logicalType"] == "decimal" => {
                Value::Decimal((self.long() as i32).to_be_bytes().to_vec().into())
            }
            "bytes" => Value::Bytes((0..few).map(|_| self.byte()).collect()),
            "string" if schema["logicalType"] == "uuid" => {
                Value::Uuid(format!("123e4567-e89b-12d3-a456-4266554400{:02x}", self.byte()).parse().unwrap())
            }
            "string" => Value::String(self.text()),
            "fixed" => {
                let size = schema["size"].as_u64().unwrap() as usize;
                Value::Fixed(size, (0..size).map(|_| self.byte()).collect())
            }
            "enum" => {
                let symbols = schema["symbols"].as_array().unwrap();
                let at = usize::from(self.byte()) % symbols.len();
                Value::Enum(at as u32, symbols[at].as_str().unwrap().to_owned())
            }
            "array" => Value::Array((0..few).map(|_| self.value(&schema["items"])).collect()),
            "map" => {
                Value::Map((0..few).map(|at| (format!("{at}{}", self.text()), self.value(&schema["values"]))).collect())
            }
            "record" => {
                let fields = schema["fields"].as_array().unwrap().iter();
                Value::Record(
                    fields
                        .map(|field| (field["name"].as_str().unwrap().to_owned(), self.value(&field["type"])))
                        .collect(),
                )
            }
            name => self.value(self.names[name]),
        }
    }
}

/// Reads a value by the other implementation, if it is one.
pub fn decode(schema: &Other, payload: &[u8]) -> Option<Value> {
    let mut rest = payload;
    let decoded = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest);
    decoded.ok().filter(|_| rest.is_empty())
}

/// Writes a value by the other implementation.
pub fn encode(schema: &Other, value: Value) -> Result<Vec<u8>, String> {
    let writer = GenericDatumWriter::builder(schema).build().map_err(|fault| fault.to_string())?;
    writer.write_value_to_vec(value).map_err(|fault| fault.to_string())
}
