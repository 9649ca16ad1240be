//! `tilde topics` and `tilde namespace`.

use crate::support::Tilde;

#[test]
fn topics_are_listed_and_shown() {
    let broker = Tilde::in_memory();
    assert_eq!(broker.run(&["topics", "list", "--format", "json"]).text(), "");
    for topic in ["a/1", "a/2", "b"] {
        broker.run(&["publish", topic, "x"]).ok();
    }
    broker.run(&["publish", "a/1", "y"]).ok();
    let table = broker.run(&["topics", "list"]).text();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("TOPIC") && rows.len() == 4, "{table}");
    let a = broker.run(&["topics", "list", "a/~", "--format", "json"]).json();
    assert_eq!(a.iter().map(|topic| topic["name"].as_str().unwrap()).collect::<Vec<_>>(), ["a/1", "a/2"]);
    let shown = broker.run(&["topics", "show", "a/1", "--format", "json"]).json().remove(0);
    assert_eq!(shown["messages"], 2);
    assert!(shown["first_sequence"].as_u64().unwrap() < shown["last_sequence"].as_u64().unwrap());
    let text = broker.run(&["topics", "show", "a/1"]).text();
    assert!(text.starts_with("topic           a/1\nmessages        2\n"), "{text}");
    let told = broker.run(&["topics", "show", "nothing"]).told(1);
    assert!(told.contains("(TOPIC_NOT_FOUND)"), "{told}");
}

#[test]
fn more_topics_than_a_page_holds() {
    let broker = Tilde::in_memory();
    let address = &broker.url;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        use tilde::pb::v1::{BatchPublishRequest, PublishRequest, broker_client::BrokerClient};
        let mut client = BrokerClient::new(tilde::client::connect(address).await.unwrap());
        for batch in 0..3 {
            let topics = (0..1_000).map(|n| PublishRequest { topic: format!("t/{batch}/{n}"), ..Default::default() });
            let request = BatchPublishRequest { requests: topics.collect(), atomic: false };
            client.batch_publish(request).await.unwrap();
        }
    });
    assert_eq!(broker.run(&["topics", "list", "--format", "json"]).json().len(), 3_000);
}

#[test]
fn purging_counts_asks_and_removes() {
    let broker = Tilde::in_memory();
    for topic in ["a/1", "a/2", "b"] {
        broker.run(&["publish", topic, "x"]).ok();
    }
    let dry = broker.run(&["topics", "purge", "a/~", "--dry-run"]).text();
    assert_eq!(dry, "2 messages would be removed\n");
    let told = broker.run(&["topics", "purge", "a/~"]).told(2);
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(broker.run(&["topics", "purge", "a/~", "--before", "1h", "--yes"]).text(), "0 messages removed\n");
    assert_eq!(broker.run(&["topics", "purge", "a/~", "--yes"]).text(), "2 messages removed\n");
    let left = broker.run(&["subscribe", "~", "--from", "earliest", "--end"]).text();
    assert_eq!(left, "b  x\n");
    assert_eq!(broker.run(&["topics", "purge", "b", "--dry-run"]).text(), "1 message would be removed\n");
    assert_eq!(broker.run(&["topics", "purge", "b", "--yes"]).text(), "1 message removed\n");
    broker.run(&["publish", "a/1", "x"]).ok();
    let told = broker.run(&["topics", "purge", "a/~b", "--yes"]).told(2);
    assert!(told.contains("'a/~b' would remove the messages of every topic that begins with 'a/'"), "{told}");
    assert!(told.contains("write 'a/~'"), "{told}");
    assert_eq!(broker.run(&["topics", "purge", "a/~", "--dry-run"]).text(), "1 message would be removed\n");
    let told = broker.run(&["topics", "purge", "a/~", "--before", "yesterday"]).told(2);
    assert!(told.contains("2026-11-21T08:00:00Z"), "{told}");
}

#[test]
fn a_namespace_is_created_changed_and_deleted() {
    let broker = Tilde::in_memory();
    let json = |args: &[&str]| broker.run(&[&["namespace"], args, &["--format", "json"]].concat()).json().remove(0);
    let create = ["create", "team-7", "--max-age", "36h", "--max-bytes", "2GiB", "--durability", "memory"];
    let limits = ["--max-streams", "10", "--max-bytes-per-second", "10MiB", "--deduplication-window", "30s"];
    let made = json(&[&create[..], &limits].concat());
    assert_eq!((&made["max_age"], &made["max_bytes"]), (&"1d12h".into(), &(2u64 << 30).into()));
    assert_eq!((&made["durability"], &made["deduplication_window"]), (&"memory".into(), &"30s".into()));
    assert_eq!((&made["max_streams"], &made["max_bytes_per_second"]), (&10.into(), &(10 << 20).into()));

    let etag = made["etag"].as_str().unwrap();
    let changed = json(&["update", "team-7", "--max-streams", "none", "--max-age", "7d", "--etag", etag]);
    assert_eq!((&changed["max_streams"], &changed["max_age"]), (&serde_json::Value::Null, &"7d".into()));
    assert_eq!(changed["max_bytes"], made["max_bytes"], "what is not named stays");
    assert_eq!(json(&["show", "team-7"]), changed);
    let told = broker.run(&["namespace", "update", "team-7", "--max-age", "1d", "--etag", etag]).told(1);
    assert!(told.contains("(ETAG_MISMATCH)"), "{told}");
    let told = broker.run(&["namespace", "update", "team-7"]).told(2);
    assert!(told.contains("nothing to change"), "{told}");

    let listed = broker.run(&["namespace", "list"]).text();
    assert!(listed.contains("\ndefault ") && listed.contains("\nteam-7 "), "{listed}");
    let shown = broker.run(&["namespace", "show", "team-7"]).text();
    assert!(shown.contains("max streams              none\n"), "{shown}");

    broker.run(&["publish", "t", "x", "--namespace", "team-7"]).ok();
    assert_eq!(broker.run(&["subscribe", "~", "--from", "earliest", "--end"]).text(), "");
    let told = broker.run(&["namespace", "delete", "team-7"]).told(2);
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(broker.run(&["namespace", "delete", "team-7", "--yes"]).text(), "namespace team-7 deleted\n");
    let told = broker.run(&["namespace", "show", "team-7"]).told(1);
    assert!(told.contains("(NAMESPACE_NOT_FOUND)"), "{told}");
}

#[test]
fn a_namespace_that_exists_with_other_settings_is_refused() {
    let broker = Tilde::in_memory();
    let create = |name, age| broker.run(&["namespace", "create", name, "--max-age", age, "--durability", "memory"]);
    create("n", "1d").ok();
    create("n", "1d").ok();
    let told = create("n", "2d").told(1);
    assert!(told.contains("(NAMESPACE_MISMATCH)"), "{told}");
    let told = create("Wrong", "1d").told(1);
    assert!(told.contains("(NAMESPACE_INVALID)"), "{told}");
    let told = broker.run(&["namespace", "create", "n", "--max-streams", "many"]).told(2);
    assert!(told.contains("or `none`"), "{told}");
}
