//! How a place in a value is written: `$` is the whole, then `.order`, `["a b"]`, `[3]`; `[*]` is any item, `.*` any
//! member. As JSONPath has it (RFC 9535).

/// Characters of one name that are shown.
const SHOWN: usize = 64;

/// The whole.
pub const ROOT: &str = "$";
/// Any item of a list.
pub const ITEMS: &str = "[*]";
/// Any member of a map.
pub const MEMBERS: &str = ".*";

/// The member of this name.
pub fn name(name: &str) -> String {
    let plain = |first: bool, byte: u8| byte == b'_' || byte.is_ascii_alphabetic() || !first && byte.is_ascii_digit();
    if !name.is_empty() && name.len() <= SHOWN && name.bytes().enumerate().all(|(at, byte)| plain(at == 0, byte)) {
        return format!(".{name}");
    }
    let mut shown: String = name.chars().take(SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("[{shown:?}]")
}

/// The item at an index, counted from 0.
pub fn index(index: u64) -> String {
    format!("[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_jsonpath() {
        assert_eq!(name("price_2"), ".price_2");
        assert_eq!(name("2"), "[\"2\"]");
        assert_eq!(name("a \"b\""), "[\"a \\\"b\\\"\"]");
        assert_eq!(name(""), "[\"\"]");
        assert_eq!(name(&"é".repeat(99)), format!("[\"{}…\"]", "é".repeat(64)));
        assert_eq!(index(3), "[3]");
    }
}
