//! Names of files as text: in topics, in attributes, and in the headers of diffs. Pure.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt, path::Path};

use sha2::{Digest, Sha256};

/// Bytes of a topic, as the contract allows.
const TOPIC_BYTES: usize = 1_024;
/// Bytes of an attribute's value.
const VALUE_BYTES: usize = 4 << 10;
/// Stands before the hash of a name that was cut. No name that is whole has it: there, two digits follow each `%`.
const CUT: &str = "%=";

/// The topic of a file: the prefix, and its path escaped. No two files have the same, also if one is cut.
pub fn topic(prefix: &str, path: &Path) -> String {
    fit(format!("{prefix}{}", escaped(path.as_os_str().as_bytes())), TOPIC_BYTES)
}

/// The path as an attribute has it, and whether it had to be escaped for that: only if it is no text, or has control
/// characters.
pub fn attribute(path: &Path) -> (String, bool) {
    match path.to_str() {
        Some(text) if text.len() <= VALUE_BYTES && !text.contains(char::is_control) => (text.to_owned(), false),
        _ => (escaped_attribute(path), true),
    }
}

/// The path as an attribute has it, escaped as in a topic.
pub fn escaped_attribute(path: &Path) -> String {
    fit(escaped(path.as_os_str().as_bytes()), VALUE_BYTES)
}

/// `~`, `%`, control characters and what is no UTF-8 as `%XX`, byte by byte.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let percent = |text: &mut String, bytes: &[u8]| {
        bytes.iter().for_each(|byte| write!(text, "%{byte:02X}").expect("a string takes whatever is written"));
    };
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match matches!(letter, '~' | '%') || letter.is_control() {
                true => percent(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes()),
                false => text.push(letter),
            }
        }
        percent(&mut text, chunk.invalid());
    }
    text
}

/// An escaped name of at most so many bytes: one that is longer is cut, and ends in the hash of the whole.
pub fn fit(name: String, most: usize) -> String {
    if name.len() <= most {
        return name;
    }
    let hash = format!("{CUT}{}", hex(&Sha256::digest(&name)));
    let room = most.saturating_sub(hash.len());
    let mut end = (0..=room).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
    // Not within an escape.
    if let Some(at) = name[..end].rfind('%').filter(|at| end - at < 3) {
        end = at;
    }
    format!("{}{hash}", &name[..end])
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name as the headers of a diff have it, so that GNU patch and git read the same name again: in quotes if it holds
/// quotes, backslashes, control characters or what is no UTF-8, or ends in a blank, and with a tab behind it if it holds
/// others.
pub fn header(side: &str, relative: &Path) -> Vec<u8> {
    let name = [side.as_bytes(), relative.as_os_str().as_bytes()].concat();
    let odd = |letter: char| letter.is_control() || matches!(letter, '"' | '\\');
    match std::str::from_utf8(&name) {
        Ok(text) if !text.contains(odd) && !text.ends_with(char::is_whitespace) => {
            let tab = if text.contains(char::is_whitespace) { "\t" } else { "" };
            format!("{text}{tab}").into_bytes()
        }
        _ => quoted(&name),
    }
}

fn quoted(name: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\t' => out.extend(b"\\t"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\{byte:03o}").into_bytes()),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, path::PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(bytes))
    }

    #[test]
    fn what_a_topic_may_not_hold_is_escaped() {
        for (bytes, expected) in [
            (&b"/a/b c.txt"[..], "/a/b c.txt"),
            ("/ä/ö".as_bytes(), "/ä/ö"),
            (b"/a~b%c", "/a%7Eb%25c"),
            (b"/a\nb\x7f", "/a%0Ab%7F"),
            ("/\u{85}".as_bytes(), "/%C2%85"),
            (b"/\xff\xc3", "/%FF%C3"),
        ] {
            assert_eq!(topic("p:", &path(bytes)), format!("p:{expected}"));
        }
    }

    #[test]
    fn an_attribute_is_escaped_only_where_it_must_be() {
        assert_eq!(attribute(&path(b"/a~b%c")), ("/a~b%c".into(), false));
        assert_eq!(attribute(&path(b"/a%\n")), ("/a%25%0A".into(), true));
    }

    #[test]
    fn headers_are_quoted_where_they_must_be() {
        for (name, expected) in [
            (&b"x"[..], &b"a/x"[..]),
            (b"x y", b"a/x y\t"),
            (b"x ", b"\"a/x \""),
            (b"x\"y", b"\"a/x\\\"y\""),
            (b"x\n\\", b"\"a/x\\n\\\\\""),
            ("ä".as_bytes(), "a/ä".as_bytes()),
            (b"\xff", b"\"a/\\377\""),
        ] {
            assert_eq!(header("a/", &path(name)), expected);
        }
    }

    proptest! {
        #[test]
        fn every_path_has_a_topic_of_its_own(one in any::<Vec<u8>>(), other in any::<Vec<u8>>(), long in 0..2usize) {
            let long = "ä~".repeat(long * 600);
            let topic = |bytes: &[u8]| topic("", &path(&[long.as_bytes(), bytes].concat()));
            let (of_one, of_other) = (topic(&one), topic(&other));
            prop_assert_eq!(of_one == of_other, one == other);
            prop_assert!(of_one.len() <= TOPIC_BYTES && !of_one.contains('~') && !of_one.contains(char::is_control));
        }
    }
}
