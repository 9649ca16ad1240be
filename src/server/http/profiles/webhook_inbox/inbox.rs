//! What could not be delivered, for those who ask for it: leased to them, and settled when they say so.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode, request};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tonic::{Code, Status, body::Body};

use super::{Refused, Said, WebhookInbox, answer, json as object, subscribers::Subscriber};
use crate::{
    model::limits,
    pb::v1::{self as pb, message},
    server::{
        grpc::convert,
        http::{body, query::Query},
    },
};

/// Messages handed out at a time, unless `max` says otherwise, and at most.
const MESSAGES: u32 = 100;
const MOST_MESSAGES: u32 = 1_000;
/// Between the name of a subscription and what it calls a delivery.
const MARK: char = '.';

/// A message that waits.
#[derive(serde::Serialize)]
struct Waiting {
    ack_id: String,
    message: Box<RawValue>,
}

/// What is settled.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settled {
    url: String,
    ack_ids: Vec<String>,
}

impl WebhookInbox {
    /// Leases what waits for a URL, from the oldest on.
    pub(super) async fn inbox(&self, head: &request::Parts) -> Result<Response<Body>, Refused> {
        let mut query = Query::of(&head.uri);
        let told = |error: crate::model::Error| Refused::Said(Said::new(400, error.message()));
        let url = query.take("url").map_err(told)?.unwrap_or_default();
        let count = |text: &str| text.parse().ok().filter(|most| (1..=MOST_MESSAGES).contains(most));
        let most = query.take_as("max", "1 to 1000", count).map_err(told)?.unwrap_or(MESSAGES);
        query.end(&["url", "max"]).map_err(told)?;
        let subscribed = self.known(url.trim()).await?;
        let mut waiting = Vec::new();
        for one in &subscribed {
            waiting.extend(self.lease(one, most).await?);
        }
        waiting.sort_by_key(|(sequence, _)| *sequence);
        let messages: Vec<_> = waiting.into_iter().map(|(_, waiting)| waiting).collect();
        let messages =
            serde_json::value::to_raw_value(&messages).map_err(|error| Status::internal(error.to_string()))?;
        let mut said = object::Object::default();
        said.put("messages", messages);
        let said = serde_json::to_string(&said).map_err(|error| Status::internal(error.to_string()))?;
        let mut response = answer(StatusCode::OK, &Value::Null);
        *response.body_mut() = Body::new(http_body_util::Full::from(said));
        Ok(response)
    }

    /// Settles what was leased.
    pub(super) async fn acknowledge(&self, head: &request::Parts, body: &mut Body) -> Result<Response<Body>, Refused> {
        let read = body::read(&head.headers, body, limits::REQUEST_BYTES).await?;
        object::parse(&head.headers, &read, self.config.needs_content_type)?;
        let settled: Settled = serde_json::from_slice(&read).map_err(|error| {
            Said::new(400, format!("Send {{\"url\": …, \"ack_ids\": […]}} as the inbox gave them: {error}"))
        })?;
        let subscribed = self.known(settled.url.trim()).await?;
        let (mut acknowledged, mut refused) = (settled.ack_ids.len(), Vec::new());
        for one in &subscribed {
            let front = mark(&one.name);
            let ids = settled.ack_ids.iter().filter_map(|id| id.strip_prefix(&front)).map(str::to_owned);
            let ids: Vec<_> = ids.collect();
            if !ids.is_empty() {
                refused.extend(self.settle(one, ids).await?.into_iter().map(|id| format!("{front}{id}")));
            }
        }
        let fronts: Vec<_> = subscribed.iter().map(|one| mark(&one.name)).collect();
        let strange = settled.ack_ids.into_iter().filter(|id| !fronts.iter().any(|front| id.starts_with(front)));
        refused.extend(strange);
        acknowledged -= refused.len();
        let message = match refused.len() {
            0 => format!("{acknowledged} messages are acknowledged"),
            count => format!(
                "{acknowledged} messages are acknowledged; {count} were not handed out to this URL, or too long ago: ask the \
                 inbox again"
            ),
        };
        Ok(answer(StatusCode::OK, &json!({ "message": message, "refused": refused })))
    }

    async fn known(&self, url: &str) -> Result<Vec<Subscriber>, Refused> {
        if url.is_empty() {
            return Err(Said::new(400, "Say whose inbox is meant: ?url=…, as it was subscribed").into());
        }
        let subscribed = self.subscribed_by(url).await?;
        match subscribed.is_empty() {
            true => Err(Said::new(404, format!("{url} is subscribed to no topic")).into()),
            false => Ok(subscribed),
        }
    }

    async fn lease(&self, one: &Subscriber, most: u32) -> Result<Vec<(u64, Waiting)>, Refused> {
        let request = pb::PullRequest {
            subscription: one.name.clone(),
            max_messages: most,
            namespace: self.namespace(),
            // What is being pushed just now is either delivered or waits, then.
            max_wait: Some(convert::duration(self.config.timeout)),
            include_backing_off: true,
            ..Default::default()
        };
        let pulled: pb::PullResponse = match self.local.ask("/tilde.v1.Broker/Pull", &request).await {
            Err(refused) if refused.code() == Code::FailedPrecondition => {
                return Err(Said::new(409, format!("{} said that it is gone: subscribe it again", one.url)).into());
            }
            pulled => pulled?,
        };
        let front = mark(&one.name);
        Ok(pulled.deliveries.into_iter().map(|delivery| waiting(delivery, &front)).collect())
    }

    /// Answers those that were refused.
    async fn settle(&self, one: &Subscriber, ack_ids: Vec<String>) -> Result<Vec<String>, Status> {
        let request = pb::AcknowledgeRequest {
            subscription: one.name.clone(),
            settlements: vec![pb::Settlement { ack_ids, verdict: pb::Verdict::Ack.into(), ..Default::default() }],
            namespace: self.namespace(),
        };
        let answered: pb::AcknowledgeResponse = self.local.ask("/tilde.v1.Broker/Acknowledge", &request).await?;
        Ok(answered.refused.into_iter().flat_map(|refused| refused.ack_ids).collect())
    }
}

fn mark(name: &str) -> String {
    format!("{}{MARK}", URL_SAFE_NO_PAD.encode(name))
}

/// A message as it was to be pushed; a text, if somebody else published what is no JSON.
fn waiting(delivery: pb::Delivery, front: &str) -> (u64, Waiting) {
    let message = delivery.message.unwrap_or_default();
    let text = match message.payload {
        Some(message::Payload::Text(text)) => text,
        Some(message::Payload::Data(data)) => String::from_utf8_lossy(&data).into_owned(),
        None => String::new(),
    };
    let payload = RawValue::from_string(text.clone()).unwrap_or_else(|_| object::text(&text));
    (message.sequence, Waiting { ack_id: format!("{front}{}", delivery.ack_id), message: payload })
}
