//! Fills a topic before something else is measured. Never measured itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    feed::Feed,
    frames::Frames,
    latencies::Gathered,
    options::{End, Payload, Target},
    progress::Progress,
    window::Window,
};

/// How messages are stored: in such frames, so many in flight.
const FRAME: u32 = 100;
const IN_FLIGHT: u64 = 10_000;

/// Publishes so many messages to a topic, and waits until all are stored.
pub async fn fill(topic: &str, messages: u64, payload: &Payload, target: &Target) -> anyhow::Result<()> {
    let frames = Arc::new(Frames::new(&[topic.to_owned()], payload));
    let window = Window::new(IN_FLIGHT, FRAME, End::Count(messages), Arc::default(), None);
    let (namespace, durability) = (&target.tenant.namespace, payload.durability.wire().into());
    let mut feed = Feed::open(target.connect().await?, frames, namespace, durability, IN_FLIGHT, window).await?;
    let (answers, count) = (Gathered::default(), Arc::new(AtomicU64::new(0)));
    let _progress = Progress::show(count.clone(), Some(messages));
    while let Some(answered) = feed.next(&answers).await? {
        count.fetch_add(answered, Relaxed);
    }
    Ok(())
}
