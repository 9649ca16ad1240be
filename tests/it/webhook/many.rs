//! A hundred webhooks, of which one is dead, one slow and one flapping: nobody else notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use tokio::sync::watch;

use super::*;
use crate::support::ports::free_address;

const ALL: usize = 100;
const MESSAGES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_97_have_everything_before_the_slow_one_answers() {
    // The slow one answers its first request when it is let.
    let (open, gate) = watch::channel(false);
    let mut slow = Receiver::start_late(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Reply::of(200)
        }
    })
    .await;
    // The flapping one fails each message once.
    let seen = Mutex::new(BTreeSet::new());
    let mut flapping = Receiver::start(move |came| {
        let is_new = seen.lock().unwrap().insert(came.text());
        Reply::of(if is_new { 500 } else { 200 })
    })
    .await;
    let mut good = Receiver::start(|_| Reply::of(200)).await;
    let nobody = free_address();

    let rig = Rig::start();
    // As a slow target is answered within 30 s, it is the default of nothing that it fails meanwhile.
    rig.create_as("slow", &slow.url, &["--ack-deadline", "1m", "--push-timeout", "1m"]);
    rig.create_as("flapping", &flapping.url, &["--min-backoff", "50ms", "--max-backoff", "50ms"]);
    rig.create_as("s", &format!("http://{nobody}/"), &["--max-attempts", "1"]);
    for n in 3..ALL {
        rig.create_as(&format!("good-{n}"), &format!("{}/{n}", good.url), &[]);
    }
    rig.publish(0..MESSAGES);

    slow.soon().await;
    let mut came: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..(ALL - 3) * MESSAGES {
        let push = good.soon().await;
        assert!(came.entry(push.path.clone()).or_default().insert(push.text()), "each came once");
    }
    assert_eq!(came.len(), ALL - 3);
    assert!(came.values().all(|texts| texts.len() == MESSAGES));
    // The publisher notices nothing, though the slow one still has not answered.
    rig.publish([MESSAGES]);

    let mut twice: BTreeMap<String, u32> = BTreeMap::new();
    while twice.len() <= MESSAGES || twice.values().any(|times| *times < 2) {
        *twice.entry(flapping.soon().await.text()).or_default() += 1;
    }
    assert_eq!(rig.dead_letters(1).await, ["the target refused the connection"]);
    open.send(true).unwrap();
    let mut late = 1;
    while late <= MESSAGES {
        slow.soon().await;
        late += 1;
    }
}
