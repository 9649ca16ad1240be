//! The `Topics` service.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::convert::{self, PageRequest};
use crate::{
    broker::{Broker, TopicStats},
    model::{NamespaceName, Pattern, Result, Topic},
    pb::{server::topics_server, v1 as pb},
};

/// Every topic that is not the broker's own; those take a pattern that begins with `$`.
const ALL: &str = "~";

/// Tells of topics, and purges them.
#[derive(Clone)]
pub struct TopicsService(pub Arc<Broker>);

#[tonic::async_trait]
impl topics_server::Topics for TopicsService {
    async fn list_topics(
        &self,
        request: Request<pb::ListTopicsRequest>,
    ) -> Result<Response<pb::ListTopicsResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let pattern = parse_pattern(if request.pattern.is_empty() { ALL } else { &request.pattern })?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let rows = self.0.list_topics(&namespace, &pattern, &page.after, page.wanted()).await?;
        let mut topics: Vec<_> = rows.into_iter().map(topic).collect();
        let next_page_token = page.cut(&mut topics, pb::Topic::encoded_len, |topic| &topic.name);
        Ok(Response::new(pb::ListTopicsResponse { topics, next_page_token }))
    }

    async fn get_topic(&self, request: Request<pb::GetTopicRequest>) -> Result<Response<pb::GetTopicResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let name = Topic::parse(request.name).map_err(|error| error.field("name"))?;
        let stats = self.0.get_topic(&namespace, &name).await?;
        Ok(Response::new(pb::GetTopicResponse { topic: Some(topic(stats)) }))
    }

    async fn purge_topics(
        &self,
        request: Request<pb::PurgeTopicsRequest>,
    ) -> Result<Response<pb::PurgeTopicsResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let pattern = parse_pattern(&request.pattern)?;
        let before = request.before.map(|time| convert::parse_timestamp(time, "before")).transpose()?;
        let purged = self.0.purge_topics(&namespace, &pattern, before, request.dry_run).await?;
        Ok(Response::new(pb::PurgeTopicsResponse { purged_messages: purged.messages }))
    }
}

fn parse_pattern(text: &str) -> Result<Pattern> {
    Pattern::parse(text).map_err(|error| error.field("pattern"))
}

fn topic(stats: TopicStats) -> pb::Topic {
    pb::Topic {
        name: stats.name,
        first_sequence: stats.first.0,
        last_sequence: stats.last.0,
        messages: stats.messages,
        bytes: stats.bytes,
        last_publish_time: Some(convert::timestamp(stats.last_publish_time)),
    }
}
