//! What is published, by whom it is seen, and how it is reviewed.

use std::{fs, path::Path};

use super::world::{World, names, told};
use crate::support::Tilde;

/// What is in a log, line by line, without the times.
fn log(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let (time, rest) = line.split_once(" - ").unwrap();
        let (name, rest) = rest.split_once(" - INFO - ").unwrap();
        let (timestamp, path) = rest.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && timestamp.parse::<jiff::Timestamp>().is_ok(), "{line}");
        format!("{name} {path}")
    };
    text.lines().map(line).collect()
}

#[test]
fn an_important_change_is_logged_and_printed_and_another_only_logged() {
    let mut world = World::new(&[("important-docs/a", "one\n"), ("plain/deep/b", "b\n"), ("to-do/c", "c\n")]);
    let _watcher = world.watch(&[]);
    let mut all = world.review(&["--log", "all.log"]);
    let to_do = format!("{}/to-do/~", world.tree().display());
    let some = world.review(&[&to_do, "--log", "some.log"]);
    world.append("important-docs/a", "two\n");
    let lines: Vec<String> = (0..6).map(|_| all.line()).collect();
    assert!(lines[0].contains(" - reviewer_app_stdout - INFO - "), "{lines:?}");
    assert!(lines[0].ends_with(&world.topic("important-docs/a")), "{lines:?}");
    let expected = ["--- a/important-docs/a", "+++ b/important-docs/a", "@@ -1 +1,2 @@", " one", "+two"];
    assert_eq!(lines[1..], expected);
    world.append("plain/deep/b", "more\n");
    world.mark();
    world.append("to-do/c", "more\n");
    world.mark();
    let topics: Vec<String> = world.published().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["important-docs/a", "plain/deep/b", "to-do/c"].map(|name| world.topic(name)));
    // Once the last is printed, all before it are logged.
    world.append("important-docs/a", "three\n");
    (0..7).for_each(|_| drop(all.line()));
    assert_eq!(all.printed(), Vec::<String>::new());
    let logged = |name: &str| log(&world.beside(name)).into_iter().filter(|line| !line.ends_with("/mark"));
    let line = |name: &str| format!("reviewer_app_file {}", world.topic(name));
    let expected = ["important-docs/a", "plain/deep/b", "to-do/c", "important-docs/a"].map(line);
    assert_eq!(logged("all.log").collect::<Vec<_>>(), expected);
    settled(&world, "some.log");
    assert_eq!(logged("some.log").collect::<Vec<_>>(), [line("to-do/c")]);
    assert_eq!(some.stop().text(), "", "nothing of it is important");
}

