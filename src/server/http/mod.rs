//! What is served over plain HTTP: the pages that operators and their machines ask for.

mod pages;
mod problem;

pub use pages::Pages;
pub use problem::problem;
