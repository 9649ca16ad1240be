//! The contract over gRPC. Each service converts in, calls the broker once, and converts out; none decides anything.

pub mod codec;
pub mod convert;
pub mod deliveries;
pub mod frame;
pub mod incoming;
pub mod settlements;
pub mod stream;
pub mod wait;

pub mod consume;
pub mod namespaces;
pub mod operations;
pub mod publish;
pub mod publish_stream;
pub mod schemas;
pub mod subscribe;
pub mod subscriptions;
pub mod topics;
pub mod transfer;
pub mod work;

pub use consume::ConsumeService;
pub use namespaces::NamespacesService;
pub use operations::OperationsService;
pub use publish::PublishService;
pub use publish_stream::PublishStreamService;
pub use schemas::SchemasService;
pub use subscribe::SubscribeService;
pub use subscriptions::SubscriptionsService;
pub use topics::TopicsService;
pub use transfer::TransferService;
