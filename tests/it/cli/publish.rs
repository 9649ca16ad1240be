//! `tilde publish`: one message with all its parts, and standard input line by line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStderr, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Tilde, finish, ports::free_address, run, tilde};

/// The first line that a command says on standard error, and the rest of it.
fn first_words(child: &mut Child) -> (String, BufReader<ChildStderr>) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    (line, stderr)
}

#[test]
fn a_message_arrives_with_all_its_parts() {
    let broker = Tilde::in_memory();
    let args = ["publish", "orders/eu", "hällo", "-a", "b=2=3", "-a", "a=", "--key", "k", "--id", "i-1"];
    let more = ["--content-type", "text/plain", "--ttl", "1h", "--durability", "memory", "--format", "json"];
    let answer = broker.run(&[&args[..], &more].concat()).json().remove(0);
    assert_eq!(answer["duplicate"], false);
    assert!(
        answer["sequence"].as_u64().unwrap() > 0 && answer["cursor"].is_string() && answer["durability"].is_string()
    );

    let message = broker.run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json().remove(0);
    assert_eq!(message["topic"], "orders/eu");
    assert_eq!(message["text"], "hällo");
    assert_eq!(message["attributes"], serde_json::json!({"a": "", "b": "2=3"}));
    assert_eq!(message["ordering_key"], "k");
    assert_eq!(message["message_id"], "i-1");
    assert_eq!(message["content_type"], "text/plain");
    assert_eq!(message["sequence"], answer["sequence"]);
    assert_eq!(message["publish_time"], answer["publish_time"]);
    let (published, expires) = (message["publish_time"].as_str().unwrap(), message["expire_time"].as_str().unwrap());
    let lives = expires.parse::<jiff::Timestamp>().unwrap() - published.parse::<jiff::Timestamp>().unwrap();
    // The end is written when the message comes in, its time when it has its place: never later than asked.
    assert!(lives.get_seconds() > 3500 && lives.get_seconds() <= 3600, "{published} {expires}");
}

#[test]
fn text_pipe_and_file_are_three_ways_to_say_the_same() {
    let broker = Tilde::in_memory();
    let payload = b"two\nlines\n".as_slice();
    let file = broker.directory().join("payload");
    std::fs::write(&file, payload).unwrap();
    broker.run(&["publish", "t", "two\nlines\n"]).ok();
    broker.run_with(&["publish", "t"], payload).ok();
    broker.run(&["publish", "t", "--file", file.to_str().unwrap()]).ok();
    let got = broker.run(&["subscribe", "t", "--from", "earliest", "--end", "--format", "json"]).json();
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|message| message["text"] == "two\nlines\n"));
}

#[test]
fn nothing_is_published_by_accident() {
    let broker = Tilde::in_memory();
    let told = broker.run_with(&["publish", "t"], b"").told(1);
    assert!(told.starts_with("error: standard input is empty\nhint: "), "{told}");
    broker.run(&["publish", "t", ""]).ok();
    assert_eq!(broker.run_with(&["publish", "t", "--lines"], b"").text(), "t 0 lines published\n");
    assert_eq!(broker.run(&["subscribe", "t", "--from", "earliest", "--end"]).text(), "t  \n");
}

#[test]
fn bytes_that_are_no_text_travel_as_data() {
    let broker = Tilde::in_memory();
    broker.run_with(&["publish", "t"], b"\xff\x00\r\n").ok();
    let args = ["subscribe", "t", "--from", "earliest", "--end", "--format"];
    let got = |form: &'static str| broker.run(&[&args[..], &[form]].concat());
    assert_eq!(got("raw").ok(), b"\xff\x00\r\n\n");
    assert_eq!(got("json").json()[0]["data"], "/wANCg==");
    assert_eq!(got("text").text(), "t  \\xff\\x00\\r\\n\n");
}

#[test]
fn lines_arrive_byte_for_byte() {
    let broker = Tilde::in_memory();
    let long = vec![b'x'; 900_000];
    let mut input = b"first\n\n\xff\xfe\nends with cr\r\n \t \n".to_vec();
    input.extend_from_slice(&long);
    input.push(b'\n');
    for n in 0..3_000 {
        input.extend_from_slice(format!("line {n}\n").as_bytes());
    }
    input.extend_from_slice("ä last one without a newline".as_bytes());
    let answer = broker.run_with(&["publish", "logs/x", "--lines", "--format", "json", "-a", "k=v"], &input).json();
    assert_eq!(answer[0]["published"], 3_007);
    let got = broker.run(&["subscribe", "logs/~", "--from", "earliest", "--end", "--format", "raw"]).ok();
    input.push(b'\n');
    assert!(got == input, "{} bytes came, {} went", got.len(), input.len());
}

