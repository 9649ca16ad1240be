//! Secrets go in and never come out, but as signatures.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use tilde::pb::v1::{GetSubscriptionRequest, ListSubscriptionsRequest, subscriptions_client::SubscriptionsClient};

use super::*;

const OTHER: &str = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY";

/// The signature that a secret makes of what came.
fn signature(secret: &str, came: &Received) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", came.header("webhook-id"), came.header("webhook-timestamp")).as_bytes());
    mac.update(&came.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_rotation_both_sign() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-secret", SECRET]);
    let update = |flags: &[&str]| rig.broker().run(&[&["subscription", "update", "s"], flags].concat()).ok();
    for (change, secrets) in [
        (&[][..], &[SECRET][..]),
        (&["--push-secret", OTHER, "--push-secret", SECRET], &[OTHER, SECRET]),
        (&["--push-secret", OTHER], &[OTHER]),
    ] {
        if !change.is_empty() {
            update(change);
        }
        rig.publish(["one"]);
        let came = target.soon().await;
        let expected: Vec<_> = secrets.iter().map(|secret| signature(secret, &came)).collect();
        assert_eq!(came.header("webhook-signature"), expected.join(" "));
        assert_eq!(rig.show()["push_config"]["secret_count"], secrets.len());
    }
    update(&["--push-secret", "none"]);
    rig.publish(["one"]);
    assert!(target.soon().await.headers.get("webhook-signature").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_hidden_comes_back() {
    let mut target = Receiver::start(|_| Reply::of(500)).await;
    let rig = Rig::start();
    let file = rig.place.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let file = file.to_str().unwrap();
    rig.create(&target.url, &["--push-secret-file", file, "--push-header", "x-key=hush-hush", "--max-attempts", "1"]);
    rig.publish(["one"]);
    let came = target.soon().await;
    assert_eq!((came.header("x-key"), came.header("webhook-signature")), ("hush-hush", &*signature(SECRET, &came)));
    rig.dead_letters(1).await;

    let broker = rig.broker();
    let mut said = Vec::new();
    let ways: [&[&str]; 8] = [
        &["subscription", "show", "s"],
        &["subscription", "show", "s", "--format", "json"],
        &["subscription", "list", "--format", "json"],
        &["subscription", "pushes", "s", "--format", "json"],
        &["subscription", "update", "s", "--push-max-in-flight", "3", "--format", "json"],
        &["subscription", "create", "s", "a/~", "--push-url", "https://example.com", "--push-secret", OTHER],
        &["config", "show"],
        &["subscription", "update", "s", "--push-secret", &SECRET[..20], "--push-header", "host=hush-hush"],
    ];
    for way in ways {
        let answer = broker.run(way);
        said.push(String::from_utf8(answer.stdout).unwrap() + &answer.stderr);
    }
    assert!(said[5].contains("--push-secret differs") && said[5].contains("SUBSCRIPTION_MISMATCH"), "{}", said[5]);
    assert!(said[7].contains("SUBSCRIPTION_INVALID"), "{}", said[7]);
    let mut client = SubscriptionsClient::connect(broker.url.clone()).await.unwrap();
    let get = GetSubscriptionRequest { name: "s".into(), namespace: String::new() };
    let got = client.get_subscription(get).await.unwrap().into_inner().subscription.unwrap();
    let push = got.push_config.clone().unwrap();
    assert_eq!((push.secrets.len(), push.secret_count, push.headers["x-key"].as_str()), (0, 1, ""));
    said.push(format!("{got:?}"));
    let listed = client.list_subscriptions(ListSubscriptionsRequest::default()).await.unwrap();
    said.push(format!("{listed:?}"));
    broker.run(&["export", "house"]).ok();
    said.push(String::from_utf8_lossy(&std::fs::read(rig.place.path().join("house")).unwrap()).into_owned());
    said.push(broker.logged());
    for said in said {
        for hidden in [SECRET, &SECRET[6..], &SECRET[6..20], OTHER, "hush-hush"] {
            assert!(!said.contains(hidden), "{hidden} came out: {said}");
        }
    }
}
