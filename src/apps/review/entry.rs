//! One change as a reviewer writes it: a line of the log, and for the terminal with its diff. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    apps::{
        message::on_its_line,
        output::{self, Format},
    },
    client::Message,
};

/// The names that lines of the log and of standard output have had since the first reviewer.
const FILE: &str = "reviewer_app_file";
const STDOUT: &str = "reviewer_app_stdout";

/// What a message says of a change.
#[derive(Serialize)]
pub struct Entry<'a> {
    time: &'a str,
    important: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a str>,
    /// When the file was changed, or at least when the message was published.
    timestamp: String,
    /// The file, or the topic of a message that is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// How that is written, if not as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_encoding: Option<&'a str>,
    /// What it was called before.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path: Option<&'a str>,
    topic: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    #[serde(skip)]
    payload: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `time` is when the message came.
    pub fn new(message: &'a Message, time: &'a str) -> Self {
        let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
        let published = || output::time(message.publish_time.as_ref());
        Entry {
            time,
            important: attribute("important") == Some("true"),
            change: attribute("change"),
            timestamp: attribute("modified_time").map_or_else(published, str::to_owned),
            path: attribute("path"),
            path_encoding: attribute("path_encoding"),
            old_path: attribute("old_path"),
            topic: &message.topic,
            sequence: message.sequence,
            diff: None,
            payload: message.bytes(),
        }
    }

    /// Whether it is printed too.
    pub fn is_important(&self) -> bool {
        self.important
    }

    /// Its line in the log.
    pub fn logged(&self, format: Format) -> String {
        match format {
            Format::Text => self.line(FILE),
            Format::Json => object(self),
        }
    }

    /// As it is printed.
    pub fn printed(mut self, format: Format, coloured: bool) -> String {
        match format {
            Format::Text => self.line(STDOUT) + &shown(self.payload, coloured),
            Format::Json => {
                self.diff = Some(String::from_utf8_lossy(self.payload).into_owned());
                object(&self)
            }
        }
    }

    fn line(&self, name: &str) -> String {
        let path = on_its_line(self.path.unwrap_or(self.topic));
        format!("{} - {name} - INFO - {} {path}\n", self.time, on_its_line(&self.timestamp))
    }
}

fn object(entry: &Entry<'_>) -> String {
    let mut line = serde_json::to_string(entry).expect("texts and numbers have a form in JSON");
    line.push('\n');
    line
}

/// A diff that gives the terminal no orders, and has colours if it is to.
fn shown(diff: &[u8], coloured: bool) -> String {
    let mut text = String::new();
    let mut in_hunk = false;
    for line in diff.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        in_hunk |= line.starts_with(b"@@");
        let colour = match (line.first(), in_hunk) {
            (Some(b'+'), true) => Some("32"),
            (Some(b'-'), true) => Some("31"),
            (Some(b'@'), true) => Some("36"),
            (Some(b'+' | b'-'), false) => Some("1"),
            _ => None,
        };
        let line = visible(line);
        let _ = match colour.filter(|_| coloured) {
            Some(colour) => writeln!(text, "\x1b[{colour}m{line}\x1b[0m"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

fn visible(line: &[u8]) -> String {
    let chunks = line.utf8_chunks();
    chunks.map(|chunk| format!("{}{}", on_its_line(chunk.valid()), chunk.invalid().escape_ascii())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::message::Payload;

    fn message(attributes: &[(&str, &str)], payload: &str) -> Message {
        Message {
            topic: "/d/a%0A".into(),
            sequence: 7,
            publish_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            payload: Some(Payload::Text(payload.into())),
            ..Message::default()
        }
    }

    #[test]
    fn lines_are_as_the_first_reviewer_wrote_them() {
        let attributes =
            [("path", "/d/\u{1b}a"), ("important", "true"), ("change", "modified"), ("modified_time", "then")];
        let message = message(&attributes, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-o\u{1b}[2J\n+n\r\n");
        let entry = Entry::new(&message, "now");
        assert!(entry.is_important());
        assert_eq!(entry.logged(Format::Text), "now - reviewer_app_file - INFO - then /d/\\u{1b}a\n");
        let printed = entry.printed(Format::Text, false);
        let expected =
            "now - reviewer_app_stdout - INFO - then /d/\\u{1b}a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-o\\u{1b}[2J\n+n\\r\n";
        assert_eq!(printed, expected);
        let coloured = Entry::new(&message, "now").printed(Format::Text, true);
        assert!(
            coloured.contains("\x1b[1m--- a/a\x1b[0m\n") && coloured.contains("\x1b[32m+n\\r\x1b[0m\n"),
            "{coloured}"
        );
        let json = Entry::new(&message, "now").printed(Format::Json, true);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["sequence"], &json["path"]), (&7.into(), &"/d/\u{1b}a".into()));
    }

    #[test]
    fn what_is_no_change_goes_by_its_topic() {
        let message = message(&[], "x");
        let entry = Entry::new(&message, "now");
        assert_eq!(entry.logged(Format::Text), "now - reviewer_app_file - INFO - 1970-01-01T00:00:01Z /d/a%0A\n");
        assert!(!entry.is_important() && !entry.logged(Format::Json).contains("diff"));
    }
}
