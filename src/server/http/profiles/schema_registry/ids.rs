//! Schemas by their ids, and all there are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{SchemaRegistry, asked::Asked, refusal::Refusal, words::Row};
use crate::pb::v1 as pb;

impl SchemaRegistry {
    pub(super) async fn id(&self, asked: &Asked<'_>) -> Result<Row, Refusal> {
        let id = asked.id()?;
        let mut row = Row { id: 0, ..self.find_id(asked, id).await?.into() };
        if asked.flag("fetchMaxId") {
            row.max_id = id;
            self.each("", 0, true, |schema| row.max_id = row.max_id.max(schema.id)).await?;
        }
        Ok(row)
    }

    pub(super) async fn id_subjects(&self, asked: &Asked<'_>) -> Result<Vec<String>, Refusal> {
        let rows = self.registered_as(asked).await?;
        let mut page = asked.page();
        let subjects: BTreeSet<_> = rows.into_iter().map(|(subject, _)| subject).collect();
        Ok(subjects.into_iter().filter(|subject| page.takes(subject.len())).collect())
    }

    pub(super) async fn id_versions(&self, asked: &Asked<'_>) -> Result<Vec<Value>, Refusal> {
        let rows = self.registered_as(asked).await?;
        let mut page = asked.page();
        let rows = rows.into_iter().filter(|(subject, _)| page.takes(subject.len()));
        Ok(rows.map(|(subject, version)| json!({ "subject": subject, "version": version })).collect())
    }

    pub(super) async fn schemas(&self, asked: &Asked<'_>) -> Result<Vec<Row>, Refusal> {
        let (prefix, latest_only) = (asked.prefix(), asked.flag("latestOnly"));
        let (mut rows, mut page, mut newest) = (Vec::<Row>::new(), asked.page(), None::<pb::Schema>);
        let mut take = |schema: pb::Schema| {
            if page.takes(schema.text.len()) {
                rows.push(schema.into());
            }
        };
        self.each("", 0, asked.wants_deleted(), |schema| {
            if !asked.wants(&schema) || !schema.subject.starts_with(&*prefix) {
                return;
            }
            // A subject's last one is its newest.
            match newest.replace(schema) {
                Some(before) if !latest_only || newest.as_ref().is_some_and(|next| next.subject != before.subject) => {
                    take(before);
                }
                _ => {}
            }
        })
        .await?;
        newest.into_iter().for_each(take);
        Ok(rows)
    }

    /// The subjects and versions that a schema is, which there must be.
    async fn registered_as(&self, asked: &Asked<'_>) -> Result<Vec<(String, u32)>, Refusal> {
        let (id, subject) = (asked.id()?, asked.value("subject").unwrap_or_default());
        let mut rows = Vec::new();
        self.each(&subject, id, asked.wants_deleted(), |schema| rows.push((schema.subject, schema.version))).await?;
        if rows.is_empty() {
            self.find_id(asked, id).await?;
        }
        Ok(rows)
    }

    async fn find_id(&self, asked: &Asked<'_>, id: u32) -> Result<pb::Schema, Refusal> {
        let (namespace, as_descriptor) = (self.namespace(), asked.wants_descriptor());
        let request = pb::GetSchemaRequest { namespace, id, as_descriptor, ..Default::default() };
        let found: pb::GetSchemaResponse = self.ask("/tilde.v1.Schemas/GetSchema", &request).await?;
        Ok(found.schema.unwrap_or_default())
    }
}
