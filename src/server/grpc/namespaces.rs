//! The `Namespaces` service.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::convert::{self, PageRequest};
use crate::{
    broker::{Broker, Change, Versioned},
    model::{Enforcement, Error, Namespace, NamespaceName, Reason, Result, TopicSchema},
    pb::{server::namespaces_server, v1 as pb},
};

/// Keeps the namespaces.
#[derive(Clone)]
pub struct NamespacesService(pub Arc<Broker>);

#[tonic::async_trait]
impl namespaces_server::Namespaces for NamespacesService {
    async fn create_namespace(
        &self,
        request: Request<pb::CreateNamespaceRequest>,
    ) -> Result<Response<pb::CreateNamespaceResponse>, Status> {
        let wanted = request.into_inner().namespace.unwrap_or_default();
        let namespace = parse(parse_name(&wanted.name, "namespace.name")?, &wanted)?;
        let (created, _) = self.0.create_namespace(namespace).await.map_err(called("namespace.name"))?;
        Ok(Response::new(pb::CreateNamespaceResponse { namespace: Some(answer(created)) }))
    }

    async fn get_namespace(
        &self,
        request: Request<pb::GetNamespaceRequest>,
    ) -> Result<Response<pb::GetNamespaceResponse>, Status> {
        let name = parse_name(&request.into_inner().name, "name")?;
        let found = self.0.get_namespace(&name).await.map_err(called("name"))?;
        Ok(Response::new(pb::GetNamespaceResponse { namespace: Some(answer(found)) }))
    }

    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> Result<Response<pb::ListNamespacesResponse>, Status> {
        let request = request.into_inner();
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let rows = self.0.list_namespaces(&page.after, page.wanted()).await?;
        let mut namespaces: Vec<_> = rows.into_iter().map(answer).collect();
        let next_page_token = page.cut(&mut namespaces, pb::Namespace::encoded_len, |namespace| &namespace.name);
        Ok(Response::new(pb::ListNamespacesResponse { namespaces, next_page_token }))
    }

    async fn update_namespace(
        &self,
        request: Request<pb::UpdateNamespaceRequest>,
    ) -> Result<Response<pb::UpdateNamespaceResponse>, Status> {
        let request = request.into_inner();
        let wanted = request.namespace.unwrap_or_default();
        let name = parse_name(&wanted.name, "namespace.name")?;
        let etag = wanted.etag.clone();
        let change = parse_change(wanted, request.update_mask)?;
        let updated = self.0.update_namespace(&name, &etag, change).await.map_err(called("namespace.name"))?;
        Ok(Response::new(pb::UpdateNamespaceResponse { namespace: Some(answer(updated)) }))
    }

    async fn delete_namespace(
        &self,
        request: Request<pb::DeleteNamespaceRequest>,
    ) -> Result<Response<pb::DeleteNamespaceResponse>, Status> {
        let name = parse_name(&request.into_inner().name, "name")?;
        self.0.delete_namespace(&name).await.map_err(called("name"))?;
        Ok(Response::new(pb::DeleteNamespaceResponse {}))
    }
}

/// One setting: what it is called in an update mask, whether a request gives it, and how it is taken over. What is
/// taken over without being given goes back to what nobody chose.
struct Setting {
    path: &'static str,
    is_given: fn(&pb::Namespace) -> bool,
    put: fn(&mut Namespace, &pb::Namespace) -> Result<()>,
}

