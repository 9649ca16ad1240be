//! Request and reply through the binary: whoever asks gets what was answered, once, or is told why not.

mod cli;
mod collapse;
mod drain;
mod replies;
mod work;

use std::{future::Future, time::Duration};

use tilde::{
    client::{Call, Client, Fault, PublishRequest, Question, Replies, Responder},
    pb::v1::CallRequest,
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::Code;

use crate::support::{Tilde, http};

/// Nothing that is waited for takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// For calls that nobody answers.
const SHORT: Duration = Duration::from_millis(300);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

async fn client(broker: &Tilde) -> Client {
    Client::connect(&broker.url).await.unwrap()
}

/// One who answers, once the broker knows it.
async fn responder(client: &Client, pattern: &str) -> Responder {
    let mut responder = client.respond([pattern]);
    soon("a responder", responder.ready()).await.unwrap();
    responder
}

/// Answers everything with what `answer` makes of it.
async fn answering(client: &Client, pattern: &str, answer: fn(&str) -> String) -> JoinHandle<()> {
    let mut responder = responder(client, pattern).await;
    tokio::spawn(async move {
        while let Some(Ok(question)) = responder.next().await {
            let _ = question.reply_text(answer(text(&question))).await;
        }
    })
}

async fn next(responder: &mut Responder) -> Question {
    soon("a question", responder.next()).await.unwrap().unwrap()
}

fn text(question: &Question) -> &str {
    std::str::from_utf8(question.message.bytes()).unwrap()
}

fn call(client: &Client, topic: &str, text: &str) -> Call {
    client.call(PublishRequest::text(topic, text))
}

fn texts(replies: &Replies) -> Vec<String> {
    replies.messages.iter().map(|reply| String::from_utf8(reply.bytes().to_vec()).unwrap()).collect()
}

/// Waits until nobody answers there any more.
async fn deserted(client: &Client, topic: &str) {
    soon("nobody answers", async {
        while call(client, topic, "x").timeout(SHORT).await.unwrap_err().reason.as_deref() != Some("NO_RESPONDERS") {}
    })
    .await;
}

#[track_caller]
fn assert_refused(answer: Result<Replies, Fault>, code: Code, reason: &str) {
    let fault = answer.unwrap_err();
    assert_eq!((fault.code, fault.reason.as_deref()), (code, Some(reason)), "{fault}");
}

/// Waits until so many calls wait.
async fn waiting(broker: &Tilde, calls: u64) {
    soon("calls", async {
        while http::metric(broker, "tilde_waiting_calls{namespace=\"default\"}") != calls {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
