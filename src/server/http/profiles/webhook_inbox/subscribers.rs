//! Who is subscribed: each topic and URL is a subscription of its own.

use http::{HeaderMap, Response, StatusCode, request};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status, body::Body};
use url::{Host, Url};

use super::{Refused, Said, WebhookInbox, answer, json, say};
use crate::{
    model::limits,
    pb::v1::{self as pb, subscription::State},
    server::{
        grpc::convert,
        http::{body, profiles::names},
    },
};

/// As this profile's subscriptions are called.
pub(super) const SYSTEM: &str = "webhook-inbox";
/// And the label that they have, so that others with the same topic are told from them.
const LABEL: (&str, &str) = ("tilde-profile", SYSTEM);
/// In which what could not be delivered is tried again, at first and in the end.
const BACKOFF_SECONDS: (i64, i64) = (1, 60);
/// How long what the inbox handed out is nobody else's.
const LEASE_SECONDS: i64 = 30;

const NOT_FOUND: &str = "Please check topic and URL again. At least one was not found.";
const NO_URL: &str = "Invalid URL provided.";

/// One who is subscribed.
pub(super) struct Subscriber {
    /// The subscription.
    pub name: String,
    /// Where it pushes.
    pub url: String,
}

impl WebhookInbox {
    pub(super) async fn subscribe(
        &self,
        head: &request::Parts,
        body: &mut Body,
        sent: &str,
    ) -> Result<Response<Body>, Refused> {
        let (topic, url) = self.place(&head.headers, body, sent).await?;
        check(&url)?;
        let name = names::subscription(SYSTEM, mark(&url).as_bytes(), topic.as_bytes());
        let request = pb::CreateSubscriptionRequest { subscription: Some(self.subscription(&name, topic, &url)) };
        let created = self.local.ask("/tilde.v1.Subscriptions/CreateSubscription", &request).await;
        let created: Result<pb::CreateSubscriptionResponse, _> = created;
        match created {
            Ok(created) => self.go_on(created.subscription.unwrap_or_default()).await?,
            // The settings were others when it was made: it is there.
            Err(refused) if refused.code() == Code::AlreadyExists => {}
            Err(refused) if is_about_the_url(&refused) => return Err(Said::new(400, refused.message()).into()),
            Err(refused) => {
                tracing::warn!(
                    topic,
                    subscription = name,
                    error = refused.message(),
                    "webhook-inbox: a subscription failed"
                );
                return Err(Said::new(500, "Subscription was unsuccessful").into());
            }
        }
        Ok(say(StatusCode::CREATED, &format!("Subscription created successfully between {sent} and {url}")))
    }

    pub(super) async fn unsubscribe(
        &self,
        head: &request::Parts,
        body: &mut Body,
        sent: &str,
    ) -> Result<Response<Body>, Refused> {
        let (topic, url) = self.place(&head.headers, body, sent).await?;
        let name = names::subscription(SYSTEM, mark(&url).as_bytes(), topic.as_bytes());
        let request = pb::DeleteSubscriptionRequest { name, namespace: self.namespace() };
        let path = "/tilde.v1.Subscriptions/DeleteSubscription";
        match self.local.ask::<pb::DeleteSubscriptionResponse>(path, &request).await {
            Ok(_) => Ok(say(StatusCode::OK, &format!("Subscription removed between {sent} and {url}"))),
            Err(refused) if refused.code() == Code::NotFound => {
                Err(Said::new(404, format!("There is no subscription between {sent} and {url}")).into())
            }
            Err(refused) => Err(refused.into()),
        }
    }

    pub(super) async fn subscribers(&self, sent: &str) -> Result<Response<Body>, Refused> {
        let topic = sent.trim();
        let subscribed = if topic.is_empty() { Vec::new() } else { self.subscribed(topic).await? };
        match subscribed.is_empty() {
            true => Err(Said::new(404, "Topic either does not exist or has no subscribed endpoints").into()),
            false => Ok(answer(StatusCode::OK, &subscribed.into_iter().map(|one| Value::from(one.url)).collect())),
        }
    }

    /// Who is subscribed to a topic, and has not said since that it is gone (410).
    pub(super) async fn subscribed(&self, topic: &str) -> Result<Vec<Subscriber>, Status> {
        let request = pb::ListSubscriptionsRequest {
            namespace: self.namespace(),
            topic: names::topic(topic.as_bytes()),
            page_size: limits::PAGE_ROWS as u32,
            page_token: convert::page_after(&format!("{SYSTEM}/")),
        };
        let wanted = names::topic(topic.as_bytes());
        let is_there =
            |found: &pb::Subscription| found.topics == [wanted.as_str()] && found.state != i32::from(State::Paused);
        self.list(request, |found| found.name.starts_with(SYSTEM), is_there).await
    }

    /// The topics to which a URL is subscribed.
    pub(super) async fn subscribed_by(&self, url: &str) -> Result<Vec<Subscriber>, Status> {
        let front = names::subscriptions(SYSTEM, mark(url).as_bytes());
        let request = pb::ListSubscriptionsRequest {
            namespace: self.namespace(),
            page_size: limits::PAGE_ROWS as u32,
            page_token: convert::page_after(&front),
            ..Default::default()
        };
        self.list(request, |found| found.name.starts_with(&front), |_| true).await
    }

