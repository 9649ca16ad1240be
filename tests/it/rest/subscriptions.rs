//! Subscriptions: all that they can do.

use super::*;

const PATH: &str = "/v1/subscriptions/work";

/// The deliveries of a pull that awaits as many.
#[track_caller]
fn pull(rest: &Rest, count: usize) -> Vec<Value> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let told = rest.call("POST", &format!("{PATH}/pull"), json!({ "maxWait": "5s" }), 200);
        let more = told.get("deliveries").and_then(Value::as_array).cloned().unwrap_or_default();
        assert!(!more.is_empty(), "of {count} deliveries {} came", deliveries.len());
        deliveries.extend(more);
    }
    deliveries
}

/// What a pull that does not wait gets.
#[track_caller]
fn at_once(rest: &Rest) -> usize {
    let told = rest.call("POST", &format!("{PATH}/pull"), json!({}), 200);
    told.get("deliveries").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Settles deliveries. Answers with the refused ones.
#[track_caller]
fn settle(rest: &Rest, deliveries: &[Value], verdict: &str, reason: &str) -> Vec<Value> {
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery["ackId"].clone()).collect();
    let body = json!({ "settlements": [{ "ackIds": ids, "verdict": verdict, "reason": reason }] });
    let told = rest.call("POST", &format!("{PATH}/acknowledge"), body, 200);
    told["refused"].as_array().cloned().unwrap_or_default()
}

#[test]
fn they_are_made_changed_and_removed() {
    let rest = Rest::start();
    let spec = json!({ "topics": ["a/~"], "ackDeadline": "30s", "labels": { "team": "x" } });
    let created = rest.call("PUT", PATH, spec.clone(), 201);
    assert_eq!((&created["name"], &created["topics"]), (&json!("work"), &json!(["a/~"])));
    assert_eq!(created["state"], "STATE_ACTIVE");
    assert_eq!(rest.call("PUT", PATH, spec, 200)["etag"], created["etag"]);
    rest.refused("PUT", PATH, json!({ "topics": ["b"] }), 409, "SUBSCRIPTION_MISMATCH");
    rest.refused("PUT", PATH, json!({ "topics": ["a/~"], "ackDeadline": "0.001s" }), 400, "SUBSCRIPTION_INVALID");
    rest.refused("PUT", PATH, json!({ "topics": ["a/~"], "filter": "((" }), 400, "FILTER_INVALID");
    // Whether the name stands in the body as well makes no difference, unless it is another one.
    rest.call("PUT", "/v1/subscriptions/b%2F1", json!({ "name": "b/1", "topics": ["b"] }), 201);
    rest.refused("PUT", PATH, json!({ "name": "other", "topics": ["b"] }), 400, "REQUEST_INVALID");

    assert_eq!(rest.get(PATH)["ackDeadline"], "30s");
    let patched = rest.call(
        "PATCH",
        &format!("{PATH}?update_mask=labels,ack_deadline"),
        json!({ "labels": { "team": "y" }, "ackDeadline": "60s", "topics": ["z"] }),
        200,
    );
    assert_eq!(
        (&patched["labels"], &patched["ackDeadline"], &patched["topics"]),
        (&json!({ "team": "y" }), &json!("60s"), &json!(["a/~"]))
    );
    // Without a mask, what the body names, also where it is empty; and an answer that is sent back changes nothing.
    let emptied = rest.call("PATCH", PATH, json!({ "labels": {}, "ackDeadline": "50s" }), 200);
    assert_eq!(
        (&emptied["labels"], &emptied["ackDeadline"], &emptied["topics"]),
        (&json!({}), &json!("50s"), &patched["topics"])
    );
    assert_eq!(rest.call("PATCH", PATH, emptied.clone(), 200)["etag"], emptied["etag"]);
    rest.refused(
        "PATCH",
        &format!("{PATH}?update_mask=labels"),
        json!({ "etag": created["etag"] }),
        409,
        "ETAG_MISMATCH",
    );
    let listed = |query: &str| {
        let told = rest.get(&format!("/v1/subscriptions{query}"));
        let all = told["subscriptions"].as_array().unwrap().clone();
        all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(""), ["b/1", "work"]);
    assert_eq!(listed("?topic=a/7"), ["work"]);

    assert!(rest.ask("DELETE", PATH, Value::Null).body.is_empty());
    rest.refused("DELETE", PATH, Value::Null, 404, "SUBSCRIPTION_NOT_FOUND");
    rest.refused("GET", PATH, Value::Null, 404, "SUBSCRIPTION_NOT_FOUND");
    rest.refused("POST", &format!("{PATH}/pull"), json!({}), 404, "SUBSCRIPTION_NOT_FOUND");
}

