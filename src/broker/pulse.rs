//! When a silent stream must give a sign of life, and when a closing one must end; and what all such streams do when they
//! are polled. Never sends anything.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::coop,
    time::{Instant, Sleep, sleep_until},
};

use crate::model::{Error, Reason, Result, limits};

/// The timer of one stream. It is set when the stream first waits, and moved only when it goes off: a stream that
/// sends all the time does not touch the runtime's timers.
pub struct Pulse {
    timer: Option<Pin<Box<Sleep>>>,
    interval: Duration,
    // How long the stream may be silent this time.
    silence: Duration,
    sent: Instant,
    // When the stream ends, if it was told to.
    end: Option<Instant>,
    // Its last word was said.
    has_ended: bool,
}

/// A stream with a pulse.
pub trait Pulsed {
    /// What it tells.
    type Event;

    /// Its pulse.
    fn pulse(&mut self) -> &mut Pulse;

    /// The next event; an error or none is the last.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Self::Event>>>;

    /// As `Stream::poll_next`: a stream with much to tell lets the others have their turn, and is silent once it has ended.
    fn poll_pulsed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Self::Event>>> {
        if self.pulse().has_ended {
            return Poll::Ready(None);
        }
        let budget = ready!(coop::poll_proceed(cx));
        let event = ready!(self.poll_event(cx));
        budget.made_progress();
        match &event {
            Some(Ok(_)) => self.pulse().sent(),
            Some(Err(_)) | None => self.pulse().has_ended = true,
        }
        Poll::Ready(event)
    }
}

impl Pulse {
    /// One that beats after `interval` of silence; the first time after `first`, so that streams that began together do
    /// not beat together.
    pub fn new(interval: Duration, first: Duration) -> Self {
        Pulse { timer: None, interval, silence: first, sent: Instant::now(), end: None, has_ended: false }
    }

    /// Something was sent.
    pub fn sent(&mut self) {
        self.sent = Instant::now();
    }

    /// Whether the stream has said its last word.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The stream has until then; there are no more beats.
    pub fn end_at(&mut self, end: Instant) {
        self.end = Some(end);
    }

    /// Whether the stream was told to end, and that time has come.
    pub fn is_over(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    /// Waits for the next beat, or for the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.end.unwrap_or(self.sent + self.silence);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                self.silence = self.interval;
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

/// Refuses an interval that a stream cannot have.
pub fn check_interval(interval: Duration) -> Result<()> {
    let (least, most) = (limits::HEARTBEAT_MIN, limits::HEARTBEAT_MAX);
    if (least..=most).contains(&interval) {
        return Ok(());
    }
    let message = format!("heartbeat_interval is {interval:?}: it takes {least:?} to {most:?}");
    Err(Error::new(Reason::RequestInvalid, message).field("heartbeat_interval"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn beat(pulse: &mut Pulse) -> Duration {
        let before = Instant::now();
        std::future::poll_fn(|cx| pulse.poll(cx)).await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_after_silence_and_not_before() {
        let mut pulse = Pulse::new(10 * SECOND, 9 * SECOND);
        assert_eq!(beat(&mut pulse).await, 9 * SECOND);
        pulse.sent();
        assert_eq!(beat(&mut pulse).await, 10 * SECOND);
        pulse.sent();
        tokio::time::advance(7 * SECOND).await;
        pulse.sent();
        assert_eq!(beat(&mut pulse).await, 10 * SECOND);
        pulse.sent();
        pulse.end_at(Instant::now() + 2 * SECOND);
        pulse.sent();
        assert!(!pulse.is_over());
        assert_eq!(beat(&mut pulse).await, 2 * SECOND);
        assert!(pulse.is_over());
    }
}
