//! A target of webhooks: an HTTP server of the test, which answers as the test says and tells what came.

use std::{convert::Infallible, future::Future, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, UnboundedReceiver},
};

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// A running target. It ends with the runtime of its test.
pub struct Receiver {
    /// Without a path.
    pub url: String,
    received: UnboundedReceiver<Received>,
}

impl Received {
    /// A header that must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// The body of a JSON envelope.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The text of the message in a JSON envelope.
    #[track_caller]
    pub fn text(&self) -> String {
        self.json()["message"]["text"].as_str().expect("it has a text").to_owned()
    }
}

impl Reply {
    pub fn of(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: String::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub fn saying(self, body: impl Into<String>) -> Reply {
        Reply { body: body.into(), ..self }
    }
}

impl Receiver {
    /// Answers at once.
    pub async fn start(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::start_late(move |received| std::future::ready(answer(&received))).await
    }

    /// Answers when that is ready.
    pub async fn start_late<F>(answer: impl Fn(Received) -> F + Send + Sync + 'static) -> Receiver
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, received) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, tell) = (answer.clone(), tell.clone());
                let serve = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (answer, tell) = (answer.clone(), tell.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let received = Received {
                            method: parts.method.to_string(),
                            path: parts.uri.to_string(),
                            headers: parts.headers,
                            body: body.collect().await.unwrap().to_bytes(),
                        };
                        // A test that has seen enough looks no more.
                        let _ = tell.send(received.clone());
                        Ok::<_, Infallible>(answered(answer(received).await))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
            }
        });
        Receiver { url, received }
    }

    /// The next request that came, in the order in which they did.
    pub async fn next(&mut self) -> Received {
        self.received.recv().await.expect("it runs as long as its test")
    }

    /// What came and was not looked at.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

fn answered(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}
