//! What is expected of Protobuf's schemas.

mod broken;
mod described;
mod pairs;
mod payloads;
