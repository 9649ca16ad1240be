//! `tilde review`: logs changes of files, and prints the important ones.
//!
//! It works off a durable subscription, so that nothing is missed while it is away. A change is acknowledged once its
//! line is in the log: after a crash in between it is logged again.

mod entry;
mod journal;

use std::{
    future,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use prost_types::FieldMask;
use rustix::system::uname;
use tokio::time;

use self::{entry::Entry, journal::Journal};
use super::{
    failure::Failure,
    gap,
    interrupt::Interrupt,
    output::{self, Format},
    pattern,
    remote::{self, Remote, Tenant},
    watch::name,
};
use crate::{
    client::{self, Backoff, Consumer, Delivery, Fault},
    clock::{Clock as _, SystemClock},
    pb::v1::{
        CreateSubscriptionRequest, DeliveryOrder, GetSubscriptionRequest, RetryPolicy, Subscription,
        UpdateSubscriptionRequest, subscriptions_client::SubscriptionsClient,
    },
    units::{Size, Span},
};

/// Log the changes that `tilde watch` publishes, and print the important ones
///
/// Each change is a line in the log. One is important if the word stands in the file's path: then it is printed too, with
/// its diff. Nothing is missed while this program is away, from its first start on. After a crash a line may be there twice.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which files: '/srv/docs/~' is all below that directory; quote the `~` where the shell would replace it
    #[arg(value_name = "PATTERN", default_value = "~")]
    patterns: Vec<String>,

    /// The log
    #[arg(long, value_name = "FILE", default_value = "reviewer_app.log")]
    log: PathBuf,

    /// How to write lines of the log, and what is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// The durable subscription, made if it is missing [default: one for this machine and this log]
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,

    /// Begin another log when it has so many bytes
    #[arg(long, value_name = "SIZE", default_value = "10MiB")]
    log_size: Size,

    /// Keep so many old logs, as FILE.1 and so on
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    log_files: u32,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde review                                           everything, into reviewer_app.log
  tilde review '/srv/docs/~' --log docs.log
  tilde review --format json --log changes.json --log-size 100MiB --log-files 20

A line:
  TIME - reviewer_app_file - INFO - TIME-OF-THE-CHANGE PATH";

/// Bytes of a subscription's name, as the contract allows.
const NAME_BYTES: usize = 255;
/// Changes that are logged together.
const TOGETHER: usize = 100;
/// How long the broker may take to confirm what is acknowledged after this program was stopped.
const LAST: Duration = Duration::from_millis(500);
/// How soon a log that cannot be written is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    pattern::warn(&args.patterns);
    remote::run(async {
        let mut interrupt = Interrupt::listen(0)?;
        let mut reviewer = Reviewer::new(&args)?;
        let consumer = tokio::select! {
            consumer = reviewer.begin() => consumer?,
            () = interrupt.wait() => return Ok(()),
        };
        reviewer.run(consumer, interrupt).await
    })
}

/// Logs what comes.
struct Reviewer<'a> {
    args: &'a Args,
    subscription: String,
    journal: Journal,
    coloured: bool,
}

