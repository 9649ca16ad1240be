//! What is recorded together: so much that the disk is waited for seldom, so little that nobody waits for it long.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    known::{Changes, Store},
    room::Room,
    tree::Contents,
};
use crate::{apps::failure::Failure, pb::v1::PublishRequest};

/// Recorded in one step at most: changes, bytes of text, and how long that takes.
const CHANGES: u64 = 100;
const BYTES: usize = 8 << 20;
const TIME: Duration = Duration::from_millis(200);

/// Recorded when it is committed. Dropped before that, nothing was.
pub struct Batch<'a> {
    store: &'a Store,
    room: &'a Room,
    changes: Option<Changes<'a>>,
    began: Instant,
    kept: usize,
    publish: u64,
    publish_bytes: u64,
}

impl<'a> Batch<'a> {
    /// With nothing in it.
    pub fn new(store: &'a Store, room: &'a Room) -> Self {
        Batch { store, room, changes: None, began: Instant::now(), kept: 0, publish: 0, publish_bytes: 0 }
    }

    /// What is to be changed together.
    pub fn changes(&mut self) -> Result<&Changes<'a>, Failure> {
        if self.changes.is_none() {
            self.began = Instant::now();
        }
        match &mut self.changes {
            Some(changes) => Ok(changes),
            none => Ok(none.insert(self.store.change()?)),
        }
    }

    /// A change is to be published.
    pub fn publish(&mut self, request: PublishRequest) -> Result<(), Failure> {
        self.publish_bytes += self.changes()?.publish(request)?;
        self.publish += 1;
        Ok(())
    }

    /// A file is known as it was read.
    pub fn keep(&mut self, path: &Path, contents: &Contents) -> Result<(), Failure> {
        self.kept += contents.text.len();
        self.changes()?.put(path, &contents.known, Some(&contents.text))
    }

    /// Waits until one more change can be recorded; false if none can, as the program stops.
    pub fn has_room(&mut self) -> Result<bool, Failure> {
        let full = !self.room.has(self.publish, self.publish_bytes);
        if full || self.publish >= CHANGES || self.kept >= BYTES || self.began.elapsed() >= TIME {
            self.commit()?;
        }
        // What waits holds nothing up meanwhile.
        Ok(!full || self.room.wait())
    }

    /// Records all that is in it.
    pub fn commit(&mut self) -> Result<(), Failure> {
        if let Some(changes) = self.changes.take() {
            changes.commit()?;
            self.room.add(self.publish, self.publish_bytes);
        }
        (self.kept, self.publish, self.publish_bytes) = (0, 0, 0);
        Ok(())
    }
}
