//! The callers: connections to a gateway, and one request after the other on them. Checks every answer byte for byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::reply::expected;
use crate::apps::bench::latencies::Gathered;

/// Requests that wait for a connection over HTTP/1.1, at most.
const QUEUE: usize = 65_536;

/// What the callers saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers as they should be.
    pub answers: Arc<AtomicU64>,
    /// Others, and what broke.
    pub wrong: Arc<AtomicU64>,
    /// What the first of them was.
    pub first_wrong: Arc<std::sync::Mutex<Option<String>>>,
    /// From the moment a request was due to its answer.
    pub latencies: Gathered,
}

/// A request, and when it was due.
type Due = (Arc<str>, Instant);

/// Connections to one gateway.
pub enum Callers {
    /// Many requests at the same time on each.
    Two(Vec<http2::SendRequest<Empty<Bytes>>>, JoinSet<()>, Seen),
    /// One request at a time on each.
    One(mpsc::Sender<Due>, JoinSet<()>),
}

impl Callers {
    /// Connects so often, over HTTP/1.1 if `is_one`, else over HTTP/2.
    pub async fn connect(address: &str, connections: usize, is_one: bool, seen: &Seen) -> anyhow::Result<Callers> {
        let mut tasks = JoinSet::new();
        let (send, due) = mpsc::channel(QUEUE);
        let due = Arc::new(Mutex::new(due));
        let mut senders = Vec::new();
        for _ in 0..connections {
            let stream =
                TcpStream::connect(address).await.with_context(|| format!("no gateway answers at {address}"))?;
            stream.set_nodelay(true)?;
            if is_one {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                tasks.spawn(one_by_one(sender, Arc::clone(&due), seen.clone()));
            } else {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                senders.push(sender);
            }
        }
        Ok(if is_one { Callers::One(send, tasks) } else { Callers::Two(senders, tasks, seen.clone()) })
    }

    /// Asks for a path, at once or as soon as a connection is free. `number` spreads the load.
    pub async fn ask(&mut self, number: u64, path: Arc<str>, due: Instant) {
        match self {
            Callers::Two(senders, tasks, seen) => {
                let mut sender = senders[number as usize % senders.len()].clone();
                let seen = seen.clone();
                tasks.spawn(async move {
                    let answer = async { collected(sender.send_request(request(&path)).await?).await };
                    seen.take(&path, due, answer.await);
                });
                // Those that are done need no memory.
                while tasks.try_join_next().is_some() {}
            }
            Callers::One(queue, _) => drop(queue.send((path, due)).await),
        }
    }

    /// Ends when all are answered.
    pub async fn finish(self) {
        let mut tasks = match self {
            Callers::Two(_, tasks, _) => tasks,
            // Connections wait for more as long as there is a queue.
            Callers::One(queue, tasks) => {
                drop(queue);
                tasks
            }
        };
        while tasks.join_next().await.is_some() {}
    }
}

async fn one_by_one(mut sender: http1::SendRequest<Empty<Bytes>>, due: Arc<Mutex<mpsc::Receiver<Due>>>, seen: Seen) {
    loop {
        let Some((path, due)) = due.lock().await.recv().await else { return };
        let answer = async {
            sender.ready().await?;
            collected(sender.send_request(request(&path)).await?).await
        };
        seen.take(&path, due, answer.await);
    }
}

async fn collected(response: http::Response<hyper::body::Incoming>) -> hyper::Result<(u16, Bytes)> {
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    // Over HTTP/2 a request names its host by its URI, over HTTP/1.1 by a header.
    *request.uri_mut() = format!("http://gateway{path}").parse().expect("it is made of digits and slashes");
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("gateway"));
    request
}

impl Seen {
    fn take(&self, path: &str, due: Instant, answer: hyper::Result<(u16, Bytes)>) {
        self.latencies.lock().since(due);
        let wrong = match answer {
            Ok(answer) if answer == expected(path) => {
                self.answers.fetch_add(1, Relaxed);
                return;
            }
            Ok((status, body)) => format!("{path} was answered {status} with {} bytes", body.len()),
            Err(error) => format!("{path} was not answered: {error}"),
        };
        self.wrong.fetch_add(1, Relaxed);
        self.first_wrong.lock().expect("nobody panics while holding it").get_or_insert(wrong);
    }
}
