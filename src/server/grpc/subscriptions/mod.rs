//! The `Subscriptions` service.

mod push;
pub mod settings;

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, PageRequest},
    wait,
};
use crate::{
    broker::{
        Broker, Described,
        subscription::{Explanation, Redrive, Standing},
    },
    model::{
        Error, NamespaceName, Result, Sequence, Subscription, SubscriptionName, SubscriptionState, SubscriptionStats,
        Topic,
    },
    pb::{server::subscriptions_server, v1 as pb},
    server::webhook::Webhooks,
};

/// Keeps the subscriptions.
#[derive(Clone)]
pub struct SubscriptionsService {
    /// Decides.
    pub broker: Arc<Broker>,
    /// Sends.
    pub webhooks: Arc<Webhooks>,
}

#[tonic::async_trait]
impl subscriptions_server::Subscriptions for SubscriptionsService {
    async fn create_subscription(
        &self,
        request: Request<pb::CreateSubscriptionRequest>,
    ) -> Result<Response<pb::CreateSubscriptionResponse>, Status> {
        let wanted = request.into_inner().subscription.unwrap_or_default();
        let (namespace, name) = target(&wanted.namespace, &wanted.name).map_err(within_subscription)?;
        let asked = settings::create(Subscription::new(name, namespace), &wanted)?;
        let (there, created) = self.broker.create_subscription(asked).await.map_err(within_subscription)?;
        Ok(Response::new(pb::CreateSubscriptionResponse { subscription: Some(answer(there)), created }))
    }

    async fn get_subscription(
        &self,
        request: Request<pb::GetSubscriptionRequest>,
    ) -> Result<Response<pb::GetSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let found = self.broker.get_subscription(&namespace, &name).await?;
        Ok(Response::new(pb::GetSubscriptionResponse { subscription: Some(answer(found)) }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<pb::ListSubscriptionsRequest>,
    ) -> Result<Response<pb::ListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let topic = Some(&*request.topic).filter(|topic| !topic.is_empty()).map(Topic::parse).transpose()?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let rows = self.broker.list_subscriptions(&namespace, topic.as_ref(), &page.after, page.wanted()).await?;
        let mut subscriptions: Vec<_> = rows.into_iter().map(answer).collect();
        let next_page_token = page.cut(&mut subscriptions, pb::Subscription::encoded_len, |row| &row.name);
        Ok(Response::new(pb::ListSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn update_subscription(
        &self,
        request: Request<pb::UpdateSubscriptionRequest>,
    ) -> Result<Response<pb::UpdateSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let wanted = request.subscription.unwrap_or_default();
        let (namespace, name) = target(&wanted.namespace, &wanted.name).map_err(within_subscription)?;
        let etag = wanted.etag.clone();
        let change = settings::change(Subscription::new(name.clone(), namespace.clone()), wanted, request.update_mask)?;
        let updating = self.broker.update_subscription(&namespace, &name, &etag, change);
        let updated = updating.await.map_err(within_subscription)?;
        Ok(Response::new(pb::UpdateSubscriptionResponse { subscription: Some(answer(updated)) }))
    }

    async fn delete_subscription(
        &self,
        request: Request<pb::DeleteSubscriptionRequest>,
    ) -> Result<Response<pb::DeleteSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        self.broker.delete_subscription(&namespace, &name).await?;
        Ok(Response::new(pb::DeleteSubscriptionResponse {}))
    }

    async fn seek_subscription(
        &self,
        request: Request<pb::SeekSubscriptionRequest>,
    ) -> Result<Response<pb::SeekSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        if request.position.as_ref().is_none_or(|position| position.position.is_none()) {
            let what = "is missing: say where to; PRESET_NEW skips all that waits";
            return Err(convert::invalid("position", what).into());
        }
        let position = convert::position(request.position, "position")?;
        let backlog_messages = self.broker.seek_subscription(&namespace, &name, position, request.dry_run).await?;
        Ok(Response::new(pb::SeekSubscriptionResponse { backlog_messages }))
    }

    async fn pause_subscription(
        &self,
        request: Request<pb::PauseSubscriptionRequest>,
    ) -> Result<Response<pb::PauseSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let until = request.until.map(|until| convert::parse_timestamp(until, "until")).transpose()?;
        self.broker.pause_subscription(&namespace, &name, until).await?;
        Ok(Response::new(pb::PauseSubscriptionResponse {}))
    }

    async fn resume_subscription(
        &self,
        request: Request<pb::ResumeSubscriptionRequest>,
    ) -> Result<Response<pb::ResumeSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        self.broker.resume_subscription(&namespace, &name).await?;
        Ok(Response::new(pb::ResumeSubscriptionResponse {}))
    }

    async fn purge_subscription(
        &self,
        request: Request<pb::PurgeSubscriptionRequest>,
    ) -> Result<Response<pb::PurgeSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let purged_messages = self.broker.purge_subscription(&namespace, &name).await?;
        Ok(Response::new(pb::PurgeSubscriptionResponse { purged_messages }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<pb::RedriveDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let redrive = Redrive {
            filter: request.filter,
            most: Some(request.max_messages).filter(|most| *most > 0),
            rate: Some(request.messages_per_second).filter(|rate| *rate != 0.0),
            dry_run: request.dry_run,
        };
        let redriven_messages = self.broker.redrive(&namespace, &name, redrive).await?;
        Ok(Response::new(pb::RedriveDeadLettersResponse { redriven_messages }))
    }

    async fn explain_delivery(
        &self,
        request: Request<pb::ExplainDeliveryRequest>,
    ) -> Result<Response<pb::ExplainDeliveryResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let max_wait = wait::parse(request.max_wait, &headers)?;
        let explaining = self.broker.explain_within(&namespace, &name, Sequence(request.sequence), max_wait);
        let explained = explaining.await?;
        Ok(Response::new(explanation(explained)))
    }

    async fn list_push_attempts(
        &self,
        request: Request<pb::ListPushAttemptsRequest>,
    ) -> Result<Response<pb::ListPushAttemptsResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let attempts = self.broker.push_attempts(&namespace, &name).await?;
        let attempts = attempts.into_iter().map(push::attempt).collect();
        Ok(Response::new(pb::ListPushAttemptsResponse { attempts }))
    }

    async fn resend_push(
        &self,
        request: Request<pb::ResendPushRequest>,
    ) -> Result<Response<pb::ResendPushResponse>, Status> {
        let request = request.into_inner();
        let (namespace, name) = target(&request.namespace, &request.name)?;
        let sent = self.webhooks.resend(&namespace, &name, &request.attempt_id).await?;
        Ok(Response::new(pb::ResendPushResponse { attempt: Some(push::attempt(sent)) }))
    }
}

