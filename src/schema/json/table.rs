//! A JSON Schema as a flat table: what refers is resolved, and what the drafts spell differently is spelled one way. Made
//! for what has to see all of a schema ([`super::cost`], [`super::read`]); payloads are validated by `jsonschema`.
//! Nothing here recurses, and nothing is fetched.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
};

use referencing::{Draft, Registry, Resolved, Resolver, Retrieve, Uri};
use serde_json::Value;

use super::super::{Broken, Limits, document, path};

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u32);

/// The subschemas of one schema, and of what it refers to.
#[derive(Debug, Default, PartialEq)]
pub struct Table {
    nodes: Vec<Node>,
    /// Where each stands: in which other, and under which step.
    places: Vec<Option<(Id, String)>>,
}

/// A subschema. What a keyword says is where `jsonschema` looks for it too; a keyword that is unknown is not there.
#[derive(Debug, Default, PartialEq)]
pub struct Node {
    /// The schema `false`: nothing is valid.
    pub is_never: bool,
    /// Whether it has a default, which a reader may take for what is missing.
    pub has_default: bool,
    /// What is said of the value itself: `type`, `enum`, `required`, bounds.
    pub says: BTreeMap<&'static str, Value>,
    pub named: BTreeMap<String, Id>,
    pub patterns: BTreeMap<String, Id>,
    /// Of members that neither name nor pattern names. Everything, if there is none.
    pub other: Option<Id>,
    /// Of the first items, one by one.
    pub first: Vec<Id>,
    /// Of the items after these. Everything, if there is none.
    pub rest: Option<Id>,
    /// All of these hold: `allOf`, and `$ref`.
    pub all: Vec<Id>,
    /// Of each of these lists one holds: `anyOf`, `oneOf`.
    pub any: Vec<(&'static str, Vec<Id>)>,
    /// What is compared as text only.
    pub opaque: BTreeMap<&'static str, Opaque>,
    /// Subschemas of what is opaque: of the same value, and of parts of it.
    pub here: Vec<Id>,
    pub within: Vec<Id>,
}

/// A keyword whose meaning nothing here looks into.
#[derive(Debug, PartialEq, Eq)]
pub struct Opaque {
    pub text: String,
    /// Whether the text says all: it refers to nothing.
    pub is_whole: bool,
}

/// Keywords that are looked into, each alone.
const SAYS: [&str; 20] = [
    "type",
    "enum",
    "const",
    "format",
    "pattern",
    "required",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contentEncoding",
    "contentMediaType",
];

/// What a keyword's subschemas are about: the same value, or parts of it.
enum About {
    Here,
    Within,
    Nothing,
}

/// Keywords that are compared as text.
const OPAQUE: [(&str, About); 15] = [
    ("not", About::Here),
    ("if", About::Here),
    ("then", About::Here),
    ("else", About::Here),
    ("dependencies", About::Here),
    ("dependentSchemas", About::Here),
    ("dependentRequired", About::Nothing),
    ("propertyNames", About::Within),
    ("contains", About::Within),
    ("minContains", About::Nothing),
    ("maxContains", About::Nothing),
    ("unevaluatedItems", About::Within),
    ("unevaluatedProperties", About::Within),
    ("$dynamicRef", About::Nothing),
    ("$recursiveRef", About::Nothing),
];

/// What is found where nothing is.
const NOTHING: Value = Value::Null;

/// Fetches nothing, so that whoever comes upon a reference can say where it stands.
pub struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Ok(NOTHING)
    }
}

/// A subschema that is still to be read.
struct Task<'r> {
    id: Id,
    value: &'r Value,
    resolver: Resolver<'r>,
    draft: Draft,
}

impl<'r> Task<'r> {
    /// What a keyword says, if its draft has it. What nothing validates is not there: formats and contents are
    /// annotations since 2019-09.
    fn get(&self, name: &str) -> Option<&'r Value> {
        let is_annotation = matches!(name, "format" | "contentEncoding" | "contentMediaType");
        let is_known = self.draft.is_known_keyword(name) && !(is_annotation && self.draft > Draft::Draft7);
        // Drafts before `$defs` refer to it all the same.
        self.value.get(name).filter(|_| is_known || name == "$defs")
    }
}

/// A table under way.
struct Builder<'r, 'l> {
    limits: &'l Limits,
    table: Table,
    known: HashMap<*const Value, Id>,
    tasks: Vec<Task<'r>>,
    patterns: usize,
    /// Targets of references whose meaning depends on the way there, by their names.
    anchors: HashMap<String, Vec<Id>>,
    dynamic: Vec<(Id, String)>,
}