const SETTINGS: [Setting; 9] = [
    Setting {
        path: "max_age",
        is_given: |from| from.max_age.is_some(),
        put: |to, from| parse_duration(from.max_age, "max_age", |set| set.max_age).map(|age| to.max_age = age),
    },
    Setting {
        path: "max_bytes",
        is_given: |from| from.max_bytes.is_some(),
        put: |to, from| {
            to.max_bytes = from.max_bytes.unwrap_or(unchosen().max_bytes);
            Ok(())
        },
    },
    Setting {
        path: "durability",
        is_given: |from| from.durability != pb::Durability::Unspecified as i32,
        put: |to, from| {
            let durability = convert::parse_durability(from.durability, "namespace.durability")?;
            to.durability = durability.unwrap_or(unchosen().durability);
            Ok(())
        },
    },
    Setting {
        path: "deduplication_window",
        is_given: |from| from.deduplication_window.is_some(),
        put: |to, from| {
            parse_duration(from.deduplication_window, "deduplication_window", |set| set.deduplication_window)
                .map(|window| to.deduplication_window = window)
        },
    },
    Setting {
        path: "max_messages_per_second",
        is_given: |from| from.max_messages_per_second.is_some(),
        put: |to, from| {
            to.max_messages_per_second = from.max_messages_per_second;
            Ok(())
        },
    },
    Setting {
        path: "max_bytes_per_second",
        is_given: |from| from.max_bytes_per_second.is_some(),
        put: |to, from| {
            to.max_bytes_per_second = from.max_bytes_per_second;
            Ok(())
        },
    },
    Setting {
        path: "max_streams",
        is_given: |from| from.max_streams.is_some(),
        put: |to, from| {
            to.max_streams = from.max_streams;
            Ok(())
        },
    },
    Setting {
        path: "max_subscriptions",
        is_given: |from| from.max_subscriptions.is_some(),
        put: |to, from| {
            to.max_subscriptions = from.max_subscriptions;
            Ok(())
        },
    },
    Setting {
        path: "topic_schemas",
        is_given: |from| !from.topic_schemas.is_empty(),
        put: |to, from| {
            let rules = from.topic_schemas.iter().enumerate().map(|(at, rule)| {
                parse_topic_schema(rule).map_err(|error| error.within(format_args!("namespace.topic_schemas[{at}]")))
            });
            to.topic_schemas = rules.collect::<Result<_>>()?;
            Ok(())
        },
    },
];

const ENFORCEMENTS: [(Enforcement, pb::SchemaEnforcement); 3] = [
    (Enforcement::Off, pb::SchemaEnforcement::Off),
    (Enforcement::Warn, pb::SchemaEnforcement::Warn),
    (Enforcement::Enforce, pb::SchemaEnforcement::Enforce),
];

fn parse_topic_schema(rule: &pb::TopicSchema) -> Result<TopicSchema> {
    let enforcement = match rule.enforcement {
        0 => Enforcement::default(),
        value => match ENFORCEMENTS.iter().find(|(_, word)| i32::from(*word) == value) {
            Some((enforcement, _)) => *enforcement,
            None => return Err(convert::unknown_value(value, "enforcement")),
        },
    };
    TopicSchema::parse(&rule.pattern, enforcement, &rule.subject)
}

fn topic_schema(rule: &TopicSchema) -> pb::TopicSchema {
    let (_, enforcement) = ENFORCEMENTS.iter().find(|(known, _)| *known == rule.enforcement).expect("all are listed");
    let (pattern, subject) = (rule.pattern.to_string(), rule.subject.to_string());
    pb::TopicSchema { pattern, enforcement: (*enforcement).into(), subject }
}

/// The settings that nobody chose.
fn unchosen() -> Namespace {
    Namespace::new(NamespaceName::default())
}

fn parse_duration(
    given: Option<prost_types::Duration>,
    path: &str,
    unchosen_one: fn(Namespace) -> Duration,
) -> Result<Duration> {
    match given {
        Some(given) => convert::parse_duration(given, &format!("namespace.{path}")),
        None => Ok(unchosen_one(unchosen())),
    }
}

/// In: a namespace of that name with all that the request gives.
pub fn parse(name: NamespaceName, wanted: &pb::Namespace) -> Result<Namespace> {
    let mut namespace = Namespace::new(name);
    for setting in SETTINGS.iter().filter(|setting| (setting.is_given)(wanted)) {
        (setting.put)(&mut namespace, wanted)?;
    }
    Ok(namespace)
}

/// What an update changes: the settings in the mask, or without one those that the request gives.
fn parse_change(wanted: pb::Namespace, mask: Option<prost_types::FieldMask>) -> Result<Change> {
    let mask = mask.unwrap_or_default().paths;
    let mut chosen = Vec::new();
    for path in &mask {
        chosen.push(SETTINGS.iter().find(|setting| setting.path == path).ok_or_else(|| unknown_path(path))?);
    }
    if mask.is_empty() {
        chosen.extend(SETTINGS.iter().filter(|setting| (setting.is_given)(&wanted)));
    }
    // Tried on a namespace that nobody keeps, so that a bad value is refused before the broker is asked.
    let mut trial = unchosen();
    for setting in &chosen {
        (setting.put)(&mut trial, &wanted)?;
    }
    Ok(Box::new(move |namespace| chosen.iter().try_for_each(|setting| (setting.put)(namespace, &wanted))))
}