impl<'a> Reviewer<'a> {
    fn new(args: &'a Args) -> anyhow::Result<Self> {
        let journal = Journal::open(&args.log, args.log_size.0, args.log_files);
        let journal = journal.map_err(|error| unwritable(args, &error).hint("name another --log"))?;
        let subscription = args.subscription.clone().map_or_else(|| args.default_name(), Ok)?;
        let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Reviewer { args, subscription, journal, coloured })
    }

    async fn begin(&self) -> anyhow::Result<Consumer> {
        self.subscribe().await?;
        let consume = self.args.remote.client(&self.args.tenant)?.consume(&self.subscription);
        let consumer = consume.window(TOGETHER as u32, 4 << 20).keep_leases(Duration::MAX).start();
        let (patterns, log) = (self.args.patterns.join(" "), self.args.log.display());
        let ready = format!("reviewing {patterns} as {}, log in {log}", self.subscription);
        match self.args.format {
            Format::Text => output::line(ready)?,
            // Standard output has an object a line.
            Format::Json => eprintln!("{ready}"),
        }
        Ok(consumer)
    }

    async fn run(&mut self, mut consumer: Consumer, mut interrupt: Interrupt) -> anyhow::Result<()> {
        let (mut trouble, mut gap) = (consumer.trouble(), consumer.gap());
        let mut broken = false;
        loop {
            tokio::select! {
                (deliveries, end) = together(&mut consumer) => {
                    tokio::select! {
                        reviewed = self.review(deliveries) => reviewed?,
                        () = interrupt.wait() => return Ok(()),
                    }
                    if let Some(fault) = end {
                        return Err(self.args.remote.failure(fault).into());
                    }
                }
                () = interrupt.wait() => {
                    // What is acknowledged is not logged again.
                    let _ = time::timeout(LAST, consumer.close()).await;
                    return Ok(());
                }
                Ok(()) = trouble.changed() => {
                    let fault = trouble.borrow_and_update().clone();
                    if let Some(fault) = fault.as_ref().filter(|_| !broken) {
                        eprintln!("disconnected: {fault}; trying until a broker answers, to go on there");
                    }
                    if broken && fault.is_none() {
                        eprintln!("connected again");
                    }
                    broken = fault.is_some();
                }
                Ok(()) = gap.changed() => {
                    let gap = *gap.borrow_and_update();
                    gap.iter().for_each(|gap| eprintln!("{}", gap::sentence(gap, gap::FULL)));
                }
            }
        }
    }

    /// Logs them, prints the important, and acknowledges all.
    async fn review(&mut self, deliveries: Vec<Delivery>) -> anyhow::Result<()> {
        let time = SystemClock.now();
        let (seconds, nanos) = time.parts();
        let time = output::time(Some(&prost_types::Timestamp { seconds, nanos: nanos / 1_000_000 * 1_000_000 }));
        let entry = |delivery: &'_ Delivery| Entry::new(&delivery.message, &time).logged(self.args.format);
        let lines: Vec<String> = deliveries.iter().map(entry).collect();
        self.log(&lines).await;
        let mut out = output::stdout();
        for delivery in &deliveries {
            let entry = Entry::new(&delivery.message, &time);
            if entry.is_important() {
                out.write_all(entry.printed(self.args.format, self.coloured).as_bytes())?;
            }
        }
        out.flush()?;
        drop(out);
        deliveries.into_iter().for_each(|delivery| drop(delivery.ack()));
        Ok(())
    }

    /// Appends the lines, as soon as there is room for them.
    async fn log(&mut self, lines: &[String]) {
        let mut told = false;
        while let Err(error) = self.journal.append(lines) {
            if !std::mem::replace(&mut told, true) {
                let failure = unwritable(self.args, &error);
                eprintln!("{failure}; tried again every {}, and nothing is acknowledged until then", Span(PAUSE));
            }
            time::sleep(PAUSE).await;
        }
        if told {
            eprintln!("the log {} is written again", self.args.log.display());
        }
    }

    /// Makes the subscription, or gives it the patterns that are asked for. Waits for the broker, if it is away.
    async fn subscribe(&self) -> Result<(), Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut told = false;
        loop {
            let fault = match self.try_subscribe().await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            let failure = self.args.remote.failure(fault.clone());
            if !fault.is_passing() {
                return Err(failure);
            }
            if !std::mem::replace(&mut told, true) {
                eprintln!("waiting for the broker: {failure}");
            }
            time::sleep(backoff.next(&SystemClock, fault.retry_delay)).await;
        }
    }

    async fn try_subscribe(&self) -> Result<(), Fault> {
        let Args { remote, tenant, patterns, .. } = self.args;
        let (name, namespace) = (self.subscription.clone(), tenant.namespace.clone());
        let mut subscriptions = SubscriptionsClient::new(client::connect(&remote.broker).await?);
        let get = GetSubscriptionRequest { name: name.clone(), namespace: namespace.clone() };
        let found = match subscriptions.get_subscription(get).await.map_err(Fault::from) {
            Ok(found) => found.into_inner().subscription.unwrap_or_default(),
            Err(fault) if fault.reason.as_deref() == Some("SUBSCRIPTION_NOT_FOUND") => {
                let subscription = Subscription {
                    name,
                    namespace,
                    topics: patterns.clone(),
                    // One reviewer writes the log, in order, and never gives a change up.
                    delivery_order: DeliveryOrder::Exclusive.into(),
                    retry_policy: Some(RetryPolicy { max_attempts: -1, ..RetryPolicy::default() }),
                    ..Subscription::default()
                };
                let request = CreateSubscriptionRequest { subscription: Some(subscription) };
                subscriptions.create_subscription(request).await?;
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        if found.stats.as_ref().is_some_and(|stats| stats.consumers > 0) {
            eprintln!("{} is worked off by another reviewer: this one stands by until that one ends", found.name);
        }
        let sorted = |patterns: &[String]| {
            let mut patterns = patterns.to_vec();
            patterns.sort();
            patterns.dedup();
            patterns
        };
        if sorted(&found.topics) != sorted(patterns) {
            let subscription =
                Some(Subscription { name, namespace, topics: patterns.clone(), ..Subscription::default() });
            let update_mask = Some(FieldMask { paths: vec!["topics".to_owned()] });
            subscriptions.update_subscription(UpdateSubscriptionRequest { subscription, update_mask }).await?;
        }
        Ok(())
    }
}

impl Args {
    /// The same for every start with this log on this machine, and for no other.
    fn default_name(&self) -> anyhow::Result<String> {
        let log = std::path::absolute(&self.log)?;
        let machine = uname();
        let machine = name::escaped(machine.nodename().to_bytes());
        let log = name::escaped(log.as_os_str().as_encoded_bytes());
        Ok(name::fit(format!("review:{machine}:{log}"), NAME_BYTES))
    }
}

/// The next deliveries, all that are there and one at least; and why there are no more, once it is over.
async fn together(consumer: &mut Consumer) -> (Vec<Delivery>, Option<Fault>) {
    let mut deliveries = Vec::new();
    while deliveries.len() < TOGETHER {
        let next = tokio::select! {
            biased;
            next = consumer.next() => next,
            () = future::ready(()), if !deliveries.is_empty() => break,
        };
        match next {
            Some(Ok(delivery)) => deliveries.push(delivery),
            Some(Err(fault)) => return (deliveries, Some(fault)),
            // It ends by itself only when it is told to.
            None => break,
        }
    }
    (deliveries, None)
}

fn unwritable(args: &Args, error: &io::Error) -> Failure {
    Failure::new(format!("the log {} cannot be written: {error}", args.log.display()))
}
