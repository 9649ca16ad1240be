//! What a gateway does by whatever transport: each of these runs through files and through a broker.

use std::collections::HashSet;

use super::support::{Behind, Gateway, HELLO, told};
use crate::support::http::{assert_problem, until};

/// Makes a test of each case for one transport.
macro_rules! transport_suite {
    ($name:ident, $behind:ty, $($case:ident),* $(,)?) => {
        mod $name {
            $(
                #[test]
                fn $case() {
                    super::$case::<$behind>();
                }
            )*
        }
    };
}

macro_rules! both {
    ($($case:ident),* $(,)?) => {
        transport_suite!(files, crate::gateway::support::Files, $($case),*);
        transport_suite!(broker, crate::gateway::support::Topics, $($case),*);
    };
}

both!(
    an_answer_reaches_its_caller_and_nothing_is_left,
    status_and_body_are_passed_on_byte_for_byte,
    equal_requests_at_once_share_one_and_the_next_makes_its_own,
    others_are_answered_in_any_order,
    equal_requests_take_turns_in_primitive_mode,
    who_comes_as_the_first_leaves_has_the_answer_to_the_same_request,
    an_answer_that_nobody_waits_for_is_kept_for_nobody,
    an_answer_without_a_status_is_502,
    who_hangs_up_takes_nothing_from_the_others,
    what_nobody_waits_for_is_given_up_in_the_end,
    a_gateway_that_stops_tells_who_waits,
);

/// A gateway in front of it, with other flags besides.
fn gateway<B: Behind>(behind: &B, flags: &[&str]) -> Gateway {
    let own = behind.flags();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    Gateway::start(behind.place(), &[&own[..], flags].concat())
}

/// Nobody waits, and nothing is left.
#[track_caller]
fn assert_over<B: Behind>(gateway: &Gateway, behind: &B) {
    until("nothing is left", || behind.is_empty());
    until("nobody waits", || ["waiting", "groups", "groups_behind"].iter().all(|name| gateway.metric(name) == 0));
}

fn an_answer_reaches_its_caller_and_nothing_is_left<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &[]);
    let mut caller = gateway.get("/hello");
    let (asked, text) = behind.take();
    assert_eq!(text, "GET\n/hello\n");
    behind.answer(asked, b"200\nhi");
    assert_eq!(told(&mut caller), (200, b"hi".to_vec()));
    assert!(behind.is_empty(), "both are gone before the caller knows");
    assert_over(&gateway, &behind);
    gateway.until_logged(&[" 200 GET /hello ", HELLO, " own "]);
}

fn status_and_body_are_passed_on_byte_for_byte<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &[]);
    for (status, answer) in [
        (404, b"404\nnot here\r\nnor there\n\n".to_vec()),
        (200, b"200\r\n\r\nbegins with an empty line".to_vec()),
        (500, [b"500\n".to_vec(), (0..=255).collect()].concat()),
        (200, [b"200\n".to_vec(), vec![b'x'; 300_000]].concat()),
        (202, b"202\n".to_vec()),
        (204, b"204".to_vec()),
    ] {
        let mut caller = gateway.ask("PUT", "/a/b%20c;d");
        let (asked, text) = behind.take();
        assert_eq!(text, "PUT\n/a/b%20c;d\n");
        behind.answer(asked, &answer);
        let body = answer.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default().to_vec();
        assert_eq!(told(&mut caller), (status, body));
    }
    assert_over(&gateway, &behind);
}

fn equal_requests_at_once_share_one_and_the_next_makes_its_own<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &["--mode", "collapse"]);
    let mut callers: Vec<_> = (0..100).map(|_| gateway.get("/hello")).collect();
    let (asked, _) = behind.take();
    gateway.until_waiting(100);
    behind.answer(asked, b"201\nfor all");
    for caller in &mut callers {
        assert_eq!(told(caller), (201, b"for all".to_vec()));
    }
    assert_eq!(gateway.metric("broker_requests_total"), 1);
    let mut later = gateway.get("/hello");
    let (asked, _) = behind.take();
    behind.answer(asked, b"200\nanother");
    assert_eq!(told(&mut later), (200, b"another".to_vec()));
    assert_eq!(gateway.metric("broker_requests_total"), 2);
    assert_over(&gateway, &behind);
    gateway.until_logged(&[" 201 GET /hello ", " shared "]);
}

fn others_are_answered_in_any_order<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &[]);
    let asked = [("GET", "/a"), ("POST", "/a"), ("GET", "/b"), ("GET", "/~user")];
    let mut callers: Vec<_> = asked.iter().map(|(method, path)| gateway.ask(method, path)).collect();
    let mut requests: Vec<_> = asked.iter().map(|_| behind.take()).collect();
    let texts: HashSet<_> = requests.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(texts, asked.iter().map(|(method, path)| format!("{method}\n{path}\n")).collect());
    requests.reverse();
    for (request, text) in requests {
        behind.answer(request, format!("200\nto {text}").as_bytes());
    }
    for ((method, path), caller) in asked.iter().zip(&mut callers) {
        assert_eq!(told(caller), (200, format!("to {method}\n{path}\n").into_bytes()));
    }
    assert_over(&gateway, &behind);
}

