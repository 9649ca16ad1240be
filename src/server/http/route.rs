//! A table of routes: which method of which path leads where. Paths are templates such as `/v1/subscriptions/{name}/pull`:
//! a part in braces takes one segment, one that ends with `...` takes any number of them. Never answers anything.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

/// A row.
#[derive(Debug)]
pub struct Route<T> {
    /// Of the request.
    pub method: Method,
    /// The template.
    pub path: &'static str,
    /// Where it leads.
    pub to: T,
}

/// What a path gave for the parts in braces, decoded, in the order of the template.
pub type Parameters<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// What was found.
#[derive(Debug, PartialEq)]
pub enum Found<'t, 'p, T> {
    /// The row, and what the path gave.
    Route(&'t Route<T>, Parameters<'p>),
    /// The path is there, for these methods.
    OtherMethod(Vec<&'t Method>),
    /// Nothing has such a path.
    Nothing,
    /// The path has such a form, but a part of it is no text.
    NoText,
}

impl<T: PartialEq> PartialEq for Route<T> {
    fn eq(&self, other: &Self) -> bool {
        (&self.method, self.path, &self.to) == (&other.method, other.path, &other.to)
    }
}

/// Looks a request up. The first path that fits counts.
pub fn find<'t, 'p, T>(table: &'t [Route<T>], method: &Method, path: &'p str) -> Found<'t, 'p, T> {
    let mut template = None;
    for route in table {
        if template.is_some_and(|known| known != route.path) {
            continue;
        }
        let raw = match template {
            Some(_) if route.method != *method => continue,
            _ => match fit(route.path, path) {
                Some(raw) => raw,
                None => continue,
            },
        };
        template = Some(route.path);
        if route.method == *method {
            let decoded = raw.into_iter().map(|(name, part)| Some((name, decode(part)?)));
            return decoded.collect::<Option<_>>().map_or(Found::NoText, |parameters| Found::Route(route, parameters));
        }
    }
    match template {
        Some(known) => {
            Found::OtherMethod(table.iter().filter(|row| row.path == known).map(|row| &row.method).collect())
        }
        None => Found::Nothing,
    }
}

/// The parts that a path gives for those in braces, as they were sent; None if it has another form.
fn fit<'p>(template: &'static str, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
    let mut parameters = Vec::new();
    let (mut wanted, mut rest) = (template, path);
    loop {
        let Some(open) = wanted.find('{') else { return (wanted == rest).then_some(parameters) };
        rest = rest.strip_prefix(&wanted[..open])?;
        let close = open + wanted[open..].find('}')?;
        let (name, behind) = (&wanted[open + 1..close], &wanted[close + 1..]);
        let (name, end) = match name.strip_suffix("...") {
            // It takes what is left, but for what the template ends with.
            Some(name) => (name, rest.strip_suffix(behind)?.len()),
            None => (name, rest.find('/').unwrap_or(rest.len())),
        };
        if end == 0 {
            return None;
        }
        parameters.push((name, &rest[..end]));
        (wanted, rest) = (behind, &rest[end..]);
    }
}

fn decode(part: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(part).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Route<u8>> {
        let rows = [
            (Method::POST, "/v1/topics/{topic...}/messages", 1),
            (Method::GET, "/v1/topics/{topic...}", 2),
            (Method::GET, "/v1/topics", 3),
            (Method::GET, "/v1/subscriptions/{name}", 4),
            (Method::PUT, "/v1/subscriptions/{name}", 5),
            (Method::POST, "/v1/subscriptions/{name}/attempts/{id}/resend", 6),
        ];
        rows.into_iter().map(|(method, path, to)| Route { method, path, to }).collect()
    }

    fn look<'p>(table: &[Route<u8>], method: Method, path: &'p str) -> Option<(u8, Vec<Cow<'p, str>>)> {
        match find(table, &method, path) {
            Found::Route(route, parameters) => {
                Some((route.to, parameters.into_iter().map(|(_, value)| value).collect()))
            }
            _ => None,
        }
    }

    #[test]
    fn paths_lead_where_the_table_says() {
        let table = table();
        let row = |method, path| look(&table, method, path).map(|(to, values)| (to, values.join("|")));
        for (method, path, to, values) in [
            (Method::POST, "/v1/topics/a/messages", 1, "a"),
            (Method::POST, "/v1/topics/a/b/messages", 1, "a/b"),
            (Method::POST, "/v1/topics/a%2Fb%20%C3%A4/messages", 1, "a/b ä"),
            (Method::POST, "/v1/topics/messages/messages", 1, "messages"),
            (Method::GET, "/v1/topics/a/b", 2, "a/b"),
            (Method::GET, "/v1/topics/a%2Fmessages", 2, "a/messages"),
            (Method::GET, "/v1/topics", 3, ""),
            (Method::PUT, "/v1/subscriptions/a%2Fb", 5, "a/b"),
            (Method::POST, "/v1/subscriptions/a/attempts/7/resend", 6, "a|7"),
        ] {
            assert_eq!(row(method, path), Some((to, values.to_owned())), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_told_apart() {
        let table = table();
        let methods = |method, path| match find(&table, &method, path) {
            Found::OtherMethod(methods) => methods.into_iter().map(Method::as_str).collect::<Vec<_>>().join(","),
            Found::Nothing => "nothing".to_owned(),
            Found::NoText => "no text".to_owned(),
            Found::Route(..) => "a route".to_owned(),
        };
        for (method, path, expected) in [
            (Method::DELETE, "/v1/subscriptions/a", "GET,PUT"),
            (Method::GET, "/v1/topics/a/messages", "POST"),
            (Method::GET, "/v1/subscriptions/a/b", "nothing"),
            (Method::GET, "/v1/subscriptions/", "nothing"),
            (Method::GET, "/v1/topics/", "nothing"),
            // A topic may begin with a slash.
            (Method::POST, "/v1/topics//messages", "GET"),
            (Method::GET, "/", "nothing"),
            (Method::GET, "", "nothing"),
            (Method::GET, "/v1/subscriptions/%ff", "no text"),
        ] {
            assert_eq!(methods(method, path), expected, "{path}");
        }
    }
}
