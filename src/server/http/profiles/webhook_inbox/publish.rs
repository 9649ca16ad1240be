//! Publishes, and waits until every subscriber has answered or has failed to.

use futures_util::future::join_all;
use http::{Response, StatusCode, request};
use serde_json::{Map, Value};
use tonic::{Status, body::Body};

use super::{Refused, Said, WebhookInbox, answer, json, say, subscribers::Subscriber};
use crate::{
    model::limits,
    pb::v1::{self as pb, explain_delivery_response::Standing, publish_request},
    server::{
        grpc::convert,
        http::{body, profiles::names},
    },
};

const DONE: &str = "Message has been sent to all subscribers";

impl WebhookInbox {
    pub(super) async fn publish(
        &self,
        head: &request::Parts,
        body: &mut Body,
        sent: &str,
    ) -> Result<Response<Body>, Refused> {
        let read = body::read(&head.headers, body, limits::REQUEST_BYTES).await?;
        let object = json::parse(&head.headers, &read, self.config.needs_content_type)?;
        let topic = sent.trim();
        if topic.is_empty() {
            return Err(Said::new(400, "Invalid topic, please try again").into());
        }
        let Some(object) = object.filter(|object| !object.is_empty()) else {
            return Err(Said::new(400, "No data found to send").into());
        };
        let subscribed = self.subscribed(topic).await?;
        if subscribed.is_empty() && self.config.needs_subscribers {
            return Err(Said::new(404, format!("No subscribers found for topic {topic}")).into());
        }
        let sequence = self.store(topic, object).await?;
        let reached = join_all(subscribed.iter().map(|one| self.has_reached(one, sequence))).await;
        let failed: Vec<_> =
            subscribed.into_iter().zip(reached).filter(|(_, reached)| !reached).map(|(one, _)| one.url).collect();
        if failed.is_empty() {
            return Ok(say(StatusCode::OK, DONE));
        }
        let text =
            format!("Message could not be delivered to {}: it waits for them, and is tried again", failed.join(", "));
        let said = [("message", Value::from(text)), ("failed", failed.into())];
        let said: Map<_, _> = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, &said.into()))
    }

    /// Answers the message's sequence.
    async fn store(&self, topic: &str, object: json::Object) -> Result<u64, Status> {
        let request = pb::PublishRequest {
            topic: names::topic(topic.as_bytes()),
            payload: Some(publish_request::Payload::Text(self.body(topic, object))),
            content_type: "application/json".to_owned(),
            namespace: self.namespace(),
            ..Default::default()
        };
        let published: pb::PublishResponse = self.local.ask("/tilde.v1.Broker/Publish", &request).await?;
        Ok(published.sequence)
    }

    /// What subscribers are sent.
    fn body(&self, topic: &str, mut object: json::Object) -> String {
        if self.config.has_envelope {
            let mut envelope = json::Object::default();
            envelope.put("topic", json::text(topic));
            envelope.put("data", serde_json::value::to_raw_value(&object).expect("it was JSON"));
            object = envelope;
        } else {
            let time = self.local.now();
            object.put("topic", json::text(topic));
            object.put("message_timestamp_utc", json::text(&time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()));
        }
        serde_json::to_string(&object).expect("it was JSON")
    }

    /// Whether a subscriber has taken a message, once that is decided.
    async fn has_reached(&self, one: &Subscriber, sequence: u64) -> bool {
        let request = pb::ExplainDeliveryRequest {
            name: one.name.clone(),
            namespace: self.namespace(),
            sequence,
            max_wait: Some(convert::duration(self.config.timeout)),
        };
        let path = "/tilde.v1.Subscriptions/ExplainDelivery";
        match self.local.ask::<pb::ExplainDeliveryResponse>(path, &request).await {
            Ok(stands) => stands.standing == i32::from(Standing::Acked),
            Err(refused) => {
                tracing::debug!(url = one.url, error = refused.message(), "webhook-inbox: a subscriber is not known");
                false
            }
        }
    }
}
