//! Where a subscription sends its messages by itself, and how. Never shows a secret: what must not be seen is a type that
//! has nothing to print.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::Url;

use super::Subscription;
use crate::model::{Error, Reason, Result, limits};

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Where to, as written.
    pub url: String,
    /// What it is signed with: none, one, or during a rotation two.
    pub secrets: Vec<Hidden>,
    /// Pushes that await their answer at the same time: 1 to 1,000.
    pub max_in_flight: u32,
    /// How long one may take; none is [`limits::PUSH_TIMEOUT_DEFAULT`], or the ack deadline if that is less.
    pub timeout: Option<Duration>,
    /// Sent with each, by name.
    pub headers: BTreeMap<String, Hidden>,
    /// What is sent.
    pub format: PushFormat,
}

/// What is sent of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PushFormat {
    /// JSON with the message and where it comes from.
    #[default]
    Envelope,
    /// The payload, everything else as headers.
    Raw,
    /// A CloudEvent in binary mode.
    CloudEvents,
}

/// Text that is told to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

/// What every secret begins with: <https://www.standardwebhooks.com>.
const SECRET: &str = "whsec_";
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Headers that belong to the connection, to the body, or to what the broker itself says.
const TAKEN: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];
const TAKEN_PREFIXES: [&str; 4] = ["webhook-", "tilde-", "ce-", "proxy-"];

impl Default for Push {
    fn default() -> Self {
        Push {
            url: String::new(),
            secrets: Vec::new(),
            max_in_flight: limits::PUSH_IN_FLIGHT_DEFAULT,
            timeout: None,
            headers: BTreeMap::new(),
            format: PushFormat::default(),
        }
    }
}

impl Push {
    /// Where to. To be called on one that was checked.
    pub fn target(&self) -> Url {
        Url::parse(&self.url).expect("a push is checked before it is used")
    }

    /// How long one may take, of a subscription with this ack deadline.
    pub fn timeout(&self, ack_deadline: Duration) -> Duration {
        self.timeout.unwrap_or(limits::PUSH_TIMEOUT_DEFAULT.min(ack_deadline))
    }

    pub(super) fn check(&self, subscription: &Subscription) -> Result<()> {
        self.check_url()?;
        let (given, most) = (self.max_in_flight, limits::PUSH_IN_FLIGHT);
        ensure((1..=most).contains(&given), "max_in_flight", || {
            format!("max_in_flight is {given}: it takes 1 to {most}")
        })?;
        let deadline = subscription.ack_deadline;
        let timeout = self.timeout(deadline);
        ensure((limits::PUSH_TIMEOUT_MIN..=deadline).contains(&timeout), "timeout", || {
            format!("timeout is {timeout:?}: it takes 1 s to the subscription's ack_deadline, {deadline:?}")
        })?;
        self.check_secrets()?;
        self.check_headers()
    }

    fn check_url(&self) -> Result<()> {
        let wrong = |why: &str| Err(refusal("url", format!("push_config.url {why}")));
        if self.url.is_empty() {
            return wrong("is missing: say where to, as in https://example.com/hook");
        }
        if self.url.len() > limits::PUSH_URL_BYTES {
            let (has, most) = (self.url.len(), limits::PUSH_URL_BYTES);
            return wrong(&format!("has {has} bytes: at most {most} are allowed"));
        }
        let Ok(url) = Url::parse(&self.url) else {
            return wrong("is no URL: write it as in https://example.com/hook");
        };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("is neither http nor https: write it as in https://example.com/hook");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("holds a user or a password, which everybody could read: put it into a header");
        }
        if url.fragment().is_some() {
            return wrong("has a fragment, which no request carries: leave out what begins with `#`");
        }
        Ok(())
    }

    fn check_secrets(&self) -> Result<()> {
        let (has, most) = (self.secrets.len(), limits::PUSH_SECRETS);
        ensure(has <= most, "secrets", || format!("there are {has} secrets: at most {most} are allowed"))?;
        ensure(self.secrets.iter().all(|secret| secret.key().is_some()), "secrets", || {
            "a secret is not as Standard Webhooks has them: `whsec_` and the base64 of 24 to 64 bytes, as `echo \
             whsec_$(openssl rand -base64 32)` makes one"
                .to_owned()
        })
    }

    fn check_headers(&self) -> Result<()> {
        let (has, most) = (self.headers.len(), limits::PUSH_HEADERS);
        ensure(has <= most, "headers", || format!("there are {has} headers: at most {most} are allowed"))?;
        let mut names: Vec<_> = self.headers.keys().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        for (at, name) in names.iter().enumerate() {
            // It may be a value that was put in the wrong place.
            let shown: String = name.chars().take(64).collect();
            ensure(is_header_name(name), "headers", || format!("{shown:?} is no name of a header"))?;
            let is_taken = TAKEN.contains(&&**name) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            ensure(!is_taken, "headers", || format!("header {shown} is set by the broker: leave it out"))?;
            ensure(at == 0 || names[at - 1] != *name, "headers", || {
                format!("header {shown} is there twice: upper and lower case are the same")
            })?;
        }
        for (name, value) in &self.headers {
            let value = value.reveal().as_bytes();
            let most = limits::PUSH_HEADER_BYTES;
            let fits = (1..=most).contains(&value.len()) && value.trim_ascii().len() == value.len();
            ensure(fits && value.iter().all(|byte| matches!(byte, b' '..=b'~')), "headers", || {
                format!("header {name} needs a value of 1 to {most} bytes, visible ASCII without blanks around it")
            })?;
        }
        Ok(())
    }
}

