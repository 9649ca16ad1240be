//! A webhook that moves to another broker.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_without_its_secrets_waits_for_new_ones_and_then_goes_on() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-secret", SECRET, "--push-header", "x-key=v", "--push-format", "raw"]);
    rig.broker().run(&["subscription", "pause", "s"]).ok();
    rig.publish(["one"]);
    let run = |args: &[&str]| rig.broker().run(args);
    // NATS sets aside what a namespace may take.
    run(&["namespace", "create", "there", "--max-bytes", "64MiB"]).ok();
    run(&["export", "house"]).ok();
    run(&["import", "house", "--namespace", "there"]).ok();
    let there = |args: &[&str]| {
        run(&[&["subscription"], args, &["--namespace", "there", "--format", "json"]].concat()).json().remove(0)
    };
    let moved = there(&["show", "s"]);
    assert_eq!(moved["state"], "paused");
    let reason = moved["state_reason"].as_str().unwrap();
    assert!(reason.contains("its secrets and the values of its headers x-key did not move"), "{reason}");
    assert_eq!((&moved["push_config"]["format"], &moved["push_config"]["secret_count"]), (&"raw".into(), &0.into()));
    there(&["update", "s", "--push-secret", SECRET]);
    there(&["resume", "s"]);
    let came = target.soon().await;
    assert_eq!(&came.body[..], b"one");
    assert!(came.headers.contains_key("webhook-signature"));
}
