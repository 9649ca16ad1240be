//! What is registered in a namespace that moves, out and in.

use super::super::schemas;
use crate::{
    broker::{
        schemas::{Registered, StoredSubject, StoredVersion},
        transfer::{MovedSchema, MovedSchemas, MovedSubject},
    },
    model::Result,
    pb::v1 as pb,
};

/// Out.
pub fn answer(moved: MovedSchemas) -> pb::MovedSchemas {
    let MovedSchemas { schemas, subjects } = moved;
    pb::MovedSchemas {
        schemas: schemas.into_iter().map(moved_schema).collect(),
        subjects: subjects.into_iter().map(moved_subject).collect(),
    }
}

/// In.
pub fn parse(moved: pb::MovedSchemas) -> Result<MovedSchemas> {
    let pb::MovedSchemas { schemas, subjects } = moved;
    let schema = |(at, moved)| schema(moved).map_err(|error| error.within(format_args!("schemas[{at}]")));
    let subject = |(at, moved)| subject(moved).map_err(|error| error.within(format_args!("subjects[{at}]")));
    Ok(MovedSchemas {
        schemas: schemas.into_iter().enumerate().map(schema).collect::<Result<_>>()?,
        subjects: subjects.into_iter().enumerate().map(subject).collect::<Result<_>>()?,
    })
}

fn moved_schema(moved: MovedSchema) -> pb::MovedSchema {
    let MovedSchema { id, draft, digest } = moved;
    let registered = Registered { draft, subject: String::new(), version: 0, id, deleted: false };
    pb::MovedSchema { schema: Some(schemas::answer(registered)), digest }
}

fn schema(moved: pb::MovedSchema) -> Result<MovedSchema> {
    let pb::MovedSchema { schema, digest } = moved;
    let id = schema.as_ref().map_or(0, |schema| schema.id);
    Ok(MovedSchema { id, draft: schemas::parse(schema)?, digest })
}

fn moved_subject(moved: MovedSubject) -> pb::MovedSubject {
    let MovedSubject { name, subject: StoredSubject { versions, rules } } = moved;
    let version = |StoredVersion { version, id, deleted }: StoredVersion| pb::MovedVersion { version, id, deleted };
    let versions = versions.into_iter().map(version).collect();
    pb::MovedSubject { subject: name, versions, rules: rules.map(schemas::answer_rules) }
}

fn subject(moved: pb::MovedSubject) -> Result<MovedSubject> {
    let pb::MovedSubject { subject, versions, rules } = moved;
    let version = |pb::MovedVersion { version, id, deleted }: pb::MovedVersion| StoredVersion { version, id, deleted };
    let versions = versions.into_iter().map(version).collect();
    let rules = rules.map(schemas::parse_rules).transpose()?;
    Ok(MovedSubject { name: subject, subject: StoredSubject { versions, rules } })
}
