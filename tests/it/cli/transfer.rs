//! `tilde export` and `tilde import`: moving house, from any engine to any other.

use std::{fs, path::PathBuf, thread, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Tilde, nats::Nats, plain, tilde};

/// What is there of a subscription's work: topic, text or data, and which attempt it is.
type Work = Vec<(Value, Value, Value)>;

/// Where the files of a test lie.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// All that a broker holds.
    #[track_caller]
    fn export(&self, broker: &Tilde, name: &str) -> (String, Value) {
        let path = self.path(name).into_os_string().into_string().unwrap();
        let told = broker.run(&["export", &path, "--format", "json"]).json().remove(0);
        (path, told)
    }
}

#[track_caller]
fn import(broker: &Tilde, path: &str) -> Value {
    broker.run(&["import", path, "--format", "json"]).json().remove(0)
}

#[track_caller]
fn sub(broker: &Tilde, args: &[&str]) -> Answer {
    broker.run(&[&["subscription"], args].concat())
}

#[track_caller]
fn pull(broker: &Tilde, name: &str, flags: &[&str]) -> Vec<Value> {
    sub(broker, &[&["pull", name, "--wait", "20s", "--format", "json"], flags].concat()).json()
}

fn work(pulled: &[Value]) -> Work {
    let payload = |one: &Value| if one["data"].is_string() { one["data"].clone() } else { one["text"].clone() };
    pulled.iter().map(|one| (one["topic"].clone(), payload(one), one["attempt"].clone())).collect()
}

fn settle(broker: &Tilde, name: &str, delivery: &Value, flags: &[&str]) {
    sub(broker, &[&["ack", name, delivery["ack_id"].as_str().unwrap()], flags].concat()).ok();
}

/// All messages, with what stays as it is.
fn messages(broker: &Tilde) -> Vec<Value> {
    let mut messages = broker.run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json();
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        message.retain(|name, _| !["sequence", "publish_time", "cursor"].contains(&&**name));
    }
    messages
}

/// Messages of all kinds, and three subscriptions: `work` was worked off with holes, `strict` has a dead letter, and `rest`
/// is paused. Answers what is left of `work`.
fn furnish(broker: &Tilde) -> Work {
    for _ in 0..3 {
        broker.run(&["publish", "gone", "so that numbers do not begin with 1"]).ok();
    }
    broker.run(&["topics", "purge", "gone", "--yes"]).ok();
    sub(broker, &["create", "work", "~", "--min-backoff", "0s", "--label", "team=7"]).ok();
    sub(broker, &["create", "strict", "jobs/~", "--max-attempts", "1"]).ok();
    sub(broker, &["create", "rest", "~", "--order", "key"]).ok();
    sub(broker, &["pause", "rest"]).ok();
    let longest = "t".repeat(1024);
    for topic in ["a b", "a.b", "*", ">", "😀", "a=b/", "/", &longest] {
        broker.run(&["publish", topic, topic, "-a", "ä=1", "-a", "b=", "--key", "k", "--id", "twice"]).ok();
    }
    broker.run_with(&["publish", "bytes", "--content-type", "application/x"], b"\xff\0\xfe").ok();
    broker.run(&["publish", "jobs/7", "start"]).ok();
    broker.run(&["publish", "far", "in a day", "--delay", "1d"]).ok();

    let dead = pull(broker, "strict", &[]).remove(0);
    settle(broker, "strict", &dead, &["--reject", "--reason", "no paper"]);
    while broker.run(&["topics", "list", "$dead/~", "--format", "json"]).text().is_empty() {}

    // Of ten: 0, 3 and 4 are done, 2 has failed once, and the others are with a consumer or were not handed out.
    let mut held = pull(broker, "work", &["--max", "6"]);
    for (at, verdict) in [(4, "--format=text"), (0, "--format=text"), (2, "--nack"), (3, "--format=text")] {
        settle(broker, "work", &held[at], &[verdict]);
    }
    held[2]["attempt"] = json!(2);
    let mut left: Work = work(&[held[1].clone(), held[2].clone(), held[5].clone()]);
    let rest = messages(broker).into_iter().skip(6).map(|mut message| {
        message["attempt"] = json!(1);
        message
    });
    left.extend(work(&rest.collect::<Vec<_>>()));
    left
}

