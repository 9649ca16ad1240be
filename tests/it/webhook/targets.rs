//! Where webhooks may not go. Every spelling stands in the table of `model/target.rs`, names that change their mind in the
//! tests of the client.

use tilde::pb::v1::{
    CreateSubscriptionRequest, PushConfig, Subscription, UpdateSubscriptionRequest,
    subscriptions_client::SubscriptionsClient,
};
use tonic_types::StatusExt as _;

use super::*;

fn subscription(url: &str) -> Subscription {
    let push_config = PushConfig { url: url.to_owned(), ..PushConfig::default() };
    Subscription {
        name: "s".into(),
        topics: vec!["a/~".into()],
        push_config: Some(push_config),
        ..Subscription::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_public_is_refused_when_it_is_set_up() {
    let broker = Tilde::in_memory();
    let mut client = SubscriptionsClient::connect(broker.url.clone()).await.unwrap();
    for host in [
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "a.localhost",
        "127.0.0.1",
        "127.0.0.1:9",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "１２７.０.０.１",
        "%31%32%37.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "012.0.0.1",
        "167772161",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "0xc0a80101",
        "169.254.169.254",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "100.64.0.1",
        "168.63.129.16",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
        "[::ffff:a00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
    ] {
        let request = CreateSubscriptionRequest { subscription: Some(subscription(&format!("http://{host}/hook"))) };
        let refusal = client.create_subscription(request).await.expect_err(host);
        assert_eq!(refusal.code(), tonic::Code::FailedPrecondition, "{host}: {refusal:?}");
        assert_eq!(refusal.get_details_error_info().unwrap().reason, "PUSH_TARGET_REFUSED", "{host}");
        let violations = refusal.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "subscription.push_config.url", "{host}");
        assert!(refusal.message().contains("webhooks.allow_targets"), "{host}: {refusal:?}");
    }
    for (url, why) in [
        ("http://user:pass@example.com/", "user or a password"),
        ("http://127.0.0.1@example.com/", "user or a password"),
        ("http://example.com/#127.0.0.1", "fragment"),
        ("file:///etc/passwd", "neither http nor https"),
        ("gopher://example.com/", "neither http nor https"),
        ("//example.com/", "no URL"),
        ("http://1.2.3.4.5/", "no URL"),
        ("http://256.1.1.1/", "no URL"),
        ("http://[::1/", "no URL"),
    ] {
        let request = CreateSubscriptionRequest { subscription: Some(subscription(url)) };
        let refusal = client.create_subscription(request).await.expect_err(url);
        assert_eq!(refusal.get_details_error_info().unwrap().reason, "SUBSCRIPTION_INVALID", "{url}");
        assert!(refusal.message().contains(why), "{url}: {refusal:?}");
    }
    // Nor is one changed to it.
    let request = CreateSubscriptionRequest { subscription: Some(subscription("https://example.com/hook")) };
    client.create_subscription(request).await.unwrap();
    let request =
        UpdateSubscriptionRequest { subscription: Some(subscription("http://127.0.0.1/")), ..Default::default() };
    let refusal = client.update_subscription(request).await.unwrap_err();
    assert_eq!(refusal.get_details_error_info().unwrap().reason, "PUSH_TARGET_REFUSED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_allowed_any_more_is_refused_when_it_is_sent() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let port = target.url.rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "localhost"] {
        let mut rig = Rig::start();
        rig.create(&format!("http://{host}:{port}/"), &["--max-attempts", "1"]);
        rig.publish(["one"]);
        target.soon().await;
        rig.acked(1).await;
        rig.restart("192.0.2.0/24");
        rig.publish(["two"]);
        let reason = rig.dead_letters(1).await.remove(0);
        assert!(reason.contains(&format!("webhooks may not go to {host}")), "{reason}");
        assert!(target.is_empty());
    }
}

#[test]
fn networks_are_told_as_a_list_or_with_commas() {
    let place = tempfile::tempdir().unwrap();
    let run = |args: &[&str], allowed: Option<&str>| {
        let mut command = crate::support::tilde(place.path(), args);
        command.envs(allowed.map(|allowed| ("TILDE_WEBHOOKS_ALLOW_TARGETS", allowed)));
        crate::support::run(command, None)
    };
    std::fs::write(place.path().join("tilde.toml"), "[webhooks]\nallow_targets = [\"10.0.0.0/8\", \"::1\"]\n").unwrap();
    let shown = run(&["config", "show"], None).text();
    assert!(shown.contains("allow_targets = [\"10.0.0.0/8\", \"::1/128\"]"), "{shown}");
    let shown = run(&["config", "show"], Some(" 127.0.0.1 ,fd00::/8,")).text();
    assert!(shown.contains("allow_targets = [\"127.0.0.1/32\", \"fd00::/8\"]"), "{shown}");
    let told = run(&["config", "check"], Some("10.0.0.0/40")).told(1);
    assert!(told.contains("TILDE_WEBHOOKS_ALLOW_TARGETS") && told.contains("as in 10.0.0.0/8"), "{told}");
}
