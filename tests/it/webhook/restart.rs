//! A broker that is killed in the middle.

use std::collections::BTreeSet;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_is_killed_in_the_middle() {
    const MESSAGES: usize = 200;
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let mut rig = Rig::start();
    rig.create(&target.url, &["--push-max-in-flight", "4", "--push-secret", SECRET, "--ack-deadline", "2s"]);
    rig.publish(0..MESSAGES);
    let mut came = BTreeSet::new();
    let mut ids = BTreeSet::new();
    while came.len() < MESSAGES {
        let push = target.soon().await;
        assert!(push.headers.contains_key("webhook-signature"));
        ids.insert(push.header("webhook-id").to_owned());
        if came.insert(push.text()) && came.len() == MESSAGES / 4 {
            rig.restart("127.0.0.0/8");
        }
    }
    assert_eq!(ids.len(), MESSAGES, "what came twice has the same id");
    rig.shows("the end", |shown| shown["stats"]["backlog_messages"] == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_finishes_what_is_in_flight() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let mut target = Receiver::start_late(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Reply::of(200)
        }
    })
    .await;
    let mut rig = Rig::start();
    rig.create(&target.url, &["--push-max-in-flight", "1"]);
    rig.publish(["one", "two"]);
    assert_eq!(target.soon().await.text(), "one");
    let broker = rig.broker.take().unwrap();
    broker.signal(rustix::process::Signal::TERM);
    soon("the drain", async {
        while !broker.logged().contains("draining") {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    open.send(true).unwrap();
    tokio::task::spawn_blocking(|| broker.wait().ok()).await.unwrap();
    rig.broker = Some(start(&rig.place, "127.0.0.0/8"));
    let next = target.soon().await;
    assert_eq!((next.text().as_str(), &next.json()["attempt"]), ("two", &1.into()), "what was in flight was settled");
    rig.shows("the end", |shown| shown["stats"]["acked"] == 2).await;
}
