//! What file systems and kernels do to a watcher.

use std::{collections::BTreeSet, fs};

use rustix::process::Signal;

use super::world::{World, names};
use crate::support::{dice::rounds, through};

/// Files in the large tree.
const FILES: usize = 20_000;

#[test]
fn of_twenty_thousand_files_none_is_missed_when_the_kernel_tells_too_little() {
    let mut world = World::new(&[]);
    let name = |n: usize| format!("d{}/f{n}", n % 200);
    (0..FILES).for_each(|n| world.write(name(n), format!("{n}\n")));
    let mut watcher = world.watch(&["--state", "state"]);
    world.append(&name(FILES - 1), "first\n");
    assert_eq!(names(&world.published()), [format!("f{}", FILES - 1)]);
    assert_eq!(watcher.said(), Vec::<String>::new(), "its own reading is no news");
    watcher.signal(Signal::STOP);
    // Three notices each, and the kernel keeps 16,384.
    let changed = rounds(7_000, FILES - 1);
    (0..changed).for_each(|n| world.append(&name(n), "more\n"));
    watcher.signal(Signal::CONT);
    watcher.told("more happened than the kernel could tell");
    world.wait_for("~", changed + 2);
    let published = world.published();
    let topics: BTreeSet<&String> = published.iter().map(|message| &message.topic).collect();
    assert_eq!((published.len(), topics.len()), (changed + 1, changed + 1));
    assert!(published[1..].iter().all(|message| message.text().ends_with("+more\n")));
}

#[test]
fn where_nothing_is_told_everything_is_looked_at() {
    let mut world = World::new(&[("a", "1\n"), ("b", "b\n")]);
    let _watcher = world.watch(&["--poll=100ms"]);
    // As long, and as soon, as a clock of a file system cannot tell.
    for n in 2..6 {
        world.write("a", format!("{n}\n"));
        world.mark();
    }
    world.shell("sed -i s/b/B/ b");
    assert_eq!(names(&world.published()), ["a", "a", "a", "a", "b"]);
}

#[test]
fn a_kernel_that_watches_no_more_is_said_and_everything_is_looked_at() {
    let mut world = World::new(&[("a/x", "x\n"), ("b/y", "y\n"), ("c/z", "z\n")]);
    let limited =
        ["unshare", "--map-root-user", "sh", "-c", "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\""];
    let mut watcher = world.watch_as(&[], |command| through(&limited, &command));
    let told = watcher.told("the kernel tells of no more directories");
    assert!(told.contains("raise fs.inotify.max_user_watches"), "{told}");
    world.append("c/z", "more\n");
    assert_eq!(names(&world.published()), ["z"]);
}

#[test]
fn a_directory_that_is_gone_is_waited_for() {
    let mut world = World::new(&[("a", "a\n"), ("sub/b", "b\n")]);
    let mut watcher = world.watch(&["--events", "all"]);
    let away = world.beside("away");
    fs::rename(world.tree(), &away).unwrap();
    watcher.told("is gone: waiting for it to come back");
    fs::write(away.join("sub/b"), "b\nmore\n").unwrap();
    fs::rename(&away, world.tree()).unwrap();
    watcher.told("is back");
    world.append("a", "more\n");
    let mut changed = names(&world.published());
    changed.sort();
    assert_eq!(changed, ["a", "b"], "nothing was taken for deleted");
}

#[test]
fn what_cannot_be_read_is_said_once_and_tried_again() {
    let mut world = World::new(&[("closed", "a\n"), ("dir/b", "b\n"), ("open", "c\n")]);
    world.shell("chmod 000 closed dir");
    // Who may do everything has to give that up first.
    let caps = "-dac_override,-dac_read_search";
    let humble = ["setpriv", "--bounding-set", caps, "--inh-caps", caps];
    let is_root = rustix::process::geteuid().is_root();
    let mut watcher = world.watch_as(&["--poll=100ms", "--events", "all"], |command| match is_root {
        true => through(&humble, &command),
        false => command,
    });
    watcher.told("dir cannot be read, and is tried again later: Permission denied");
    watcher.told("closed cannot be read, and is tried again later: Permission denied");
    world.append("open", "more\n");
    world.mark();
    world.shell("chmod 600 closed && chmod 700 dir");
    world.mark();
    world.mark();
    world.append("closed", "more\n");
    let told = super::world::told(&world.published());
    let expected = [("modified", "open"), ("created", "b"), ("modified", "closed")];
    assert_eq!(told, expected.map(|(change, name)| (change.to_owned(), name.to_owned())));
    assert_eq!(watcher.stop().told(0), "", "and nothing of it is said twice");
}

#[test]
fn new_directories_are_watched_to_their_ends() {
    let mut world = World::new(&[]);
    let _watcher = world.watch(&["--events", "all"]);
    for n in 0..rounds(20, 500) {
        world.shell(&format!(
            "mkdir -p n{n}/a/b/c && echo x > n{n}/a/b/c/f{n} && mv n{n} m{n} && echo y >> m{n}/a/b/c/f{n}"
        ));
    }
    world.mark();
    let count = rounds(20, 500);
    let published = world.published();
    let last: BTreeSet<&str> =
        published.iter().filter(|m| m.attribute("path").contains("/m")).map(|m| m.name()).collect();
    assert_eq!(last.len(), count);
    // From now on each is listened to.
    (0..count).for_each(|n| world.append(&format!("m{n}/a/b/c/f{n}"), "z\n"));
    let published = world.published();
    let ends = published.iter().filter(|message| message.text().ends_with("+z\n")).count();
    assert_eq!(ends, count);
}
