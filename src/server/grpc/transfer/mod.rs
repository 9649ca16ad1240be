//! The `Transfer` service: pieces out, pieces in.

mod pieces;
mod schemas;

use std::{pin::Pin, sync::Arc};

use futures_core::Stream;
use futures_util::stream;
use tonic::{Request, Response, Status, Streaming};

use super::namespaces;
use crate::{
    broker::{
        Broker,
        transfer::{Export, Import},
    },
    model::{Error, NamespaceName, Reason, Result},
    pb::{
        server::transfer_server,
        v1::{self as pb, piece::Piece},
    },
    server::status,
};

/// Lets namespaces move out and in.
#[derive(Clone)]
pub struct TransferService(pub Arc<Broker>);

/// One piece, encoded: a subscription with a thousand long patterns and a hundred thousand open messages.
pub const PIECE_BYTES: usize = 8 << 20;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl transfer_server::Transfer for TransferService {
    type ExportStream = Answers<pb::ExportResponse>;
    type ImportStream = Answers<pb::ImportResponse>;

    async fn export(&self, request: Request<pb::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let namespace = NamespaceName::parse(&request.into_inner().namespace)?;
        let export = self.0.export(&namespace).await?;
        let answers = stream::try_unfold(export, async |mut export: Export| {
            let piece = export.next().await?.map(pieces::answer);
            Ok(piece.map(|piece| (pb::ExportResponse { piece: Some(piece) }, export)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn import(
        &self,
        request: Request<Streaming<pb::ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (broker, requests) = (self.0.clone(), request.into_inner());
        let importing = Importing { broker, requests, import: None, last: 0, is_done: false };
        let answers = stream::try_unfold(importing, async |mut importing: Importing| {
            let answer = importing.next().await?;
            Ok(answer.map(|answer| (answer, importing)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A namespace that moves in, as its pieces come.
struct Importing {
    broker: Arc<Broker>,
    requests: Streaming<pb::ImportRequest>,
    // None before the first piece.
    import: Option<Import>,
    // What kind of piece came last, as the contract has them in order.
    last: u32,
    is_done: bool,
}

impl Importing {
    /// Takes pieces until there is something to tell; none at the end.
    async fn next(&mut self) -> Result<Option<pb::ImportResponse>, Status> {
        if self.is_done {
            return Ok(None);
        }
        loop {
            let request = tokio::select! {
                request = self.requests.message() => request,
                refusal = self.broker.closed() => return Err(self.broken_off(refusal)),
            };
            let request = request.map_err(|refused| status::restate(refused, PIECE_BYTES))?;
            match self.take(request).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return Err(self.broken_off(error)),
            }
        }
        let imported = self.import.as_ref().map(Import::imported).unwrap_or_default();
        Ok(Some(pb::ImportResponse { done: self.is_done, ..pieces::imported(&imported) }))
    }

    /// Takes a piece. Answers whether there is something to tell.
    async fn take(&mut self, request: Option<pb::ImportRequest>) -> Result<bool> {
        let Some(request) = request else {
            return Err(Error::new(Reason::RequestInvalid, "the pieces end too early: the last one is missing"));
        };
        let Some(piece) = request.piece.and_then(|piece| piece.piece) else {
            return Err(Error::new(Reason::RequestInvalid, "a piece says nothing").field("piece"));
        };
        self.check_order(&piece)?;
        let Some(import) = &mut self.import else {
            let Piece::Namespace(namespace) = piece else { unreachable!("the first piece is a namespace") };
            let name = Some(&*request.namespace).filter(|name| !name.is_empty()).unwrap_or(&namespace.name);
            let settings = namespaces::parse(NamespaceName::parse(name)?, &namespace)?;
            self.import = Some(self.broker.import(settings).await?);
            return Ok(true);
        };
        match piece {
            Piece::Namespace(_) => return Err(misplaced()),
            Piece::Schemas(moved) => import.schemas(schemas::parse(moved)?).await?,
            Piece::Messages(moved) => import.messages(pieces::messages(&moved)?).await?,
            Piece::Scheduled(moved) => import.scheduled(pieces::messages(&moved)?).await?,
            Piece::Subscription(moved) => {
                import.subscription(pieces::subscription(moved, import.namespace())?)?;
                return Ok(false);
            }
            Piece::End(end) => {
                import.finish(pieces::totals(&end)).await?;
                self.is_done = true;
            }
        }
        Ok(true)
    }

    /// They come in the order of the contract, the namespace first and once.
    fn check_order(&mut self, piece: &Piece) -> Result<()> {
        let rank = pieces::rank(piece);
        if rank < self.last || (self.last == 0) != (rank == 1) {
            return Err(misplaced());
        }
        self.last = rank;
        Ok(())
    }

    fn broken_off(&self, error: Error) -> Status {
        match &self.import {
            Some(import) => import.broken_off(error).into(),
            None => error.into(),
        }
    }
}

fn misplaced() -> Error {
    let message =
        "the pieces are not in order: a namespace, schemas, messages, scheduled ones, subscriptions, and the end";
    Error::new(Reason::RequestInvalid, message).field("piece")
}
