//! What is served over plain HTTP: the contract as REST, and the pages that operators and their machines ask for.

mod body;
mod origin;
mod pages;
mod plain;
mod problem;
pub mod profiles;
mod query;
mod rest;
mod route;

pub use origin::Origins;
pub use pages::Pages;
pub use plain::Plain;
pub use problem::{problem, refused, unread};
pub use rest::Rest;