fn equal_requests_take_turns_in_primitive_mode<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &["--mode", "primitive"]);
    let mut callers = Vec::new();
    for number in 1..=3 {
        callers.push(gateway.get("/hello"));
        gateway.until_waiting(number);
    }
    for (number, caller) in callers.iter_mut().enumerate() {
        assert_eq!(gateway.metric("broker_requests_total"), number as u64 + 1, "one after the other");
        let (asked, _) = behind.take();
        // It was written after all three had come, and for this one alone.
        behind.answer(asked, format!("200\n{number}").as_bytes());
        assert_eq!(told(caller), (200, number.to_string().into_bytes()), "in the order in which they came");
        until("the next is out", || gateway.metric("broker_requests_total") == (number as u64 + 2).min(3));
    }
    assert_over(&gateway, &behind);
}

/// The first asks at 0 s and is told 504 after its time. The second comes in that moment, or just before. The answer comes
/// later, to the one request that there ever was.
fn who_comes_as_the_first_leaves_has_the_answer_to_the_same_request<B: Behind>() {
    for (mode, comes_before) in [("collapse", false), ("collapse", true), ("primitive", false), ("primitive", true)] {
        let mut behind = B::new();
        let gateway = gateway(&behind, &["--mode", mode, "--timeout", "2s"]);
        let mut first = gateway.get("/hello");
        let (asked, _) = behind.take();
        let early = comes_before.then(|| {
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(1_000);
            until("it is about time", || std::time::Instant::now() >= deadline);
            gateway.get("/hello")
        });
        assert_problem(&first.told(), 504, "NO_REPLY");
        let mut second = early.unwrap_or_else(|| gateway.get("/hello"));
        gateway.until_waiting(1);
        behind.answer(asked, b"200\nlate");
        assert_eq!(told(&mut second), (200, b"late".to_vec()), "{mode}, {comes_before}");
        assert_eq!(gateway.metric("broker_requests_total"), 1, "{mode}, {comes_before}");
        assert_over(&gateway, &behind);
    }
}

fn an_answer_that_nobody_waits_for_is_kept_for_nobody<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &["--timeout", "300ms"]);
    assert_problem(&gateway.get("/hello").told(), 504, "NO_REPLY");
    assert_eq!((gateway.metric("waiting"), gateway.metric("groups")), (0, 1), "its request lives on");
    let (asked, _) = behind.take();
    behind.answer(asked, b"200\nold");
    assert_over(&gateway, &behind);
    let mut caller = gateway.get("/hello");
    let (asked, _) = behind.take();
    behind.answer(asked, b"200\nnew");
    assert_eq!(told(&mut caller), (200, b"new".to_vec()));
    assert_over(&gateway, &behind);
}

fn an_answer_without_a_status_is_502<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &[]);
    for (bad, why) in
        [("Reponse code: 200\nhi", "\"Reponse code: 200\""), ("", "is empty"), ("600\nx", "600"), ("100\nx", "100")]
    {
        let mut caller = gateway.get("/hello");
        let (asked, _) = behind.take();
        behind.answer(asked, bad.as_bytes());
        assert_problem(&caller.told(), 502, "ANSWER_UNREADABLE");
        assert_over(&gateway, &behind);
        gateway.until_logged(&["warn", HELLO, why]);
    }
}

fn who_hangs_up_takes_nothing_from_the_others<B: Behind>() {
    for mode in ["collapse", "primitive"] {
        let mut behind = B::new();
        let gateway = gateway(&behind, &["--mode", mode]);
        let first = gateway.get("/hello");
        let (asked, _) = behind.take();
        let mut second = gateway.get("/hello");
        let third = gateway.get("/hello");
        gateway.until_waiting(3);
        drop((first, third));
        gateway.until_waiting(1);
        behind.answer(asked, b"200\nstill");
        assert_eq!(told(&mut second), (200, b"still".to_vec()), "{mode}");
        assert_eq!(gateway.metric("broker_requests_total"), 1, "{mode}");
        assert_over(&gateway, &behind);
        until("those who left are logged", || gateway.lines(&[" 499 GET /hello "]).len() == 2);
    }
}

fn what_nobody_waits_for_is_given_up_in_the_end<B: Behind>() {
    let behind = B::new();
    let gateway = gateway(&behind, &["--timeout", "200ms", "--abandon-after", "400ms"]);
    assert_problem(&gateway.get("/hello").told(), 504, "NO_REPLY");
    assert_over(&gateway, &behind);
    gateway.until_logged(&["warn", HELLO, "given up"]);
    let _caller = gateway.get("/hello");
    until("the next is out", || gateway.metric("broker_requests_total") == 2);
}

fn a_gateway_that_stops_tells_who_waits<B: Behind>() {
    let mut behind = B::new();
    let gateway = gateway(&behind, &[]);
    let mut caller = gateway.get("/hello");
    drop(behind.take());
    let answer = std::thread::spawn(move || caller.told());
    gateway.stop();
    assert_problem(&answer.join().unwrap(), 503, "STOPPING");
}
