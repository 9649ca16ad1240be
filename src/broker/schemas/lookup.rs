//! A look at what other brokers have registered, before a payload is refused here. Those who wait at the same time share one,
//! and there are no more of them than make sense, whatever is published. Never decides what is refused.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    engine::State,
    model::{Error, Reason, Result},
};

/// One look begins so long after the one before, at the earliest.
const APART: Duration = Duration::from_millis(10);
/// No look takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks, one at a time.
#[derive(Default)]
pub struct Lookup {
    last: Mutex<Option<Look>>,
}

struct Look {
    began: Instant,
    // None if whoever looked has gone before the end.
    found: Option<Result<()>>,
}

impl Lookup {
    /// Ends when all is known here that the others had changed when it was called.
    pub async fn look(&self, state: &dyn State) -> Result<()> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(Look { began, found }) = &*last {
            if let Some(found) = found.as_ref().filter(|_| *began >= asked) {
                return found.clone();
            }
            sleep_until(*began + APART).await;
        }
        let look = last.insert(Look { began: Instant::now(), found: None });
        let found = timeout(PATIENCE, state.catch_up()).await.unwrap_or_else(|_| Err(too_slow()));
        look.found = Some(found.clone());
        found
    }
}

fn too_slow() -> Error {
    let message =
        "whether another broker has registered the payload's schema could not be found out in time: try again";
    Error::new(Reason::EngineUnreachable, message)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;
    use crate::engine::{BoxFuture, Value};

    /// Counts how often it was asked to catch up, which takes so long.
    struct Slow(AtomicUsize, Duration);

    impl State for Slow {
        fn get(&self, _: &str) -> Result<Option<Value>> {
            Ok(None)
        }

        fn list(&self, _: &str) -> Result<Vec<(String, Value)>> {
            Ok(Vec::new())
        }

        fn put<'a>(&'a self, _: &'a str, _: Vec<u8>, _: u64) -> BoxFuture<'a, Result<Option<u64>>> {
            Box::pin(async { Ok(None) })
        }

        fn delete<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<bool>> {
            Box::pin(async { Ok(false) })
        }

        fn catch_up(&self) -> BoxFuture<'_, Result<()>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async {
                sleep(self.1).await;
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_share_a_look_that_began_after_they_asked() {
        let (lookup, state) = (Lookup::default(), Slow(AtomicUsize::new(0), Duration::from_millis(3)));
        let begun = Instant::now();
        // Ten thousand in a tenth of a second, each when one began that is too early for it.
        let wait = |at: u32| {
            let (lookup, state) = (&lookup, &state);
            async move {
                sleep(Duration::from_millis(10) * (at / 1_000) + Duration::from_millis(1)).await;
                lookup.look(state).await
            }
        };
        assert!(join_all((0..10_000).map(wait)).await.iter().all(Result::is_ok));
        let (looks, took) = (state.0.load(Ordering::Relaxed), begun.elapsed());
        assert!(looks <= 12 && took < Duration::from_millis(120), "{looks} in {took:?}");
        // Nobody is answered by what began before he asked.
        lookup.look(&state).await.unwrap();
        assert_eq!(state.0.load(Ordering::Relaxed), looks + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_told_to_all_and_may_be_tried_again() {
        let (lookup, state) = (Lookup::default(), Slow(AtomicUsize::new(0), Duration::from_secs(3600)));
        let begun = Instant::now();
        for found in join_all((0..100).map(|_| lookup.look(&state))).await {
            assert_eq!(found.unwrap_err().reason(), Reason::EngineUnreachable);
        }
        assert_eq!((state.0.load(Ordering::Relaxed), begun.elapsed().as_secs()), (1, 2));
    }
}
