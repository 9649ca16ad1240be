//! Messages that are delivered later: when, once, in which order, and across restarts. On paused time, with a clock that
//! is moved by hand.

use std::{sync::Arc, time::Duration};

use super::support::{Fixture, all, earliest, event, is_silent, messages, open, publish, subscribe};
use tilde::{
    broker::{Broker, Change, Config, LiveStream, Publish, subscription::Standing},
    clock::{Clock as _, ManualClock},
    engine::{
        Engine as _,
        log::{self, LogEngine},
    },
    model::{NamespaceName, Pattern, Position, Reason, Records, Sequence, Subscription, SubscriptionName, Timestamp},
    telemetry::Metrics,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A message for later.
fn at(time: Timestamp, topic: &str, text: &str) -> Publish<'static> {
    let mut publish = publish(topic, text);
    publish.message.deliver_time = Some(time);
    publish
}

impl Fixture {
    /// When it is so much later.
    fn ahead(&self, by: Duration) -> Timestamp {
        self.clock.now().plus(by)
    }

    async fn refusal_of(&self, publish: Publish<'_>) -> (Reason, String) {
        let error = self.broker.publish(publish).await.unwrap_err();
        (error.reason(), error.violated_field().unwrap_or_default().to_owned())
    }
}

/// The texts of the next messages, so many.
async fn texts_of(stream: &mut LiveStream, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        texts.extend(messages(&event(stream).await).into_iter().map(|(_, _, text)| text));
    }
    texts
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_when_it_is_due_and_not_before() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["~"])).await;
    let time = fixture.ahead(DAY);
    let published = fixture.broker.publish(at(time, "reminders/7", "call")).await.unwrap();
    assert_eq!(published.sequence, Sequence(1));
    fixture.clock.advance(DAY - Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_silent(&mut stream).await, "a second is left");
    fixture.clock.advance(Duration::from_secs(1));
    let event = event(&mut stream).await;
    assert_eq!(messages(&event), [(Sequence(2), "reminders/7".to_owned(), "call".to_owned())]);
    let record = Records::new(&event.runs[0]).next().unwrap().unwrap();
    assert_eq!(record.deliver_time(), Some(time));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(all(&fixture.broker, "~").await.len(), 1, "once");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_over_publishes_at_once() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["~"])).await;
    for time in [Timestamp::EPOCH, fixture.clock.now()] {
        fixture.broker.publish(at(time, "t", "now")).await.unwrap();
        assert_eq!(texts_of(&mut stream, 1).await, ["now"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_earliest_comes_first_and_what_is_due_together_keeps_its_order() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["~"])).await;
    let (soon, later) = (fixture.ahead(DAY), fixture.ahead(2 * DAY));
    for (time, text) in [(later, "c"), (soon, "a"), (later, "d"), (soon, "b")] {
        fixture.broker.publish(at(time, "t", text)).await.unwrap();
    }
    fixture.clock.advance(3 * DAY);
    assert_eq!(texts_of(&mut stream, 4).await, ["a", "b", "c", "d"]);

    // More than are published at a time.
    let time = fixture.ahead(DAY);
    let texts: Vec<_> = (0..1_200).map(|n| n.to_string()).collect();
    for text in &texts {
        fixture.broker.publish(at(time, "t", text)).await.unwrap();
    }
    fixture.clock.advance(DAY);
    assert_eq!(texts_of(&mut stream, 1_200).await, texts);
}

