//! Data that this version and earlier ones wrote opens in this one. `tests/fixtures/README.md` says what lies there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tilde::{
    clock::ManualClock,
    engine::{
        Batch, Engine, Log, LogSettings, Session,
        log::{Config, LogEngine},
    },
    model::{Durability, Message, NamespaceName, Payload, ProducerName, Timestamp, Topic},
    pb::v1::{PublishStreamRequest, broker_client::BrokerClient},
};

use tokio_util::sync::CancellationToken;

use crate::support::{Answer, Tilde, run, tilde};

/// 2100-01-01: retention takes nothing before.
const TIME: i64 = 4_102_444_800_000_000_000;
const GOOD: u64 = 150;
/// Since format 2: what a producer numbered comes behind.
const NUMBERED: u64 = 10;
/// What was answered before the crash.
const TORN: u64 = 120;

fn fixtures(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format)
}

/// The message with this sequence, as it was published.
fn message(sequence: u64) -> Message<'static> {
    let topic = Topic::parse(format!("orders/{}", sequence % 3)).unwrap();
    let payload = match sequence % 4 {
        0 => Payload::Data(vec![sequence as u8, 0xff, 0].into()),
        _ => Payload::Text(format!("message {sequence}, {}", "y".repeat(200)).into()),
    };
    let mut message = Message::new(topic, payload);
    if sequence.is_multiple_of(5) && sequence <= GOOD {
        message.message_id = format!("id-{sequence}").into();
    }
    if sequence.is_multiple_of(7) {
        message.attributes.insert("number".into(), sequence.to_string().into());
        // In 2200.
        message.expire_time = Some(Timestamp::from_nanos(7_258_118_400_000_000_000));
    }
    message
}

/// A copy of a fixture, as `data` in a directory of its own.
fn copy(format: &str, name: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    // The state is not a part of the format of logs.
    Tilde::start_in(place.path(), &[]).stop();
    let (from, to) = (fixtures(format).join(name).join("logs/default"), place.path().join("data/logs/default"));
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    place
}

fn log(place: &Path, args: &[&str]) -> Answer {
    run(tilde(place, &[&["log"], args, &["--data", "data"]].concat()), None)
}

/// Checks that just the messages up to `last` are there, as they were published.
#[track_caller]
fn holds(broker: &Tilde, last: u64) {
    let found = broker.run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json();
    assert_eq!(found.len() as u64, last);
    for (sequence, found) in (1..).zip(&found) {
        let expected = message(sequence);
        assert_eq!(found["sequence"], sequence);
        assert_eq!(found["topic"], expected.topic.as_str());
        match &expected.payload {
            Payload::Text(text) => assert_eq!(found["text"], **text),
            Payload::Data(_) | Payload::None => assert!(found["data"].is_string()),
        }
        assert_eq!(found["message_id"].as_str().unwrap_or_default(), expected.message_id);
        let attributes = &found["attributes"]["number"];
        assert_eq!(attributes.as_str(), expected.attributes.get("number").map(|number| &**number));
        assert!(found["publish_time"].as_str().unwrap().starts_with("2100-01-01T"));
    }
    let again = broker.run(&["publish", "orders/1", "new", "--format", "json"]).json().remove(0);
    assert!(again["sequence"].as_u64().unwrap() > last);
}

#[test]
fn a_log_of_format_1_opens() {
    opens("log-v1", GOOD, 3);
}

#[tokio::test]
async fn a_log_of_format_2_opens_and_knows_its_producers() {
    let broker = opens("log-v2", GOOD + NUMBERED, 4);
    let mut client = BrokerClient::connect(broker.url.clone()).await.unwrap();
    let first = PublishStreamRequest { producer_id: "till".into(), ..Default::default() };
    let mut answers = client.publish_stream(tokio_stream::once(first)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().next_number, Some(NUMBERED + 1));
}

/// Opens the good log of a format, which holds so many messages in so many files.
fn opens(format: &str, messages: u64, files: u64) -> Tilde {
    let place = copy(format, "good");
    assert_eq!(log(place.path(), &["verify"]).text(), format!("default: OK, {messages} messages in {files} files\n"));
    let broker = Tilde::start_in(place.path(), &[]);
    holds(&broker, messages);
    let topic = broker.run(&["topics", "show", "orders/2", "--format", "json"]).json().remove(0);
    let of_topic: Vec<u64> = (1..=messages).filter(|sequence| sequence % 3 == 2).collect();
    assert_eq!(
        (&topic["messages"], &topic["last_sequence"]),
        (&of_topic.len().into(), &of_topic.last().copied().into())
    );
    broker.stop();
    log(place.path(), &["verify"]).ok();
    Tilde::start_at(place)
}

