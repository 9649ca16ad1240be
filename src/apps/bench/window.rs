//! A closed loop: frames go as long as not too many messages are unanswered, nor too far ahead of those who receive
//! them. It shows what a broker can take at most.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time;

use super::{
    feed::{Pace, Sent},
    options::End,
};

/// A closed loop on one stream.
#[derive(Debug)]
pub struct Window {
    in_flight: u64,
    frame: u32,
    count: u64,
    stopped: Arc<AtomicBool>,
    lead: Option<Lead>,
}

/// How far the publisher may be ahead of its receivers.
#[derive(Clone, Debug)]
pub struct Lead {
    /// Messages, in the receivers' mean.
    pub most: u64,
    /// How many receive each message.
    pub copies: u64,
    /// What all of them have received. Whoever moves it on wakes the publisher.
    pub delivered: Arc<AtomicU64>,
}

impl Window {
    /// Frames of so many messages, and so many in flight. It ends as `end` says; if that is a time, `stopped` says so.
    pub fn new(in_flight: u64, frame: u32, end: End, stopped: Arc<AtomicBool>, lead: Option<Lead>) -> Window {
        Window { in_flight, frame, count: end.count().unwrap_or(u64::MAX), stopped, lead }
    }

    /// How many may go now.
    fn room(&self, sent: u64, progress: &Sent) -> u64 {
        let unanswered = sent - progress.answered.load(SeqCst);
        let room = self.in_flight.saturating_sub(unanswered);
        match &self.lead {
            None => room,
            Some(lead) => room.min(lead.room(sent)),
        }
    }

    /// The next frame's length; none at the end.
    fn frame(&self, sent: u64) -> Option<u32> {
        let left = self.count - sent;
        let frame = u64::from(self.frame).min(left) as u32;
        (frame > 0 && !self.stopped.load(Relaxed)).then_some(frame)
    }
}

impl Lead {
    fn room(&self, sent: u64) -> u64 {
        let received = self.delivered.load(SeqCst) / self.copies;
        (received + self.most).saturating_sub(sent)
    }
}

impl Pace for Window {
    fn poll_next(&mut self, sent: u64, progress: &Sent, context: &mut Context<'_>) -> Poll<Option<u32>> {
        let Some(frame) = self.frame(sent) else { return Poll::Ready(None) };
        if self.room(sent, progress) >= frame.into() {
            return Poll::Ready(Some(frame));
        }
        progress.waker.register(context.waker());
        // It may have become true before the waker was there.
        match self.frame(sent) {
            None => Poll::Ready(None),
            Some(frame) if self.room(sent, progress) >= frame.into() => Poll::Ready(Some(frame)),
            Some(_) => Poll::Pending,
        }
    }
}

/// Says `stopped` when the time is over, and wakes these streams. Nothing to wait for if messages are counted.
pub fn stop_in_time(end: End, stopped: &Arc<AtomicBool>, streams: Vec<Arc<Sent>>) {
    if let End::Time(length) = end {
        tokio::spawn(stop_after(length, stopped.clone(), streams));
    }
}

async fn stop_after(length: Duration, stopped: Arc<AtomicBool>, streams: Vec<Arc<Sent>>) {
    time::sleep(length).await;
    stopped.store(true, SeqCst);
    streams.iter().for_each(|stream| stream.waker.wake());
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use super::*;

    fn next(window: &mut Window, sent: u64, progress: &Sent) -> Poll<Option<u32>> {
        window.poll_next(sent, progress, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn no_more_in_flight_than_may_be() {
        let mut window = Window::new(10, 4, End::Count(15), Arc::default(), None);
        let progress = Sent::default();
        assert_eq!(next(&mut window, 0, &progress), Poll::Ready(Some(4)));
        assert_eq!(next(&mut window, 6, &progress), Poll::Ready(Some(4)));
        assert_eq!(next(&mut window, 8, &progress), Poll::Pending);
        progress.answered.store(2, SeqCst);
        assert_eq!(next(&mut window, 8, &progress), Poll::Ready(Some(4)));
        progress.answered.store(12, SeqCst);
        assert_eq!(next(&mut window, 12, &progress), Poll::Ready(Some(3)), "the last frame is shorter");
        assert_eq!(next(&mut window, 15, &progress), Poll::Ready(None));
    }

    #[test]
    fn not_too_far_ahead_of_the_receivers() {
        let delivered = Arc::new(AtomicU64::new(0));
        let lead = Lead { most: 5, copies: 3, delivered: delivered.clone() };
        let mut window = Window::new(1_000, 1, End::Count(1_000), Arc::default(), Some(lead));
        let progress = Sent::default();
        assert_eq!(next(&mut window, 4, &progress), Poll::Ready(Some(1)));
        assert_eq!(next(&mut window, 5, &progress), Poll::Pending);
        delivered.store(3, SeqCst);
        assert_eq!(next(&mut window, 5, &progress), Poll::Ready(Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn time_ends_a_stream_that_waits() {
        let (stopped, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(Sent::default()));
        let end = End::Time(Duration::from_secs(1));
        let mut window = Window::new(1, 1, end, stopped.clone(), None);
        stop_in_time(end, &stopped, vec![progress.clone()]);
        let ended = poll_fn(|context| window.poll_next(1, &progress, context)).await;
        assert_eq!(ended, None);
    }
}
