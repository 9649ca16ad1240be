//! NATS is not there, at first or for a while: a broker says that it is not ready, refuses what it cannot do with a word
//! on when to try again, keeps the streams that it has, and goes on when NATS is back.

use std::{process::Child, time::Duration};

use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Cluster, load::Load, soon};
use crate::support::{nats::Nats, ports::free_address, serve, tilde};

/// What a health check answers.
async fn health(url: &str) -> Option<ServingStatus> {
    let channel = tilde::client::connect(url).await.ok()?;
    let request = HealthCheckRequest { service: "tilde.v1.Broker".into() };
    Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
}

async fn becomes(url: &str, expected: ServingStatus) {
    soon("health", async {
        while health(url).await != Some(expected) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Ends with whoever holds it.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_finds_no_nats_says_so_and_opens_when_it_comes() {
    let mut nats = Nats::start();
    let nats_url = nats.urls().remove(0);
    nats.kill(0);
    let place = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut command = serve(place.path(), &["--engine", "jetstream", "--nats", &nats_url, "--listen", &address]);
    let _broker = Ending(command.spawn().unwrap());
    let url = format!("http://{address}");
    becomes(&url, ServingStatus::NotServing).await;
    let run = |args: &[&str]| {
        let mut command = tilde(place.path(), args);
        command.env("TILDE_BROKER", &url);
        crate::support::run(command, None)
    };
    let refused = run(&["publish", "t", "x", "--timeout", "3s"]).told(1);
    assert!(refused.contains("ENGINE_UNREACHABLE") && refused.contains("try again"), "{refused}");
    nats.restart(0);
    becomes(&url, ServingStatus::Serving).await;
    run(&["publish", "t", "x"]).ok();
    assert_eq!(run(&["subscribe", "~", "--from", "earliest", "--end"]).text(), "t  x\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nats_has_taken_is_there_when_it_is_back() {
    let mut cluster = Cluster::over(Nats::start()).await;
    let load = Load::begin(&cluster).await;
    load.goes_on(200).await;
    load.storm(true);
    cluster.nats.kill(0);
    for broker in &cluster.brokers {
        becomes(&broker.url, ServingStatus::NotServing).await;
    }
    let refused = cluster.brokers[0].run(&["publish", "other", "x", "--timeout", "30s"]).told(1);
    assert!(refused.contains("ENGINE_UNREACHABLE"), "{refused}");
    cluster.nats.restart(0);
    for broker in &cluster.brokers {
        becomes(&broker.url, ServingStatus::Serving).await;
    }
    load.goes_on(200).await;
    load.storm(false);
    load.judge(&cluster).await;
}
