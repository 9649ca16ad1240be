//! A world that follows from its seed: one broker, the real one, behind the real gRPC server; hosts with publishers and
//! consumers, and a network between them, simulated by turmoil; and a clerk, who opens the subscriptions and closes the
//! books. All time in it is simulated. Never judges: what was seen is a `History`.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use tilde::{
    broker::{self, Broker},
    clock::{Clock, ManualClock},
    model::Timestamp,
    pb::v1::{
        self as pb, CreateSubscriptionRequest, DeadLetterPolicy, DeliveryOrder, GetSubscriptionRequest, RetryPolicy,
        StartPosition, SubscribeRequest, Subscription,
        broker_client::BrokerClient,
        start_position::{Position, Preset},
        subscriptions_client::SubscriptionsClient,
    },
    server::{self, Bound, Listen},
    shutdown::Shutdown,
    telemetry::Metrics,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

use super::{
    bugs::{self, Bug},
    chaos::Chaos,
    consumer,
    disk::Disk,
    history::{At, Book, History, Message, Order, Rules, What},
    publisher,
};
use crate::support::dice::Dice;

/// How long everything goes wrong; then nothing does any more.
const STORM: Duration = Duration::from_secs(10);
/// All must be done with so long after that.
const CALM: Duration = Duration::from_secs(120);
/// The simulation goes on in steps.
const TICK: Duration = Duration::from_millis(10);
/// Nobody waits longer for an answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Publishers first, then consumers.
pub const HOSTS: [&str; 5] = ["publisher-0", "publisher-1", "consumer-0", "consumer-1", "consumer-2"];
pub const PUBLISHERS: usize = 2;
pub const BROKER: &str = "broker";
pub const CLERK: &str = "clerk";
const PORTS: [u16; 2] = [7126, 7127];

/// What the subscriptions ask for.
pub fn rules() -> Vec<Rules> {
    let seconds = Duration::from_secs;
    let jobs = |message: &Message| message.topic.starts_with("jobs/");
    let loud = |message: &Message| message.topic.starts_with("jobs/") && message.loud;
    let plain = |message: &Message| message.topic == "misc" || message.topic.starts_with("jobs/a");
    vec![
        Rules { name: "by-key", order: Order::Key, ack_deadline: seconds(2), max_attempts: Some(6), wants: jobs },
        Rules { name: "one", order: Order::Exclusive, ack_deadline: seconds(3), max_attempts: None, wants: loud },
        Rules { name: "plain", order: Order::Shared, ack_deadline: seconds(1), max_attempts: Some(3), wants: plain },
    ]
}

/// The same as clients say it.
fn subscription(rules: &Rules) -> Subscription {
    let (topics, filter) = match rules.order {
        Order::Shared => (vec!["misc".to_owned(), "jobs/a~".to_owned()], ""),
        Order::Key => (vec!["jobs/~".to_owned()], ""),
        Order::Exclusive => (vec!["jobs/~".to_owned()], "attributes.loud == 'true'"),
    };
    let order = match rules.order {
        Order::Shared => DeliveryOrder::Shared,
        Order::Key => DeliveryOrder::Key,
        Order::Exclusive => DeliveryOrder::Exclusive,
    };
    let millis = |millis| Some(duration(Duration::from_millis(millis)));
    Subscription {
        name: rules.name.into(),
        topics,
        filter: filter.into(),
        delivery_order: order.into(),
        ack_deadline: Some(duration(rules.ack_deadline)),
        retry_policy: Some(RetryPolicy {
            min_backoff: millis(100),
            max_backoff: millis(1_000),
            multiplier: 2.0,
            max_attempts: rules.max_attempts.map_or(-1, |most| most as i32),
        }),
        dead_letter_policy: Some(DeadLetterPolicy::default()),
        start: Some(StartPosition { position: Some(Position::Preset(Preset::Earliest.into())) }),
        ..Default::default()
    }
}

pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The subscriptions are made.
    Building,
    /// Everything goes wrong.
    Storm,
    /// Nothing goes wrong any more.
    Calm,
    /// All is done with.
    Over,
}

/// What those in a world share.
#[derive(Clone)]
pub struct Scene {
    pub book: Book,
    stage: Rc<Cell<Stage>>,
    changed: Rc<Notify>,
    /// Publishers who are at work.
    pub publishing: Rc<Cell<usize>>,
    /// Consumers go to other ports of the broker by their number.
    ports: usize,
}

impl Scene {
    pub fn write(&self, what: What) {
        self.book.write(now(), what);
    }

    /// Ends when it has come so far.
    pub async fn reached(&self, stage: Stage) {
        while self.stage() < stage {
            self.changed.notified().await;
        }
    }

    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.changed.notify_waiters();
    }

    /// A connection of its own, made when it is needed first.
    pub fn connect(&self, number: usize) -> Channel {
        let port = PORTS[number % self.ports];
        let connector = tower::service_fn(move |_| async move {
            let io = TcpStream::connect((BROKER, port)).await?;
            Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(io))
        });
        Endpoint::from_static("http://broker")
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector)
    }
}

/// Since the world began, on the host that asks.
pub fn now() -> At {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Simulated time, and chance by the seed.
#[derive(Debug)]
struct SimClock(ManualClock);

/// The wall time when the world begins, in nanoseconds since 1970.
const BEGINNING: i64 = 1_800_000_000_000_000_000;

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(BEGINNING).plus(now())
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

/// One port of the simulated network.
struct Port(TcpListener);

impl Listen for Port {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(self.0.accept().await?.0)
    }

    fn set_up(_: &TcpStream, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// One run of a broker: until it is asked to stop, or is no more.
async fn serve(
    port: u16,
    disk: Arc<Disk>,
    clock: Arc<dyn Clock>,
    bug: Option<Bug>,
    asked: Shutdown,
) -> turmoil::Result {
    // The time on a host that was just started is not known before it has run.
    sleep(Duration::from_millis(1)).await;
    let (metrics, address) = (Arc::new(Metrics::default()), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let engine = bugs::plant(bug, disk.start());
    let listener = Port(TcpListener::bind(address).await?);
    let broker = Broker::open(engine.clone(), clock, metrics.clone(), broker::Config::default()).await?;
    let config = server::Config {
        keepalive_interval: Duration::from_secs(3),
        keepalive_timeout: Duration::from_secs(2),
        drain_grace: Duration::from_secs(1),
        ..server::Config::default()
    };
    Bound::over(listener, address, config).serve(broker, metrics, asked.requested()).await;
    Ok(engine.close().await?)
}

/// What happens in the world of a seed, with a bug if one is planted.
pub fn run(seed: u64, bug: Option<Bug>) -> History {
    let mut dice = Dice::of(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(dice.roll(u64::MAX))
        .enable_random_order()
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(30))
        .simulation_duration(STORM + 2 * CALM)
        .build();
    let clock: Arc<dyn Clock> =
        Arc::new(SimClock(ManualClock::new(Timestamp::from_nanos(BEGINNING), dice.roll(u64::MAX))));
    let disk = Disk::new(clock.clone(), dice.split());
    let brokers = if bug == Some(Bug::SecondBroker) { 2 } else { 1 };
    let scene = Scene {
        book: Book::default(),
        stage: Rc::new(Cell::new(Stage::Building)),
        changed: Rc::default(),
        publishing: Rc::new(Cell::new(PUBLISHERS)),
        ports: brokers,
    };
    let asked = Arc::new(Mutex::new(Shutdown::default()));
    let ask = asked.clone();
    sim.host(BROKER, move || {
        let asked = Shutdown::default();
        *ask.lock().unwrap() = asked.clone();
        let (disk, clock) = (disk.clone(), clock.clone());
        async move {
            let serve = |port| serve(port, disk.clone(), clock.clone(), bug, asked.clone());
            let second = async {
                sleep(Duration::from_millis(100)).await;
                if brokers == 2 { serve(PORTS[1]).await } else { Ok(()) }
            };
            let (first, second) = tokio::join!(serve(PORTS[0]), second);
            first.and(second)
        }
    });
    for (host, name) in HOSTS.iter().enumerate() {
        let (scene, mut dice) = (scene.clone(), dice.split());
        match host < PUBLISHERS {
            true => sim.client(*name, publisher::publish(scene, host, dice)),
            false => sim.client(*name, async move {
                let mut all = tokio::task::JoinSet::new();
                for subscription in 0..rules().len() {
                    all.spawn_local(consumer::consume(scene.clone(), host, subscription, dice.split()));
                }
                if host == PUBLISHERS {
                    all.spawn_local(consumer::pull(scene, host, 2, dice.split()));
                }
                all.join_all().await;
                Ok(())
            }),
        }
    }
    sim.client(CLERK, clerk(scene.clone()));
    let chaos = RefCell::new(Chaos::new(dice, STORM, asked));
    loop {
        chaos.borrow_mut().step(&mut sim, &scene);
        match sim.step() {
            Ok(false) => {}
            Ok(true) => return scene.book.close(rules()),
            Err(error) => panic!("the world of seed {seed} ended: {error}"),
        }
    }
}

/// Opens the subscriptions, waits until all is done with, and writes down what is dead.
async fn clerk(scene: Scene) -> turmoil::Result {
    let channel = scene.connect(0);
    let mut subscriptions = SubscriptionsClient::new(channel.clone());
    for rules in rules() {
        let request = CreateSubscriptionRequest { subscription: Some(subscription(&rules)) };
        while subscriptions.create_subscription(request.clone()).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    }
    scene.enter(Stage::Storm);
    scene.reached(Stage::Calm).await;
    let end = now() + CALM;
    while now() < end && !is_done(&scene, &mut subscriptions).await {
        sleep(Duration::from_millis(200)).await;
    }
    for (subscription, sequence, at) in dead_letters(channel).await? {
        scene.write(What::Dead { subscription, sequence, at });
    }
    scene.enter(Stage::Over);
    Ok(())
}

async fn is_done(scene: &Scene, subscriptions: &mut SubscriptionsClient<Channel>) -> bool {
    if scene.publishing.get() > 0 {
        return false;
    }
    for rules in rules() {
        let request = GetSubscriptionRequest { name: rules.name.into(), ..Default::default() };
        let Ok(Ok(answer)) = timeout(PATIENCE, subscriptions.get_subscription(request)).await else { return false };
        let stats = answer.into_inner().subscription.unwrap_or_default().stats.unwrap_or_default();
        if stats.backlog_messages > 0 {
            return false;
        }
    }
    true
}

async fn dead_letters(channel: Channel) -> Result<Vec<(usize, u64, At)>, tonic::Status> {
    let request = SubscribeRequest {
        topics: vec!["$dead/~".into()],
        start: Some(StartPosition { position: Some(Position::Preset(Preset::Earliest.into())) }),
        stop_at_end: true,
        ..Default::default()
    };
    let mut stream = BrokerClient::new(channel).subscribe(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(response) = stream.message().await? {
        all.extend(response.messages.iter().map(dead_letter));
    }
    Ok(all)
}

fn dead_letter(letter: &pb::Message) -> (usize, u64, At) {
    let said = |key: &str| letter.attributes[key].as_str();
    let subscription = rules().iter().position(|rules| rules.name == said("tilde-subscription")).unwrap();
    let time = letter.publish_time.unwrap();
    let nanos = time.seconds * 1_000_000_000 + i64::from(time.nanos) - BEGINNING;
    (subscription, said("tilde-sequence").parse().unwrap(), Duration::from_nanos(nanos as u64))
}
