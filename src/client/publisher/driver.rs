//! Keeps a publisher's stream going: begins one, reads what the broker answers, and begins another when it breaks.

use std::{sync::Arc, time::Duration};

use http::uri::PathAndQuery;
use tokio::{pin, time, time::Instant};
use tonic::{Code, Request, Status, Streaming, client::Grpc};

use super::{
    PublisherOptions,
    frames::{Codec, Frames},
    shared::Shared,
    window::{Overtaken, Settled},
};
use crate::{
    client::{ANSWER_BYTES, Backoff, Client, Fault, broken::Broken, endpoint::silence},
    clock::SystemClock,
    pb::v1::{Closing, PublishFailure, PublishStreamRequest, PublishStreamResponse},
};

/// How long a stream may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
const PATH: &str = "/tilde.v1.Broker/PublishStream";

#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    options: PublisherOptions,
    producer_id: String,
    /// The user chose the name: another publisher of that name is meant to take over.
    named: bool,
    backoff: Backoff,
    /// Since when nothing was published.
    trouble: Option<Instant>,
}

/// Why a stream is over.
#[derive(Debug)]
enum End {
    /// Nothing is left to do.
    Done,
    /// Another one may do better.
    Broken(Broken),
    /// The broker does not want it. Perhaps it does later, when somebody tries again.
    Refused(Fault),
    /// Somebody else has this publisher's name.
    Replaced(Fault),
}

