//! `tilde subscription`: created, changed, looked at, worked off by hand, and deleted.

use serde_json::{Value, json};

use crate::support::{Answer, Tilde, finish};

/// A broker with the subscription `s` of `a/~`, and the messages `1` to `count` in `a/1` and so on, published after it.
fn filled(count: u32, flags: &[&str]) -> Tilde {
    let broker = Tilde::in_memory();
    sub(&broker, &[&["create", "s", "a/~"], flags].concat()).ok();
    publish(&broker, 1..=count);
    broker
}

fn publish(broker: &Tilde, numbers: std::ops::RangeInclusive<u32>) {
    for n in numbers {
        broker.run(&["publish", &format!("a/{n}"), &n.to_string()]).ok();
    }
}

#[track_caller]
fn sub(broker: &Tilde, args: &[&str]) -> Answer {
    broker.run(&[&["subscription"], args].concat())
}

/// The one object that a subcommand prints.
#[track_caller]
fn object(broker: &Tilde, args: &[&str]) -> Value {
    sub(broker, &[args, &["--format", "json"]].concat()).json().remove(0)
}

/// What can be pulled now, or soon.
#[track_caller]
fn pull(broker: &Tilde, flags: &[&str]) -> Vec<Value> {
    sub(broker, &[&["pull", "s", "--wait", "20s", "--format", "json"], flags].concat()).json()
}

#[track_caller]
fn standing(broker: &Tilde, sequence: &Value) -> Value {
    object(broker, &["explain", "s", &sequence.to_string()])["standing"].clone()
}

