//! What a message says of files of all sorts.

use std::{fs, process::Command};

use super::world::{Message, World};
use crate::support::{running::Running, tool::tool};

/// The last message of a file.
#[track_caller]
fn last(world: &mut World, name: &str) -> Message {
    let topic = world.topic(name);
    let published = world.published();
    published.into_iter().rfind(|message| message.topic == topic).unwrap_or_else(|| panic!("nothing of {name}"))
}

/// SHA-256, as another program says it.
fn hash(content: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f"), content).unwrap();
    let output = Command::new("sha256sum").arg("f").current_dir(directory.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn a_message_says_what_it_is_about() {
    let mut world = World::new(&[("unimportant/a", "one")]);
    let _watcher = world.watch(&[]);
    world.write("unimportant/a", "two\r\n");
    world.shell("touch -d 2026-01-02T03:04:05.5Z unimportant/a");
    let message = last(&mut world, "unimportant/a");
    let expected =
        "--- a/unimportant/a\n+++ b/unimportant/a\n@@ -1 +1 @@\n-one\n\\ No newline at end of file\n+two\r\n";
    assert_eq!(message.text(), expected);
    let attribute = |name: &str| message.attribute(name);
    assert_eq!(attribute("path"), message.topic);
    assert_eq!((attribute("change"), attribute("important"), attribute("diff")), ("modified", "true", "unified"));
    assert_eq!((attribute("old_size"), attribute("new_size")), ("3", "5"));
    assert_eq!((attribute("old_hash"), attribute("new_hash")), (&*hash(b"one"), &*hash(b"two\r\n")));
    assert_eq!(attribute("modified_time"), "2026-01-02T03:04:05.5Z");
    assert_eq!(attribute("path_encoding"), "");
}

#[test]
fn binary_and_huge_files_are_told_with_sizes_and_hashes() {
    let mut world = World::new(&[("binary", "a\0b"), ("text", "text\n"), ("wide", "x\n")]);
    let huge = "0123456789abcde\n".repeat(300_000);
    world.write("huge", &huge);
    let _watcher = world.watch(&[]);
    world.write("binary", "a\0c!");
    let message = last(&mut world, "binary");
    assert_eq!(message.attribute("diff"), "omitted: binary");
    let (old, new) = (hash(b"a\0b"), hash(b"a\0c!"));
    let expected =
        format!("Binary files a/binary and b/binary differ\nold: 3 bytes, sha256 {old}\nnew: 4 bytes, sha256 {new}\n");
    assert_eq!(message.text(), expected);

    world.append("huge", "more\n");
    let message = last(&mut world, "huge");
    assert_eq!(message.attribute("diff"), "omitted: more than 4MiB");
    assert_eq!((message.attribute("old_size"), message.attribute("new_size")), ("4800000", "4800005"));
    assert_eq!(message.attribute("new_hash"), hash((huge + "more\n").as_bytes()));

    world.write("wide", "wide\n".repeat(200_000));
    let message = last(&mut world, "wide");
    assert_eq!(message.attribute("diff"), "omitted: the diff has more than 900KiB");

    // From then on as always.
    for (name, content) in [("binary", "text now\n"), ("huge", "small\n"), ("wide", "y\n"), ("text", "text, too\n")] {
        world.write(name, content);
    }
    assert_eq!(last(&mut world, "binary").attribute("diff"), "omitted: binary");
    assert_eq!(last(&mut world, "huge").attribute("diff"), "omitted: more than 4MiB");
    assert_eq!(last(&mut world, "text").attribute("diff"), "unified");
    world.append("binary", "more\n");
    assert!(last(&mut world, "binary").text().ends_with("@@ -1 +1,2 @@\n text now\n+more\n"));
}

#[test]
fn what_is_no_text_is_data_with_the_same_bytes() {
    let mut world = World::new(&[]);
    world.write("latin", b"caf\xe9\n");
    let _watcher = world.watch(&[]);
    world.write("latin", b"caf\xe9s\n");
    let message = last(&mut world, "latin");
    assert_eq!(message.payload(), b"--- a/latin\n+++ b/latin\n@@ -1 +1 @@\n-caf\xe9\n+caf\xe9s\n");
}

#[test]
fn what_is_more_than_the_broker_takes_goes_without_its_diff() {
    let mut world = World::new(&[("a", "a\n"), ("b", "b\n")]);
    world.start_broker_as(|mut command| {
        command.env("TILDE_LIMITS_MESSAGE_BYTES", "8KiB");
        command
    });
    let _watcher = world.watch(&[]);
    world.write("a", "many lines\n".repeat(2_000));
    world.append("b", "few\n");
    assert_eq!(last(&mut world, "a").attribute("diff"), "omitted: more than the broker takes");
    assert!(last(&mut world, "a").text().contains("\nnew: 22000 bytes, sha256 "));
    assert_eq!(last(&mut world, "b").attribute("diff"), "unified");
}

#[test]
fn two_files_that_have_nothing_in_common_hold_nobody_up() {
    let mut world = World::new(&[("other", "a\n")]);
    let lines = |seed: u64| (0..40_000u64).map(|n| format!("{}\n", (n * seed) % 40_009 % 97)).collect::<String>();
    world.write("long", lines(7_919));
    let _watcher = world.watch(&[]);
    world.write("long", lines(104_729));
    world.append("other", "more\n");
    assert_eq!(last(&mut world, "other").attribute("diff"), "unified");
    assert!(last(&mut world, "long").attribute("diff").contains("unified"));
}

#[test]
fn a_reviewer_gives_the_terminal_no_orders() {
    let world = World::new(&[("important", "plain\n")]);
    let _watcher = world.watch(&[]);
    // With a terminal of its own.
    let review = format!("{} review --log r.log", env!("CARGO_BIN_EXE_tilde"));
    let mut command = Command::new(tool("script"));
    command.args(["--quiet", "--return", "--command", &review, "/dev/null"]).current_dir(world.beside(""));
    command.env("TILDE_BROKER", &world.broker().url).env_remove("NO_COLOR");
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let (mut reviewer, ready) = Running::start(command);
    assert!(ready.starts_with("reviewing ~"), "{ready}");
    world.append("important", "\x1b]0;gotcha\x07\n");
    let lines: Vec<String> = (0..6).map(|_| reviewer.line()).collect();
    assert_eq!(lines[1].trim_end(), "\x1b[1m--- a/important\x1b[0m");
    assert_eq!(lines[3].trim_end(), "\x1b[36m@@ -1 +1,2 @@\x1b[0m");
    assert_eq!(lines[5].trim_end(), "\x1b[32m+\\u{1b}]0;gotcha\\u{7}\x1b[0m");
}
