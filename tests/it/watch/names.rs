//! Names of files that nobody should give, and that are given.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
};

use super::{session::patch, world::World};
use crate::support::tool::tool;

const ODD: &[&[u8]] = &[
    b"with blank",
    b" blank first",
    b"blank last ",
    b"tab\there",
    b"line\nbreak",
    b"quote\"d",
    b"back\\slash",
    b"tilde~",
    b"100%",
    b"%7E",
    b"-dash",
    b"escape\x1b[2J",
    b"latin-\xe9",
    b"\xff\xfe",
    "ümläut".as_bytes(),
    "\u{202e}turned".as_bytes(),
    b"a/b c/d\"e",
    b"semi;colon $(touch gotcha) `x`",
];

#[test]
fn every_name_has_a_topic_and_a_diff_that_patch_and_git_apply() {
    let mut world = World::new(&[]);
    let long = [["d".repeat(200).as_str(); 6].join("/").as_bytes(), b"/f"].concat();
    let names: Vec<&[u8]> = ODD.iter().copied().chain([long.as_slice()]).collect();
    let path = |name: &[u8]| Path::new(OsStr::from_bytes(name)).to_owned();
    names.iter().for_each(|name| world.write(path(name), "one\n"));
    let copies = ["patched", "applied"].map(|name| world.beside(name));
    for copy in &copies {
        let status = Command::new("cp").arg("-a").args([world.tree(), copy.clone()]).status().unwrap();
        assert!(status.success());
    }
    let _watcher = world.watch(&[]);
    names.iter().for_each(|name| world.write(path(name), "one\ntwo\n"));
    let published = world.published();
    let topics: BTreeSet<&str> = published.iter().map(|message| &*message.topic).collect();
    assert_eq!((topics.len(), published.len()), (names.len(), names.len()));
    for topic in [world.topic("tilde%7E"), world.topic("%257E"), world.topic("latin-%E9"), world.topic("line%0Abreak")]
    {
        assert!(topics.contains(&*topic), "{topic} of {topics:?}");
    }
    assert!(topics.iter().any(|topic| topic.len() <= 1_024 && topic.contains("/d%=") || topic.contains("d%=")));
    let newline = published.iter().find(|message| message.topic.ends_with("line%0Abreak")).unwrap();
    assert_eq!(newline.attribute("path_encoding"), "percent");
    for message in &published {
        patch(&copies[0], &message.payload());
        apply(&copies[1], &message.payload());
    }
    for name in names {
        for copy in &copies {
            let content = fs::read(copy.join(path(name))).unwrap();
            assert_eq!(content, b"one\ntwo\n", "{}", name.escape_ascii());
        }
    }
}

/// Has git apply a diff.
#[track_caller]
fn apply(directory: &Path, diff: &[u8]) {
    let mut command = Command::new(tool("git"));
    let mut git = command.args(["apply", "-"]).current_dir(directory).stdin(Stdio::piped()).spawn().unwrap();
    git.stdin.take().unwrap().write_all(diff).unwrap();
    assert!(git.wait().unwrap().success(), "{}", diff.escape_ascii());
}
