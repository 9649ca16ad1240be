//! `tilde subscribe`: what is printed, where it begins, how it ends, and that it comes back.

use std::{
    io::{BufRead, BufReader},
    process::Child,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Tilde, finish};

/// A broker with the messages `1` to `5` in `a/1` to `a/5`, and one in `b`.
fn filled() -> Tilde {
    let broker = Tilde::in_memory();
    for n in 1..=5 {
        broker.run(&["publish", &format!("a/{n}"), &n.to_string()]).ok();
    }
    broker.run(&["publish", "b", "other"]).ok();
    broker
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn text_names_the_topic() {
    let got = filled().run(&["subscribe", "a/~", "b", "--from", "earliest", "--end"]).text();
    assert_eq!(got, "a/1  1\na/2  2\na/3  3\na/4  4\na/5  5\nb  other\n");
}

#[test]
fn a_payload_gives_the_terminal_no_orders() {
    let broker = Tilde::in_memory();
    broker.run(&["publish", "a", "\u{1b}]0;title\u{7} and\r\n\tmore"]).ok();
    let get = |form: &str| broker.run(&["subscribe", "a", "--from", "earliest", "--end", "--format", form]).text();
    assert_eq!(get("text"), "a  \\u{1b}]0;title\\u{7} and\\r\\n\tmore\n");
    assert_eq!(get("raw"), "\u{1b}]0;title\u{7} and\r\n\tmore\n");
}

#[test]
fn begins_where_it_is_told_to() {
    let broker = filled();
    let get = |from: &str| broker.run(&["subscribe", "a/~", "--from", from, "--end", "--format", "json"]).json();
    let all = get("earliest");
    assert_eq!(all.len(), 5);
    assert!(get("new").is_empty());
    let third = all[2]["sequence"].to_string();
    assert_eq!(get(&third), &all[2..]);
    let first = broker.run(&["subscribe", "a/~", "--from", "earliest", "--count", "2", "--format", "json"]).json();
    assert_eq!(first.iter().map(|message| &message["text"]).collect::<Vec<_>>(), ["1", "2"]);
    let cursor = first[1]["cursor"].as_str().expect("the last of those that came together has one");
    assert_eq!(get(cursor), &all[2..]);
}

#[test]
fn begins_with_the_last() {
    let broker = filled();
    let get = |args: &[&str]| broker.run(&[&["subscribe", "a/~", "--end", "--format", "raw"], args].concat()).text();
    assert_eq!(get(&["--last", "2"]), "4\n5\n");
    assert_eq!(get(&["--last", "100"]), "1\n2\n3\n4\n5\n");
    broker.run(&["publish", "a/2", "newer"]).ok();
    assert_eq!(get(&["--last-per-topic"]), "1\n3\n4\n5\nnewer\n");
    assert_eq!(get(&["--from", "1h"]), "1\n2\n3\n4\n5\nnewer\n");
    assert_eq!(get(&["--from", "2100-01-01T00:00:00Z"]), "");
    for bad in [&["--last", "1", "--from", "new"][..], &["--last", "0"], &["--last", "1", "--last-per-topic"]] {
        broker.run(&[&["subscribe", "a/~", "--end"], bad].concat()).told(2);
    }
    assert!(broker.run(&["subscribe", "a/~", "--last", "100001"]).told(1).contains("it takes 1 to 100000"));
}

#[test]
fn prints_what_passes_the_filter() {
    let broker = filled();
    broker.run(&["publish", "a/6", "6", "-a", "lang=en"]).ok();
    let get = |filter: &str| {
        let args = ["subscribe", "~", "--from", "earliest", "--end", "--format", "raw", "--filter", filter];
        broker.run(&args)
    };
    assert_eq!(get("topic in ['a/2', 'b']").text(), "2\nother\n");
    assert_eq!(get("attributes.lang == \"en\"").text(), "6\n");
    assert_eq!(get("").text().lines().count(), 7);
    let told = get("attributes.lang = \"en\"").told(1);
    assert!(
        told.contains("at column 17, `= \"en\"`: equality is written `==`") && told.contains("FILTER_INVALID"),
        "{told}"
    );
}

#[test]
fn waits_for_as_many_as_are_asked_for() {
    let broker = filled();
    let args = ["subscribe", "a/~", "--from", "earliest", "--count", "6", "--format", "raw"];
    let mut child = broker.command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 1..=5 {
        assert_eq!(lines.next().unwrap().unwrap(), n.to_string());
    }
    broker.run(&["publish", "a/6", "6"]).ok();
    assert_eq!(lines.next().unwrap().unwrap(), "6");
    assert!(lines.next().is_none());
    finish(child).ok();
}

#[test]
fn is_stopped_by_either_signal() {
    let broker = filled();
    for which in [Signal::INT, Signal::TERM] {
        let mut child = broker.command(&["subscribe", "~", "--from", "earliest"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "a/1  1");
        signal(&child, which);
        assert_eq!(finish(child).told(0), "");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let broker = filled();
    let mut child = broker.command(&["subscribe", "~", "--from", "earliest"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a/1  1");
    drop(lines);
    broker.run(&["publish", "c", "into a closed pipe"]).ok();
    assert_eq!(finish(child).told(0), "");
}

#[test]
fn comes_back_when_the_broker_does() {
    let broker = filled();
    let address = broker.url.strip_prefix("http://").unwrap().to_owned();
    let args = ["subscribe", "~", "--from", "earliest", "--format", "raw", "--count", "7"];
    let mut child = broker.command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..6 {
        lines.next().unwrap().unwrap();
    }
    broker.stop();
    // Its messages were in memory: it is another log, and the command says so.
    let again = Tilde::start(&["--engine", "memory", "--listen", &address]);
    again.run(&["publish", "x", "after"]).ok();
    assert_eq!(lines.next().unwrap().unwrap(), "after");
    let told = finish(child).told(0);
    assert!(told.starts_with("disconnected: the broker is stopping; trying until a broker answers, "), "{told}");
    assert_eq!(told.matches("disconnected").count(), 1, "{told}");
    assert!(told.contains("connected again"), "{told}");
    assert!(told.contains("gap: ") && told.contains("another log"), "{told}");
}

#[test]
fn a_cursor_of_another_log_is_a_gap_or_an_error() {
    let old = filled();
    let args = ["subscribe", "~", "--from", "earliest", "--end", "--format", "json"];
    let last = old.run(&args).json().pop().unwrap();
    let cursor = last["cursor"].as_str().unwrap();
    let new = filled();
    let answer = new.run(&["subscribe", "~", "--from", cursor, "--end"]);
    assert!(answer.stderr.starts_with("gap: ") && answer.stderr.contains("another log"), "{}", answer.stderr);
    assert_eq!(answer.text().lines().count(), 6, "what the new log has is printed");
    let told = new.run(&["subscribe", "~", "--from", cursor, "--end", "--strict"]).told(1);
    assert!(told.contains("(POSITION_EXPIRED)\nhint: --from earliest"), "{told}");
}

#[test]
fn fails_instead_if_it_is_told_to() {
    for stop in [Tilde::stop, Tilde::kill] {
        let broker = filled();
        let mut child = broker.command(&["subscribe", "~", "--from", "earliest", "--reconnect=false"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        stop(broker);
        let told = finish(child).told(1);
        assert!(told.starts_with("error: "), "{told}");
    }
}

#[test]
fn what_is_refused_says_why() {
    let broker = filled();
    let cursor = "A".repeat(23);
    for (args, expected) in [
        (&["subscribe", "a\n"][..], "(PATTERN_INVALID)"),
        (&["subscribe", "a", "--from", &cursor], "(CURSOR_INVALID)"),
        (&["subscribe", "a", "--namespace", "nobody"], "(NAMESPACE_NOT_FOUND)"),
    ] {
        let told = broker.run(args).told(1);
        assert!(told.starts_with("error: ") && told.contains(expected), "{told}");
    }
    for (args, expected) in [
        (&["subscribe"][..], "PATTERN"),
        (&["subscribe", "a", "--from", "earlist"], "new, earliest, a sequence, a time, how long ago, or a cursor"),
        (&["subscribe", "a", "--from", "-1"], "a sequence is counted from the beginning, never from the end"),
        (&["subscribe", "a", "--count", "0"], "write a whole number above zero, as in 10"),
    ] {
        let told = broker.run(args).told(2);
        assert!(told.contains(expected), "{told}");
    }
}
