//! Sends one request and reads what is needed of its answer, within its time. Follows no redirect, asks no proxy, and
//! connects to nothing but what [`Targets`] permits. Never tells a caller an address that he has not set up himself.

use std::{error::Error, io, time::Duration};

use http::{HeaderMap, Method};
use reqwest::{Response, redirect};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

use super::{
    outcome::Outcome,
    request::Outgoing,
    resolver::{Forbidden, Resolver, Unknown},
};
use crate::model::{Targets, Timestamp, limits};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection stays open that nobody uses.
const IDLE: Duration = Duration::from_secs(30);
/// Connections to one target that stay open though nobody uses them.
const IDLE_CONNECTIONS: usize = 128;
/// Bytes of an answer that are read, so that its connection can be used again. What has more is closed.
const READ: usize = 64 << 10;

/// Sends.
pub struct Client {
    targets: Targets,
    resolver: Resolver,
    plain: reqwest::Client,
    // Made when it is first needed: a broker needs no certificates as long as nobody pushes to https.
    secure: OnceCell<reqwest::Client>,
}

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Of the answer; zero if there was none.
    pub status: u16,
    /// The first bytes of its body, as text.
    pub response: String,
    /// What becomes of the message.
    pub outcome: Outcome,
}

impl Client {
    /// May go where the targets say.
    pub fn new(targets: Targets) -> Self {
        let resolver = Resolver::system(targets.clone());
        Client::with(targets, resolver)
    }

    fn with(targets: Targets, resolver: Resolver) -> Self {
        // It trusts nobody, and is never asked to.
        let plain = build(resolver.clone(), tls(rustls::RootCertStore::empty()));
        Client { targets, resolver, plain, secure: OnceCell::new() }
    }

    /// Sends a request, which has so long for everything.
    pub async fn send(&self, outgoing: Outgoing, limit: Duration, now: Timestamp) -> Sent {
        let deadline = Instant::now() + limit;
        // The resolver is not asked for what is an address already.
        if let Err(refusal) = self.targets.check(&outgoing.url) {
            return Sent::failed(refusal.message());
        }
        let client = match outgoing.url.scheme() {
            "https" => match self.secure.get_or_try_init(|| self.with_roots()).await {
                Ok(client) => client,
                Err(why) => return Sent::failed(why),
            },
            _ => &self.plain,
        };
        let request = client.request(Method::POST, outgoing.url).headers(outgoing.headers).body(outgoing.body);
        let mut response = match timeout_at(deadline, request.send()).await {
            Err(_) => return Sent::failed(format!("no answer within {}", spoken(limit))),
            Ok(Err(error)) => return Sent::failed(why(&error)),
            Ok(Ok(response)) => response,
        };
        let (status, headers): (_, HeaderMap) = (response.status(), std::mem::take(response.headers_mut()));
        let body = beginning(response, deadline).await;
        let response = String::from_utf8_lossy(&body).chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
        let response = cut(response);
        Sent { status: status.as_u16(), response, outcome: Outcome::of(status, &headers, now) }
    }

    async fn with_roots(&self) -> Result<reqwest::Client, String> {
        let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let loaded = loaded.map_err(|_| "the broker could not read its machine's certificates".to_owned())?;
        let mut roots = rustls::RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(loaded.certs);
        if taken == 0 {
            tracing::warn!(errors = ?loaded.errors, "webhooks to https need certificates of authorities, and there are none");
            return Err("the broker's machine has no certificates of authorities to know the target by: its operator \
                        can install them"
                .to_owned());
        }
        Ok(build(self.resolver.clone(), tls(roots)))
    }
}

impl Sent {
    fn failed(why: impl Into<String>) -> Self {
        Sent { status: 0, response: String::new(), outcome: Outcome::failed(why) }
    }
}

fn build(resolver: Resolver, tls: rustls::ClientConfig) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("tilde/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        .retry(reqwest::retry::never())
        .dns_resolver(resolver)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .tls_backend_preconfigured(tls);
    builder.build().expect("a client whose TLS is prepared can be built")
}

