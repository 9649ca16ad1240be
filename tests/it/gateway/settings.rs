//! What a gateway is told: by its file, by flags, and changed by a restart.

use std::fs;

use super::support::{Behind, Files, Gateway, Topics, told};
use crate::support::{
    http::{Line, until},
    run, tilde,
};

fn write(files: &impl Behind, text: &str) {
    fs::write(files.place().join("gateway.toml"), text).unwrap();
}

fn start(files: &impl Behind) -> Gateway {
    Gateway::start(files.place(), &["--config", "gateway.toml"])
}

#[test]
fn the_directory_is_changed_by_the_file_and_a_restart() {
    let files = Files::new();
    let other = files.place().join("other");
    fs::create_dir(&other).unwrap();
    for (name, directory) in [("box", files.path()), ("other", other)] {
        write(
            &files,
            &format!("directory = \"{name}\"\nmode = \"primitive\"\ntransport = \"files\"\ntimeout = \"20s\"\n"),
        );
        let gateway = start(&files);
        let mut caller = gateway.get("/hello");
        let request = directory.join("6c3ae8251c28a4439e557fd75e437b32.req");
        until("the request is there", || request.exists());
        fs::write(request.with_extension("resp"), format!("200\n{name}")).unwrap();
        assert_eq!(told(&mut caller), (200, name.into()));
        gateway.stop();
    }
}

#[test]
fn grouping_follows_the_collapse_key_and_the_file_key_does_not() {
    let mut files = Files::new();
    for (key, groups) in [("[\"method\", \"path\"]", 1), ("[\"path\", \"query\"]", 2), ("[\"path\", \"body\"]", 3)] {
        write(&files, &format!("directory = \"box\"\ncollapse_key = {key}\n"));
        let gateway = start(&files);
        let mut callers: Vec<_> = [("/hello?a", "x"), ("/hello?b", "y"), ("/hello?a", "z"), ("/hello?b", "y")]
            .into_iter()
            .enumerate()
            .map(|(number, (path, body))| {
                let mut line = Line::to(&gateway.url);
                line.request("GET", path, &[], body.as_bytes());
                gateway.until_waiting(number as u64 + 1);
                line
            })
            .collect();
        // Of one name there is one at a time.
        for _ in 0..groups {
            let (asked, text) = files.take();
            assert_eq!(asked, "6c3ae8251c28a4439e557fd75e437b32", "{key}");
            files.answer(asked, format!("200\n{}", text.lines().nth(2).unwrap()).as_bytes());
        }
        let answers: Vec<_> = callers.iter_mut().map(|caller| String::from_utf8(told(caller).1).unwrap()).collect();
        let expected = if groups == 1 { ["?a"; 4] } else { ["?a", "?b", "?a", "?b"] };
        assert_eq!(answers, expected, "{key}");
        assert_eq!(gateway.metric("broker_requests_total"), groups, "{key}");
        assert!(files.is_empty());
    }
}

#[test]
fn the_kind_of_broker_is_changed_by_the_file_and_a_restart() {
    let (mut topics, mut files) = (Topics::new(), Files::new());
    write(&files, "transport = \"files\"\ndirectory = \"box\"\n");
    let gateway = start(&files);
    let mut caller = gateway.get("/hello");
    let (asked, _) = files.take();
    files.answer(asked, b"200\nby files");
    assert_eq!(told(&mut caller), (200, b"by files".to_vec()));
    gateway.stop();

    write(&files, "transport = \"broker\"\n");
    let gateway = Gateway::start(files.place(), &["--config", "gateway.toml", "--broker", &topics.broker.url]);
    let mut caller = gateway.get("/hello");
    let (asked, _) = topics.take();
    assert_eq!(asked.message.topic, "gateway/GET/hello");
    topics.answer(asked, b"200\nby topics");
    assert_eq!(told(&mut caller), (200, b"by topics".to_vec()));
}

#[test]
fn without_a_back_end_or_a_broker_it_is_503_and_told() {
    let files = Files::new();
    let nobody = crate::support::ports::free_address();
    let gateway = Gateway::start(files.place(), &["--transport", "broker", "--broker", &nobody]);
    for _ in 0..2 {
        let refused = gateway.get("/hello").told();
        crate::support::http::assert_problem(&refused, 503, "BROKER_UNAVAILABLE");
    }
    gateway.until_logged(&["warn", "takes no calls"]);
    let broker = crate::support::Tilde::start(&["--engine", "memory", "--listen", &nobody]);
    let refused = gateway.get("/hello").told();
    let problem = crate::support::http::assert_problem(&refused, 503, "BROKER_UNAVAILABLE");
    assert!(problem["detail"].as_str().unwrap().contains("no back end"), "{problem}");
    gateway.until_logged(&["info", "takes calls again"]);
    assert_eq!(gateway.lines(&["warn", "takes no calls"]).len(), 1, "{}", gateway.log());
    drop(broker);
}

#[test]
fn what_it_does_not_know_is_refused_with_its_place() {
    let files = Files::new();
    write(&files, "mode = \"collapse\"\ntimeuot = \"5s\"\n");
    let told = run(tilde(files.place(), &["gateway", "--config", "gateway.toml"]), None).told(1);
    assert!(told.starts_with("error: gateway.toml, line 2: unknown field `timeuot`"), "{told}");
    let told = run(tilde(files.place(), &["gateway", "--collapse-key", "cookie"]), None).told(2);
    assert!(told.contains("header:NAME"), "{told}");
}

#[test]
fn the_log_can_be_one_object_a_line() {
    let mut files = Files::new();
    let gateway = Gateway::start(files.place(), &["--directory", "box", "--format", "json"]);
    let mut caller = gateway.get("/hello?a=b");
    let (asked, _) = files.take();
    files.answer(asked, b"418\nteapot");
    assert_eq!(told(&mut caller).0, 418);
    let line: serde_json::Value = serde_json::from_str(&gateway.until_logged(&["\"status\":418"])).unwrap();
    assert_eq!((line["level"].as_str(), line["method"].as_str()), (Some("info"), Some("GET")));
    assert_eq!((line["path"].as_str(), line["how"].as_str()), (Some("/hello"), Some("own")));
    assert!(
        line["ms"].as_f64().unwrap() > 0.0 && line["time"].is_string() && line["key"].as_str().unwrap().len() == 32
    );
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let files = Files::new();
    let gateway = Gateway::start(files.place(), &["--directory", "box"]);
    let mut caller = Line::to(&gateway.url);
    caller.request("POST", "/hello", &[], &vec![b'x'; (1 << 20) + 1]);
    crate::support::http::assert_problem(&caller.told(), 413, "BODY_TOO_LARGE");
    assert!(files.is_empty());
}
