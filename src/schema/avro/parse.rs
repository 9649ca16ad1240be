//! A document becomes types. Says of every rule that it breaks where, and what to do.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::super::{Broken, Limits, path};
use super::{
    default::Defaults,
    name,
    types::{Enum, Field, Id, Logical, Name, Primitive, Record, Type, Types},
};

/// Adds schemas to one table of types: what an earlier one defines, a later one may name.
pub struct Parser<'a> {
    limits: &'a Limits,
    types: Types,
    names: HashMap<String, Id>,
    primitives: HashMap<&'static str, Id>,
    defaults: Defaults,
    /// Of all records.
    fields: usize,
}

/// A place in the document, and the namespace there.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    namespace: &'a str,
}

impl Place<'_> {
    fn broken(self, what: impl Into<String>) -> Broken {
        Broken::new(self.path, what)
    }
}

impl<'a> Parser<'a> {
    pub fn new(limits: &'a Limits) -> Self {
        Parser {
            limits,
            types: Types::default(),
            names: HashMap::new(),
            primitives: HashMap::new(),
            defaults: Defaults::default(),
            fields: 0,
        }
    }

    /// Adds a schema. Defaults are looked at last, when every name in it is known.
    pub fn add(&mut self, document: &Value) -> Result<Id, Broken> {
        let root = self.parse(document, Place { path: path::ROOT, namespace: "" })?;
        self.defaults.check(&self.types)?;
        Ok(root)
    }

    pub fn finish(self) -> Types {
        self.types
    }

    fn parse(&mut self, value: &Value, place: Place<'_>) -> Result<Id, Broken> {
        match value {
            Value::String(name) => self.named(name, place),
            Value::Array(branches) => self.union(branches, place),
            Value::Object(attributes) => self.complex(attributes, place),
            other => Err(place.broken(format!(
                "a type is a name, a list of types (a union) or an object with a type in it, not {other}"
            ))),
        }
    }

    fn define(&mut self, kind: Type, place: Place<'_>) -> Result<Id, Broken> {
        if self.types.len() >= self.limits.types {
            let what = format!("there are more than {} types: split the schema", self.limits.types);
            return Err(place.broken(what));
        }
        Ok(self.types.add(kind))
    }

    /// A primitive, or a type that has been defined by now.
    fn named(&mut self, name: &str, place: Place<'_>) -> Result<Id, Broken> {
        if let Some(primitive) = Primitive::named(name) {
            if let Some(&known) = self.primitives.get(primitive.as_str()) {
                return Ok(known);
            }
            let id = self.define(Type::Primitive(primitive), place)?;
            self.primitives.insert(primitive.as_str(), id);
            return Ok(id);
        }
        let full = name::full(name, place.namespace);
        // A name without a dot may also mean one without a namespace, as Java's parser has it.
        self.names.get(&full).or_else(|| self.names.get(name)).copied().ok_or_else(|| match name {
            "record" | "error" | "enum" | "array" | "map" | "fixed" => place.broken(format!(
                "{name} stands alone: write {{\"type\": \"{name}\", …}}, and in a field {{\"name\": …, \"type\": \
                 {{\"type\": \"{name}\", …}}}}"
            )),
            _ => place.broken(format!(
                "there is no type {full}: define it before it is used, or refer to the schema that does"
            )),
        })
    }

    fn union(&mut self, branches: &[Value], place: Place<'_>) -> Result<Id, Broken> {
        let (mut ids, mut seen) = (Vec::new(), HashSet::new());
        for (at, branch) in branches.iter().enumerate() {
            let path = format!("{}[{at}]", place.path);
            let inner = Place { path: &path, ..place };
            let id = self.parse(branch, inner)?;
            let kind = self.types.get(id);
            if matches!(kind, Type::Union(_)) {
                return Err(inner.broken("a union stands directly in a union: put its branches into the outer one"));
            }
            let identity = kind.name().map_or_else(|| kind.kind().to_owned(), |name| name.full.clone());
            if !seen.insert(identity) {
                let what = format!("the union has two of {}: only named types may differ by name", kind.title());
                return Err(inner.broken(what));
            }
            ids.push(id);
        }
        if ids.is_empty() {
            return Err(place.broken("the union is empty, so no value has this type: name at least one branch"));
        }
        self.define(Type::Union(ids), place)
    }

