//! What is taken, and what every refusal says.

use std::time::Duration;

use tilde::{
    broker::{Config, Publish, Subscribe},
    model::{Durability, Error, Namespace, NamespaceName, Reason, Sequence},
};

use super::support::{Setup, earliest, open, publish, rest, texts};

#[tokio::test(start_paused = true)]
async fn an_answer_is_worth_what_was_asked_for_or_refused() {
    let fixture = Setup { strongest: Durability::Written, ..Setup::default() }.open().await;
    let ask = async |durability| fixture.broker.publish(Publish { durability, ..publish("t", "") }).await;
    assert_eq!(ask(None).await.unwrap().durability, Durability::Written, "SYNCED, as far as it can be given");
    assert!(ask(Some(Durability::Memory)).await.unwrap().durability >= Durability::Memory);
    let refusal = ask(Some(Durability::Synced)).await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::DurabilityUnavailable, Some("durability")));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_must_exist() {
    let fixture = open().await;
    let namespace = NamespaceName::parse("team").unwrap();
    let refusal = fixture.broker.publish(Publish { namespace: Some(namespace), ..publish("t", "") }).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::NamespaceNotFound);
    assert!(refusal.message().contains("tilde namespace create team"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_is_kept() {
    let fixture = open().await;
    let brief = Publish { ttl: Some(Duration::from_secs(10)), ..publish("t", "brief") };
    fixture.broker.publish(brief).await.unwrap();
    fixture.publish("t", "lasting").await;
    for ttl in [Duration::ZERO, Duration::from_secs(366 * 86_400)] {
        let refusal = fixture.broker.publish(Publish { ttl: Some(ttl), ..publish("t", "") }).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::MessageInvalid, Some("ttl")));
    }
    let all = async || {
        let (mut stream, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..earliest(&["~"]) }).await;
        texts(&rest(&mut stream).await)
    };
    assert_eq!(all().await, ["brief", "lasting"]);
    fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(all().await, ["lasting"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_a_result_for_each_in_its_order() {
    let fixture = open().await;
    let other = NamespaceName::parse("other").unwrap();
    fixture.broker.create_namespace(Namespace::new(other.clone())).await.unwrap();
    let broken = Error::new(Reason::TopicInvalid, "no topic");
    let missing = Publish { namespace: Some(NamespaceName::parse("missing").unwrap()), ..publish("t", "") };
    let there = |text| Ok(Publish { namespace: Some(other.clone()), ..publish("t", text) });
    let large = publish("t", &"x".repeat(2 << 20));
    let batch = vec![
        Ok(publish("t", "0")),
        there("1"),
        Err(broken.clone()),
        Ok(missing),
        Ok(large),
        Ok(publish("t", "2")),
        there("3"),
    ];
    let results = fixture.broker.publish_batch(batch, false).await.unwrap();
    let sequences: Vec<_> =
        results.iter().map(|result| result.as_ref().map(|taken| taken.sequence.0).map_err(Error::reason)).collect();
    use Reason::{MessageTooLarge, NamespaceNotFound, TopicInvalid};
    let expected = [Ok(1), Ok(1), Err(TopicInvalid), Err(NamespaceNotFound), Err(MessageTooLarge), Ok(2), Ok(2)];
    assert_eq!(sequences, expected);
    let logs: Vec<_> = results.iter().flatten().map(|taken| taken.cursor.log).collect();
    assert!(logs[0] == logs[2] && logs[1] == logs[3] && logs[0] != logs[1]);
}

#[tokio::test(start_paused = true)]
async fn an_atomic_batch_is_taken_whole_or_refused_by_its_first() {
    let fixture = open().await;
    let conflict = Publish { expected_last_sequence: Some(Sequence(9)), ..publish("u", "") };
    let elsewhere = Publish { namespace: Some(NamespaceName::parse("other").unwrap()), ..publish("t", "") };
    let cases = [
        (Ok(conflict), Reason::SequenceConflict, "requests[1].expected_last_sequence"),
        (Ok(elsewhere), Reason::RequestInvalid, "requests[1].namespace"),
        (Err(Error::new(Reason::TopicInvalid, "no").field("topic")), Reason::TopicInvalid, "requests[1].topic"),
        (Ok(publish("t", &"x".repeat(2 << 20))), Reason::MessageTooLarge, "requests[1]"),
    ];
    for (bad, reason, field) in cases {
        let batch = vec![Ok(publish("t", "good")), bad];
        let refusal = fixture.broker.publish_batch(batch, true).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.violated_field()), (reason, Some(field)));
    }
    let taken = fixture.broker.publish_batch(vec![Ok(publish("t", "a")), Ok(publish("t", "b"))], true).await.unwrap();
    let sequences: Vec<_> = taken.into_iter().map(|result| result.unwrap().sequence.0).collect();
    assert_eq!(sequences, [1, 2], "nothing was taken before");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_1_to_1000_messages() {
    let fixture = open().await;
    for count in [0, 1001] {
        let batch = vec![Ok(publish("t", "")); count];
        let refusal = fixture.broker.publish_batch(batch, false).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::RequestInvalid, Some("requests")));
    }
    assert_eq!(fixture.broker.publish_batch(vec![Ok(publish("t", "")); 1000], false).await.unwrap().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_says_when_to_come_back() {
    let fixture = open().await;
    let namespace = NamespaceName::parse("slow").unwrap();
    let settings = Namespace { max_messages_per_second: Some(2), ..Namespace::new(namespace.clone()) };
    fixture.broker.create_namespace(settings).await.unwrap();
    let send =
        async || fixture.broker.publish(Publish { namespace: Some(namespace.clone()), ..publish("t", "") }).await;
    send().await.unwrap();
    send().await.unwrap();
    let refusal = send().await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.retry_delay()), (Reason::RateLimited, Some(Duration::from_millis(500))));
    tokio::time::advance(Duration::from_millis(500)).await;
    send().await.unwrap();

    let batch = vec![Ok(Publish { namespace: Some(namespace.clone()), ..publish("t", "") }); 3];
    let results = fixture.broker.publish_batch(batch, false).await.unwrap();
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.reason() == Reason::RateLimited)));
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_all_that_may_wait_is_taken_alone() {
    let config = Config { pending_bytes: 100, ..Config::default() };
    let fixture = Setup { config, ..Setup::default() }.open().await;
    let large = "x".repeat(10_000);
    let batch = vec![Ok(publish("t", &large)); 3];
    let results = fixture.broker.publish_batch(batch, false).await.unwrap();
    assert!(results.iter().all(Result::is_ok));
    fixture.publish("t", &large).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_counted() {
    let fixture = open().await;
    let with_id = || {
        let mut publish = publish("t", "");
        publish.message.message_id = "id".into();
        publish
    };
    fixture.broker.publish(with_id()).await.unwrap();
    assert!(fixture.broker.publish(with_id()).await.unwrap().duplicate);
    let wrong = Publish { expected_last_sequence: Some(Sequence(9)), ..publish("t", "") };
    fixture.broker.publish(wrong.clone()).await.unwrap_err();
    let batch = vec![Ok(publish("t", "")), Ok(wrong), Ok(publish("t", &"x".repeat(2 << 20)))];
    fixture.broker.publish_batch(batch, false).await.unwrap();
    let (stream, _) = fixture.subscribe(Subscribe { max_messages: 1, ..earliest(&["t"]) }).await;
    let metrics = fixture.metrics.namespace(&NamespaceName::default());
    assert_eq!(metrics.streams.get(), 1);
    rest(&mut { stream }).await;
    assert_eq!((metrics.published_messages.get(), metrics.refused_messages.get()), (2, 3));
    assert_eq!((metrics.delivered_messages.get(), metrics.streams.get()), (1, 0));
    assert!(metrics.delivered_bytes.get() > 0 && metrics.published_bytes.get() > metrics.delivered_bytes.get());
}
