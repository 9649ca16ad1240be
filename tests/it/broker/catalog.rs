//! Which subscriptions there are: created, changed, paused and deleted, and found again.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tilde::{
    broker::{Broker, Config, Described},
    clock::ManualClock,
    engine::{Engine, memory::MemoryEngine},
    model::{
        Cursor, Error, Namespace, NamespaceName, Position, Reason, Sequence, Subscription, SubscriptionName,
        SubscriptionState, Timestamp, Topic,
    },
    telemetry::Metrics,
};

use super::support::{Fixture, Setup};

fn space(name: &str) -> NamespaceName {
    NamespaceName::parse(name).unwrap()
}

fn name(name: &str) -> SubscriptionName {
    SubscriptionName::parse(name).unwrap()
}

fn wanted(called: &str, pattern: &str) -> Subscription {
    Subscription { patterns: vec![pattern.to_owned()], ..Subscription::new(name(called), space("")) }
}

/// A broker, and the engine below it.
struct Rig {
    fixture: Fixture,
    engine: Arc<MemoryEngine>,
}

impl Rig {
    async fn open() -> Rig {
        let mut below = None;
        let fixture = Setup::default().open_over(|engine| {
            below = Some(engine.clone());
            engine
        });
        let fixture = fixture.await;
        Rig { fixture, engine: below.unwrap() }
    }

    fn broker(&self) -> &Broker {
        &self.fixture.broker
    }

    async fn create(&self, subscription: Subscription) -> Described {
        let (described, created) = self.broker().create_subscription(subscription).await.unwrap();
        assert!(created);
        described
    }

    async fn refusal(&self, subscription: Subscription) -> Error {
        self.broker().create_subscription(subscription).await.unwrap_err()
    }

    /// What the state keeps of one.
    fn stored(&self, namespace: &str, name: &str) -> Option<Value> {
        let value = self.engine.state().get(&format!("subscription/{namespace}/{name}")).unwrap();
        value.map(|value| serde_json::from_slice(&value.bytes).unwrap())
    }

