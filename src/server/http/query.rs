//! The part of an address behind `?`, and headers that say the same. What nobody knows is refused: a misspelt name would
//! otherwise do nothing.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::invalid;
use crate::model::Result;

/// Names and values, decoded, as they stand there.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Refuses an address whose part behind `?` is no text.
    pub fn check(uri: &Uri) -> Result<()> {
        match percent_decode_str(uri.query().unwrap_or_default()).decode_utf8() {
            Ok(_) => Ok(()),
            Err(_) => Err(invalid("query", "is no UTF-8, where it is percent-decoded")),
        }
    }

    /// Of an address.
    pub fn of(uri: &'a Uri) -> Self {
        Query(form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect())
    }

    /// Takes out the values that have this name.
    pub fn take_all(&mut self, name: &str) -> Vec<Cow<'a, str>> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(known, _)| known == name);
        self.0 = left;
        Vec::into_iter(taken).map(|(_, value)| value).collect()
    }

    /// Takes out the value that has this name; refuses two.
    pub fn take(&mut self, name: &str) -> Result<Option<Cow<'a, str>>> {
        let mut values = self.take_all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            count => Err(invalid(name, &format!("is given {count} times: once is enough"))),
        }
    }

    /// The same, for a value of some form. `what` says which, for whoever got it wrong.
    pub fn take_as<T>(&mut self, name: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        parse(&value).map(Some).ok_or_else(|| invalid(name, &format!("is {value:?}: it takes {what}")))
    }

    /// Whether there is anything of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A value that is true or false; alone it is true.
    pub fn take_flag(&mut self, name: &str) -> Result<bool> {
        let flag = |text: &str| match text {
            "" | "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        Ok(self.take_as(name, "true or false", flag)?.unwrap_or_default())
    }

    /// Takes out what is left.
    pub fn rest(&mut self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        std::mem::take(&mut self.0)
    }

    /// Refuses what is left. `known` are the names there are.
    pub fn end(self, known: &[&str]) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(unknown(name, known)),
        }
    }
}

/// Refuses a name that nobody knows.
pub fn unknown(name: &str, known: &[&str]) -> crate::model::Error {
    let what = match known {
        [] => "is no parameter here: there are none".to_owned(),
        known => format!("is no parameter here: there are {}", known.join(", ")),
    };
    invalid(name, &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_once_and_what_is_left_is_refused() {
        let uri = Uri::from_static("/x?topic=a%2Fb&topic=c+d&end&limit=3&twice=1&twice=2");
        let mut query = Query::of(&uri);
        assert_eq!(query.take_all("topic"), ["a/b", "c d"]);
        assert!(query.take_flag("end").unwrap() && !query.take_flag("end").unwrap());
        assert_eq!(query.take_as("limit", "a number", |text| text.parse::<u32>().ok()).unwrap(), Some(3));
        assert_eq!(query.take("twice").unwrap_err().violated_field(), Some("twice"));
        query.end(&[]).unwrap();
        assert!(Query::check(&uri).is_ok() && Query::check(&Uri::from_static("/x?a=%ff")).is_err());
        let refusal = Query::of(&Uri::from_static("/x?topics=a")).end(&["topic", "limit"]).unwrap_err();
        assert_eq!(refusal.message(), "topics is no parameter here: there are topic, limit");
    }
}
