//! Namespaces in a cluster.

use std::time::Duration;

use super::{BROKERS, Cluster, soon};
use crate::support::Tilde;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_namespace_that_is_deleted_and_made_again_is_another_one_everywhere() {
    let cluster = Cluster::start().await;
    cluster.worker().await;
    let [one, two, three] = [0, 1, 2].map(|at| &cluster.brokers[at]);
    // A broker hears of what another one did within a second or two: who asks again is not refused for long.
    let done = async |broker: &Tilde, args: &[&str]| {
        soon("a command", async {
            while !broker.run(args).status.success() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    };
    for round in ["first", "second"] {
        done(one, &["namespace", "create", "team"]).await;
        for broker in [one, two, three] {
            done(broker, &["publish", "t", round, "--namespace", "team"]).await;
        }
        for broker in [three, two, one] {
            let read = ["subscribe", "t", "--from", "earliest", "--end", "--namespace", "team"];
            soon("reading", async {
                let expected = format!("t  {round}\n").repeat(3);
                while broker.run(&read).stdout != expected.as_bytes() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await;
        }
        if round == "first" {
            done(two, &["namespace", "delete", "team", "--yes"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_has_made_a_namespace_knows_it_at_once() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker().await;
    for at in 0..BROKERS {
        let (broker, name) = (&cluster.brokers[at], format!("team-{at}"));
        broker.run(&["namespace", "create", &name, "--max-bytes", "1MiB"]).ok();
        broker.run(&["publish", "t", "x", "--namespace", &name]).ok();
    }
    // A consumer whose stream goes by way of a broker does not hold it up.
    let other = (0..BROKERS).find(|at| *at != worker).unwrap();
    cluster.brokers[other].run(&["subscription", "create", "s", "t"]).ok();
    let mut consumer = cluster.client(other).await.consume("s").start();
    cluster.brokers[other].run(&["publish", "t", "x"]).ok();
    soon("a delivery", consumer.next()).await.unwrap().unwrap().ack().await.unwrap();
    let mut cluster = cluster;
    let ended = cluster.brokers.remove(other);
    ended.signal(rustix::process::Signal::TERM);
    let told = ended.wait().stderr;
    assert!(told.contains("every call ended by itself"), "{told}");
}
