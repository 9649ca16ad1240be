//! Publishers that outrun the disk: they wait, all of them are answered, and the broker's memory stays bounded.

use std::process::Command;

use tokio::{sync::watch, task::JoinSet};

use super::*;
use crate::support::through;

const PUBLISHERS: usize = 64;
const BATCH: usize = 1000;
/// The newest messages (64 MiB), those that wait to be stored (64 MiB), requests under way, and room.
const MOST_KIB: u64 = 300 << 10;

/// Memory that a process really takes.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn outrun(broker: Tilde, rounds: usize) {
    let client = Client::of(&broker).await;
    let (done, mut progress) = watch::channel(0);
    let mut tasks = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        // Connections of their own: one would hold the others back.
        let client = if publisher % 8 == 0 { Client::of(&broker).await } else { client.clone() };
        let done = done.clone();
        tasks.spawn(async move {
            let request = message(&format!("p{publisher}"), "x".repeat(1024));
            for _ in 0..rounds {
                let results = client.publish_batch(vec![request.clone(); BATCH], false).await.unwrap();
                assert!(results.len() == BATCH && results.iter().all(Result::is_ok), "{:?}", results[0]);
                done.send_modify(|done| *done += 1);
            }
        });
    }
    drop(done);
    let mut most = 0;
    while progress.changed().await.is_ok() {
        most = most.max(resident_kib(broker.id()));
    }
    tasks.join_all().await;
    eprintln!("{} batches of {BATCH} KiB; at most {} MiB of memory", PUBLISHERS * rounds, most >> 10);
    assert!(most < MOST_KIB, "{} MiB", most >> 10);
    let topics = tilde::pb::v1::ListTopicsRequest { pattern: "p~".into(), page_size: 1000, ..Default::default() };
    let topics = client.topics().list_topics(topics).await.unwrap().into_inner().topics;
    let stored: u64 = topics.iter().map(|topic| topic.messages).sum();
    assert_eq!(stored as usize, PUBLISHERS * rounds * BATCH);
    broker.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_wait_for_the_disk_and_memory_stays_bounded() {
    outrun(Tilde::start(&[]), rounds(3, 20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_them_wait_longer() {
    let place = tempfile::tempdir().unwrap();
    let slow = |command: Command| {
        let inject = "inject=fdatasync:delay_enter=50ms";
        through(&["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject], &command)
    };
    outrun(Tilde::start_as(place.path(), &[], slow), rounds(1, 4)).await;
}
