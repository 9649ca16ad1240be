//! Several brokers over one NATS server: the one that works off the subscriptions pushes, and another one goes on.

use std::collections::BTreeSet;

use super::*;
use crate::support::{engine::WORKS, nats::Nats};

const MESSAGES: usize = 100;

fn broker(place: &TempDir, nats: &Nats) -> Tilde {
    let urls = nats.urls().join(",");
    Tilde::start_as(place.path(), &["--engine", "jetstream", "--nats", &urls], |mut command| {
        command.env("TILDE_WEBHOOKS_ALLOW_TARGETS", "127.0.0.0/8");
        command
    })
}

async fn works(broker: &Tilde) {
    soon("the office", async {
        while !broker.logged().contains(WORKS) {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_broker_goes_on_where_one_was_killed() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let (nats, places) = (Nats::start(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let worker = broker(&places[0], &nats);
    works(&worker).await;
    let other = broker(&places[1], &nats);
    let create = ["subscription", "create", "s", "a/~", "--push-url", &target.url, "--push-max-in-flight", "2"];
    other.run(&[&create[..], &["--ack-deadline", "2s"]].concat()).ok();
    let lines: Vec<_> = (0..MESSAGES).map(|n| n.to_string()).collect();
    other.run_with(&["publish", "a/1", "--lines"], lines.join("\n").as_bytes()).ok();

    let (mut came, mut ids, mut worker) = (BTreeSet::new(), BTreeSet::new(), Some(worker));
    while came.len() < MESSAGES {
        let push = target.soon().await;
        ids.insert(push.header("webhook-id").to_owned());
        if came.insert(push.text()) && came.len() == MESSAGES / 4 {
            // Whoever is asked, it is the one that pushes who knows.
            let pushes = other.run(&["subscription", "pushes", "s", "--format", "json"]).json();
            let id = pushes[0]["attempt_id"].as_str().unwrap();
            other.run(&["subscription", "resend", "s", id]).ok();
            worker.take().expect("once").kill();
        }
    }
    assert_eq!(ids.len(), MESSAGES, "what came twice has the same id");
    // The first may have sent all before it died: what comes now is the other's.
    works(&other).await;
    other.run(&["publish", "a/1", "last"]).ok();
    while target.soon().await.text() != "last" {}
    soon("the push that was told", async {
        while other.run(&["subscription", "pushes", "s", "--format", "json"]).json().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}
