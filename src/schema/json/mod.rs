//! JSON Schema, from draft 4 to 2020-12; a text that names none is of draft 7, as for Confluent's registry. `jsonschema`
//! validates, with patterns in linear time; a [`table`] of all subschemas shows what they cost ([`cost`]), and whether
//! another schema's values are all valid ([`read`]). Nothing is fetched: a `$ref` leads into the schema itself, into what
//! was handed over with it, or to a draft's own schema.

mod cost;
mod kinds;
mod read;
mod says;
mod table;
mod writer;

#[cfg(test)]
mod tests;

use jsonschema::{PatternOptions, ValidationError, Validator};
use referencing::{Draft, Registry, Uri, uri};
use serde_json::Value;

use super::{Broken, Kind, Limits, Violation, definition::Referenced, document, fault::Fault, nesting, path};
use cost::Cost;
use table::{Nowhere, Table};

/// A schema that is ready.
#[derive(Debug)]
pub struct Json {
    normalized: String,
    table: Table,
    validator: Validator,
    /// What a payload may cost, by its depth, which is no greater than it is long.
    costs: Vec<Cost>,
}

/// Bytes that one pattern may take when it is compiled, and again while it runs.
const PATTERN_BYTES: usize = 512 << 10;
/// Subschemas that may look at values until it is known where a payload is wrong.
const EXPLAINED: u64 = 20_000_000;
/// Where a schema is that has no id.
const NOWHERE: &str = "json-schema:///";

impl Json {
    pub fn parse(text: &str, references: &[Referenced<'_>], limits: &Limits) -> Result<Self, Broken> {
        let document = document::parse(text)?;
        let draft = draft(&document)?;
        let base = base(&document, draft)?;
        let mut others = Vec::new();
        for Referenced { name, text, .. } in references {
            let other = document::parse(text).and_then(|other| {
                let draft = self::draft(&other)?;
                meta(draft, &other).map_err(|fault| broken(&other, &fault))?;
                Ok((draft, other))
            });
            others.push((*name, other.map_err(|broken| broken.referenced(name))?));
        }
        // A name is found as it stands, and by whoever says it in a schema that has a place of its own.
        let mut resources = Vec::new();
        for (name, (draft, other)) in &others {
            let broken =
                |fault: referencing::Error| Broken::whole(format!("its name is no URI: {fault}")).referenced(name);
            let place = uri::from_str(name).map_err(broken)?;
            let near = uri::resolve_against(&base.borrow(), name).ok().filter(|near| *near != place);
            let places = [Some(place), near].into_iter().flatten();
            resources.extend(places.map(|place| (place, draft.create_resource(other.clone()))));
        }
        let refused = |fault: referencing::Error| Broken::whole(format!("a reference leads nowhere: {fault}"));
        let registry = Registry::new()
            .draft(draft)
            .retriever(Nowhere)
            .extend(resources)
            .and_then(|registry| registry.prepare())
            .map_err(refused)?;
        let whole = registry.add(base.as_str(), draft.create_resource_ref(&document));
        let whole = whole.and_then(|registry| registry.draft(draft).retriever(Nowhere).prepare()).map_err(refused)?;
        let table = Table::new(&whole, base.clone(), draft, limits)?;
        let costs = cost::by_depth(&table, limits)?;
        let options = jsonschema::options().with_draft(draft).with_base_uri(base.as_str()).with_registry(&registry);
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        let built = options.offline().with_pattern_options(patterns).build(&document);
        let validator = built.map_err(|fault| broken(&document, &fault))?;
        let normalized = document::canonical(&document);
        Ok(Json { normalized, table, validator, costs })
    }

    pub fn normalized(&self) -> &str {
        &self.normalized
    }

    pub fn validate(&self, payload: &[u8]) -> Result<(), Violation> {
        let Some(cost) = self.costs.get(nesting::deepest(Kind::Json, payload)) else {
            let what = format!("the value nests deeper than {} levels", self.depth());
            return Err(Violation::new(path::ROOT, what));
        };
        let value: Value = serde_json::from_slice(payload)
            .map_err(|fault| Violation::new(path::ROOT, format!("the payload is no JSON: {fault}")))?;
        // This remembers what it has seen; telling where does not, and a payload could make it take forever.
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        let work = cost.work.saturating_mul(payload.len() as u64);
        let told = (work <= EXPLAINED).then(|| self.validator.validate(&value).err()).flatten();
        Err(told.map_or_else(
            || Violation::new(path::ROOT, "it is not as the schema says, in a way that takes too long to tell"),
            // Without the payload's own words: they may be long, or secret.
            |fault| Violation::new(place(&value, &fault), fault.masked_with("the value").to_string()),
        ))
    }

    /// Why a value that is valid for `writer` may not be for this schema.
    pub fn read(&self, writer: &Json) -> Vec<Fault> {
        if self.normalized == writer.normalized && self.table == writer.table {
            return Vec::new();
        }
        read::read(&self.table, &writer.table, self.depth().max(writer.depth()))
    }

    /// How deep a value may be.
    fn depth(&self) -> usize {
        self.costs.len().saturating_sub(1)
    }
}

/// The draft that a schema is written in.
fn draft(document: &Value) -> Result<Draft, Broken> {
    if !document.is_object() && !document.is_boolean() {
        return Err(Broken::whole("a JSON Schema is an object, true or false"));
    }
    match Draft::Draft7.detect(document) {
        Draft::Unknown => {
            Err(Broken::new("$[\"$schema\"]", "this draft is not known: use 4, 6, 7, 2019-09 or 2020-12"))
        }
        draft => Ok(draft),
    }
}

/// Where a schema is: what its references start from.
fn base(document: &Value, draft: Draft) -> Result<Uri<String>, Broken> {
    let resource = draft.create_resource_ref(document);
    uri::from_str(resource.id().unwrap_or(NOWHERE))
        .map_err(|fault| Broken::new(format!("$[{:?}]", draft.id_keyword()), format!("the id is no URI: {fault}")))
}

/// Whether a document keeps the rules of its draft.
fn meta(draft: Draft, document: &Value) -> Result<(), ValidationError<'_>> {
    match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validate(document),
        Draft::Draft6 => jsonschema::draft6::meta::validate(document),
        Draft::Draft7 => jsonschema::draft7::meta::validate(document),
        Draft::Draft201909 => jsonschema::draft201909::meta::validate(document),
        _ => jsonschema::draft202012::meta::validate(document),
    }
}

fn broken(document: &Value, fault: &ValidationError<'_>) -> Broken {
    Broken::new(place(document, fault), fault.to_string())
}

/// The place in a value of what is wrong with it.
fn place(value: &Value, fault: &ValidationError<'_>) -> String {
    let mut place = path::ROOT.to_owned();
    let mut at = Some(value);
    // A JSON pointer (RFC 6901).
    for step in fault.instance_path().as_str().split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let items = at.and_then(Value::as_array).zip(step.parse::<usize>().ok());
        place += &items.map_or_else(|| path::name(&step), |(_, index)| path::index(index as u64));
        at = match items {
            Some((items, index)) => items.get(index),
            None => at.and_then(|value| value.get(&step)),
        };
    }
    place
}
