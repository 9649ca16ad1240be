//! What is remembered: across restarts, and while the broker is away.

use super::world::{Message, World, names};
use crate::support::run;

#[test]
fn what_changed_while_nobody_watched_is_published_once() {
    let mut world = World::new(&[("a", "a\n"), ("b", "b\n")]);
    let watcher = world.watch(&["--state", "state"]);
    world.append("a", "1\n");
    world.mark();
    watcher.stop().ok();
    world.append("a", "2\n");
    world.append("a", "3\n");
    world.write("new", "new\n");
    let _watcher = world.watch(&["--state", "state"]);
    world.append("new", "newer\n");
    world.append("b", "1\n");
    let published = world.published();
    assert_eq!(names(&published), ["a", "a", "b"], "what was created meanwhile is as new as ever");
    assert!(published[1].text().ends_with("@@ -1,2 +1,4 @@\n a\n 1\n+2\n+3\n"), "{}", published[1].text());
}

#[test]
fn without_a_state_it_begins_anew() {
    let mut world = World::new(&[("a", "a\n")]);
    let watcher = world.watch(&[]);
    world.append("a", "1\n");
    world.mark();
    watcher.kill();
    world.append("a", "2\n");
    let _watcher = world.watch(&[]);
    world.append("a", "3\n");
    let published = world.published();
    assert!(published[1].text().ends_with(" a\n 1\n 2\n+3\n") && published.len() == 2, "{}", published[1].text());
}

#[test]
fn changes_wait_for_a_broker_that_is_away() {
    let mut world = World::new(&[("a", "a\n"), ("b", "b\n")]);
    let mut watcher = world.watch(&[]);
    world.kill_broker();
    // The mark tells that the change before it is recorded, but only once there is a broker.
    world.append("a", "1\n");
    watcher.told("changes are kept until they can be published");
    world.write("b", "B\n");
    world.append("a", "2\n");
    world.start_broker();
    watcher.told("takes changes again");
    let published = world.published();
    let of = |name: &'static str| published.iter().filter(move |message| message.name() == name).map(Message::text);
    let added: String = of("a").flat_map(str::lines).filter(|line| line.starts_with("+") && line.len() == 2).collect();
    assert_eq!((added.as_str(), of("b").count()), ("+1+2", 1), "{published:?}");
}

#[test]
fn what_waits_survives_the_watcher_too() {
    let mut world = World::new(&[("a", "a\n"), ("b", "b\n")]);
    world.kill_broker();
    let mut watcher = world.watch(&["--state", "state"]);
    world.append("a", "1\n");
    watcher.told("changes are kept until they can be published");
    let told = watcher.stop().told(0);
    assert!(told.contains("1 change to be published yet, by the next start with --state state"), "{told}");
    let mut watcher = world.watch(&["--state", "state"]);
    world.append("b", "1\n");
    watcher.told("changes are kept until they can be published");
    watcher.kill();
    world.start_broker();
    let _watcher = world.watch(&["--state", "state"]);
    assert_eq!(names(&world.published()), ["a", "b"]);
}

#[test]
fn without_a_state_what_waits_is_lost_and_that_is_said() {
    let mut world = World::new(&[("a", "a\n")]);
    world.kill_broker();
    let mut watcher = world.watch(&[]);
    world.append("a", "1\n");
    watcher.told("changes are kept until they can be published");
    let told = watcher.stop().told(1);
    assert!(told.contains("error: what could not be published is lost: 1 change\nhint: --state FILE keeps "), "{told}");
}

#[test]
fn a_single_look_publishes_what_changed_since_the_last() {
    let world = World::new(&[("a", "a\n"), ("b", "b\n")]);
    let once = || run(world.command(&["watch", "tree", "--state", "state", "--once"]), None).ok();
    once();
    world.append("a", "1\n");
    once();
    once();
    world.write("b", "B\n");
    once();
    let all = world.broker().run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json();
    let topics: Vec<&str> = all.iter().map(|message| message["topic"].as_str().unwrap()).collect();
    assert_eq!(topics, [world.topic("a"), world.topic("b")]);
}

#[test]
fn more_changes_than_may_wait_become_one() {
    let mut world = World::new(&[]);
    let name = |n: usize| format!("d{}/f{n}", n % 10);
    (0..1_500).for_each(|n| world.write(name(n), "0\n"));
    world.kill_broker();
    let mut watcher = world.watch(&["--state", "state"]);
    for round in 1..=3 {
        (0..1_500).for_each(|n| world.append(&name(n), &format!("{round}\n")));
    }
    watcher.told("changes are kept until they can be published");
    world.start_broker();
    let published = world.published();
    let mut added = std::collections::BTreeMap::new();
    for message in &published {
        let lines = message.text().lines().skip(2).filter(|line| line.starts_with('+'));
        added.entry(message.topic.clone()).or_insert_with(String::new).extend(lines);
    }
    assert_eq!(added.len(), 1_500);
    assert!(added.values().all(|added| added == "+1+2+3"), "each change once, and in order");
}
