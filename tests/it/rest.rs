//! The contract over plain HTTP, through the real binary.

mod abuse;
mod answers;
mod browser;
mod events;
mod origins;
mod publish;
mod refusals;
mod schema;
mod subscriptions;
mod web;

use serde_json::{Value, json};

use crate::support::{
    Tilde,
    http::{ask, assert_problem},
    plain::Told,
};

/// Calls, as a user of HTTP makes them.
struct Rest {
    tilde: Tilde,
}

impl Rest {
    #[track_caller]
    fn start() -> Rest {
        Rest { tilde: Tilde::in_memory() }
    }

    /// A broker with settings of its own.
    #[track_caller]
    fn start_with(settings: &str) -> Rest {
        let own = tempfile::tempdir().unwrap();
        std::fs::write(own.path().join("tilde.toml"), format!("engine = \"memory\"\n{settings}")).unwrap();
        Rest { tilde: Tilde::start_at(own) }
    }

    /// One request. What is not null is sent as JSON.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Value) -> Told {
        let (headers, body): (&[_], _) = match body {
            Value::Null => (&[], String::new()),
            body => (&[("content-type", "application/json")], body.to_string()),
        };
        ask(&self.tilde.url, method, path, headers, body.as_bytes())
    }

    /// One that must be answered with this status. Answers its JSON, null if there is none.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let told = self.ask(method, path, body);
        assert_eq!(told.status(), status, "{method} {path}: {}", told.text());
        if told.body.is_empty() {
            return Value::Null;
        }
        assert_eq!(told.header("content-type"), Some("application/json"), "{method} {path}");
        told.json()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null, 200)
    }

    /// One that must be refused.
    #[track_caller]
    fn refused(&self, method: &str, path: &str, body: Value, status: u16, reason: &str) -> Value {
        assert_problem(&self.ask(method, path, body), status, reason)
    }

    /// Publishes text to a topic.
    #[track_caller]
    fn publish(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
        ask(&self.tilde.url, "POST", &format!("/v1/topics/{path}"), headers, body)
    }

    /// The same, which must be taken. Answers with the sequence.
    #[track_caller]
    fn say(&self, topic: &str, text: &str) -> u64 {
        let told = self.publish(&format!("{topic}/messages"), &[], text.as_bytes());
        assert_eq!(told.status(), 200, "{}", told.text());
        told.json()["sequence"].as_str().unwrap().parse().unwrap()
    }

    /// All that is kept of what a pattern names, as it is told to whoever subscribes.
    #[track_caller]
    fn kept(&self, query: &str) -> Vec<Value> {
        let path = format!("/v1/messages?start=earliest&stop_at_end&{query}");
        let told = ask(&self.tilde.url, "GET", &path, &[("accept", "application/x-ndjson")], b"");
        assert_eq!(told.status(), 200, "{}", told.text());
        let lines = told.text();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line.get("message").cloned()).collect()
    }

    /// Their texts.
    #[track_caller]
    fn texts(&self, topic: &str) -> Vec<String> {
        self.kept(&format!("topic={topic}"))
            .iter()
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The member of an object that is a number of 64 bits.
#[track_caller]
fn number(of: &Value, name: &str) -> u64 {
    of[name].as_str().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {of}"))
}
