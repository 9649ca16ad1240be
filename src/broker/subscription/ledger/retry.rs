//! When what failed comes again. Pure: chance comes in as a number.

use std::time::Duration;

use crate::model::RetryPolicy;

/// How long a message waits after so many failed attempts (from 1 on), before chance is added: the policy's least, times
/// its multiplier for each attempt beyond the first, and at most its most.
pub fn backoff(policy: &RetryPolicy, attempts: u32) -> Duration {
    let exponent = attempts.saturating_sub(1).min(1_000) as i32;
    let seconds = policy.min_backoff.as_secs_f64() * policy.multiplier.powi(exponent);
    match seconds < policy.max_backoff.as_secs_f64() {
        true => Duration::from_secs_f64(seconds),
        false => policy.max_backoff,
    }
}

/// Whether a message with so many failed attempts is given up.
pub fn is_over(policy: &RetryPolicy, attempts: u32) -> bool {
    policy.max_attempts.is_some_and(|most| attempts >= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_the_least_to_the_most() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = (1..=12).map(|attempts| backoff(&policy, attempts).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(backoff(&policy, u32::MAX), policy.max_backoff);
        let flat = RetryPolicy { multiplier: 1.0, ..policy };
        assert_eq!(backoff(&flat, 50), Duration::from_secs(1));
    }

    #[test]
    fn the_last_attempt_is_the_last_and_none_is_for_ever() {
        let policy = RetryPolicy { max_attempts: Some(5), ..RetryPolicy::default() };
        assert!(!is_over(&policy, 4) && is_over(&policy, 5));
        assert!(!is_over(&RetryPolicy { max_attempts: None, ..policy }, u32::MAX));
    }
}
