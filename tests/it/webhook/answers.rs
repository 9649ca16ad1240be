//! What each answer does to the message.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Instant, SystemTime},
};

use super::*;
use crate::support::ports::free_address;

/// Answers the first so, and all that follow with 200.
async fn first(reply: Reply) -> Receiver {
    let count = AtomicUsize::new(0);
    Receiver::start(move |_| if count.fetch_add(1, Ordering::SeqCst) == 0 { reply.clone() } else { Reply::of(200) })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_settles() {
    let mut target = Receiver::start(|_| Reply::of(204)).await;
    let rig = Rig::start();
    // With one in flight they come in order.
    rig.create(&target.url, &["--push-max-in-flight", "1"]);
    rig.publish(["one", "two"]);
    for (text, sequence) in [("one", "1"), ("two", "2")] {
        let came = target.soon().await;
        assert_eq!((came.method.as_str(), came.path.as_str()), ("POST", "/"));
        let said = came.json();
        assert_eq!((&said["subscription"], &said["namespace"]), (&"s".into(), &"default".into()));
        assert_eq!((&said["attempt"], &said["message"]["topic"]), (&1.into(), &"a/1".into()));
        assert_eq!((came.text().as_str(), &said["message"]["sequence"]), (text, &sequence.into()));
    }
    rig.acked(2).await;
    assert!(target.is_empty(), "each came once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_pauses_and_says_so_and_nothing_is_lost() {
    let mut target = first(Reply::of(410)).await;
    let rig = Rig::start();
    rig.create(&target.url, &[]);
    rig.publish(["one"]);
    target.soon().await;
    let paused = rig.shows("the pause", |shown| shown["state"] == "paused").await;
    let reason = paused["state_reason"].as_str().unwrap();
    assert!(reason.contains("410 Gone") && reason.contains("tilde subscription resume s"), "{reason}");
    let text = rig.broker().run(&["subscription", "show", "s"]).text();
    assert!(text.contains("paused: the target answered 410 Gone"), "{text}");
    // A pause by hand is nobody's fault.
    rig.broker().run(&["subscription", "pause", "s"]).ok();
    assert_eq!(rig.show().get("state_reason"), None);
    rig.broker().run(&["subscription", "resume", "s"]).ok();
    let again = target.soon().await.json();
    assert_eq!((&again["message"]["text"], &again["attempt"]), (&"one".into(), &1.into()), "no attempt was counted");
    rig.acked(1).await;
    assert_eq!(rig.show()["state"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_it_is_paused_is_remembered() {
    let mut target = first(Reply::of(410)).await;
    let mut rig = Rig::start();
    rig.create(&target.url, &[]);
    rig.publish(["one"]);
    target.soon().await;
    rig.shows("the pause", |shown| shown["state"] == "paused").await;
    rig.restart("127.0.0.0/8");
    let shown = rig.show();
    assert_eq!(shown["state"], "paused");
    assert!(shown["state_reason"].as_str().unwrap().contains("410 Gone"));
    assert!(target.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_time_gets_it() {
    // A date has whole seconds, so that up to one of them is over already.
    let date = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let seconds = || "2".to_owned();
    for (status, said, least) in [(429, seconds as fn() -> String, 1.9), (503, date, 1.9)] {
        let count = AtomicUsize::new(0);
        let mut target = Receiver::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::of(status).with("retry-after", said()),
            _ => Reply::of(200),
        })
        .await;
        let rig = Rig::start();
        rig.create(&target.url, &["--min-backoff", "0s"]);
        rig.publish(["one"]);
        target.soon().await;
        let begin = Instant::now();
        assert_eq!(target.soon().await.json()["attempt"], 2);
        assert!(begin.elapsed().as_secs_f64() > least, "{status}: it came after {:?}", begin.elapsed());
        rig.acked(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_comes_again_and_is_a_dead_letter_with_the_reason() {
    let mut target = Receiver::start(|_| Reply::of(500).saying("no")).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--min-backoff", "0s", "--max-attempts", "3"]);
    rig.publish(["one"]);
    let mut ids = Vec::new();
    for attempt in 1..=3 {
        let came = target.soon().await;
        assert_eq!(came.json()["attempt"], attempt);
        ids.push(came.header("webhook-id").to_owned());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "it is the same message: {ids:?}");
    assert_eq!(rig.dead_letters(1).await, ["the target answered 500 Internal Server Error"]);
    assert!(target.is_empty(), "it is given up");
    let explained = rig.sub(&["explain", "s", "1"]).remove(0);
    assert_eq!((&explained["standing"], &explained["consumer_id"]), (&"dead-lettered".into(), &"webhook".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::start(|_| Reply::of(200)).await;
    let to = format!("{}/elsewhere", elsewhere.url);
    for status in [301, 302, 303, 307, 308] {
        let location = to.clone();
        let target = Receiver::start(move |_| Reply::of(status).with("location", location.clone())).await;
        let rig = Rig::start();
        rig.create(&target.url, &["--max-attempts", "1"]);
        rig.publish(["one"]);
        let reason = rig.dead_letters(1).await.remove(0);
        assert!(reason.starts_with(&format!("redirects are not followed: {status} ")), "{reason}");
        assert!(reason.ends_with(&to), "{reason}");
    }
    assert!(elsewhere.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_in_time_has_failed() {
    let target = Receiver::start_late(|_| std::future::pending()).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--max-attempts", "1", "--push-timeout", "1s"]);
    rig.publish(["one"]);
    assert_eq!(rig.dead_letters(1).await, ["no answer within 1 s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_there_has_failed() {
    let nobody = free_address();
    let rig = Rig::start();
    rig.create(&format!("http://{nobody}/"), &["--max-attempts", "1"]);
    rig.publish(["one"]);
    assert_eq!(rig.dead_letters(1).await, ["the target refused the connection"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_in_flight_than_were_asked_for() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let mut target = Receiver::start_late(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Reply::of(200)
        }
    })
    .await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-max-in-flight", "3"]);
    rig.publish(0..10);
    for _ in 0..3 {
        target.soon().await;
    }
    assert_eq!(rig.show()["stats"]["outstanding_messages"], 3);
    assert!(target.is_empty());
    open.send(true).unwrap();
    rig.acked(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_can_be_moved_and_taken_away_and_consumers_get_the_rest() {
    let (mut old, mut new) = (Receiver::start(|_| Reply::of(200)).await, Receiver::start(|_| Reply::of(200)).await);
    let rig = Rig::start();
    rig.create(&old.url, &[]);
    rig.publish(["one"]);
    assert_eq!(old.soon().await.text(), "one");
    rig.acked(1).await;
    rig.broker().run(&["subscription", "update", "s", "--push-url", &new.url]).ok();
    rig.publish(["two"]);
    assert_eq!(new.soon().await.text(), "two");
    rig.acked(2).await;
    rig.broker().run(&["subscription", "update", "s", "--no-push"]).ok();
    assert_eq!(rig.show().get("push_config"), None);
    rig.shows("the end of pushing", |shown| shown["stats"]["consumers"] == 0).await;
    rig.publish(["three"]);
    let pulled = rig.sub(&["pull", "s", "--ack", "--wait", "20s"]).remove(0);
    assert_eq!(pulled["text"], "three");
    assert!(old.is_empty() && new.is_empty());
}
