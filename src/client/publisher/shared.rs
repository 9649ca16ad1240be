//! What a publisher's handles, its stream and its driver have in common. Locked for moments, never across an await.

use std::{
    sync::{Mutex, MutexGuard},
    task::Waker,
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::Instant,
};

use super::{
    Answer, Limits,
    window::{Frame, Settled, Window},
};
use crate::{client::Fault, pb::v1::PublishRequest};

/// Whoever waits for one message. Gone if nobody wants to know.
pub(super) type Waiter = oneshot::Sender<Answer>;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Bytes that may be unanswered.
    pub(super) room: Semaphore,
    pub(super) limits: Limits,
    /// Something was answered, or the publisher has ended.
    pub(super) settled: Notify,
    /// Something happened that a resting driver wants to know.
    pub(super) work: Notify,
    /// Why nothing is published just now, if so.
    pub(super) trouble: watch::Sender<Option<Fault>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) window: Window<Waiter>,
    /// The stream in use, counted from 1; and whether messages may go out on it.
    stream: u64,
    live: bool,
    /// Wakes that stream.
    waker: Option<Waker>,
    /// The driver has nothing to do until somebody publishes.
    pub(super) rests: bool,
    /// Nothing is taken any more: the last handle is gone, or it was closed.
    pub(super) closed: bool,
    /// The driver is gone, and why.
    pub(super) ended: Option<Fault>,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State {
            window: Window::new(),
            stream: 0,
            live: false,
            waker: None,
            rests: false,
            closed: false,
            ended: None,
        };
        Shared {
            state: Mutex::new(state),
            room: Semaphore::new(limits.bytes as usize),
            limits,
            settled: Notify::new(),
            work: Notify::new(),
            trouble: watch::Sender::new(None),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the window")
    }

    /// Takes a message whose room was taken already.
    pub(super) fn push(
        &self,
        request: &PublishRequest,
        bytes: usize,
        cost: u32,
        waiter: Waiter,
        now: Instant,
    ) -> Result<(), Fault> {
        let (waker, rests) = {
            let mut state = self.state();
            if let Some(fault) = state.refusal() {
                return Err(fault);
            }
            state.window.push(request, bytes, cost, waiter, now);
            (state.waker.take(), std::mem::take(&mut state.rests))
        };
        waker.into_iter().for_each(Waker::wake);
        if rests {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Tells everybody who has an answer, and gives their room to others.
    pub(super) fn settle(&self, settled: Settled<Waiter>) {
        for (waiter, answer) in settled.answers {
            // Whoever does not want to know has dropped the other end.
            let _ = waiter.send(answer);
        }
        self.room.add_permits(settled.room);
        self.settled.notify_waiters();
    }

    /// Gives up on whatever waits.
    pub(super) fn fail(&self, fault: &Fault) {
        let mut settled = Settled::default();
        self.state().window.fail(fault, &mut settled);
        self.settle(settled);
    }

    /// Takes nothing any more. What was taken is still published.
    pub(super) fn close(&self) {
        let waker = {
            let mut state = self.state();
            state.closed = true;
            state.waker.take()
        };
        self.room.close();
        waker.into_iter().for_each(Waker::wake);
        self.work.notify_one();
    }

    /// The end of the driver.
    pub(super) fn end(&self, fault: Fault) {
        self.state().ended = Some(fault.clone());
        self.room.close();
        self.fail(&fault);
    }

    /// The room that a message takes: its bytes, and so much at least that the messages are bounded too; and if it has
    /// more than all of it, it waits until it is alone.
    pub(super) fn cost(&self, bytes: usize) -> u32 {
        let least = self.limits.bytes / self.limits.messages;
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(least, self.limits.bytes)
    }

    /// Ends once all that was taken before is answered, or never will be.
    pub(super) async fn flushed(&self) {
        let end = self.state().window.end();
        loop {
            let settled = self.settled.notified();
            let mut settled = std::pin::pin!(settled);
            // From now on, so that nothing is missed between the look and the wait.
            settled.as_mut().enable();
            {
                let state = self.state();
                if state.window.base() >= end {
                    return;
                }
            }
            settled.await;
        }
    }

    /// Gives up on what waits too long, for ever.
    pub(super) async fn expire(&self, patience: Duration) -> std::convert::Infallible {
        loop {
            let now = Instant::now();
            let mut settled = Settled::default();
            let (oldest, waker) = {
                let mut state = self.state();
                if let Some(since) = now.checked_sub(patience) {
                    let why = self.trouble.borrow();
                    state.window.expire(since, why.as_ref(), &mut settled);
                }
                (state.window.oldest(), state.waker())
            };
            self.settle(settled);
            waker.into_iter().for_each(Waker::wake);
            // Whatever comes meanwhile has time until then.
            tokio::time::sleep_until(oldest.unwrap_or(now) + patience).await;
        }
    }
}

impl State {
    /// Another stream begins, on which nothing may go out yet. Returns which.
    pub(super) fn next_stream(&mut self) -> u64 {
        self.lose_stream();
        self.stream
    }

    /// The stream in use is gone.
    pub(super) fn lose_stream(&mut self) {
        self.stream += 1;
        self.live = false;
        self.waker = None;
        self.window.lost();
    }

    /// The broker takes messages on the stream in use; or it does no longer.
    pub(super) fn set_live(&mut self, live: bool) {
        self.live = live;
    }

    /// Whether anything can still go out on this stream.
    pub(super) fn is_open(&self, stream: u64) -> bool {
        self.stream == stream && !(self.live && self.is_done())
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.closed && self.window.base() == self.window.end()
    }

    pub(super) fn take_frame(&mut self, now: Instant) -> Option<Frame> {
        if self.live { self.window.frame(now) } else { None }
    }

    pub(super) fn wake_with(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(old) => old.clone_from(waker),
            old => *old = Some(waker.clone()),
        }
    }

    /// What wakes the stream, if it has something to do.
    pub(super) fn waker(&mut self) -> Option<Waker> {
        if self.window.is_sent() && !self.closed { None } else { self.waker.take() }
    }

    /// Why nothing is taken.
    pub(super) fn refusal(&self) -> Option<Fault> {
        match &self.ended {
            None if self.closed => Some(Fault::invalid("this publisher was closed: it takes no messages".into())),
            ended => ended.clone(),
        }
    }
}
