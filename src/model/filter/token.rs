//! The words of a filter. Never knows what they mean together.

use super::Fault;

/// A word, and the byte where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Where it begins.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, or a word of the language.
    Name(String),
    /// A text in quotes, without them.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Anything else: `&&`, `(`.
    Sign(&'static str),
    /// Behind the last word.
    End,
}

/// The longer first, so that `<=` is not read as `<`.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "-", "+", "*", "/", "%", "?", ":",
    "{", "}", "=",
];

/// Takes a text apart; the last token is the end.
pub fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blanks(text, at);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { at: text.trim_end().len().min(at), kind: Kind::End });
            return Ok(tokens);
        };
        let (kind, length) = match first {
            '"' | '\'' => quoted(rest, at, false)?,
            'r' | 'R' if rest[1..].starts_with(['"', '\'']) => {
                let (kind, length) = quoted(&rest[1..], at + 1, true)?;
                (kind, length + 1)
            }
            'b' | 'B' if rest[1..].starts_with(['"', '\'']) => {
                return Err(Fault::new(at, "bytes are of no use here: everything that a filter knows is text"));
            }
            '0'..='9' => number(rest, at)?,
            first if is_name(first) => {
                let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                (Kind::Name(rest[..length].into()), length)
            }
            first => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Kind::Sign(sign), sign.len()),
                None => {
                    let hint = match first {
                        '&' => "write `&&`".to_owned(),
                        '|' => "write `||`".to_owned(),
                        other => format!("{other:?} has no meaning here; texts stand in quotes"),
                    };
                    return Err(Fault::new(at, hint));
                }
            },
        };
        tokens.push(Token { at, kind });
        at += length;
    }
}

/// Passes over blanks, and comments from `//` to the end of their line.
fn skip_blanks(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        if !rest.starts_with("//") {
            return at;
        }
        at += rest.find('\n').unwrap_or(rest.len());
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A number at the front.
fn number(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    let fraction = rest[length..].strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let word = &rest[..length];
    let value = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    match value {
        Ok(value) if !fraction => Ok((Kind::Number(value), length)),
        _ => Err(Fault::new(at, "only whole numbers are known, as in 10 or 0x1f")),
    }
}

/// A text in quotes at the front: single, double, or three of either; `raw` without escapes.
fn quoted(rest: &str, at: usize, raw: bool) -> Result<(Kind, usize), Fault> {
    let quote = &rest[..1];
    let (fence, triple) = match rest.starts_with(&quote.repeat(3)) {
        true => (quote.repeat(3), true),
        false => (quote.to_owned(), false),
    };
    let mut out = String::new();
    let mut place = fence.len();
    loop {
        let left = &rest[place..];
        if left.starts_with(&fence) {
            return Ok((Kind::Text(out), place + fence.len()));
        }
        match left.chars().next() {
            None => return Err(Fault::new(at, "this text has no end: a quote is missing")),
            Some('\n' | '\r') if !triple => {
                return Err(Fault::new(
                    at,
                    "this text does not end on its line: a quote is missing; write \\n for a new line",
                ));
            }
            Some('\\') if !raw => {
                let (letter, length) = escape(left, at + place)?;
                out.push(letter);
                place += length;
            }
            Some(letter) => {
                out.push(letter);
                place += letter.len_utf8();
            }
        }
    }
}

/// One escape at the front, which begins with a backslash.
fn escape(left: &str, at: usize) -> Result<(char, usize), Fault> {
    let wrong = || Fault::new(at, "no such escape: a backslash itself is written \\\\");
    let code = |from: usize, digits: usize, radix: u32| {
        let text = left.get(from..from + digits).filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric()));
        let code = text.and_then(|text| u32::from_str_radix(text, radix).ok()).and_then(char::from_u32);
        code.map(|letter| (letter, from + digits)).ok_or_else(wrong)
    };
    let second = left[1..].chars().next().ok_or_else(wrong)?;
    let plain = match second {
        '\\' | '"' | '\'' | '`' | '?' => second,
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'x' | 'X' => return code(2, 2, 16),
        'u' => return code(2, 4, 16),
        'U' => return code(2, 8, 16),
        '0'..='3' => return code(1, 3, 8),
        _ => return Err(wrong()),
    };
    Ok((plain, 2))
}
