//! How fast a namespace may publish. Counts tokens; never sleeps.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::model::{Error, Namespace, Reason, Result};

/// The limits of one namespace; without any it costs nothing.
pub struct Rate(Option<Mutex<Vec<Limit>>>);

/// What one limit counts.
#[derive(Clone, Copy)]
enum Unit {
    Messages,
    Bytes,
}

struct Limit {
    unit: Unit,
    bucket: Bucket,
}

impl Rate {
    /// The limits in these settings, with a second's worth to begin with.
    pub fn new(settings: &Namespace, now: Instant) -> Self {
        let limits = [(Unit::Messages, settings.max_messages_per_second), (Unit::Bytes, settings.max_bytes_per_second)];
        let set = limits.into_iter().filter_map(|(unit, most)| most.map(|most| (unit, most)));
        let limits: Vec<_> = set.map(|(unit, most)| Limit { unit, bucket: Bucket::new(most, now) }).collect();
        Rate((!limits.is_empty()).then(|| Mutex::new(limits)))
    }

    /// Counts a request, or refuses it with the time after which there is enough. A request of more than a second's
    /// worth is taken when nothing was taken for a second; those after it wait longer.
    pub fn take(&self, messages: usize, bytes: usize) -> Result<()> {
        let Some(limits) = &self.0 else { return Ok(()) };
        let now = Instant::now();
        let mut limits = limits.lock().expect("nobody panics while holding the limits");
        let amount = |unit| match unit {
            Unit::Messages => messages as f64,
            Unit::Bytes => bytes as f64,
        };
        for limit in limits.iter_mut() {
            if let Some(wait) = limit.bucket.wait(now, amount(limit.unit)) {
                return Err(limit.refusal(wait));
            }
        }
        limits.iter_mut().for_each(|limit| limit.bucket.tokens -= amount(limit.unit));
        Ok(())
    }
}

impl Limit {
    fn refusal(&self, wait: Duration) -> Error {
        let (what, most) = match self.unit {
            Unit::Messages => ("messages", self.bucket.per_second),
            Unit::Bytes => ("bytes", self.bucket.per_second),
        };
        let message = format!("this namespace takes {most} {what} a second and has had them: try again after {wait:?}");
        Error::new(Reason::RateLimited, message).with("limit", format_args!("{most} {what}/s")).retry_after(wait)
    }
}

/// A token bucket: it holds a second's worth and may be overdrawn by one request.
struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_second: u64, now: Instant) -> Self {
        Bucket { per_second: per_second as f64, tokens: per_second as f64, at: now }
    }

    /// Fills up, and answers how long to wait for `amount`.
    fn wait(&mut self, now: Instant, amount: f64) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.per_second);
        self.at = now;
        let missing = amount.min(self.per_second) - self.tokens;
        // Less than a token is missing only by rounding, unless the limit is below one in a millisecond.
        (missing > 1e-6 * self.per_second).then(|| {
            // Whole milliseconds, rounded up: whoever waits as long as told has enough.
            Duration::from_millis((missing / self.per_second * 1000.0).ceil().min(1e12) as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NamespaceName;

    fn rate(messages: Option<u64>, bytes: Option<u64>) -> Rate {
        let mut settings = Namespace::new(NamespaceName::default());
        (settings.max_messages_per_second, settings.max_bytes_per_second) = (messages, bytes);
        Rate::new(&settings, Instant::now())
    }

    async fn refused_for(rate: &Rate, messages: usize, bytes: usize) -> Duration {
        let refusal = rate.take(messages, bytes).unwrap_err();
        assert_eq!(refusal.reason(), Reason::RateLimited);
        refusal.retry_delay().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_and_then_as_it_comes() {
        let rate = rate(Some(10), None);
        rate.take(4, 0).unwrap();
        rate.take(6, 0).unwrap();
        assert_eq!(refused_for(&rate, 1, 0).await, Duration::from_millis(100));
        tokio::time::advance(Duration::from_millis(100)).await;
        rate.take(1, 0).unwrap();
        assert_eq!(refused_for(&rate, 5, 0).await, Duration::from_millis(500));
        tokio::time::advance(Duration::from_secs(60)).await;
        rate.take(10, 0).unwrap();
        assert!(rate.take(1, 0).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_is_taken_when_the_bucket_is_full_and_paid_for_later() {
        let rate = rate(None, Some(1000));
        rate.take(1, 3000).unwrap();
        assert_eq!(refused_for(&rate, 1, 1).await, Duration::from_millis(2001));
        assert_eq!(refused_for(&rate, 1, 5000).await, Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(3)).await;
        rate.take(1, 5000).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_limit_refuses_costs_the_other_nothing() {
        let rate = rate(Some(100), Some(10));
        rate.take(1, 10).unwrap();
        for _ in 0..500 {
            assert!(rate.take(1, 1).is_err());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        rate.take(100, 10).unwrap();
    }
}
