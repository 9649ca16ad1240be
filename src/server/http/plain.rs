//! Where a request over plain HTTP goes: to a page, to the table of REST, or nowhere. Never decides what a broker decides.

use http::{Method, Request};
use tonic::body::Body;

use super::{Pages, problem, rest::Rest};
use crate::server::calls::{Answer, ready};

/// Leads each request on.
#[derive(Clone)]
pub struct Plain {
    pages: Pages,
    rest: Rest,
}

impl Plain {
    /// Over what answers.
    pub fn new(pages: Pages, rest: Rest) -> Self {
        Plain { pages, rest }
    }

    /// Answers a request. HEAD is GET without a body.
    pub fn call(&self, mut request: Request<Body>) -> Answer {
        if let Some(page) = self.pages.answer(request.method(), request.uri().path()) {
            return ready(page);
        }
        if !Rest::has(request.uri().path()) {
            return ready(problem::nowhere());
        }
        let is_head = request.method() == Method::HEAD;
        if is_head {
            *request.method_mut() = Method::GET;
        }
        let rest = self.rest.clone();
        Box::pin(async move {
            let answer = rest.call(request).await;
            Ok(if is_head { answer.map(|_| Body::empty()) } else { answer })
        })
    }
}
