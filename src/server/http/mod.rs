//! What is served over plain HTTP: the contract as REST, and the pages that operators and their machines ask for.

mod body;
mod pages;
mod plain;
mod problem;
mod query;
mod rest;
mod route;

pub use pages::Pages;
pub use plain::Plain;
pub use problem::{problem, refused};
pub use rest::Rest;
