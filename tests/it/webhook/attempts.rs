//! What is remembered of pushes, and sending one once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_hundred_are_listed_newest_first() {
    let target = Receiver::start(|_| Reply::of(200).saying("thanks")).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-max-in-flight", "1"]);
    rig.publish(1..=120);
    rig.acked(120).await;
    let pushes = soon("the last push", async {
        loop {
            // It is remembered right after it was settled.
            let pushes = rig.sub(&["pushes", "s"]);
            if pushes.first().is_some_and(|push| push["sequence"] == 120) {
                return pushes;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    let sequences: Vec<_> = pushes.iter().map(|push| push["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (21..=120).rev().collect::<Vec<_>>());
    let newest = &pushes[0];
    assert_eq!(
        (&newest["attempt"], &newest["status"], &newest["response"]),
        (&1.into(), &200.into(), &"thanks".into())
    );
    assert_eq!(newest.get("error"), None);
    assert!(newest["time"].as_str().unwrap().ends_with('Z') && newest["latency"].as_str().unwrap().ends_with("ms"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_can_be_sent_again_whatever_became_of_it() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let body = "\u{fc}".repeat(1000);
    let mut target = Receiver::start(move |_| {
        Reply::of(if failing.load(Ordering::SeqCst) { 500 } else { 200 }).saying(body.clone())
    })
    .await;
    let rig = Rig::start();
    rig.create(&target.url, &["--max-attempts", "1"]);
    rig.publish(["one"]);
    let first = target.soon().await;
    rig.dead_letters(1).await;
    let failed = rig.sub(&["pushes", "s"]).remove(0);
    assert_eq!((&failed["status"], &failed["attempt"]), (&500.into(), &1.into()));
    assert_eq!(failed["error"], "the target answered 500 Internal Server Error");
    assert_eq!(failed["response"], "\u{fc}".repeat(128), "256 bytes");

    let id = failed["attempt_id"].as_str().unwrap();
    let told = rig.broker().run(&["subscription", "resend", "s", id]).told(1);
    assert!(told.contains("the target did not take it: the target answered 500"), "{told}");
    fails.store(false, Ordering::SeqCst);
    let sent = rig.sub(&["resend", "s", id]).remove(0);
    assert_eq!((&sent["status"], &sent["attempt"], &sent["sequence"]), (&200.into(), &0.into(), &1.into()));
    for _ in 0..2 {
        let again = target.soon().await;
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!((again.text(), &again.json()["attempt"]), ("one".to_owned(), &0.into()));
    }
    let listed = rig.sub(&["pushes", "s"]);
    assert_eq!((listed.len(), &listed[0]["attempt_id"]), (3, &sent["attempt_id"]));
    assert_eq!(rig.show()["stats"]["acked"], 0, "it settles nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_again_is_refused() {
    let target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&target.url, &[]);
    let refusal = |args: &[&str]| rig.broker().run(&[&["subscription"], args].concat()).told(1);
    let unknown = refusal(&["resend", "s", "00000000-1"]);
    assert!(unknown.contains("PUSH_ATTEMPT_NOT_FOUND") && unknown.contains("tilde subscription pushes s"), "{unknown}");
    assert!(refusal(&["pushes", "x"]).contains("SUBSCRIPTION_NOT_FOUND"));

    rig.publish(["one"]);
    rig.acked(1).await;
    let id = rig.sub(&["pushes", "s"])[0]["attempt_id"].as_str().unwrap().to_owned();
    rig.broker().run(&["topics", "purge", "a/~", "--yes"]).ok();
    let gone = refusal(&["resend", "s", &id]);
    assert!(gone.contains("PUSH_ATTEMPT_NOT_FOUND") && gone.contains("is not kept any more"), "{gone}");
    rig.broker().run(&["subscription", "update", "s", "--no-push"]).ok();
    let nowhere = refusal(&["resend", "s", &id]);
    assert!(nowhere.contains("PUSH_NOT_CONFIGURED") && nowhere.contains("--push-url"), "{nowhere}");
}