fn tls(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    let provider = rustls::crypto::ring::default_provider().into();
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider knows what TLS 1.2 and 1.3 need");
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// The first bytes of an answer. The rest is read, if it is not much, and forgotten. Whatever breaks here, the status counts.
async fn beginning(mut response: Response, deadline: Instant) -> Vec<u8> {
    let (mut first, mut read) = (Vec::new(), 0);
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        let room = limits::PUSH_RESPONSE_BYTES - first.len();
        first.extend_from_slice(&chunk[..chunk.len().min(room)]);
        read += chunk.len();
        if read > READ {
            break;
        }
    }
    first
}

/// A replaced byte takes three: the bound holds for what is told, too.
fn cut(mut text: String) -> String {
    while text.len() > limits::PUSH_RESPONSE_BYTES {
        text.pop();
    }
    text
}

/// Why there was no answer, for people.
fn why(error: &reqwest::Error) -> String {
    let causes = || {
        let first: &(dyn Error + 'static) = error;
        std::iter::successors(Some(first), |error: &&(dyn Error + 'static)| (*error).source())
    };
    for cause in causes() {
        if let Some(said) = cause.downcast_ref::<Forbidden>() {
            return said.to_string();
        }
        if let Some(said) = cause.downcast_ref::<Unknown>() {
            return said.to_string();
        }
        if let Some(said) = said_by_tls(cause) {
            return format!("no secure connection to the target: {said}");
        }
    }
    let kind = causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
    let said = match kind {
        Some(io::ErrorKind::ConnectionRefused) => "the target refused the connection",
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => "there is no way to the target",
        _ if error.is_connect() && error.is_timeout() => {
            return format!("the target was not reached within {CONNECT:?}");
        }
        _ if error.is_connect() => "the target could not be reached",
        _ => match causes().find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
            Some(error) if error.is_parse() => "the target's answer is no HTTP",
            _ => "the connection broke before the target answered",
        },
    };
    said.to_owned()
}

/// What TLS says comes within errors of IO, which hide what they hold from whoever asks for the source.
fn said_by_tls<'a>(mut cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    while let Some(within) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        cause = within;
    }
    cause.downcast_ref()
}