#[test]
fn what_is_created_is_listed_and_shown() {
    let broker = Tilde::in_memory();
    let flags = ["--ack-deadline", "1m", "--max-attempts", "3", "--label", "team=7", "--max-rate", "0.5"];
    let made = object(&broker, &[&["create", "orders", "orders/~", "refunds"][..], &flags].concat());
    assert_eq!(
        (&made["created"], &made["name"], &made["namespace"]),
        (&json!(true), &json!("orders"), &json!("default"))
    );
    assert_eq!(made["ack_deadline"], "1m");
    assert_eq!(
        made["retry_policy"],
        json!({"min_backoff": "1s", "max_backoff": "10m", "multiplier": 2.0, "max_attempts": 3})
    );
    assert_eq!(made["dead_letter_policy"], json!({"topic": "$dead/orders", "drop": false}));
    assert_eq!(
        (&made["delivery_order"], &made["start"], &made["state"]),
        (&json!("shared"), &json!("new"), &json!("active"))
    );
    assert_eq!((&made["labels"], &made["max_messages_per_second"]), (&json!({"team": "7"}), &json!(0.5)));

    sub(&broker, &["create", "other", "x"]).ok();
    let names = |flags: &[&str]| {
        let listed = sub(&broker, &[&["list", "--format", "json"], flags].concat()).json();
        listed.iter().map(|subscription| subscription["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["orders", "other"]);
    assert_eq!(names(&["--topic", "orders/eu"]), ["orders"]);
    let table = sub(&broker, &["list"]).text();
    assert!(
        table.starts_with("SUBSCRIPTION") && table.contains("\norders ") && table.contains(" orders/~ refunds\n"),
        "{table}"
    );

    let shown = sub(&broker, &["show", "orders"]).text();
    for line in [
        "dead letters             to $dead/orders\n",
        "max attempts             3\n",
        "backlog                  0 messages, 0 B\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let told = sub(&broker, &["show", "nothing"]).told(1);
    assert!(told.contains("(SUBSCRIPTION_NOT_FOUND)\nhint: `tilde subscription list`"), "{told}");
}

#[test]
fn the_same_again_is_no_error_and_another_says_what_differs() {
    let broker = Tilde::in_memory();
    let create = |deadline| sub(&broker, &["create", "s", "a", "--ack-deadline", deadline, "--format", "json"]);
    assert_eq!(create("30s").json()[0]["created"], true);
    assert_eq!(create("30s").json()[0]["created"], false);
    let told = create("10s").told(1);
    assert!(told.contains("--ack-deadline is 30s, not 10s") && told.contains("(SUBSCRIPTION_MISMATCH)"), "{told}");
    assert!(told.contains("hint: `tilde subscription update`"), "{told}");
}

#[test]
fn an_update_changes_what_it_names() {
    let broker = Tilde::in_memory();
    let made =
        object(&broker, &["create", "s", "a", "--filter", "topic == 'a'", "--max-attempts", "3", "--max-backlog", "9"]);
    let etag = made["etag"].as_str().unwrap();
    let changed =
        object(&broker, &["update", "s", "a", "b/~", "--max-attempts", "never", "--filter", "", "--etag", etag]);
    assert_eq!((&changed["topics"], changed.get("filter")), (&json!(["a", "b/~"]), None));
    assert_eq!(changed["retry_policy"], json!({"min_backoff": "1s", "max_backoff": "10m", "multiplier": 2.0}));
    assert_eq!(changed["max_backlog_messages"], 9, "what is not named stays");
    assert_eq!(object(&broker, &["show", "s"]), changed);
    let told = sub(&broker, &["update", "s", "--ack-deadline", "1m", "--etag", etag]).told(1);
    assert!(told.contains("(ETAG_MISMATCH)"), "{told}");
    let told = sub(&broker, &["update", "s"]).told(2);
    assert!(told.contains("nothing to change"), "{told}");
    let lifted = object(&broker, &["update", "s", "--max-backlog", "none", "--drop-dead-letters"]);
    assert_eq!((lifted.get("max_backlog_messages"), &lifted["dead_letter_policy"]["drop"]), (None, &json!(true)));
    let kept = object(&broker, &["update", "s", "--dead-letter-topic", ""]);
    assert_eq!(kept["dead_letter_policy"], json!({"topic": "$dead/s", "drop": false}));
}

#[test]
fn what_is_pulled_is_settled_by_its_ack_id() {
    let broker = filled(3, &[]);
    let pulled = pull(&broker, &["--max", "2"]);
    assert_eq!(pulled.iter().map(|message| &message["text"]).collect::<Vec<_>>(), ["1", "2"]);
    let ids: Vec<&str> = pulled.iter().map(|message| message["ack_id"].as_str().unwrap()).collect();
    assert_eq!(standing(&broker, &pulled[0]["sequence"]), "leased");
    assert_eq!(sub(&broker, &["ack", "s", "--", ids[0], ids[1]]).text(), "2 deliveries acknowledged\n");
    let told = sub(&broker, &["ack", "s", "--", ids[0]]).told(1);
    assert!(told.contains("1 of 1 were not acknowledged: settled before, in another way (ALREADY_SETTLED)"), "{told}");
    let told = sub(&broker, &["ack", "s", "--nack", "--", ids[0]]).told(1);
    assert!(told.contains("1 of 1 were not sent back as failed: ") && told.contains("(ALREADY_SETTLED)"), "{told}");
    assert_eq!(standing(&broker, &pulled[0]["sequence"]), "acked");

    let line = sub(&broker, &["pull", "s"]).text();
    let (id, rest) = line.split_once("  ").unwrap();
    assert_eq!(rest, "a/3  3\n");
    sub(&broker, &["ack", "s", "--release", "--", id]).ok();
    assert_eq!(sub(&broker, &["pull", "s", "--wait", "20s", "--ack"]).text(), "a/3  3\n");
    assert_eq!(object(&broker, &["show", "s"])["stats"]["acked"], 3);
    assert_eq!(sub(&broker, &["pull", "s"]).text(), "");
}

#[test]
fn what_is_pulled_automatically_is_done() {
    let broker = filled(2, &[]);
    assert_eq!(sub(&broker, &["pull", "s", "--auto", "--format", "raw"]).text(), "1\n2\n");
    assert_eq!(sub(&broker, &["pull", "s"]).text(), "");
    sub(&broker, &["pull", "s", "--auto", "--ack"]).told(2);
}

#[test]
fn what_failed_can_be_pulled_before_its_time() {
    let broker = filled(2, &[]);
    let pulled = pull(&broker, &["--max", "1"]);
    sub(&broker, &["ack", "s", "--nack", "--delay", "1h", "--", pulled[0]["ack_id"].as_str().unwrap()]).ok();
    assert_eq!(sub(&broker, &["pull", "s", "--auto", "--format", "raw"]).text(), "2\n");
    assert_eq!(sub(&broker, &["pull", "s", "--early", "--auto", "--format", "raw"]).text(), "1\n");
}

#[test]
fn what_failed_comes_again_and_in_the_end_is_a_dead_letter_that_can_be_sent_back() {
    let broker = filled(1, &["--max-attempts", "2", "--min-backoff", "0s"]);
    for attempt in 1..=2 {
        let pulled = pull(&broker, &[]);
        assert_eq!((pulled.len(), &pulled[0]["attempt"]), (1, &json!(attempt)));
        sub(&broker, &["ack", "s", "--nack", "--reason", "no paper", "--", pulled[0]["ack_id"].as_str().unwrap()]).ok();
    }
    let dead = broker.run(&["subscribe", "$dead/s", "--from", "earliest", "--count", "1", "--format", "json"]).json();
    assert_eq!((&dead[0]["text"], &dead[0]["attributes"]["tilde-reason"]), (&json!("1"), &json!("no paper")));
    let sequence = dead[0]["attributes"]["tilde-sequence"].as_str().unwrap();
    let explained = object(&broker, &["explain", "s", sequence]);
    assert_eq!((&explained["standing"], &explained["last_reason"]), (&json!("dead-lettered"), &json!("no paper")));

    assert_eq!(sub(&broker, &["redrive", "s", "--dry-run"]).text(), "1 dead letter would be sent back\n");
    assert_eq!(sub(&broker, &["redrive", "s"]).text(), "1 dead letter sent back\n");
    assert_eq!(sub(&broker, &["redrive", "s"]).text(), "0 dead letters sent back\n", "none a second time");
    assert_eq!(pull(&broker, &["--ack"])[0]["text"], "1");
}

#[test]
fn a_paused_one_delivers_nothing_until_it_is_resumed() {
    let broker = filled(1, &[]);
    assert_eq!(sub(&broker, &["pause", "s"]).text(), "subscription s paused\n");
    assert_eq!(object(&broker, &["show", "s"])["state"], "paused");
    let told = sub(&broker, &["pull", "s"]).told(1);
    assert!(told.contains("(SUBSCRIPTION_PAUSED)\nhint: `tilde subscription resume"), "{told}");
    assert_eq!(sub(&broker, &["resume", "s"]).text(), "subscription s resumed\n");
    assert_eq!(pull(&broker, &["--ack"]).len(), 1);

    sub(&broker, &["pause", "s", "--for", "1h"]).ok();
    assert!(object(&broker, &["show", "s"])["paused_until"].is_string());
    let told = sub(&broker, &["pause", "s", "--until", "tomorrow"]).told(2);
    assert!(told.contains("2026-11-21T10:00:00Z"), "{told}");
    sub(&broker, &["pause", "s", "--until", "2020-01-01T00:00:00Z"]).told(1);
    sub(&broker, &["pause", "s", "--until", "2100-01-01T00:00:00Z", "--for", "1h"]).told(2);
}

#[test]
fn seeking_counts_and_moves() {
    let broker = filled(3, &[]);
    let pulled = pull(&broker, &["--ack"]);
    assert_eq!(pulled.len(), 3);
    assert_eq!(
        sub(&broker, &["seek", "s", "--to", "earliest", "--dry-run"]).text(),
        "up to 3 messages would be delivered\n"
    );
    assert_eq!(sub(&broker, &["pull", "s"]).text(), "", "nothing moved");
    let third = pulled[2]["sequence"].to_string();
    assert_eq!(sub(&broker, &["seek", "s", "--to", &third]).text(), "up to 1 message to be delivered\n");
    assert_eq!(pull(&broker, &["--ack"])[0]["text"], "3");
    assert_eq!(object(&broker, &["seek", "s", "--to", "1h"]), json!({"backlog_messages": 3, "dry_run": false}));
    assert_eq!(sub(&broker, &["seek", "s", "--to", "new"]).text(), "up to 0 messages to be delivered\n");
    assert_eq!(sub(&broker, &["pull", "s"]).text(), "");
    sub(&broker, &["seek", "s"]).told(2);
    sub(&broker, &["seek", "s", "--to", "erliest"]).told(2);
}

#[test]
fn a_cursor_is_a_position_too() {
    let broker = Tilde::in_memory();
    let published = |n: u32| broker.run(&["publish", "a/x", &n.to_string(), "--format", "json"]).json().remove(0);
    let cursor = published(1)["cursor"].as_str().unwrap().to_owned();
    published(2);
    sub(&broker, &["create", "s", "a/~", "--from", &format!("cursor:{cursor}")]).ok();
    assert_eq!(sub(&broker, &["pull", "s", "--ack", "--format", "raw"]).text(), "2\n");
    sub(&broker, &["seek", "s", "--to", "earliest"]).ok();
    assert_eq!(sub(&broker, &["pull", "s", "--ack", "--format", "raw"]).text(), "1\n2\n");
}

#[test]
fn explaining_says_where_a_message_stands() {
    let broker = filled(2, &["--max-outstanding", "1"]);
    let first = pull(&broker, &["--ack"]);
    assert_eq!(first.len(), 1, "one at a time");
    let acked = object(&broker, &["explain", "s", &first[0]["sequence"].to_string()]);
    assert_eq!(
        (&acked["standing"], acked["explanation"].as_str().is_some_and(|why| !why.is_empty())),
        (&json!("acked"), true)
    );
    let second = object(&broker, &["explain", "s", &(first[0]["sequence"].as_u64().unwrap() + 1).to_string()]);
    assert_eq!((&second["standing"], &second["attempts"]), (&json!("waiting"), &json!(0)));
    assert_eq!(standing(&broker, &json!(1_000_000)), "not-found");
    broker.run(&["publish", "b", "x"]).ok();
    let other = broker.run(&["topics", "show", "b", "--format", "json"]).json().remove(0);
    assert_eq!(standing(&broker, &other["last_sequence"]), "not-matched");
    let text = sub(&broker, &["explain", "s", &first[0]["sequence"].to_string()]).text();
    assert!(text.starts_with("standing     acked\nexplanation  "), "{text}");
}

#[test]
fn purging_and_deleting_ask() {
    let broker = filled(3, &[]);
    let told = sub(&broker, &["purge", "s"]).told(2);
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(sub(&broker, &["purge", "s", "--yes"]).text(), "3 messages purged\n");
    assert_eq!(sub(&broker, &["pull", "s"]).text(), "");
    let told = sub(&broker, &["delete", "s"]).told(2);
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(sub(&broker, &["delete", "s", "--yes"]).text(), "subscription s deleted\n");
    for gone in
        [&["delete", "s", "--yes"][..], &["show", "s"], &["pull", "s"], &["purge", "s", "--yes"], &["resume", "s"]]
    {
        let told = sub(&broker, gone).told(1);
        assert!(told.contains("(SUBSCRIPTION_NOT_FOUND)"), "{gone:?}: {told}");
    }
    assert_eq!(broker.run(&["topics", "list", "--format", "json"]).json().len(), 3, "the messages stay");
}

#[test]
fn what_the_command_line_itself_refuses() {
    let broker = Tilde::in_memory();
    for (args, expected) in [
        (&["create", "s"][..], "PATTERN"),
        (&["create", "s", "a", "--from", "erliest"], "write new, earliest"),
        (&["create", "s", "a", "--max-attempts", "0"], "or `never`"),
        (&["create", "s", "a", "--dead-letter-topic", "d", "--drop-dead-letters"], "cannot be used with"),
        (&["update", "s", "--from", "new"], "--from"),
        (&["ack", "s"], "ACK_ID"),
        (&["ack", "s", "id", "--delay", "1s"], "--nack"),
        (&["explain", "s", "x"], "write a sequence, which is a whole number as `tilde publish` prints it, as in 1042"),
        (&["explain", "s", "-1"], "write a sequence"),
        (&["create", "s", "a", "--max-attempts", "-3"], "write a number from 1 on"),
        (&["create", "s", "a", "--max-outstanding", "-3"], "write a number above zero, or `none`"),
        (&["create", "s", "a", "--ack-deadline", "-5s"], "is no duration"),
        (&["pause", "s", "--for", "0s"], "write a duration above zero"),
        (&["redrive", "s", "--max", "-1"], "write a whole number above zero"),
    ] {
        let told = sub(&broker, args).told(2);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn what_the_broker_refuses_is_told_in_flags() {
    let broker = filled(0, &[]);
    for (args, expected) in [
        (
            &["update", "s", "--min-backoff", "5s", "--max-backoff", "1s"][..],
            "--max-backoff is 1s: it takes --min-backoff, 5s",
        ),
        (&["update", "s", "--max-rate", "0"], "--max-rate must be above 0"),
        (
            &["create", "s", "a/~", "--order", "key", "--max-attempts", "7"],
            "--order is SHARED, not KEY, --max-attempts is 5",
        ),
        (&["seek", "s", "--last", "200000"], "--last is 200000"),
        (&["ack", "s", "id", "--nack", "--delay", "13h"], "--delay is 46800s"),
        (&["ack", "s", "id", "--extend", "13h"], "--extend is 46800s"),
    ] {
        let told = sub(&broker, args).told(1);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn what_is_no_ack_id_is_told_with_where_they_come_from() {
    let broker = filled(0, &[]);
    let told = sub(&broker, &["ack", "s", "garbage"]).told(1);
    let expected =
        "the subscription handed out no such ack_id: garbage (ACK_ID_INVALID)\nhint: `tilde subscription pull NAME`";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn who_pulls_nothing_is_told_why() {
    let broker = filled(0, &["--min-backoff", "10m"]);
    let told = || sub(&broker, &["pull", "s"]).told(0);
    assert_eq!(told(), "nothing came of subscription s: no message waits\n");
    publish(&broker, 1..=1);
    let pulled = pull(&broker, &[]);
    assert_eq!(told(), "nothing came of subscription s: all that waits is with consumers, 1 message\n");
    sub(&broker, &["ack", "s", "--nack", "--", pulled[0]["ack_id"].as_str().unwrap()]).ok();
    assert!(told().contains("up to 1 message wait for their time or their turn"), "{}", told());
    assert_eq!(sub(&broker, &["pull", "s", "--format", "json"]).told(0), "", "programs see that for themselves");

    let child = broker.command(&["subscription", "pull", "s", "--wait", "2s"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    sub(&broker, &["pause", "s"]).ok();
    let told = finish(child).told(0);
    assert!(told.contains("it is paused: `tilde subscription resume s`"), "{told}");
}

#[test]
fn a_pattern_that_says_more_than_is_read_is_warned_of() {
    let broker = Tilde::in_memory();
    let warning = "warning: 'a/~b' is read as 'a/~': what stands behind the first ~ is not looked at\n";
    for args in [
        &["subscription", "create", "s", "a/~b"][..],
        &["subscription", "update", "s", "a/~b", "c"],
        &["subscribe", "a/~b", "--from", "earliest", "--end"],
        &["topics", "list", "a/~b"],
    ] {
        assert_eq!(broker.run(args).told(0), warning, "{args:?}");
    }
    assert_eq!(sub(&broker, &["create", "t", "a/~", "~", "b"]).told(0), "");
}
