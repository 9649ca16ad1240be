//! What a broker is told before it starts, and where each setting came from: flags before environment before file
//! before defaults. Never opens anything but its file, and never does what a setting says.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use layers::{FILE, Flag, Invalid, Loaded, Origin, load, warnings};

use crate::{
    model::Cidr,
    units::{Size, Span},
};

mod layers;
mod strays;

/// Everything a broker can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port.
    pub listen: Listen,
    /// The directory of the embedded engine.
    pub data: PathBuf,
    /// Where messages are kept.
    pub engine: EngineKind,
    /// Listen on an address that others can reach, although there are no credentials.
    pub insecure: bool,
    /// What is logged.
    pub log: LogFilter,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Threads that serve; zero: one a core.
    pub worker_threads: usize,
    /// What clients may ask for.
    pub limits: Limits,
    /// The edge.
    pub server: Server,
    /// The embedded engine.
    pub storage: Storage,
    /// The JetStream engine.
    pub jetstream: JetStream,
    /// Other systems, served under their own addresses.
    pub profiles: Profiles,
    /// Messages that are sent on by HTTP.
    pub webhooks: Webhooks,
}

/// What clients may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct Limits {
    /// One message, encoded.
    pub message_bytes: Size,
}

/// The edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct Server {
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long streams may go on after a stop was asked for.
    pub drain_grace: Span,
    /// How long a new connection may take to say what it wants.
    pub handshake_timeout: Span,
    /// How long a request may take to arrive in full.
    pub request_timeout: Span,
    /// Pages that browsers may call for besides the broker's own, as in `https://app.example`; `*` is all.
    pub allow_origins: Vec<String>,
}

/// Other systems, each served as its clients know it, on a port of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a section of settings")]
pub struct Profiles {
    /// Topics, and a mailbox a user.
    pub mailbox: Mailbox,
    /// Schemas, as serializers ask for them.
    pub schema_registry: SchemaRegistry,
    /// Topics, pushed to URLs.
    pub webhook_inbox: WebhookInbox,
}

/// The profile `mailbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct Mailbox {
    /// Where it listens; nowhere if it is empty.
    pub listen: Door,
    /// In which namespace its topics and subscriptions are.
    pub namespace: String,
}

/// The profile `schema-registry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct SchemaRegistry {
    /// Where it listens; nowhere if it is empty.
    pub listen: Door,
    /// In which namespace its subjects are.
    pub namespace: String,
}

/// The profile `webhook-inbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct WebhookInbox {
    /// Where it listens; nowhere if it is empty.
    pub listen: Door,
    /// In which namespace its topics and subscriptions are.
    pub namespace: String,
    /// What subscribers are sent.
    pub body: InboxBody,
    /// The status for what is published to a topic without subscribers: 404 or 200.
    pub no_subscribers: u16,
    /// Refuse what does not say that it is JSON.
    pub require_content_type: bool,
    /// How long a subscriber has for its answer, and a publish for all of theirs.
    pub timeout: Span,
}

/// What subscribers of the profile `webhook-inbox` are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InboxBody {
    /// What was published, with `topic` and `message_timestamp_utc` in it.
    Flat,
    /// `{"topic":…,"data":…}`.
    Envelope,
}

/// The embedded engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct Storage {
    /// The newest messages in memory, over all namespaces.
    pub tail_bytes: Size,
    /// The largest file of a log.
    pub segment_max_bytes: Size,
    /// What is checked when a log is opened.
    pub verify: Verify,
}

/// The JetStream engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct JetStream {
    /// The NATS servers, with commas in between; any that can be reached will do.
    pub urls: String,
    /// A file with the credentials of a user; none if it is empty.
    pub credentials: PathBuf,
    /// Certificates of authorities to trust beside the system's; none if it is empty.
    pub root_certificates: PathBuf,
    /// Servers that keep each message.
    pub replicas: usize,
    /// The servers sync before they answer: `sync_interval: always`.
    pub synced: bool,
    /// Where the other brokers reach this one, as in 10.0.0.7:7126; empty: where it listens.
    pub address: String,
}

/// Messages that are sent on by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of settings")]
pub struct Webhooks {
    /// Networks that webhooks may go to although they are not public, as in 10.0.0.0/8.
    pub allow_targets: Vec<Cidr>,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// In the log on this machine's disk.
    Embedded,
    /// In memory: gone with the process.
    Memory,
    /// In a NATS JetStream cluster, which brokers share.
    JetStream,
}

/// How the process logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// What is checked when a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Every segment.
    All,
    /// Only the segment that was written last.
    Tail,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub SocketAddr);

/// An address and a port, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Door(pub Option<SocketAddr>);

/// What is logged: a level, or directives as `tracing` takes them (`info,tilde::engine=debug`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Listen(SocketAddr::from(([127, 0, 0, 1], 7126))),
            data: PathBuf::from("./tilde-data"),
            engine: EngineKind::Embedded,
            insecure: false,
            log: LogFilter("info".into()),
            log_format: LogFormat::Text,
            worker_threads: 0,
            limits: Limits::default(),
            server: Server::default(),
            storage: Storage::default(),
            jetstream: JetStream::default(),
            profiles: Profiles::default(),
            webhooks: Webhooks::default(),
        }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Mailbox { listen: Door::default(), namespace: crate::model::NamespaceName::default().to_string() }
    }
}

impl Default for SchemaRegistry {
    fn default() -> Self {
        SchemaRegistry { listen: Door::default(), namespace: crate::model::NamespaceName::default().to_string() }
    }
}

impl Default for WebhookInbox {
    fn default() -> Self {
        WebhookInbox {
            listen: Door::default(),
            namespace: crate::model::NamespaceName::default().to_string(),
            body: InboxBody::Flat,
            no_subscribers: 404,
            require_content_type: true,
            timeout: Span(Duration::from_secs(5)),
        }
    }
}

