//! How far a subscriber has come over any number of streams, and what it asks the next one for. Pure.

use crate::pb::v1::{StartPosition, SubscribeRequest, SubscribeResponse, start_position::Position};

/// What was asked for at first, and what came of it.
#[derive(Debug)]
pub(super) struct Progress {
    /// Always asks for what has not come.
    request: SubscribeRequest,
    /// As many messages as were asked for have come, or all that there were.
    complete: bool,
}

impl Progress {
    pub(super) fn new(request: SubscribeRequest) -> Self {
        Progress { request, complete: false }
    }

    /// What the next stream is asked for.
    pub(super) fn request(&self) -> SubscribeRequest {
        self.request.clone()
    }

    /// Takes note of what a stream brought.
    pub(super) fn take(&mut self, response: &SubscribeResponse) {
        let request = &mut self.request;
        let count = response.messages.len() as u64;
        if request.max_messages > 0 {
            // Zero would ask for any number.
            self.complete |= request.max_messages <= count;
            request.max_messages = request.max_messages.saturating_sub(count).max(1);
        }
        self.complete |= request.stop_at_end && response.caught_up;
        if !response.cursor.is_empty() {
            // Wherever it began, from here on it goes on: also after `new`, and after the last few.
            request.start = Some(StartPosition { position: Some(Position::AfterCursor(response.cursor.clone())) });
        }
    }

    /// Whether all has come, so that a stream that breaks now is not missed.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether a stream that ends without a word has done what it was asked for.
    pub(super) fn may_end(&self) -> bool {
        self.complete || self.request.stop_at_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{Message, start_position::Preset};

    fn response(messages: usize, cursor: &str) -> SubscribeResponse {
        SubscribeResponse { messages: vec![Message::default(); messages], cursor: cursor.into(), ..Default::default() }
    }

    fn position(progress: &Progress) -> Option<Position> {
        progress.request().start.and_then(|start| start.position)
    }

    #[test]
    fn goes_on_after_the_last_cursor_wherever_it_began() {
        for begin in [Position::Preset(Preset::New.into()), Position::LastMessages(3), Position::Sequence(7)] {
            let start = Some(StartPosition { position: Some(begin.clone()) });
            let mut progress = Progress::new(SubscribeRequest { start, ..Default::default() });
            progress.take(&response(0, ""));
            assert_eq!(position(&progress), Some(begin), "it has not begun");
            progress.take(&response(0, "a"));
            progress.take(&response(2, "b"));
            assert_eq!(position(&progress), Some(Position::AfterCursor("b".into())));
            assert!(!progress.is_complete() && !progress.may_end());
        }
    }

    #[test]
    fn asks_for_as_many_as_are_left_and_never_for_any_number() {
        let mut progress = Progress::new(SubscribeRequest { max_messages: 5, ..Default::default() });
        progress.take(&response(3, "a"));
        assert_eq!(progress.request().max_messages, 2);
        assert!(!progress.may_end());
        progress.take(&response(2, "b"));
        assert!(progress.is_complete() && progress.request().max_messages > 0);
    }

    #[test]
    fn the_end_of_the_log_is_the_end_only_if_it_was_asked_for() {
        let end = SubscribeResponse { caught_up: true, ..response(1, "a") };
        for stop_at_end in [false, true] {
            let mut progress = Progress::new(SubscribeRequest { stop_at_end, ..Default::default() });
            assert_eq!(progress.may_end(), stop_at_end);
            progress.take(&end);
            assert_eq!(progress.is_complete(), stop_at_end);
        }
    }
}
