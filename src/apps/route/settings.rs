//! What a router is told: flags before its file before defaults. Unknown keys are refused with their place. Never opens
//! anything but the file, which it reads again when destinations may have changed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

use super::destination::{Configured, Destination};
use crate::{
    apps::{failure::Failure, level::Level, number, settings_file},
    client,
    units::{Span, above_zero},
};

/// What can be said on the command line.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    /// The file with the settings; its keys are named as the flags, with `_` for `-`, and others are refused. Its
    /// destinations are read again at SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// This router's name, in every event that it sends on and in every line of its log; required
    #[arg(long, value_name = "ID")]
    processor_id: Option<String>,

    /// The registry with the schemas: http://HOST:PORT, and a path if it has one; any that speaks Confluent's protocol
    /// [default: the broker's own]
    #[arg(long, value_name = "URL")]
    schema_registry_url: Option<String>,

    /// Where events come from; a schema of the subject TOPIC-value must be registered; required
    #[arg(long, value_name = "TOPIC")]
    source_topic: Option<String>,

    /// The durable subscription that all routers of a group share; made if it is missing, from the oldest event on; required
    #[arg(long, value_name = "NAME")]
    group_id: Option<String>,

    /// Settle so many events together [default: 100]
    #[arg(long, value_name = "N", value_parser = number::from_one)]
    batch_size_to_commit_offsets: Option<u64>,

    /// Or after this time, if there are fewer, as in 500ms; a bare number is seconds [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    commit_interval: Option<Duration>,

    /// Where events go; required, here or in the file. As JSON: {"FINANCE": {"output_topic": "finance", "output_subject": "processor.to.consumer-value"}}
    #[arg(long, value_name = "JSON")]
    destination_configurations: Option<String>,

    /// Taken for the sake of older command lines: answers are looked at as they come
    #[arg(long, value_name = "N", value_parser = number::from_one)]
    no_messages_before_poll_producers: Option<u64>,

    /// What is logged; what cannot be routed is logged as WARNING [default: INFO]
    #[arg(long, value_name = "LEVEL", value_enum, ignore_case = true)]
    log_level: Option<Level>,

    /// Where /metrics is served, as in 127.0.0.1:8091; port 0 takes any that is free [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Events that are under way at the same time, at most [default: 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_in_flight: Option<u32>,

    /// How long to try at the start while broker or registry cannot be reached [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = above_zero)]
    start_within: Option<Duration>,
}

/// The same in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    processor_id: Option<String>,
    bootstrap_server: Option<String>,
    schema_registry_url: Option<String>,
    source_topic: Option<String>,
    group_id: Option<String>,
    batch_size_to_commit_offsets: Option<u64>,
    #[serde(deserialize_with = "spelled_interval")]
    commit_interval: Option<Duration>,
    destination_configurations: Option<Configured>,
    no_messages_before_poll_producers: Option<u64>,
    #[serde(deserialize_with = "spelled")]
    log_level: Option<Level>,
    metrics: Option<SocketAddr>,
    max_in_flight: Option<u32>,
    start_within: Option<Span>,
}

/// What is in force as long as the router runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub processor_id: String,
    /// The broker's full URL, if the file names one.
    pub broker: Option<String>,
    /// The registry, if it is not the broker's own.
    pub registry: Option<String>,
    /// Where events come from.
    pub source_topic: String,
    /// The subscription.
    pub group_id: String,
    /// Events that are settled together.
    pub batch: usize,
    /// And after which time.
    pub interval: Duration,
    /// Of the log.
    pub level: Level,
    /// Where the counters are served.
    pub metrics: Option<SocketAddr>,
    /// Events under way.
    pub max_in_flight: u32,
    /// How long to try at the start.
    pub start_within: Duration,
}

impl Flags {
    /// With what the file says, if one is named.
    pub fn settings(&self) -> Result<(Settings, Vec<Destination>), Failure> {
        let file = self.config.as_deref().map_or(Ok(File::default()), settings_file::read)?;
        let destinations = self.destinations(file.destination_configurations.as_ref())?;
        let needed = |what: &str, flag: &Option<String>, file: Option<String>| {
            let value = flag.clone().or(file).filter(|value| !value.is_empty());
            value.ok_or_else(|| {
                let flag = what.replace('_', "-");
                Failure::usage(format!("{what} is missing: say it as --{flag}, or as {what} in the file of --config"))
            })
        };
        if self.source_topic.as_ref().or(file.source_topic.as_ref()).is_some_and(|topic| topic.contains('~')) {
            return Err(Failure::usage("source_topic is one topic, not a pattern: it has no `~`"));
        }
        let url = file.bootstrap_server.map(|url| client::full_url(&url)).transpose();
        let url = url.map_err(|error| Failure::usage(format!("bootstrap_server: {error}")))?;
        let batch = self.batch_size_to_commit_offsets.or(file.batch_size_to_commit_offsets).unwrap_or(100);
        let interval = self.commit_interval.or(file.commit_interval).unwrap_or(Duration::from_secs(1));
        let max_in_flight = self.max_in_flight.or(file.max_in_flight).unwrap_or(20_000);
        let start_within = self.start_within.or(file.start_within.map(|span| span.0));
        let source_topic = needed("source_topic", &self.source_topic, file.source_topic)?;
        no_circle(&source_topic, &destinations)?;
        if batch == 0 || interval.is_zero() || !(1..=100_000).contains(&max_in_flight) {
            return Err(Failure::usage(
                "batch_size_to_commit_offsets and commit_interval are above zero, and max_in_flight is 1 to 100000: one of \
                 them is not so",
            ));
        }
        let settings = Settings {
            processor_id: needed("processor_id", &self.processor_id, file.processor_id)?,
            broker: url,
            registry: self.schema_registry_url.clone().or(file.schema_registry_url),
            source_topic,
            group_id: needed("group_id", &self.group_id, file.group_id)?,
            batch: usize::try_from(batch).unwrap_or(usize::MAX),
            interval,
            level: self.log_level.or(file.log_level).unwrap_or(Level::Info),
            metrics: self.metrics.or(file.metrics),
            max_in_flight,
            start_within: start_within.unwrap_or(Duration::from_secs(30)),
        };
        Ok((settings, destinations))
    }

