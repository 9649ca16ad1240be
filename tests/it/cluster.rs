//! Several brokers over one NATS cluster, through the binary: whoever is asked, it is one log and one set of
//! subscriptions, also when brokers and servers are killed, frozen, cut off, or restarted.

mod away;
mod calls;
mod faults;
mod load;
mod names;

use std::{future::Future, time::Duration};

use tempfile::TempDir;
use tilde::client::Client;
use tokio::time::timeout;

use crate::support::{Tilde, engine::WORKS, nats::Nats, ports::free_address, proxy::Proxy};

/// Nothing that is waited for takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const BROKERS: usize = 3;

/// Brokers over one cluster; each reaches it through a network of its own.
struct Cluster {
    nats: Nats,
    // One a broker, to each server.
    networks: Vec<Vec<Proxy>>,
    brokers: Vec<Tilde>,
    // One a broker, whoever runs there.
    places: Vec<TempDir>,
}

impl Cluster {
    /// Three brokers over three servers.
    async fn start() -> Self {
        Cluster::over(Nats::cluster()).await
    }

    async fn over(nats: Nats) -> Self {
        let mut cluster = Cluster { nats, networks: Vec::new(), brokers: Vec::new(), places: Vec::new() };
        for at in 0..BROKERS {
            let mut network = Vec::new();
            for url in cluster.nats.urls() {
                network.push(Proxy::to(&url).await);
            }
            cluster.networks.push(network);
            cluster.places.push(tempfile::tempdir().unwrap());
            let broker = cluster.broker(at, &free_address());
            cluster.brokers.push(broker);
        }
        cluster
    }

    fn broker(&self, at: usize, address: &str) -> Tilde {
        let urls: Vec<_> = self.networks[at].iter().map(|server| server.url.clone()).collect();
        let config = format!("[jetstream]\nreplicas = {}\n", self.nats.replicas());
        let place = self.places[at].path();
        std::fs::write(place.join("tilde.toml"), config).unwrap();
        // What the one before said counts no more.
        drop(std::fs::remove_file(place.join("stderr")));
        Tilde::start_in(place, &["--engine", "jetstream", "--nats", &urls.join(","), "--listen", address])
    }

    /// The one that works off the subscriptions, when there is one.
    async fn worker(&self) -> usize {
        self.worker_other_than(BROKERS).await
    }

    /// The same, when it is not that one any more.
    async fn worker_other_than(&self, not: usize) -> usize {
        let works = |broker: &Tilde| {
            let log = broker.logged();
            let last = log.lines().rfind(|line| line.contains("this broker") && line.contains("the subscriptions"));
            last.is_some_and(|line| line.contains(WORKS))
        };
        soon("a worker", async {
            loop {
                if let Some(at) = (0..BROKERS).find(|at| *at != not && works(&self.brokers[*at])) {
                    return at;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    async fn client(&self, at: usize) -> Client {
        Client::connect(&self.brokers[at].url).await.unwrap()
    }

    /// Ends a broker as a power cut would, and starts another one in its place.
    fn replace(&mut self, at: usize) {
        self.again(at, Tilde::kill);
    }

    /// Ends a broker in order, and starts another one in its place.
    fn renew(&mut self, at: usize) {
        self.again(at, Tilde::stop);
    }

    fn again(&mut self, at: usize, end: fn(Tilde)) {
        let address = self.brokers[at].url.trim_start_matches("http://").to_owned();
        end(self.brokers.remove(at));
        let broker = self.broker(at, &address);
        self.brokers.insert(at, broker);
    }

    /// A broker hears nothing of the servers any more, and reaches none; or it does again.
    fn cut_off(&self, at: usize, is_cut: bool) {
        for server in &self.networks[at] {
            server.down(is_cut);
            if is_cut {
                server.hush();
            }
        }
    }

    /// What all of them said.
    fn logs(&self) -> String {
        self.brokers.iter().map(|broker| format!("{}\n{}", broker.url, broker.logged())).collect()
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}
