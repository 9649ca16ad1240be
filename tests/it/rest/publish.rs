//! Publishing, and what is there afterwards.

use base64::Engine as _;

use super::*;

#[test]
fn a_body_is_kept_as_it_is_with_all_that_is_said_of_it() {
    let rest = Rest::start();
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("tilde-attribute-lang", "de"),
        ("tilde-attribute-what", "gr%C3%BC%C3%9Fe"),
        ("tilde-ordering-key", "k1"),
        ("tilde-reply-to", "answers/1"),
        ("tilde-correlation-id", "c-1"),
        ("tilde-ttl", "1h"),
    ];
    let told = rest.publish("orders/new/messages", &headers, "{\"ü\": 1}".as_bytes());
    assert_eq!((told.status(), told.header("content-type")), (200, Some("application/json")));
    let published = told.json();
    assert_eq!((number(&published, "sequence"), &published["duplicate"]), (1, &json!(false)));
    assert!(published["durability"].as_str().unwrap().starts_with("DURABILITY_"), "{published}");
    assert!(!published["cursor"].as_str().unwrap().is_empty(), "{published}");

    let kept = rest.kept("topic=~").remove(0);
    assert_eq!(kept["publishTime"], published["publishTime"]);
    assert!(kept["expireTime"].as_str() > kept["publishTime"].as_str(), "{kept}");
    let mut kept = kept;
    for time in ["publishTime", "expireTime"] {
        kept.as_object_mut().unwrap().remove(time).unwrap();
    }
    let expected = json!({
        "topic": "orders/new", "sequence": "1", "text": "{\"ü\": 1}", "contentType": "application/json; charset=utf-8",
        "attributes": { "lang": "de", "what": "grüße" }, "orderingKey": "k1", "replyTo": "answers/1",
        "correlationId": "c-1",
    });
    assert_eq!(kept, expected);
}

#[test]
fn the_same_can_be_said_behind_a_question_mark() {
    let rest = Rest::start();
    let query = "a/messages?message_id=m&ordering_key=k%201&attributes.a.b=x%26y&reply_to=r&correlation_id=c&ttl=1h";
    assert_eq!(rest.publish(query, &[], b"x").status(), 200);
    let kept = rest.kept("topic=a").remove(0);
    assert_eq!((&kept["messageId"], &kept["orderingKey"]), (&json!("m"), &json!("k 1")));
    assert_eq!((&kept["attributes"], &kept["replyTo"]), (&json!({ "a.b": "x&y" }), &json!("r")));
    assert!(kept["expireTime"].is_string(), "{kept}");
}

#[test]
fn bytes_stay_bytes() {
    let rest = Rest::start();
    let bytes: Vec<u8> = (0..=255).collect();
    let data = |kind: &str, body: &[u8]| {
        assert_eq!(rest.publish("b/messages", &[("content-type", kind)], body).status(), 200);
        rest.kept("topic=b").pop().unwrap()
    };
    let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let kept = data("application/octet-stream", &bytes);
    assert_eq!((&kept["data"], kept.get("text")), (&json!(encoded), None));
    // What says that it is text and is none is kept all the same.
    assert_eq!(data("text/plain", &bytes)["data"], json!(encoded));
    assert_eq!(data("image/png", b"abc")["data"], json!("YWJj"));
    assert_eq!(data("text/plain", b"abc")["text"], json!("abc"));
    let empty = data("text/plain", b"");
    assert_eq!((empty.get("text"), empty.get("data")), (None, None));
}

#[test]
fn an_id_makes_it_safe_to_ask_twice() {
    let rest = Rest::start();
    let id = [("tilde-message-id", "once")];
    let first = rest.publish("a/messages", &id, b"x").json();
    let second = rest.publish("a/messages", &id, b"x").json();
    assert_eq!((&second["sequence"], &second["duplicate"]), (&first["sequence"], &json!(true)));
    assert_problem(&rest.publish("a/messages", &id, b"another"), 409, "MESSAGE_ID_REUSED");
    assert_eq!(rest.texts("a"), ["x"]);
}

#[test]
fn only_behind_what_was_read() {
    let rest = Rest::start();
    let behind = |sequence: &str| rest.publish(&format!("a/messages?expected_last_sequence={sequence}"), &[], b"x");
    let first = number(&behind("0").json(), "sequence");
    let problem = assert_problem(&behind("0"), 409, "SEQUENCE_CONFLICT");
    assert!(problem["metadata"].as_object().unwrap().values().any(|fact| *fact == json!(first.to_string())));
    assert_eq!(behind(&first.to_string()).status(), 200);
    assert_eq!(rest.texts("a").len(), 2);
}

#[test]
fn topics_may_have_anything_in_them() {
    let rest = Rest::start();
    for (path, topic) in [
        ("a/b/c", "a/b/c"),
        ("a%2Fb%2Fd", "a/b/d"),
        ("with%20blank", "with blank"),
        ("gr%C3%BC%C3%9Fe", "grüße"),
        ("100%25", "100%"),
        ("a%3Fb", "a?b"),
        // As it is, it would be the path to publish to x.
        ("x%2Fmessages", "x/messages"),
        ("a+b", "a+b"),
        ("../up", "../up"),
    ] {
        rest.say(path, topic);
        let read = rest.get(&format!("/v1/topics/{path}"));
        assert_eq!((&read["name"], &read["messages"]), (&json!(topic), &json!("1")), "{path}");
    }
    let listed = rest.get("/v1/topics");
    assert_eq!(listed["topics"].as_array().unwrap().len(), 9, "{listed}");
}