    /// The destinations as they are in the file now; None if there is no file that could have changed.
    pub fn read_again(&self) -> Option<Result<Vec<Destination>, Failure>> {
        let path = self.config.as_deref().filter(|_| self.destination_configurations.is_none())?;
        Some(settings_file::read(path).and_then(|file: File| {
            let destinations = self.destinations(file.destination_configurations.as_ref())?;
            let source = self.source_topic.as_ref().or(file.source_topic.as_ref());
            source.map_or(Ok(()), |source| no_circle(source, &destinations))?;
            Ok(destinations)
        }))
    }

    fn destinations(&self, file: Option<&Configured>) -> Result<Vec<Destination>, Failure> {
        let configured = match (&self.destination_configurations, file) {
            (Some(text), _) => Configured::from_json(text),
            (None, file) => Ok(file.cloned().unwrap_or_default()),
        };
        configured.and_then(|configured| configured.destinations()).map_err(|nonsense| {
            Failure::usage(format!("destination_configurations: {nonsense}")).hint(
                "as a flag: --destination-configurations '{\"FINANCE\": {\"output_topic\": \"finance\", \"output_subject\": \
                 \"processor.to.consumer-value\"}}'; in the file: [destination_configurations.FINANCE], with both below it",
            )
        })
    }
}

/// What was sent on must not come in again.
fn no_circle(source: &str, destinations: &[Destination]) -> Result<(), Failure> {
    match destinations.iter().find(|destination| destination.output_topic == source) {
        None => Ok(()),
        Some(Destination { name, .. }) => {
            let message = format!("destination {name:?} has the source topic {source:?} as output_topic: name another");
            Err(Failure::usage(message))
        }
    }
}

/// A time above zero; a bare number is seconds.
fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>().map(Duration::try_from_secs_f64) {
        Ok(Ok(interval)) if !interval.is_zero() => Ok(interval),
        Ok(_) => Err("write a time above zero, as in 1s or 500ms".to_owned()),
        Err(_) => above_zero(text),
    }
}

fn spelled<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Level>, D::Error> {
    let text = String::deserialize(from)?;
    let level = <Level as clap::ValueEnum>::from_str(&text, true);
    level.map(Some).map_err(|_| serde::de::Error::custom(format!("{text:?} is no level, as INFO is one")))
}

fn spelled_interval<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spelled {
        Seconds(f64),
        Text(String),
    }
    let text = match Spelled::deserialize(from)? {
        Spelled::Seconds(seconds) => seconds.to_string(),
        Spelled::Text(text) => text,
    };
    interval(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    const WHOLE: &str = "processor_id = \"r1\"\nsource_topic = \"events\"\ngroup_id = \"router\"\nlog_level = \"warning\"\n\
        commit_interval = 0.5\n[destination_configurations.finance]\noutput_topic = \"f\"\noutput_subject = \"s\"\n";

    fn settings(file: &str, words: &[&str]) -> Result<(Settings, Vec<Destination>), String> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("route.toml");
        fs::write(&path, file).unwrap();
        let config = ["tilde", "--config", path.to_str().unwrap()];
        let flags = Line::try_parse_from([&config, words].concat()).unwrap().flags;
        flags.settings().map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_defaults() {
        let words = ["--group-id", "other", "--commit-interval", "2"];
        let (found, destinations) = settings(WHOLE, &words).unwrap();
        assert_eq!((found.processor_id.as_str(), found.group_id.as_str(), found.batch), ("r1", "other", 100));
        assert_eq!((found.interval, found.level), (Duration::from_secs(2), Level::Warning));
        assert_eq!(
            settings(&format!("bootstrap_server = \"b\"\n{WHOLE}"), &[]).unwrap().0.broker.unwrap(),
            "http://b:7126"
        );
        assert_eq!(destinations[0].name, "FINANCE");
        assert_eq!(settings(WHOLE, &[]).unwrap().0.interval, Duration::from_millis(500));
        let json = r#"{"a": {"output_topic": "t", "output_subject": "s"}}"#;
        assert_eq!(settings(WHOLE, &["--destination-configurations", json]).unwrap().1[0].name, "A");
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_named() {
        for (file, expected) in [
            (WHOLE.replace("group_id = \"router\"\n", ""), "group_id is missing: say it as --group-id"),
            (WHOLE.replace("output_subject = \"s\"\n", ""), "destination \"finance\" has no output_subject"),
            (WHOLE.replace("0.5", "0"), "route.toml, line 5: write a time above zero"),
            (WHOLE.replace("warning", "loud"), "route.toml, line 4: \"loud\" is no level"),
            (WHOLE.replace("group_id", "group"), "route.toml, line 3: unknown field `group`"),
            (format!("max_in_flight = 0\n{WHOLE}"), "max_in_flight is 1 to 100000"),
            (WHOLE.replace("\"f\"", "\"events\""), "has the source topic \"events\" as output_topic"),
            (WHOLE.replace("\"events\"", "\"e~\""), "source_topic is one topic, not a pattern"),
        ] {
            let told = settings(&file, &[]).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
    }
}
