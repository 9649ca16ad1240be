//! The profile `mailbox`, through the binary.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    Tilde, engine,
    nats::Nats,
    plain::{Told, ask},
    proxy,
};

const NAME: &str = "mailbox";

fn start() -> Tilde {
    Tilde::start(&["--profile", "mailbox=127.0.0.1:0"])
}

/// Whose requests go to one of several brokers, the next one each time.
struct Clients<'a> {
    urls: &'a [String],
    next: usize,
}

impl Clients<'_> {
    #[track_caller]
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Told {
        self.next += 1;
        ask(method, &format!("{}{path}", self.urls[self.next % self.urls.len()]), &[], body.as_bytes())
    }

    #[track_caller]
    fn expect(&mut self, method: &str, path: &str, body: &str, status: u16, answer: &str) {
        let told = self.ask(method, path, body);
        assert_eq!((told.status(), told.text().as_str()), (status, answer), "{method} {path}");
    }

    /// Alice and Bob subscribe, Charles publishes, and everybody gets it once.
    fn story(&mut self, topic: &str) {
        let (alice, bob) = (format!("/{topic}/alice"), format!("/{topic}/bob"));
        let picture = format!("http://example.com/{topic}.png?w=750&h=1000");
        self.expect("GET", &alice, "", 404, "");
        self.expect("POST", &alice, "", 200, "");
        self.expect("POST", &bob, "", 200, "");
        self.expect("GET", &alice, "", 204, "");
        self.expect("POST", &format!("/{topic}"), &picture, 200, "");
        self.expect("GET", &alice, "", 200, &picture);
        self.expect("GET", &alice, "", 204, "");
        self.expect("GET", &bob, "", 200, &picture);
        self.expect("GET", &bob, "", 204, "");
        for number in 0..3 {
            self.expect("POST", &format!("/{topic}"), &format!("m{number}"), 200, "");
        }
        for number in 0..3 {
            self.expect("GET", &bob, "", 200, &format!("m{number}"));
        }
        self.expect("GET", &bob, "", 204, "");
        self.expect("DELETE", &bob, "", 200, "");
        self.expect("DELETE", &bob, "", 404, "");
        self.expect("GET", &bob, "", 404, "");
        self.expect("POST", &bob, "", 200, "");
        self.expect("GET", &bob, "", 204, "");
        self.expect("GET", &alice, "", 200, "m0");
    }
}

#[test]
fn the_story_is_told_code_by_code() {
    let tilde = start();
    let urls = [tilde.profile(NAME)];
    let mut clients = Clients { urls: &urls, next: 0 };
    for topic in ["kittens_and_puppies", "%E4%BD%A0%E5%A5%BD", "a%2Fb%3Fc", "~%25%00", ""] {
        clients.story(topic);
    }
    // What everybody has received or left waits for nobody; alice has two of each topic.
    let waiting = tilde.run(&["subscription", "list", "--format", "json"]).json();
    let backlog = |row: &Value| row["stats"]["backlog_messages"].as_u64().or(row["backlog_messages"].as_u64());
    let counts: Vec<_> = waiting.iter().filter_map(backlog).collect();
    assert_eq!(counts.iter().sum::<u64>(), 2 * 5, "{waiting:?}");
}

#[test]
fn messages_come_as_they_were_sent_and_only_to_who_was_there() {
    let tilde = start();
    let url = tilde.profile(NAME);
    let at = |path: &str| format!("{url}{path}");
    let status = |method: &str, path: &str| ask(method, &at(path), &[], b"").status();
    assert_eq!(ask("POST", &at("/t"), &[], b"before").status(), 200);
    assert_eq!((status("POST", "/t/one"), status("GET", "/t/one")), (200, 204));
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    ask("POST", &at("/t"), &[("content-type", "image/png")], &bytes);
    assert_eq!(status("POST", "/t/two"), 200);
    // Twice changes nothing, and what is elsewhere is of another topic.
    assert_eq!((status("POST", "/t/one"), status("POST", "/u/one"), status("GET", "/u/one")), (200, 200, 204));
    let got = ask("GET", &at("/t/one"), &[], b"");
    assert_eq!((got.status(), got.header("content-type"), &got.body), (200, Some("image/png"), &bytes));
    assert_eq!((status("GET", "/t/one"), status("GET", "/t/two")), (204, 204));
    // An empty message is one, and a query says nothing.
    ask("POST", &at("/t?x=1"), &[], b"");
    let empty = ask("GET", &at("/t/two?y"), &[], b"");
    assert_eq!((empty.status(), empty.body.len(), empty.header("content-type")), (200, 0, None));
    let large = vec![b'x'; 2 << 20];
    let refused = ask("POST", &at("/t"), &[], &large);
    assert_eq!((refused.status(), refused.body.len()), (413, 0));
    let huge = ask("POST", &at("/t"), &[("content-length", "9999999999")], b"");
    assert_eq!(huge.status(), 413);
}

#[test]
fn paths_and_methods_that_mean_nothing_are_told_so() {
    let tilde = start();
    let url = tilde.profile(NAME);
    for (method, path, status) in [
        ("GET", "/a/b/c", 404),
        ("POST", "/a/b/c", 404),
        ("DELETE", "/a/b/c", 404),
        ("GET", "/a", 404),
        ("DELETE", "/a", 404),
        ("HEAD", "/a", 404),
        ("PUT", "/a", 501),
        ("OPTIONS", "/a/b", 501),
        ("POST", "/t/", 200),
        ("GET", "/t/", 204),
        ("POST", "/", 200),
    ] {
        let told = ask(method, &format!("{url}{path}"), &[], b"");
        assert_eq!((told.status(), told.body.len()), (status, 0), "{method} {path}");
    }
}

