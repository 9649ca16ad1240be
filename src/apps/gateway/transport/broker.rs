//! A Tilde broker: a request is a call to the topic `gateway/<METHOD><path>`, its answer the reply. Both are written as in
//! files, so that a back end need not know which of the two it serves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Transport, Trouble};
use crate::{
    apps::{
        failure::Failure,
        gateway::{key::FileKey, request::Request},
        journal::Journal,
        remote::{Remote, Tenant},
        respond::ERROR,
    },
    client::{Client, Fault, PublishRequest},
};

/// Connections to the broker that are used as long as they have room. With 4 of them a third fewer calls were answered.
const LINES: usize = 16;
/// Those that there can be. Beyond, calls wait for others to end.
const MOST_LINES: usize = 32;
/// Calls that one takes at a time: no more than the broker allows.
const LINE_CALLS: usize = 4_000;
/// A call takes no longer; it ends when the gateway gives it up.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A Tilde broker.
pub struct Broker {
    lines: Vec<Line>,
    told: Arc<Told>,
}

/// A connection, and how many calls are under way on it.
struct Line {
    client: Client,
    calls: Arc<AtomicUsize>,
}

/// One of them.
struct UnderWay(Arc<AtomicUsize>);

impl Line {
    fn begin(&self) -> UnderWay {
        self.calls.fetch_add(1, Relaxed);
        UnderWay(Arc::clone(&self.calls))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
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
        let line = |_| Ok(Line { client: remote.client(tenant)?, calls: Arc::default() });
        let lines = (0..MOST_LINES).map(line).collect::<Result<_, Failure>>()?;
        let told = Told { journal, url: remote.broker.clone(), is_away: AtomicBool::new(false) };
        Ok(Broker { lines, told: Arc::new(told) })
    }
}

impl Broker {
    /// The first connection with room, from where the key falls to.
    fn line(&self, key: FileKey) -> &Line {
        let mut lines = self.lines.iter().skip(key.part(LINES)).step_by(LINES);
        lines.find(|line| line.calls.load(Relaxed) < LINE_CALLS).unwrap_or(&self.lines[key.part(MOST_LINES)])
    }
}

impl Transport for Broker {
    fn exchange(&self, key: FileKey, request: Arc<Request>) -> BoxFuture<'static, Result<Bytes, Trouble>> {
        let line = self.line(key);
        let (call, under_way) = (line.client.call(question(&request)).timeout(LONGEST), line.begin());
        let told = Arc::clone(&self.told);
        Box::pin(async move {
            let _under_way = under_way;
            match call.await {
                Ok(mut replies) => {
                    told.is_back();
                    let reply = replies.messages.pop().ok_or(Trouble::NoReply)?;
                    match reply.attributes.get(ERROR) {
                        Some(error) => Err(Trouble::Unreadable(format!("the back end failed: {error}"))),
                        None => Ok(Bytes::copy_from_slice(reply.bytes())),
                    }
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
            Some("TOPIC_INVALID") => {
                Trouble::Refused(414, "PATH_TOO_LONG", "the path is too long for the topic of a broker")
            }
            Some("MESSAGE_TOO_LARGE") => {
                Trouble::Refused(413, "BODY_TOO_LARGE", "the request is too large for a message of the broker")
            }
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
