//! What goes out on a consumer's stream: whatever has gathered since the last request. Polled by the connection itself, so
//! that nothing lies between.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::shared::Shared;
use crate::pb::v1::{Attach, ConsumeRequest};

/// The requests of one stream. Ends when that stream is no longer the consumer's.
#[derive(Debug)]
pub(super) struct Requests {
    shared: Arc<Shared>,
    /// Which of the consumer's streams it is.
    stream: u64,
    attach: Option<Attach>,
}

impl Requests {
    pub(super) fn new(shared: Arc<Shared>, stream: u64, attach: Attach) -> Self {
        Requests { shared, stream, attach: Some(attach) }
    }
}

impl Stream for Requests {
    type Item = ConsumeRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConsumeRequest>> {
        let this = self.get_mut();
        let mut state = this.shared.state();
        if !state.is_open(this.stream) {
            return Poll::Ready(None);
        }
        if let Some(attach) = this.attach.take() {
            return Poll::Ready(Some(state.opening(attach)));
        }
        match state.book.request() {
            Some(request) => Poll::Ready(Some(request)),
            None => {
                state.wake_stream_with(cx.waker());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{
        super::{Window, book::Book, outbox::Word},
        *,
    };
    use crate::pb::v1::{Delivery, Message, Verdict};

    #[test]
    fn what_has_gathered_goes_out_together_and_nothing_is_waited_for() {
        let shared = Arc::new(Shared::new(Window { messages: 100, bytes: 1 << 20 }, Book::new(Duration::ZERO, false)));
        let stream = shared.state().next_stream();
        let mut requests = Requests::new(shared.clone(), stream, Attach::default());
        let mut next = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            Pin::new(&mut requests).poll_next(&mut cx)
        };
        let opening = next();
        assert!(matches!(opening, Poll::Ready(Some(ConsumeRequest { attach: Some(_), .. }))), "{opening:?}");
        assert!(next().is_pending());
        let now = Instant::now();
        for sequence in 1..=1_000 {
            let message = Some(Message { sequence, ..Message::default() });
            let delivery = Delivery { message, ack_id: sequence.to_string(), attempt: 1, ack_deadline: None };
            shared.state().book.take(delivery, now, Duration::from_secs(30));
            shared.state().book.hand_out(now).unwrap();
            let verdict = if sequence % 100 == 0 { Verdict::Release } else { Verdict::Ack };
            shared.settle(sequence, Word::bare(verdict), None);
        }
        let Poll::Ready(Some(request)) = next() else { panic!("nothing goes out") };
        let said = request.settlements.iter().map(|said| (said.verdict(), said.ack_ids.len()));
        assert_eq!(said.collect::<Vec<_>>(), [(Verdict::Ack, 990), (Verdict::Release, 10)]);
        assert!(next().is_pending());
        shared.change(|state, _| state.lose_stream());
        assert!(matches!(next(), Poll::Ready(None)), "another stream goes on");
    }
}
