//! Namespaces and topics.

use std::{sync::Arc, time::Duration};

use tilde::{
    broker::{Broker, Config, Publish, Subscribe},
    clock::ManualClock,
    engine::{Batch, Engine, LogSettings, memory::MemoryEngine},
    model::{Durability, Namespace, NamespaceName, Pattern, Reason, Timestamp, Topic, limits},
    telemetry::Metrics,
};

use super::support::{Fixture, earliest, open, publish, rest, subscribe, texts};

fn name(name: &str) -> NamespaceName {
    NamespaceName::parse(name).unwrap()
}

async fn names(fixture: &Fixture, after: &str, most: usize) -> Vec<String> {
    let rows = fixture.broker.list_namespaces(after, most).await.unwrap();
    rows.iter().map(|row| row.namespace.name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_default_is_there_and_stays() {
    let fixture = open().await;
    assert_eq!(names(&fixture, "", 10).await, ["default"]);
    let found = fixture.broker.get_namespace(&name("default")).await.unwrap();
    assert_eq!(found.namespace, Namespace::new(name("default")));
    let refusal = fixture.broker.delete_namespace(&name("default")).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::RequestInvalid);
}

#[tokio::test(start_paused = true)]
async fn creating_twice_is_creating_once() {
    let fixture = open().await;
    let settings = Namespace { max_streams: Some(3), ..Namespace::new(name("team")) };
    let (first, created) = fixture.broker.create_namespace(settings.clone()).await.unwrap();
    assert!(created);
    assert_eq!(fixture.broker.create_namespace(settings.clone()).await.unwrap(), (first.clone(), false));
    let other = Namespace { max_streams: None, max_age: Duration::from_secs(60), ..settings };
    let refusal = fixture.broker.create_namespace(other).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::NamespaceExists);
    assert!(refusal.message().contains("max_age is 604800s, not 60s, max_streams is 3, not unlimited"), "{refusal}");
    assert_eq!(fixture.broker.get_namespace(&name("team")).await.unwrap(), first);
    fixture.broker.create_namespace(Namespace::new(name("a"))).await.unwrap();
    assert_eq!(names(&fixture, "", 2).await, ["a", "default"]);
    assert_eq!(names(&fixture, "default", 2).await, ["team"]);
}

#[tokio::test(start_paused = true)]
async fn settings_have_bounds() {
    let fixture = open().await;
    let good = Namespace::new(name("team"));
    let bad = [
        ("max_age", Namespace { max_age: Duration::from_millis(999), ..good.clone() }),
        ("max_bytes", Namespace { max_bytes: 1000, ..good.clone() }),
        ("deduplication_window", Namespace { deduplication_window: Duration::from_secs(86_401), ..good.clone() }),
        ("max_messages_per_second", Namespace { max_messages_per_second: Some(0), ..good.clone() }),
        ("durability", Namespace { durability: Durability::Replicated, ..good.clone() }),
    ];
    for (field, settings) in bad {
        let refusal = fixture.broker.create_namespace(settings).await.unwrap_err();
        assert_eq!(refusal.violated_field(), Some(format!("namespace.{field}").as_str()));
    }
    let change = Box::new(|namespace: &mut Namespace| {
        namespace.max_bytes = 0;
        Ok(())
    });
    let refusal = fixture.broker.update_namespace(&name("default"), "", change).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::NamespaceInvalid);
    assert_eq!(names(&fixture, "", 9).await, ["default"]);
}

