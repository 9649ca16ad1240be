//! `Broker.Publish` and `Broker.BatchPublish`.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    convert,
    incoming::{self, Raw},
    work,
};
use crate::{
    broker::{Broker, Published, Replied},
    model::{self, Records, Result},
    pb::{server::broker_server, v1 as pb},
};

/// Takes messages in.
#[derive(Clone)]
pub struct PublishService(pub Arc<Broker>);

#[tonic::async_trait]
impl broker_server::Broker for PublishService {
    async fn publish(&self, request: Request<Raw>) -> Result<Response<pb::PublishResponse>, Status> {
        let Raw(request) = request.into_inner();
        let publishing = self.0.publish(incoming::publish(&request)?);
        drop(request);
        let published = publishing.await?;
        Ok(Response::new(answer(&published)))
    }

    async fn batch_publish(&self, request: Request<Raw>) -> Result<Response<pb::BatchPublishResponse>, Status> {
        let Raw(request) = request.into_inner();
        let (atomic, requests) = incoming::batch(&request)?;
        let batch = requests.into_iter().map(incoming::publish).collect();
        let publishing = self.0.publish_batch(batch, atomic);
        drop(request);
        let results = publishing.await?;
        Ok(Response::new(pb::BatchPublishResponse { results: results.iter().map(result).collect() }))
    }

    async fn call(&self, request: Request<Raw>) -> Result<Response<pb::CallResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let Raw(request) = request.into_inner();
        let calling = self.0.call(incoming::call(&request, &headers)?);
        drop(request);
        let Replied { records, collapsed } = calling.await?;
        let replies = records.iter().flat_map(|records| Records::new(records)).map_while(Result::ok);
        let replies = replies.filter_map(|record| pb::Message::decode(record.message()).ok()).collect();
        Ok(Response::new(pb::CallResponse { replies, collapsed }))
    }

    async fn pull(&self, request: Request<pb::PullRequest>) -> Result<Response<pb::PullResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        Ok(Response::new(work::pull(&self.0, request.into_inner(), &headers).await?))
    }

    async fn acknowledge(
        &self,
        request: Request<pb::AcknowledgeRequest>,
    ) -> Result<Response<pb::AcknowledgeResponse>, Status> {
        Ok(Response::new(work::acknowledge(&self.0, request.into_inner()).await?))
    }
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
