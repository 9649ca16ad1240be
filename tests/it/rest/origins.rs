//! Pages of other sites, in a browser that can reach the broker.

use super::*;

const PAGE: (&str, &str) = ("origin", "https://app.example");

#[test]
fn nobody_publishes_by_opening_a_page() {
    let rest = Rest::start();
    let told = rest.publish("a/messages", &[PAGE, ("content-type", "text/plain")], b"x");
    assert_problem(&told, 403, "ORIGIN_NOT_ALLOWED");
    assert!(told.header("access-control-allow-origin").is_none());
    let asks = [PAGE, ("access-control-request-method", "POST")];
    let told = ask(&rest.tilde.url, "OPTIONS", "/v1/topics/a/messages", &asks, b"");
    assert_problem(&told, 403, "ORIGIN_NOT_ALLOWED");
    let web = [PAGE, ("content-type", "application/grpc-web+proto")];
    let told = ask(&rest.tilde.url, "POST", "/tilde.v1.Broker/Publish", &web, &super::web::publish("a", "x"));
    assert_problem(&told, 403, "ORIGIN_NOT_ALLOWED");
    assert_eq!(rest.kept("topic=~").len(), 0);
}

#[test]
fn a_name_that_was_made_to_lead_here_is_none_of_the_brokers() {
    let rest = Rest::start();
    let told = rest.publish("a/messages", &[("host", "evil.example:80"), ("origin", "http://evil.example:80")], b"x");
    assert_problem(&told, 403, "ORIGIN_NOT_ALLOWED");
    let told = ask(&rest.tilde.url, "GET", "/v1/topics", &[("host", "evil.example:80")], b"");
    assert_problem(&told, 403, "ORIGIN_NOT_ALLOWED");
    assert_eq!(ask(&rest.tilde.url, "GET", "/v1/topics", &[("host", "localhost:1")], b"").status(), 200);
}

#[test]
fn a_page_that_is_allowed_may_ask_and_read() {
    let rest = Rest::start_with("[server]\nallow_origins = [\"https://app.example\"]\n");
    let asks =
        [PAGE, ("access-control-request-method", "PUT"), ("access-control-request-headers", "content-type, tilde-ttl")];
    let told = ask(&rest.tilde.url, "OPTIONS", "/v1/subscriptions/a", &asks, b"");
    let header = |name: &str| told.header(name).unwrap_or_default();
    assert_eq!((told.status(), header("access-control-allow-origin")), (204, PAGE.1));
    assert_eq!(header("access-control-allow-methods"), "PUT");
    assert_eq!(header("access-control-allow-headers"), "content-type, tilde-ttl");
    assert!(header("access-control-max-age").parse::<u32>().is_ok() && header("vary").contains("origin"));

    let told = rest.publish("a/messages", &[PAGE], b"x");
    assert_eq!((told.status(), told.header("access-control-allow-origin")), (200, Some(PAGE.1)));
    // A refusal can be read, too.
    let told = rest.publish("a~/messages", &[PAGE], b"x");
    assert_problem(&told, 400, "TOPIC_INVALID");
    assert_eq!(told.header("access-control-allow-origin"), Some(PAGE.1));
    assert!(told.header("access-control-expose-headers").is_some_and(|names| names.contains("retry-after")));
    let other = rest.publish("a/messages", &[("origin", "https://app.example.evil")], b"x");
    assert_problem(&other, 403, "ORIGIN_NOT_ALLOWED");
    assert_eq!(rest.texts("a"), ["x"]);
}