#[test]
fn everything_moves_and_subscriptions_go_on_where_they_were() {
    let files = Files::new();
    let (from, to) = (Tilde::start(&[]), Tilde::start(&[]));
    let left = furnish(&from);
    let all = messages(&from);
    assert_eq!((all.len(), left.len()), (10, 7));
    let (path, told) = files.export(&from, "house");
    assert_eq!([&told["messages"], &told["scheduled"], &told["subscriptions"]], [11, 1, 3]);
    assert_eq!(told["bytes"], fs::metadata(&path).unwrap().len());
    assert_eq!(files.names(), ["house"]);
    let told = import(&to, &path);
    assert_eq!([&told["messages"], &told["scheduled"], &told["subscriptions"], &told["expired"]], [11, 1, 3, 0]);
    assert_eq!((&told["namespace"], &told["created"]), (&json!("default"), &json!(false)));

    // Nothing was taken away, and everything came, in its order.
    assert_eq!((messages(&from), messages(&to)), (all.clone(), all));
    assert_eq!(work(&pull(&to, "work", &["--ack"])), left);
    let shown = sub(&to, &["show", "work", "--format", "json"]).json().remove(0);
    assert_eq!((&shown["stats"]["acked"], &shown["labels"]), (&json!(10), &json!({"team": "7"})));
    assert_eq!(shown["stats"]["backlog_messages"], 0);

    // One that was paused is, and then has everything.
    let paused = sub(&to, &["pull", "rest"]).told(1);
    assert!(paused.contains("(SUBSCRIPTION_PAUSED)"), "{paused}");
    sub(&to, &["resume", "rest"]).ok();
    let first = pull(&to, "rest", &[]);
    // By key one at a time, and two have none.
    assert_eq!(first.iter().map(|one| &one["topic"]).collect::<Vec<_>>(), ["a b", "bytes", "jobs/7"]);

    // A dead letter names its message by the place that it has now, and goes back to whom it came from.
    let sequence = first[2]["sequence"].to_string();
    assert_ne!(sequence, dead_sequence(&from), "the places are others");
    assert_eq!(dead_sequence(&to), sequence);
    let standing = |sequence: &str| sub(&to, &["explain", "strict", sequence, "--format", "json"]).json().remove(0);
    assert_eq!(standing(&sequence)["standing"], "dead-lettered");
    assert_eq!(standing(&dead_sequence(&from))["standing"], "not-found");
    assert_eq!(sub(&to, &["redrive", "strict"]).text(), "1 dead letter sent back\n");
    assert_eq!(sub(&to, &["redrive", "strict"]).text(), "0 dead letters sent back\n");
    let again = pull(&to, "strict", &["--ack"]);
    assert_eq!(work(&again), [(json!("jobs/7"), json!("start"), json!(1))]);

    // What was sent back is not sent back again, also after the next move.
    let (path, _) = files.export(&to, "next");
    let next = Tilde::in_memory();
    import(&next, &path);
    assert_eq!(sub(&next, &["redrive", "strict"]).text(), "0 dead letters sent back\n");
    let waits = next.run(&["topics", "list", "$scheduled/~", "--format", "json"]).json();
    assert_eq!((waits.len(), &waits[0]["name"]), (1, &json!("$scheduled/far")));
}

/// The place of the message of the only dead letter of `strict`.
fn dead_sequence(broker: &Tilde) -> String {
    let letters = broker.run(&["subscribe", "$dead/strict", "--from", "earliest", "--end", "--format", "json"]).json();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    let sequence = letter["attributes"]["tilde-sequence"].as_str().unwrap().to_owned();
    assert_eq!(letter["message_id"], format!("strict/{sequence}"));
    sequence
}

