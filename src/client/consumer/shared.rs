//! What a consumer, its deliveries, its stream and its driver have in common. Locked for moments, never across an await.

use std::{
    sync::{Mutex, MutexGuard},
    task::Waker,
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};

use super::{
    Window,
    book::{Answer, Answers, Book, Handed},
    outbox::Word,
};
use crate::{
    client::Fault,
    model::limits,
    pb::v1::{Attach, ConsumeRequest, FlowControl, Gap},
};

/// Whoever waits for what became of a settlement. Gone if nobody wants to know.
pub(super) type Waiter = oneshot::Sender<Answer>;

/// Settlements of which nothing was heard: beyond that nothing is handed out. More than comes together while a slow disk
/// syncs once.
const UNCONFIRMED: usize = 50_000;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something happened that a resting driver wants to know.
    pub(super) work: Notify,
    /// Why nothing is delivered just now, if so.
    pub(super) trouble: watch::Sender<Option<Fault>>,
    /// What will never come: the last of these.
    pub(super) gap: watch::Sender<Option<Gap>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) book: Book<Waiter>,
    window: Window,
    /// How long a delivery may take.
    pub(super) ack_deadline: Duration,
    /// The broker has answered.
    pub(super) begun: bool,
    /// Nothing more is taken.
    pub(super) detached: bool,
    /// The stream in use, counted from 1.
    stream: u64,
    /// Wakes that stream; and whoever waits for a delivery.
    stream_waker: Option<Waker>,
    waker: Option<Waker>,
    ended: Option<Ended>,
}

/// The driver is gone.
#[derive(Debug)]
struct Ended {
    /// Why, if not as it was meant to.
    fault: Option<Fault>,
    /// That was told.
    told: bool,
}

/// What whoever asks for the next delivery gets.
#[derive(Debug)]
pub(super) enum Next {
    Handed(Handed),
    Over(Option<Fault>),
}

impl Shared {
    pub(super) fn new(window: Window, book: Book<Waiter>) -> Self {
        let state = State {
            book,
            window,
            ack_deadline: limits::ACK_DEADLINE_DEFAULT,
            begun: false,
            detached: false,
            stream: 0,
            stream_waker: None,
            waker: None,
            ended: None,
        };
        Shared {
            state: Mutex::new(state),
            work: Notify::new(),
            trouble: watch::Sender::new(None),
            gap: watch::Sender::new(None),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the book")
    }

    /// Changes something. Whoever has an answer then is told, and whoever has something to do is woken.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State, &mut Answers<Waiter>) -> T) -> T {
        let mut answers = Vec::new();
        let (result, wakers, rests) = {
            let mut state = self.state();
            let result = change(&mut state, &mut answers);
            (result, [state.stream_to_wake(), state.waker_to_wake()], state.detached)
        };
        for (waiter, answer) in answers {
            // Whoever does not want to know has dropped the other end.
            let _ = waiter.send(answer);
        }
        wakers.into_iter().flatten().for_each(Waker::wake);
        if rests {
            self.work.notify_one();
        }
        result
    }

    /// Says what became of a message that the application has.
    pub(super) fn settle(&self, sequence: u64, word: Word, waiter: Option<Waiter>) {
        self.change(|state, answers| match state.fault() {
            Some(fault) => answers.extend(waiter.map(|waiter| (waiter, Err(Box::new(fault))))),
            None => state.book.settle(sequence, word, waiter),
        });
    }

    /// The application goes on working on a message.
    pub(super) fn extend(&self, sequence: u64, by: Option<Duration>, waiter: Waiter) {
        self.change(|state, answers| match state.fault() {
            Some(fault) => answers.push((waiter, Err(Box::new(fault)))),
            None => state.book.extend(sequence, by, waiter),
        });
    }

    /// Lets so much be outstanding from now on.
    pub(super) fn set_window(&self, window: Window) {
        self.change(|state, _| {
            state.window = window;
            if !state.detached {
                state.book.give_back((window.messages as usize).saturating_sub(state.book.out()));
                state.book.flow(window.into());
            }
        });
    }

    /// Takes nothing more. What is held is still settled.
    pub(super) fn detach(&self) {
        self.change(|state, _| {
            if !state.detached {
                state.detached = true;
                state.book.detach();
            }
        });
    }

    /// The end of the driver.
    pub(super) fn end(&self, fault: Option<Fault>) {
        self.change(|state, answers| {
            state.book.fail(fault.as_ref().unwrap_or(&Fault::late()), answers);
            state.ended = Some(Ended { fault, told: false });
        });
    }
}

impl State {
    /// The next delivery, or the end; or whoever asks is woken when there is something.
    pub(super) fn next(&mut self, waker: &Waker) -> Option<Next> {
        if self.may_hand_out()
            && let Some(handed) = self.book.hand_out(Instant::now())
        {
            return Some(Next::Handed(handed));
        }
        if let Some(Ended { fault, told }) = &mut self.ended {
            let first = !std::mem::replace(told, true);
            return Some(Next::Over(fault.clone().filter(|_| first)));
        }
        wake_with(&mut self.waker, waker);
        None
    }

    /// Another stream begins. Returns which.
    pub(super) fn next_stream(&mut self) -> u64 {
        self.stream += 1;
        self.stream
    }

    /// The stream in use is gone.
    pub(super) fn lose_stream(&mut self) {
        self.stream += 1;
        // It sees that it is over.
        self.stream_waker.take().into_iter().for_each(Waker::wake);
        self.book.lose_stream();
    }

    /// Whether a stream is the one in use.
    pub(super) fn is_open(&self, stream: u64) -> bool {
        self.stream == stream
    }

    /// The first request of a stream.
    pub(super) fn opening(&mut self, attach: Attach) -> ConsumeRequest {
        if self.detached {
            self.book.detach();
        }
        let window = if self.detached { Window { messages: 0, ..self.window } } else { self.window };
        self.book.opening(Attach { flow_control: Some(window.into()), ..attach })
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.detached && self.book.out() == 0 && self.book.unconfirmed() == 0
    }

    /// Whether there is anything that takes a stream.
    pub(super) fn wants_stream(&self) -> bool {
        !self.detached || self.book.unconfirmed() > 0
    }

    pub(super) fn wake_stream_with(&mut self, waker: &Waker) {
        wake_with(&mut self.stream_waker, waker);
    }

    /// Whether the application may have another one. After a break it may still have what others were handed meanwhile,
    /// which the broker does not count.
    fn may_hand_out(&self) -> bool {
        self.book.out() < self.window.messages as usize && self.book.unconfirmed() < UNCONFIRMED
    }

    fn stream_to_wake(&mut self) -> Option<Waker> {
        if self.book.has_words() { self.stream_waker.take() } else { None }
    }

    fn waker_to_wake(&mut self) -> Option<Waker> {
        let has_news = self.ended.is_some() || self.book.waiting() > 0 && self.may_hand_out();
        if has_news { self.waker.take() } else { None }
    }

    /// Why nothing is said any more.
    fn fault(&self) -> Option<Fault> {
        let ended = self.ended.as_ref()?;
        Some(ended.fault.clone().unwrap_or_else(Fault::late))
    }
}

impl From<Window> for FlowControl {
    fn from(window: Window) -> FlowControl {
        FlowControl { max_outstanding_messages: Some(window.messages), max_outstanding_bytes: Some(window.bytes) }
    }
}

fn wake_with(known: &mut Option<Waker>, waker: &Waker) {
    match known {
        Some(old) => old.clone_from(waker),
        old => *old = Some(waker.clone()),
    }
}