impl Table {
    /// The root is at [`Table::ROOT`].
    pub fn new(registry: &Registry<'_>, base: Uri<String>, draft: Draft, limits: &Limits) -> Result<Self, Broken> {
        let resolver = registry.resolver(base);
        let root = resolver.lookup("").map_err(|fault| Broken::whole(fault.to_string()))?;
        let (value, resolver, _) = root.into_inner();
        let mut builder = Builder {
            limits,
            table: Table::default(),
            known: HashMap::new(),
            tasks: Vec::new(),
            patterns: 0,
            anchors: HashMap::new(),
            dynamic: Vec::new(),
        };
        builder.add(None, value, &resolver, draft)?;
        while let Some(task) = builder.tasks.pop() {
            builder.read(task)?;
        }
        for (id, anchor) in &builder.dynamic {
            let targets = builder.anchors.get(anchor).into_iter().flatten();
            builder.table.nodes[id.index()].here.extend(targets);
        }
        Ok(builder.table)
    }

    pub const ROOT: Id = Id(0);

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.nodes.len() as u32).map(Id)
    }

    /// Where it stands, by the way on which it was found first.
    pub fn path(&self, id: Id) -> String {
        let mut steps = Vec::new();
        let mut at = id;
        while let Some((parent, step)) = &self.places[at.index()] {
            steps.push(step.as_str());
            at = *parent;
        }
        steps.push(path::ROOT);
        steps.into_iter().rev().collect()
    }
}

impl Id {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl<'r> Builder<'r, '_> {
    /// The place of a subschema, which is read later if it is new.
    fn add(
        &mut self,
        place: Option<(Id, String)>,
        value: &'r Value,
        resolver: &Resolver<'r>,
        draft: Draft,
    ) -> Result<Id, Broken> {
        if let Some(&known) = self.known.get(&std::ptr::from_ref(value)) {
            return Ok(known);
        }
        let id = Id(u32::try_from(self.table.len()).expect("the limit is far below"));
        let place_of = |(parent, step): &(Id, String)| format!("{}{step}", self.table.path(*parent));
        let broken = |what: String| Broken::new(place.as_ref().map_or(path::ROOT.to_owned(), place_of), what);
        if self.table.len() >= self.limits.types {
            return Err(broken(format!("there are more than {} subschemas: split the schema", self.limits.types)));
        }
        let draft = draft.detect(value);
        if draft == Draft::Unknown {
            return Err(broken("this draft is not known: use 4, 6, 7, 2019-09 or 2020-12".to_owned()));
        }
        let resolver = resolver
            .in_subresource(draft.create_resource_ref(value))
            .map_err(|fault| broken(format!("its id is no URI: {fault}")))?;
        self.known.insert(std::ptr::from_ref(value), id);
        self.table.nodes.push(Node::default());
        self.table.places.push(place);
        self.tasks.push(Task { id, value, resolver, draft });
        Ok(id)
    }

    fn read(&mut self, task: Task<'r>) -> Result<(), Broken> {
        let id = task.id;
        let mut node = Node {
            is_never: *task.value == Value::Bool(false),
            has_default: task.value.get("default").is_some(),
            ..Node::default()
        };
        if let Some(Value::String(reference)) = task.get("$ref") {
            node.all.push(self.target(&task, reference)?);
            // What stands beside a reference counts since 2019-09.
            if task.draft <= Draft::Draft7 {
                self.table.nodes[id.index()] = node;
                return Ok(());
            }
        }
        node.says = SAYS.iter().filter_map(|&name| Some((name, task.get(name)?.clone()))).collect();
        if task.draft == Draft::Draft4 {
            exclusive(&mut node.says);
        }
        node.here = self.anchor(&task)?;
        for keyword in ["anyOf", "oneOf"] {
            let list = self.list(&task, keyword)?;
            node.any.extend((!list.is_empty()).then_some((keyword, list)));
        }
        node.all.extend(self.list(&task, "allOf")?);
        node.named = self.map(&task, "properties")?;
        node.patterns = self.map(&task, "patternProperties")?;
        self.patterns += node.patterns.len() + usize::from(node.says.contains_key("pattern"));
        if self.patterns > self.limits.patterns {
            let what = format!("there are more than {} patterns: split the schema", self.limits.patterns);
            return Err(Broken::new(self.table.path(id), what));
        }
        node.other = self.part(&task, "additionalProperties")?;
        // Before 2020-12 a list under `items` was what is `prefixItems` now, and `additionalItems` what is `items`.
        let is_list = task.get("items").is_some_and(Value::is_array);
        node.first = self.list(&task, if is_list { "items" } else { "prefixItems" })?;
        node.rest = self.part(&task, if is_list { "additionalItems" } else { "items" })?;
        // Here only so that all of the text is looked at; what is used is referred to.
        for keyword in ["definitions", "$defs"] {
            self.map(&task, keyword)?;
        }
        for (keyword, about) in &OPAQUE {
            self.opaque(&task, keyword, about, &mut node)?;
        }
        self.table.nodes[id.index()] = node;
        Ok(())
    }

