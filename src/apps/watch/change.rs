//! One change of a file as a message: its diff, and what is said beside it. Pure.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::{
    diff,
    known::{Form, Known},
    name,
    tree::TEXT_BYTES,
};
use crate::{
    apps::output,
    pb::v1::{PublishRequest, publish_request::Payload},
};

/// Bytes of a diff: a message has 1 MiB, and room for what stands beside the payload.
const DIFF_BYTES: usize = 900 << 10;
/// The word that makes a change important, anywhere in the path.
const IMPORTANT: &str = "important";
/// The attribute that says how the payload is to be read.
const DIFF: &str = "diff";

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Created,
    /// It holds something else.
    Modified,
    /// It is gone.
    Deleted,
    /// It has another name.
    Renamed,
}

/// A file as it was, or as it is.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// From the top on.
    pub path: &'a Path,
    /// What is known of it.
    pub known: &'a Known,
    /// What it holds, if that is text.
    pub text: &'a [u8],
}

/// A change.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What it is.
    pub kind: Kind,
    /// The watched directory.
    pub root: &'a Path,
    /// Before; none if it is new.
    pub old: Option<Side<'a>>,
    /// After; none if it is gone.
    pub new: Option<Side<'a>>,
    /// When, in nanoseconds since 1970.
    pub time: i64,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Created => "created",
            Kind::Modified => "modified",
            Kind::Deleted => "deleted",
            Kind::Renamed => "renamed",
        }
    }
}

impl Change<'_> {
    /// The message. Its topic is `prefix` and the path.
    pub fn request(&self, prefix: &str) -> PublishRequest {
        let path = self.path();
        let (payload, omitted) = self.payload();
        let mut attributes = self.attributes();
        attributes.insert(DIFF.into(), omitted.map_or_else(|| "unified".into(), |why| format!("omitted: {why}")));
        PublishRequest {
            topic: name::topic(prefix, path),
            payload: Some(match String::from_utf8(payload) {
                Ok(text) => Payload::Text(text),
                Err(error) => Payload::Data(error.into_bytes().into()),
            }),
            attributes,
            content_type: "text/x-diff".into(),
            ..PublishRequest::default()
        }
    }

    /// Where it is now, or was.
    fn path(&self) -> &Path {
        self.new.or(self.old).map_or(self.root, |side| side.path)
    }

    fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::new();
        let mut put = |name: &str, value: String| drop(attributes.insert(name.to_owned(), value));
        let mut names = vec![("path", self.path())];
        if let (Kind::Renamed, Some(old)) = (self.kind, self.old) {
            names.push(("old_path", old.path));
        }
        // Both are read the same way.
        let odd = names.iter().any(|(_, path)| name::attribute(path).1);
        for (name, path) in names {
            put(name, if odd { name::escaped_attribute(path) } else { name::attribute(path).0 });
        }
        if odd {
            put("path_encoding", "percent".into());
        }
        put("change", self.kind.word().into());
        let path = self.path().as_os_str().as_encoded_bytes();
        put("important", path.windows(IMPORTANT.len()).any(|part| part == IMPORTANT.as_bytes()).to_string());
        put("modified_time", Timestamp::from_nanosecond(self.time.into()).unwrap_or_default().to_string());
        for (side, size, hash) in [(self.old, "old_size", "old_hash"), (self.new, "new_size", "new_hash")] {
            if let Some(side) = side {
                put(size, side.known.size.to_string());
                put(hash, name::hex(&side.known.hash));
            }
        }
        attributes
    }

    /// The diff, or what is said instead, and why.
    fn payload(&self) -> (Vec<u8>, Option<String>) {
        let forms = [self.old, self.new].map(|side| side.map_or(Form::Text, |side| side.known.form()));
        if self.kind == Kind::Renamed {
            return (self.head(), None);
        }
        let why = match forms.into_iter().max() {
            Some(Form::Huge) => format!("more than {}", output::exact_bytes(TEXT_BYTES)),
            Some(Form::Binary) => "binary".to_owned(),
            _ => {
                let [old, new] = [self.old, self.new].map(|side| side.map_or(&[][..], |side| side.text));
                let hunks = diff::hunks(old, new);
                if hunks.len() <= DIFF_BYTES {
                    return ([self.head(), hunks].concat(), None);
                }
                format!("the diff has more than {}", output::exact_bytes(DIFF_BYTES as u64))
            }
        };
        (self.differ(), Some(why))
    }

    /// The names, as GNU patch and git read them. What has no hunks is said as git says it.
    fn head(&self) -> Vec<u8> {
        let [old, new] = self.names();
        let is_empty = |side: Option<Side<'_>>| side.is_none_or(|side| side.text.is_empty());
        let git = [b"diff --git ", trimmed(&old), b" ", trimmed(&new), b"\n"].concat();
        match self.kind {
            Kind::Renamed => {
                let bare = |side: Option<Side<'_>>| {
                    side.map_or_else(Vec::new, |side| trimmed(&name::header("", self.relative(side.path))).to_vec())
                };
                let names = [b"rename from ", &bare(self.old)[..], b"\nrename to ", &bare(self.new), b"\n"].concat();
                [&git[..], b"similarity index 100%\n", &names].concat()
            }
            Kind::Created if is_empty(self.new) => [&git[..], b"new file mode 100644\n"].concat(),
            Kind::Deleted if is_empty(self.old) => [&git[..], b"deleted file mode 100644\n"].concat(),
            _ => {
                let [old, new] = self.sides();
                [b"--- ", &old[..], b"\n+++ ", &new, b"\n"].concat()
            }
        }
    }

    /// What stands in the place of a diff.
    fn differ(&self) -> Vec<u8> {
        let [old, new] = self.sides();
        let is_binary = [self.old, self.new].into_iter().flatten().any(|side| side.known.form() == Form::Binary);
        let kind: &[u8] = if is_binary { b"Binary files " } else { b"Files too large for a diff, " };
        let mut text = [kind, trimmed(&old), b" and ", trimmed(&new), b" differ\n"].concat();
        for (side, word) in [(self.old, "old"), (self.new, "new")] {
            let said = side.map_or_else(
                || format!("{word}: none\n"),
                |side| format!("{word}: {} bytes, sha256 {}\n", side.known.size, name::hex(&side.known.hash)),
            );
            text.extend(said.into_bytes());
        }
        text
    }

    /// The names of both sides; of one that is not there it is that of nothing.
    fn sides(&self) -> [Vec<u8>; 2] {
        let [old, new] = self.names();
        let there = |side: Option<Side<'_>>, name| side.map_or_else(|| b"/dev/null".to_vec(), |_| name);
        [there(self.old, old), there(self.new, new)]
    }

    fn names(&self) -> [Vec<u8>; 2] {
        let (old, new) = (self.old.or(self.new), self.new.or(self.old));
        [("a/", old), ("b/", new)]
            .map(|(side, file)| name::header(side, self.relative(file.map_or(self.root, |file| file.path))))
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.root).unwrap_or(path)
    }
}

