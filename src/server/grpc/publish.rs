//! `Broker.Publish` and `Broker.BatchPublish`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert;
use crate::{
    broker::{Broker, Publish, Published},
    model::{self, Message, NamespaceName, Payload, Result, Sequence, Topic},
    pb::{server::broker_server, v1 as pb},
};

/// Takes messages in.
#[derive(Clone)]
pub struct PublishService(pub Arc<Broker>);

#[tonic::async_trait]
impl broker_server::Broker for PublishService {
    async fn publish(&self, request: Request<pb::PublishRequest>) -> Result<Response<pb::PublishResponse>, Status> {
        let publish = parse(request.into_inner(), &NamespaceName::default())?;
        let published = self.0.publish(publish).await?;
        Ok(Response::new(answer(&published)))
    }

    async fn batch_publish(
        &self,
        request: Request<pb::BatchPublishRequest>,
    ) -> Result<Response<pb::BatchPublishResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::default();
        let batch = request.requests.into_iter().map(|request| parse(request, &namespace)).collect();
        let results = self.0.publish_batch(batch, request.atomic).await?;
        Ok(Response::new(pb::BatchPublishResponse { results: results.iter().map(result).collect() }))
    }
}

/// In. What names no namespace goes to `namespace`.
pub fn parse(request: pb::PublishRequest, namespace: &NamespaceName) -> Result<Publish> {
    let message = Message {
        topic: Topic::parse_writable(request.topic)?,
        payload: match request.payload {
            None => Payload::None,
            Some(pb::publish_request::Payload::Data(data)) => Payload::Data(data),
            Some(pb::publish_request::Payload::Text(text)) => Payload::Text(text),
        },
        attributes: request.attributes,
        ordering_key: request.ordering_key,
        message_id: request.message_id,
        content_type: request.content_type,
        reply_to: request.reply_to,
        correlation_id: request.correlation_id,
        expire_time: None,
    };
    Ok(Publish {
        namespace: match &*request.namespace {
            "" => namespace.clone(),
            name => NamespaceName::parse(name)?,
        },
        message,
        ttl: request.ttl.map(|ttl| convert::parse_duration(ttl, "ttl")).transpose()?,
        expected_last_sequence: request.expected_last_sequence.map(Sequence),
        durability: convert::parse_durability(request.durability, "durability")?,
    })
}

fn answer(published: &Published) -> pb::PublishResponse {
    pb::PublishResponse {
        sequence: published.sequence.0,
        publish_time: Some(convert::timestamp(published.publish_time)),
        duplicate: published.duplicate,
        durability: convert::durability(published.durability),
        cursor: published.cursor.encode(),
    }
}

fn result(result: &Result<Published, model::Error>) -> pb::PublishResult {
    use pb::publish_result::Result;
    let result = match result {
        Ok(published) => Result::Published(answer(published)),
        Err(error) => Result::Error(error.into()),
    };
    pb::PublishResult { result: Some(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Durability, Reason};

    #[test]
    fn a_request_becomes_what_it_says() {
        let request = pb::PublishRequest {
            topic: "orders/eu".into(),
            payload: Some(pb::publish_request::Payload::Text("hi".into())),
            ttl: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            expected_last_sequence: Some(0),
            durability: pb::Durability::Written.into(),
            ..Default::default()
        };
        let publish = parse(request, &NamespaceName::default()).unwrap();
        assert_eq!(publish.namespace, NamespaceName::default());
        assert_eq!(publish.message.payload, Payload::Text("hi".into()));
        assert_eq!(publish.ttl, Some(std::time::Duration::from_secs(3)));
        assert_eq!(publish.expected_last_sequence, Some(Sequence::ZERO));
        assert_eq!(publish.durability, Some(Durability::Written));
    }

    #[test]
    fn refusals_name_the_field() {
        let good = || pb::PublishRequest { topic: "t".into(), ..Default::default() };
        let ttl = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let cases = [
            (pb::PublishRequest { topic: "a~".into(), ..good() }, Reason::TopicInvalid, "topic"),
            (pb::PublishRequest { topic: "$dead/x".into(), ..good() }, Reason::TopicInvalid, "topic"),
            (pb::PublishRequest { namespace: "A".into(), ..good() }, Reason::NamespaceInvalid, "namespace"),
            (pb::PublishRequest { ttl, ..good() }, Reason::RequestInvalid, "ttl"),
            (pb::PublishRequest { durability: 77, ..good() }, Reason::RequestInvalid, "durability"),
        ];
        for (request, reason, field) in cases {
            let error = parse(request, &NamespaceName::default()).unwrap_err();
            assert_eq!((error.reason(), error.violated_field()), (reason, Some(field)));
        }
    }
}
