//! `tilde subscription explain`: a message is brought to each standing that there is, and the broker says in one sentence
//! why it stands there.

use serde_json::Value;

use crate::support::Tilde;

/// A broker, and the subscription `s` of `a` with some flags.
struct Rig(Tilde);

impl Rig {
    fn new(flags: &[&str]) -> Rig {
        let rig = Rig(Tilde::start(&[]));
        rig.sub(&[&["create", "s", "a"], flags].concat());
        rig
    }

    fn sub(&self, args: &[&str]) -> Vec<Value> {
        let (command, rest) = args.split_first().unwrap();
        self.0.run(&[&["subscription", command, "--format", "json"], rest].concat()).json()
    }

    /// Publishes a message and answers its sequence.
    fn publish(&self, topic: &str, flags: &[&str]) -> u64 {
        let answer = self.0.run(&[&["publish", topic, "x", "--format", "json"], flags].concat()).json();
        answer[0]["sequence"].as_u64().unwrap()
    }

    /// Takes what waits, and answers its ack ids.
    fn pull(&self) -> Vec<String> {
        let pulled = self.sub(&["pull", "s", "--wait", "20s"]);
        pulled.iter().map(|delivery| delivery["ack_id"].as_str().unwrap().to_owned()).collect()
    }

    fn settle(&self, ack_id: &str, flags: &[&str]) {
        self.sub(&[&["ack", "s"], flags, &["--", ack_id]].concat());
    }

    fn explain(&self, sequence: u64) -> Value {
        self.sub(&["explain", "s", &sequence.to_string()]).remove(0)
    }

    #[track_caller]
    fn stands(&self, sequence: u64, standing: &str, sentence: &str) -> Value {
        let explained = self.explain(sequence);
        assert_eq!((&explained["standing"], &explained["explanation"]), (&standing.into(), &sentence.into()));
        explained
    }
}

#[test]
fn from_waiting_to_settled() {
    let rig = Rig::new(&[]);
    let (first, second) = (rig.publish("a", &[]), rig.publish("a", &[]));
    rig.stands(second, "waiting", "it is not reached yet: 1 positions of the log lie before it");
    let held = rig.pull();
    let told = rig.stands(first, "leased", "consumer pull has it: it is settled, or comes again after its deadline");
    assert_eq!((&told["consumer_id"], told["next_time"].is_string()), (&"pull".into(), true));

    rig.settle(&held[0], &["--release"]);
    let told = rig.stands(first, "waiting", "it comes again as soon as a consumer has room");
    assert_eq!((&told["attempts"], told.get("last_reason")), (&0.into(), None));
    let held = [rig.pull().remove(0), held[1].clone()];
    rig.settle(&held[0], &["--nack", "--delay", "1h", "--reason", "no paper"]);
    let told = rig.stands(first, "backing-off", "attempt 1 failed: it comes again when its back-off is over");
    assert_eq!((&told["attempts"], &told["last_reason"]), (&1.into(), &"no paper".into()));
    assert!(told["next_time"].is_string());

    rig.settle(&held[1], &[]);
    rig.stands(second, "acked", "it was settled, and does not come again");
}

#[test]
fn as_soon_as_it_was_tried() {
    let rig = Rig::new(&[]);
    let sequence = rig.publish("a", &[]).to_string();
    let explain = || rig.sub(&["explain", "s", &sequence, "--wait", "20s"]).remove(0)["standing"].clone();
    std::thread::scope(|scope| {
        let asking = scope.spawn(explain);
        rig.settle(&rig.pull()[0], &["--nack", "--delay", "1h"]);
        assert_eq!(asking.join().unwrap(), "backing-off");
    });
    assert_eq!(explain(), "backing-off", "it waits no longer when it was tried once");
}

#[test]
fn behind_an_earlier_one_of_its_key() {
    let rig = Rig::new(&["--order", "key"]);
    let (_, second) = (rig.publish("a", &["--key", "k"]), rig.publish("a", &["--key", "k"]));
    let held = rig.pull();
    assert_eq!(held.len(), 1);
    // A pull takes what it is handed first: the next looks further.
    assert_eq!(rig.sub(&["pull", "s"]).len(), 0);
    rig.stands(second, "waiting", "an earlier message with the same ordering key is not settled yet");
    rig.settle(&held[0], &[]);
    rig.stands(second, "waiting", "it comes again as soon as a consumer has room");
}

