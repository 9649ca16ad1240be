//! Two states of a file as a unified diff, byte for byte. Pure, but for the time that it may take.

use std::{
    collections::HashMap,
    ops::Range,
    time::{Duration, Instant},
};

use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};

/// Lines around a change.
const CONTEXT: usize = 3;
/// How long lines are compared. What is not found by then is taken as replaced: the diff is longer, and no less right.
const LIMIT: Duration = Duration::from_secs(2);

/// The hunks that make `new` of `old`; nothing if they are the same.
pub fn hunks(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (old, new) = (lines(old), lines(new));
    // Lines are long, and compared often: numbers stand for them.
    let mut numbers = HashMap::new();
    let mut number = |lines: &[&[u8]]| -> Vec<usize> {
        let next = |line: &&'_ [u8]| {
            let next = numbers.len();
            *numbers.entry(line.to_vec()).or_insert(next)
        };
        lines.iter().map(next).collect()
    };
    let (old_numbers, new_numbers) = (number(&old), number(&new));
    let deadline = Instant::now().checked_add(LIMIT);
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old_numbers, &new_numbers, deadline);
    let mut out = Vec::new();
    for group in group_diff_ops(ops, CONTEXT) {
        hunk(&mut out, &group, &old, &new);
    }
    out
}

fn hunk(out: &mut Vec<u8>, ops: &[DiffOp], old: &[&[u8]], new: &[&[u8]]) {
    let (Some(first), Some(last)) = (ops.first(), ops.last()) else { return };
    let whole = |side: fn(&DiffOp) -> Range<usize>| side(first).start..side(last).end;
    let (olds, news) = (whole(DiffOp::old_range), whole(DiffOp::new_range));
    out.extend(format!("@@ -{} +{} @@\n", range(olds), range(news)).into_bytes());
    for op in ops {
        let (tag, olds, news) = op.as_tag_tuple();
        match tag {
            DiffTag::Equal => put(out, b' ', &old[olds]),
            DiffTag::Delete => put(out, b'-', &old[olds]),
            DiffTag::Insert => put(out, b'+', &new[news]),
            DiffTag::Replace => {
                put(out, b'-', &old[olds]);
                put(out, b'+', &new[news]);
            }
        }
    }
}

/// Where a hunk begins and how many lines it has, as both are written: 1 is left out, and none begin at the line before.
fn range(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn put(out: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for line in lines {
        out.push(sign);
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(old: &str, new: &str) -> String {
        String::from_utf8(hunks(old.as_bytes(), new.as_bytes())).unwrap()
    }

    /// What `patch` does, for hunks that fit exactly.
    fn applied(old: &[u8], hunks: &[u8]) -> Vec<u8> {
        let (old, mut at, mut new) = (lines(old), 0, Vec::new());
        let mut signed = hunks.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(line) = signed.next() {
            let text =
                if signed.next_if(|next| next.starts_with(b"\\")).is_some() { &line[..line.len() - 1] } else { line };
            match (line[0], &text[1..]) {
                (b'@', head) => {
                    let start = std::str::from_utf8(head).unwrap().split(['-', ',', ' ']).nth(2).unwrap();
                    let empty = head.split(|byte| *byte == b' ').nth(1).unwrap().ends_with(b",0");
                    let start = start.parse::<usize>().unwrap() - usize::from(!empty);
                    new.extend(old[at..start].concat());
                    at = start;
                }
                (b'+', text) => new.extend_from_slice(text),
                (sign, text) => {
                    assert_eq!(old[at], text, "the old text is as the diff says");
                    at += 1;
                    if sign == b' ' {
                        new.extend_from_slice(text);
                    }
                }
            }
        }
        new.extend(old[at..].concat());
        new
    }

    #[test]
    fn as_others_write_it() {
        assert_eq!(shown("one\n", "one\ntwo\n"), "@@ -1 +1,2 @@\n one\n+two\n");
        assert_eq!(shown("", "one\n"), "@@ -0,0 +1 @@\n+one\n");
        assert_eq!(shown("one\n", ""), "@@ -1 +0,0 @@\n-one\n");
        assert_eq!(shown("same\n", "same\n"), "");
        let cut = "@@ -1 +1 @@\n-one\n\\ No newline at end of file\n+one\n";
        assert_eq!(shown("one", "one\n"), cut);
        assert_eq!(shown("a\r\n", "b\r\n"), "@@ -1 +1 @@\n-a\r\n+b\r\n");
        let old: String = (1..=30).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n5\n", "\nfive\n").replace("\n25\n", "\n");
        let expected = "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -22,7 +22,6 @@\n 22\n 23\n 24\n-25\n 26\n 27\n 28\n";
        assert_eq!(shown(&old, &new), expected);
    }

    proptest! {
        #[test]
        fn applied_to_the_old_it_makes_the_new(old in "[ab\r\n]{0,60}", new in "[ab\r\n]{0,60}") {
            prop_assert_eq!(applied(old.as_bytes(), shown(&old, &new).as_bytes()), new.as_bytes());
        }
    }
}
