//! With no client of ours: `grpcurl` and `buf curl` know the contract by reflection alone, and are full clients.

use std::{
    io::BufReader,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Deserializer, Value, json};

use crate::support::{Answer, Tilde, run, tool::tool};

/// Nothing that a test waits for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A tool that is run beside the broker.
fn beside(broker: &Tilde, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(tool(name));
    command.args(args).current_dir(broker.directory());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn grpcurl(broker: &Tilde, args: &[&str]) -> Command {
    beside(broker, "grpcurl", &[&["-plaintext", "-format-error"], args].concat())
}

fn address(broker: &Tilde) -> &str {
    broker.url.strip_prefix("http://").expect("as it said where it listens")
}

/// One call, to its end: the responses, or the status as JSON.
#[track_caller]
fn call(broker: &Tilde, method: &str, request: &Value) -> Result<Vec<Value>, Value> {
    let command = grpcurl(broker, &["-d", "@", address(broker), &format!("tilde.v1.{method}")]);
    let Answer { status, stdout, stderr } = run(command, Some(request.to_string().as_bytes()));
    match status.success() {
        true => Ok(Deserializer::from_slice(&stdout).into_iter().map(Result::unwrap).collect()),
        false => Err(serde_json::from_str(&stderr).unwrap_or_else(|_| panic!("grpcurl failed: {stderr}"))),
    }
}

#[track_caller]
fn publish(broker: &Tilde, topic: &str, text: &str) -> Value {
    call(broker, "Broker/Publish", &json!({"topic": topic, "text": text})).unwrap().remove(0)
}

#[track_caller]
fn subscribe(broker: &Tilde, request: &Value) -> Vec<Value> {
    call(broker, "Broker/Subscribe", request).unwrap()
}

/// Topic and text of every message in these responses.
fn received(responses: &[Value]) -> Vec<(String, String)> {
    let messages = responses.iter().filter_map(|response| response["messages"].as_array()).flatten();
    let part = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    messages.map(|message| (part(message, "topic"), part(message, "text"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(topic, text)| (topic.to_string(), text.to_string())).collect()
}

#[test]
fn reflection_tells_the_contract() {
    let broker = Tilde::in_memory();
    let ask = |args: &[&str]| run(grpcurl(&broker, &[&[address(&broker)], args].concat()), None).text();
    let services = ask(&["list"]);
    for service in ["Broker", "Topics", "Namespaces", "Subscriptions", "Operations"] {
        assert!(services.lines().any(|line| line == format!("tilde.v1.{service}")), "{services}");
    }
    assert!(ask(&["list", "tilde.v1.Broker"]).contains("tilde.v1.Broker.Publish"));
    let described = ask(&["describe", "tilde.v1.PublishRequest"]);
    assert!(described.contains("string topic = 1;") && described.contains("// UTF-8, 1 to 1,024 bytes"), "{described}");

    let info = call(&broker, "Operations/GetServerInfo", &json!({})).unwrap().remove(0);
    assert_eq!(info["engine"], "memory");
    let health = grpcurl(&broker, &["-d", "{}", address(&broker), "grpc.health.v1.Health/Check"]);
    assert_eq!(run(health, None).json_text()["status"], "SERVING");
}

#[test]
fn text_is_published_received_and_replayed() {
    let broker = Tilde::start(&[]);
    let first = publish(&broker, "abc", "hi");
    assert_eq!((&first["sequence"], &first["durability"]), (&json!("1"), &json!("DURABILITY_SYNCED")));
    publish(&broker, "abd", "du");
    publish(&broker, "b", "ho");

    let earliest = json!({"preset": "PRESET_EARLIEST"});
    let some = subscribe(&broker, &json!({"topics": ["ab~"], "start": earliest, "max_messages": 2}));
    assert!(some[0]["started"]["streamId"].is_string(), "{some:?}");
    assert_eq!(received(&some), pairs(&[("abc", "hi"), ("abd", "du")]));
    let all = subscribe(&broker, &json!({"topics": ["~"], "start": earliest, "max_messages": 3}));
    assert_eq!(received(&all), pairs(&[("abc", "hi"), ("abd", "du"), ("b", "ho")]));

    let replayed = subscribe(&broker, &json!({"topics": ["~"], "start": earliest, "stop_at_end": true}));
    assert_eq!(received(&replayed), received(&all));
    assert_eq!(replayed.last().unwrap()["caughtUp"], true);
    let rest = json!({"topics": ["~"], "start": {"after_cursor": first["cursor"]}, "stop_at_end": true});
    assert_eq!(received(&subscribe(&broker, &rest)), pairs(&[("abd", "du"), ("b", "ho")]));
    let last = json!({"topics": ["ab~", "b"], "start": {"sequence": 3}, "stop_at_end": true});
    assert_eq!(received(&subscribe(&broker, &last)), pairs(&[("b", "ho")]));
    let nothing = json!({"topics": ["none"], "start": earliest, "stop_at_end": true});
    assert_eq!(received(&subscribe(&broker, &nothing)), []);
    broker.stop();
}

/// A `grpcurl` whose stream goes on, and what it prints.
struct Live {
    process: Child,
    responses: Receiver<Value>,
}

impl Live {
    /// A call whose half is closed behind its one request.
    fn call(broker: &Tilde, method: &str, request: &Value) -> Live {
        let (request, method) = (request.to_string(), format!("tilde.v1.{method}"));
        let args = ["-d", &request, address(broker), &method];
        let mut process = grpcurl(broker, &args).spawn().unwrap();
        let printed = BufReader::new(process.stdout.take().unwrap());
        let (send, responses) = mpsc::channel();
        thread::spawn(move || {
            let values = Deserializer::from_reader(printed).into_iter::<Value>().map_while(Result::ok);
            values.for_each(|value| drop(send.send(value)));
        });
        Live { process, responses }
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.responses.recv_timeout(HANGS).expect("the stream is silent, or has ended")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

#[test]
fn a_closed_half_does_not_end_delivery() {
    let broker = Tilde::in_memory();
    let mut live = Live::call(&broker, "Broker/Subscribe", &json!({"topics": ["ab~"], "max_messages": 3}));
    assert!(live.next()["started"].is_object());
    // The request came and its half was closed before this; every message is received when it is published.
    for text in ["one", "two", "three"] {
        publish(&broker, "abc", text);
        assert_eq!(received(&[live.next()]), pairs(&[("abc", text)]));
    }
    assert!(live.responses.recv_timeout(HANGS).is_err(), "it ends after max_messages");
    assert!(live.process.wait().unwrap().success());
}

/// Text and attempt of every delivery in these responses.
fn delivered(responses: &[Value]) -> Vec<(String, u64)> {
    let deliveries = responses.iter().filter_map(|response| response["deliveries"].as_array()).flatten();
    let pair = |delivery: &Value| {
        (delivery["message"]["text"].as_str().unwrap().to_owned(), delivery["attempt"].as_u64().unwrap())
    };
    deliveries.map(pair).collect()
}

fn attempts(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(text, attempt)| (text.to_string(), *attempt)).collect()
}

#[test]
fn a_subscription_is_made_and_worked_off() {
    let broker = Tilde::start(&[]);
    let subscription = json!({"name": "mails", "topics": ["mail/~"], "retry_policy": {"min_backoff": "0s"}});
    let created = call(&broker, "Subscriptions/CreateSubscription", &json!({"subscription": subscription})).unwrap();
    assert_eq!((&created[0]["created"], &created[0]["subscription"]["name"]), (&json!(true), &json!("mails")));
    for text in ["to ann", "to bob", "to cy"] {
        publish(&broker, "mail/1", text);
    }
    let pull = |request: Value| call(&broker, "Broker/Pull", &request).unwrap();
    let settled = pull(json!({"subscription": "mails", "max_messages": 1, "ack_mode": "ACK_MODE_AUTO"}));
    assert_eq!(delivered(&settled), attempts(&[("to ann", 1)]));
    assert_eq!(settled[0]["deliveries"][0]["ackId"], Value::Null, "there is nothing to settle");

    let pulled = pull(json!({"subscription": "mails"}));
    assert_eq!(delivered(&pulled), attempts(&[("to bob", 1), ("to cy", 1)]));
    let id = |at: usize| pulled[0]["deliveries"][at]["ackId"].clone();
    let settlements = json!([
        {"ack_ids": [id(0)], "verdict": "VERDICT_ACK"},
        {"ack_ids": [id(1)], "verdict": "VERDICT_NACK", "delay": "0s", "reason": "no paper"},
    ]);
    let acknowledge = json!({"subscription": "mails", "settlements": settlements});
    assert_eq!(call(&broker, "Broker/Acknowledge", &acknowledge).unwrap(), [json!({})], "all are taken");
    let again = call(&broker, "Broker/Acknowledge", &acknowledge).unwrap().remove(0);
    let refused: Vec<_> = again["refused"].as_array().unwrap().iter().map(|one| one["reason"].clone()).collect();
    assert_eq!(refused, [json!("ALREADY_SETTLED"), json!("LEASE_EXPIRED")]);

    // Who says nothing more detaches, unless what is delivered is done.
    let silent = call(&broker, "Broker/Consume", &json!({"attach": {"subscription": "mails"}})).unwrap();
    assert_eq!((silent.len(), &silent[0]["attached"]["ackDeadline"]), (1, &json!("30s")));
    let attach = json!({"attach": {"subscription": "mails", "ack_mode": "ACK_MODE_AUTO"}});
    let live = Live::call(&broker, "Broker/Consume", &attach);
    assert!(live.next()["attached"].is_object());
    assert_eq!(delivered(&[live.next()]), attempts(&[("to cy", 2)]));
    publish(&broker, "mail/2", "to dee");
    assert_eq!(delivered(&[live.next()]), attempts(&[("to dee", 1)]));
    drop(live);
    let request = json!({"name": "mails"});
    let shown = call(&broker, "Subscriptions/GetSubscription", &request).unwrap().remove(0);
    assert_eq!(shown["subscription"]["stats"]["acked"], "4");
    broker.stop();
}

/// The reason and the field at fault, as the details of a status tell them.
fn details(status: &Value) -> (&str, Option<&str>) {
    let details = status["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let part = |name: &str| details.iter().find_map(|detail| Some(&detail[name]).filter(|part| !part.is_null()));
    let field = part("fieldViolations").and_then(|violations| violations[0]["field"].as_str());
    (part("reason").and_then(Value::as_str).unwrap_or_default(), field)
}

#[test]
fn refusals_have_a_code_a_reason_and_the_field() {
    let broker = Tilde::start(&[]);
    publish(&broker, "abc", "hi");
    let (message, request) = ("x".repeat((1 << 20) + 1), "x".repeat((4 << 20) + 1));
    let cases = [
        ("Broker/Publish", json!({"topic": "a~"}), 3, "TOPIC_INVALID", Some("topic")),
        ("Broker/Publish", json!({"topic": "$a"}), 3, "TOPIC_INVALID", Some("topic")),
        ("Broker/Subscribe", json!({"topics": [""]}), 3, "PATTERN_INVALID", Some("topics")),
        ("Broker/Subscribe", json!({}), 3, "PATTERN_INVALID", Some("topics")),
        ("Broker/Publish", json!({"topic": "abc", "text": message}), 3, "MESSAGE_TOO_LARGE", None),
        ("Broker/Publish", json!({"topic": "abc", "text": request}), 3, "MESSAGE_TOO_LARGE", None),
        (
            "Broker/Subscribe",
            json!({"topics": ["~"], "start": {"after_cursor": "x"}}),
            3,
            "CURSOR_INVALID",
            Some("start.after_cursor"),
        ),
        ("Broker/Publish", json!({"topic": "a", "namespace": "no"}), 5, "NAMESPACE_NOT_FOUND", Some("namespace")),
        ("Topics/GetTopic", json!({"name": "none"}), 5, "TOPIC_NOT_FOUND", Some("name")),
        (
            "Broker/Publish",
            json!({"topic": "abc", "expected_last_sequence": 7}),
            10,
            "SEQUENCE_CONFLICT",
            Some("expected_last_sequence"),
        ),
        (
            "Broker/Publish",
            json!({"topic": "abc", "durability": "DURABILITY_REPLICATED"}),
            9,
            "DURABILITY_UNAVAILABLE",
            Some("durability"),
        ),
    ];
    for (method, request, code, reason, field) in cases {
        let status = call(&broker, method, &request).unwrap_err();
        assert_eq!((status["code"].as_u64(), details(&status)), (Some(code), (reason, field)), "{status}");
        assert!(status["message"].as_str().is_some_and(|message| message.len() > 20), "{status}");
    }
    // None of it left anything behind.
    let all = json!({"topics": ["~"], "start": {"preset": "PRESET_EARLIEST"}, "stop_at_end": true});
    assert_eq!(received(&subscribe(&broker, &all)), pairs(&[("abc", "hi")]));
    broker.stop();
}

#[test]
fn an_expired_cursor_is_refused_if_the_stream_is_strict_and_a_gap_if_not() {
    let broker = Tilde::start(&[]);
    let small = json!({"namespace": {"name": "small", "max_bytes": 1 << 20}});
    call(&broker, "Namespaces/CreateNamespace", &small).unwrap();
    let first = call(&broker, "Broker/Publish", &json!({"topic": "t", "text": "first", "namespace": "small"}));
    let cursor = first.unwrap()[0]["cursor"].clone();
    // Twice as much as is kept: retention takes whole segments, and never the one that is written.
    let one = json!({"topic": "t", "text": "x".repeat(128 << 10), "namespace": "small"});
    for _ in 0..4 {
        call(&broker, "Broker/BatchPublish", &json!({"requests": [one, one, one, one]})).unwrap();
    }
    let kept_from = || {
        let topic = call(&broker, "Topics/GetTopic", &json!({"namespace": "small", "name": "t"})).unwrap().remove(0);
        topic["topic"]["firstSequence"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let begun = Instant::now();
    while kept_from() <= 2 {
        assert!(begun.elapsed() < HANGS, "retention removes nothing");
    }

    let request = |strict: bool| {
        let start = json!({"after_cursor": cursor});
        json!({"namespace": "small", "topics": ["~"], "start": start, "strict": strict, "stop_at_end": true})
    };
    let status = call(&broker, "Broker/Subscribe", &request(true)).unwrap_err();
    assert_eq!((status["code"].as_u64(), details(&status)), (Some(11), ("POSITION_EXPIRED", Some("start"))));
    assert!(status["message"].as_str().unwrap().contains("are no longer kept"), "{status}");

    let responses = subscribe(&broker, &request(false));
    let gap = &responses[0]["gap"];
    assert_eq!((gap["reason"].as_str(), gap["firstSequence"].as_str()), (Some("REASON_RETENTION"), Some("2")));
    let last: u64 = gap["lastSequence"].as_str().unwrap().parse().unwrap();
    let next = responses.iter().find_map(|response| response["messages"][0]["sequence"].as_str());
    assert_eq!(next, Some(&*(last + 1).to_string()), "what follows the gap is there");
    broker.stop();
}

#[test]
fn buf_curl_is_a_client_too() {
    let broker = Tilde::in_memory();
    let buf = |method: &str, request: Value| {
        let url = format!("{}/tilde.v1.Broker/{method}", broker.url);
        run(beside(&broker, "buf", &["curl", "--protocol", "grpc", "-d", &request.to_string(), &url]), None)
    };
    assert_eq!(buf("Publish", json!({"topic": "abc", "text": "hi"})).json_text()["sequence"], "1");
    let request = json!({"topics": ["ab~"], "start": {"preset": "PRESET_EARLIEST"}, "max_messages": 1});
    let printed = buf("Subscribe", request).ok();
    let responses: Vec<Value> = Deserializer::from_slice(&printed).into_iter().map(Result::unwrap).collect();
    assert_eq!(received(&responses), pairs(&[("abc", "hi")]));
    // The exit code is the status, three bits to the left.
    let told = buf("Publish", json!({"topic": "a~"})).told(3 << 3);
    assert!(told.contains("invalid_argument") && told.contains("a topic holds no `~`"), "{told}");
}

impl Answer {
    /// Standard output of a command that must have succeeded, as one JSON value.
    #[track_caller]
    fn json_text(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}