#[test]
fn given_up_and_sent_back() {
    let rig = Rig::new(&[]);
    let sequence = rig.publish("a", &[]);
    let held = rig.pull();
    rig.settle(&held[0], &["--reject", "--reason", "poison"]);
    let letter = rig.0.run(&["subscribe", "$dead/s", "--from", "earliest", "--count", "1", "--format", "json"]).json();
    let letter = &letter[0]["sequence"];
    let sentence = format!("subscription s gave it up: it lies in $dead/s as message {letter}");
    let told = rig.stands(sequence, "dead-lettered", &sentence);
    assert_eq!((&told["attempts"], &told["consumer_id"]), (&1.into(), &"pull".into()));
    assert_eq!(told["last_reason"], "poison");

    rig.sub(&["redrive", "s"]);
    let back = format!("it was sent back from the dead letters as message {letter}");
    rig.stands(sequence, "waiting", &format!("{back}: it comes again as soon as a consumer has room"));
    let held = rig.pull();
    let sentence = "consumer pull has it: it is settled, or comes again after its deadline";
    rig.stands(sequence, "leased", &format!("{back}: {sentence}"));
    rig.settle(&held[0], &[]);
    rig.stands(sequence, "acked", &format!("{back}, and was settled"));
}

#[test]
fn never_to_come() {
    let rig = Rig::new(&["--filter", "attributes.wanted == 'yes'"]);
    let sentence =
        |topic| format!("its topic {topic:?}, or what it says besides, is not what the subscription asks for");
    rig.stands(rig.publish("b", &[]), "not-matched", &sentence("b"));
    rig.stands(rig.publish("a", &["-a", "wanted=no"]), "not-matched", &sentence("a"));

    let skipped = rig.publish("a", &["-a", "wanted=yes"]);
    rig.sub(&["seek", "s", "--to", "new"]);
    let passed_over =
        "it was passed over: it came before the subscription began, or a seek, a purge or a full backlog left it out";
    rig.stands(skipped, "skipped", passed_over);

    let brief = rig.publish("a", &["-a", "wanted=yes", "--ttl", "1s"]);
    assert!((0..1_000).any(|_| rig.explain(brief)["standing"] != "waiting"), "it never expires");
    let told = rig.stands(brief, "expired", "its time to live was over before it was settled");
    assert!(told["next_time"].is_string());

    let purged = rig.publish("a", &["-a", "wanted=yes"]);
    rig.0.run(&["topics", "purge", "a", "--yes"]).ok();
    rig.stands(purged, "not-found", "it was purged, or the broker left its number out when it crashed");
    let sentence = format!("there is no message {}: the last one has {purged}", purged + 1);
    rig.stands(purged + 1, "not-found", &sentence);
    rig.stands(0, "not-found", &format!("there is no message 0: the last one has {purged}"));
}

#[test]
fn removed_by_retention() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(directory.path(), &[]);
    broker.run(&["namespace", "create", "small", "--max-bytes", "1MiB"]).ok();
    broker.run(&["subscription", "create", "s", "a", "--namespace", "small"]).ok();
    let lines = format!("{}\n", "x".repeat(200_000)).repeat(10);
    broker.run_with(&["publish", "a", "--lines", "--namespace", "small"], lines.as_bytes()).ok();
    let first = || {
        let topics = broker.run(&["topics", "list", "--namespace", "small", "--format", "json"]).json();
        topics[0]["first_sequence"].as_u64().unwrap()
    };
    assert!((0..1_000).any(|_| first() > 1), "retention takes nothing");
    let first = first();
    // What is in memory can be read longer.
    broker.stop();
    let broker = Tilde::start_in(directory.path(), &[]);
    let args = ["subscription", "explain", "s", "1", "--namespace", "small", "--format", "json"];
    let told = broker.run(&args).json().remove(0);
    let sentence = format!("retention has removed it: the first that is kept is {first}");
    assert_eq!((&told["standing"], &told["explanation"]), (&"not-found".into(), &sentence.into()));
    broker.stop();
}
