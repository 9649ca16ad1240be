//! The directory that is the broker, with all that happens to directories: it vanishes and returns, is full, is read-only,
//! holds what others left in it, and what cannot be removed.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::support::{BackEnd, Behind, Files, Gateway, HELLO, names, told};
use crate::support::{
    disk::SmallDisk,
    http::{Line, assert_problem, until},
    run, tilde,
};

fn gateway(files: &Files, flags: &[&str]) -> Gateway {
    Gateway::start(files.place(), &[&["--directory", "box"], flags].concat())
}

/// The two files of `GET /hello`.
fn hello(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join(format!("{HELLO}.req")), directory.join(format!("{HELLO}.resp")))
}

#[test]
fn a_request_is_a_file_that_names_method_and_path() {
    let files = Files::new();
    let gateway = gateway(&files, &["--collapse-key", "method,path,header:accept-language"]);
    let (request, answer) = hello(&files.path());
    let mut caller = gateway.get("/hello");
    until("the request is there", || request.exists());
    assert_eq!(fs::read_to_string(&request).unwrap(), "GET\n/hello\n");
    fs::write(&answer, "200\nhi").unwrap();
    assert_eq!(told(&mut caller), (200, b"hi".to_vec()));

    let mut caller = Line::to(&gateway.url);
    let headers = [("content-type", "text/plain"), ("accept-language", "de"), ("cookie", "secret")];
    caller.request("POST", "/orders/1?rush=1", &headers, b"two\nlines");
    let request = files.path().join("478478ec9f998c9617419c807178210b.req");
    until("the request is there", || request.exists());
    let expected = "POST\n/orders/1\n?rush=1\ncontent-type: text/plain\naccept-language: de\n\ntwo\nlines";
    assert_eq!(fs::read_to_string(&request).unwrap(), expected);
}

#[test]
fn without_the_directory_it_is_503_at_once_until_it_is_there() {
    let mut files = Files::new();
    fs::remove_dir(files.path()).unwrap();
    let gateway = gateway(&files, &[]);
    for _ in 0..3 {
        assert_problem(&gateway.get("/hello").told(), 503, "BROKER_UNAVAILABLE");
    }
    fs::create_dir(files.path()).unwrap();
    let mut caller = gateway.get("/hello");
    let (asked, _) = files.take();
    files.answer(asked, b"200\nhi");
    assert_eq!(told(&mut caller), (200, b"hi".to_vec()));
    gateway.until_logged(&["info", "can be written again"]);
    assert_eq!(gateway.lines(&["warn", "it is not there"]).len(), 1, "{}", gateway.log());
}

#[test]
fn who_waits_when_the_directory_vanishes_is_told_and_it_may_come_back() {
    let mut files = Files::new();
    let gateway = gateway(&files, &[]);
    for _ in 0..3 {
        let mut caller = gateway.get("/hello");
        drop(files.take());
        fs::remove_dir_all(files.path()).unwrap();
        // In the same moment, so that it may look the same to who looks only now and then.
        fs::create_dir(files.path()).unwrap();
        assert_problem(&caller.told(), 503, "BROKER_UNAVAILABLE");
        let mut caller = gateway.get("/hello");
        let (asked, _) = files.take();
        files.answer(asked, b"200\nhi");
        assert_eq!(told(&mut caller), (200, b"hi".to_vec()));
    }
    // What is moved away takes with it what was asked there, and another may stand in for it.
    let mut caller = gateway.get("/hello");
    drop(files.take());
    fs::rename(files.path(), files.place().join("away")).unwrap();
    assert_problem(&caller.told(), 503, "BROKER_UNAVAILABLE");
}

#[test]
fn a_full_directory_is_503_and_one_line_in_the_log() {
    let take = |disk: &SmallDisk| disk.take(None);
    is_503_until_it_is_mended("it is full", take, SmallDisk::give);
}

#[test]
fn a_read_only_directory_is_503_and_one_line_in_the_log() {
    let mount = |how: &'static str| move |disk: &SmallDisk| disk.run(&format!("mount -o remount,{how} data"));
    is_503_until_it_is_mended("it is read-only", mount("ro"), mount("rw"));
}

/// Nothing can be written for a while, and what was begun is gone.
fn is_503_until_it_is_mended(why: &str, trouble: impl Fn(&SmallDisk), mend: impl Fn(&SmallDisk)) {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(place.path(), 256 << 10);
    let gateway = Gateway::start_as(place.path(), &["--directory", "data"], |command| disk.with(&command));
    let (request, answer) = hello(&disk.path());
    trouble(&disk);
    let before = names(&disk.path());
    for _ in 0..3 {
        assert_problem(&gateway.get("/hello").told(), 503, "BROKER_UNAVAILABLE");
    }
    assert_eq!(names(&disk.path()), before, "what was begun is gone");
    mend(&disk);
    let mut caller = gateway.get("/hello");
    until("the request is there", || request.exists());
    fs::write(answer, "200\nhi").unwrap();
    assert_eq!(told(&mut caller), (200, b"hi".to_vec()));
    gateway.until_logged(&["info", "can be written again"]);
    assert_eq!(gateway.lines(&["warn", why]).len(), 1, "{}", gateway.log());
}

