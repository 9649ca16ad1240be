//! A subscription's lock, and telling the subscription that something has come without waiting for it: the thread that
//! writes the log waits for nobody, and who registers with the router may be told in the middle of that, with the lock in
//! his hand. Whoever has the lock then passes on what he was told when he gives it back.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::Wake,
};

use super::{hub::Hub, inner::Inner};

/// What of a subscription changes.
pub(super) struct Lock {
    inner: Mutex<Inner>,
    /// Something came, and nobody was told yet.
    called: AtomicBool,
}

/// What of a subscription changes, in the hands of one.
pub(super) struct Locked<'a> {
    hub: &'a Hub,
    // None while it is given back.
    inner: Option<MutexGuard<'a, Inner>>,
}

impl Lock {
    pub fn new(inner: Inner) -> Self {
        Lock { inner: Mutex::new(inner), called: AtomicBool::new(false) }
    }
}

impl Hub {
    pub(super) fn lock(&self) -> Locked<'_> {
        let inner = self.lock.inner.lock().expect("nobody panics while holding a subscription");
        Locked { hub: self, inner: Some(inner) }
    }

    /// Passes on that something came, or leaves that to whoever has the lock.
    fn pass_on(&self) {
        let Lock { inner, called } = &self.lock;
        loop {
            // Between calling and trying the lock, and between giving it back and looking for a call: one of the two sees
            // what the other has done.
            fence(Ordering::SeqCst);
            if !called.load(Ordering::Relaxed) {
                return;
            }
            let Ok(mut inner) = inner.try_lock() else { return };
            called.store(false, Ordering::Relaxed);
            let is_closing = self.shared.deadline.get().is_some() || self.place.is_deleted();
            match is_closing {
                true => inner.wake_all(),
                false => inner.wake_next(),
            }
        }
    }
}

impl Wake for Hub {
    /// Something came that it wants, or the broker stops: whoever is first in line looks.
    fn wake(self: Arc<Self>) {
        self.lock.called.store(true, Ordering::Relaxed);
        self.pass_on();
    }
}

impl Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        self.inner.as_ref().expect("it is given back when this is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        self.inner.as_mut().expect("it is given back when this is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.inner = None;
        self.hub.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        task::{Context, Poll},
        time::Duration,
    };

    use tokio_stream::Stream as _;

    use super::*;
    use crate::{
        broker::{
            Broker, Config,
            subscription::{Attach, FlowControl},
        },
        clock::ManualClock,
        engine::memory::MemoryEngine,
        model::{NamespaceName, Subscription, SubscriptionName, Timestamp},
        telemetry::Metrics,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_tells_it_waits_for_nobody_and_nobody_is_forgotten() {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH, 1));
        let engine = Arc::new(MemoryEngine::new(clock.clone()));
        let broker = Broker::open(engine, clock, Arc::new(Metrics::default()), Config::default()).await.unwrap();
        let (home, name) = (NamespaceName::default(), SubscriptionName::parse("work").unwrap());
        let mut subscription = Subscription::new(name.clone(), home.clone());
        subscription.set_patterns(["~".to_owned()]);
        broker.create_subscription(subscription).await.unwrap();
        let attach = Attach {
            consumer: None,
            flow: FlowControl::default(),
            auto: false,
            confirm: false,
            heartbeat_interval: Duration::from_secs(15),
            responder: false,
        };
        let mut session = std::pin::pin!(broker.consume(&home, &name, attach).await.unwrap());
        let count = Arc::new(Count::default());
        let waker = count.clone().into();
        let mut poll = || session.as_mut().poll_next(&mut Context::from_waker(&waker));
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))), "it is attached");
        assert!(poll().is_pending());
        let hub = broker.hub(&home, &name).unwrap();
        let woken = || count.0.load(Ordering::Relaxed);

        let locked = hub.lock();
        hub.clone().wake();
        assert_eq!(woken(), 0, "the lock is taken");
        drop(locked);
        assert_eq!(woken(), 1);
        drop(hub.lock());
        assert_eq!(woken(), 1, "a call is passed on once");
        assert!(poll().is_pending());
        hub.clone().wake();
        assert_eq!(woken(), 2);
    }
}
