//! What is known of the values that a writer's schema allows at one place: the subschemas that all hold there, and what
//! follows from their keywords. Never sees a reader's schema.

use serde_json::{Number, Value};

use super::{
    kinds::Kinds,
    table::{Id, Node, Table},
};

/// The values at one place. Nothing is known of them if no subschema is there.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    table: &'a Table,
    /// What was asked for, in order, before it was taken apart: the same ids mean the same values.
    pub roots: Vec<Id>,
    /// Subschemas that all hold, each alone without what it refers to.
    parts: Vec<Id>,
    /// Lists of which one subschema holds, that have not been told apart yet.
    unions: Vec<&'a [Id]>,
    pub kinds: Kinds,
}

impl<'a> Writer<'a> {
    /// The values for which all of these hold.
    pub fn new(table: &'a Table, roots: impl IntoIterator<Item = Id>) -> Self {
        let mut writer = Writer { table, roots: Vec::new(), parts: Vec::new(), unions: Vec::new(), kinds: Kinds::ALL };
        roots.into_iter().for_each(|root| writer.add(root));
        writer
    }

    /// This holds too. What holds twice is there once, so that what comes round again is seen to.
    fn add(&mut self, root: Id) {
        if let Err(at) = self.roots.binary_search(&root) {
            self.roots.insert(at, root);
        }
        let mut left = vec![root];
        while let Some(id) = left.pop() {
            if self.parts.contains(&id) {
                continue;
            }
            let node = self.table.get(id);
            left.extend(&node.all);
            self.unions.extend(node.any.iter().map(|(_, list)| list.as_slice()));
            self.kinds = self.kinds & node.kinds();
            self.parts.push(id);
        }
    }

    /// Whether there are no values.
    pub fn is_never(&self) -> bool {
        self.kinds.is_empty() || self.parts().any(|part| part.is_never)
    }

    /// Whether none of its values is of one of these kinds.
    pub fn is_without(&self, kinds: Kinds) -> bool {
        self.is_never() || !self.kinds.meets(kinds)
    }

    /// One writer for each alternative of one union, if there is a union.
    pub fn split(&self) -> Option<Vec<Writer<'a>>> {
        let (last, unions) = self.unions.split_last()?;
        let alternative = |&id: &Id| {
            let mut writer = Writer { unions: unions.to_vec(), ..self.clone() };
            writer.add(id);
            writer
        };
        Some(last.iter().map(alternative).collect())
    }

    /// One writer for each kind of its values, if there are several.
    pub fn by_kind(&self) -> Option<Vec<Writer<'a>>> {
        let each: Vec<_> = self.kinds.each().map(|kinds| Writer { kinds, ..self.clone() }).collect();
        (each.len() > 1).then_some(each)
    }

    pub fn parts(&self) -> impl Iterator<Item = &'a Node> {
        self.parts.iter().map(|&id| self.table.get(id))
    }

    /// What the parts say by a keyword.
    pub fn said(&self, keyword: &str) -> impl Iterator<Item = &'a Value> {
        self.parts().filter_map(move |part| part.says.get(keyword))
    }

    pub fn requires(&self, name: &str) -> bool {
        self.said("required").filter_map(Value::as_array).flatten().any(|required| required == name)
    }

    /// All the values, if they are few.
    pub fn values(&self) -> Option<Vec<&'a Value>> {
        let listed = self.parts().find_map(Node::values)?;
        Some(listed.into_iter().filter(|value| Kinds::of(value).meets(self.kinds)).collect())
    }

    /// The least that the values can be by a keyword and how it is measured. More is stricter.
    pub fn least(&self, keyword: &str, measure: fn(&Value) -> Option<f64>) -> Option<f64> {
        let said = self.said(keyword).filter_map(Value::as_f64).reduce(f64::max);
        let counted = || self.values()?.into_iter().filter_map(measure).reduce(f64::min);
        said.or_else(counted)
    }

    /// The most that they can be. Less is stricter.
    pub fn most(&self, keyword: &str, measure: fn(&Value) -> Option<f64>) -> Option<f64> {
        let said = self.said(keyword).filter_map(Value::as_f64).reduce(f64::min);
        let counted = || self.values()?.into_iter().filter_map(measure).reduce(f64::max);
        said.or_else(counted)
    }

    /// The values of a member.
    pub fn member(&self, name: &str) -> Writer<'a> {
        let of = |part: &'a Node| match part.named.get(name) {
            Some(&named) => Some(named),
            // What a pattern may name is not among the others.
            None => part.other.filter(|_| part.patterns.is_empty()),
        };
        Writer::new(self.table, self.parts().filter_map(of))
    }

    /// The values of members that nothing names.
    pub fn others(&self) -> Writer<'a> {
        Writer::new(self.table, self.parts().filter_map(|part| part.other))
    }

    /// The values of members that a pattern names.
    pub fn pattern(&self, pattern: &str) -> Option<Writer<'a>> {
        let ids: Vec<Id> = self.parts().filter_map(|part| part.patterns.get(pattern).copied()).collect();
        (!ids.is_empty()).then(|| Writer::new(self.table, ids))
    }

    /// The values of the item at an index.
    pub fn item(&self, index: usize) -> Writer<'a> {
        Writer::new(self.table, self.parts().filter_map(|part| part.first.get(index).copied().or(part.rest)))
    }
}

impl Node {
    /// The kinds of values that it allows.
    pub fn kinds(&self) -> Kinds {
        let named = self.says.get("type").map_or(Kinds::ALL, Kinds::named);
        let listed =
            self.values().map_or(Kinds::ALL, |values| values.into_iter().map(Kinds::of).fold(Kinds::NONE, Kinds::with));
        named & listed
    }

    /// All values that it allows, if it lists them.
    pub fn values(&self) -> Option<Vec<&Value>> {
        match (self.says.get("const"), self.says.get("enum")) {
            (Some(value), _) => Some(vec![value]),
            (None, Some(Value::Array(values))) => Some(values.iter().collect()),
            _ => None,
        }
    }
}

/// A number is as large as it is.
pub fn number(value: &Value) -> Option<f64> {
    value.as_number().and_then(Number::as_f64)
}

/// A string is as long as it has characters.
pub fn length(value: &Value) -> Option<f64> {
    value.as_str().map(|text| text.chars().count() as f64)
}

/// An array has its items.
pub fn items(value: &Value) -> Option<f64> {
    value.as_array().map(|items| items.len() as f64)
}

/// An object has its members.
pub fn members(value: &Value) -> Option<f64> {
    value.as_object().map(|members| members.len() as f64)
}