#[test]
fn lines_are_published_as_they_come() {
    let broker = Tilde::in_memory();
    let mut publish = broker.command(&["publish", "live", "--lines"]);
    let mut publish = publish.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = publish.stdin.take().unwrap();
    let mut subscribe = broker.command(&["subscribe", "live", "--from", "earliest", "--format", "raw", "--count", "3"]);
    let mut subscribe = subscribe.spawn().unwrap();
    let mut got = BufReader::new(subscribe.stdout.take().unwrap()).lines();
    for line in ["one", "two", "three"] {
        // The next line is not written before this one has come out at the other end.
        writeln!(pipe, "{line}").unwrap();
        assert_eq!(got.next().unwrap().unwrap(), line);
    }
    finish(subscribe).ok();
    drop(pipe);
    assert!(finish(publish).text().contains("3 lines published, sequences "));
}

#[test]
fn who_stops_is_told_what_was_published() {
    let broker = Tilde::in_memory();
    let mut subscribe = broker.command(&["subscribe", "live", "--from", "earliest", "--format", "raw", "--count", "2"]);
    let subscribe = subscribe.spawn().unwrap();
    let mut publish = broker.command(&["publish", "live", "--lines"]);
    let mut publish = publish.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = publish.stdin.take().unwrap();
    writeln!(pipe, "one\ntwo").unwrap();
    finish(subscribe).ok();
    kill_process(Pid::from_child(&publish), Signal::TERM).unwrap();
    let (told, mut more) = first_words(&mut publish);
    assert_eq!(told, "stopped: nothing after line 2 was sent\n");
    assert!(finish(publish).text().contains("2 lines published, sequences 1 to 2"));
    assert_eq!(more.read_to_string(&mut String::new()).unwrap(), 0);
}

#[test]
fn a_line_that_is_refused_is_named() {
    let broker = Tilde::in_memory();
    let mut input = b"good\nalso good\n".to_vec();
    input.extend_from_slice(&vec![b'x'; 1_100_000]);
    input.extend_from_slice(b"\nunder way already\n");
    let told = broker.run_with(&["publish", "t", "--lines"], &input).told(1);
    assert!(told.starts_with("error: line 3 was not published: ") && told.contains("(MESSAGE_TOO_LARGE)"), "{told}");
    assert!(told.contains("3 lines published, sequences 1 to 3, which is all others up to line 4"), "{told}");
    let mut input = b"good\n".to_vec();
    input.extend_from_slice(&vec![b'x'; 5 << 20]);
    let told = broker.run_with(&["publish", "t", "--lines"], &input).told(1);
    assert!(told.contains("line 2 is longer than fits into a message"), "{told}");
    assert!(told.contains("1 line published"), "{told}");
}

#[test]
fn lines_after_one_that_is_refused_are_told_too() {
    // The broker takes less than the command sends at once.
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_as(place.path(), &["--engine", "memory"], |mut command| {
        command.env("TILDE_LIMITS_MESSAGE_BYTES", "1KiB");
        command
    });
    let long = "x".repeat(2_000);
    let input = broker.directory().join("lines");
    std::fs::write(&input, format!("one\n{long}\nthree\n{long}\n{long}\nsix\n")).unwrap();
    let mut command = broker.command(&["publish", "t", "--lines"]);
    command.stdin(std::fs::File::open(&input).unwrap());
    let told = finish(command.spawn().unwrap()).told(1);
    assert!(told.starts_with("error: lines 2 and 4 to 5 were not published: line 2: the message has"), "{told}");
    let rest = "3 lines published, sequences 1 to 3, which is all others up to line 6; nothing after line 6 was sent";
    assert!(told.contains(rest), "{told}");
    assert_eq!(broker.run(&["subscribe", "~", "--from", "earliest", "--end"]).text(), "t  one\nt  three\nt  six\n");
}