fn unknown_path(path: &str) -> Error {
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.path).collect();
    let path: String = path.chars().take(64).collect();
    let message = format!("update_mask holds {path:?}, which cannot be changed: it takes {}", known.join(", "));
    Error::new(Reason::RequestInvalid, message).field("update_mask")
}

/// A name that must be given: elsewhere empty is the default namespace, but here it is more likely a mistake.
fn parse_name(name: &str, field: &str) -> Result<NamespaceName> {
    if name.is_empty() {
        return Err(Error::new(Reason::NamespaceInvalid, format!("{field} is empty: name the namespace")).field(field));
    }
    NamespaceName::parse(name).map_err(|error| error.field(field))
}

/// Puts the field that a refusal is about as the request calls it: the broker does not know where the name stood.
fn called(name: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error.violated_field() {
        Some("namespace") => error.field(name),
        Some("etag") => error.field("namespace.etag"),
        _ => error,
    }
}

fn answer(versioned: Versioned) -> pb::Namespace {
    let Versioned { namespace, etag } = versioned;
    pb::Namespace { etag, ..settings(&namespace) }
}

/// Out: all but the etag.
pub fn settings(namespace: &Namespace) -> pb::Namespace {
    pb::Namespace {
        name: namespace.name.as_str().to_owned(),
        max_age: Some(convert::duration(namespace.max_age)),
        max_bytes: Some(namespace.max_bytes),
        durability: convert::durability(namespace.durability),
        deduplication_window: Some(convert::duration(namespace.deduplication_window)),
        max_messages_per_second: namespace.max_messages_per_second,
        max_bytes_per_second: namespace.max_bytes_per_second,
        max_streams: namespace.max_streams,
        max_subscriptions: namespace.max_subscriptions,
        topic_schemas: namespace.topic_schemas.iter().map(topic_schema).collect(),
        etag: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;

    fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
        Some(prost_types::FieldMask { paths: paths.iter().map(|path| path.to_string()).collect() })
    }

    #[test]
    fn an_update_changes_what_the_mask_names() {
        let wanted = pb::Namespace { max_bytes: Some(5), max_streams: Some(7), ..Default::default() };
        let mut namespace = unchosen();
        namespace.max_messages_per_second = Some(3);
        parse_change(wanted.clone(), mask(&["max_streams", "max_messages_per_second"])).unwrap()(&mut namespace)
            .unwrap();
        assert_eq!((namespace.max_streams, namespace.max_messages_per_second), (Some(7), None));
        assert_eq!(namespace.max_bytes, unchosen().max_bytes);

        parse_change(wanted, None).unwrap()(&mut namespace).unwrap();
        assert_eq!((namespace.max_bytes, namespace.durability), (5, Durability::Synced));
    }

    #[test]
    fn refusals_come_before_the_broker_is_asked() {
        let error = parse_change(pb::Namespace::default(), mask(&["name"])).err().unwrap();
        assert_eq!(error.violated_field(), Some("update_mask"));
        assert!(error.message().contains("max_age") && error.message().contains("max_subscriptions"));
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let error = parse_change(pb::Namespace { max_age: negative, ..Default::default() }, None).err().unwrap();
        assert_eq!(error.violated_field(), Some("namespace.max_age"));
        assert_eq!(parse_name("", "name").unwrap_err().reason(), Reason::NamespaceInvalid);
    }

    #[test]
    fn every_setting_comes_back() {
        let namespace = pb::Namespace {
            name: "team-7".into(),
            max_age: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            max_bytes: Some(2),
            durability: pb::Durability::Written.into(),
            deduplication_window: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            max_messages_per_second: Some(4),
            max_bytes_per_second: Some(5),
            max_streams: Some(6),
            max_subscriptions: Some(7),
            topic_schemas: vec![pb::TopicSchema {
                pattern: "a~".into(),
                enforcement: pb::SchemaEnforcement::Warn.into(),
                subject: "s".into(),
            }],
            etag: "e".into(),
        };
        let mut parsed = Namespace::new(NamespaceName::parse("team-7").unwrap());
        parse_change(namespace.clone(), None).unwrap()(&mut parsed).unwrap();
        assert_eq!(answer(Versioned { namespace: parsed, etag: "e".into() }), namespace);
    }
}
