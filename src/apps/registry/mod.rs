//! A client of a schema registry, by the protocol of Confluent's: the broker's own, or another. Asks anew whenever it is
//! asked, and never keeps a schema.

mod refusal;
mod transport;
mod words;

use std::{collections::HashSet, sync::Arc};

use self::{
    transport::Transport,
    words::{Brought, Given, Row},
};
use super::{failure::Failure, patience::Patience};
use crate::schema::{Kind, Limits, Referenced, Schema};

pub use refusal::Refusal;
pub use words::Reference;

/// The highest id that a registry gives.
const LAST_ID: u32 = i32::MAX.cast_unsigned();

/// A registry. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Registry(Transport);

/// A schema that a registry has.
#[derive(Clone, Debug)]
pub struct Registered {
    /// By which payloads name it.
    pub id: u32,
    /// Ready to be used; it has the text and the kind.
    pub schema: Arc<Schema>,
    /// The others that it refers to, as it was registered with them.
    pub references: Vec<Reference>,
}

/// Asks again while what is in the way may pass, and says so on standard error when that begins.
pub async fn patiently<T, F>(patience: &mut Patience, mut ask: impl FnMut() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    loop {
        match patience.bound(ask()).await {
            Some(Err(Refusal::Passing(why))) if patience.again(None, &why).await => {}
            Some(answer) => return answer,
            None => return Err(Refusal::Passing("the registry did not answer in time".to_owned())),
        }
    }
}

/// What is to be done on the way to all that a schema refers to.
enum Step {
    Fetch(Reference),
    /// Everything that it needs itself is there.
    Add(String, Row),
}

impl Registry {
    /// The registry at a URL, as in `http://HOST:PORT/schema-registry`. A broker has one for each of its namespaces, and is
    /// told which; others do not care. Connects when it is first asked.
    pub fn new(url: &str, namespace: &str) -> Result<Self, Failure> {
        Ok(Registry(Transport::new(url, namespace)?))
    }

    /// The newest schema of a subject. [`Refusal::Missing`] if there is none, or an empty one.
    pub async fn latest(&self, subject: &str) -> Result<Registered, Refusal> {
        let row: Result<Row, _> = self.0.get(&["subjects", subject, "versions", "latest"], &[]).await;
        let url = self.0.url();
        let row =
            row.map_err(|refusal| refusal.of(format!("the registry at {url} has no schema of subject {subject:?}")))?;
        if row.schema.trim().is_empty() {
            let what = format!("the newest schema of subject {subject:?} is empty: register one that is not");
            return Err(Refusal::Missing(what));
        }
        let id = row.id.ok_or_else(|| self.0.strange("it gave a schema without its id"))?;
        self.ready(id, row).await
    }

    /// The schema of an id. [`Refusal::Missing`] if there is none.
    pub async fn by_id(&self, id: u32) -> Result<Registered, Refusal> {
        if !(1..=LAST_ID).contains(&id) {
            return Err(Refusal::Missing(format!("no schema has the id {id}: there are 1 to {LAST_ID}")));
        }
        let row: Result<Row, _> = self.0.get(&["schemas", "ids", &id.to_string()], &[]).await;
        let url = self.0.url();
        let row = row.map_err(|refusal| refusal.of(format!("the registry at {url} has no schema with the id {id}")))?;
        self.ready(id, row).await
    }

    /// Makes a schema a version of a subject, unless it is one. Answers its id, which may be another than in the registry
    /// that it is from.
    pub async fn register(&self, subject: &str, registered: &Registered) -> Result<u32, Refusal> {
        let Registered { schema, references, .. } = registered;
        let given: Given = self.0.post(&["subjects", subject, "versions"], &Brought::new(schema, references)).await?;
        Ok(given.id)
    }

    async fn ready(&self, id: u32, row: Row) -> Result<Registered, Refusal> {
        let kind = self.kind(&row)?;
        let needed = self.needed(&row).await?;
        let needed: Vec<_> = needed.iter().map(|(name, kind, text)| Referenced { name, kind: *kind, text }).collect();
        let schema = Schema::parse(kind, &row.schema, &needed).map_err(|broken| {
            Refusal::Other(format!("schema {id} of the registry at {} cannot be used: {broken}", self.0.url()))
        })?;
        Ok(Registered { id, schema: Arc::new(schema), references: row.references })
    }

    /// What a schema needs, and what that needs, each after what it needs itself.
    async fn needed(&self, row: &Row) -> Result<Vec<(String, Kind, String)>, Refusal> {
        let most = Limits::default().references;
        let (mut needed, mut known) = (Vec::new(), HashSet::new());
        let fetches = |references: &[Reference]| references.iter().rev().cloned().map(Step::Fetch).collect::<Vec<_>>();
        let mut steps = fetches(&row.references);
        while let Some(step) = steps.pop() {
            match step {
                Step::Fetch(reference) if known.insert(reference.name.clone()) => {
                    if known.len() > most {
                        let what = format!("its references lead to more than {most} others: refer to fewer");
                        return Err(Refusal::Other(what));
                    }
                    let row = self.version(&reference).await?;
                    let within = fetches(&row.references);
                    steps.push(Step::Add(reference.name, row));
                    steps.extend(within);
                }
                Step::Fetch(_) => {}
                Step::Add(name, row) => needed.push((name, self.kind(&row)?, row.schema)),
            }
        }
        Ok(needed)
    }

    async fn version(&self, reference: &Reference) -> Result<Row, Refusal> {
        let Reference { name, subject, version } = reference;
        let number = if *version < 0 { "latest".to_owned() } else { version.to_string() };
        // What others refer to may be deleted later, and they still need it.
        let found = self.0.get(&["subjects", subject, "versions", &number], &[("deleted", "true")]).await;
        found.map_err(|refusal| match refusal {
            Refusal::Missing(_) => Refusal::Other(format!(
                "{name:?} refers to version {number} of subject {subject:?}, which is not there: register it first"
            )),
            other => other,
        })
    }

    fn kind(&self, row: &Row) -> Result<Kind, Refusal> {
        let kind = row.schema_type.as_deref().unwrap_or(Kind::Avro.as_str());
        kind.parse().map_err(|_| self.0.strange(&format!("it has a schema of type {kind:?}, which is not known here")))
    }
}