/// On disk, and in real time but for the clock: the log has threads of its own.
#[tokio::test]
async fn once_across_restarts_also_if_the_broker_was_down_when_it_was_due() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1_800_000_000_000_000_000), 7));
    let place = tempfile::tempdir().unwrap();
    let open = async || {
        // Its threads leave the files a moment after their engine has gone.
        let engine = loop {
            match LogEngine::open(place.path(), log::Config::default(), clock.clone()) {
                Ok(engine) => break Arc::new(engine),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let broker = Broker::open(engine.clone(), clock.clone(), Arc::new(Metrics::default()), Config::default());
        (broker.await.unwrap(), engine)
    };
    let close = async |broker: Arc<Broker>, engine: Arc<LogEngine>| {
        broker.drain(Duration::ZERO).await;
        engine.close().await.unwrap();
    };
    let (broker, engine) = open().await;
    for (days, text) in [(1, "one"), (2, "two"), (3, "three"), (5, "five")] {
        broker.publish(at(clock.now().plus(days * DAY), "t", text)).await.unwrap();
    }
    clock.advance(DAY);
    let mut stream = broker.subscribe(earliest(&["t"])).await.unwrap();
    assert_eq!(texts_of(&mut stream, 1).await, ["one"]);
    drop(stream);
    close(broker, engine).await;

    clock.advance(2 * DAY);
    let (broker, engine) = open().await;
    let mut stream = broker.subscribe(earliest(&["t"])).await.unwrap();
    assert_eq!(texts_of(&mut stream, 3).await, ["one", "two", "three"]);
    drop(stream);
    close(broker, engine).await;

    clock.advance(2 * DAY);
    let (broker, _engine) = open().await;
    let mut stream = broker.subscribe(earliest(&["t"])).await.unwrap();
    assert_eq!(texts_of(&mut stream, 4).await, ["one", "two", "three", "five"]);
}

#[tokio::test(start_paused = true)]
async fn its_ttl_begins_when_it_is_delivered() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["~"])).await;
    let publish = Publish { ttl: Some(DAY), ..at(fixture.ahead(2 * DAY), "t", "x") };
    fixture.broker.publish(publish).await.unwrap();
    fixture.clock.advance(2 * DAY);
    assert_eq!(texts_of(&mut stream, 1).await, ["x"]);
    fixture.clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(all(&fixture.broker, "t").await.len(), 1);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(all(&fixture.broker, "t").await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn purging_takes_it_back() {
    let fixture = open().await;
    for topic in ["a", "b"] {
        fixture.broker.publish(at(fixture.ahead(DAY), topic, "x")).await.unwrap();
    }
    let pattern = Pattern::parse("$scheduled/a").unwrap();
    fixture.broker.purge_topics(&NamespaceName::default(), &pattern, None, false).await.unwrap();
    fixture.clock.advance(DAY);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let left = all(&fixture.broker, "~").await;
    assert_eq!(left.into_iter().map(|(_, topic, _)| topic).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn one_whose_id_was_used_meanwhile_is_left_out_and_holds_up_nobody() {
    let fixture = open().await;
    let mut scheduled = at(fixture.ahead(Duration::from_secs(30)), "t", "later");
    scheduled.message.message_id = "id".into();
    fixture.broker.publish(scheduled).await.unwrap();
    fixture.broker.publish(at(fixture.ahead(Duration::from_secs(31)), "t", "last")).await.unwrap();
    let mut now = publish("t", "now");
    now.message.message_id = "id".into();
    fixture.broker.publish(now).await.unwrap();
    fixture.clock.advance(Duration::from_secs(40));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let texts: Vec<_> = all(&fixture.broker, "t").await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["now", "last"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_gets_it_when_it_is_due_and_explains_it_before() {
    let fixture = open().await;
    let name = SubscriptionName::parse("work").unwrap();
    let mut subscription = Subscription::new(name.clone(), NamespaceName::default());
    subscription.set_patterns(["jobs/~".to_owned()]);
    let subscription = Subscription { start: Position::Earliest, ..subscription };
    fixture.broker.create_subscription(subscription).await.unwrap();
    let time = fixture.ahead(DAY);
    fixture.broker.publish(at(time, "jobs/a", "x")).await.unwrap();
    fixture.broker.publish(at(time, "other", "x")).await.unwrap();
    let explain =
        async |sequence| fixture.broker.explain(&NamespaceName::default(), &name, Sequence(sequence)).await.unwrap();
    let told = explain(1).await;
    assert_eq!((told.standing, told.next_time), (Standing::Scheduled, Some(time)));
    assert!(told.sentence.contains("jobs/a"), "{}", told.sentence);
    assert_eq!(explain(2).await.standing, Standing::NotMatched);
    fixture.clock.advance(DAY);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = explain(1).await;
    assert_eq!((told.standing, told.next_time), (Standing::NotMatched, None));
    assert!(told.sentence.contains("it was published to jobs/a"), "{}", told.sentence);
    assert_eq!(explain(3).await.standing, Standing::Waiting);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_so_long_is_refused() {
    let fixture = open().await;
    let invalid = |field: &str| (Reason::MessageInvalid, field.to_owned());
    let far = at(fixture.ahead(366 * DAY), "t", "x");
    assert_eq!(fixture.refusal_of(far).await, invalid("deliver_time"));
    let kept = at(fixture.ahead(7 * DAY), "t", "x");
    assert_eq!(fixture.refusal_of(kept.clone()).await, invalid("deliver_time"));
    let expected = Publish { expected_last_sequence: Some(Sequence(0)), ..at(fixture.ahead(DAY), "t", "x") };
    assert_eq!(fixture.refusal_of(expected).await, invalid("expected_last_sequence"));
    let long = at(fixture.ahead(DAY), &"t".repeat(1_014), "x");
    assert_eq!(fixture.refusal_of(long).await, invalid("topic"));
    fixture.broker.publish(at(fixture.ahead(DAY), &"t".repeat(1_013), "x")).await.unwrap();

    let longer: Change = Box::new(|namespace| {
        namespace.max_age = 8 * DAY;
        Ok(())
    });
    fixture.broker.update_namespace(&NamespaceName::default(), "", longer).await.unwrap();
    fixture.broker.publish(kept).await.unwrap();
}