    fn opaque(&mut self, task: &Task<'r>, name: &'static str, about: &About, node: &mut Node) -> Result<(), Broken> {
        let Some(value) = task.get(name) else { return Ok(()) };
        // What is evaluated hangs on all that stands beside it.
        let is_all = name.starts_with("unevaluated");
        let text = document::canonical(if is_all { task.value } else { value });
        let refers = ["$ref\"", "$dynamicRef\"", "$recursiveRef\""].iter().any(|word| text.contains(word));
        node.opaque.insert(name, Opaque { text, is_whole: !refers && !name.starts_with('$') });
        let parts = match about {
            About::Nothing => return Ok(()),
            About::Here => &mut node.here,
            About::Within => &mut node.within,
        };
        match name {
            "dependencies" | "dependentSchemas" => parts.extend(self.map(task, name)?.into_values()),
            name => parts.extend(self.part(task, name)?),
        }
        Ok(())
    }

    /// What a reference names.
    fn target(&mut self, task: &Task<'r>, reference: &str) -> Result<Id, Broken> {
        match task.resolver.lookup(reference).map(Resolved::into_inner) {
            Ok((value, resolver, draft)) if *value != NOTHING => {
                self.add(Some((task.id, path::name("$ref"))), value, &resolver, draft)
            }
            _ => Err(Broken::new(
                self.table.path(task.id),
                format!(
                    "the reference {reference:?} leads nowhere: write it as it stands among the references, or define \
                     it here; nothing is fetched"
                ),
            )),
        }
    }

    /// Remembers that a dynamic reference may lead here, and which lead away from here. Answers where these lead at least.
    fn anchor(&mut self, task: &Task<'r>) -> Result<Vec<Id>, Broken> {
        let text = |name| task.get(name).and_then(Value::as_str);
        let recursive = (task.get("$recursiveAnchor") == Some(&Value::Bool(true))).then_some("");
        for name in [text("$dynamicAnchor"), recursive].into_iter().flatten() {
            self.anchors.entry(name.to_owned()).or_default().push(task.id);
        }
        let references = ["$dynamicRef", "$recursiveRef"].into_iter().filter_map(text);
        let targets = references.map(|reference| {
            self.dynamic.push((task.id, reference.rsplit('#').next().unwrap_or_default().to_owned()));
            self.target(task, reference)
        });
        targets.collect()
    }

    fn part(&mut self, task: &Task<'r>, name: &str) -> Result<Option<Id>, Broken> {
        let value = task.get(name).filter(|value| is_schema(value));
        value.map(|value| self.within(task, path::name(name), value)).transpose()
    }

    fn list(&mut self, task: &Task<'r>, name: &str) -> Result<Vec<Id>, Broken> {
        let values = task.get(name).and_then(Value::as_array).into_iter().flatten();
        let step = |at| format!("{}{}", path::name(name), path::index(at));
        (0..).zip(values).map(|(at, value)| self.within(task, step(at), value)).collect()
    }

    fn map(&mut self, task: &Task<'r>, name: &str) -> Result<BTreeMap<String, Id>, Broken> {
        let members = task.get(name).and_then(Value::as_object).into_iter().flatten();
        let step = |member: &str| format!("{}{}", path::name(name), path::name(member));
        let part =
            |(member, value): (&String, &'r Value)| Ok((member.clone(), self.within(task, step(member), value)?));
        members.filter(|(_, value)| is_schema(value)).map(part).collect()
    }

    fn within(&mut self, task: &Task<'r>, step: String, value: &'r Value) -> Result<Id, Broken> {
        self.add(Some((task.id, step)), value, &task.resolver, task.draft)
    }
}

fn is_schema(value: &Value) -> bool {
    value.is_object() || value.is_boolean()
}

/// Draft 4 has a bound and whether it belongs to what it bounds; later drafts have a bound of its own for what does not.
fn exclusive(says: &mut BTreeMap<&'static str, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if let Some(Value::Bool(is_exclusive)) = says.remove(exclusive)
            && is_exclusive
            && let Some(limit) = says.remove(bound)
        {
            says.insert(exclusive, limit);
        }
    }
}
