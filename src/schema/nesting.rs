//! How deep the brackets of a text nest, before anything that recurses reads it. Never knows what they mean.

use super::{Broken, Kind, Limits};

/// Refuses a text whose brackets nest deeper than is allowed.
pub fn check(kind: Kind, text: &str, limits: &Limits) -> Result<(), Broken> {
    if deepest(kind, text.as_bytes()) <= limits.depth {
        return Ok(());
    }
    Err(Broken::whole(format!(
        "its brackets nest deeper than {} levels: name the inner types and refer to them",
        limits.depth
    )))
}

/// The most brackets that are open at once outside texts in quotes and comments. What is left open by mistake counts,
/// what is closed by mistake does not: the text is refused by its parser then, which gets no deeper than this.
pub fn deepest(kind: Kind, text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    let is_proto = kind == Kind::Protobuf;
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'{' | b'[' => {
                depth += 1;
                1
            }
            b'<' if is_proto => {
                depth += 1;
                1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            b'>' if is_proto => {
                depth = depth.saturating_sub(1);
                1
            }
            b'"' => quoted(&text[at..]),
            b'\'' if is_proto => quoted(&text[at..]),
            b'#' if is_proto => line(&text[at..]),
            b'/' if is_proto && text[at..].starts_with(b"//") => line(&text[at..]),
            b'/' if is_proto && text[at..].starts_with(b"/*") => comment(&text[at..]),
            _ => 1,
        };
        deepest = deepest.max(depth);
    }
    deepest
}

/// The length of a text in quotes, with them. None goes beyond its line.
fn quoted(text: &[u8]) -> usize {
    let quote = text[0];
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\n' => return at,
            _ if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn line(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len())
}

fn comment(text: &[u8]) -> usize {
    text.windows(2).skip(2).position(|pair| pair == b"*/").map_or(text.len(), |at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_are_brackets() {
        for (kind, text, depth) in [
            (Kind::Json, "", 0),
            (Kind::Json, r#"{"a": [1, [2]], "b": "[[[[", "c\"[[": 1}"#, 3),
            (Kind::Json, "[]]]][[", 2),
            (Kind::Protobuf, "message A { // don't {\n message B { } }", 2),
            (Kind::Protobuf, "/* { ' */ { /**/ { '{' \"{\" }", 2),
            (Kind::Protobuf, "{ # ' {\n { } }", 2),
            (Kind::Protobuf, "map<string, int32> <<", 2),
            (Kind::Protobuf, "'unfinished {\n {", 1),
            (Kind::Protobuf, "/* unfinished {\n {", 0),
        ] {
            assert_eq!(deepest(kind, text.as_bytes()), depth, "{text}");
        }
    }
}