/// A file that something is mounted upon cannot be removed, not even by root.
#[test]
fn an_answer_that_cannot_be_removed_is_given_once_and_never_again() {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(place.path(), 256 << 10);
    let gateway = Gateway::start_as(place.path(), &["--directory", "data"], |command| disk.with(&command));
    let (request, answer) = hello(&disk.path());
    let mut caller = gateway.get("/hello");
    until("the request is there", || request.exists());
    disk.run(&format!("printf '200\\nold' > old; touch data/{HELLO}.resp; mount --bind old data/{HELLO}.resp"));
    // The one that is mounted is not in the directory, where nobody is told that it was written.
    assert_eq!(told(&mut caller), (200, b"old".to_vec()));
    gateway.until_logged(&["warn", HELLO, "cannot be removed"]);
    assert!(answer.exists() && !request.exists());

    let mut caller = gateway.get("/hello");
    until("the next request is there", || request.exists());
    assert_eq!(gateway.metric("waiting"), 1, "what was left answers nobody");
    // It is written anew: now it is another.
    disk.run(&format!("printf '200\\nnew' > data/{HELLO}.resp"));
    assert_eq!(told(&mut caller), (200, b"new".to_vec()));
    until("nobody waits", || gateway.metric("groups") == 0);
}

#[test]
fn files_that_are_gone_or_cannot_go_keep_no_answer_from_its_caller() {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(place.path(), 256 << 10);
    let gateway = Gateway::start_as(place.path(), &["--directory", "data"], |command| disk.with(&command));
    let (request, answer) = hello(&disk.path());
    let mut caller = gateway.get("/hello");
    until("the request is there", || request.exists());
    fs::remove_file(&request).unwrap();
    fs::write(&answer, "200\nit was read and removed").unwrap();
    assert_eq!(told(&mut caller), (200, b"it was read and removed".to_vec()));

    let mut caller = gateway.get("/hello");
    until("the request is there", || request.exists());
    disk.run(&format!("cp data/{HELLO}.req other; mount --bind other data/{HELLO}.req"));
    fs::write(&answer, "200\nit stays").unwrap();
    assert_eq!(told(&mut caller), (200, b"it stays".to_vec()));
    gateway.until_logged(&["warn", &format!("{HELLO}.req"), "cannot be removed"]);
    // The same cannot be asked again as long as it stays, as no back end would notice.
    assert_problem(&gateway.get("/hello").told(), 503, "BROKER_UNAVAILABLE");
    disk.run(&format!("umount data/{HELLO}.req"));
    let mut caller = gateway.get("/hello");
    gateway.until_logged(&["info", "can be written again"]);
    fs::write(&answer, "200\nagain").unwrap();
    assert_eq!(told(&mut caller), (200, b"again".to_vec()));
}

#[test]
fn a_directory_has_one_gateway() {
    let files = Files::new();
    let first = gateway(&files, &[]);
    let refusal =
        run(tilde(files.place(), &["gateway", "--directory", "box", "--listen", "127.0.0.1:0"]), None).told(1);
    assert!(refusal.contains("box: another gateway works in it") && refusal.contains("--directory"), "{refusal}");
    // Both see it come: one of them has it, until it ends.
    fs::remove_dir(files.path()).unwrap();
    // With a log of its own.
    let elsewhere = tempfile::tempdir().unwrap();
    let second = Gateway::start(elsewhere.path(), &["--directory", files.path().to_str().unwrap()]);
    fs::create_dir(files.path()).unwrap();
    let mut gateways = [Some(first), Some(second)];
    let mut loser = None;
    until("one of them is refused", || {
        let is_refused = |gateway: &Option<Gateway>| {
            !gateway.as_ref().unwrap().lines(&["warn", "another gateway works in it"]).is_empty()
        };
        loser = gateways.iter().position(is_refused);
        loser.is_some()
    });
    let loser = gateways[loser.unwrap()].take().unwrap();
    assert_problem(&loser.get("/hello").told(), 503, "BROKER_UNAVAILABLE");
    let winner = gateways.into_iter().flatten().next().unwrap();
    let _answering = BackEnd::start(files.path(), b"hi".to_vec());
    assert_eq!(told(&mut winner.get("/hello")), (200, b"hi".to_vec()));
    winner.stop();
    until("the other has it", || loser.get("/hello").told().status() == 200);
}