#[test]
fn lines_beyond_the_rate_are_sent_again_until_all_are_there() {
    let broker = Tilde::in_memory();
    let args = ["namespace", "create", "slow", "--max-messages-per-second", "40", "--durability", "memory"];
    broker.run(&args).ok();
    let input: String = (0..80).map(|n| format!("{n}\n")).collect();
    broker.run_with(&["publish", "t", "--lines", "--namespace", "slow"], input.as_bytes()).ok();
    let args = ["subscribe", "t", "--namespace", "slow", "--from", "earliest", "--end", "--format", "raw"];
    let got = broker.run(&args).text();
    assert!(got == input, "they keep their order: {got}");
    let args = ["publish", "t", "--lines", "--namespace", "slow", "--retry-for", "0s"];
    let told = broker.run_with(&args, input.as_bytes()).told(1);
    assert!(told.contains("not published: ") && told.contains("(RATE_LIMITED)"), "{told}");
}

#[test]
fn the_same_id_is_published_once() {
    let broker = Tilde::in_memory();
    let publish = |text: &str| broker.run(&["publish", "t", text, "--id", "one", "--format", "json"]);
    let (first, again) = (publish("x").json().remove(0), publish("x").json().remove(0));
    assert_eq!((&again["sequence"], &again["duplicate"]), (&first["sequence"], &true.into()));
    let told = publish("y").told(1);
    assert!(told.contains("(MESSAGE_ID_REUSED)"), "{told}");
}

#[test]
fn when_a_message_is_delivered_later_that_is_told() {
    let broker = Tilde::in_memory();
    let time = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap().to_string();
    let told = broker.run(&["publish", "a", "x", "--deliver-at", &time, "--id", "i"]).text();
    assert_eq!(told, format!("a 1 memory, scheduled for {time}\n"));
    let again = broker.run(&["publish", "a", "x", "--delay", "2h", "--id", "i"]).text();
    assert_eq!(again, "a 1 memory, as it was published before\n", "its time is that of the first");
    assert!(broker.run(&["publish", "a", "x", "--delay", "1h"]).text().starts_with("a 2 memory, scheduled for 2"));
    let lines = broker.run_with(&["publish", "a", "--lines", "--deliver-at", &time], b"x\ny\n").text();
    assert_eq!(lines, format!("a 2 lines published, sequences 3 to 4, scheduled for {time}\n"));
    let json =
        |flags: &[&str]| broker.run(&[&["publish", "a", "x", "--format", "json"], flags].concat()).json().remove(0);
    assert_eq!(json(&["--deliver-at", &time])["deliver_time"], time);
    for flags in [&[][..], &["--deliver-at", "2020-01-01T00:00:00Z"]] {
        assert_eq!(json(flags).get("deliver_time"), None, "{flags:?}");
    }
}