#[test]
fn batches_say_of_each_what_became_of_it() {
    let rest = Rest::start();
    let batch = |atomic: bool| {
        json!({ "atomic": atomic, "requests": [
            { "topic": "a", "text": "1", "attributes": { "k": "v" } },
            { "topic": "bad~", "text": "2" },
            { "topic": "a", "data": "Mw==", "messageId": "three" },
        ] })
    };
    let told = rest.call("POST", "/v1/messages", batch(false), 200);
    let results = told["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{told}");
    assert!(number(&results[0]["published"], "sequence") < number(&results[2]["published"], "sequence"));
    assert_eq!(results[1]["error"]["reason"], "TOPIC_INVALID", "{told}");
    assert_eq!(results[1]["error"]["code"], 3, "{told}");
    let problem = rest.refused("POST", "/v1/messages", batch(true), 400, "TOPIC_INVALID");
    assert_eq!(problem["field"], "requests[1].topic");
    assert_eq!(rest.kept("topic=~").len(), 2, "nothing of the second");

    let good = json!({ "atomic": true, "requests": [{ "topic": "b", "text": "1" }, { "topic": "b", "text": "2" }] });
    let told = rest.call("POST", "/v1/messages", good, 200);
    let sequence = |at: usize| number(&told["results"][at]["published"], "sequence");
    assert_eq!(sequence(1), sequence(0) + 1);
}

#[test]
fn topics_are_listed_page_by_page_and_purged() {
    let rest = Rest::start();
    for topic in ["a/1", "a/2", "b"] {
        for at in 0..3 {
            rest.say(topic, &at.to_string());
        }
    }
    let names = |told: &Value| {
        let topics = told["topics"].as_array().unwrap().clone();
        topics.iter().map(|topic| topic["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = rest.get("/v1/topics?page_size=2");
    assert_eq!(names(&first), ["a/1", "a/2"]);
    let token = first["nextPageToken"].as_str().unwrap().to_owned();
    let last = rest.get(&format!("/v1/topics?page_size=2&page_token={token}"));
    assert_eq!((names(&last), &last["nextPageToken"]), (vec!["b".to_owned()], &json!("")));
    assert_eq!(names(&rest.get("/v1/topics?pattern=a/~")), ["a/1", "a/2"]);

    let count = rest.call("DELETE", "/v1/messages?pattern=a/~&dry_run=true", Value::Null, 200);
    assert_eq!(count, json!({ "purgedMessages": "6" }));
    assert_eq!(rest.get("/v1/topics/a/1")["messages"], "3");
    rest.call("DELETE", "/v1/messages?pattern=a/~", Value::Null, 200);
    rest.refused("GET", "/v1/topics/a/1", Value::Null, 404, "TOPIC_NOT_FOUND");
    assert_eq!(names(&rest.get("/v1/topics")), ["b"]);
    rest.refused("DELETE", "/v1/messages", Value::Null, 400, "PATTERN_INVALID");
}

#[test]
fn namespaces_are_worlds_of_their_own() {
    let rest = Rest::start();
    let path = "/v1/namespaces/team";
    assert_problem(&rest.publish("a/messages?namespace=team", &[], b"x"), 404, "NAMESPACE_NOT_FOUND");
    let created = rest.call("PUT", path, json!({ "maxAge": "3600s" }), 200);
    assert_eq!((&created["name"], &created["maxAge"]), (&json!("team"), &json!("3600s")));
    assert_eq!(rest.call("PUT", path, json!({ "maxAge": "3600s" }), 200), created);
    rest.refused("PUT", path, json!({ "maxAge": "7200s" }), 409, "NAMESPACE_MISMATCH");
    rest.refused("PUT", "/v1/namespaces/Bad", json!({}), 400, "NAMESPACE_INVALID");

    let changed = json!({ "maxAge": "7200s", "maxStreams": 5, "etag": created["etag"] });
    let updated = rest.call("PATCH", &format!("{path}?update_mask=max_age"), changed.clone(), 200);
    assert_eq!((&updated["maxAge"], updated.get("maxStreams").filter(|m| !m.is_null())), (&json!("7200s"), None));
    rest.refused("PATCH", &format!("{path}?update_mask=max_age"), changed, 409, "ETAG_MISMATCH");

    assert_eq!(rest.publish("a/messages?namespace=team", &[], b"x").status(), 200);
    assert_eq!(rest.publish("a/messages", &[("tilde-namespace", "team")], b"y").status(), 200);
    assert_eq!(rest.kept("topic=a&namespace=team").len(), 2);
    assert_eq!(rest.kept("topic=a").len(), 0);
    let listed = rest.get("/v1/namespaces");
    let names: Vec<_> = listed["namespaces"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["default", "team"]);

    rest.call("DELETE", path, Value::Null, 204);
    rest.refused("DELETE", path, Value::Null, 404, "NAMESPACE_NOT_FOUND");
    rest.refused("GET", path, Value::Null, 404, "NAMESPACE_NOT_FOUND");
}

#[test]
fn the_server_says_what_it_is() {
    let rest = Rest::start();
    let info = rest.get("/v1/server");
    assert_eq!((&info["version"], &info["engine"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("memory")));
    assert!(info["limits"]["message_bytes"].is_string() && number(&info, "residentBytes") > 0, "{info}");
    let drained = rest.call("POST", "/v1/server/drain", json!({ "grace": "1s" }), 204);
    assert_eq!(drained, Value::Null);
    rest.tilde.wait().ok();
}