/// Which subscription is meant.
fn target(namespace: &str, name: &str) -> Result<(NamespaceName, SubscriptionName)> {
    Ok((NamespaceName::parse(namespace)?, SubscriptionName::parse(name)?))
}

/// Puts the field that a refusal is about as a request calls it that gives a whole subscription.
fn within_subscription(error: Error) -> Error {
    match error.violated_field() {
        Some("namespace" | "name" | "etag") => error.within("subscription"),
        _ => error,
    }
}

fn answer(described: Described) -> pb::Subscription {
    use pb::subscription::State;
    let state = match described.state {
        SubscriptionState::Active => State::Active,
        SubscriptionState::Paused => State::Paused,
        SubscriptionState::Tripped => State::Tripped,
    };
    pb::Subscription {
        etag: described.etag,
        state: state.into(),
        paused_until: described.paused_until.map(convert::timestamp),
        state_reason: described.state_reason,
        stats: Some(stats(&described.stats)),
        ..settings::answer(&described.subscription)
    }
}

fn explanation(explained: Explanation) -> pb::ExplainDeliveryResponse {
    use pb::explain_delivery_response::Standing as Told;
    let standing = match explained.standing {
        Standing::NotFound => Told::NotFound,
        Standing::NotMatched => Told::NotMatched,
        Standing::Waiting => Told::Waiting,
        Standing::Scheduled => Told::Scheduled,
        Standing::Leased => Told::Leased,
        Standing::BackingOff => Told::BackingOff,
        Standing::Acked => Told::Acked,
        Standing::DeadLettered => Told::DeadLettered,
        Standing::Expired => Told::Expired,
        Standing::Skipped => Told::Skipped,
    };
    pb::ExplainDeliveryResponse {
        standing: standing.into(),
        explanation: explained.sentence,
        attempts: explained.attempts,
        consumer_id: explained.consumer.map(|name| name.to_string()).unwrap_or_default(),
        next_time: explained.next_time.map(convert::timestamp),
        last_reason: explained.last_reason.unwrap_or_default(),
    }
}

fn stats(stats: &SubscriptionStats) -> pb::SubscriptionStats {
    pb::SubscriptionStats {
        backlog_messages: stats.backlog_messages,
        backlog_bytes: stats.backlog_bytes,
        oldest_unacked_age: stats.oldest_unacked_age.map(convert::duration),
        outstanding_messages: stats.outstanding_messages,
        consumers: stats.consumers,
        acked: stats.acked,
        redelivered: stats.redelivered,
        dead_lettered: stats.dead_lettered,
        expired: stats.expired,
        removed_by_retention: stats.removed_by_retention,
        dropped: stats.dropped,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Reason, Timestamp};

    #[test]
    fn refusals_name_the_field_as_the_request_calls_it() {
        assert_eq!(target("A", "a").unwrap_err().violated_field(), Some("namespace"));
        let refusal = target("", "").unwrap_err();
        assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::SubscriptionInvalid, Some("name")));
        assert_eq!(within_subscription(refusal).violated_field(), Some("subscription.name"));
        let error = Error::new(Reason::SubscriptionInvalid, "x").field("subscription.filter");
        assert_eq!(within_subscription(error).violated_field(), Some("subscription.filter"));
    }

    #[test]
    fn an_answer_says_where_it_stands() {
        let subscription = Subscription::new(SubscriptionName::parse("orders").unwrap(), NamespaceName::default());
        let stats = SubscriptionStats {
            backlog_messages: 1,
            backlog_bytes: 2,
            oldest_unacked_age: Some(Duration::from_secs(3)),
            outstanding_messages: 4,
            consumers: 5,
            acked: 6,
            redelivered: 7,
            dead_lettered: 8,
            expired: 9,
            removed_by_retention: 10,
            dropped: 11,
        };
        let answered = answer(Described {
            subscription: subscription.into(),
            etag: "e".into(),
            state: SubscriptionState::Paused,
            state_reason: "why".into(),
            paused_until: Some(Timestamp::from_nanos(11)),
            stats,
        });
        let expected = pb::SubscriptionStats {
            backlog_messages: 1,
            backlog_bytes: 2,
            oldest_unacked_age: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            outstanding_messages: 4,
            consumers: 5,
            acked: 6,
            redelivered: 7,
            dead_lettered: 8,
            expired: 9,
            removed_by_retention: 10,
            dropped: 11,
        };
        assert_eq!((answered.stats, answered.etag.as_str()), (Some(expected), "e"));
        assert_eq!(answered.state_reason, "why");
        assert_eq!(answered.state, pb::subscription::State::Paused as i32);
        assert_eq!(answered.paused_until, Some(prost_types::Timestamp { seconds: 0, nanos: 11 }));
    }
}