#[test]
fn to_jetstream_and_back_subscriptions_go_on_where_they_were() {
    let (files, nats) = (Files::new(), Nats::start());
    let url = nats.urls().remove(0);
    let embedded = Tilde::start(&[]);
    // One of them works off the subscriptions, and the other one is asked.
    let cluster = [(); 2].map(|()| Tilde::start(&["--engine", "jetstream", "--nats", &url]));
    let asked = &cluster[1];
    let mut left = furnish(&embedded);
    let all = messages(&embedded);
    let (there, _) = files.export(&embedded, "there");
    let told = import(asked, &there);
    assert_eq!([&told["messages"], &told["scheduled"], &told["subscriptions"]], [11, 1, 3]);
    assert_eq!(messages(asked), all);

    // The first two are done there.
    let pulled = pull(asked, "work", &["--max", "2", "--ack"]);
    assert_eq!(work(&pulled), left.drain(..2).collect::<Vec<_>>());
    let (back, told) = files.export(asked, "back");
    assert_eq!([&told["messages"], &told["scheduled"], &told["subscriptions"]], [11, 1, 3]);
    let home = Tilde::start(&[]);
    let told = home.run(&["import", &back, "--namespace", "home", "--format", "json"]).json().remove(0);
    assert_eq!((&told["namespace"], &told["created"]), (&json!("home"), &json!(true)));
    let pulled = sub(&home, &["pull", "work", "--namespace", "home", "--wait", "20s", "--format", "json"]).json();
    assert_eq!(work(&pulled), left);
    assert_eq!(sub(&home, &["redrive", "strict", "--namespace", "home"]).text(), "1 dead letter sent back\n");
}

/// What the registry of a broker says.
#[track_caller]
fn registry(broker: &Tilde, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let told = plain::ask(method, &format!("{}/schema-registry{path}", broker.url), &[], body.as_bytes());
    assert_eq!(told.status(), 200, "{method} {path}: {}", told.text());
    told.json()
}

/// Registers an Avro schema. Answers its id.
#[track_caller]
fn register(broker: &Tilde, subject: &str, schema: &str, references: &Value) -> u64 {
    let body = json!({"schema": schema, "references": references});
    registry(broker, "POST", &format!("/subjects/{subject}/versions"), &body)["id"].as_u64().unwrap()
}

/// All that is registered, and the rules.
#[track_caller]
fn registered(broker: &Tilde) -> Vec<Value> {
    let paths = ["/schemas?deleted=true", "/schemas", "/config", "/mode", "/config/a", "/mode/b%2Fc"];
    let ids = (1..=5).map(|id| format!("/schemas/ids/{id}"));
    paths.into_iter().map(str::to_owned).chain(ids).map(|path| registry(broker, "GET", &path, &json!(null))).collect()
}

/// Versions of some subjects, deleted ones and one that nothing is left of but its ids, and rules.
fn furnish_registry(broker: &Tilde) {
    registry(broker, "PUT", "/config/a", &json!({"compatibility": "NONE"}));
    assert_eq!(["\"int\"", "\"long\""].map(|schema| register(broker, "a", schema, &json!([]))), [1, 2]);
    assert_eq!(register(broker, "b%2Fc", "\"int\"", &json!([])), 1);
    registry(broker, "DELETE", "/subjects/a/versions/1", &json!(null));
    let money = r#"{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}"#;
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"price","type":"Money"}]}"#;
    let references = json!([{"name": "Money", "subject": "money", "version": 1}]);
    assert_eq!([register(broker, "money", money, &json!([])), register(broker, "order", order, &references)], [3, 4]);
    for path in
        ["/subjects/order", "/subjects/order?permanent=true", "/subjects/money", "/subjects/money?permanent=true"]
    {
        registry(broker, "DELETE", path, &json!(null));
    }
    // More than what goes in one piece.
    let large = format!(r#"{{"type":"enum","name":"Large","symbols":["A"],"doc":"{}"}}"#, "x".repeat(400 << 10));
    assert_eq!(register(broker, "large", &large, &json!([])), 5);
    registry(broker, "PUT", "/config", &json!({"compatibility": "FULL_TRANSITIVE"}));
    registry(broker, "PUT", "/mode/b%2Fc", &json!({"mode": "READONLY"}));
}

