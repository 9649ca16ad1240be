//! What is expected of Protobuf's schemas.

mod broken;
mod pairs;
mod payloads;
