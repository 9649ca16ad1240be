//! Texts in names that take few characters: what a name cannot hold is written `=XX`, each byte as two hexadecimal
//! digits. Pure.

use std::fmt::Write as _;

/// Adds a text to a name. `is_plain` says which characters the name takes; `=` is none of them, whatever it says.
pub fn push(name: &mut String, text: &str, is_plain: impl Fn(char) -> bool) {
    for c in text.chars() {
        match c != '=' && is_plain(c) {
            true => name.push(c),
            false => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                write!(name, "={byte:02X}").expect("a text takes everything");
            }),
        }
    }
}

/// Adds the bytes of the text that a name stands for. None if it stands for none.
pub fn pull(text: &mut Vec<u8>, name: &str) -> Option<()> {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'=' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(())
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
