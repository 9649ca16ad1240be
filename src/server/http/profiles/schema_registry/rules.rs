//! The rules of a subject, or of all that have none of their own: compatibility (`/config`) and mode (`/mode`). The contract
//! has both in one: a change names the one that it is about, and leaves the other as it is.

use prost_types::FieldMask;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    SchemaRegistry,
    asked::Asked,
    refusal::{self, Refusal},
};
use crate::pb::v1::{self as pb, SchemaRules};

/// The rules, as the contract calls them.
const COMPATIBILITY: &str = "compatibility";
const READ_ONLY: &str = "read_only";
/// Nothing of its own.
const NONE: SchemaRules = SchemaRules { compatibility: 0, read_only: None };
/// What the contract's words for levels begin with.
const LEVEL: &str = "COMPATIBILITY_";
/// What is in force where nobody said anything.
const DEFAULT: pb::Compatibility = pb::Compatibility::Backward;

/// A mode.
#[derive(Deserialize)]
struct Mode {
    mode: Option<String>,
}

impl SchemaRegistry {
    pub(super) async fn config(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let level = self.rule(asked, refusal::NO_CONFIG, level).await?;
        Ok(json!({ "compatibilityLevel": word(level.unwrap_or(DEFAULT)) }))
    }

    pub(super) async fn set_config(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let level = parse_level(asked.json()?)?;
        self.change(asked.subject(), COMPATIBILITY, SchemaRules { compatibility: level.into(), ..NONE }).await?;
        Ok(json!({ "compatibility": word(level) }))
    }

    pub(super) async fn delete_config(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let level = self.rule(asked, refusal::NO_SUBJECT, level).await?;
        self.change(asked.subject(), COMPATIBILITY, NONE).await?;
        Ok(json!({ "compatibilityLevel": word(level.unwrap_or(DEFAULT)) }))
    }

    pub(super) async fn mode(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let read_only = self.rule(asked, refusal::NO_MODE, |rules| rules.read_only).await?;
        Ok(told(read_only.unwrap_or_default()))
    }

    pub(super) async fn set_mode(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let mode = asked.json::<Mode>()?.mode.unwrap_or_default();
        let read_only = match mode.to_ascii_uppercase().as_str() {
            "READWRITE" => false,
            "READONLY" => true,
            _ => {
                let message = format!("Invalid mode {mode:?}. Valid values are READWRITE and READONLY");
                return Err(Refusal::new(refusal::INVALID_MODE, message));
            }
        };
        self.change(asked.subject(), READ_ONLY, SchemaRules { read_only: Some(read_only), ..NONE }).await?;
        Ok(told(read_only))
    }

    pub(super) async fn delete_mode(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let read_only = self.rule(asked, refusal::NO_SUBJECT, |rules| rules.read_only).await?;
        self.change(asked.subject(), READ_ONLY, NONE).await?;
        Ok(told(read_only.unwrap_or_default()))
    }

    /// One rule of the subject, or of all if it has none and the query says so. `none` is the refusal if nothing says it.
    async fn rule<T>(
        &self,
        asked: &Asked<'_>,
        none: u32,
        of: impl Fn(&SchemaRules) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let subject = asked.subject();
        match of(&self.rules(subject).await?) {
            None if asked.flag("defaultToGlobal") => Ok(of(&self.rules("").await?)),
            None if !subject.is_empty() => Err(Refusal::new(none, format!("Subject '{subject}' has none of its own."))),
            own => Ok(own),
        }
    }

    async fn rules(&self, subject: &str) -> Result<SchemaRules, Refusal> {
        let request = pb::GetSchemaRulesRequest { namespace: self.namespace(), subject: subject.to_owned() };
        let found: pb::GetSchemaRulesResponse = self.ask("/tilde.v1.Schemas/GetSchemaRules", &request).await?;
        Ok(found.rules.unwrap_or_default())
    }

    /// Changes one rule; `rules` has no other.
    async fn change(&self, subject: &str, rule: &str, rules: SchemaRules) -> Result<(), Refusal> {
        let request = pb::UpdateSchemaRulesRequest {
            namespace: self.namespace(),
            subject: subject.to_owned(),
            rules: Some(rules),
            update_mask: Some(FieldMask { paths: vec![rule.to_owned()] }),
        };
        self.ask::<pb::UpdateSchemaRulesResponse>("/tilde.v1.Schemas/UpdateSchemaRules", &request).await?;
        Ok(())
    }
}

fn level(rules: &SchemaRules) -> Option<pb::Compatibility> {
    Some(rules.compatibility()).filter(|level| *level != pb::Compatibility::Unspecified)
}

fn word(level: pb::Compatibility) -> &'static str {
    level.as_str_name().trim_start_matches(LEVEL)
}

fn told(read_only: bool) -> Value {
    json!({ "mode": if read_only { "READONLY" } else { "READWRITE" } })
}

/// The level of a configuration that says nothing besides, but for how to compare, which is always by meaning.
fn parse_level(mut config: Map<String, Value>) -> Result<pb::Compatibility, Refusal> {
    let refused = |message: String| Err(Refusal::new(refusal::INVALID_LEVEL, message));
    let said = ["compatibility", "compatibilityLevel"].map(|name| config.remove(name));
    config.remove("normalize");
    if let Some((name, _)) = config.iter().find(|(_, value)| !value.is_null()) {
        return refused(format!("{name:?} is not kept here: only compatibility can be set"));
    }
    let said =
        said.into_iter().flatten().find_map(|value| value.as_str().map(str::to_ascii_uppercase)).unwrap_or_default();
    let level = pb::Compatibility::from_str_name(&format!("{LEVEL}{said}"));
    match level.filter(|level| *level != pb::Compatibility::Unspecified) {
        Some(level) => Ok(level),
        None => refused(format!(
            "Invalid compatibility level {said:?}. Valid values are NONE, BACKWARD, FORWARD, FULL, BACKWARD_TRANSITIVE, \
             FORWARD_TRANSITIVE, and FULL_TRANSITIVE"
        )),
    }
}
