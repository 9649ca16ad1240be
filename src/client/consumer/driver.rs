//! Keeps a consumer's stream going: begins one, reads what the broker says, and begins another when it breaks.

use std::{sync::Arc, time::Duration};

use tokio::{pin, time, time::Instant};
use tonic::{Status, Streaming};

use super::{Consume, requests::Requests, shared::Shared};
use crate::{
    client::{ANSWER_BYTES, Backoff, Client, Fault, broken::Broken, endpoint::silence},
    clock::{Clock as _, SystemClock},
    model::limits,
    pb::v1::{Attach, Closing, ConsumeResponse, Delivery, broker_client::BrokerClient},
};

/// How long a stream may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    client: Client,
    attach: Attach,
    backoff: Backoff,
}

/// Why a stream is over.
#[derive(Debug)]
enum End {
    /// The broker has ended it as it was asked to.
    Done,
    /// Another one may do better.
    Broken(Broken),
    /// The broker does not want it, and waiting does not mend that.
    Refused(Fault),
}

/// A stream that has begun.
type Answers = Streaming<ConsumeResponse>;

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, options: Consume) -> Self {
        Driver { shared, client: options.client, attach: options.attach, backoff: Client::backoff() }
    }

    pub(super) async fn run(mut self) {
        let fault = self.work().await;
        self.shared.end(fault);
    }

    /// Goes on until nothing is left to do, or nothing can be done, which is answered.
    async fn work(&mut self) -> Option<Fault> {
        while !self.shared.state().is_done() {
            if !self.shared.state().wants_stream() {
                // The application still has something.
                self.shared.work.notified().await;
                continue;
            }
            let end = self.stream().await;
            self.shared.change(|state, _| state.lose_stream());
            match end {
                End::Done => {}
                End::Broken(broken) => self.pause(broken).await,
                End::Refused(fault) => return Some(fault),
            }
        }
        None
    }

    /// One stream from beginning to end.
    async fn stream(&mut self) -> End {
        let mut answers = match time::timeout(BEGIN_WITHIN, self.begin()).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(end)) => return end,
            Err(_) => return End::Broken(Broken::new(Fault::late())),
        };
        let silence = silence(self.heartbeat());
        let mut heard = Instant::now();
        let timer = time::sleep_until(heard);
        pin!(timer);
        let mut closing = None;
        loop {
            // In any order: leases are extended also while there is always something to read.
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        heard = Instant::now();
                        closing = self.take(answer, heard).or(closing);
                        if let Some(due) = self.shared.state().book.next_due() && due < timer.deadline() {
                            timer.as_mut().reset(due);
                        }
                    }
                    // What was said and not answered was not heard.
                    Ok(None) if !self.shared.state().wants_stream() => return End::Done,
                    Ok(None) => return End::Broken(Broken::unasked().after(closing.as_ref())),
                    Err(status) => return ended(status, closing.as_ref()),
                },
                () = timer.as_mut() => {
                    if heard.elapsed() >= silence {
                        return End::Broken(Broken::new(Fault::late()));
                    }
                    let due = self.extend();
                    timer.as_mut().reset(due.unwrap_or(heard + silence).min(heard + silence));
                }
            }
        }
    }

    /// Connects, opens a stream, and waits for its first response.
    async fn begin(&mut self) -> Result<Answers, End> {
        let channel = self.client.own_channel().await.map_err(|fault| End::Broken(Broken::new(fault)))?;
        let stream = self.shared.state().next_stream();
        let requests = Requests::new(self.shared.clone(), stream, self.attach.clone());
        let mut broker = BrokerClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
        let call = broker.consume(requests).await;
        let mut answers = call.map_err(|status| ended(status, None))?.into_inner();
        match answers.message().await {
            Ok(Some(first)) => drop(self.take(first, Instant::now())),
            Ok(None) if !self.shared.state().wants_stream() => return Err(End::Done),
            Ok(None) => return Err(End::Broken(Broken::unasked())),
            Err(status) => return Err(ended(status, None)),
        }
        self.backoff.reset();
        self.shared.trouble.send_if_modified(|trouble| trouble.take().is_some());
        Ok(answers)
    }

    /// Acts on what the broker says. Returns its last words, if they are that.
    fn take(&self, answer: ConsumeResponse, now: Instant) -> Option<Closing> {
        let ConsumeResponse { deliveries, confirmations, attached, closing, gap, .. } = answer;
        let deadline = attached.and_then(|attached| attached.ack_deadline?.try_into().ok());
        self.shared.change(|state, answers| {
            state.begun = true;
            state.ack_deadline = deadline.unwrap_or(state.ack_deadline);
            for confirmation in confirmations {
                state.book.confirmed(confirmation, answers);
            }
            for delivery in deliveries {
                let deadline = time_left(&delivery).unwrap_or(state.ack_deadline);
                state.book.take(delivery, now, deadline);
            }
            if closing.is_some() || state.detached {
                // The stream ends soon: others can begin these earlier.
                state.book.give_back(0);
            }
        });
        if gap.is_some() {
            self.shared.gap.send_replace(gap);
        }
        closing
    }

    /// Extends leases. Returns when that is to be done again.
    fn extend(&self) -> Option<Instant> {
        self.shared.change(|state, _| {
            state.book.extend_due(Instant::now(), state.ack_deadline);
            state.book.next_due()
        })
    }

    /// Waits before the next stream.
    async fn pause(&mut self, broken: Broken) {
        let delay = self.backoff.next(&SystemClock, broken.asked);
        self.shared.trouble.send_replace(Some(broken.fault));
        let pause = time::sleep(delay);
        pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                // It may be closed, and nothing be left to do.
                () = self.shared.work.notified() => {
                    if self.shared.state().is_done() {
                        return;
                    }
                }
            }
        }
    }

    fn heartbeat(&self) -> Duration {
        let interval = self.attach.heartbeat_interval.and_then(|interval| interval.try_into().ok());
        interval.unwrap_or(limits::HEARTBEAT_DEFAULT)
    }
}

/// A stream was ended by the broker, or by the connection.
fn ended(status: Status, closing: Option<&Closing>) -> End {
    let broken = Broken::new(Fault::from(status)).after(closing);
    match broken.planned || broken.fault.is_passing() {
        true => End::Broken(broken),
        false => End::Refused(broken.fault),
    }
}

/// How long a delivery may take, if that is told.
fn time_left(delivery: &Delivery) -> Option<Duration> {
    let nanos = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let end = delivery.ack_deadline?;
    let (seconds, fraction) = SystemClock.now().parts();
    let left = nanos(end.seconds, end.nanos) - nanos(seconds, fraction);
    Some(Duration::from_nanos(left.max(0).try_into().ok()?))
}
