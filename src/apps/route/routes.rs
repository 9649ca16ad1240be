//! All destinations with their lanes, and how they change. What events are written in is asked of the registry before
//! anything changes, so that a configuration that makes no sense changes nothing.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    destination::Destination,
    event::{OUTPUT, Output},
    lane::{Lane, Leaving, Report},
    measures::Measures,
};
use crate::{
    apps::{
        patience::Patience,
        registry::{Refusal, Registry, patiently},
    },
    client::Client,
};

/// A destination that can be used.
#[derive(Debug)]
pub struct Prepared {
    destination: Destination,
    output: Output,
}

/// The lanes by their destinations' canonical names.
#[derive(Debug)]
pub struct Routes {
    client: Client,
    lanes: HashMap<Arc<str>, Lane>,
    /// Those of destinations that are there no longer.
    leaving: HashMap<Arc<str>, Leaving>,
    reports: UnboundedSender<Report>,
    measures: Measures,
}

/// Fetches what events of these destinations are written in. Each schema becomes one of the subject `TOPIC-value` too, by
/// which readers of the topic find it.
pub async fn prepare(
    registry: &Registry,
    destinations: Vec<Destination>,
    patience: &mut Patience,
) -> Result<Vec<Prepared>, Refusal> {
    let mut prepared = Vec::new();
    for destination in destinations {
        let Destination { name, output_topic, output_subject } = &destination;
        let found = patiently(patience, || registry.latest(output_subject)).await;
        let registered = found.map_err(|refusal| about(refusal, name, output_subject))?;
        let writer = registered.schema.writer(&OUTPUT).map_err(|broken| {
            Refusal::Other(format!(
                "destination {name}: events cannot be written in the schema of subject {output_subject:?}: {broken}"
            ))
        })?;
        let own = format!("{output_topic}-value");
        let schema_id = match own == *output_subject {
            true => registered.id,
            false => {
                let id = patiently(patience, || registry.register(&own, &registered)).await;
                id.map_err(|refusal| about(refusal, name, &own))?
            }
        };
        let output = Output { topic: output_topic.clone(), schema_id, writer };
        prepared.push(Prepared { destination, output });
    }
    Ok(prepared)
}

/// With the destination that it is about.
fn about(refusal: Refusal, destination: &str, subject: &str) -> Refusal {
    let what = format!("destination {destination}, subject {subject:?}: {refusal}");
    match refusal {
        Refusal::Missing(_) => Refusal::Missing(what),
        Refusal::Passing(_) => Refusal::Passing(what),
        Refusal::Other(_) => Refusal::Other(what),
    }
}

impl Routes {
    /// None yet. What becomes of events is reported there.
    pub fn new(client: Client, reports: UnboundedSender<Report>, measures: Measures) -> Self {
        Routes { client, lanes: HashMap::new(), leaving: HashMap::new(), reports, measures }
    }

    /// The lane to a destination.
    pub fn lane(&self, name: &str) -> Option<&Lane> {
        self.lanes.get(name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Events that are on their way.
    pub fn waiting(&self) -> usize {
        self.lanes.values().map(Lane::waiting).sum()
    }

    /// How many are on their way to each, for whoever counts.
    pub fn measure(&self) {
        for lane in self.lanes.values() {
            self.measures.in_flight(lane.name(), lane.waiting());
        }
    }

    /// Goes by these from now on. What is on its way arrives where it was sent, before anything else goes to that
    /// destination. Answers what has changed, in words.
    pub fn change(&mut self, prepared: Vec<Prepared>) -> Vec<String> {
        let mut before = std::mem::take(&mut self.lanes);
        self.leaving.retain(|_, leaving| !leaving.has_left());
        let mut changes = Vec::new();
        for Prepared { destination, output } in prepared {
            let Destination { name, output_subject, .. } = destination;
            let name: Arc<str> = name.into();
            let earlier = before.remove(&name);
            let same = |lane: &Lane| {
                (&lane.output.topic, lane.output.schema_id, &lane.subject)
                    == (&output.topic, output.schema_id, &output_subject)
            };
            let lane = match earlier {
                Some(lane) if same(&lane) => lane,
                earlier => {
                    let verb = if earlier.is_some() { "changes" } else { "is there" };
                    let earlier = earlier.map(Lane::leave).or_else(|| self.leaving.remove(&name));
                    changes.push(format!("{name} {verb}: topic {:?}, schema {}", output.topic, output.schema_id));
                    self.measures.refuses(&name, false);
                    Lane::open(&self.client, name.clone(), (output, output_subject), earlier, self.reports.clone())
                }
            };
            self.lanes.insert(name, lane);
        }
        for (name, lane) in before {
            self.measures.forget(&name);
            changes.push(format!("{name} is there no longer"));
            self.leaving.insert(name, lane.leave());
        }
        changes
    }
}
