//! Subjects and their versions: listed, registered, looked up, deleted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    SchemaRegistry,
    asked::{Asked, NEWEST},
    refusal::{self, Refusal},
    words::{Brought, Row},
};
use crate::{model::limits, pb::v1 as pb};

/// With this header a client says that it takes more than it knows.
const TAKES_MORE: &str = "confluent-accept-unknown-properties";
/// For the contract: all versions.
const ALL: u32 = 0;

impl SchemaRegistry {
    pub(super) async fn subjects(&self, asked: &Asked<'_>) -> Result<Vec<String>, Refusal> {
        let (prefix, mut found) = (asked.prefix(), BTreeSet::new());
        self.each("", 0, asked.wants_deleted(), |schema| {
            if asked.wants(&schema) && schema.subject.starts_with(&*prefix) {
                found.insert(schema.subject);
            }
        })
        .await?;
        let mut page = asked.page();
        Ok(found.into_iter().filter(|subject| page.takes(subject.len())).collect())
    }

    pub(super) async fn versions(&self, asked: &Asked<'_>) -> Result<Vec<u32>, Refusal> {
        let (mut found, mut is_there) = (Vec::new(), false);
        self.each(asked.subject(), 0, asked.wants_deleted(), |schema| {
            is_there = true;
            found.extend(asked.wants(&schema).then_some(schema.version));
        })
        .await?;
        if !is_there {
            return Err(no_subject(asked.subject()));
        }
        let mut page = asked.page();
        found.retain(|_| page.takes(size_of::<u32>()));
        Ok(found)
    }

    pub(super) async fn version(&self, asked: &Asked<'_>) -> Result<Row, Refusal> {
        Ok(self.find(asked, asked.version()?, asked.flag("deleted")).await?.into())
    }

    /// The ids of those that refer to a version.
    pub(super) async fn referenced_by(&self, asked: &Asked<'_>) -> Result<BTreeSet<u32>, Refusal> {
        let named = self.find(asked, asked.version()?, true).await?;
        let mut found = BTreeSet::new();
        self.each("", 0, false, |schema| {
            let mut references = schema.references.iter();
            if references.any(|used| used.subject == named.subject && used.version == named.version) {
                found.insert(schema.id);
            }
        })
        .await?;
        Ok(found)
    }

    pub(super) async fn register(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let request = pb::RegisterSchemaRequest {
            namespace: self.namespace(),
            subject: asked.subject().to_owned(),
            schema: Some(asked.json::<Brought>()?.registered()?),
        };
        let registered: pb::RegisterSchemaResponse = self.ask("/tilde.v1.Schemas/RegisterSchema", &request).await?;
        let pb::Schema { id, version, .. } = registered.schema.unwrap_or_default();
        // Older clients fail at what they do not know.
        Ok(match asked.header(TAKES_MORE) {
            true => json!({ "id": id, "version": version }),
            false => json!({ "id": id }),
        })
    }

    pub(super) async fn lookup(&self, asked: &Asked<'_>) -> Result<Row, Refusal> {
        let request = pb::LookupSchemaRequest {
            namespace: self.namespace(),
            subject: asked.subject().to_owned(),
            schema: Some(asked.json::<Brought>()?.schema()?),
            deleted: asked.flag("deleted"),
        };
        let found: pb::LookupSchemaResponse = self.ask("/tilde.v1.Schemas/LookupSchema", &request).await?;
        Ok(found.schema.unwrap_or_default().into())
    }

    pub(super) async fn delete_subject(&self, asked: &Asked<'_>) -> Result<Vec<u32>, Refusal> {
        self.delete(asked, ALL).await
    }

    pub(super) async fn delete_version(&self, asked: &Asked<'_>) -> Result<u32, Refusal> {
        let version = match asked.version()? {
            NEWEST => self.find(asked, NEWEST, asked.flag("permanent")).await?.version,
            version => version,
        };
        self.delete(asked, version).await?;
        Ok(version)
    }

    /// One version of a subject.
    pub(super) async fn find(&self, asked: &Asked<'_>, version: u32, deleted: bool) -> Result<pb::Schema, Refusal> {
        let request = pb::GetSchemaRequest {
            namespace: self.namespace(),
            subject: asked.subject().to_owned(),
            version,
            id: 0,
            deleted,
            as_descriptor: asked.wants_descriptor(),
        };
        let found: pb::GetSchemaResponse = self.ask("/tilde.v1.Schemas/GetSchema", &request).await?;
        Ok(found.schema.unwrap_or_default())
    }

    /// Goes through versions by subject and version: of one subject, if one is named, and of one id, if it is not 0. All
    /// their texts together may be more than there is room for.
    pub(super) async fn each(
        &self,
        subject: &str,
        id: u32,
        deleted: bool,
        mut see: impl FnMut(pb::Schema),
    ) -> Result<(), Refusal> {
        let mut request = pb::ListSchemasRequest {
            namespace: self.namespace(),
            subject: subject.to_owned(),
            id,
            deleted,
            page_size: limits::PAGE_ROWS as u32,
            page_token: String::new(),
        };
        loop {
            let page: pb::ListSchemasResponse = self.ask("/tilde.v1.Schemas/ListSchemas", &request).await?;
            page.schemas.into_iter().for_each(&mut see);
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Deletes, and tells apart for clients what is one to the broker.
    async fn delete(&self, asked: &Asked<'_>, version: u32) -> Result<Vec<u32>, Refusal> {
        let (subject, permanent) = (asked.subject().to_owned(), asked.flag("permanent"));
        let request = pb::DeleteSchemaRequest { namespace: self.namespace(), subject, version, permanent };
        let deleted = self.ask::<pb::DeleteSchemaResponse>("/tilde.v1.Schemas/DeleteSchema", &request).await;
        let refused = match deleted {
            Ok(deleted) => return Ok(deleted.versions),
            Err(refused) => refused,
        };
        match refused.number {
            refusal::SUBJECT_NOT_DELETED if version != ALL => Err(refused.renumbered(refusal::VERSION_NOT_DELETED)),
            refusal::NO_SUBJECT | refusal::NO_VERSION
                if !permanent && self.find(asked, version, true).await.is_ok() =>
            {
                let number = if version == ALL { refusal::SUBJECT_DELETED } else { refusal::VERSION_DELETED };
                Err(Refusal::new(number, "It was deleted before: permanent=true deletes it for good."))
            }
            _ => Err(refused),
        }
    }
}

fn no_subject(subject: &str) -> Refusal {
    Refusal::new(refusal::NO_SUBJECT, format!("Subject '{subject}' not found."))
}