    async fn names(&self, topic: Option<&str>, after: &str, most: usize) -> Vec<String> {
        let topic = topic.map(|topic| Topic::parse(topic).unwrap());
        let rows = self.broker().list_subscriptions(&space(""), topic.as_ref(), after, most).await.unwrap();
        rows.iter().map(|row| row.subscription.name.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn creating_twice_is_creating_once() {
    let rig = Rig::open().await;
    let first = rig.create(wanted("orders", "orders/~")).await;
    assert_eq!((first.state, first.paused_until), (SubscriptionState::Active, None));
    let again = rig.broker().create_subscription(wanted("orders", "orders/~")).await.unwrap();
    assert_eq!(again, (first.clone(), false));
    rig.fixture.publish("orders/eu", "1").await;
    let (again, created) = rig.broker().create_subscription(wanted("orders", "orders/~")).await.unwrap();
    assert_eq!((created, again.stats.backlog_messages, &again.etag), (false, 1, &first.etag));
    assert_eq!(rig.broker().get_subscription(&space(""), &name("orders")).await.unwrap(), again);

    let other = Subscription { start: Position::Earliest, ..wanted("orders", "~") };
    let refusal = rig.refusal(other).await;
    assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::SubscriptionMismatch, Some("name")));
    assert!(refusal.message().contains(r#"topics has "orders/~", not "~", start is NEW, not EARLIEST"#), "{refusal}");
    assert_eq!(rig.stored("default", "orders").unwrap()["first"], 1, "it stays where it began");
    assert_eq!(rig.refusal(wanted("a", "\n")).await.violated_field(), Some("subscription.topics"));
}

#[tokio::test(start_paused = true)]
async fn where_it_begins_is_found_when_it_is_created() {
    let rig = Rig::open().await;
    let mut published = Vec::new();
    for topic in ["a", "b", "a", "b", "a"] {
        rig.fixture.clock.advance(Duration::from_secs(1));
        published.push(rig.fixture.publish(topic, "x").await);
    }
    let elsewhere = Cursor { log: tilde::model::LogId(1), ..published[2].cursor };
    let filtered = Subscription { filter: "topic == \"b\"".into(), ..wanted("filtered", "~") };
    let cases = [
        (Position::New, wanted("new", "~"), 6),
        (Position::Earliest, wanted("earliest", "~"), 1),
        (Position::At(Sequence(3)), wanted("at", "~"), 3),
        (Position::After(published[2].cursor), wanted("after", "~"), 4),
        (Position::After(elsewhere), wanted("elsewhere", "~"), 1),
        (Position::Time(published[3].publish_time), wanted("time", "~"), 4),
        (Position::Last(2), wanted("last", "a"), 3),
        (Position::Last(1), filtered, 4),
    ];
    for (start, subscription, first) in cases {
        let created = rig.create(Subscription { start, ..subscription }).await;
        assert_eq!(created.subscription.start, start);
        assert_eq!(rig.stored("default", created.subscription.name.as_str()).unwrap()["first"], first, "{start:?}");
    }
    let refusal = rig.refusal(Subscription { start: Position::LastPerTopic, ..wanted("newest", "~") }).await;
    assert_eq!(refusal.violated_field(), Some("subscription.start"));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_has_as_many_as_it_may() {
    let rig = Rig::open().await;
    let two = Namespace { max_subscriptions: Some(2), ..Namespace::new(space("team")) };
    rig.broker().create_namespace(two).await.unwrap();
    let here = |called: &str| Subscription { namespace: space("team"), ..wanted(called, "~") };
    rig.create(here("a")).await;
    rig.create(here("b")).await;
    let refusal = rig.refusal(here("c")).await;
    assert_eq!((refusal.reason(), refusal.metadata()), (Reason::QuotaExceeded, &[("limit", "2".to_owned())][..]));
    assert!(!rig.broker().create_subscription(here("b")).await.unwrap().1, "those there are found");
    rig.create(wanted("c", "~")).await;
    rig.broker().delete_subscription(&space("team"), &name("a")).await.unwrap();
    rig.create(here("c")).await;
    let nowhere = Subscription { namespace: space("nowhere"), ..wanted("a", "~") };
    assert_eq!(rig.refusal(nowhere).await.reason(), Reason::NamespaceNotFound);
}

#[tokio::test(start_paused = true)]
async fn they_are_listed_by_name_and_by_topic() {
    let rig = Rig::open().await;
    for (called, pattern) in [("c", "orders/~"), ("a", "orders/eu"), ("b/1", "~"), ("d", "$dead/b~")] {
        rig.create(wanted(called, pattern)).await;
    }
    assert_eq!(rig.names(None, "", 10).await, ["a", "b/1", "c", "d"]);
    assert_eq!(rig.names(None, "a", 2).await, ["b/1", "c"]);
    assert_eq!(rig.names(Some("orders/eu"), "", 10).await, ["a", "b/1", "c"]);
    assert_eq!(rig.names(Some("orders/us"), "b/1", 10).await, ["c"]);
    assert_eq!(rig.names(Some("$dead/b/1"), "", 10).await, ["d"]);
    let nowhere = rig.broker().list_subscriptions(&space("nowhere"), None, "", 1).await.unwrap_err();
    assert_eq!(nowhere.reason(), Reason::NamespaceNotFound);
}

#[tokio::test(start_paused = true)]
async fn changes_need_the_etag_in_force_and_leave_the_beginning() {
    let rig = Rig::open().await;
    let before = rig.create(wanted("orders", "a")).await;
    let (here, orders) = (space(""), name("orders"));
    let deadline = |seconds| {
        Box::new(move |subscription: &mut Subscription| {
            subscription.ack_deadline = Duration::from_secs(seconds);
            subscription.name = name("other");
            Ok(())
        })
    };
    let after = rig.broker().update_subscription(&here, &orders, &before.etag, deadline(60)).await.unwrap();
    assert_eq!((after.subscription.ack_deadline.as_secs(), after.subscription.name.as_str()), (60, "orders"));
    assert_eq!(rig.stored("default", "orders").unwrap()["ack_deadline_ns"], 60_000_000_000_u64);
    assert_eq!(rig.broker().get_subscription(&here, &orders).await.unwrap(), after);
    let stale = rig.broker().update_subscription(&here, &orders, &before.etag, deadline(70)).await.unwrap_err();
    assert_eq!(stale.reason(), Reason::EtagMismatch);
    let same = rig.broker().update_subscription(&here, &orders, "", deadline(60)).await.unwrap();
    assert_eq!(same.etag, after.etag);
    let bad = rig.broker().update_subscription(&here, &orders, "", deadline(0)).await.unwrap_err();
    assert_eq!(bad.violated_field(), Some("subscription.ack_deadline"));
    let start = Box::new(|subscription: &mut Subscription| {
        subscription.start = Position::Earliest;
        Ok(())
    });
    let fixed = rig.broker().update_subscription(&here, &orders, "", start).await.unwrap_err();
    assert_eq!(fixed.violated_field(), Some("subscription.start"));
    assert_eq!(rig.broker().get_subscription(&here, &orders).await.unwrap(), after);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_kept_and_ends_by_itself() {
    let rig = Rig::open().await;
    let (here, orders) = (space(""), name("orders"));
    let created = rig.create(wanted("orders", "a")).await;
    let state = async || {
        let described = rig.broker().get_subscription(&here, &orders).await.unwrap();
        (described.state, described.paused_until)
    };
    let now = Timestamp::from_nanos(1_800_000_000_000_000_000);
    let until = now.plus(Duration::from_secs(60));
    let late = rig.broker().pause_subscription(&here, &orders, Some(now)).await.unwrap_err();
    assert_eq!((late.reason(), late.violated_field()), (Reason::RequestInvalid, Some("until")));
    assert_eq!(state().await, (SubscriptionState::Active, None));

    rig.broker().pause_subscription(&here, &orders, Some(until)).await.unwrap();
    assert_eq!(state().await, (SubscriptionState::Paused, Some(until)));
    let stored = rig.stored("default", "orders").unwrap();
    assert_eq!((&stored["paused"], &stored["paused_until_ns"]), (&true.into(), &until.nanos().into()));
    assert_ne!(rig.broker().get_subscription(&here, &orders).await.unwrap().etag, created.etag);
    rig.fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(state().await, (SubscriptionState::Active, None));

    rig.broker().pause_subscription(&here, &orders, None).await.unwrap();
    assert_eq!(state().await, (SubscriptionState::Paused, None));
    for _ in 0..2 {
        rig.broker().resume_subscription(&here, &orders).await.unwrap();
        assert_eq!(state().await, (SubscriptionState::Active, None));
        assert_eq!(rig.stored("default", "orders").unwrap()["paused"], false);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_forgotten() {
    let rig = Rig::open().await;
    rig.broker().create_namespace(Namespace::new(space("team"))).await.unwrap();
    let state = rig.engine.state();
    for here in ["", "team"] {
        for called in ["a", "b"] {
            let created = rig.create(Subscription { namespace: space(here), ..wanted(called, "~") }).await;
            let key = format!("ledger/{}/{called}", created.subscription.namespace);
            state.put(&key, Vec::new(), 0).await.unwrap();
        }
    }
    rig.broker().delete_subscription(&space(""), &name("a")).await.unwrap();
    let again = rig.broker().delete_subscription(&space(""), &name("a")).await.unwrap_err();
    assert_eq!((again.reason(), again.violated_field()), (Reason::SubscriptionNotFound, Some("name")));
    assert!(again.message().contains("create it first"), "{again}");
    let keys = |prefix| state.list(prefix).unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys("ledger/"), ["ledger/default/b", "ledger/team/a", "ledger/team/b"]);

    rig.broker().delete_namespace(&space("team")).await.unwrap();
    assert_eq!(keys("ledger/"), ["ledger/default/b"]);
    assert_eq!(keys("subscription/"), ["subscription/default/b"]);
    rig.broker().create_namespace(Namespace::new(space("team"))).await.unwrap();
    let gone = rig.broker().get_subscription(&space("team"), &name("a")).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::SubscriptionNotFound);

    // What an earlier one of the same name left is not taken for its own.
    state.put("ledger/default/a", Vec::new(), 0).await.unwrap();
    rig.create(wanted("a", "~")).await;
    assert_eq!(keys("ledger/"), ["ledger/default/b"]);
}

#[tokio::test(start_paused = true)]
async fn they_are_found_again_at_opening() {
    let rig = Rig::open().await;
    rig.create(wanted("orders/eu", "orders/~")).await;
    rig.broker().pause_subscription(&space(""), &name("orders/eu"), None).await.unwrap();
    let kept = rig.engine.state().get("subscription/default/orders/eu").unwrap().unwrap();
    let before = rig.broker().get_subscription(&space(""), &name("orders/eu")).await.unwrap();

    let open = async |values: &[(&str, &[u8])]| {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH, 1));
        let engine = Arc::new(MemoryEngine::new(clock.clone()));
        for (key, value) in values {
            engine.state().put(key, value.to_vec(), 0).await.unwrap();
        }
        Broker::open(engine, clock, Arc::new(Metrics::default()), Config::default()).await
    };
    let nowhere = ("subscription/nowhere/a", &kept.bytes[..]);
    let broker = open(&[("subscription/default/orders/eu", &kept.bytes), nowhere]).await.unwrap();
    let after = broker.get_subscription(&space(""), &name("orders/eu")).await.unwrap();
    assert_eq!((after.subscription, after.state), (before.subscription, SubscriptionState::Paused));
    let nobody = broker.get_subscription(&space("nowhere"), &name("a")).await.unwrap_err();
    assert_eq!(nobody.reason(), Reason::NamespaceNotFound);

    let Err(refusal) = open(&[("subscription/default/a", b"{}")]).await else { panic!("damage was overlooked") };
    assert_eq!(refusal.reason(), Reason::StorageCorrupt);
}

#[tokio::test(start_paused = true)]
async fn one_is_moved_only_to_where_it_can_go() {
    let rig = Rig::open().await;
    let (here, orders) = (space(""), name("orders"));
    rig.create(wanted("orders", "a")).await;
    rig.broker().seek_subscription(&here, &orders, Position::Earliest, true).await.unwrap();
    let newest = rig.broker().seek_subscription(&here, &orders, Position::LastPerTopic, true).await.unwrap_err();
    assert_eq!((newest.reason(), newest.violated_field()), (Reason::SubscriptionInvalid, Some("position")));
    let missing = rig.broker().seek_subscription(&here, &name("other"), Position::New, false).await.unwrap_err();
    assert_eq!(missing.reason(), Reason::SubscriptionNotFound);
    assert_eq!(rig.broker().purge_subscription(&here, &name("other")).await.unwrap_err(), missing);
}