#[tokio::test(start_paused = true)]
async fn changes_take_effect_and_need_the_etag_in_force() {
    let fixture = open().await;
    let team = name("team");
    let (before, _) = fixture.broker.create_namespace(Namespace::new(team.clone())).await.unwrap();
    let one_stream = || {
        Box::new(|namespace: &mut Namespace| {
            namespace.max_streams = Some(1);
            Ok(())
        })
    };
    let after = fixture.broker.update_namespace(&team, &before.etag, one_stream()).await.unwrap();
    assert_ne!(after.etag, before.etag);
    assert_eq!(after.namespace.max_streams, Some(1));
    let refusal = fixture.broker.update_namespace(&team, &before.etag, one_stream()).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::EtagMismatch);
    assert_eq!(fixture.broker.update_namespace(&team, "", one_stream()).await.unwrap(), after, "nothing changed");

    let here = || Subscribe { namespace: team.clone(), ..subscribe(&["~"]) };
    let (stream, _) = fixture.subscribe(here()).await;
    assert_eq!(fixture.refusal(here()).await.reason(), Reason::TooManyStreams);
    drop(stream);
    fixture.subscribe(here()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_does_not_come_back() {
    let fixture = open().await;
    let team = name("team");
    let here = || Publish { namespace: Some(team.clone()), ..publish("t", "old") };
    fixture.broker.create_namespace(Namespace::new(team.clone())).await.unwrap();
    let old = fixture.broker.publish(here()).await.unwrap();
    fixture.broker.delete_namespace(&team).await.unwrap();
    assert_eq!(fixture.broker.publish(here()).await.unwrap_err().reason(), Reason::NamespaceNotFound);
    assert_eq!(fixture.broker.delete_namespace(&team).await.unwrap_err().reason(), Reason::NamespaceNotFound);
    assert!(!fixture.metrics.render().contains("team"));

    fixture.broker.create_namespace(Namespace::new(team.clone())).await.unwrap();
    let again = Subscribe { namespace: team.clone(), stop_at_end: true, ..earliest(&["~"]) };
    let (mut stream, begun) = fixture.subscribe(again).await;
    assert!(rest(&mut stream).await.is_empty());
    assert_ne!(begun.cursor.log, old.cursor.log);
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_found_again_at_opening() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH, 1));
    let engine = Arc::new(MemoryEngine::new(clock.clone()));
    let stored = br#"{"version":1,"max_age_ns":1000000000,"max_bytes":1048576,"durability":"memory",
        "deduplication_window_ns":0,"max_messages_per_second":null,"max_bytes_per_second":null,"max_streams":7,
        "max_subscriptions":null}"#;
    engine.state().put("namespace/team", stored.to_vec(), 0).await.unwrap();
    let broker = Broker::open(engine, clock, Arc::new(Metrics::default()), Config::default()).await.unwrap();
    assert_eq!(broker.get_namespace(&name("team")).await.unwrap().namespace.max_streams, Some(7));
    assert!(broker.get_namespace(&name("default")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn topics_are_listed_told_and_purged() {
    let fixture = open().await;
    for topic in ["a/1", "a/2", "b", "a/1"] {
        fixture.publish(topic, topic).await;
    }
    let space = NamespaceName::default();
    let prefix = Pattern::parse("a/~").unwrap();
    let listed = fixture.broker.list_topics(&space, &prefix, "", 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|row| (row.name.as_str(), row.messages)).collect::<Vec<_>>(),
        [("a/1", 2), ("a/2", 1)]
    );
    assert_eq!(fixture.broker.get_topic(&space, &Topic::parse("a/1").unwrap()).await.unwrap(), listed[0]);
    let missing = fixture.broker.get_topic(&space, &Topic::parse("a").unwrap()).await.unwrap_err();
    assert_eq!(missing.reason(), Reason::TopicNotFound);

    assert_eq!(fixture.broker.purge_topics(&space, &prefix, None, true).await.unwrap().messages, 3);
    assert_eq!(fixture.broker.purge_topics(&space, &prefix, None, false).await.unwrap().messages, 3);
    let (mut stream, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..earliest(&["~"]) }).await;
    assert_eq!(texts(&rest(&mut stream).await), ["b"]);
}

/// Opens a broker over what an earlier one left.
async fn reopen(engine: Arc<MemoryEngine>, clock: Arc<ManualClock>) -> Arc<Broker> {
    Broker::open(engine, clock, Arc::new(Metrics::default()), Config::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_of_a_namespace_is_told_from_one_whose_settings_are_lost() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1_800_000_000_000_000_000), 7));
    let engine = Arc::new(MemoryEngine::new(clock.clone()));
    let settings = |name: &NamespaceName| LogSettings::from(&Namespace::new(name.clone()));
    for (left, holds) in [("created", false), ("deleted", true), ("lost", true)] {
        let log = engine.log(&name(left), settings(&name(left))).await.unwrap();
        if holds {
            let mut batch = Batch::new(Durability::Memory);
            batch.push(&publish("t", left).message, limits::MESSAGE_BYTES, None).unwrap();
            log.append(batch).await.unwrap().iter().next().unwrap().unwrap();
        }
    }
    engine.state().put("deleted/deleted", Vec::new(), 0).await.unwrap();
    let broker = reopen(engine.clone(), clock).await;
    let found = broker.list_namespaces("", 10).await.unwrap();
    let names: Vec<_> = found.iter().map(|found| found.namespace.name.as_str()).collect();
    assert_eq!(names, ["default", "lost"]);
    assert_eq!(found[1].namespace.max_bytes, u64::MAX, "it keeps everything");
    assert_eq!(engine.logs().unwrap().len(), 2, "nothing is left of the others");
    assert!(engine.state().list("deleted/").unwrap().is_empty());
    let lost = Subscribe { namespace: name("lost"), stop_at_end: true, ..earliest(&["~"]) };
    let mut stream = broker.subscribe(lost).await.unwrap();
    assert_eq!(texts(&rest(&mut stream).await), ["lost"]);
}