#[test]
fn an_expected_sequence_that_moved_is_told() {
    let broker = Tilde::in_memory();
    broker.run(&["publish", "t", "x", "--expect-last", "0"]).ok();
    let told = broker.run(&["publish", "t", "y", "--expect-last", "0"]).told(1);
    assert!(told.contains("(SEQUENCE_CONFLICT)") && told.contains("hint: `tilde topics show TOPIC`"), "{told}");
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let broker = Tilde::in_memory();
    for (args, expected) in [
        (&["publish", "a~", "x"][..], "(TOPIC_INVALID)"),
        (&["publish", "$a", "x"], "(TOPIC_INVALID)"),
        (&["publish", "a", "x", "--namespace", "nobody"], "`tilde namespace create nobody` (NAMESPACE_NOT_FOUND)\n"),
        (&["publish", "a", "x", "--durability", "replicated"], "(DURABILITY_UNAVAILABLE)"),
        (&["publish", "a", "x", "--ttl", "400d"], "(MESSAGE_INVALID)"),
        (&["publish", "a", "x", "--deliver-at", "2100-01-01T00:00:00Z"], "error: --deliver-at lies more than 365 days"),
        (&["publish", "a", "x", "--delay", "400d"], "error: --delay lies more than 365 days"),
        (&["publish", "a", "x", "--key", &"k".repeat(300)], "error: --key has 300 bytes"),
    ] {
        let answer = broker.run(args);
        assert_eq!(answer.status.code(), Some(1), "{args:?}");
        assert!(answer.stderr.starts_with("error: ") && answer.stderr.contains(expected), "{}", answer.stderr);
    }
    for (args, expected) in [
        (&["publish", "a", "x", "-a", "novalue"][..], "KEY=VALUE"),
        (&["publish", "a", "x", "--lines"], "cannot be used with"),
        (&["publish", "a", "--lines", "--id", "x"], "cannot be used with"),
        (&["publish", "a", "x", "--ttl", "5"], "is no duration"),
        (&["publish", "a", "x", "--timeout", "0s"], "nothing is answered in less than 1ms"),
        (&["publish", "a", "x", "--delay", "-5s"], "is no duration"),
        (&["publish", "a", "x", "--expect-last", "-1"], "write a sequence"),
        (&["publish", "a", "x", "--deliver-at", "-1"], "write a time as in 2026-11-21T10:00:00Z or"),
        (&["publish", "a", "x", "--deliver-at", "tomorrow"], "write a time as in 2026-11-21T10:00:00Z or"),
        (&["publish", "a", "x", "--id", ""], "an id has at least one character"),
    ] {
        let told = broker.run(args).told(2);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_said_in_words() {
    let place = tempfile::tempdir().unwrap();
    let address = free_address();
    for command in [
        &["publish", "a", "x", "--retry-for", "0s"][..],
        &["publish", "a", "--lines", "--retry-for", "0s"],
        &["subscribe", "a"],
        &["topics", "list"],
        &["namespace", "list"],
    ] {
        let told = run(tilde(place.path(), &[command, &["--broker", &address]].concat()), None).told(1);
        assert!(told.contains(&format!("cannot reach a broker at http://{address}")), "{told}");
        assert!(told.contains("hint: is `tilde serve` running there?"), "{told}");
    }
    for (broker, expected) in [("https://x:1", "only http:// is spoken"), ("x/y", "is no URL of a broker")] {
        let told = run(tilde(place.path(), &["publish", "a", "x", "--broker", broker]), None).told(2);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    for (args, input) in [
        (&["publish", "a", "x"][..], &b""[..]),
        (&["publish", "a", "x", "--id", "i"], b""),
        (&["publish", "a", "--lines"], b"x\n"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut command = tilde(place.path(), args);
        let mut child = command.env("TILDE_BROKER", &address).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let (line, _stderr) = first_words(&mut child);
        assert!(
            line.starts_with(&format!("waiting for up to 30s: cannot reach a broker at http://{address}: ")),
            "{line}"
        );
        let broker = Tilde::start(&["--engine", "memory", "--listen", &address]);
        finish(child).ok();
        assert_eq!(broker.run(&["subscribe", "~", "--from", "earliest", "--end"]).text(), "a  x\n");
    }
}

#[test]
fn a_silent_broker_is_not_waited_for_for_ever() {
    let broker = Tilde::in_memory();
    broker.signal(Signal::STOP);
    let brief = ["--timeout", "200ms", "--retry-for", "0s"];
    let told = broker.run(&[&["publish", "a", "x"][..], &brief].concat()).told(1);
    assert!(told.contains("is silent") && told.contains("whether the message was published is unknown"), "{told}");
    assert!(told.contains("hint: `tilde topics show a` tells what has arrived there; with --id"), "{told}");
    let told = broker.run(&[&["publish", "a", "x", "--id", "i"][..], &brief].concat()).told(1);
    assert!(told.contains("unknown") && told.contains("hint: the same command again is safe"), "{told}");
    let told = broker.run_with(&[&["publish", "a", "--lines"][..], &brief].concat(), b"x\ny\n").told(1);
    // They wait for the broker to say which number is next, and never went out.
    assert!(told.starts_with("error: lines 1 to 2 were not published: ") && told.contains("no answer came"), "{told}");

    // With an id a try that had no answer is repeated, and what it did is done once.
    let args = ["publish", "b", "x", "--id", "i", "--timeout", "200ms"];
    let mut child = broker.command(&args).spawn().unwrap();
    let (line, mut stderr) = first_words(&mut child);
    assert!(line.starts_with("waiting for up to 30s: the broker at ") && line.contains("is silent"), "{line}");
    broker.signal(Signal::CONT);
    let answer = finish(child);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(answer.status.success(), "{rest}");
    assert_eq!(broker.run(&["subscribe", "b", "--from", "earliest", "--end"]).text(), "b  x\n");
}
