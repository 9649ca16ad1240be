//! Patterns that do not say what they seem to: at its first `~` a pattern matches, whatever stands behind it.

use super::{failure::Failure, message::on_its_line};

/// Warns on standard error of those whose end is not looked at.
pub fn warn(patterns: impl IntoIterator<Item = impl AsRef<str>>) {
    for pattern in patterns {
        let pattern = pattern.as_ref();
        if let Some(read) = read_as(pattern) {
            let (pattern, read) = (on_its_line(pattern), on_its_line(read));
            eprintln!("warning: '{pattern}' is read as '{read}': what stands behind the first ~ is not looked at");
        }
    }
}

/// Refuses one whose end is not looked at, where that would remove more than it seems to.
pub fn whole(pattern: &str) -> Result<(), Failure> {
    let Some(read) = read_as(pattern) else { return Ok(()) };
    let all = match read.trim_end_matches('~') {
        "" => "every topic".to_owned(),
        "$" => "every topic of the broker's own".to_owned(),
        start => format!("every topic that begins with '{}'", on_its_line(start)),
    };
    let (pattern, read) = (on_its_line(pattern), on_its_line(read));
    let message = format!(
        "'{pattern}' would remove the messages of {all}: what stands behind the first ~ is not looked at. If that is \
         meant, write '{read}'; a topic alone is named in full, without a ~"
    );
    Err(Failure::usage(message))
}

/// What it is read as, if that is less than it says.
fn read_as(pattern: &str) -> Option<&str> {
    let end = pattern.find('~')? + 1;
    (end < pattern.len()).then(|| &pattern[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_first_is_seen() {
        for (pattern, read) in [("a/~b", Some("a/~")), ("~~", Some("~")), ("a/~", None), ("~", None), ("a/b", None)] {
            assert_eq!(read_as(pattern), read, "{pattern}");
        }
    }

    #[test]
    fn what_would_be_removed_is_said() {
        let refused = |pattern| whole(pattern).unwrap_err().to_string();
        assert!(
            refused("a/~b").contains("every topic that begins with 'a/'") && refused("a/~b").contains("write 'a/~'")
        );
        assert!(refused("~b").contains("the messages of every topic:"));
        assert!(whole("a/~").is_ok() && whole("a/b").is_ok());
    }
}
