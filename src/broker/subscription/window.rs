//! How much one consumer may have at the same time: messages and bytes. Pure.

use crate::model::limits;

/// What a consumer asks for. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowControl {
    /// Messages at the same time; 0 pauses.
    pub messages: Option<u32>,
    /// Bytes at the same time, unless one message alone has more; 0 pauses.
    pub bytes: Option<u64>,
}

/// What a consumer has, and may have.
#[derive(Clone, Debug)]
pub struct Window {
    messages: u32,
    bytes: u64,
    most_messages: u32,
    most_bytes: u64,
    // It was looked for room, and there was none.
    is_short: bool,
}

impl Window {
    /// What a consumer may have that has not said anything.
    pub const MESSAGES: u32 = 100;
    /// See [`Window::MESSAGES`].
    pub const BYTES: u64 = 4 << 20;

    /// An empty one.
    pub fn new(flow: FlowControl) -> Self {
        let mut window = Window {
            messages: 0,
            bytes: 0,
            most_messages: Window::MESSAGES,
            most_bytes: Window::BYTES,
            is_short: false,
        };
        window.change(flow);
        window
    }

    /// Has other bounds from now on. What is out stays out.
    pub fn change(&mut self, flow: FlowControl) {
        self.most_messages = flow.messages.unwrap_or(self.most_messages).min(limits::WINDOW_MESSAGES);
        self.most_bytes = flow.bytes.unwrap_or(self.most_bytes).min(limits::WINDOW_BYTES);
    }

    /// Its bounds.
    pub fn bounds(&self) -> FlowControl {
        FlowControl { messages: Some(self.most_messages), bytes: Some(self.most_bytes) }
    }

    /// How many more messages may be out. Whoever finds none is told when there is.
    pub fn room(&mut self) -> u32 {
        let room = match self.bytes < self.most_bytes {
            true => self.most_messages.saturating_sub(self.messages),
            false => 0,
        };
        self.is_short = room == 0;
        room
    }

    /// Takes a message, if it fits. One alone always does.
    pub fn take(&mut self, bytes: u32) -> bool {
        if self.messages > 0 && self.bytes + u64::from(bytes) > self.most_bytes {
            self.is_short = true;
            return false;
        }
        self.messages += 1;
        self.bytes += u64::from(bytes);
        true
    }

    /// A message is no longer out. Answers whether somebody waits for that.
    pub fn give_back(&mut self, bytes: u32) -> bool {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes.into());
        std::mem::take(&mut self.is_short) || self.messages == 0
    }

    /// Nothing is out any more.
    pub fn clear(&mut self) {
        (self.messages, self.bytes) = (0, 0);
    }

    /// Whether anything is out.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_by_messages_or_by_bytes() {
        let flow = FlowControl { messages: Some(2), bytes: Some(100) };
        let mut window = Window::new(flow);
        assert_eq!(window.room(), 2);
        assert!(window.take(60) && !window.take(60), "together they are too large");
        assert!(window.take(40));
        assert_eq!(window.room(), 0);
        assert!(window.give_back(60), "somebody looked for room in vain");
        assert_eq!(window.room(), 1);
        assert!(window.give_back(40), "it is empty");
        assert!(window.take(1_000), "a large one goes alone");
        window.change(FlowControl { messages: Some(0), bytes: None });
        assert_eq!(window.room(), 0);
    }

    #[test]
    fn no_window_is_beyond_what_the_contract_allows() {
        let window = Window::new(FlowControl { messages: Some(u32::MAX), bytes: Some(u64::MAX) });
        assert_eq!(window.bounds().messages, Some(limits::WINDOW_MESSAGES));
        assert_eq!(window.bounds().bytes, Some(limits::WINDOW_BYTES));
    }
}
