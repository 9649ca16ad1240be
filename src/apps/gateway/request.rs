//! What a caller asks, and how it is written for the back end. Pure.

use bytes::Bytes;
use http::HeaderName;

/// A request, without what nobody behind the gateway needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: Box<str>,
    /// As the caller wrote it, without the query.
    pub path: Box<str>,
    /// What stands behind the `?`.
    pub query: Option<Box<str>>,
    /// Those that are passed on: the body's type, and what the collapse key looks at.
    pub headers: Box<[(HeaderName, Box<[u8]>)]>,
    /// Empty for most.
    pub body: Bytes,
}

impl Request {
    /// The first value of a header that is passed on.
    pub fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// As a back end reads it: a line with the method and a line with the path, from which the key is made. What else
    /// there is follows: a line `?` and the query, a line `name: value` a header, and, if there is a body, an empty line
    /// and the body as it came. A request without any of it has two lines.
    pub fn written(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.body.len());
        out.extend([self.method.as_bytes(), b"\n", self.path.as_bytes(), b"\n"].concat());
        if let Some(query) = &self.query {
            out.extend([b"?", query.as_bytes(), b"\n"].concat());
        }
        for (name, value) in &self.headers {
            out.extend([name.as_str().as_bytes(), b": ", value, b"\n"].concat());
        }
        if !self.body.is_empty() {
            out.push(b'\n');
            out.extend(&self.body[..]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_with_the_method_and_the_path_first() {
        let plain = Request {
            method: "GET".into(),
            path: "/hello".into(),
            query: None,
            headers: Box::default(),
            body: Bytes::new(),
        };
        assert_eq!(plain.written(), b"GET\n/hello\n");
        let full = Request {
            method: "POST".into(),
            query: Some("x=1".into()),
            headers: Box::new([(http::header::CONTENT_TYPE, b"text/plain".as_slice().into())]),
            body: Bytes::from_static(b"a\nb"),
            ..plain
        };
        assert_eq!(full.written(), b"POST\n/hello\n?x=1\ncontent-type: text/plain\n\na\nb");
        assert_eq!(full.header(&http::header::CONTENT_TYPE), Some(b"text/plain".as_slice()));
    }
}
