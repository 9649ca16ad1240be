//! Whether a schema could be a subject's next version.

use serde_json::{Value, json};

use super::{
    SchemaRegistry,
    asked::{Asked, NEWEST},
    refusal::{self, Refusal},
    words::Brought,
};
use crate::pb::v1 as pb;

/// For the contract: with those that the subject's compatibility says.
const AS_SAID: u32 = 0;

impl SchemaRegistry {
    pub(super) async fn compatible(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        self.compare(asked, AS_SAID).await
    }

    /// With one version only.
    pub(super) async fn compatible_with(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let version = match asked.version()? {
            NEWEST => match self.find(asked, NEWEST, false).await {
                // Anything may be the first.
                Err(refused) if refused.number == refusal::NO_SUBJECT => AS_SAID,
                found => found?.version,
            },
            version => version,
        };
        self.compare(asked, version).await
    }

    async fn compare(&self, asked: &Asked<'_>, version: u32) -> Result<Value, Refusal> {
        let request = pb::CheckCompatibilityRequest {
            namespace: self.namespace(),
            subject: asked.subject().to_owned(),
            schema: Some(asked.json::<Brought>()?.schema()?),
            version,
        };
        let told: pb::CheckCompatibilityResponse = self.ask("/tilde.v1.Schemas/CheckCompatibility", &request).await?;
        Ok(match asked.flag("verbose") {
            true => json!({ "is_compatible": told.compatible, "messages": told.problems }),
            false => json!({ "is_compatible": told.compatible }),
        })
    }
}
