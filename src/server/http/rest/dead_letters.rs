//! `GET /v1/subscriptions/{name}/dead-letters`: what a subscription gave up, as a stream that ends where there are no more.

use std::sync::Arc;

use http::{Response, request};
use tonic::{Status, body::Body};

use super::live;
use crate::{
    broker::{Broker, Subscribe},
    model::{Filter, PatternSet, Position},
    pb::v1 as pb,
    server::{http::query::Query, local::Local},
};

/// Of these topics, other subscriptions may have some, too.
const MINE: &str = "attributes[\"tilde-subscription\"]";

/// Answers with a stream.
pub async fn answer(
    broker: &Arc<Broker>,
    local: &Local,
    head: &request::Parts,
    name: &str,
) -> Result<Response<Body>, Status> {
    let form = live::accepted(&head.headers)?;
    let mut query = Query::of(&head.uri);
    let defaults = Subscribe { position: Position::Earliest, stop_at_end: true, ..live::everything()? };
    let asked = live::parse(defaults, &mut query, &head.headers, broker.now())?;
    let mut known = live::PARAMETERS.map(|(name, _)| name).to_vec();
    known.retain(|name| !matches!(*name, "topic" | "filter"));
    query.end(&known)?;
    let request = pb::GetSubscriptionRequest { name: name.to_owned(), namespace: asked.namespace.to_string() };
    let found: pb::GetSubscriptionResponse = local.ask("/tilde.v1.Subscriptions/GetSubscription", &request).await?;
    let topic = found.subscription.and_then(|found| found.dead_letter_policy).unwrap_or_default().topic;
    let filter = Filter::parse(&format!("{MINE} == {}", serde_json::Value::from(name)))?;
    live::stream(broker, Subscribe { patterns: PatternSet::parse(&[topic])?, filter, ..asked }, form).await
}
