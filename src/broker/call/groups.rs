//! Who waits for which replies, in one namespace. Decides who shares a request and when all has come. Never reads a clock,
//! never awaits, never publishes.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::model::{Error, Result, limits};

/// What makes two calls equal: the topic, how many replies are wanted, and the callers' own word for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub topic: Box<str>,
    pub max_replies: u32,
    pub word: Box<str>,
}

/// The requests that wait, each with those who wait for it.
#[derive(Default)]
pub struct Groups {
    by_id: HashMap<u64, Group>,
    // Those that one more may join.
    by_key: HashMap<Key, u64>,
}

struct Group {
    key: Option<Key>,
    wanted: usize,
    callers: usize,
    replies: Vec<Bytes>,
    bytes: usize,
    end: Option<Result<()>>,
    changed: Arc<Notify>,
}

/// A caller's place.
pub struct Joined {
    /// Of the group: what its request is called.
    pub id: u64,
    /// The request is this caller's to make.
    pub is_first: bool,
    /// Told when the group has all that it waits for.
    pub changed: Arc<Notify>,
}

impl Groups {
    /// One more caller. He joins those who wait for the same, or begins a group, which is called `id`.
    pub fn join(&mut self, id: u64, key: Option<Key>, max_replies: u32) -> Joined {
        let known = key.as_ref().and_then(|key| self.by_key.get(key));
        if let Some((id, group)) = known.and_then(|id| Some((*id, self.by_id.get_mut(id)?))) {
            group.callers += 1;
            return Joined { id, is_first: false, changed: group.changed.clone() };
        }
        if let Some(key) = &key {
            self.by_key.insert(key.clone(), id);
        }
        let changed = Arc::new(Notify::new());
        let group = Group {
            key,
            wanted: max_replies as usize,
            callers: 1,
            replies: Vec::new(),
            bytes: 0,
            end: None,
            changed: changed.clone(),
        };
        self.by_id.insert(id, group);
        Joined { id, is_first: true, changed }
    }

    /// A reply has come. Nobody may want it any more.
    pub fn hear(&mut self, id: u64, reply: Bytes) {
        let Some(group) = self.by_id.get_mut(&id).filter(|group| group.end.is_none()) else { return };
        let has_room = group.replies.is_empty() || group.bytes + reply.len() <= limits::CALL_REPLY_BYTES;
        if has_room {
            group.bytes += reply.len();
            group.replies.push(reply);
        }
        if !has_room || group.replies.len() == group.wanted {
            self.end(id, Ok(()));
        }
    }

    /// Whether anybody waits for another reply to it.
    pub fn wait_for(&self, id: u64) -> bool {
        self.by_id.get(&id).is_some_and(|group| group.end.is_none())
    }

    /// A request could not be made.
    pub fn fail(&mut self, id: u64, error: Error) {
        self.end(id, Err(error));
    }

    /// No reply will come any more, to any of them.
    pub fn fail_all(&mut self, error: &Error) {
        let waiting: Vec<u64> = self.by_id.keys().copied().collect();
        waiting.into_iter().for_each(|id| self.end(id, Err(error.clone())));
    }

    /// What a group waited for, once it is over.
    pub fn outcome(&self, id: u64) -> Option<Result<Vec<Bytes>>> {
        let group = self.by_id.get(&id)?;
        let end = group.end.as_ref()?;
        Some(end.clone().map(|()| group.replies.clone()))
    }

    /// What has come so far.
    pub fn so_far(&self, id: u64) -> Vec<Bytes> {
        self.by_id.get(&id).map(|group| group.replies.clone()).unwrap_or_default()
    }

