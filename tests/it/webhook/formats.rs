//! What is sent in each format, as HTTP carries it.

use super::*;

#[track_caller]
fn publish(rig: &Rig) {
    let publish = ["publish", "a/\u{fc}", "hi", "--id", "i-1", "--content-type", "text/csv"];
    let attributes = ["-a", "ce-type=shop.order", "-a", "lang=de", "-a", "Upper=x y", "--key", "k"];
    rig.broker().run(&[&publish[..], &attributes].concat()).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_is_the_message_as_everywhere_in_json() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&format!("{}/hook?x=1", target.url), &["--push-header", "authorization=Bearer xyz"]);
    publish(&rig);
    let came = target.soon().await;
    assert_eq!(came.path, "/hook?x=1");
    assert_eq!((came.header("content-type"), came.header("authorization")), ("application/json", "Bearer xyz"));
    assert!(came.header("user-agent").starts_with("tilde/"));
    let message = &came.json()["message"];
    assert_eq!((&message["topic"], &message["text"]), (&"a/\u{fc}".into(), &"hi".into()));
    assert_eq!((&message["messageId"], &message["orderingKey"]), (&"i-1".into(), &"k".into()));
    assert_eq!((&message["contentType"], &message["attributes"]["Upper"]), (&"text/csv".into(), &"x y".into()));
    assert!(came.headers.get("webhook-signature").is_none(), "there is no secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_is_the_payload_with_headers() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-format", "raw"]);
    publish(&rig);
    let came = target.soon().await;
    assert_eq!((came.header("content-type"), &came.body[..]), ("text/csv", &b"hi"[..]));
    assert_eq!((came.header("tilde-topic"), came.header("tilde-sequence")), ("a/%C3%BC", "1"));
    assert_eq!((came.header("tilde-attempt"), came.header("tilde-message-id")), ("1", "i-1"));
    assert_eq!((came.header("tilde-ordering-key"), came.header("tilde-attribute-lang")), ("k", "de"));
    assert_eq!(came.header("tilde-attributes"), "{%22Upper%22:%22x%20y%22}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_event_is_in_binary_mode() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-format", "cloudevents"]);
    publish(&rig);
    let came = target.soon().await;
    assert_eq!((came.header("content-type"), &came.body[..]), ("text/csv", &b"hi"[..]));
    assert_eq!((came.header("ce-specversion"), came.header("ce-type")), ("1.0", "shop.order"));
    assert_eq!((came.header("ce-source"), came.header("ce-subject")), ("/namespaces/default", "a/%C3%BC"));
    assert_eq!(came.header("ce-id"), came.header("webhook-id"));
    assert!(came.header("ce-time").ends_with('Z'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_subscription_names_a_message_by_itself() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create_as("s", &target.url, &[]);
    rig.create_as("t", &target.url, &[]);
    rig.publish(["one"]);
    let (one, other) = (target.soon().await, target.soon().await);
    assert_ne!(one.header("webhook-id"), other.header("webhook-id"));
}