#[test]
fn a_torn_log_opens() {
    for format in ["log-v1", "log-v2"] {
        let place = copy(format, "torn");
        let verified = log(place.path(), &["verify"]).text();
        assert!(verified.contains(": torn: ") && verified.contains("OK, 120 messages"), "{verified}");
        let broker = Tilde::start_in(place.path(), &[]);
        holds(&broker, TORN);
        broker.stop();
        log(place.path(), &["verify"]).ok();
    }
}

#[test]
fn a_damaged_log_is_repaired() {
    for (format, kept) in [("log-v1", 140), ("log-v2", 140 + NUMBERED)] {
        let place = copy(format, "damaged");
        let told = run(tilde(place.path(), &["serve", "--data", "data", "--listen", "127.0.0.1:0"]), None).told(1);
        assert!(told.contains("is damaged at offset"), "{told}");
        let repaired = log(place.path(), &["repair", "--yes"]).text();
        assert!(repaired.contains(&format!("default: repaired, {kept} messages kept")), "{repaired}");
        let broker = Tilde::start_in(place.path(), &[]);
        let found = broker.run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json();
        assert_eq!(found.len() as u64, kept);
    }
}

/// What this version writes is format 2, to the byte. With `TILDE_WRITE_FIXTURES` set it writes the fixtures anew: to
/// be done for a new format, with the directory's name changed.
#[tokio::test]
async fn this_version_writes_format_2() {
    let place = tempfile::tempdir().unwrap();
    if std::env::var_os("TILDE_WRITE_FIXTURES").is_some() {
        write(&fixtures("log-v2")).await;
    }
    write(place.path()).await;
    let (ours, theirs) = (segments(place.path(), "good"), segments(&fixtures("log-v2"), "good"));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.file_name(), theirs.file_name());
        assert!(fs::read(ours).unwrap() == fs::read(theirs).unwrap(), "{} is another", ours.display());
    }
}

/// Writes three logs below `root`.
async fn write(root: &Path) {
    let place = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(TIME), 1));
    let config = Config { segment_min: 16 << 10, segment_max: 16 << 10, ..Config::default() };
    let engine = LogEngine::open(place.path(), config, clock.clone()).unwrap();
    let settings = LogSettings {
        max_age: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        deduplication_window: Duration::from_secs(120),
    };
    let log: Arc<dyn Log> = engine.log(&NamespaceName::default(), settings).await.unwrap();
    for block in 0..GOOD / 10 {
        let mut batch = Batch::new(Durability::Synced);
        (1..=10).for_each(|n| batch.push(&message(block * 10 + n), 1 << 20, None).unwrap());
        log.append(batch).await.unwrap();
        clock.advance(Duration::from_secs(1));
        if block * 10 == TORN {
            keep(place.path(), root, "torn");
        }
    }
    let producer = ProducerName::parse("till").unwrap();
    let session = Arc::new(Session { producer, replaced: CancellationToken::new() });
    let next = log.attach(session.clone()).await.unwrap();
    let mut batch = Batch::new(Durability::Synced).number(session, next);
    (1..=NUMBERED).for_each(|n| batch.push(&message(GOOD + n), 1 << 20, None).unwrap());
    log.append(batch).await.unwrap();
    engine.close().await.unwrap();
    keep(place.path(), root, "good");
    keep(place.path(), root, "damaged");
    // The middle of a block in the second file; the end of the last block of the last file.
    change(&segments(root, "damaged")[1], |bytes| bytes[6_000] ^= 1);
    change(segments(root, "torn").last().unwrap(), |bytes| {
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        bytes[used - 500..].fill(0);
    });
}

fn segments(root: &Path, name: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root.join(name).join("logs/default")).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Copies the log as it is at this moment.
fn keep(place: &Path, root: &Path, name: &str) {
    let to = root.join(name).join("logs/default");
    let _ = fs::remove_dir_all(&to);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(place.join("logs/default")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension != "tmp") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
