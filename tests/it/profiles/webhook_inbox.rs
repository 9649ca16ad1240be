//! The profile `webhook-inbox` and its sample receiver, through the binary.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout},
};

use serde_json::{Value, json};

use crate::support::{
    Tilde, engine,
    plain::{Receiver, Told, ask, ask_json},
};

const NAME: &str = "webhook-inbox";
const PROFILE: [&str; 2] = ["--profile", "webhook-inbox=127.0.0.1:0"];

/// The profile, as its clients know it.
struct Hub(String);

impl Hub {
    fn of(tilde: &Tilde) -> Hub {
        Hub(tilde.profile(NAME))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    #[track_caller]
    fn subscribe(&self, topic: &str, url: &str) {
        let told = ask_json("POST", &self.at(&format!("/subscribe/{topic}")), &json!({ "url": url }).to_string());
        let text = format!("Subscription created successfully between {topic} and {url}");
        assert_eq!((told.status(), told.json()), (201, json!({ "message": text })));
    }

    #[track_caller]
    fn publish(&self, topic: &str, body: &str) -> Told {
        ask_json("POST", &self.at(&format!("/publish/{topic}")), body)
    }

    /// What waits for a URL, with its names.
    #[track_caller]
    fn inbox(&self, url: &str) -> Vec<(String, Value)> {
        let told = ask("GET", &self.at(&format!("/inbox?url={url}")), &[], b"");
        assert_eq!(told.status(), 200, "{}", told.text());
        let messages = told.json()["messages"].as_array().unwrap().clone();
        messages.into_iter().map(|one| (one["ack_id"].as_str().unwrap().to_owned(), one["message"].clone())).collect()
    }

    #[track_caller]
    fn acknowledge(&self, url: &str, ack_ids: &[&String]) -> Told {
        ask_json("POST", &self.at("/inbox/ack"), &json!({ "url": url, "ack_ids": ack_ids }).to_string())
    }
}

/// A port where nobody listens.
fn dead_url() -> String {
    Receiver::start(200).url.clone()
}

#[test]
fn subscribers_are_listed_once_and_leave() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    assert_eq!(ask("GET", &hub.at("/"), &[], b"").status(), 200);
    let none = json!({ "message": "Topic either does not exist or has no subscribed endpoints" });
    let list = |topic: &str| {
        let told = ask("GET", &hub.at(&format!("/subscribers/{topic}")), &[], b"");
        (told.status(), told.json())
    };
    assert_eq!(list("topic1"), (404, none.clone()));
    let (one, two) = ("http://localhost:9000/test1", "http://127.0.0.1:9000/test2");
    hub.subscribe("topic1", one);
    hub.subscribe("topic1", one);
    assert_eq!(list("topic1"), (200, json!([one])));
    hub.subscribe("topic1", two);
    let (_, Value::Array(mut urls)) = list("topic1") else { panic!("no list") };
    urls.sort_by_key(ToString::to_string);
    assert_eq!(urls, [json!(two), json!(one)]);
    // Spaces around a topic and a URL are not theirs.
    let told = ask_json("POST", &hub.at("/subscribe/%20topic1%20"), &json!({ "url": format!(" {one} ") }).to_string());
    assert_eq!(told.json()["message"], format!("Subscription created successfully between  topic1  and {one}"));
    assert_eq!(list("topic1").1.as_array().map(Vec::len), Some(2));
    let leave =
        |url: &str| ask_json("DELETE", &hub.at("/subscribe/topic1"), &json!({ "url": url }).to_string()).status();
    assert_eq!((leave(one), leave(one), list("topic1")), (200, 404, (200, json!([two]))));
    assert_eq!((leave(two), list("topic1")), (200, (404, none)));
}

