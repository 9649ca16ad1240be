//! A client as browsers have it (`EventSource`), on a line that breaks again and again.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use super::*;
use crate::support::{
    http::{HANGS, Line},
    proxy::Proxy,
    tool::tool,
};

const MESSAGES: usize = 5_000;
const CUTS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_ten_times_misses_nothing_and_gets_nothing_twice() {
    let rest = Rest::start();
    let proxy = Proxy::to(&rest.tilde.url).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/rest/browser.mjs");
    let mut browser = std::process::Command::new(tool("node"))
        .args([script.as_ref(), tool("eventsource.js").as_os_str()])
        .args([format!("{}/v1/messages?topic=a", proxy.url), MESSAGES.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(browser.stdout.take().unwrap()).lines();
    assert_eq!(told.next().unwrap().unwrap(), "open");

    let url = rest.tilde.url.clone();
    let publishing = tokio::task::spawn_blocking(move || {
        let mut line = Line::to(&url);
        let mut sequences = Vec::new();
        for at in 0..MESSAGES {
            line.request("POST", "/v1/topics/a/messages?durability=memory", &[], at.to_string().as_bytes());
            sequences.push(number(&line.told().json(), "sequence"));
        }
        sequences
    });
    for cut in 0..CUTS {
        // In the middle of an event, wherever that is.
        let cut = proxy.cut_after(20_000 + cut * 7_919);
        tokio::time::timeout(HANGS, cut).await.expect("it reads on");
    }
    let received = tokio::task::spawn_blocking(move || -> Vec<u64> {
        told.map_while(Result::ok).take_while(|line| line != "end").map(|line| line.parse().unwrap()).collect()
    });
    let sequences = publishing.await.unwrap();
    assert_eq!(received.await.unwrap(), sequences);
    assert!(browser.wait().unwrap().success());
}
