//! A disk that fails: the broker ends by itself and says why, and no answer is false. The failure comes from `strace`,
//! which lets one system call of the broker answer with an error.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use tilde::{
    client::Fault,
    pb::v1::{Namespace, PublishRequest, PurgeTopicsRequest},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::Code;

use super::{
    client::{earliest, everything, next, texts},
    ledger::Ledger,
    *,
};
use crate::support::{self, run, through};

const PUBLISHERS: usize = 4;

/// A command under `strace`, which writes what it sees to `directory/calls`.
fn traced(directory: &Path, injection: &str, command: &Command) -> Command {
    let found = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    assert!(found, "this test needs `strace`, to let the disk fail: install it");
    let calls = directory.join("calls");
    let inject = format!("inject={injection}");
    // Detached, so that the broker is the test's own child and its exit code can be seen.
    let program = ["strace", "-D", "-f", "-qq", "-o", calls.to_str().unwrap(), "-e", "trace=fdatasync,pwrite64", "-e"];
    through(&[&program[..], &[&inject]].concat(), command)
}

/// Publishes until it fails. Answers with what came last.
async fn publish_until_it_fails(client: Client, topic: String, ledger: Arc<Mutex<Ledger>>) -> Fault {
    for number in 1..100_000 {
        let request = message(&topic, format!("{topic}/{number}"));
        ledger.lock().unwrap().try_all(std::slice::from_ref(&request), false);
        match client.publish(request.clone()).await {
            Ok(answer) => ledger.lock().unwrap().tell(&request, &answer),
            Err(status) => return Fault::from(status),
        }
    }
    panic!("the disk does not fail")
}

/// Runs a broker whose disk fails at the given call, and holds it to its promises. Answers with the calls that followed
/// the failure, a line each.
async fn fails_in_order(injection: &str) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    // So that a new log's own syncs are over.
    Tilde::start_in(place.path(), &[]).stop();
    let broker = Tilde::start_as(place.path(), &[], |command| traced(place.path(), injection, &command));
    let client = Client::of(&broker).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut stream = client.subscribe(everything()).await.unwrap();
    let mut tasks = JoinSet::new();
    for at in 0..PUBLISHERS {
        tasks.spawn(publish_until_it_fails(client.clone(), format!("p{at}"), ledger.clone()));
    }
    while let Ok(Some(response)) = next(&mut stream).await {
        response.messages.iter().for_each(|message| ledger.lock().unwrap().see(message));
    }
    let faults = timeout(PATIENCE, tasks.join_all()).await.expect("a publisher hangs");

    let ended = broker.wait();
    assert_eq!(ended.status.code(), Some(1), "{injection}: {}", ended.stderr);
    assert!(ended.stderr.contains("the disk failed"), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: the broker stopped by itself: the broker's disk failed"), "{last}");
    let failed = faults.iter().filter(|fault| fault.reason.as_deref() == Some("STORAGE_FAILED"));
    for fault in failed.clone() {
        assert!(fault.code == Code::Unavailable && fault.retry_delay.is_some(), "{fault:?}");
    }
    assert!(failed.count() > 0, "{injection}: nobody was told: {faults:?}");

    let broker = Tilde::start_in(place.path(), &[]);
    let read = Client::of(&broker).await.read(earliest()).await;
    let mut ledger = ledger.lock().unwrap();
    ledger.check(&read.messages);
    assert!(ledger.len() > 0, "{injection}: it failed before anything was published");
    broker.stop();
    let calls = fs::read_to_string(place.path().join("calls")).unwrap();
    let after = calls.lines().skip_while(|line| !line.contains("(INJECTED)")).skip(1);
    after.filter(|line| line.contains("fdatasync") || line.contains("pwrite64")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_broker_and_is_never_tried_again() {
    for round in 0..rounds(3, 30) {
        // The count is of one thread; starting takes fewer syncs than this on each.
        let after = fails_in_order(&format!("fdatasync:error=EIO:when={}", 15 + 7 * round)).await;
        assert!(after.is_empty(), "the disk was used after it had failed: {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_finds_the_disk_full_is_a_failed_sync() {
    let after = fails_in_order("fdatasync:error=ENOSPC:when=20").await;
    assert!(after.is_empty(), "the disk was used after it had failed: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_ends_the_broker() {
    for round in 0..rounds(1, 10) {
        let after = fails_in_order(&format!("pwrite64:error=EIO:when={}", 40 + 7 * round)).await;
        assert!(after.is_empty(), "the disk was used after it had failed: {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_seen_before_a_kill_in_the_middle_of_a_sync_is_there() {
    let place = tempfile::tempdir().unwrap();
    Tilde::start_in(place.path(), &[]).stop();
    let slow = "fdatasync:delay_enter=200ms:when=20+";
    let broker = Tilde::start_as(place.path(), &[], |command| traced(place.path(), slow, &command));
    let client = Client::of(&broker).await;
    let mut stream = client.subscribe(everything()).await.unwrap();
    let mut publishing = JoinSet::new();
    for number in 0..40 {
        let client = client.clone();
        publishing.spawn(async move { client.publish(message("a", number.to_string())).await.unwrap().sequence });
    }
    // What was seen by then is there afterwards, and no other takes its place. (That nothing is seen before it was
    // synced is held against a power cut in `tests/it/crash.rs`.)
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.extend(next(&mut stream).await.unwrap().unwrap().messages);
    }
    broker.kill();
    publishing.shutdown().await;
    let broker = Tilde::start_in(place.path(), &[]);
    let read = Client::of(&broker).await.read(earliest()).await;
    assert_eq!(texts(&read.messages[..seen.len()]), texts(&seen));
    broker.stop();
}

#[tokio::test]
async fn a_failed_sync_of_the_state_ends_the_broker_too() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let create = |name: &str| client.create_namespace(Namespace { name: name.into(), ..Default::default() });
    create("before").await.unwrap();
    client.publish(message("a", "before")).await.unwrap();
    let purge = PurgeTopicsRequest { pattern: "a".into(), ..Default::default() };
    // Nothing but the state is written to from here on.
    let tracer = Tracer::of(&broker, "fdatasync:error=EIO:when=1");
    let refused = client.topics().purge_topics(purge).await.unwrap_err();
    ended_with(Some(refused), Code::Unavailable, "STORAGE_FAILED");
    let ended = broker.wait();
    drop(tracer);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: the broker stopped by itself: "), "{last}");

    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let publish = PublishRequest { namespace: "before".into(), ..message("a", "x") };
    client.publish(publish).await.unwrap();
    broker.stop();
}

/// `strace` that was let in on a running broker.
struct Tracer(Child);

impl Tracer {
    fn of(broker: &Tilde, injection: &str) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &format!("inject={injection}")]);
        command.args(["-p", &broker.id().to_string()]).stderr(Stdio::piped());
        let mut child = command.spawn().expect("this test needs `strace`, to let the disk fail: install it");
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "strace may not look at another process: {line}");
        Tracer(child)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn a_disk_that_fails_at_the_start_is_said_in_words() {
    let place = tempfile::tempdir().unwrap();
    for when in [1, 2, 4, 6] {
        let directory = place.path().join(when.to_string());
        fs::create_dir(&directory).unwrap();
        let injection = format!("fdatasync:error=EIO:when={when}+");
        let command = traced(&directory, &injection, &support::serve(&directory, &[]));
        let told = run(command, None).told(1);
        let last = told.lines().last().unwrap();
        assert!(last.starts_with("error: "), "{told}");
        assert!(told.contains("Input/output error"), "{told}");
        // What was left half made is no hindrance.
        Tilde::start_in(&directory, &[]).stop();
    }
}
