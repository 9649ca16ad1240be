//! The document, read by tools of others: it is valid, and what it allows finds no fault of the broker.

use std::process::Command;

use super::*;
use crate::support::{run, tool::tool};

#[test]
fn the_document_is_valid() {
    let rest = Rest::start();
    let file = rest.tilde.directory().join("openapi.json");
    std::fs::write(&file, rest.get("/openapi.json").to_string()).unwrap();
    let mut command = Command::new(tool("openapi-spec-validator"));
    command.arg(&file).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let told = run(command, None);
    assert!(told.status.success(), "{}{}", String::from_utf8_lossy(&told.stdout), told.stderr);
}

#[test]
fn no_request_that_it_allows_is_a_fault_of_the_broker() {
    let rest = Rest::start();
    rest.say("a", "x");
    let examples = if std::env::var_os("TILDE_CAMPAIGN").is_some() { "500" } else { "8" };
    let mut command = Command::new(tool("schemathesis"));
    command.args(["run", &format!("{}/openapi.json", rest.tilde.url), "--no-color", "--suppress-health-check", "all"]);
    command.args(["--max-examples", examples, "--seed", "7", "--generation-database", "none"]);
    command.args(["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"]);
    // One would end the broker, two do not end by themselves, and a call that nobody answers is a 503 or a 504 as it should be.
    command.args(["--exclude-operation-id", "Drain", "--exclude-operation-id", "StreamMessages"]);
    command.args(["--exclude-operation-id", "StreamDeadLetters", "--exclude-operation-id", "Call"]);
    command.args(["--request-timeout", "30"]);
    command.current_dir(rest.tilde.directory());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let told = run(command, None);
    assert!(told.status.success(), "{}{}", String::from_utf8_lossy(&told.stdout), told.stderr);
    assert_eq!(rest.get("/v1/server")["engine"], "memory");
    assert!(!rest.tilde.logged().contains("panicked"), "{}", rest.tilde.logged());
}