#[test]
fn what_makes_no_sense_is_refused_in_the_systems_words() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    hub.subscribe("t", "http://localhost:1/x");
    let missing = "Please check topic and URL again. At least one was not found.";
    let invalid = "Invalid URL provided.";
    for (path, body, status, text) in [
        ("/subscribe/%20", r#"{"url":"http://localhost:1/x"}"#, 400, missing),
        ("/subscribe/t", "{}", 400, missing),
        ("/subscribe/t", r#"{"uri":"http://localhost:1/x"}"#, 400, missing),
        ("/subscribe/t", r#"{"url":"http:/localhost:8000/x"}"#, 400, invalid),
        ("/subscribe/t", r#"{"url":7}"#, 400, invalid),
        ("/subscribe/t", r#"{"url":"http://container/x"}"#, 400, invalid),
        ("/subscribe/t", "{", 400, ""),
        ("/subscribe/t", "[]", 400, ""),
        ("/subscribe/", "{}", 404, ""),
        ("/subscribe/a/b", "{}", 404, ""),
        ("/subscribe/a%2Fb", "{}", 404, ""),
        ("/publish/%20", r#"{"a":1}"#, 400, "Invalid topic, please try again"),
        ("/publish/t", "{}", 400, "No data found to send"),
        ("/publish/t", "null", 400, "No data found to send"),
        ("/publish/t", "", 400, ""),
        ("/publish/t", "{\"a\":", 400, ""),
        ("/publish/t", "[1]", 400, ""),
        ("/publish/t", "\"x\"", 400, ""),
        ("/publish/nobody", r#"{"a":1}"#, 404, "No subscribers found for topic nobody"),
        ("/inbox/ack", "{}", 400, ""),
        ("/nowhere", "{}", 404, ""),
    ] {
        let told = ask_json("POST", &hub.at(path), body);
        assert_eq!(told.status(), status, "{path} {body}: {}", told.text());
        let message = told.json()["message"].as_str().unwrap().to_owned();
        assert!(if text.is_empty() { !message.is_empty() } else { message == text }, "{path} {body}: {message}");
    }
    let text = ask("POST", &hub.at("/subscribe/t"), &[("content-type", "text/plain")], b"{}");
    assert_eq!((text.status(), ask("POST", &hub.at("/publish/t"), &[], b"{\"a\":1}").status()), (415, 415));
    for (method, path, allow) in [
        ("GET", "/subscribe/t", "POST, DELETE"),
        ("PUT", "/subscribe/t", "POST, DELETE"),
        ("GET", "/publish/t", "POST"),
        ("POST", "/inbox?url=x", "GET"),
    ] {
        let told = ask(method, &hub.at(path), &[], b"");
        assert_eq!((told.status(), told.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    for (query, status) in
        [("", 400), ("?url=http://localhost:2/y", 404), ("?url=http://localhost:1/x&max=0", 400), ("?uri=x", 400)]
    {
        assert_eq!(ask("GET", &hub.at(&format!("/inbox{query}")), &[], b"").status(), status, "{query}");
    }
}

#[test]
fn everyone_gets_what_was_published_as_it_was() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    let receivers = [Receiver::start(200), Receiver::start(201), Receiver::start(204)];
    receivers.iter().for_each(|receiver| hub.subscribe("news", &receiver.url));
    let sent = r#"{"message":"hello","nested":{"a":[1,{"ä ö":null}],"big":123456789012345678901234567890,"":1.10},"topic":"mine"}"#;
    let told = hub.publish("%20news%20", sent);
    assert_eq!((told.status(), told.json()), (200, json!({ "message": "Message has been sent to all subscribers" })));
    for receiver in &receivers {
        let got = receiver.next();
        assert_eq!(
            (got.first.as_str(), got.header("content-type")),
            ("POST /event HTTP/1.1", Some("application/json"))
        );
        let text = got.text();
        let nested = r#""nested":{"a":[1,{"ä ö":null}],"big":123456789012345678901234567890,"":1.10}"#;
        assert!(text.contains(nested), "{text}");
        let body = got.json();
        assert_eq!((&body["message"], &body["topic"]), (&json!("hello"), &json!("news")));
        assert!(body["message_timestamp_utc"].as_str().unwrap().ends_with("+00:00"), "{text}");
    }
    assert!(receivers.iter().all(|receiver| receiver.rest().is_empty()), "each gets it once");
}

#[test]
fn an_envelope_and_topics_without_subscribers_are_settings() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[profiles.webhook-inbox]\nlisten = \"127.0.0.1:0\"\nbody = \"envelope\"\nno_subscribers = 200\n\
                  require_content_type = false\n";
    std::fs::write(directory.path().join("tilde.toml"), config).unwrap();
    let tilde = Tilde::start_in(directory.path(), &[]);
    let (hub, receiver) = (Hub::of(&tilde), Receiver::start(200));
    assert_eq!(hub.publish("topic1", r#"{"a":1}"#).status(), 200);
    let body = json!({ "url": receiver.url }).to_string();
    assert_eq!(ask("POST", &hub.at("/subscribe/topic1"), &[], body.as_bytes()).status(), 201);
    assert_eq!(ask("POST", &hub.at("/publish/topic1"), &[], br#"{"message":{"x":[]}}"#).status(), 200);
    assert_eq!(receiver.next().json(), json!({ "topic": "topic1", "data": { "message": { "x": [] } } }));
    engine::forget(directory.path());
}

#[test]
fn who_is_not_reached_is_named_and_what_it_missed_waits_for_it() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    let (live, failing, dead) = (Receiver::start(200), Receiver::start(503), dead_url());
    for url in [&live.url, &failing.url, &dead] {
        hub.subscribe("news", url);
    }
    for number in 1..=3 {
        let told = hub.publish("news", &format!(r#"{{"number":{number}}}"#));
        assert_eq!(told.status(), 500);
        let text = told.json()["message"].as_str().unwrap().to_owned();
        assert!(text.contains(&failing.url) && text.contains(&dead) && !text.contains(&live.url), "{text}");
        assert_eq!(live.next().json()["number"], number);
    }
    let waiting = hub.inbox(&dead);
    let numbers: Vec<_> = waiting.iter().map(|(_, message)| message["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3], "the oldest first");
    assert!(
        waiting.iter().all(|(_, message)| message["topic"] == "news" && message["message_timestamp_utc"].is_string())
    );
    assert!(hub.inbox(&dead).is_empty(), "they are leased");
    assert!(hub.inbox(&live.url).is_empty());
    let ids: Vec<_> = waiting.iter().map(|(id, _)| id).collect();
    let told = hub.acknowledge(&dead, &ids);
    assert_eq!((told.status(), &told.json()["refused"]), (200, &json!([])), "{}", told.text());
    assert!(hub.inbox(&dead).is_empty());
    // What belongs to somebody else is not settled.
    let told = hub.acknowledge(&failing.url, &ids);
    assert_eq!(told.json()["refused"].as_array().map(Vec::len), Some(3), "{}", told.text());
    // Once it takes messages again it is sent them, and they wait no more.
    failing.set(200);
    let mut left: Vec<u64> = vec![1, 2, 3];
    while !left.is_empty() {
        let told = failing.next();
        left.retain(|number| told.json()["number"] != *number || told.first.is_empty());
        let is_taken = hub.inbox(&failing.url).is_empty();
        if is_taken {
            break;
        }
    }
    assert!(live.rest().is_empty(), "nobody gets anything twice");
}

#[test]
fn whoever_refuses_is_never_said_to_be_reached() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    let failing = Receiver::start(500);
    // On topics of their own, so that none is tripped.
    for topic in 0..60 {
        hub.subscribe(&format!("t{topic}"), &failing.url);
        for number in 0..3 {
            assert_eq!(hub.publish(&format!("t{topic}"), &format!(r#"{{"n":{number}}}"#)).status(), 500);
        }
    }
}

#[test]
fn who_says_that_it_is_gone_has_left_until_it_comes_again() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    let (live, gone) = (Receiver::start(200), Receiver::start(410));
    hub.subscribe("news", &live.url);
    hub.subscribe("news", &gone.url);
    assert_eq!(hub.publish("news", r#"{"n":1}"#).status(), 500);
    assert_eq!(hub.publish("news", r#"{"n":2}"#).status(), 200);
    assert_eq!(ask("GET", &hub.at("/subscribers/news"), &[], b"").json(), json!([live.url]));
    gone.set(200);
    hub.subscribe("news", &gone.url);
    let mut missed: Vec<_> = (0..3).map(|_| gone.next().json()["n"].as_u64().unwrap()).collect();
    missed.sort_unstable();
    assert_eq!(missed, [1, 1, 2], "once when it refused, and what it missed");
}

#[test]
fn what_waits_and_who_is_subscribed_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let tilde = Tilde::start_in(directory.path(), &PROFILE);
    let dead = dead_url();
    let hub = Hub::of(&tilde);
    hub.subscribe("news", &dead);
    for number in 1..=2 {
        assert_eq!(hub.publish("news", &format!(r#"{{"number":{number}}}"#)).status(), 500);
    }
    tilde.stop();
    let tilde = Tilde::start_in(directory.path(), &PROFILE);
    let hub = Hub::of(&tilde);
    let told = ask("GET", &hub.at("/subscribers/news"), &[], b"");
    assert_eq!(told.json(), json!([dead]));
    let numbers: Vec<_> = hub.inbox(&dead).iter().map(|(_, message)| message["number"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2)]);
    engine::forget(directory.path());
}

#[test]
fn many_publish_at_the_same_time_and_nobody_misses_anything() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    let receivers: Vec<_> = (0..3).map(|_| Receiver::start(200)).collect();
    receivers.iter().for_each(|receiver| hub.subscribe("news", &receiver.url));
    let dead = dead_url();
    hub.subscribe("news", &dead);
    std::thread::scope(|scope| {
        for publisher in 0..10 {
            let hub = &hub;
            scope.spawn(move || {
                for number in 0..5 {
                    assert_eq!(hub.publish("news", &format!(r#"{{"n":{}}}"#, publisher * 5 + number)).status(), 500);
                }
            });
        }
    });
    let all: Vec<u64> = (0..50).collect();
    for receiver in &receivers {
        let mut got: Vec<_> = (0..50).map(|_| receiver.next().json()["n"].as_u64().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, all);
        assert!(receiver.rest().is_empty());
    }
    let mut waiting: Vec<_> = hub.inbox(&dead).iter().map(|(_, message)| message["n"].as_u64().unwrap()).collect();
    waiting.sort_unstable();
    assert_eq!(waiting, all);
}

/// The sample receiver. Dropping it kills it.
struct Inbox {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Inbox {
    fn start(tilde: &Tilde, args: &[&str]) -> Inbox {
        let hub = tilde.profile(NAME);
        let mut command = tilde.command(&[&["inbox", "--listen", "127.0.0.1:0", "--hub", &hub], args].concat());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let (_, url) = line.split_once(", as ").expect("it says where it is");
        Inbox { child, url: url.to_owned(), lines }
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let told = ask_json(method, &self.url.replace("/event", path), if method == "POST" { "{\"x\":1}" } else { "" });
        (told.status(), told.json()["message"].as_str().unwrap().to_owned())
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

#[test]
fn the_sample_receiver_can_be_switched_and_asks_for_what_it_missed() {
    let tilde = Tilde::start(&PROFILE);
    let hub = Hub::of(&tilde);
    let mut inbox = Inbox::start(&tilde, &["--topic", "news"]);
    assert_eq!(inbox.ask("POST", "/event").0, 503);
    assert_eq!(hub.publish("news", r#"{"message":"missed"}"#).status(), 500);
    let (status, text) = inbox.ask("GET", "/event");
    assert_eq!(status, 200);
    assert!(text.starts_with("Following messages were waiting: ") && text.contains("missed"), "{text}");
    assert_eq!(inbox.ask("GET", "/event").1, "Following messages were waiting: []");
    assert_eq!(inbox.ask("GET", "/toggle_post_event"), (200, "Endpoint toggled".to_owned()));
    assert_eq!(inbox.ask("POST", "/event"), (200, "/event recieved data".to_owned()));
    assert_eq!(inbox.lines.next().unwrap().unwrap(), "{\"x\":1}");
    // Too much failed a moment ago: it is tried by itself before long.
    while hub.publish("news", r#"{"message":"hello"}"#).status() != 200 {}
    assert!(inbox.lines.next().unwrap().unwrap().contains("hello"));
    assert_eq!(inbox.ask("GET", "/toggle_post_event").0, 200);
    assert_eq!(
        (inbox.ask("POST", "/event").0, inbox.ask("DELETE", "/event").0, inbox.ask("GET", "/x").0),
        (503, 405, 404)
    );
}
