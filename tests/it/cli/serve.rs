//! `tilde serve`: starts, says where, and stops.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Tilde, run, tilde};

#[test]
fn says_where_it_listens_and_stops_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let broker = Tilde::in_memory();
        assert!(broker.ready.starts_with("tilde is listening on http://127.0.0.1:"), "{}", broker.ready);
        assert!(!broker.ready.contains(":0,"), "the real port is told: {}", broker.ready);
        broker.run(&["publish", "a", "x"]).ok();
        broker.signal(signal);
        assert_eq!(broker.wait().ok(), b"");
    }
}

#[test]
fn does_not_listen_openly_by_accident() {
    let place = tempfile::tempdir().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let args = ["serve", "--engine", "memory", "--listen", listen];
        let told = run(tilde(place.path(), &args), None).told(1);
        assert!(told.contains("there are no credentials") && told.contains("--insecure"), "{told}");
    }
    let broker = Tilde::start(&["--engine", "memory", "--listen", "0.0.0.0:0", "--insecure"]);
    assert!(broker.ready.contains("http://0.0.0.0:"), "{}", broker.ready);
    broker.stop();
}

#[test]
fn config_check_finds_an_open_listener_too() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("tilde.toml"), "listen = \"0.0.0.0:7126\"\n").unwrap();
    let told = run(tilde(place.path(), &["config", "check"]), None).told(1);
    assert!(told.contains("insecure = true"), "{told}");
}

#[test]
fn a_port_that_is_taken_is_said_in_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = tempfile::tempdir().unwrap();
    let told = run(tilde(place.path(), &["serve", "--engine", "memory", "--listen", &address]), None).told(1);
    assert!(
        told.contains(&format!("cannot listen on {address}")) && told.contains("hint: is another broker"),
        "{told}"
    );
}

#[test]
fn logs_as_it_is_told_to() {
    let broker = Tilde::start(&["--engine", "memory", "--log-format", "json"]);
    broker.signal(Signal::TERM);
    let logged = broker.wait().stderr;
    assert!(!logged.is_empty());
    for line in logged.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
    }
    let silent = Tilde::start(&["--engine", "memory", "--log", "off"]);
    silent.signal(Signal::TERM);
    assert_eq!(silent.wait().stderr, "");
}

#[test]
fn help_and_version_and_usage() {
    let place = tempfile::tempdir().unwrap();
    let version = run(tilde(place.path(), &["--version"]), None).text();
    assert_eq!(version, concat!("tilde ", env!("CARGO_PKG_VERSION"), "\n"));
    for command in ["serve", "publish", "subscribe", "topics", "namespace", "config", "log"] {
        let help = run(tilde(place.path(), &[command, "--help"]), None).text();
        assert!(help.contains("Usage: tilde"), "{help}");
    }
    for wrong in [&["nonsense"][..], &["publish"], &["serve", "--engine", "redis"], &[]] {
        run(tilde(place.path(), wrong), None).told(2);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let place = tempfile::tempdir().unwrap();
    for data in ["/proc/tilde/data", "/dev/null/data"] {
        let told = run(tilde(place.path(), &["serve", "--listen", "127.0.0.1:0", "--data", data]), None).told(1);
        assert!(told.contains(&format!("the data directory {data} could not be opened")), "{told}");
    }
}