/// The same message without its diff, for a broker that takes no messages of its size.
pub fn without_diff(mut request: PublishRequest) -> PublishRequest {
    let side = |word: &str| {
        let part = |name: &str| request.attributes.get(&format!("{word}_{name}"));
        match (part("size"), part("hash")) {
            (Some(size), Some(hash)) => format!("{word}: {size} bytes, sha256 {hash}\n"),
            _ => format!("{word}: none\n"),
        }
    };
    let text = format!("The diff is more than the broker takes\n{}{}", side("old"), side("new"));
    request.payload = Some(Payload::Text(text));
    request.attributes.insert(DIFF.into(), "omitted: more than the broker takes".into());
    request
}

/// Without the tab that ends a name with blanks.
fn trimmed(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"\t").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: Kind, old: Option<(&str, Form, &[u8])>, new: Option<(&str, Form, &[u8])>) -> String {
        let known = |form: Form| Known { size: 7, form: form.into(), hash: vec![0xab], ..Known::default() };
        let [one, other] = [old, new].map(|side| side.map_or_else(Known::default, |(_, form, _)| known(form)));
        let old = old.map(|(path, _, text)| Side { path: Path::new(path), known: &one, text });
        let new = new.map(|(path, _, text)| Side { path: Path::new(path), known: &other, text });
        let request = Change { kind, root: Path::new("/r"), old, new, time: 0 }.request("");
        match request.payload {
            Some(Payload::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_has_no_lines_is_said_as_git_says_it() {
        let (empty, text) = (Some(("/r/a b", Form::Text, &b""[..])), Some(("/r/c", Form::Text, &b"c\n"[..])));
        assert_eq!(shown(Kind::Created, None, empty), "diff --git a/a b b/a b\nnew file mode 100644\n");
        assert_eq!(shown(Kind::Deleted, empty, None), "diff --git a/a b b/a b\ndeleted file mode 100644\n");
        assert_eq!(shown(Kind::Deleted, text, None), "--- a/c\n+++ /dev/null\n@@ -1 +0,0 @@\n-c\n");
        let renamed = "diff --git a/a b b/c\nsimilarity index 100%\nrename from a b\nrename to c\n";
        assert_eq!(shown(Kind::Renamed, empty, text), renamed);
    }

    #[test]
    fn what_has_no_diff_has_sizes_and_hashes() {
        let binary = Some(("/r/a b", Form::Binary, &b""[..]));
        let expected = "Binary files /dev/null and b/a b differ\nold: none\nnew: 7 bytes, sha256 ab\n";
        assert_eq!(shown(Kind::Created, None, binary), expected);
    }
}