    /// A caller goes, with what he waited for or without. The last one takes the group with him.
    pub fn leave(&mut self, id: u64) {
        let Some(group) = self.by_id.get_mut(&id) else { return };
        group.callers -= 1;
        if group.callers == 0 {
            self.close(id);
            self.by_id.remove(&id);
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn end(&mut self, id: u64, end: Result<()>) {
        self.close(id);
        if let Some(group) = self.by_id.get_mut(&id).filter(|group| group.end.is_none()) {
            group.end = Some(end);
            group.changed.notify_waiters();
        }
    }

    /// Nobody joins it any more.
    fn close(&mut self, id: u64) {
        let key = self.by_id.get_mut(&id).and_then(|group| group.key.take());
        if let Some(key) = key {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Reason;

    fn key(word: &str, max_replies: u32) -> Option<Key> {
        Some(Key { topic: "t".into(), max_replies, word: word.into() })
    }

    fn texts(replies: Option<Result<Vec<Bytes>>>) -> Vec<Bytes> {
        replies.unwrap().unwrap()
    }

    #[test]
    fn equal_callers_share_until_the_replies_have_come_and_none_takes_it_from_others() {
        let mut groups = Groups::default();
        let first = groups.join(1, key("k", 1), 1);
        let second = groups.join(2, key("k", 1), 1);
        assert_eq!((first.is_first, second.is_first, second.id), (true, false, 1));
        assert_eq!(groups.join(3, key("k", 2), 2).id, 3, "wants more");
        groups.leave(1);
        assert!(groups.wait_for(1));
        groups.hear(1, Bytes::from_static(b"a"));
        assert!(!groups.wait_for(1));
        groups.hear(1, Bytes::from_static(b"late"));
        let next = groups.join(4, key("k", 1), 1);
        assert!(next.is_first);
        assert_eq!(texts(groups.outcome(1)), ["a"]);
        groups.leave(1);
        assert!(groups.outcome(1).is_none() && groups.outcome(4).is_none());
        groups.fail(4, Error::new(Reason::NoResponders, "x"));
        assert_eq!(groups.outcome(4).unwrap().unwrap_err().reason(), Reason::NoResponders);
        groups.leave(3);
        groups.leave(4);
        assert!(groups.is_empty() && groups.by_key.is_empty());
    }

    #[test]
    fn replies_end_with_their_number_or_with_their_bytes() {
        let mut groups = Groups::default();
        groups.join(1, None, 3);
        groups.hear(1, Bytes::from_static(b"a"));
        assert_eq!((groups.so_far(1).len(), groups.outcome(1).is_none()), (1, true));
        groups.hear(1, Bytes::from(vec![0; limits::CALL_REPLY_BYTES]));
        assert_eq!(texts(groups.outcome(1)), ["a"], "what has no room ends it");
        groups.join(2, None, 2);
        groups.hear(2, Bytes::from(vec![0; 2 * limits::CALL_REPLY_BYTES]));
        assert_eq!(groups.so_far(2).len(), 1, "one alone may be larger");
    }

    proptest! {
        /// Against the rule in one sentence: whoever comes while an equal request waits shares its reply, and gets one that
        /// came after him.
        #[test]
        fn everybody_gets_a_reply_that_came_after_him(steps in proptest::collection::vec((0u8..3, 0usize..3), 1..60)) {
            let words = ["a", "b", "c"];
            let mut groups = Groups::default();
            // Of each word the request that waits; and who waits: when he came, and for what.
            let mut open: [Option<u64>; 3] = [None; 3];
            let mut waiting: Vec<(usize, u64)> = Vec::new();
            for (at, (step, word)) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        let joined = groups.join(at as u64, key(words[word], 1), 1);
                        prop_assert_eq!(joined.is_first, open[word].is_none());
                        let id = *open[word].get_or_insert(at as u64);
                        prop_assert_eq!(joined.id, id);
                        waiting.push((at, id));
                    }
                    1 => if let Some(id) = open[word].take() {
                        groups.hear(id, Bytes::from(at.to_string()));
                        for (came, _) in waiting.extract_if(.., |(_, of)| *of == id) {
                            let got = texts(groups.outcome(id));
                            prop_assert_eq!(&got, &[at.to_string()]);
                            prop_assert!(came < at);
                            groups.leave(id);
                        }
                    },
                    _ => if let Some((_, id)) = waiting.pop() {
                        groups.leave(id);
                        if waiting.iter().all(|(_, of)| *of != id) {
                            open.iter_mut().filter(|of| **of == Some(id)).for_each(|of| *of = None);
                        }
                    },
                }
            }
            for (_, id) in waiting {
                groups.leave(id);
            }
            prop_assert!(groups.is_empty() && groups.by_key.is_empty());
        }
    }
}