/// A stream that has begun.
type Answers = Streaming<PublishStreamResponse>;

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, options: PublisherOptions, producer_id: String, named: bool) -> Self {
        Driver { shared, options, producer_id, named, backoff: Client::backoff(), trouble: None }
    }

    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let expiry = shared.expire(self.options.patience);
        tokio::select! {
            never = expiry => match never {},
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        while !self.shared.state().is_done() {
            let end = self.stream().await;
            self.shared.state().lose_stream();
            match end {
                End::Done => break,
                End::Broken(broken) => self.pause(broken).await,
                End::Refused(fault) => {
                    self.shared.fail(&fault);
                    self.rest().await;
                }
                End::Replaced(fault) => return self.shared.end(fault),
            }
        }
        self.shared.end(Fault::invalid("this publisher was closed: it takes no messages".into()));
    }

    /// One stream from beginning to end.
    async fn stream(&mut self) -> End {
        let mut answers = match time::timeout(BEGIN_WITHIN, self.begin()).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(end)) => return end,
            Err(_) => return End::Broken(Broken::new(Fault::late())),
        };
        let silence = silence(self.options.heartbeat);
        let mut heard = Instant::now();
        let timer = time::sleep_until(heard + silence);
        pin!(timer);
        let mut closing = None;
        loop {
            tokio::select! {
                biased;
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        heard = Instant::now();
                        closing = self.take(answer, heard).or(closing);
                        if let Some(held) = self.shared.state().window.held_until() {
                            timer.as_mut().reset(held.min(heard + silence));
                        }
                    }
                    Ok(None) if self.shared.state().is_done() => return End::Done,
                    Ok(None) => return End::Broken(Broken::unasked().after(closing.as_ref())),
                    Err(status) => return self.ended(status, closing.as_ref()),
                },
                () = timer.as_mut() => {
                    if heard.elapsed() >= silence {
                        return End::Broken(Broken::new(Fault::late()));
                    }
                    let (waker, held) = {
                        let mut state = self.shared.state();
                        (state.waker(), state.window.held_until())
                    };
                    waker.into_iter().for_each(|waker| waker.wake());
                    let held = held.filter(|held| *held > Instant::now());
                    timer.as_mut().reset(held.unwrap_or(heard + silence).min(heard + silence));
                }
            }
        }
    }

    /// Connects, opens a stream, and asks which number comes next.
    async fn begin(&mut self) -> Result<Answers, End> {
        let channel = self.options.client.own_channel().await.map_err(|fault| End::Broken(Broken::new(fault)))?;
        let stream = self.shared.state().next_stream();
        let opening = PublishStreamRequest {
            producer_id: self.producer_id.clone(),
            heartbeat_interval: self.options.heartbeat.try_into().ok(),
            namespace: self.options.namespace.clone(),
            ..PublishStreamRequest::default()
        };
        let frames = Frames::new(self.shared.clone(), stream, opening);
        let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES);
        let ready = grpc.ready().await.map_err(|error| Fault::unreachable(&error));
        ready.map_err(|fault| End::Broken(Broken::new(fault)))?;
        let call = grpc.streaming(Request::new(frames), PathAndQuery::from_static(PATH), Codec);
        let mut answers = call.await.map_err(|status| self.ended(status, None))?.into_inner();
        let number = loop {
            match answers.message().await {
                Ok(Some(PublishStreamResponse { next_number: Some(number), .. })) => break number,
                Ok(Some(_)) => {}
                Ok(None) => return Err(End::Broken(Broken::unasked())),
                Err(status) => return Err(self.ended(status, None)),
            }
        };
        self.go_on(number).map_err(|Overtaken| End::Replaced(self.overtaken()))?;
        Ok(answers)
    }

    /// Sends from `number` on.
    fn go_on(&mut self, number: u64) -> Result<(), Overtaken> {
        let mut settled = Settled::default();
        let waker = {
            let mut state = self.shared.state();
            state.window.begin(number, &mut settled)?;
            state.set_live(true);
            state.waker()
        };
        self.shared.settle(settled);
        waker.into_iter().for_each(|waker| waker.wake());
        Ok(())
    }

    /// Acts on what the broker says. Returns its last words, if they are that.
    fn take(&mut self, answer: PublishStreamResponse, now: Instant) -> Option<Closing> {
        if !answer.published.is_empty() {
            self.prospers();
        }
        let mut settled = Settled::default();
        let mut deferred = None;
        let waker = {
            let mut state = self.shared.state();
            for run in &answer.published {
                state.window.published(run, &mut settled);
            }
            for PublishFailure { request, error } in answer.failures {
                let fault = Fault::from(error.unwrap_or_default());
                let news = match (fault.reason.as_deref(), fault.retry_delay) {
                    (Some("PRECEDING_FAILED"), _) => state.window.stranded(request, &fault),
                    (_, Some(_)) => state.window.deferred(request, &fault),
                    (_, None) => {
                        state.window.refused(request, fault, &mut settled);
                        continue;
                    }
                };
                deferred = news.then_some(fault).or(deferred);
            }
            if let Some(fault) = &deferred {
                let delay = self.backoff.next(&SystemClock, fault.retry_delay);
                state.window.hold(now + delay.min(self.trouble_left()));
            }
            if answer.closing.is_some() {
                state.set_live(false);
            }
            state.waker()
        };
        self.shared.settle(settled);
        waker.into_iter().for_each(|waker| waker.wake());
        if let Some(fault) = deferred {
            self.suffers(&fault);
        }
        answer.closing
    }

    /// A stream was ended by the broker, or by the connection.
    fn ended(&self, status: Status, closing: Option<&Closing>) -> End {
        let fault = Fault::from(status);
        let replaced = fault.reason.as_deref() == Some("PRODUCER_REPLACED");
        let broken = Broken::new(fault).after(closing);
        match broken {
            Broken { fault, .. } if replaced && self.named => End::Replaced(fault),
            // Nobody else has a name made by chance: it was an older stream of this publisher that came late.
            broken if replaced || broken.planned || broken.fault.is_passing() => End::Broken(broken),
            Broken { fault, .. } => End::Refused(fault),
        }
    }

    fn overtaken(&self) -> Fault {
        let message = format!("another publisher has published as {:?}: give each a name of its own", self.producer_id);
        Fault { reason: Some("PRODUCER_REPLACED".into()), ..Fault::new(Code::Aborted, message) }
    }

    /// Waits before the next stream.
    async fn pause(&mut self, broken: Broken) {
        let delay = self.backoff.next(&SystemClock, broken.asked).min(self.trouble_left());
        self.suffers(&broken.fault);
        let pause = time::sleep(delay);
        pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                // Somebody closes it, and nothing may be left to do.
                () = self.shared.work.notified() => {
                    if self.shared.state().is_done() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until somebody publishes something, or closes it.
    async fn rest(&mut self) {
        loop {
            {
                let mut state = self.shared.state();
                if state.is_done() || state.window.oldest().is_some() {
                    return;
                }
                state.rests = true;
            }
            self.shared.work.notified().await;
        }
    }

    fn prospers(&mut self) {
        self.backoff.reset();
        if self.trouble.take().is_some() {
            self.shared.trouble.send_replace(None);
        }
    }

    /// Something hinders publishing. If it has done so for too long, everything that waits is given up.
    fn suffers(&mut self, fault: &Fault) {
        self.shared.trouble.send_replace(Some(fault.clone()));
        self.trouble.get_or_insert_with(Instant::now);
        if self.trouble_left().is_zero() {
            self.shared.fail(fault);
            self.trouble = None;
        }
    }

    /// For how long trouble may still last.
    fn trouble_left(&self) -> Duration {
        let since = self.trouble.map_or(Duration::ZERO, |since| since.elapsed());
        self.options.trouble_limit.map_or(Duration::MAX, |limit| limit.saturating_sub(since))
    }
}