impl Hidden {
    /// Hides it.
    pub fn new(text: impl Into<String>) -> Self {
        Hidden(text.into())
    }

    /// For whoever signs or sends with it, or keeps it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The bytes of a secret; None if it is none.
    pub fn key(&self) -> Option<Vec<u8>> {
        let key = STANDARD.decode(self.0.strip_prefix(SECRET)?).ok()?;
        SECRET_BYTES.contains(&key.len()).then_some(key)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

/// Whether text can name a header: a token of HTTP.
pub fn is_header_name(name: &str) -> bool {
    (1..=limits::NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn ensure(holds: bool, field: &str, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(refusal(field, message())) }
}

fn refusal(field: &str, message: String) -> Error {
    Error::new(Reason::SubscriptionInvalid, message).field(format!("subscription.push_config.{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NamespaceName, SubscriptionName};

    fn good() -> Push {
        Push { url: "https://example.com/hook?a=b".into(), ..Push::default() }
    }

    fn secret(bytes: usize) -> Hidden {
        Hidden::new(format!("whsec_{}", STANDARD.encode(vec![7; bytes])))
    }

    fn headers(all: &[(&str, &str)]) -> BTreeMap<String, Hidden> {
        all.iter().map(|(name, value)| (name.to_string(), Hidden::new(*value))).collect()
    }

    fn check(push: Push) -> Result<()> {
        let name = SubscriptionName::parse("orders").unwrap();
        let patterns = vec!["orders/~".into()];
        Subscription { patterns, push: Some(push), ..Subscription::new(name, NamespaceName::default()) }.check()
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for push in [
            good(),
            Push { url: format!("http://example.com/{}", "x".repeat(2048 - 19)), ..good() },
            Push { max_in_flight: 1, timeout: seconds(1), ..good() },
            Push { max_in_flight: 1000, timeout: seconds(30), ..good() },
            Push { secrets: vec![secret(24), secret(64)], ..good() },
            Push { headers: headers(&[("authorization", "Bearer x y"), ("X-A!", &"v".repeat(4096))]), ..good() },
        ] {
            check(push.clone()).unwrap_or_else(|refusal| panic!("{push:?}: {refusal}"));
        }
    }

    #[test]
    fn refusals_name_the_field_and_no_secret() {
        let url = |url: &str| Push { url: url.to_owned(), ..good() };
        let with = |name: &str, value: &str| Push { headers: headers(&[(name, value)]), ..good() };
        let many: Vec<_> = (0..33).map(|n| format!("x-{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        let mut refused = vec![
            ("url", url("")),
            ("url", url(&format!("http://example.com/{}", "x".repeat(2048 - 18)))),
            ("url", url("example.com/hook")),
            ("url", url("ftp://example.com")),
            ("url", url("http://hush@example.com")),
            ("url", url("http://:hush@example.com")),
            ("url", url("http://example.com/#hush")),
            ("url", url("http://")),
            ("max_in_flight", Push { max_in_flight: 0, ..good() }),
            ("max_in_flight", Push { max_in_flight: 1001, ..good() }),
            ("timeout", Push { timeout: Some(Duration::from_millis(999)), ..good() }),
            ("timeout", Push { timeout: Some(Duration::from_millis(30_001)), ..good() }),
            ("secrets", Push { secrets: vec![secret(23)], ..good() }),
            ("secrets", Push { secrets: vec![secret(65)], ..good() }),
            ("secrets", Push { secrets: vec![Hidden::new("hush")], ..good() }),
            ("secrets", Push { secrets: vec![Hidden::new("whsec_hush!")], ..good() }),
            ("secrets", Push { secrets: vec![secret(24), secret(24), secret(24)], ..good() }),
            ("headers", Push { headers: headers(&many), ..good() }),
            ("headers", Push { headers: headers(&[("X-A", "hush"), ("x-a", "hush")]), ..good() }),
        ];
        let names =
            ["Host", "content-length", "Transfer-Encoding", "webhook-id", "Webhook-X", "tilde-a", "ce-id", "te"];
        refused.extend(names.map(|name| ("headers", with(name, "hush"))));
        refused.extend(["", "a b", "a:", "ä", "a\n"].map(|name| ("headers", with(name, "hush"))));
        refused
            .extend(["", " hush", "hush ", "hush\r\nx: y", "hush\u{e4}"].map(|value| ("headers", with("x-a", value))));
        for (field, push) in refused {
            let shown = format!("{push:?}");
            let refusal = check(push).expect_err(&shown);
            assert_eq!(refusal.reason(), Reason::SubscriptionInvalid, "{shown}");
            assert_eq!(refusal.violated_field(), Some(&*format!("subscription.push_config.{field}")), "{refusal}");
            assert!(!refusal.message().contains("hush"), "{refusal}");
            assert!(field == "url" || !shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn the_time_follows_the_ack_deadline_unless_it_was_chosen() {
        assert_eq!(good().timeout(Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(good().timeout(Duration::from_secs(3)), Duration::from_secs(3));
        let chosen = Push { timeout: Some(Duration::from_secs(20)), ..good() };
        assert_eq!(chosen.timeout(Duration::from_secs(30)), Duration::from_secs(20));
    }
}
