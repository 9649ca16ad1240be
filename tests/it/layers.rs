//! Layers import one way. Reads every path in `src/` that begins with `crate` or `super`, in `use` lines and anywhere
//! else, and holds the arrows of `src/docs/architecture.md`; so that what a layer may hear of is a rule and no habit.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Who may name whom. Everybody may name himself. A part of a layer stands before the layer, and has its own rule.
const ARROWS: &[(&str, &[&str])] = &[
    ("docs", &[]),
    ("model", &[]),
    ("clock", &["model"]),
    ("units", &[]),
    ("process", &[]),
    ("shutdown", &[]),
    ("telemetry", &["model"]),
    ("config", &["model", "units"]),
    ("pb", &[]),
    ("engine", &["model", "clock"]),
    ("schema", &[]),
    ("broker", &["model", "engine", "schema", "clock", "telemetry"]),
    ("server", &["model", "broker", "schema", "pb", "process", "shutdown", "telemetry", "units"]),
    ("client", &["model", "pb", "clock"]),
    // The broker is put together here, so this one knows the parts by name; and this one works on the files of a broker
    // that is stopped.
    ("apps/serve", &["apps", "server", "broker", "engine", "clock", "config", "model", "telemetry"]),
    // It prints stored messages as `subscribe` prints received ones.
    ("apps/log", &["apps", "pb", "engine", "model", "clock", "config", "units"]),
    // These read and write payloads by their schemas, which they have of a registry as anybody else: the rules are pure.
    ("apps/route", &["apps", "apps/registry", "client", "pb", "clock", "process", "units", "schema"]),
    ("apps/events", &["apps", "apps/registry", "client", "pb", "clock", "process", "units", "schema"]),
    ("apps/registry", &["apps", "units", "schema"]),
    // Shows what `serve` would run with.
    ("apps/config", &["apps", "apps/serve", "config"]),
    ("apps", &["client", "pb", "clock", "process", "units"]),
    ("main", &["apps", "apps/serve", "apps/log", "apps/config", "apps/route", "apps/events"]),
];

/// What a layer never mentions, whoever made it.
const WORDS: &[(&str, &[&str])] = &[
    ("model", &["tokio", "std::fs", "std::net", "async fn"]),
    ("engine", &["tonic", "hyper", "axum", "prost"]),
    ("broker", &["tonic", "hyper", "axum", "prost", "std::fs", "tokio::fs", "tokio::net"]),
    ("client", &["std::fs", "tokio::fs"]),
];

/// What only this file mentions: time and chance come from one place.
const ONLY_CLOCK: [&str; 3] = ["SystemTime::now", "getrandom", "Timestamp::now"];

/// A rule that is broken, and where.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.what)
    }
}

#[test]
fn layers_import_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&src, &mut files);
    assert!(files.len() > 50, "src/ was read");
    let mut violations = Vec::new();
    for path in files {
        let name = path.strip_prefix(&src).expect("it was found there").to_string_lossy().into_owned();
        violations.extend(violations_of(&name, &fs::read_to_string(&path).unwrap()));
    }
    let told: Vec<_> = violations.iter().map(Violation::to_string).collect();
    assert!(told.is_empty(), "layers that hear of what they should not:\n{}", told.join("\n"));
}

#[test]
fn a_violation_is_found_wherever_it_hides() {
    let found = |file: &str, text: &str| violations_of(file, text).iter().map(Violation::to_string).collect::<Vec<_>>();
    let engine = |place: &str| format!("src/{place}: server may not name engine");
    for text in [
        "use crate::engine::Log;",
        "use crate::{model::Error, engine::{self, Log}};",
        "fn f(log: &dyn crate::engine::Log) {}",
        "use super::super::super::engine;",
        "mod tests { use super::super::super::super::engine::Log; }",
    ] {
        assert_eq!(found("server/grpc/publish.rs", text), [engine("server/grpc/publish.rs:1")], "{text}");
    }
    let later = "//! crate::engine in a comment\nconst A: &str = \"crate::engine\";\nuse crate::{\n    engine,\n};";
    assert_eq!(found("server/mod.rs", later), [engine("server/mod.rs:4")]);
    assert_eq!(found("apps/topics.rs", "use super::serve;"), ["src/apps/topics.rs:1: apps may not name apps/serve"]);
    assert_eq!(found("model/topic.rs", "use tokio::fs;"), ["src/model/topic.rs:1: model never mentions tokio"]);
    assert_eq!(found("broker/rate.rs", "SystemTime::now()").len(), 1);
    assert_eq!(found("new/mod.rs", "use crate::model;"), ["src/new/mod.rs:1: new is no layer of the table"]);
    for good in [
        "use crate::{broker::{Broker, engine}, model::*};",
        "use super::super::engine;",
        "mod tests { use super::{self, super::engine}; }",
        "fn f<'a>(a: &'a str) { let b = ('\\'', 'b'); /* crate::engine */ }",
    ] {
        assert_eq!(found("server/grpc/publish.rs", good), [""; 0], "{good}");
    }
}

fn gather(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => gather(&path, files),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
}