#[test]
fn files_of_others_are_left_alone() {
    let mut files = Files::new();
    let others = [
        "notes.txt",
        "a.req",
        "b.resp",
        "6C3AE8251C28A4439E557FD75E437B32.resp",
        "6c3ae8251c28a4439e557fd75e437b32.resp.tmp",
    ];
    others.iter().for_each(|name| fs::write(files.path().join(name), "200\nof others").unwrap());
    fs::create_dir(files.path().join("e0e39d220ff38421b6dd61a998975b28.resp")).unwrap();
    let gateway = gateway(&files, &[]);
    let mut caller = gateway.get("/hello");
    until("the request is there", || hello(&files.path()).0.exists());
    files.answer(HELLO.into(), b"200\nhi");
    assert_eq!(told(&mut caller), (200, b"hi".to_vec()));
    assert_eq!(files.names().len(), others.len() + 1);
}

#[test]
fn an_answer_that_is_none_is_502_and_gone() {
    let mut files = Files::new();
    let gateway = gateway(&files, &[]);
    for bad in [b"OK\n".as_slice(), b"", b"\xff\xfe2\x000\x000\x00"] {
        let mut caller = gateway.get("/hello");
        let (asked, _) = files.take();
        files.answer(asked, bad);
        assert_problem(&caller.told(), 502, "ANSWER_UNREADABLE");
        assert!(files.is_empty());
    }
    until("each is told", || gateway.lines(&["warn", HELLO, "no answer"]).len() == 3);
}

#[test]
fn an_answer_is_taken_when_it_is_complete() {
    let mut files = Files::new();
    let gateway = gateway(&files, &[]);
    let (_, answer) = hello(&files.path());

    // Written slowly by one who holds it open: longer than a look into the directory takes to come by.
    let mut caller = gateway.get("/hello");
    drop(files.take());
    let mut open = File::create(&answer).unwrap();
    for piece in ["20", "0", "\n", "one ", "two "] {
        open.write_all(piece.as_bytes()).unwrap();
        pause(Duration::from_millis(400));
    }
    open.write_all(b"three").unwrap();
    drop(open);
    assert_eq!(told(&mut caller), (200, b"one two three".to_vec()));

    // Written by one who opens it a second time for the body.
    let mut caller = gateway.get("/hello");
    drop(files.take());
    fs::write(&answer, "404\n").unwrap();
    File::options().append(true).open(&answer).unwrap().write_all(b"body").unwrap();
    assert_eq!(told(&mut caller), (404, b"body".to_vec()));

    // Written elsewhere, and renamed into place.
    let mut caller = gateway.get("/hello");
    drop(files.take());
    fs::write(files.place().join("answer"), "200\nrenamed").unwrap();
    fs::rename(files.place().join("answer"), &answer).unwrap();
    assert_eq!(told(&mut caller), (200, b"renamed".to_vec()));

    // Found, as nobody told of it: a second name is no file that is written.
    let mut caller = gateway.get("/hello");
    drop(files.take());
    fs::write(files.place().join("answer"), "200\nlinked").unwrap();
    fs::hard_link(files.place().join("answer"), &answer).unwrap();
    assert_eq!(told(&mut caller), (200, b"linked".to_vec()));
    assert!(files.is_empty());
}

/// Only so that something is slow: nothing is expected of the time.
fn pause(length: Duration) {
    let until_then = Instant::now() + length;
    until("time passes", || Instant::now() >= until_then);
}

#[test]
fn what_a_killed_gateway_left_is_told_joined_and_never_served() {
    let mut files = Files::new();
    let first = gateway(&files, &[]);
    let _callers = [first.get("/hello"), first.get("/"), first.get("/other")];
    let mut asked: Vec<_> = (0..3).map(|_| files.take().0).collect();
    asked.sort();
    let [hello_key, other, root] = &asked[..] else { panic!("three were asked: {asked:?}") };
    assert_eq!(hello_key, HELLO);
    first.kill();
    // One is answered, one is answered by one who removed the request, and one is still at work.
    files.answer(root.clone(), b"200\nold");
    files.answer(other.clone(), b"200\nold");
    fs::remove_file(files.path().join(format!("{other}.req"))).unwrap();
    fs::write(files.path().join(format!(".gateway-{HELLO}")), "GE").unwrap();
    let before = fs::metadata(hello(&files.path()).0).unwrap();

    let second = gateway(&files, &[]);
    second.until_logged(&["warn", "2 requests and 2 answers of an earlier run"]);
    until("old answers go, and their requests", || files.names() == [format!("{HELLO}.req")]);
    let mut caller = second.get("/hello");
    second.until_logged(&["info", HELLO, "left as it is"]);
    let after = fs::metadata(hello(&files.path()).0).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()), "it is joined, not rewritten");
    files.answer(HELLO.into(), b"200\nto both");
    assert_eq!(told(&mut caller), (200, b"to both".to_vec()));
    let mut caller = second.get("/");
    let (asked, _) = files.take();
    files.answer(asked, b"200\nnew");
    assert_eq!(told(&mut caller), (200, b"new".to_vec()), "the old answer is served to nobody");
    assert!(files.is_empty());
}
