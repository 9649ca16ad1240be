//! By what requests are told apart: the file key, which names the files of a request, and the collapse key, by which equal
//! requests are found. Pure.

use std::{fmt, str::FromStr};

use http::HeaderName;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::request::Request;

/// Names the files of a request: the MD5 of its method followed by its path, without the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey([u8; 16]);

impl FileKey {
    /// Of a request with this method and path.
    pub fn of(method: &str, path: &str) -> Self {
        FileKey(Md5::new().chain_update(method).chain_update(path).finalize().into())
    }

    /// Reads what [`FileKey`] is written as; None if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| FileKey(number.to_be_bytes()))
    }

    /// Which of so many parts it falls to.
    pub fn part(self, parts: usize) -> usize {
        usize::from(self.0[0]) % parts
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What requests must have in common to be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CollapseKey(Vec<Part>);

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Method,
    Path,
    Query,
    Body,
    Header(HeaderName),
}

/// The collapse key of one request, as a digest: only requests that agree in every part have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share([u8; 32]);

impl CollapseKey {
    /// Of one request.
    pub fn of(&self, request: &Request) -> Share {
        let mut digest = Sha256::new();
        for part in &self.0 {
            let value = match part {
                Part::Method => Some(request.method.as_bytes()),
                Part::Path => Some(request.path.as_bytes()),
                Part::Query => request.query.as_deref().map(str::as_bytes),
                Part::Body => Some(&request.body[..]),
                Part::Header(name) => request.header(name),
            };
            // With its length, so that no two lists of parts look alike; what is absent is not what is empty.
            digest.update(value.map_or(u64::MAX, |value| value.len() as u64).to_be_bytes());
            digest.update(value.unwrap_or_default());
        }
        Share(digest.finalize().into())
    }

    /// The headers that are looked at.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|part| match part {
            Part::Header(name) => Some(name),
            _ => None,
        })
    }
}

impl Share {
    /// Equal only for requests that are written the same.
    pub fn of_all(request: &Request) -> Self {
        Share(Sha256::digest(request.written()).into())
    }
}

impl Default for CollapseKey {
    fn default() -> Self {
        CollapseKey(vec![Part::Method, Part::Path])
    }
}

/// With commas in between.
impl FromStr for CollapseKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>().try_into()
    }
}

impl TryFrom<Vec<String>> for CollapseKey {
    type Error = String;

    fn try_from(parts: Vec<String>) -> Result<Self, String> {
        if parts.is_empty() {
            return Err("a collapse key has at least one part, as in method,path".into());
        }
        parts.iter().map(|part| part.parse()).collect::<Result<_, _>>().map(CollapseKey)
    }
}

impl From<CollapseKey> for Vec<String> {
    fn from(key: CollapseKey) -> Self {
        key.0.iter().map(Part::to_string).collect()
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let header = text.strip_prefix("header:").and_then(|name| name.parse().ok());
        match text {
            "method" => Ok(Part::Method),
            "path" => Ok(Part::Path),
            "query" => Ok(Part::Query),
            "body" => Ok(Part::Body),
            _ => header.map(Part::Header).ok_or_else(|| {
                format!("{text:?} is no part of a collapse key: there are method, path, query, body and header:NAME")
            }),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Method => f.write_str("method"),
            Part::Path => f.write_str("path"),
            Part::Query => f.write_str("query"),
            Part::Body => f.write_str("body"),
            Part::Header(name) => write!(f, "header:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_file_key_is_the_md5_of_method_and_path() {
        for (method, path, key) in [
            ("GET", "/", "e0e39d220ff38421b6dd61a998975b28"),
            ("GET", "/hello", "6c3ae8251c28a4439e557fd75e437b32"),
            ("POST", "/orders/1", "478478ec9f998c9617419c807178210b"),
        ] {
            assert_eq!(FileKey::of(method, path).to_string(), key);
            assert_eq!(FileKey::parse(key), Some(FileKey::of(method, path)));
        }
        for bad in ["", "6C3AE8251C28A4439E557FD75E437B32", "+c3ae8251c28a4439e557fd75e437b32", "6c3ae8251c28"] {
            assert_eq!(FileKey::parse(bad), None, "{bad}");
        }
    }

    fn request(query: Option<&str>, language: Option<&str>, body: &'static str) -> Request {
        let header = language.map(|language| (http::header::ACCEPT_LANGUAGE, language.as_bytes().into()));
        Request {
            method: "POST".into(),
            path: "/a".into(),
            query: query.map(Into::into),
            headers: header.into_iter().collect(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn requests_are_equal_in_what_the_key_names_and_in_nothing_else() {
        let (plain, other) = (request(None, None, ""), request(Some("x"), Some("de"), "y"));
        let same = |key: &str, one: &Request, two: &Request| {
            let key: CollapseKey = key.parse().unwrap();
            key.of(one) == key.of(two)
        };
        assert!(same("method,path", &plain, &other));
        for part in ["query", "body", "header:accept-language"] {
            assert!(!same(&format!("path,{part}"), &plain, &other), "{part}");
            assert!(same(&format!("path,{part}"), &other, &other), "{part}");
        }
        let (empty, shifted) = (request(Some(""), None, "ab"), request(Some("a"), None, "b"));
        assert!(!same("query", &plain, &empty), "no query is not an empty one");
        assert!(!same("query,body", &empty, &shifted), "parts do not run into each other");
        assert!(Share::of_all(&plain) != Share::of_all(&other));
    }

    #[test]
    fn a_part_that_there_is_not_is_refused_by_name() {
        let told = "method,cookie".parse::<CollapseKey>().unwrap_err();
        assert!(told.starts_with("\"cookie\" is no part") && told.contains("header:NAME"), "{told}");
        assert!("".parse::<CollapseKey>().is_err() && "header:a b".parse::<CollapseKey>().is_err());
    }
}
