//! How fast a subscription may hand messages out: a bucket of what may go at once, that fills as time goes by. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The bucket of one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    // Messages a second; none is no limit.
    most: Option<f64>,
    left: f64,
    filled: Instant,
}

impl Rate {
    /// A full one: as much as may go in a second, and one at least.
    pub fn new(most: Option<f64>, now: Instant) -> Self {
        Rate { most, left: most.map_or(0.0, |most| most.max(1.0)), filled: now }
    }

    /// How many may go now.
    pub fn room(&mut self, now: Instant) -> u32 {
        let Some(most) = self.most else { return u32::MAX };
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * most).min(most.max(1.0));
        self.filled = now;
        self.left as u32
    }

    /// So many went.
    pub fn take(&mut self, messages: u32) {
        self.left -= f64::from(messages);
    }

    /// When the next may go.
    pub fn next(&self) -> Option<Instant> {
        let most = self.most?;
        // A little later, as a timer may be early by what was rounded.
        (self.left < 1.0)
            .then(|| self.filled + Duration::from_secs_f64((1.0 - self.left) / most) + Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_a_second_allows_go_at_once_and_then_one_by_one() {
        let now = Instant::now();
        let mut rate = Rate::new(Some(10.0), now);
        assert_eq!((rate.room(now), rate.next()), (10, None));
        rate.take(10);
        assert_eq!(rate.room(now), 0);
        let next = rate.next().unwrap();
        assert!(next > now + Duration::from_millis(99) && next < now + Duration::from_millis(101));
        assert_eq!(rate.room(next), 1);
        assert_eq!(rate.room(now + Duration::from_secs(60)), 10);
        assert_eq!(Rate::new(None, now).room(now), u32::MAX);
        assert_eq!(Rate::new(Some(0.1), now).room(now), 1, "one at least");
    }
}
