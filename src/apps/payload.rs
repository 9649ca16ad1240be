//! What a person wants to publish, from wherever it comes: the command line, a file, or standard input.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};

use anyhow::Context;

use super::failure::Failure;
use crate::pb::v1::publish_request::Payload;

/// The largest request that a broker takes is 4 MiB; the message's other parts need some of it.
pub const BYTES: usize = (4 << 20) - (64 << 10);

/// Reads the payload of one message: `text`, or else the file, or else standard input. `command` is what was called.
pub fn read(text: Option<&str>, file: Option<&Path>, command: &str) -> anyhow::Result<Payload> {
    if let Some(text) = text {
        return Ok(Payload::Text(text.to_owned()));
    }
    if let Some(path) = file {
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        return Ok(of(whole(file, &path.display().to_string())?));
    }
    if io::stdin().is_terminal() {
        let message = "there is nothing to publish: give TEXT, --file PATH, or pipe something in";
        return Err(Failure::usage(message).into());
    }
    match whole(io::stdin().lock(), "standard input")? {
        // Rather a command that failed than someone with nothing to say.
        empty if empty.is_empty() => Err(Failure::new("standard input is empty")
            .hint(format!("an empty TEXT publishes a message without a payload: tilde {command} TOPIC ''"))
            .into()),
        bytes => Ok(of(bytes)),
    }
}

/// Text if it is UTF-8, so that others can read it.
pub fn of(bytes: Vec<u8>) -> Payload {
    match String::from_utf8(bytes) {
        Ok(text) => Payload::Text(text),
        Err(error) => Payload::Data(error.into_bytes().into()),
    }
}

/// Reads an attribute as a flag gives it.
pub fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

/// All of an input that must fit into one message.
fn whole(input: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = BYTES as u64 + 1;
    input.take(most).read_to_end(&mut bytes).with_context(|| format!("{name} cannot be read"))?;
    match bytes.len() > BYTES {
        true => Err(Failure::new(format!("{name} holds more than fits into a message"))
            .hint("`tilde publish --lines` publishes each line as a message")
            .into()),
        false => Ok(bytes),
    }
}