    /// Lists this profile's subscriptions, as long as `goes_on`.
    async fn list(
        &self,
        mut request: pb::ListSubscriptionsRequest,
        goes_on: impl Fn(&pb::Subscription) -> bool,
        is_wanted: impl Fn(&pb::Subscription) -> bool,
    ) -> Result<Vec<Subscriber>, Status> {
        let mut subscribed = Vec::new();
        loop {
            let path = "/tilde.v1.Subscriptions/ListSubscriptions";
            let page: pb::ListSubscriptionsResponse = self.local.ask(path, &request).await?;
            let is_last = page.next_page_token.is_empty() || page.subscriptions.iter().any(|found| !goes_on(found));
            let found = page.subscriptions.into_iter().filter(|found| {
                goes_on(found) && found.labels.get(LABEL.0).is_some_and(|label| label == LABEL.1) && is_wanted(found)
            });
            subscribed.extend(
                found.map(|found| Subscriber { name: found.name, url: found.push_config.unwrap_or_default().url }),
            );
            if is_last {
                return Ok(subscribed);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The topic and the URL that a request names.
    async fn place<'a>(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        sent: &'a str,
    ) -> Result<(&'a str, String), Refused> {
        let body = body::read(headers, body, limits::REQUEST_BYTES).await?;
        let object = json::parse(headers, &body, self.config.needs_content_type)?.unwrap_or_default();
        let (topic, url) = (sent.trim(), object.get("url"));
        let Some(url) = url.filter(|_| !topic.is_empty()) else { return Err(Said::new(400, NOT_FOUND).into()) };
        match serde_json::from_str::<Value>(url.get()) {
            Ok(Value::String(url)) if !url.trim().is_empty() => Ok((topic, url.trim().to_owned())),
            Ok(Value::String(_) | Value::Null) => Err(Said::new(400, NOT_FOUND).into()),
            _ => Err(Said::new(400, NO_URL).into()),
        }
    }

    fn subscription(&self, name: &str, topic: &str, url: &str) -> pb::Subscription {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        pb::Subscription {
            name: name.to_owned(),
            namespace: self.namespace(),
            topics: vec![names::topic(topic.as_bytes())],
            ack_deadline: seconds(LEASE_SECONDS),
            retry_policy: Some(pb::RetryPolicy {
                min_backoff: seconds(BACKOFF_SECONDS.0),
                max_backoff: seconds(BACKOFF_SECONDS.1),
                // What was not delivered waits for as long as it takes.
                max_attempts: -1,
                ..Default::default()
            }),
            push_config: Some(pb::PushConfig {
                url: url.to_owned(),
                timeout: Some(convert::duration(self.config.timeout)),
                format: pb::PushFormat::Raw.into(),
                ..Default::default()
            }),
            labels: [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
            ..Default::default()
        }
    }

    /// Who subscribes again wants to be sent what comes, also if it said once that it was gone.
    async fn go_on(&self, there: pb::Subscription) -> Result<(), Status> {
        if there.state != i32::from(State::Paused) {
            return Ok(());
        }
        let request = pb::ResumeSubscriptionRequest { name: there.name, namespace: there.namespace };
        self.local
            .ask::<pb::ResumeSubscriptionResponse>("/tilde.v1.Subscriptions/ResumeSubscription", &request)
            .await?;
        Ok(())
    }
}

/// What stands for a URL in a subscription's name, which is logged: its host, and a hash, as the rest may be nobody else's
/// business.
fn mark(url: &str) -> String {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let hash = Sha256::digest(url);
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{host}-{hash}")
}

/// Refuses what is no URL for this profile: `http` or `https`, with `localhost`, an address, or a name of several labels.
fn check(url: &str) -> Result<(), Said> {
    let lower = url.to_ascii_lowercase();
    // The standard's parser mends what is written wrongly.
    let is_whole = lower.starts_with("http://") || lower.starts_with("https://");
    let has_gaps = url.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    let is_good = is_whole
        && !has_gaps
        && Url::parse(url).is_ok_and(|url| match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.trim_end_matches('.').contains('.'),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            None => false,
        });
    if is_good { Ok(()) } else { Err(Said::new(400, NO_URL)) }
}

/// The broker's rules for where it pushes are more than this profile's.
fn is_about_the_url(refused: &Status) -> bool {
    use tonic_types::StatusExt as _;
    let request = refused.get_details_bad_request();
    let fields = request.iter().flat_map(|request| &request.field_violations);
    fields.into_iter().any(|violation| violation.field.ends_with("push_config.url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "http://localhost",
            "http://localhost:8000/event",
            "https://example.com/a?b=c",
            "http://127.0.0.1:9000/test1",
            "http://[::1]:80/",
            "HTTP://EXAMPLE.COM",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "http:/localhost:8000/x",
            "localhost:8000",
            "ftp://example.com/x",
            "http://container:80/",
            "http://",
            "http://exa mple.com",
            "http://localhost/a b",
            "//localhost",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
