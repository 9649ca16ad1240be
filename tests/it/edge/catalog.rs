//! Subscriptions as clients see them: made, changed, paused and removed.

use tilde::pb::v1::{
    CreateSubscriptionRequest, DeleteSubscriptionRequest, ListSubscriptionsRequest, PauseSubscriptionRequest,
    SeekSubscriptionRequest, Subscription, UpdateSubscriptionRequest, subscription::State,
    subscriptions_client::SubscriptionsClient,
};

use super::*;

#[tokio::test]
async fn subscriptions_are_made_changed_and_removed() {
    let edge = Edge::start().await;
    let mut subscriptions = SubscriptionsClient::new(edge.channel.clone());
    let wanted = Subscription { name: "orders".into(), topics: vec!["b".into(), "a~".into()], ..Default::default() };
    let request = CreateSubscriptionRequest { subscription: Some(wanted.clone()) };
    let answer = subscriptions.create_subscription(request.clone()).await.unwrap().into_inner();
    let created = answer.subscription.unwrap();
    assert_eq!((answer.created, created.ack_deadline.unwrap().seconds), (true, 30));
    assert_eq!((created.topics.as_slice(), created.state()), (&["a~".into(), "b".into()][..], State::Active));
    let again = subscriptions.create_subscription(request).await.unwrap().into_inner();
    assert_eq!((again.created, again.subscription.unwrap()), (false, created.clone()));
    let other = Subscription { filter: "topic == \"a\"".into(), ..wanted };
    let other = CreateSubscriptionRequest { subscription: Some(other) };
    let refused = subscriptions.create_subscription(other).await.unwrap_err();
    let mismatch = "SUBSCRIPTION_MISMATCH";
    refusals::assert_refused(&refused, tonic::Code::AlreadyExists, mismatch, Some("subscription.name"));

    // An answer that is sent back with one change changes that.
    let changed = Subscription { max_outstanding_messages: Some(7), ..created.clone() };
    let request = UpdateSubscriptionRequest { subscription: Some(changed), update_mask: None };
    let updated = subscriptions.update_subscription(request.clone()).await.unwrap().into_inner().subscription.unwrap();
    assert_eq!(updated, Subscription { max_outstanding_messages: Some(7), etag: updated.etag.clone(), ..created });
    let stale = subscriptions.update_subscription(request).await.unwrap_err();
    refusals::assert_refused(&stale, tonic::Code::Aborted, "ETAG_MISMATCH", Some("subscription.etag"));

    let pause = PauseSubscriptionRequest { name: "orders".into(), ..Default::default() };
    subscriptions.pause_subscription(pause).await.unwrap();
    let request = ListSubscriptionsRequest { topic: "abc".into(), ..Default::default() };
    let listed = subscriptions.list_subscriptions(request).await.unwrap().into_inner().subscriptions;
    assert_eq!(listed.iter().map(Subscription::state).collect::<Vec<_>>(), [State::Paused]);
    let seek = SeekSubscriptionRequest { name: "orders".into(), ..Default::default() };
    let nowhere = subscriptions.seek_subscription(seek).await.unwrap_err();
    refusals::assert_refused(&nowhere, tonic::Code::InvalidArgument, "REQUEST_INVALID", Some("position"));

    let delete = DeleteSubscriptionRequest { name: "orders".into(), ..Default::default() };
    subscriptions.delete_subscription(delete.clone()).await.unwrap();
    let gone = subscriptions.delete_subscription(delete).await.unwrap_err();
    refusals::assert_refused(&gone, tonic::Code::NotFound, "SUBSCRIPTION_NOT_FOUND", Some("name"));
}