/// Waits until the subscription of a log has nothing left.
#[track_caller]
fn settled(world: &World, log: &str) {
    let begun = std::time::Instant::now();
    loop {
        let rows = world.broker().run(&["subscription", "list", "--format", "json"]).json();
        let own = rows.iter().find(|row| row["name"].as_str().unwrap().ends_with(log)).unwrap();
        let acked = own["stats"]["acked"].as_u64().unwrap_or_default();
        if acked > 0 && own["stats"]["backlog_messages"].as_u64().unwrap_or_default() == 0 {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{own}");
    }
}

#[test]
fn what_changes_nothing_is_not_published() {
    let mut world = World::new(&[("a", "same\n"), ("sub/b", "b\n")]);
    let _watcher = world.watch(&["--events", "all"]);
    world.write("a", "same\n");
    world.shell("touch a sub sub/b && chmod 600 a && chmod 700 sub && mkdir new && rmdir new && cat a sub/b");
    world.shell("ln -s a link && mkfifo pipe && rm link pipe");
    assert_eq!(told(&world.published()), []);
}

#[test]
fn what_comes_later_is_not_published() {
    let mut world = World::new(&[("old", "old\n"), ("other", "other\n"), ("gone", "gone\n")]);
    let _watcher = world.watch(&[]);
    world.write("new", "new\n");
    world.write("dir/newer", "new\n");
    world.shell("mv other moved && rm gone");
    world.mark();
    world.append("new", "more\n");
    world.append("moved", "more\n");
    world.append("old", "more\n");
    assert_eq!(names(&world.published()), ["old"]);
    // It is compared with what it was before it was gone.
    world.write("gone", "gone\n");
    assert_eq!(names(&world.published()), ["old"]);
    world.append("gone", "back\n");
    let published = world.published();
    assert_eq!(names(&published), ["old", "gone"]);
    assert!(published[1].text().ends_with("@@ -1 +1,2 @@\n gone\n+back\n"), "{}", published[1].text());
}

#[test]
fn all_events_are_published_if_they_are_asked_for() {
    let world = World::new(&[("a", "a\n"), ("b", "b\n"), ("dir/c", "c\n")]);
    let _watcher = world.watch(&["--events", "all", "--topic-prefix", "host-7:"]);
    let step = |script: &str, name: &str, count: usize| {
        world.shell(script);
        world.wait_for(&format!("host-7:{}", world.topic(name)), count);
    };
    step("printf 'new\\n' > n", "n", 1);
    step("rm a", "a", 1);
    step("mv b moved", "moved", 1);
    step("mv dir other", "other/c", 1);
    step("echo more >> other/c", "other/c", 2);
    let all = world.broker().run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json();
    let part = |n: usize, name: &str| all[n]["attributes"][name].as_str().unwrap_or_default().to_owned();
    let text = |n: usize| all[n]["text"].as_str().unwrap().to_owned();
    assert_eq!(
        (part(0, "change"), text(0)),
        ("created".into(), "--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+new\n".into())
    );
    assert_eq!((part(1, "change"), text(1)), ("deleted".into(), "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n".into()));
    assert_eq!((part(2, "change"), part(2, "old_path")), ("renamed".into(), world.topic("b")));
    assert_eq!((part(3, "change"), part(3, "old_path")), ("renamed".into(), world.topic("dir/c")));
    assert!(text(3).ends_with("rename from dir/c\nrename to other/c\n"), "{}", text(3));
}

#[test]
fn a_save_by_another_name_is_a_change_of_the_file() {
    let mut world = World::new(&[("a", "one\n"), ("b", "one\n")]);
    let _watcher = world.watch(&[]);
    world.shell("sed -i s/one/two/ a && printf 'two\\n' > b.tmp && mv b b~ && mv b.tmp b && rm b~");
    let published = world.published();
    let mut changed = names(&published);
    changed.sort();
    assert_eq!(changed, ["a", "b"]);
    assert!(published.iter().all(|message| message.text().ends_with("@@ -1 +1 @@\n-one\n+two\n")));
    // What was found there is watched on.
    world.append("a", "three\n");
    world.append("b", "three\n");
    assert_eq!(world.published().len(), 4);
}

#[test]
fn what_is_left_out_is_not_looked_at() {
    let mut world = World::new(&[("a", "a\n"), ("target/b", "b\n"), ("targets", "c\n"), ("d.log", "d\n")]);
    let watcher = world.watch(&["--exclude", "target/~", "--exclude", "d.log", "--state", "tree/state"]);
    ["a", "target/b", "targets", "d.log"].iter().for_each(|name| world.append(name, "more\n"));
    let mut changed = names(&world.published());
    changed.sort();
    assert_eq!(changed, ["a", "targets"], "nor is the state");
    watcher.stop().ok();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::new(&[("sub/a", "a\n")]);
    let told = |args: &[&str], code: i32| crate::support::run(world.command(args), None).told(code);
    let missing = told(&["watch", "nowhere"], 1);
    assert!(missing.starts_with("error: nowhere cannot be watched: No such file"), "{missing}");
    let file = told(&["watch", "tree/sub/a"], 1);
    assert!(file.contains("it is no directory"), "{file}");
    let twice = told(&["watch", "tree", "tree/sub"], 2);
    assert!(twice.contains("lies in") && twice.contains("leave it out"), "{twice}");
    assert!(told(&["watch", "tree", "--topic-prefix", "a~"], 2).contains("without ~"));
    assert!(told(&["watch", "tree", "--once"], 2).contains("--state"));
    assert!(told(&["watch", "tree", "--state", "nowhere/state"], 1).contains("cannot be opened"));
    let _first = world.watch(&["--state", "state"]);
    let second = told(&["watch", "tree", "--state", "state"], 1);
    assert!(second.contains("is used by another process") && second.contains("hint: "), "{second}");
}

/// The topics that each of these patterns gets of what is published after.
fn received(broker: &Tilde, patterns: &[&[&str]], topics: &[&str]) -> Vec<String> {
    for (n, patterns) in patterns.iter().enumerate() {
        broker.run(&[&["subscription", "create", &format!("s{n}")], *patterns].concat()).ok();
    }
    topics.iter().for_each(|topic| drop(broker.run(&["publish", topic, "x"]).ok()));
    let pull = |n: usize| {
        let pulled = broker.run(&["subscription", "pull", &format!("s{n}"), "--ack", "--format", "json"]).json();
        pulled.iter().map(|message| message["topic"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    (0..patterns.len()).map(pull).collect()
}

#[test]
fn a_subscriber_gets_what_its_pattern_matches() {
    let broker = Tilde::in_memory();
    let patterns: [&[&str]; 6] = [&["ab~"], &["b~"], &["~"], &["test-topic"], &["test-to~", "test-topic"], &["a~z"]];
    let got = received(&broker, &patterns, &["abc", "ab", "test-topic", "test-topic-2"]);
    let both = "test-topic test-topic-2";
    assert_eq!(got, ["abc ab", "", "abc ab test-topic test-topic-2", "test-topic", both, "abc ab"]);
}

#[test]
fn who_comes_later_gets_what_is_new() {
    let broker = Tilde::in_memory();
    broker.run(&["publish", "a", "before"]).ok();
    assert_eq!(received(&broker, &[&["a"]], &["a"]), ["a"]);
}

#[test]
fn who_left_gets_nothing() {
    let world = World::new(&[("a", "a\n")]);
    let broker = world.broker();
    let reviewer = world.review(&["--subscription", "r"]);
    broker.run(&["subscription", "delete", "r", "--yes"]).ok();
    let told = reviewer.wait().told(1);
    assert!(told.contains("(SUBSCRIPTION_NOT_FOUND)"), "{told}");
    broker.run(&["publish", "a", "x"]).ok();
    assert_eq!(fs::read_to_string(world.beside("reviewer_app.log")).unwrap(), "");
    let again = broker.run(&["subscription", "delete", "r", "--yes"]).told(1);
    assert!(again.contains("(SUBSCRIPTION_NOT_FOUND)"), "{again}");
}