#[test]
fn a_page_of_another_site_takes_nothing() {
    let tilde = start();
    let url = tilde.profile(NAME);
    ask("POST", &format!("{url}/t/u"), &[], b"");
    ask("POST", &format!("{url}/t"), &[], b"x");
    let mailbox = format!("{url}/t/u");
    for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(ask("GET", &mailbox, &[header], b"").status(), 403, "{header:?}");
    }
    assert_eq!(ask("GET", &mailbox, &[("sec-fetch-site", "none")], b"").text(), "x");
}

#[test]
fn head_takes_nothing_and_a_long_name_is_a_name() {
    let tilde = start();
    let (url, long) = (tilde.profile(NAME), "n".repeat(3_000));
    for path in [String::from("/t"), format!("/{long}")] {
        let mailbox = format!("{url}{path}/{long}");
        assert_eq!(ask("HEAD", &mailbox, &[], b"").status(), 404);
        assert_eq!(ask("POST", &mailbox, &[], b"").status(), 200);
        assert_eq!(ask("HEAD", &mailbox, &[], b"").status(), 204);
        ask("POST", &format!("{url}{path}"), &[], b"x");
        assert_eq!(ask("HEAD", &mailbox, &[], b"").status(), 200);
        assert_eq!(ask("HEAD", &mailbox, &[], b"").status(), 200);
        assert_eq!(ask("GET", &mailbox, &[], b"").text(), "x");
        assert_eq!(ask("GET", &mailbox, &[], b"").status(), 204);
    }
}

#[test]
fn what_waits_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--profile", "mailbox=127.0.0.1:0"];
    let tilde = Tilde::start_in(directory.path(), &args);
    let url = tilde.profile(NAME);
    for path in ["/t/one", "/t/two"] {
        ask("POST", &format!("{url}{path}"), &[], b"");
    }
    for body in ["m1", "m2"] {
        ask("POST", &format!("{url}/t"), &[], body.as_bytes());
    }
    assert_eq!(ask("GET", &format!("{url}/t/one"), &[], b"").text(), "m1");
    tilde.stop();
    let tilde = Tilde::start_in(directory.path(), &args);
    let url = tilde.profile(NAME);
    let bodies = |user: &str, count: usize| -> Vec<String> {
        (0..count).map(|_| ask("GET", &format!("{url}/t/{user}"), &[], b"").text()).collect()
    };
    assert_eq!(
        (bodies("one", 2), bodies("two", 3)),
        (vec!["m2".into(), String::new()], vec!["m1".into(), "m2".into(), String::new()])
    );
    engine::forget(directory.path());
}

#[test]
fn fifty_requests_on_one_connection_and_several_in_one_packet() {
    let tilde = start();
    let host = tilde.profile(NAME).replace("http://", "");
    let mut stream = TcpStream::connect(&host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut all = format!("POST /t/u HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n");
    for number in 0..48 {
        all += &format!("POST /t HTTP/1.1\r\nhost: {host}\r\ncontent-length: 3\r\n\r\n{number:03}");
    }
    all += &format!("GET /t/u HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    // In pieces that end anywhere.
    for piece in all.as_bytes().chunks(97) {
        stream.write_all(piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 50, "{answer}");
    assert!(answer.ends_with("\r\n\r\n000"), "{answer}");
}

#[test]
fn a_store_that_fails_is_told_with_an_empty_body_and_a_line() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nats = Nats::start_in(tempfile::tempdir().unwrap().keep());
    let network = runtime.block_on(proxy::Proxy::to(&nats.urls()[0]));
    let tilde = Tilde::start(&["--engine", "jetstream", "--nats", &network.url, "--profile", "mailbox=127.0.0.1:0"]);
    let url = tilde.profile(NAME);
    assert_eq!(ask("POST", &format!("{url}/t/u"), &[], b"").status(), 200);
    network.down(true);
    network.hush();
    let told = ask("POST", &format!("{url}/t"), &[], b"x");
    assert_eq!((told.status(), told.body.len()), (503, 0));
    let log = tilde.logged();
    let line = log.lines().find(|line| line.contains("mailbox: a call failed")).expect("a line of it");
    for part in ["code=503", "ms=", "operation=Publish", "topic=t"] {
        assert!(line.contains(part), "{line}");
    }
}

/// Three brokers over three NATS servers, each request to the next broker in turn.
#[test]
fn fifty_topics_at_once_over_three_brokers() {
    let nats = Nats::cluster();
    let places: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let brokers: Vec<_> = places
        .iter()
        .map(|place| {
            std::fs::write(place.path().join("tilde.toml"), "[jetstream]\nreplicas = 3\n").unwrap();
            let urls = nats.urls().join(",");
            Tilde::start_in(
                place.path(),
                &["--engine", "jetstream", "--nats", &urls, "--profile", "mailbox=127.0.0.1:0"],
            )
        })
        .collect();
    let urls: Vec<_> = brokers.iter().map(|broker| broker.profile(NAME)).collect();
    // The first requests are answered once one of them works off the subscriptions.
    for url in &urls {
        while ask("GET", &format!("{url}/warm/up"), &[], b"").status() != 404 {
            thread::yield_now();
        }
    }
    thread::scope(|scope| {
        for number in 0..50 {
            let mut clients = Clients { urls: &urls, next: number };
            scope.spawn(move || clients.story(&format!("topic-{number}")));
        }
    });
}