fn violations_of(file: &str, text: &str) -> Vec<Violation> {
    // The map names everything.
    if file == "lib.rs" {
        return Vec::new();
    }
    let module = module(file);
    let own = layer(&module);
    let code = scrub(text);
    let mut violations = Vec::new();
    let mut violate = |at: usize, what: String| {
        let line = code[..at].matches('\n').count() + 1;
        violations.push(Violation { file: file.to_owned(), line, what });
    };
    match ARROWS.iter().find(|(name, _)| *name == own) {
        None => violate(0, format!("{own} is no layer of the table")),
        Some((_, allowed)) => {
            for (at, path) in paths(&code, &module) {
                let named = layer(&path);
                if named != own && !allowed.contains(&&*named) {
                    violate(at, format!("{own} may not name {named}"));
                }
            }
        }
    }
    let banned = WORDS.iter().filter(|(name, _)| *name == own).flat_map(|(_, words)| *words);
    let elsewhere = ONLY_CLOCK.iter().filter(|_| own != "clock");
    for word in banned.chain(elsewhere) {
        let ends = |at: usize| !code[at + word.len()..].starts_with(is_name);
        let begins = |at: usize| !code[..at].ends_with(is_name);
        let found = code.match_indices(word).find(|&(at, _)| begins(at) && ends(at));
        found.into_iter().for_each(|(at, _)| violate(at, format!("{own} never mentions {word}")));
    }
    violations.dedup();
    violations
}

/// The path of a file's module: `server/grpc/mod.rs` is `server::grpc`.
fn module(file: &str) -> Vec<String> {
    let mut parts: Vec<_> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The row of the table that a path belongs to.
fn layer(path: &[String]) -> String {
    let first = path.first().map(String::as_str).unwrap_or_default();
    match path.get(1).map(|second| format!("{first}/{second}")) {
        Some(part) if ARROWS.iter().any(|(name, _)| *name == part) => part,
        _ => first.to_owned(),
    }
}

/// The text with blanks in the place of comments and of what stands in quotes.
fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let quoted = match next {
            '/' if rest.starts_with("//") => rest.find('\n'),
            '/' if rest.starts_with("/*") => rest.find("*/").map(|end| end + 2),
            '"' => end_of_quote(rest, '"'),
            // A lifetime has no second quote that near.
            '\'' => end_of_quote(rest, '\'').filter(|&end| end <= 12 && (end == 3 || rest[1..].starts_with('\\'))),
            'r' if rest.starts_with("r\"") => rest[2..].find('"').map(|end| end + 3),
            'r' if rest.starts_with("r#\"") => rest.find("\"#").map(|end| end + 2),
            _ => Some(0),
        };
        let end = match (quoted, next) {
            (Some(0), _) | (None, '\'') => {
                out.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            }
            (end, _) => end.unwrap_or(rest.len()),
        };
        out.extend(rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out
}

/// Where a quoted text ends, its closing quote included.
fn end_of_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let mut inner = text.char_indices().skip(1);
    let (end, _) = inner.find(|&(_, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some(end + quote.len_utf8())
}

/// A name, `::`, or another character, and where it stands.
type Token<'a> = (usize, &'a str);

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = code[at..].chars().next() {
        let length = match next {
            ':' if code[at..].starts_with("::") => 2,
            c if is_name(c) => code[at..].find(|c| !is_name(c)).unwrap_or(code.len() - at),
            c => c.len_utf8(),
        };
        if !next.is_whitespace() {
            tokens.push((at, &code[at..at + length]));
        }
        at += length;
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path that begins in this crate, from its root on, with where it stands. `tilde` is what the binary calls it.
fn paths(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let text = |at: usize| tokens.get(at).map_or("", |&(_, text)| text);
    let mut found = Vec::new();
    // For each open brace, whether it is that of an inline module.
    let mut open: Vec<bool> = Vec::new();
    for at in 0..tokens.len() {
        match text(at) {
            "{" => open.push(at >= 2 && text(at - 2) == "mod"),
            "}" => drop(open.pop()),
            "crate" | "tilde" | "super" | "self" if text(at + 1) == "::" && (at == 0 || text(at - 1) != "::") => {
                let inline = open.iter().filter(|&&is_module| is_module).count();
                let here = module.iter().cloned().chain((0..inline).map(|_| "inline".to_owned())).collect();
                walk(&tokens, at, here, &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Follows a path from the token at `at` on, into every branch of its groups. Answers where it ends.
fn walk(tokens: &[Token<'_>], at: usize, mut path: Vec<String>, found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |&(_, text)| text);
    let begin = at;
    let mut at = at;
    loop {
        match text(at) {
            "{" => {
                while text(at) != "}" && at < tokens.len() {
                    at = walk(tokens, at + 1, path.clone(), found);
                }
                return at + 1;
            }
            "crate" | "tilde" => path.clear(),
            "super" => drop(path.pop()),
            "self" | "*" => {}
            name if name.starts_with(is_name) => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
    }
    if !path.is_empty() && at > begin {
        found.push((tokens[begin].0, path));
    }
    // What it is called here does not matter.
    if text(at) == "as" { at + 2 } else { at }
}
