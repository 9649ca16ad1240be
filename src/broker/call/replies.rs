//! The replies of one namespace: a stream of the topic where this broker's callers await them, as long as there are any.
//! Never decides who gets what.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::OnceCell;
use tokio_stream::StreamExt as _;

use super::{
    super::{Broker, Event, LiveStream, Subscribe, served::Served},
    groups::Groups,
};
use crate::model::{Error, LagPolicy, PatternSet, Position, Reason, Records, Result, limits};

/// Who waits, and what hears for them.
#[derive(Default)]
pub struct Replies {
    groups: Mutex<Groups>,
    // There while the stream is, or while somebody opens it.
    stream: Mutex<Option<Arc<OnceCell<()>>>>,
}

impl Replies {
    /// Who waits for what.
    pub(super) fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().expect("nobody panics while holding the groups")
    }

    fn stream(&self) -> MutexGuard<'_, Option<Arc<OnceCell<()>>>> {
        self.stream.lock().expect("nobody panics while holding the stream")
    }

    /// Gives out what has come.
    fn hear(&self, event: &Event) {
        for run in &event.runs {
            for record in Records::new(run).map_while(std::result::Result::ok) {
                if let Some(id) = std::str::from_utf8(record.correlation_id()).ok().and_then(id) {
                    self.groups().hear(id, run.slice_ref(record.framed()));
                }
            }
        }
    }

    /// Ends the stream, if nobody waits any more. Whoever comes next opens another.
    fn rest(&self) -> bool {
        // Whoever waits is in a group before he looks for the stream.
        let mut stream = self.stream();
        let rests = self.groups().is_empty();
        if rests {
            *stream = None;
        }
        rests
    }

    /// The stream broke.
    fn fail(&self, error: &Error) {
        *self.stream() = None;
        self.groups().fail_all(error);
    }
}

impl Broker {
    /// Ends when replies are heard that are published from now on.
    pub(super) async fn listen(self: &Arc<Self>, served: &Arc<Served>) -> Result<()> {
        let cell = served.place.replies.stream().get_or_insert_default().clone();
        let opened = cell.get_or_try_init(|| async {
            let patterns = PatternSet::parse(&[&self.shared.reply_topic])?;
            let subscribe = Subscribe {
                namespace: served.place.name.clone(),
                patterns,
                filter: None,
                position: Position::New,
                heartbeat_interval: limits::HEARTBEAT_MAX,
                max_messages: 0,
                stop_at_end: false,
                lag_policy: LagPolicy::CatchUp,
                strict: false,
                responder: false,
            };
            let stream = self.open_stream(subscribe, served.admit_own(&self.shared)).await?;
            self.runtime.spawn(follow(stream, served.clone()));
            Ok(())
        });
        opened.await.copied()
    }
}

/// Hears until nobody waits, looked at now and then, or until the stream ends.
async fn follow(mut stream: LiveStream, served: Arc<Served>) {
    let replies = &served.place.replies;
    let ended = loop {
        match stream.next().await {
            // The grace time is over for its callers, too.
            Some(Err(error)) if error.reason() == Reason::Draining => break super::waiting::stopped(),
            Some(Ok(event)) if event.heartbeat.is_some() && replies.rest() => return,
            Some(Ok(event)) => replies.hear(&event),
            Some(Err(error)) => break error,
            None => break Error::new(Reason::Internal, "the replies ended before their callers"),
        }
    };
    replies.fail(&ended);
}

/// What a request is called, in words.
pub(super) fn correlation(id: u64) -> String {
    format!("{id:016x}")
}

/// The number behind it.
pub(super) fn id(correlation: &str) -> Option<u64> {
    u64::from_str_radix(correlation, 16).ok().filter(|_| correlation.len() == 16)
}