    fn complex(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<Id, Broken> {
        let path = format!("{}.type", place.path);
        let inner = Place { path: &path, ..place };
        let name = match attributes.get("type") {
            Some(Value::String(name)) => name.as_str(),
            Some(nested) => return self.parse(nested, inner),
            None => return Err(place.broken("the object has no type: add \"type\"")),
        };
        match name {
            "record" | "error" => self.record(attributes, place),
            "enum" => self.enumeration(attributes, place),
            "fixed" => self.fixed(attributes, place),
            "array" => {
                let items = self.part(attributes, "items", "an array says what its items are", place)?;
                self.define(Type::Array(items), place)
            }
            "map" => {
                let values = self.part(attributes, "values", "a map says what its values are", place)?;
                self.define(Type::Map(values), place)
            }
            name => match (Primitive::named(name), logical(attributes)) {
                (Some(primitive), Some(logical)) if fits(primitive, logical) => {
                    self.define(Type::Logical(primitive, logical), place)
                }
                _ => self.named(name, inner),
            },
        }
    }

    fn part(
        &mut self,
        attributes: &Map<String, Value>,
        name: &str,
        rule: &str,
        place: Place<'_>,
    ) -> Result<Id, Broken> {
        let Some(value) = attributes.get(name) else {
            return Err(place.broken(format!("{rule}: add \"{name}\"")));
        };
        let path = format!("{}.{name}", place.path);
        self.parse(value, Place { path: &path, ..place })
    }

    fn record(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<Id, Broken> {
        let (id, name) = self.begin(attributes, place)?;
        let Some(fields) = attributes.get("fields").and_then(Value::as_array) else {
            return Err(place.broken("a record has a list of fields, which may be empty: add \"fields\""));
        };
        let (mut parsed, mut seen) = (Vec::new(), HashSet::new());
        for (at, field) in fields.iter().enumerate() {
            let path = format!("{}.fields[{at}]", place.path);
            let inner = Place { path: &path, namespace: name::namespace(&name.full) };
            self.fields += 1;
            if self.fields > self.limits.types {
                let what = format!("there are more than {} fields: split the schema", self.limits.types);
                return Err(inner.broken(what));
            }
            let field = self.field(field, inner)?;
            if !seen.insert(field.name.clone()) {
                return Err(inner.broken(format!("the record has two fields {}: rename one", field.name)));
            }
            parsed.push(field);
        }
        self.types.set(id, Type::Record(Record { name, fields: parsed }));
        Ok(id)
    }

    fn field(&mut self, field: &Value, place: Place<'_>) -> Result<Field, Broken> {
        let Some(attributes) = field.as_object() else {
            return Err(place.broken("a field is an object with a name and a type"));
        };
        let name =
            text(attributes, "name", place)?.ok_or_else(|| place.broken("the field has no name: add \"name\""))?;
        plain(name, "name", place)?;
        let kind = self.part(attributes, "type", "a field has a type", place)?;
        let order = text(attributes, "order", place)?;
        if !matches!(order, None | Some("ascending" | "descending" | "ignore")) {
            return Err(place.broken("the order of a field is \"ascending\", \"descending\" or \"ignore\""));
        }
        let default = attributes.get("default").cloned();
        if let Some(default) = &default {
            self.defaults.expect(kind, default.clone(), format!("{}.default", place.path));
        }
        Ok(Field { name: name.to_owned(), aliases: aliases(attributes, None, place)?, kind, default })
    }

    fn enumeration(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<Id, Broken> {
        let (id, name) = self.begin(attributes, place)?;
        let Some(listed) = attributes.get("symbols").and_then(Value::as_array) else {
            return Err(place.broken("an enum has a list of symbols: add \"symbols\""));
        };
        let (mut symbols, mut seen) = (Vec::new(), HashSet::new());
        for (at, symbol) in listed.iter().enumerate() {
            let path = format!("{}.symbols[{at}]", place.path);
            let inner = Place { path: &path, ..place };
            let symbol = symbol.as_str().ok_or_else(|| inner.broken("a symbol is a text"))?;
            plain(symbol, "symbol", inner)?;
            if !seen.insert(symbol) {
                return Err(inner.broken(format!("the symbol {symbol} is there twice: remove one")));
            }
            symbols.push(symbol.to_owned());
        }
        if symbols.is_empty() {
            return Err(place.broken("the enum has no symbols, so no value has this type: name at least one"));
        }
        let default = text(attributes, "default", place)?;
        if let Some(default) = default.filter(|default| !seen.contains(default)) {
            return Err(place.broken(format!("the default {default} is none of the symbols: add it, or take another")));
        }
        let default = default.map(str::to_owned);
        self.types.set(id, Type::Enum(Enum { name, symbols, default }));
        Ok(id)
    }

    fn fixed(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<Id, Broken> {
        let (id, name) = self.begin(attributes, place)?;
        let size = attributes.get("size").and_then(Value::as_u64).and_then(|size| i32::try_from(size).ok());
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            return Err(place.broken("a fixed has a size in bytes, from 0 to 2147483647: add \"size\""));
        };
        let logical = logical(attributes).filter(|logical| match *logical {
            Logical::Uuid => size == 16,
            Logical::Decimal { precision, .. } => precision <= digits(size),
        });
        self.types.set(id, Type::Fixed(name, size, logical));
        Ok(id)
    }

    /// Takes a place for a type with a name, which from here on may be named, within itself too.
    fn begin(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<(Id, Name), Broken> {
        let name = text(attributes, "name", place)?;
        let name = name.ok_or_else(|| place.broken("the type has no name: add \"name\""))?;
        let namespace = text(attributes, "namespace", place)?;
        for (text, what) in [(Some(name), "name"), (namespace.filter(|text| !text.is_empty()), "namespace")] {
            if let Some(text) = text.filter(|text| !name::is_full(text)) {
                return Err(place.broken(format!("{text:?} is no {what}: {NAMES}, with dots between them")));
            }
        }
        let full = name::defined(name, namespace, place.namespace);
        let aliases = aliases(attributes, Some(name::namespace(&full)), place)?;
        let name = Name { full, aliases };
        if Primitive::named(name.short()).is_some() {
            return Err(place.broken(format!("{} is Avro's own type: take another name", name.short())));
        }
        // A union within it may ask what it is before it is complete.
        let id = self.define(Type::Record(Record { name: name.clone(), fields: Vec::new() }), place)?;
        if self.names.insert(name.full.clone(), id).is_some() {
            let what = format!("{} is defined twice: define it once, and name it where it is used", name.full);
            return Err(place.broken(what));
        }
        Ok((id, name))
    }
}

const NAMES: &str = "use letters, digits and underscores, and no digit first";

fn plain(text: &str, what: &str, place: Place<'_>) -> Result<(), Broken> {
    match name::is_plain(text) {
        true => Ok(()),
        false => Err(place.broken(format!("{text:?} is no {what}: {NAMES}"))),
    }
}

fn text<'v>(attributes: &'v Map<String, Value>, name: &str, place: Place<'_>) -> Result<Option<&'v str>, Broken> {
    match attributes.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(place.broken(format!("\"{name}\" is a text"))),
    }
}

/// The aliases of a type, whose namespace they share, or of a field.
fn aliases(attributes: &Map<String, Value>, namespace: Option<&str>, place: Place<'_>) -> Result<Vec<String>, Broken> {
    let Some(listed) = attributes.get("aliases") else { return Ok(Vec::new()) };
    let names = listed.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let names = names.ok_or_else(|| place.broken("\"aliases\" is a list of names"))?;
    let alias = |alias: &str| match namespace {
        Some(namespace) if name::is_full(alias) => Ok(name::full(alias, namespace)),
        None if name::is_plain(alias) => Ok(alias.to_owned()),
        _ => Err(place.broken(format!("the alias {alias:?} is no name: {NAMES}"))),
    };
    names.into_iter().map(alias).collect()
}

/// The logical type that is asked for, if it keeps its own rules.
fn logical(attributes: &Map<String, Value>) -> Option<Logical> {
    match attributes.get("logicalType")?.as_str()? {
        "uuid" => Some(Logical::Uuid),
        "decimal" => {
            let precision = attributes.get("precision")?.as_u64()?;
            let scale = attributes.get("scale").map_or(Some(0), Value::as_u64)?;
            (precision > 0 && scale <= precision).then_some(Logical::Decimal { precision, scale })
        }
        _ => None,
    }
}

fn fits(primitive: Primitive, logical: Logical) -> bool {
    matches!((primitive, logical), (Primitive::Bytes, Logical::Decimal { .. }) | (Primitive::String, Logical::Uuid))
}

/// How many decimal digits a signed number of so many bytes always holds: log10(2^(8n-1)), less what is begun.
fn digits(bytes: usize) -> u64 {
    match bytes {
        0 => 0,
        bytes => ((8 * bytes as u64 - 1) as f64 * std::f64::consts::LOG10_2) as u64,
    }
}