#[test]
fn work_is_pulled_and_settled() {
    let rest = Rest::start();
    rest.call("PUT", PATH, json!({ "topics": ["a"], "retryPolicy": { "minBackoff": "0s", "maxBackoff": "0s" } }), 201);
    let sequence = rest.say("a", "one");
    let delivery = pull(&rest, 1).remove(0);
    assert_eq!((&delivery["attempt"], &delivery["message"]["text"]), (&json!(1), &json!("one")));
    assert_eq!(number(&delivery["message"], "sequence"), sequence);
    let standing = |sequence: u64| {
        let told = rest.get(&format!("{PATH}/messages/{sequence}"));
        assert!(told["explanation"].as_str().is_some_and(|text| text.len() > 10), "{told}");
        told["standing"].as_str().unwrap().to_owned()
    };
    assert_eq!(standing(sequence), "STANDING_LEASED");
    assert!(settle(&rest, std::slice::from_ref(&delivery), "VERDICT_NACK", "not today").is_empty());
    let again = pull(&rest, 1).remove(0);
    assert_eq!(again["attempt"], 2);
    assert!(settle(&rest, std::slice::from_ref(&again), "VERDICT_ACK", "").is_empty());
    assert_eq!(standing(sequence), "STANDING_ACKED");
    let refused = settle(&rest, &[again], "VERDICT_NACK", "");
    assert_eq!(refused[0]["reason"], "ALREADY_SETTLED", "{refused:?}");
    let refused = settle(&rest, &[delivery], "VERDICT_ACK", "");
    assert!(matches!(refused[0]["reason"].as_str(), Some("LEASE_EXPIRED" | "ALREADY_SETTLED")), "{refused:?}");
    let refused = settle(&rest, &[json!({ "ackId": "nonsense" })], "VERDICT_ACK", "");
    assert_eq!(refused[0]["reason"], "ACK_ID_INVALID", "{refused:?}");
    assert_eq!(standing(sequence + 1), "STANDING_NOT_FOUND");
}

#[test]
fn paused_sought_purged_and_resumed() {
    let rest = Rest::start();
    rest.call("PUT", PATH, json!({ "topics": ["a"] }), 201);
    let first = rest.say("a", "1");
    rest.say("a", "2");
    settle(&rest, &pull(&rest, 2), "VERDICT_ACK", "");
    assert_eq!(at_once(&rest), 0);

    let position = |dry: bool| json!({ "position": { "sequence": first.to_string() }, "dryRun": dry });
    assert_eq!(rest.call("POST", &format!("{PATH}/seek"), position(true), 200), json!({ "backlogMessages": "2" }));
    assert_eq!(at_once(&rest), 0);
    rest.call("POST", &format!("{PATH}/seek"), position(false), 200);
    rest.call("POST", &format!("{PATH}/pause"), json!({}), 204);
    assert_eq!(rest.get(PATH)["state"], "STATE_PAUSED");
    rest.refused("POST", &format!("{PATH}/pull"), json!({}), 409, "SUBSCRIPTION_PAUSED");
    rest.call("POST", &format!("{PATH}/resume"), Value::Null, 204);
    assert_eq!(rest.get(PATH)["state"], "STATE_ACTIVE");
    assert_eq!(pull(&rest, 2).len(), 2);

    rest.say("a", "3");
    let purged = rest.call("POST", &format!("{PATH}/purge"), Value::Null, 200);
    assert!(number(&purged, "purgedMessages") >= 1, "{purged}");
    assert_eq!(at_once(&rest), 0);
    rest.refused("POST", &format!("{PATH}/seek"), json!({}), 400, "REQUEST_INVALID");
    rest.refused("POST", &format!("{PATH}/pause"), json!({ "until": "2001-01-01T00:00:00Z" }), 400, "REQUEST_INVALID");
}

#[test]
fn what_was_given_up_can_be_read_and_sent_again() {
    let rest = Rest::start();
    rest.call("PUT", PATH, json!({ "topics": ["a"] }), 201);
    rest.call("PUT", "/v1/subscriptions/other", json!({ "topics": ["a"] }), 201);
    rest.say("a", "bad");
    rest.say("a", "good");
    let deliveries = pull(&rest, 2);
    assert!(settle(&rest, &deliveries[..1], "VERDICT_REJECT", "it is broken").is_empty());
    assert!(settle(&rest, &deliveries[1..], "VERDICT_ACK", "").is_empty());

    let letters = |name: &str| {
        let path = format!("/v1/subscriptions/{name}/dead-letters");
        let told = ask(&rest.tilde.url, "GET", &path, &[("accept", "application/x-ndjson")], b"");
        assert_eq!((told.status(), told.header("content-type")), (200, Some("application/x-ndjson")));
        let lines: Vec<Value> = told.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.into_iter().filter_map(|line| line.get("message").cloned()).collect::<Vec<_>>()
    };
    let found = letters("work");
    assert_eq!((found.len(), &found[0]["text"]), (1, &json!("bad")));
    let attributes = found[0]["attributes"].as_object().unwrap();
    assert!(attributes.values().any(|value| value == "it is broken"), "{attributes:?}");
    assert_eq!(letters("other").len(), 0);
    rest.refused("GET", "/v1/subscriptions/nobody/dead-letters", Value::Null, 404, "SUBSCRIPTION_NOT_FOUND");
    rest.refused("GET", &format!("{PATH}/dead-letters?topic=x"), Value::Null, 400, "REQUEST_INVALID");

    let redrive = |dry: bool| rest.call("POST", &format!("{PATH}/redrive"), json!({ "dryRun": dry }), 200);
    assert_eq!(redrive(true), json!({ "redrivenMessages": "1" }));
    assert_eq!(redrive(false), json!({ "redrivenMessages": "1" }));
    let again = pull(&rest, 1);
    assert_eq!(again[0]["message"]["text"], "bad");
}

#[test]
fn a_pull_that_breaks_off_keeps_nothing_from_the_next() {
    let rest = Rest::start();
    rest.call("PUT", PATH, json!({ "topics": ["a"] }), 201);
    let mut line = crate::support::http::Line::to(&rest.tilde.url);
    let body = json!({ "maxWait": "20s" }).to_string();
    line.request("POST", &format!("{PATH}/pull"), &[("content-type", "application/json")], body.as_bytes());
    crate::support::http::until("it waits", || rest.get(PATH)["stats"]["consumers"] == 1);
    drop(line);
    crate::support::http::until("it is gone", || rest.get(PATH)["stats"]["consumers"] == 0);
    rest.say("a", "x");
    assert_eq!(pull(&rest, 1)[0]["message"]["text"], "x");
}