#[test]
fn what_is_registered_moves_under_its_ids() {
    let (files, nats) = (Files::new(), Nats::start());
    let url = nats.urls().remove(0);
    let (embedded, home) = (Tilde::start(&[]), Tilde::start(&[]));
    let cluster = [(); 2].map(|()| Tilde::start(&["--engine", "jetstream", "--nats", &url]));
    furnish_registry(&embedded);
    embedded.run(&["publish", "t", "a message"]).ok();
    let all = registered(&embedded);
    let (there, told) = files.export(&embedded, "there");
    assert_eq!(told["schemas"], 5);
    assert_eq!(import(&cluster[1], &there)["schemas"], 5);
    assert_eq!(
        [registered(&embedded), registered(&cluster[1]), registered(&cluster[0])],
        [all.clone(), all.clone(), all]
    );
    // It goes on as it would have gone on there.
    let path = "/subjects/b%2Fc/versions";
    let told =
        plain::ask("POST", &format!("{}/schema-registry{path}", cluster[0].url), &[], br#"{"schema":"\"long\""}"#);
    assert_eq!(told.json()["error_code"], 42205, "it is read-only");
    assert_eq!(register(&cluster[0], "new", "\"int\"", &json!([])), 1);
    assert_eq!(register(&cluster[1], "newer", "\"long\"", &json!([])), 2);
    assert_eq!(register(&cluster[0], "other", "\"string\"", &json!([])), 6);
    let all = registered(&cluster[0]);
    let (back, _) = files.export(&cluster[0], "back");
    assert_eq!(import(&home, &back)["schemas"], 6);
    assert_eq!(registered(&home), all);

    // What is the same may be there, and what is not may not.
    home.run(&["topics", "purge", "~", "--yes"]).ok();
    assert_eq!(import(&home, &there)["schemas"], 5);
    assert_eq!(registered(&home), all);
    home.run(&["topics", "purge", "~", "--yes"]).ok();
    let refused = |broker: &Tilde, what: &str| {
        let told = broker.run(&["import", &back]).told(1);
        assert!(told.contains(&format!("the namespace has another {what} than the one that moves in")), "{told}");
        assert!(told.contains("(NAMESPACE_NOT_EMPTY)"), "{told}");
        told
    };
    registry(&home, "PUT", "/config", &json!({"compatibility": "FULL"}));
    refused(&home, "rule for all subjects");
    registry(&home, "PUT", "/config", &json!({"compatibility": "FULL_TRANSITIVE"}));
    registry(&home, "DELETE", "/subjects/newer", &json!(null));
    refused(&home, "subject \"newer\"");
    let other = Tilde::in_memory();
    register(&other, "a", "\"string\"", &json!([]));
    assert!(refused(&other, "schema with the id 1").contains("nothing was imported"));
}

#[test]
fn what_was_due_meanwhile_is_published_and_what_expired_is_left_out() {
    let files = Files::new();
    let (from, to) = (Tilde::start(&[]), Tilde::start(&[]));
    sub(&from, &["create", "work", "~"]).ok();
    from.run(&["publish", "a", "stays"]).ok();
    from.run(&["publish", "b", "goes", "--ttl", "3s"]).ok();
    from.run(&["publish", "c", "comes", "--delay", "3s"]).ok();
    // One that was published by its time before is no longer scheduled.
    from.run(&["publish", "d", "came", "--delay", "10ms"]).ok();
    let mut messages = from.command(&["subscribe", "d", "--from", "earliest", "--count", "1"]);
    assert!(messages.status().unwrap().success());
    let (path, told) = files.export(&from, "house");
    assert_eq!([&told["messages"], &told["scheduled"]], [3, 1]);
    thread::sleep(Duration::from_secs(3));
    let told = import(&to, &path);
    assert_eq!([&told["messages"], &told["scheduled"], &told["expired"]], [2, 1, 1]);
    let mut texts = Vec::new();
    while texts.len() < 3 {
        let pulled = pull(&to, "work", &["--ack"]);
        assert!(!pulled.is_empty(), "nothing more comes behind {texts:?}");
        texts.extend(pulled.into_iter().map(|one| one["text"].clone()));
    }
    assert_eq!(texts, ["stays", "came", "comes"]);
}

#[test]
fn a_namespace_comes_with_its_settings_and_under_another_name() {
    let files = Files::new();
    let broker = Tilde::in_memory();
    broker.run(&["namespace", "create", "team-7", "--max-age", "3d", "--max-streams", "9"]).ok();
    broker.run(&["publish", "a", "x", "--namespace", "team-7"]).ok();
    let path = files.path("house").into_os_string().into_string().unwrap();
    let told = broker.run(&["export", &path, "--namespace", "team-7"]).text();
    assert!(
        told.starts_with(
            "1 message, 0 scheduled messages, 0 subscriptions and 0 schemas of namespace team-7 exported, "
        )
    );
    let told = broker.run(&["import", &path, "--namespace", "team-8"]).text();
    assert_eq!(told, "1 message, 0 scheduled messages, 0 subscriptions and 0 schemas imported into namespace team-8\n");
    let shown = broker.run(&["namespace", "show", "team-8", "--format", "json"]).json().remove(0);
    assert_eq!((&shown["max_age"], &shown["max_streams"]), (&json!("3d"), &json!(9)));

    // Through a pipe, into one that is there.
    let file = broker.run(&["export", "-", "--namespace", "team-7"]);
    assert!(file.stderr.starts_with("1 message, "), "{}", file.stderr);
    let imported = broker.run_with(&["import", "-", "--namespace", "default"], &file.stdout);
    assert_eq!(imported.stderr, "namespace default was there, and keeps its settings\n");
    assert_eq!(broker.run(&["subscribe", "~", "--from", "earliest", "--end"]).text(), "a  x\n");
}

#[test]
fn what_is_not_whole_or_finds_no_room_is_refused() {
    let files = Files::new();
    let (from, to) = (Tilde::in_memory(), Tilde::in_memory());
    sub(&from, &["create", "work", "~"]).ok();
    let lines = "a line\n".repeat(2_000);
    from.run_with(&["publish", "a", "--lines"], lines.as_bytes()).ok();
    let (path, _) = files.export(&from, "house");
    let whole = fs::read(&path).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = files.path(name);
        fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let refused = |path: &str| to.run(&["import", path]).told(1);
    let untouched = || assert_eq!(to.run(&["topics", "list", "$~", "--format", "json"]).text() + &topics(&to), "");

    let told = refused(&file("half", &whole[..whole.len() / 2]));
    assert!(told.contains("half is not whole: it ends in the middle, the piece at byte "), "{told}");
    assert!(told.contains("hint: export again"), "{told}");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let told = refused(&file("flipped", &flipped));
    assert!(told.contains("flipped is damaged: at byte "), "{told}");
    let told = refused(&file("garbage", b"\x7fELF and so on"));
    assert!(told.contains("garbage is no export that this version of tilde knows"), "{told}");
    let told = refused(&file("newer", b"tilde export 2\n and so on"));
    assert!(told.contains("hint: another version of tilde wrote it"), "{told}");
    let told = refused("nowhere");
    assert!(told.contains("nowhere cannot be read: "), "{told}");
    untouched();

    // From a pipe it is noticed only on the way: what was taken is told, and there is no subscription.
    let told = to.run_with(&["import", "-"], &whole[..whole.len() / 2]).told(1);
    assert!(told.contains("standard input is not whole"), "{told}");
    assert!(
        told.contains(
            " messages, 0 scheduled ones, 0 subscriptions and 0 schemas were imported into namespace default"
        ),
        "{told}"
    );
    assert!(told.contains("and import all of it again"), "{told}");
    assert_eq!(sub(&to, &["list", "--format", "json"]).text(), "");
    let told = refused(&path);
    assert!(told.contains("namespace default holds messages") && told.contains("(NAMESPACE_NOT_EMPTY)"), "{told}");
    to.run(&["topics", "purge", "~", "--yes"]).ok();
    sub(&to, &["create", "mine", "~"]).ok();
    let told = refused(&path);
    assert!(told.contains("namespace default has subscriptions"), "{told}");
    sub(&to, &["delete", "mine", "--yes"]).ok();
    assert_eq!(import(&to, &path)["messages"], 2_000);
    let shown = sub(&to, &["show", "work", "--format", "json"]).json().remove(0);
    assert_eq!(shown["stats"]["backlog_messages"], 2_000);

    // An export that fails leaves nothing.
    let nobody = ["--broker", "http://127.0.0.1:1"];
    for command in [["import", &path].as_slice(), &["export", "new"], &["export", "-"]] {
        let told = crate::support::run(tilde(files.0.path(), &[command, &nobody].concat()), None).told(1);
        assert!(told.contains("cannot reach a broker at http://127.0.0.1:1"), "{told}");
    }
    let new = files.path("new").into_os_string().into_string().unwrap();
    let told = from.run(&["export", &new, "--namespace", "nobody"]).told(1);
    assert!(told.contains("(NAMESPACE_NOT_FOUND)"), "{told}");
    assert!(!files.names().iter().any(|name| name.starts_with("new.") || name == "new"), "{:?}", files.names());
    let told = from.run(&["export", files.path("no/where").to_str().unwrap()]).told(1);
    assert!(told.contains("cannot be written"), "{told}");
}

fn topics(broker: &Tilde) -> String {
    broker.run(&["topics", "list", "--format", "json"]).text()
}
