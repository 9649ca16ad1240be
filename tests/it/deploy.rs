//! The sample deployment does what it says, without containers: its commands run with other addresses and directories.

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::{self, ports::free_address, running::Running};

fn deploy(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy").join(name)).unwrap()
}

/// The command of each service. Lists within a line are written as JSON writes them.
fn commands() -> BTreeMap<String, Vec<String>> {
    let text = deploy("compose.yaml");
    let (mut commands, mut service) = (BTreeMap::new(), String::new());
    for line in text.lines() {
        if let Some(name) =
            line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')).filter(|name| !name.starts_with(' '))
        {
            service = name.to_owned();
        }
        if let Some(command) = line.trim().strip_prefix("command: ") {
            commands.insert(service.clone(), serde_json::from_str(command).unwrap());
        }
    }
    commands
}

#[test]
fn the_services_work_together() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(place("watched/important")).unwrap();
    fs::create_dir_all(place("data")).unwrap();
    fs::write(place("watched/important/a"), "one\n").unwrap();
    let (address, commands) = (free_address(), commands());
    assert_eq!(commands.keys().collect::<Vec<_>>(), ["broker", "reviewer", "watcher"]);
    let start = |service: &str| {
        let here = |word: &String| match word.as_str() {
            "0.0.0.0:7126" => address.clone(),
            "http://broker:7126" => format!("http://{address}"),
            word if word.starts_with('/') => place(&word[1..]),
            word => word.to_owned(),
        };
        let words: Vec<String> = commands[service].iter().map(here).collect();
        Running::start(support::tilde(directory.path(), &words.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let (_broker, ready) = start("broker");
    assert!(ready.starts_with("tilde is listening on "), "{ready}");
    let (mut reviewer, _) = start("reviewer");
    let (_watcher, ready) = start("watcher");
    assert!(ready.starts_with("watching 1 file in "), "{ready}");
    fs::write(place("watched/important/a"), "one\ntwo\n").unwrap();
    while reviewer.line() != "+two" {}
    assert!(fs::read_to_string(place("data/reviewer_app.log")).unwrap().ends_with("/watched/important/a\n"));
}

#[test]
fn the_image_copies_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (text, mut copied) = (deploy("Dockerfile"), 0);
    for line in text.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        for word in &words[..words.len() - 1] {
            assert!(root.join(word).exists(), "{word} is not there");
            copied += 1;
        }
    }
    assert!(copied > 4 && text.contains("\nUSER ") && text.contains("\nVOLUME "), "it was read");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(text.contains(&format!("FROM rust:{version}")), "it builds with the oldest Rust that is enough");
}
