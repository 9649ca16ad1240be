//! `Broker.Pull` and `Broker.Acknowledge`: work that is taken once, and settled from anywhere.

use std::sync::Arc;

use http::HeaderMap;
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::{convert, settlements, wait};
use crate::{
    broker::{
        Broker,
        subscription::{Delivery, Pull},
    },
    model::{NamespaceName, Records, Result, SubscriptionName, Timestamp, limits},
    pb::v1 as pb,
};

/// Taken at a time if nobody says how many.
const PULLED: u32 = 100;

/// Takes what waits, once.
pub async fn pull(
    broker: &Arc<Broker>,
    request: pb::PullRequest,
    headers: &HeaderMap,
) -> Result<pb::PullResponse, Status> {
    let namespace = NamespaceName::parse(&request.namespace)?;
    let subscription = SubscriptionName::parse(&request.subscription).map_err(|error| error.field("subscription"))?;
    let mut max_wait = wait::parse(request.max_wait, headers)?;
    if request.include_backing_off {
        // Nobody else is handed anything meanwhile.
        max_wait = max_wait.min(wait::LONGEST);
    }
    let max_messages = match request.max_messages {
        0 => PULLED,
        most @ 1..=limits::WINDOW_MESSAGES => most,
        most => {
            let what = format!("is {most}: it takes 1 to {}", limits::WINDOW_MESSAGES);
            return Err(convert::invalid("max_messages", &what).into());
        }
    };
    let pull = Pull {
        namespace,
        subscription,
        max_messages,
        max_wait,
        auto: settlements::is_auto(request.ack_mode, "ack_mode")?,
        early: request.include_backing_off,
    };
    let (pulled, now, wall) = (broker.pull(pull).await?, Instant::now(), broker.now());
    Ok(pb::PullResponse {
        deliveries: pulled.deliveries.iter().map(|delivery| pulled_delivery(delivery, now, wall)).collect(),
        backlog_messages: pulled.backlog,
        gap: pulled.gap.map(convert::gap),
    })
}

/// Settles deliveries, from any connection.
pub async fn acknowledge(
    broker: &Arc<Broker>,
    request: pb::AcknowledgeRequest,
) -> Result<pb::AcknowledgeResponse, Status> {
    let namespace = NamespaceName::parse(&request.namespace)?;
    let subscription = SubscriptionName::parse(&request.subscription).map_err(|error| error.field("subscription"))?;
    settlements::check(&request.settlements)?;
    let words = settlements::words(&request.settlements);
    let refused = broker.acknowledge(&namespace, &subscription, words).await?;
    let told = refused.into_iter().map(|(ack_id, reason)| (ack_id, Err(reason)));
    Ok(pb::AcknowledgeResponse { refused: settlements::confirmations(told) })
}

fn pulled_delivery(delivery: &Delivery, now: Instant, wall: Timestamp) -> pb::Delivery {
    let record = Records::new(&delivery.record).next().and_then(Result::ok);
    let message = record.and_then(|record| pb::Message::decode(record.message()).ok());
    pb::Delivery {
        message: Some(message.unwrap_or_default()),
        ack_id: delivery.ack_id.map(|id| String::from_utf8_lossy(&id.encode()).into_owned()).unwrap_or_default(),
        attempt: delivery.attempt,
        ack_deadline: delivery
            .ack_id
            .map(|_| convert::timestamp(wall.plus(delivery.deadline.saturating_duration_since(now)))),
    }
}
