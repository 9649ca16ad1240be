//! When each message is due in an open loop: from its number and the rate alone, whatever became of those before it. So
//! a broker that stands still for a while is charged for all messages that were due meanwhile, and not only for the one
//! that waited ("coordinated omission", Tene, How NOT to Measure Latency, 2013).

use std::{
    io,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// One message after the other at a fixed rate. Pure.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Instant,
    rate: u64,
    count: u64,
}

impl Schedule {
    /// `rate` a second (above 0) from `start` on, `count` in all.
    pub fn new(start: Instant, rate: u64, count: u64) -> Schedule {
        Schedule { start, rate, count }
    }

    /// When this one is due.
    pub fn due(&self, number: u64) -> Instant {
        let (seconds, rest) = (number / self.rate, number % self.rate);
        self.start + Duration::new(seconds, (rest * 1_000_000_000 / self.rate) as u32)
    }

    /// How late `now` is for this one.
    pub fn late(&self, number: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.due(number))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Wakes at a point in time, to some microseconds: the runtime's own timers are a millisecond wide, which is more than
/// what is measured.
#[derive(Debug)]
pub struct Alarm {
    timer: Timer,
    // What it is set for.
    set: Option<Instant>,
}

impl Alarm {
    /// Not set yet.
    pub fn new() -> io::Result<Alarm> {
        Ok(Alarm { timer: Timer::new()?, set: None })
    }

    /// Ready if `due` is not after now; else whoever polls is woken then.
    pub fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            if self.set != Some(due) {
                self.timer.set(left);
                self.set = Some(due);
            }
            ready!(self.timer.poll(context));
            // It may have rung for an earlier point in time: then it is set again.
            self.set = None;
        }
    }
}

#[cfg(target_os = "linux")]
use linux::Timer;
#[cfg(not(target_os = "linux"))]
use other::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::fd::OwnedFd,
        task::{Context, Poll, ready},
        time::Duration,
    };

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// A timer of the kernel's.
    #[derive(Debug)]
    pub struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub fn new() -> io::Result<Timer> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            #[expect(deprecated, reason = "its successor is unsafe, for descriptors that are not owned as this one is")]
            AsyncFd::with_interest(timer, Interest::READABLE).map(Timer)
        }

        /// Rings after `left`, and not at any time that was set before.
        pub fn set(&mut self, left: Duration) {
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let timer = Itimerspec { it_interval: zero, it_value: value };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &timer).expect("a time within a run");
        }

        /// Ready when it has rung since it was last looked at.
        pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
            match ready!(self.0.poll_read_ready(context)) {
                Ok(mut rang) => rang.clear_ready(),
                Err(_) => return Poll::Pending,
            }
            Poll::Ready(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::{
        future::Future,
        io,
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    };

    use tokio::time::{Instant, Sleep, sleep};

    /// The runtime's.
    #[derive(Debug)]
    pub struct Timer(Pin<Box<Sleep>>);

    impl Timer {
        pub fn new() -> io::Result<Timer> {
            Ok(Timer(Box::pin(sleep(Duration::ZERO))))
        }

        /// Rings after `left`.
        pub fn set(&mut self, left: Duration) {
            self.0.as_mut().reset(Instant::now() + left);
        }

        /// Ready when it has rung.
        pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
            self.0.as_mut().poll(context)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn due_times_depend_on_the_number_alone() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 5_000, 10);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(7), start + Duration::from_micros(1_400));
        assert_eq!(schedule.late(7, start + Duration::from_micros(1_500)), Duration::from_micros(100));
        assert_eq!(schedule.late(7, start), Duration::ZERO);
    }

    #[test]
    fn who_stalls_is_charged_for_all_that_was_due() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1_000, 100);
        let back = start + Duration::from_millis(50);
        let late: Vec<_> = (0..50).map(|number| schedule.late(number, back).as_millis() as u64).collect();
        assert_eq!(late, (1..=50).rev().collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn a_rate_is_kept_for_ever(rate in 1..2_000_000u64, second in 0..1_000_000u64, number in 0..1u64 << 40) {
            let start = Instant::now();
            let schedule = Schedule::new(start, rate, u64::MAX);
            prop_assert_eq!(schedule.due(second * rate), start + Duration::from_secs(second));
            prop_assert!(schedule.due(number) <= schedule.due(number + 1));
        }
    }

    #[tokio::test]
    async fn it_rings_when_it_is_due_and_again() {
        let mut alarm = Alarm::new().unwrap();
        for _ in 0..3 {
            let due = Instant::now() + Duration::from_micros(300);
            poll_fn(|context| alarm.poll(due, context)).await;
            assert!(Instant::now() >= due);
        }
        poll_fn(|context| alarm.poll(Instant::now(), context)).await;
    }
}
