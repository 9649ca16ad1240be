//! Webhooks through the real binary: what a target is sent, and what its answer does.

mod answers;
mod attempts;
mod cluster;
mod formats;
mod many;
mod moving;
mod restart;
mod secrets;
mod targets;
mod verify;

use std::{future::Future, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{
    Tilde,
    receiver::{Received, Receiver, Reply},
};

/// Nothing that is waited for takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what no event tells of.
const LOOK: Duration = Duration::from_millis(20);
/// A secret of 24 bytes.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A broker that may push to this machine, and can be started again.
struct Rig {
    broker: Option<Tilde>,
    place: TempDir,
}

impl Rig {
    fn start() -> Rig {
        let place = tempfile::tempdir().unwrap();
        Rig { broker: Some(start(&place, "127.0.0.0/8, ::1")), place }
    }

    fn broker(&self) -> &Tilde {
        self.broker.as_ref().expect("it runs but for a moment")
    }

    /// Ends it as a power cut would, and starts another one that may push to these networks.
    fn restart(&mut self, allowed: &str) {
        self.broker.take().expect("it runs").kill();
        self.broker = Some(start(&self.place, allowed));
    }

    /// Creates the subscription `s` of `a/~` that pushes there.
    #[track_caller]
    fn create(&self, url: &str, flags: &[&str]) {
        self.create_as("s", url, flags);
    }

    #[track_caller]
    fn create_as(&self, name: &str, url: &str, flags: &[&str]) {
        let create = ["subscription", "create", name, "a/~", "--push-url", url];
        self.broker().run(&[&create[..], flags].concat()).ok();
    }

    #[track_caller]
    fn publish(&self, texts: impl IntoIterator<Item = impl ToString>) {
        let lines: Vec<_> = texts.into_iter().map(|text| text.to_string()).collect();
        self.broker().run_with(&["publish", "a/1", "--lines"], lines.join("\n").as_bytes()).ok();
    }

    /// What a subcommand says of the subscription `s`, an object a line.
    #[track_caller]
    fn sub(&self, args: &[&str]) -> Vec<Value> {
        self.broker().run(&[&["subscription"], args, &["--format", "json"]].concat()).json()
    }

    #[track_caller]
    fn show(&self) -> Value {
        self.sub(&["show", "s"]).remove(0)
    }

    /// Waits until the subscription is as it should be.
    async fn shows(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        soon(what, async {
            loop {
                let shown = self.show();
                if is_so(&shown) {
                    return shown;
                }
                tokio::time::sleep(LOOK).await;
            }
        })
        .await
    }

    async fn acked(&self, count: u64) {
        self.shows("the acknowledgements", |shown| shown["stats"]["acked"] == count).await;
    }

    /// The first dead letters of `s`, when there are so many: their reasons.
    async fn dead_letters(&self, count: usize) -> Vec<String> {
        let count = count.to_string();
        let read = ["subscribe", "$dead/s", "--from", "earliest", "--count", &count, "--format", "json"];
        let reading = self.broker().command(&read).spawn().unwrap();
        let read = soon("dead letters", tokio::task::spawn_blocking(|| crate::support::finish(reading))).await;
        let reason = |letter: Value| letter["attributes"]["tilde-reason"].as_str().unwrap().to_owned();
        read.unwrap().json().into_iter().map(reason).collect()
    }
}

fn start(place: &TempDir, allowed: &str) -> Tilde {
    Tilde::start_as(place.path(), &[], |mut command| {
        command.env("TILDE_WEBHOOKS_ALLOW_TARGETS", allowed).env("TILDE_LOG", "info,tilde=debug");
        command
    })
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

impl Receiver {
    async fn soon(&mut self) -> Received {
        soon("a push", self.next()).await
    }
}
