//! The clients in other languages: code that is plainly generated, and the same five scenarios in each, which print
//! what `clients/README.md` shows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Tilde, run};

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn readme() -> String {
    fs::read_to_string(clients().join("README.md")).unwrap()
}

#[test]
fn python() {
    scenarios("python");
}

#[test]
fn go() {
    scenarios("go");
}

#[test]
fn typescript() {
    scenarios("typescript");
}

#[test]
fn java() {
    scenarios("java");
}

#[test]
fn the_bench_of_python_is_answered_every_message() {
    build("python");
    let broker = Tilde::in_memory();
    let answer = run(client(&["bench", address(&broker), "--messages", "2500", "--frame", "1000"]), None);
    let result = answer.json().remove(0);
    assert_eq!((&result["messages"], &result["protobuf"]), (&json!(2500), &json!("upb")), "{result}");
    assert!(result["rate"].as_f64().unwrap() > 0.0);
}

/// Runs the five scenarios of a language against a broker that comes back when it was drained, in the same place with
/// the same data.
fn scenarios(language: &str) {
    build(language);
    let directory = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(directory.path(), &[]);
    let address = address(&broker).to_owned();
    let process = Pid::from_raw(broker.id().cast_signed()).expect("no process has the number 0");

    let client = client(&[language, &address]);
    let keeper = {
        let directory = directory.path().to_owned();
        thread::spawn(move || {
            broker.wait().ok();
            Tilde::start_in(&directory, &["--listen", &address])
        })
    };
    let answer = run(client, None);
    if !keeper.is_finished() {
        // The client failed before it came to drain the broker.
        kill_process(process, Signal::TERM).unwrap();
    }
    let broker = keeper.join().unwrap();

    let readme = readme();
    let (_, rest) = readme.split_once("```text\n").unwrap();
    let (expected, _) = rest.split_once("```").unwrap();
    assert_eq!(answer.text(), expected);
    broker.stop();
}

fn address(broker: &Tilde) -> &str {
    broker.url.strip_prefix("http://").expect("as it said where it listens")
}

fn client(args: &[&str]) -> Command {
    let mut command = Command::new(clients().join("run"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Builds a client, however long that takes when nothing has been downloaded yet. After `tests/run` it is there.
fn build(language: &str) {
    // One at a time: they are as parallel as the machine by themselves, and two tests need the same.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = client(&["build", language]).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
}

#[test]
fn every_language_has_every_scenario_and_the_table_names_it() {
    let readme = readme();
    let links: BTreeSet<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    for link in &links {
        assert!(clients().join(link).exists(), "{link}");
    }
    for (directory, extension) in [
        ("python/scenarios", "py"),
        ("go/scenarios", "go"),
        ("typescript/src", "ts"),
        ("java/src/main/java/scenarios", "java"),
    ] {
        for scenario in ["publish", "subscribe", "batch", "errors", "drain"] {
            let name = match extension {
                "java" => format!("{}{}", scenario[..1].to_uppercase(), &scenario[1..]),
                _ => scenario.to_owned(),
            };
            let link = format!("{directory}/{name}.{extension}");
            assert!(links.contains(link.as_str()), "the table lacks {link}");
        }
    }
}