fn spoken(limit: Duration) -> String {
    // To the tenth of a second: a limit that the lease cut is no round number.
    let tenths = (limit.as_millis() + 50) / 100;
    if tenths.is_multiple_of(10) { format!("{} s", tenths / 10) } else { format!("{}.{} s", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use url::Url;

    use super::*;
    use crate::model::Sequence;

    /// A target that answers each connection's first request with this, and closes. Counts connections.
    async fn target(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer).await;
            }
        });
        (address, count)
    }

    /// The same over TLS, with a certificate for `a.example`, and whoever vouches for it.
    async fn secure_target() -> (SocketAddr, rustls::RootCertStore) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        });
        (address, roots)
    }

    #[tokio::test]
    async fn over_tls_only_who_is_vouched_for_is_sent_anything() {
        let (address, roots) = secure_target().await;
        let lookup: crate::server::webhook::resolver::Lookup =
            Arc::new(|_| Box::pin(async { Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))]) }));
        let resolver = Resolver::with(allowing(&["127.0.0.1"]), lookup);
        let client = |roots| {
            let client = Client::with(allowing(&["127.0.0.1"]), resolver.clone());
            assert!(client.secure.set(build(resolver.clone(), tls(roots))).is_ok());
            client
        };
        let trusting = client(roots);
        let sent = send(&trusting, format!("https://a.example:{}/", address.port())).await;
        assert_eq!((sent.status, sent.outcome), (204, Outcome::Done));
        let other = send(&trusting, format!("https://b.example:{}/", address.port())).await;
        let stranger = client(rustls::RootCertStore::empty());
        let unknown = send(&stranger, format!("https://a.example:{}/", address.port())).await;
        for refused in [other, unknown] {
            let why = "no secure connection to the target: invalid peer certificate";
            assert!(why_of(&refused).starts_with(why), "{refused:?}");
        }
    }

    fn allowing(networks: &[&str]) -> Targets {
        Targets::new(networks.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn outgoing(url: String) -> Outgoing {
        let url = Url::parse(&url).unwrap();
        Outgoing { url, headers: HeaderMap::new(), body: Bytes::from_static(b"x"), sequence: Sequence(1) }
    }

    async fn send(client: &Client, url: String) -> Sent {
        client.send(outgoing(url), Duration::from_secs(10), Timestamp::EPOCH).await
    }

    fn why_of(sent: &Sent) -> &str {
        match &sent.outcome {
            Outcome::Failed { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_refused_and_nothing_is_connected_to() {
        let (address, connections) =
            target(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        // First where it may go, then to the same machine by an address that is not allowed.
        let resolver = Resolver::with(
            allowing(&["127.0.0.1/32"]),
            Arc::new(move |_| {
                let n = count.fetch_add(1, Ordering::SeqCst);
                let ip = if n == 0 { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
                Box::pin(async move { Ok(vec![SocketAddr::from((ip, 0))]) })
            }),
        );
        let client = Client::with(allowing(&["127.0.0.1/32"]), resolver);
        let url = format!("http://rebinding.example:{}/", address.port());
        assert_eq!(send(&client, url.clone()).await.outcome, Outcome::Done);
        let refused = send(&client, url).await;
        assert!(why_of(&refused).contains("leads to no address that webhooks may go to"), "{refused:?}");
        assert!(!why_of(&refused).contains("127."), "{refused:?}");
        assert_eq!((asked.load(Ordering::SeqCst), connections.load(Ordering::SeqCst)), (2, 1));
    }

    #[tokio::test]
    async fn of_many_addresses_only_those_are_tried_that_are_allowed() {
        let (address, connections) = target(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let resolver = Resolver::with(
            allowing(&["127.0.0.1/32"]),
            Arc::new(|_| {
                let found = [[10, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1]].map(|ip| SocketAddr::from((ip, 0)));
                Box::pin(async move { Ok(found.to_vec()) })
            }),
        );
        let client = Client::with(allowing(&["127.0.0.1/32"]), resolver);
        assert_eq!(send(&client, format!("http://a.example:{}/", address.port())).await.outcome, Outcome::Done);
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_address_is_looked_at_though_nobody_resolves_it() {
        let (address, connections) = target(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let client = Client::new(Targets::default());
        for host in ["127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
            let refused = send(&client, format!("http://{host}:{}/", address.port())).await;
            assert!(why_of(&refused).contains("webhooks may not go to"), "{host}: {refused:?}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_for_people() {
        let client = Client::new(allowing(&["127.0.0.0/8"]));
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (rude, _) = target(b"SSH-2.0-OpenSSH\r\n").await;
        let (shut, _) = target(b"").await;
        for (address, said) in [
            (nobody, "the target refused the connection"),
            (rude, "the target's answer is no HTTP"),
            (shut, "the connection broke before the target answered"),
        ] {
            assert_eq!(why_of(&send(&client, format!("http://{address}/")).await), said);
        }
        let secure = send(&client, format!("https://{rude}/")).await;
        let whys = ["no secure connection to the target: ", "the broker's machine has no certificates"];
        assert!(whys.iter().any(|begin| why_of(&secure).starts_with(begin)), "{secure:?}");
        let resolver = Resolver::with(Targets::default(), Arc::new(|_| Box::pin(async { Ok(Vec::new()) })));
        let lost = send(&Client::with(Targets::default(), resolver), "http://nowhere.example/".into()).await;
        assert_eq!(why_of(&lost), "the target's name leads to no address: is it spelt right?");
    }

    #[tokio::test]
    async fn of_an_answer_only_the_beginning_is_kept() {
        static LONG: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            [b"HTTP/1.1 500 Oops\r\n\r\n".to_vec(), "\u{fc}".repeat(1 << 20).into_bytes()].concat()
        });
        let (address, _) = target(&LONG).await;
        let sent = send(&Client::new(allowing(&["127.0.0.1"])), format!("http://{address}/")).await;
        assert_eq!((sent.status, sent.response.as_str()), (500, "\u{fc}".repeat(128).as_str()));
    }

    #[test]
    fn limits_are_spoken_to_the_tenth() {
        let spoken = |millis| super::spoken(Duration::from_millis(millis));
        assert_eq!([spoken(10_000), spoken(1_500), spoken(29_950)], ["10 s", "1.5 s", "30 s"]);
    }
}
