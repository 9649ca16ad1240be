//! `tilde config`: what is wrong and where, and which source wins.

use std::fs;

use crate::support::{Answer, Tilde, run, tilde};

struct Place(tempfile::TempDir);

impl Place {
    fn new(file: &str) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.0.path().join("tilde.toml"), file).unwrap();
        place
    }

    #[track_caller]
    fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Answer {
        let mut command = tilde(self.0.path(), args);
        command.envs(environment.iter().copied());
        run(command, None)
    }
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_the_defaults() {
    let place = Place::new("listen = \"127.0.0.1:1\"\ndata = \"from-file\"\n\n[storage]\ntail_bytes = \"8MiB\"\n");
    let environment = [("TILDE_LISTEN", "127.0.0.1:2"), ("TILDE_DATA", "from-env")];
    let shown = place.run(&["config", "show", "--listen", "127.0.0.1:3"], &environment).text();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(&format!("{key} ="))).unwrap().to_owned();
    assert!(line("listen").starts_with("listen = \"127.0.0.1:3\" ") && line("listen").ends_with("# flag --listen"));
    assert!(line("data").contains("from-env") && line("data").ends_with("# environment TILDE_DATA"));
    assert!(line("tail_bytes").contains("\"8MiB\"") && line("tail_bytes").ends_with("# tilde.toml, line 5"));
    assert!(line("engine").contains("embedded") && line("engine").ends_with("# default"));
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let place = Place::new("worker_threads = 3\n[server]\ndrain_grace = \"90s\"\n");
    let first = place.run(&["config", "show"], &[]).text();
    let again = Place::new(&first);
    let values = |shown: &str| -> Vec<String> {
        shown.lines().map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
    };
    assert_eq!(values(&again.run(&["config", "show"], &[]).text()), values(&first));
    assert!(first.contains("drain_grace = \"1m30s\""));
}

#[test]
fn a_file_that_holds_is_ok() {
    let place = Place::new("[limits]\nmessage_bytes = \"512KiB\"\n[server]\n");
    assert_eq!(place.run(&["config", "check"], &[]).text(), "OK: tilde.toml\n");
    assert_eq!(place.run(&["config", "check", "tilde.toml"], &[]).text(), "OK: tilde.toml\n");
    let empty = Place(tempfile::tempdir().unwrap());
    assert!(empty.run(&["config", "check"], &[]).text().starts_with("OK: there is no tilde.toml"));
    let named = empty.run(&["config", "check", "gone.toml"], &[]).told(1);
    assert!(named.contains("gone.toml: cannot be read"), "{named}");
}

#[test]
fn every_fault_is_told_with_its_place_and_what_is_allowed() {
    let place = Place::new(
        "listn = \"127.0.0.1:1\"\nengine = \"redis\"\nlog = \"inof\"\n\n[storage]\ntail_bytes = \"64Mb \"\n\
         tail = 3\nverify = \"some\"\nsegment_max_bytes = \"1KiB\"\n\n[server]\nhandshake_timeout = 5\n[wrong]\n",
    );
    let told = place.run(&["config", "check"], &[]).told(1);
    for expected in [
        "tilde.toml, line 1: listn: there is no such setting: there are data, engine,",
        "tilde.toml, line 2: engine: unknown variant `redis`, expected one of `embedded`, `memory`, `jetstream`",
        "tilde.toml, line 3: log: \"inof\" is no log level",
        "tilde.toml, line 7: storage.tail: there is no such setting: [storage] has segment_max_bytes, tail_bytes, verify",
        "tilde.toml, line 8: storage.verify: unknown variant `some`",
        "tilde.toml, line 9: storage.segment_max_bytes: 1KiB is out of range: from 1MiB to 1GiB is allowed",
        "tilde.toml, line 12: server.handshake_timeout: invalid type: integer `5`, expected a duration as in \"15s\"",
        "tilde.toml, line 13: wrong: there is no such setting",
    ] {
        assert!(told.contains(expected), "{expected}\nis not in\n{told}");
    }
    assert!(!told.contains("tail_bytes: "), "64Mb is a size: {told}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let told = Place::new("listen = \"127.0.0.1:1\"\ndata = = 1\n").run(&["config", "check"], &[]).told(1);
    assert!(told.contains("tilde.toml, line 2: this is no TOML"), "{told}");
    let twice = Place::new("data = \"a\"\ndata = \"b\"\n").run(&["config", "check"], &[]).told(1);
    assert!(twice.contains("tilde.toml, line 2: this is no TOML: duplicate key"), "{twice}");
}

#[test]
fn faults_of_the_environment_and_of_flags_are_told_by_name() {
    let place = Place::new("");
    let told = place.run(&["config", "check"], &[("TILDE_SERVER_MAX_CONNECTIONS", "many")]).told(1);
    assert!(
        told.contains("environment TILDE_SERVER_MAX_CONNECTIONS: server.max_connections: \"many\" is no"),
        "{told}"
    );
    let told = place.run(&["config", "check"], &[("TILDE_INSECURE", "perhaps")]).told(1);
    assert!(told.contains("neither true nor false"), "{told}");
    for told in [
        place.run(&["config", "check"], &[("TILDE_DATA", "")]).told(1),
        place.run(&["serve", "--data", ""], &[]).told(1),
    ] {
        assert!(told.contains("data: it is empty: name a directory"), "{told}");
    }
    let told = place.run(&["config", "show", "--listen", "7126"], &[]).told(1);
    assert!(told.contains("flag --listen: listen: \"7126\" is no address to listen on: write an IP address"), "{told}");
}

#[test]
fn a_variable_that_names_no_setting_is_warned_of() {
    let place = Place::new("");
    let environment = [("TILDE_LISTN", "127.0.0.1:1"), ("TILDE_BROKER", "b"), ("TILDE_LOG", "warn")];
    let expected = "environment TILDE_LISTN: there is no such setting: is TILDE_LISTEN meant?\n";
    for command in ["check", "show"] {
        assert_eq!(place.run(&["config", command], &environment).told(0), format!("warning: {expected}"));
    }
    let broker = Tilde::start_as(place.0.path(), &["--engine", "memory"], |mut command| {
        command.envs(environment);
        command
    });
    let logged = broker.logged();
    assert!(logged.contains("WARN") && logged.ends_with(expected), "{logged}");
}

#[test]
fn serve_reads_the_same_configuration() {
    let place = Place::new("[storage]\ntail_byte = 1\n");
    let told = place.run(&["serve"], &[]).told(1);
    assert!(told.starts_with("error: tilde.toml, line 2: storage.tail_byte: there is no such setting"), "{told}");
}
