//! `tilde review` from outside: what it logs and prints, and that nothing is missed.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::process::Signal;

use crate::support::{Tilde, dice::rounds, disk::SmallDisk, running::Running};

/// A reviewer that is subscribed.
#[track_caller]
fn review(broker: &Tilde, flags: &[&str]) -> Running {
    let (reviewer, ready) = Running::start(broker.command(&[&["review"], flags].concat()));
    assert!(ready.starts_with("reviewing "), "{ready}");
    reviewer
}

/// Publishes as a watcher does.
#[track_caller]
fn publish(broker: &Tilde, path: &str, important: bool) {
    let attributes = [format!("path={path}"), format!("important={important}"), "modified_time=then".to_owned()];
    let flags = attributes.iter().flat_map(|attribute| ["-a", attribute]).collect::<Vec<_>>();
    broker.run(&[&["publish", path, "+diff"], &flags[..]].concat()).ok();
}

/// The paths in a log, with what was there before the rotation.
fn logged(directory: &Path, log: &str) -> Vec<String> {
    let old = (1..100).rev().map(|n| format!("{log}.{n}"));
    let text: String =
        old.chain([log.to_owned()]).filter_map(|name| fs::read_to_string(directory.join(name)).ok()).collect();
    text.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

/// Publishes one that is important, and waits until it is printed: then all before it are logged.
#[track_caller]
fn mark(broker: &Tilde, reviewer: &mut Running) {
    publish(broker, "important", true);
    while !reviewer.line().starts_with("+diff") {}
}

#[test]
fn it_goes_on_where_it_was_and_nothing_is_logged_twice() {
    let broker = Tilde::in_memory();
    publish(&broker, "before", false);
    let mut reviewer = review(&broker, &[]);
    publish(&broker, "a", false);
    mark(&broker, &mut reviewer);
    reviewer.stop().ok();
    publish(&broker, "b", false);
    publish(&broker, "c", false);
    let mut reviewer = review(&broker, &[]);
    mark(&broker, &mut reviewer);
    assert_eq!(logged(broker.directory(), "reviewer_app.log"), ["a", "important", "b", "c", "important"]);
    // Another log is another reviewer.
    let mut other = review(&broker, &["--log", "other.log"]);
    publish(&broker, "d", false);
    mark(&broker, &mut other);
    assert_eq!(logged(broker.directory(), "other.log"), ["d", "important"]);
}

#[test]
fn whoever_is_killed_nothing_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Tilde::start_in(directory.path(), &[]);
    let address = broker.url.strip_prefix("http://").unwrap().to_owned();
    let mut reviewer = review(&broker, &[]);
    let count = rounds(60, 1_000);
    for n in 0..count {
        publish(&broker, &format!("f{n}"), false);
        match n % 20 {
            5 => {
                reviewer.kill();
                reviewer = review(&broker, &[]);
            }
            15 => {
                broker.kill();
                broker = Tilde::start_in(directory.path(), &["--listen", &address]);
            }
            _ => {}
        }
    }
    mark(&broker, &mut reviewer);
    let logged = logged(directory.path(), "reviewer_app.log");
    let missed: Vec<String> = (0..count).map(|n| format!("f{n}")).filter(|name| !logged.contains(name)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(fs::read(directory.path().join("reviewer_app.log")).unwrap().ends_with(b"important\n"));
}

#[test]
fn one_that_is_slow_and_one_that_is_dead_disturb_nobody() {
    let broker = Tilde::in_memory();
    let slow = review(&broker, &["--log", "slow.log"]);
    let dead = review(&broker, &["--log", "dead.log"]);
    let mut well = review(&broker, &["--log", "well.log"]);
    slow.signal(Signal::STOP);
    dead.kill();
    let count = rounds(50, 2_000);
    (0..count).for_each(|n| publish(&broker, &format!("f{n}"), false));
    mark(&broker, &mut well);
    assert_eq!(logged(broker.directory(), "well.log").len(), count + 1);
    slow.signal(Signal::CONT);
    let mut dead = review(&broker, &["--log", "dead.log"]);
    let mut slow = slow;
    mark(&broker, &mut slow);
    mark(&broker, &mut dead);
    for log in ["slow.log", "dead.log"] {
        let logged: BTreeSet<String> = logged(broker.directory(), log).into_iter().collect();
        assert_eq!(logged.len(), count + 1, "{log}");
    }
}

#[test]
fn the_log_is_rotated_by_its_size() {
    let broker = Tilde::in_memory();
    let mut reviewer = review(&broker, &["--log-size", "300B", "--log-files", "3"]);
    (0..20).for_each(|n| publish(&broker, &format!("f{n}"), false));
    mark(&broker, &mut reviewer);
    let sizes = |name: &str| fs::metadata(broker.directory().join(name)).map(|log| log.len()).ok();
    for name in ["reviewer_app.log", "reviewer_app.log.1", "reviewer_app.log.3"] {
        assert!(sizes(name).is_some_and(|size| size > 0 && size <= 300), "{name}: {:?}", sizes(name));
    }
    assert_eq!(sizes("reviewer_app.log.4"), None);
    let kept = logged(broker.directory(), "reviewer_app.log");
    let all: Vec<String> = (0..20).map(|n| format!("f{n}")).chain(["important".to_owned()]).collect();
    assert_eq!(kept, all[all.len() - kept.len()..], "the newest, in order");
}

#[test]
fn other_patterns_are_taken_on() {
    let broker = Tilde::in_memory();
    let reviewer = review(&broker, &["a/~", "--subscription", "r"]);
    reviewer.stop().ok();
    let mut reviewer = review(&broker, &["b/~", "important", "--subscription", "r"]);
    publish(&broker, "a/1", false);
    publish(&broker, "b/1", false);
    mark(&broker, &mut reviewer);
    assert_eq!(logged(broker.directory(), "reviewer_app.log"), ["b/1", "important"]);
}

#[test]
fn a_second_one_stands_by_says_so_and_takes_over() {
    let broker = Tilde::in_memory();
    let mut first = review(&broker, &[]);
    publish(&broker, "a", false);
    mark(&broker, &mut first);
    let mut second = review(&broker, &[]);
    second.told("stands by until that one ends");
    first.stop().ok();
    publish(&broker, "b", false);
    mark(&broker, &mut second);
    assert_eq!(logged(broker.directory(), "reviewer_app.log"), ["a", "important", "b", "important"]);
}

#[test]
fn lines_can_be_objects_and_any_message_has_one() {
    let broker = Tilde::in_memory();
    // Standard output has nothing but objects.
    let mut reviewer = Running::spawn(broker.command(&["review", "--format", "json"]));
    reviewer.told("reviewing ~ as ");
    broker.run(&["publish", "orders/eu", "7"]).ok();
    publish(&broker, "important\u{202e}", true);
    let object = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let printed = object(&reviewer.line());
    assert_eq!((&printed["path"], &printed["diff"]), (&"important\u{202e}".into(), &"+diff".into()));
    let text = fs::read_to_string(broker.directory().join("reviewer_app.log")).unwrap();
    let lines: Vec<_> = text.lines().map(object).collect();
    assert_eq!((&lines[0]["topic"], &lines[0]["path"]), (&"orders/eu".into(), &serde_json::Value::Null));
    assert_eq!((&lines[1]["important"], &lines[1]["timestamp"]), (&true.into(), &"then".into()));
    assert_eq!(lines[1]["diff"], serde_json::Value::Null);
}

#[test]
fn a_full_disk_is_said_and_waited_for() {
    let broker = Tilde::in_memory();
    let disk = SmallDisk::new(broker.directory(), 256 << 10);
    let (mut reviewer, _) = Running::start(disk.with(&broker.command(&["review", "--log", "data/log"])));
    publish(&broker, "a", false);
    mark(&broker, &mut reviewer);
    disk.take(None);
    // What is still free in the last page is not much.
    (0..200).for_each(|n| publish(&broker, &format!("f{n}"), false));
    let told = reviewer.told("the log data/log cannot be written: No space left on device");
    assert!(told.contains("nothing is acknowledged until then"), "{told}");
    disk.give();
    reviewer.told("is written again");
    mark(&broker, &mut reviewer);
    let expected = (0..200).map(|n| format!("f{n}"));
    let expected: Vec<String> = ["a".to_owned(), "important".to_owned()].into_iter().chain(expected).collect();
    let logged = logged(&disk.path(), "log");
    assert_eq!(logged[..logged.len() - 1], expected);
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let address = crate::support::ports::free_address();
    let mut command = crate::support::tilde(directory.path(), &["review"]);
    command.env("TILDE_BROKER", &address);
    let mut reviewer = Running::spawn(command);
    reviewer.told("waiting for the broker: cannot reach a broker at");
    let broker = Tilde::start_in(directory.path(), &["--listen", &address]);
    assert!(reviewer.line().starts_with("reviewing ~ as review:"));
    mark(&broker, &mut reviewer);
    let told = broker.run(&["review", "--log", "nowhere/log"]).told(1);
    assert!(
        told.contains("the log nowhere/log cannot be written") && told.contains("hint: name another --log"),
        "{told}"
    );
}
