//! The bench's own back end: answers whatever comes, after a while, by either transport.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::reply;
use crate::{
    apps::{
        gateway::ear::{Ear, Heard},
        remote::{Remote, Tenant},
    },
    client::Responder,
};
use anyhow::Context;

/// How often the whole directory is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Requests that were answered.
pub type Count = Arc<AtomicU64>;

/// Answers what comes into a directory, on a thread of its own, as long as the process lives.
pub fn in_directory(directory: PathBuf, delay: Duration, count: Count) -> anyhow::Result<()> {
    let shown = directory.display().to_string();
    let ear = Ear::new(&directory).with_context(|| format!("{shown} cannot be watched"))?;
    thread::Builder::new().name("back-end".into()).spawn(move || answer(&directory, ear, delay, &count))?;
    Ok(())
}

/// Answers each request when it is time.
fn answer(directory: &Path, mut ear: Ear, delay: Duration, count: &AtomicU64) {
    let mut due: VecDeque<(Instant, PathBuf)> = VecDeque::new();
    let mut looked = Instant::now();
    loop {
        let pause = due.front().map_or(EVERY, |(at, _)| at.saturating_duration_since(Instant::now()).min(EVERY));
        // What is not heard is found by the next look.
        let _ = ear.hear(pause, |heard| {
            if let Heard::Moved(name) = heard
                && is_request(Path::new(name))
            {
                due.push_back((Instant::now() + delay, directory.join(name)));
            }
        });
        while due.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            let Some((_, request)) = due.pop_front() else { break };
            // It may be gone, or answered already.
            if let Ok(true) = write(&request) {
                count.fetch_add(1, Relaxed);
            }
        }
        if due.is_empty() && looked.elapsed() > delay + EVERY {
            looked = Instant::now();
            due.extend(missed(directory).unwrap_or_default().into_iter().map(|request| (looked, request)));
        }
    }
}

/// Answers a request, unless it is answered or gone.
fn write(request: &Path) -> io::Result<bool> {
    let answer = request.with_extension("resp");
    if answer.exists() {
        return Ok(false);
    }
    let asked = fs::read(request)?;
    let Some(path) = reply::path(&asked) else { return Ok(false) };
    fs::write(answer, reply::written(path))?;
    Ok(true)
}

/// Requests that nobody told of.
fn missed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| is_request(path)).collect())
}

fn is_request(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "req")
}

/// Answers what is asked over a broker, as long as it is polled.
pub async fn at_broker(mut responder: Responder, delay: Duration, count: Count) -> anyhow::Result<()> {
    while let Some(question) = responder.next().await {
        let question = question?;
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(path) = reply::path(question.message.bytes())
                && question.reply_data(reply::written(path)).await.is_ok()
            {
                count.fetch_add(1, Relaxed);
            }
        });
    }
    Ok(())
}

/// Stands ready at a broker.
pub async fn responder(remote: &Remote, tenant: &Tenant) -> anyhow::Result<Responder> {
    let mut responder = remote.client(tenant)?.respond(["gateway/~"]);
    responder.ready().await.map_err(|fault| remote.failure(fault))?;
    Ok(responder)
}
