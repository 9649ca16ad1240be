//! `tilde call` and `tilde respond`, and other ways to ask.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::support::{finish, http, tool::tool};

/// One who answers with a command, once it says so.
struct Answering(Child);

impl Answering {
    fn start(broker: &Tilde, args: &[&str]) -> Self {
        let mut child = broker.command(&[&["respond"], args].concat()).spawn().unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        assert!(line.starts_with("answering calls on "), "{line}");
        child.stderr = Some(stderr.into_inner());
        Answering(child)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn a_command_answers() {
    let broker = Tilde::start(&[]);
    let told = broker.run(&["call", "upper/x", "hello"]).told(1);
    assert!(told.contains("nobody answers calls on \"upper/x\"") && told.contains("NO_RESPONDERS"), "{told}");
    let _upper = Answering::start(&broker, &["upper/~", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(broker.run(&["call", "upper/x", "hello"]).text(), "HELLO\n");
    assert_eq!(broker.run_with(&["call", "upper/x"], b"from a pipe").text(), "FROM A PIPE\n");
    let json = broker.run(&["call", "upper/x", "hello", "--format", "json"]).json().remove(0);
    assert_eq!(json["text"], "HELLO");
    let late = broker.run(&["call", "upper/x", "a", "--replies", "2", "--timeout", "300ms"]);
    assert_eq!(late.stderr, "1 of 2 replies came within 300ms\n");
    assert_eq!(late.text(), "A\n");
    let told = broker.run(&["call", "upper/x", "a", "--replies", "200"]).told(2);
    assert!(told.contains("--replies"), "{told}");
}

#[test]
fn a_command_that_fails_is_told_to_the_caller() {
    let broker = Tilde::start(&[]);
    let script = "test \"$TILDE_TOPIC\" = f/ok && cat && exit 0; echo why; exit 7";
    let _answering = Answering::start(&broker, &["f/~", "--timeout", "10s", "--", "sh", "-c", script]);
    assert_eq!(broker.run(&["call", "f/ok", "fine"]).text(), "fine\n");
    let answer = broker.run(&["call", "f/bad", "x"]);
    assert_eq!(answer.stdout, b"why\n\n");
    assert!(answer.told(3).contains("who answered failed: exit code 7"));
    let _slow = Answering::start(&broker, &["slow", "--timeout", "100ms", "--", "sleep", "100"]);
    assert!(broker.run(&["call", "slow", "x"]).told(3).contains("took longer than 100ms"));
    let _none = Answering::start(&broker, &["none", "--", "/no/such/program"]);
    assert!(broker.run(&["call", "none", "x"]).told(3).contains("cannot be run"));
}

#[test]
fn it_ends_after_so_many_or_when_it_is_told_to_with_all_answered() {
    let broker = Tilde::start(&[]);
    let mut two = Answering::start(&broker, &["a", "--count", "2", "--", "cat"]);
    assert_eq!(broker.run(&["call", "a", "1"]).text(), "1\n");
    assert_eq!(broker.run(&["call", "a", "2"]).text(), "2\n");
    assert!(two.0.wait().unwrap().success());
    let slow = "echo begun; read -r line < go; echo $line";
    let fifo = broker.directory().join("go");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut answering = Answering::start(&broker, &["a", "--", "sh", "-c", slow]);
    let asking = broker.command(&["call", "a", "x"]).spawn().unwrap();
    // Opening it waits until the command reads.
    let mut go = std::fs::File::options().write(true).open(&fifo).unwrap();
    kill_process(Pid::from_child(&answering.0), Signal::TERM).unwrap();
    std::io::Write::write_all(&mut go, b"done\n").unwrap();
    assert_eq!(finish(asking).text(), "begun\ndone\n\n");
    assert!(answering.0.wait().unwrap().success());
}

#[tokio::test]
async fn grpcurl_and_curl_ask_as_well() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let answers = answering(&client, "a", |text| format!("re: {text}")).await;
    let address = broker.url.trim_start_matches("http://").to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let data = r#"{"request":{"topic":"a","text":"x"}}"#;
        let mut command = Command::new(tool("grpcurl"));
        command.args(["-plaintext", "-max-time", "30", "-d", data, &address, "tilde.v1.Broker/Call"]);
        command.output().unwrap()
    });
    let asked = asked.await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(answer["replies"][0]["text"], "re: x");
    let url = broker.url.clone();
    let post = async |timeout: &str| {
        let (url, body) = (url.clone(), format!(r#"{{"request":{{"topic":"a","text":"y"}},"timeout":"{timeout}"}}"#));
        let asked =
            move || http::ask(&url, "POST", "/v1/calls", &[("content-type", "application/json")], body.as_bytes());
        tokio::task::spawn_blocking(asked).await.unwrap()
    };
    let told = post("20s").await;
    assert_eq!((told.status(), &told.json()["replies"][0]["text"]), (200, &"re: y".into()));
    answers.abort();
    deserted(&client, "a").await;
    http::assert_problem(&post("20s").await, 503, "NO_RESPONDERS");
    let _silent = responder(&client, "a").await;
    http::assert_problem(&post("0.2s").await, 504, "NO_REPLY");
}