impl Default for JetStream {
    fn default() -> Self {
        JetStream {
            urls: "nats://127.0.0.1:4222".into(),
            credentials: PathBuf::new(),
            root_certificates: PathBuf::new(),
            replicas: 1,
            synced: false,
            address: String::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message_bytes: Size(crate::model::limits::MESSAGE_BYTES as u64) }
    }
}

impl Default for Server {
    fn default() -> Self {
        Server {
            max_connections: 65_536,
            drain_grace: Span(Duration::from_secs(5)),
            handshake_timeout: Span(Duration::from_secs(10)),
            request_timeout: Span(Duration::from_secs(30)),
            allow_origins: Vec::new(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage { tail_bytes: Size(64 << 20), segment_max_bytes: Size(128 << 20), verify: Verify::All }
    }
}

impl Config {
    /// Whether every number lies where it makes sense. The error says what is allowed.
    fn check_ranges(&self) -> Result<(), String> {
        let Config { limits, server, storage, profiles, .. } = self;
        if self.data.as_os_str().is_empty() {
            return Err("it is empty: name a directory, as in ./tilde-data".into());
        }
        within(limits.message_bytes, Size(1 << 10), Size(3 << 20))?;
        within(server.max_connections, 1, 1_000_000)?;
        within(server.drain_grace, Span(Duration::ZERO), Span(Duration::from_secs(300)))?;
        within(server.handshake_timeout, Span(Duration::from_millis(100)), Span(Duration::from_secs(300)))?;
        within(server.request_timeout, Span(Duration::from_millis(100)), Span(Duration::from_secs(3_600)))?;
        within(profiles.webhook_inbox.timeout, Span(Duration::from_secs(1)), Span(Duration::from_secs(30)))?;
        if ![200, 404].contains(&profiles.webhook_inbox.no_subscribers) {
            return Err(format!(
                "{} is no such status: 404 and 200 are allowed",
                profiles.webhook_inbox.no_subscribers
            ));
        }
        let Profiles { mailbox, schema_registry, webhook_inbox } = profiles;
        for namespace in [&mailbox.namespace, &schema_registry.namespace, &webhook_inbox.namespace] {
            crate::model::NamespaceName::parse(namespace).map_err(|error| error.message().to_owned())?;
        }
        within(storage.tail_bytes, Size(1 << 20), Size(1 << 40))?;
        within(storage.segment_max_bytes, Size(1 << 20), Size(1 << 30))?;
        within(self.worker_threads, 0, 1_024)
    }

    /// Refuses what brokers over one cluster could not work with. The error says what is allowed.
    pub fn check_cluster(&self) -> Result<(), String> {
        let JetStream { replicas, address, .. } = &self.jetstream;
        if self.engine != EngineKind::JetStream {
            return Ok(());
        }
        if ![1, 3, 5].contains(replicas) {
            return Err(format!("jetstream.replicas is {replicas}: 1, 3 and 5 are allowed"));
        }
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(char::is_whitespace));
        if !address.is_empty() && !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(format!("jetstream.address is {address:?}: a host and a port are needed, as in 10.0.0.7:7126"));
        }
        if address.is_empty() && self.listen.0.ip().is_unspecified() {
            return Err(format!(
                "the other brokers cannot reach this one at {}: say where with jetstream.address, as in 10.0.0.7:7126",
                self.listen
            ));
        }
        Ok(())
    }

    /// Refuses to be open by accident: as long as there are no credentials, whoever reaches the port may do
    /// everything.
    pub fn check_exposure(&self) -> Result<(), String> {
        let Profiles { mailbox, schema_registry, webhook_inbox } = &self.profiles;
        let all = [Some(self.listen.0), mailbox.listen.0, schema_registry.listen.0, webhook_inbox.listen.0];
        let open = all.into_iter().flatten().find(|address| !address.ip().is_loopback());
        let Some(open) = open.filter(|_| !self.insecure) else { return Ok(()) };
        Err(format!(
            "{open} can be reached from other machines, and there are no credentials: whoever reaches it could read and \
             write everything. Listen on 127.0.0.1, or allow it with --insecure (insecure = true)"
        ))
    }
}

fn within<T: PartialOrd + fmt::Display>(value: T, least: T, most: T) -> Result<(), String> {
    match value >= least && value <= most {
        true => Ok(()),
        false => Err(format!("{value} is out of range: from {least} to {most} is allowed")),
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The one name whose address needs nobody to be asked.
        let address = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        address.parse().map(Listen).map_err(|_| {
            format!(
                "{text:?} is no address to listen on: write an IP address and a port, as in 127.0.0.1:7126, \
                 0.0.0.0:7126 or [::1]:7126"
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Door {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "" => Ok(Door(None)),
            text => text.parse().map(|Listen(address)| Door(Some(address))),
        }
    }
}

impl From<Door> for String {
    fn from(door: Door) -> String {
        door.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        listen.to_string()
    }
}

impl LogFilter {
    /// The directives.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let refused = |why: &str| {
            Err(format!(
                "{text:?} {why}: write one of {}, or directives as in info,tilde::engine=debug",
                LEVELS.join(", ")
            ))
        };
        // Taken as a directive, a misspelt level would be the name of a module, and nothing would be logged.
        let word = !text.contains(['=', ',']);
        if word && !LEVELS.contains(&text.as_str()) {
            return refused("is no log level");
        }
        match tracing_subscriber::EnvFilter::try_new(&text) {
            Ok(_) => Ok(LogFilter(text)),
            Err(_) => refused("is no list of log directives"),
        }
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> String {
        filter.0
    }
}
