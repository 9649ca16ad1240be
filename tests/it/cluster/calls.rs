//! Calls where there are several brokers: who asks and who answers need not be at the same one.

use tilde::client::{Client, PublishRequest, Replies, Responder};
use tonic::Code;

use super::{BROKERS, Cluster, soon};
use crate::support::nats::Nats;

async fn responder(client: &Client, pattern: &str) -> Responder {
    let mut responder = client.respond([pattern]);
    soon("a responder", responder.ready()).await.unwrap();
    responder
}

fn ask(client: &Client, topic: &str) -> tilde::client::Call {
    client.call(PublishRequest::text(topic, "x"))
}

fn text(replies: &Replies) -> String {
    String::from_utf8(replies.messages[0].bytes().to_vec()).unwrap()
}

async fn reason(client: &Client, topic: &str) -> (Code, Option<String>) {
    let call = ask(client, topic).timeout(std::time::Duration::from_millis(500));
    let fault = soon("a refusal", call.into_future()).await.unwrap_err();
    (fault.code, fault.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_asked_it_is_answered_and_nobody_there_is_known_at_once() {
    let cluster = Cluster::start().await;
    cluster.worker().await;
    let clients = [cluster.client(0).await, cluster.client(1).await, cluster.client(2).await];
    for client in &clients {
        assert_eq!(reason(client, "a").await, (Code::Unavailable, Some("NO_RESPONDERS".into())));
    }
    for (at, client) in clients.iter().enumerate() {
        let topic = format!("at/{at}");
        let mut responder = responder(client, &topic).await;
        // From the moment that he is ready everybody knows him.
        let asked: Vec<_> = clients.iter().map(|client| tokio::spawn(ask(client, &topic).into_future())).collect();
        for _ in &asked {
            let question = soon("a question", responder.next()).await.unwrap().unwrap();
            question.reply_text(topic.clone()).await.unwrap();
        }
        for asked in asked {
            assert_eq!(text(&soon("a reply", asked).await.unwrap().unwrap()), topic);
        }
        drop(responder);
        for client in &clients {
            soon("all know that he is gone", async {
                while reason(client, &topic).await.1.as_deref() != Some("NO_RESPONDERS") {}
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_calls_at_three_brokers_share_one_request() {
    let cluster = Cluster::over(Nats::start()).await;
    cluster.worker().await;
    let clients = [cluster.client(0).await, cluster.client(1).await, cluster.client(2).await];
    let mut responder = responder(&clients[0], "a").await;
    let asked: Vec<_> =
        (0..30).map(|number| tokio::spawn(ask(&clients[number % 3], "a").collapse_key("k").into_future())).collect();
    soon("all wait", async {
        while cluster.brokers.iter().map(|broker| crate::support::http::metric(broker, WAITING)).sum::<u64>() < 30 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let question = soon("a question", responder.next()).await.unwrap().unwrap();
    question.reply_text("one").await.unwrap();
    let mut shared = 0;
    for asked in asked {
        let replies = soon("a reply", asked).await.unwrap().unwrap();
        assert_eq!(text(&replies), "one");
        shared += usize::from(replies.collapsed);
    }
    assert_eq!(shared, 29);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_answered_at_a_broker_that_was_killed_is_forgotten() {
    let mut cluster = Cluster::over(Nats::start()).await;
    let at = cluster.worker().await;
    let (other, here) = ((at + 1) % BROKERS, cluster.client(at).await);
    let gone = cluster.client(other).await;
    let responder = responder(&gone, "a").await;
    assert_eq!(reason(&here, "a").await, (Code::DeadlineExceeded, Some("NO_REPLY".into())));
    drop(responder);
    let mut frozen = gone.respond(["b"]);
    soon("a responder", frozen.ready()).await.unwrap();
    cluster.brokers.remove(other).kill();
    drop(frozen);
    soon("it is forgotten", async { while reason(&here, "b").await.1.as_deref() != Some("NO_RESPONDERS") {} }).await;
}

const WAITING: &str = "tilde_waiting_calls{namespace=\"default\"}";
