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
