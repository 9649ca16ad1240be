//! Whatever is sent to the port: the right status, nothing taken, nobody else hurt, and nothing left behind.

use super::*;
use crate::support::http::{Line, metric, until};

/// Times short enough to wait for.
const SHORT: &str = "[server]\nhandshake_timeout = \"300ms\"\nrequest_timeout = \"300ms\"\n";
const HOST: &str = "host: localhost\r\n";

impl Rest {
    fn line(&self) -> Line {
        Line::to(&self.tilde.url)
    }

    /// Nothing was taken, everybody is served, and no connection is left but the one that asks.
    #[track_caller]
    fn assert_unhurt(&self) {
        assert_eq!(self.kept("topic=~").len(), 0, "something was taken");
        assert_eq!(self.get("/v1/server")["engine"], "memory");
        until("connections are closed", || metric(&self.tilde, "tilde_connections_open") == 1);
        until("streams are closed", || metric(&self.tilde, "tilde_streams{namespace=\"default\"}") == 0);
        assert!(!self.tilde.logged().contains("panicked"), "{}", self.tilde.logged());
    }
}

#[test]
fn what_is_no_http_is_refused_and_the_connection_closed() {
    let rest = Rest::start();
    let post = format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}");
    let headers: String = (0..150).map(|at| format!("x{at}: y\r\n")).collect();
    for (what, bytes, status) in [
        ("two lengths", format!("{post}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), 400),
        ("no length", format!("{post}content-length: -1\r\n\r\n"), 400),
        ("a length that is none", format!("{post}content-length: abc\r\n\r\n"), 400),
        ("a NUL in the path", format!("GET /v1/topics/a\0 HTTP/1.1\r\n{HOST}\r\n"), 400),
        ("a NUL in a header", format!("GET /v1/topics HTTP/1.1\r\n{HOST}x: a\0b\r\n\r\n"), 400),
        ("a blank in a name", format!("GET /v1/topics HTTP/1.1\r\n{HOST}x y: a\r\n\r\n"), 400),
        ("another version", format!("GET /v1/topics HTTP/3.0\r\n{HOST}\r\n"), 400),
        ("a large header", format!("GET /v1/topics HTTP/1.1\r\n{HOST}x: {}\r\n\r\n", "y".repeat(100_000)), 431),
        ("many headers", format!("GET /v1/topics HTTP/1.1\r\n{HOST}{headers}\r\n"), 431),
        ("a long address", format!("GET /v1/topics/{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(20_000)), 414),
        ("a longer one", format!("GET /v1/topics?x={} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(100_000)), 414),
    ] {
        let mut line = rest.line();
        line.say(&bytes);
        let told = line.told();
        assert_eq!(told.status(), status, "{what}");
        assert_problem(&told, status, "REQUEST_INVALID");
        assert!(line.is_closed(), "{what}");
    }
    rest.assert_unhurt();
}

#[test]
fn what_is_wrong_within_http_is_told() {
    let rest = Rest::start();
    let asked = |head: &str, body: &str| {
        let mut line = rest.line();
        line.say(format!("{head}\r\n{body}"));
        line.told()
    };
    for (head, body, status, reason) in [
        ("GET /v1/topics/%ff%fe HTTP/1.1\r\nhost: localhost\r\n", "", 400, "REQUEST_INVALID"),
        ("GET /v1/topics?pattern=%ff HTTP/1.1\r\nhost: localhost\r\n", "", 400, "REQUEST_INVALID"),
        ("GET /v1/topics/a%00b HTTP/1.1\r\nhost: localhost\r\n", "", 400, "TOPIC_INVALID"),
        ("GET /v1/topics?pattern=%00 HTTP/1.1\r\nhost: localhost\r\n", "", 400, "PATTERN_INVALID"),
        ("GET /v1/topics HTTP/1.1\r\n", "", 400, "REQUEST_INVALID"),
        ("GET /v1/topics HTTP/1.1\r\nhost: a\r\nhost: b\r\n", "", 400, "REQUEST_INVALID"),
        ("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n", "", 404, ""),
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n", "", 404, ""),
        (
            "POST /v1/topics/a/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n",
            "1\r\na\r\n0\r\n\r\n",
            415,
            "CONTENT_TYPE_INVALID",
        ),
        (
            "POST /v1/topics/a/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n",
            "zz\r\nabc\r\n",
            400,
            "REQUEST_INVALID",
        ),
        // Announced, and never sent.
        (
            "POST /v1/topics/a/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999999\r\n",
            "",
            413,
            "MESSAGE_TOO_LARGE",
        ),
    ] {
        assert_problem(&asked(head, body), status, reason);
    }
    // An absolute address is one.
    let told = asked("GET http://localhost/v1/server HTTP/1.1\r\nhost: localhost\r\n", "");
    assert_eq!(told.json()["engine"], "memory");
    rest.assert_unhurt();
}

#[test]
fn json_of_any_shape_and_depth_is_refused_or_taken_and_never_worse() {
    let rest = Rest::start();
    let deep = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let json = [("content-type", "application/json")];
    for body in [
        "{",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{\"requests\":{}}",
        "{\"requests\":[1]}",
        "{\"requests\":[{\"topic\":1}]}",
        "{\"requests\":[{\"topic\":\"a\",\"data\":\"%%\"}]}",
        "{\"requests\":[{\"topic\":\"a\",\"data\":\"YQ==\",\"text\":\"a\"}]}",
        "{\"requests\":[{\"topic\":\"a\",\"ttl\":\"soon\"}]}",
        "{\"requests\":[{\"topic\":\"a\",\"deliverTime\":\"soon\"}]}",
        "{\"requests\":[{\"topic\":\"a\",\"expectedLastSequence\":-1}]}",
        "{\"requests\":[{\"topic\":\"a\",\"expectedLastSequence\":1e30}]}",
        "{\"requests\":[{\"topic\":\"a\",\"durability\":\"LARGE\"}]}",
        "{\"requests\":[{\"topic\":\"a\",\"attributes\":[\"a\"]}]}",
        "{\"requests\":[{\"topic\":\"a\",\"attributes\":{\"a\":1}}]}",
        "{\"nothing\":1}",
        "{\"requests\":[],\"requests\":[]}",
        "{\"atomic\":\"yes\"}",
        "{\"requests\":[{\"topic\":\"\u{d}\"}]} trailing",
        &deep("[", "]", 100_000),
        &deep("{\"a\":", "}", 100_000),
        &format!("{{\"requests\":{}}}", deep("[", "]", 100)),
        &format!("{{\"requests\":[{{\"attributes\":{}}}]}}", deep("{\"a\":", "}", 100)),
    ] {
        let told = ask(&rest.tilde.url, "POST", "/v1/messages", &json, body.as_bytes());
        let shown = &body[..body.len().min(80)];
        let reason = told.json()["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!((told.status(), reason.as_str()), (400, "REQUEST_INVALID"), "{shown}: {}", told.text());
        assert_eq!(told.header("content-type"), Some("application/problem+json"));
    }
    assert_problem(&ask(&rest.tilde.url, "POST", "/v1/messages", &json, b"\xff\xfe"), 400, "REQUEST_INVALID");
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "multipart/form-data; boundary=x"]
    {
        let told = ask(&rest.tilde.url, "POST", "/v1/messages", &[("content-type", kind)], b"{\"requests\":[]}");
        assert_problem(&told, 415, "CONTENT_TYPE_INVALID");
    }
    rest.assert_unhurt();
}

#[test]
fn a_body_without_a_length_is_bounded_too() {
    let rest = Rest::start();
    for path in ["/v1/topics/a/messages", "/v1/messages"] {
        let mut line = rest.line();
        let head = format!("POST {path} HTTP/1.1\r\n{HOST}content-type: application/json\r\n");
        line.say(format!("{head}transfer-encoding: chunked\r\n\r\n"));
        let piece = [format!("{:x}\r\n", 64 << 10).as_bytes(), &[b'x'; 64 << 10], b"\r\n"].concat();
        // Far more than is read; the broker stops taking it.
        let taken = (0..1_000).take_while(|_| line.can_say(&piece)).count();
        assert!(taken < 1_000, "{taken} pieces were taken");
    }
    let mut line = rest.line();
    line.say(format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n"));
    let piece = [format!("{:x}\r\n", 64 << 10).as_bytes(), &[b'x'; 64 << 10], b"\r\n"].concat();
    // Just over what is allowed: then there is nothing left that would be lost, and the answer arrives.
    (0..65).for_each(|_| line.say(&piece));
    assert_problem(&line.told(), 413, "MESSAGE_TOO_LARGE");
    rest.assert_unhurt();
}

#[test]
fn a_length_and_pieces_together_are_one_request() {
    let rest = Rest::start();
    let mut line = rest.line();
    // Whoever counts three bytes takes the rest for another request.
    let hidden = "POST /v1/topics/hidden/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx";
    let piece = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    line.say(format!(
        "POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n{piece}"
    ));
    let told = line.told();
    assert!(matches!(told.status(), 200 | 400), "{told:?}");
    line.hang_up();
    assert!(line.is_closed(), "it was one");
    let topics = rest.get("/v1/topics");
    assert!(!topics.to_string().contains("hidden"), "{topics}");
}

#[test]
fn headers_and_bodies_that_do_not_come_are_given_up() {
    let rest = Rest::start_with(SHORT);
    // Headers: closed.
    for said in
        ["GET /v1/ser", "GET /v1/server HTTP/1.1\r\nhost: localhost\r\n", "POST /v1/topics/a/messages HTTP/1.1\r\nx: "]
    {
        let mut line = rest.line();
        line.say(said);
        assert!(line.is_closed(), "{said}");
    }
    // Bodies: told so.
    let post = |framing: &str| format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}{framing}\r\n\r\n");
    for (framing, begun) in
        [("content-length: 5", ""), ("content-length: 5", "abc"), ("transfer-encoding: chunked", "3\r\nab")]
    {
        let mut line = rest.line();
        line.say(post(framing) + begun);
        let told = line.told();
        assert_problem(&told, 408, "REQUEST_TOO_SLOW");
        assert!(told.header("retry-after").is_some());
        assert!(line.is_closed(), "what may follow is no request");
    }
    let mut line = rest.line();
    let json = "content-type: application/json\r\ncontent-length: 50";
    line.say(format!("POST /v1/messages HTTP/1.1\r\n{HOST}{json}\r\n\r\n{{\"requests\":"));
    assert_problem(&line.told(), 408, "REQUEST_TOO_SLOW");
    rest.assert_unhurt();
}

#[test]
fn what_comes_a_byte_at_a_time_is_not_waited_for_for_ever() {
    let rest = Rest::start_with(SHORT);
    for (head, body) in [
        ("".to_owned(), format!("GET /v1/server HTTP/1.1\r\n{HOST}x: {}", "y".repeat(5_000))),
        (format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}content-length: 9999\r\n\r\n"), "y".repeat(9_000)),
    ] {
        let mut line = rest.line();
        line.say(head);
        // Each byte is a packet of its own, and together they take longer than there is.
        let sent = body.bytes().take_while(|byte| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            line.can_say(&[*byte])
        });
        assert!(sent.count() < body.len(), "it was read to its end");
    }
    rest.assert_unhurt();
}

#[test]
fn requests_in_pieces_and_one_behind_the_other() {
    let rest = Rest::start();
    let mut line = rest.line();
    for byte in format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}content-length: 3\r\n\r\nabc").bytes() {
        line.say([byte]);
    }
    assert_eq!(line.told().status(), 200);
    // Sent at once, answered in order.
    let many: String = (0..50)
        .map(|at| {
            let text = format!("text {at}");
            format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}content-length: {}\r\n\r\n{text}", text.len())
        })
        .collect();
    line.say(format!("{many}GET /v1/nothing HTTP/1.1\r\n{HOST}\r\nGET /v1/topics/a HTTP/1.1\r\n{HOST}\r\n"));
    let sequences: Vec<_> = (0..50).map(|_| number(&line.told().json(), "sequence")).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert_eq!(line.told().status(), 404);
    assert_eq!(line.told().json()["messages"], "51");
    // One after the other on the same connection.
    for at in 0..50 {
        line.request("POST", "/v1/topics/b/messages", &[], at.to_string().as_bytes());
        assert_eq!(line.told().status(), 200);
    }
    let texts: Vec<_> = (0..50).map(|at| at.to_string()).collect();
    assert_eq!(rest.texts("b"), texts);
    let texts: Vec<_> = (0..50).map(|at| format!("text {at}")).collect();
    assert_eq!(rest.texts("a")[1..], texts);
}

#[test]
fn whoever_asks_whether_to_go_on_is_told_to() {
    let rest = Rest::start();
    let mut line = rest.line();
    let head = format!("POST /v1/topics/a/messages HTTP/1.1\r\n{HOST}expect: 100-continue\r\n");
    line.say(format!("{head}content-length: 3\r\n\r\n"));
    assert_eq!(line.head().unwrap().status(), 100);
    line.say("abc");
    assert_eq!(line.told().status(), 200);
    assert_eq!(rest.texts("a"), ["abc"]);
    // It is not, if the answer is known.
    let mut line = rest.line();
    line.say(format!("{head}content-length: 99999999\r\n\r\n"));
    assert_problem(&line.told(), 413, "MESSAGE_TOO_LARGE");
    let mut line = rest.line();
    line.say(format!("POST /v1/nothing HTTP/1.1\r\n{HOST}expect: 100-continue\r\ncontent-length: 3\r\n\r\n"));
    assert_problem(&line.told(), 404, "");
}

#[test]
fn connections_that_break_leave_nothing() {
    let rest = Rest::start();
    for said in [
        "",
        "GET",
        "POST /v1/topics/a/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc",
        "POST /v1/topics/a/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        "GET /v1/messages?topic=a HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        for _ in 0..20 {
            rest.line().say(said);
        }
        // One that hangs up in the middle hears that it was not all.
        let mut line = rest.line();
        line.say(said);
        if said.starts_with("POST") {
            line.hang_up();
            assert_problem(&line.told(), 400, "REQUEST_INVALID");
        }
    }
    rest.assert_unhurt();
}
