//! A Tilde broker: a request is a call to the topic `gateway/<METHOD><path>`, its answer the reply. Both are written as in
//! files, so that a back end need not know which of the two it serves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Transport, Trouble};
use crate::{
    apps::{
        failure::Failure,
        gateway::{journal::Journal, key::FileKey, request::Request},
        remote::{Remote, Tenant},
    },
    client::{Client, Fault, PublishRequest},
};

/// Connections to the broker. One takes 4,096 calls at a time; what is beyond waits for one to end.
const LINES: usize = 16;
/// A call takes no longer; it ends when the gateway gives it up.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A Tilde broker.
pub struct Broker {
    lines: Vec<Client>,
    told: Arc<Told>,
}

/// What the operator knows.
struct Told {
    journal: Journal,
    url: String,
    is_away: AtomicBool,
}

impl Broker {
    /// Connects when it is first used.
    pub fn new(remote: &Remote, tenant: &Tenant, journal: Journal) -> Result<Broker, Failure> {
        let lines = (0..LINES).map(|_| remote.client(tenant)).collect::<Result<_, _>>()?;
        let told = Told { journal, url: remote.broker.clone(), is_away: AtomicBool::new(false) };
        Ok(Broker { lines, told: Arc::new(told) })
    }
}

impl Transport for Broker {
    fn exchange(&self, key: FileKey, request: Arc<Request>) -> BoxFuture<'static, Result<Bytes, Trouble>> {
        let call = self.lines[key.part(self.lines.len())].call(question(&request)).timeout(LONGEST);
        let told = Arc::clone(&self.told);
        Box::pin(async move {
            match call.await {
                Ok(mut replies) => {
                    told.is_back();
                    replies.messages.pop().map(|reply| Bytes::copy_from_slice(reply.bytes())).ok_or(Trouble::NoReply)
                }
                Err(fault) => Err(told.trouble(&fault)),
            }
        })
    }
}

/// A topic holds no `~`; in a path it may as well be written in another way.
fn question(request: &Request) -> PublishRequest {
    let topic = format!("gateway/{}{}", request.method, request.path.replace('~', "%7E"));
    match String::from_utf8(request.written()) {
        Ok(text) => PublishRequest::text(topic, text),
        Err(bytes) => PublishRequest::data(topic, bytes.into_bytes()),
    }
}

impl Told {
    fn trouble(&self, fault: &Fault) -> Trouble {
        match fault.reason.as_deref() {
            Some("NO_RESPONDERS") => {
                self.is_back();
                Trouble::Unavailable("no back end answers requests to this path just now")
            }
            Some("NO_REPLY") => Trouble::NoReply,
            Some("TOPIC_INVALID") => Trouble::Unavailable("the path is too long for the topic of a broker"),
            _ => {
                if !self.is_away.swap(true, Relaxed) {
                    let url = &self.url;
                    self.journal.warn(&format!(
                        "the broker at {url} takes no calls: {fault}; callers are told 503 until it does"
                    ));
                }
                Trouble::Unavailable("the broker behind the gateway cannot be used just now")
            }
        }
    }

    fn is_back(&self) {
        if self.is_away.swap(false, Relaxed) {
            self.journal.info(&format!("the broker at {} takes calls again", self.url));
        }
    }
}
