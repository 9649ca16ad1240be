//! What an answer means for the message that was sent. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::model::{Timestamp, limits};

/// Characters of a redirect's target that are told.
const LOCATION: usize = 200;

/// What becomes of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is settled.
    Done,
    /// The target wants no more messages.
    Gone,
    /// It comes again, after `delay` if the target said so.
    Failed {
        /// For people.
        why: String,
        /// At most as long as a back-off may be.
        delay: Option<Duration>,
    },
}

impl Outcome {
    /// It came to no answer.
    pub fn failed(why: impl Into<String>) -> Self {
        Outcome::Failed { why: why.into(), delay: None }
    }

    /// Of an answer, at this time.
    pub fn of(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let delay = match status {
            StatusCode::GONE => return Outcome::Gone,
            _ if status.is_success() => return Outcome::Done,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => retry_after(headers, now),
            _ => None,
        };
        let why = match status.is_redirection() {
            true => format!("redirects are not followed: {}{}", name(status), location(headers)),
            false => format!("the target answered {}", name(status)),
        };
        Outcome::Failed { why, delay }
    }
}

fn name(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn location(headers: &HeaderMap) -> String {
    let Some(location) = headers.get(header::LOCATION) else { return String::new() };
    let location = String::from_utf8_lossy(location.as_bytes());
    format!(" to {}", location.chars().filter(|c| !c.is_control()).take(LOCATION).collect::<String>())
}

/// Seconds, or a date. None if it makes no sense or is over: the retry policy knows better than "at once".
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let said = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match said.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(said).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Timestamp::from_nanos(i64::try_from(date.as_nanos()).ok()?).since(now)
        }
    };
    Some(delay.min(limits::BACKOFF)).filter(|delay| !delay.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, headers: &[(&'static str, &str)]) -> Outcome {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        // 1994-11-06T08:49:37Z
        Outcome::of(StatusCode::from_u16(status).unwrap(), &headers, Timestamp::from_nanos(784_111_777_000_000_000))
    }

    fn failed(why: &str, seconds: Option<u64>) -> Outcome {
        Outcome::Failed { why: why.to_owned(), delay: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn what_each_answer_means() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status, &[]), Outcome::Done);
        }
        assert_eq!(of(410, &[("retry-after", "7")]), Outcome::Gone);
        assert_eq!(of(500, &[("retry-after", "7")]), failed("the target answered 500 Internal Server Error", None));
        assert_eq!(of(404, &[]), failed("the target answered 404 Not Found", None));
        assert_eq!(of(599, &[]), failed("the target answered 599", None));
        let location = [("location", "http://10.0.0.1/")];
        assert_eq!(of(302, &location), failed("redirects are not followed: 302 Found to http://10.0.0.1/", None));
        assert_eq!(of(304, &[]), failed("redirects are not followed: 304 Not Modified", None));
    }

    #[test]
    fn who_asks_for_time_gets_it_within_bounds() {
        let busy = |said| match of(429, &[("retry-after", said)]) {
            Outcome::Failed { delay, .. } => delay.map(|delay| delay.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(busy("7"), Some(7));
        assert_eq!(busy(" 120 "), Some(120));
        assert_eq!(busy("999999999"), Some(12 * 3600));
        assert_eq!(busy("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(busy("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
        assert_eq!(busy("Sat, 06 Nov 2094 08:49:37 GMT"), Some(12 * 3600));
        for none in ["0", "-1", "soon", "", "Sun, 06 Nov 1994 08:48:37 GMT", "99999999999999999999"] {
            assert_eq!(busy(none), None, "{none:?}");
        }
        let why = "the target answered 503 Service Unavailable";
        assert_eq!(of(503, &[("retry-after", "3")]), failed(why, Some(3)));
        assert_eq!(of(503, &[]), failed(why, None));
    }
}
