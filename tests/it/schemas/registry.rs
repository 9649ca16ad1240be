//! The registry protocol, route by route: what clients are answered, the numbers that they branch on, and what survives.

use serde_json::{Value, json};

use crate::support::{
    Tilde, engine,
    nats::Nats,
    plain::{Told, ask},
    proxy,
};

pub const NAME: &str = "schema-registry";
pub const PROFILE: [&str; 2] = ["--profile", "schema-registry=127.0.0.1:0"];

const INT: &str = r#"{"schema":"\"int\""}"#;
const LONG: &str = r#"{"schema":"\"long\""}"#;
const STRING: &str = r#"{"schema":"\"string\""}"#;
const JSON: &str = r#"{"schema":"{\"type\":\"object\"}","schemaType":"JSON"}"#;

/// A registry as its clients know it.
struct Registry(String);

impl Registry {
    /// At both places of a broker: on a port of its own, and on the broker's.
    fn both() -> [(Tilde, Registry); 2] {
        let (own, beside) = (Tilde::start(&PROFILE), Tilde::in_memory());
        let urls = [own.profile(NAME), format!("{}/schema-registry", beside.url)];
        let [first, second] = urls.map(Registry);
        [(own, first), (beside, second)]
    }

    #[track_caller]
    fn told(&self, method: &str, path: &str, body: &str) -> Told {
        let told = ask(method, &format!("{}{path}", self.0), &[], body.as_bytes());
        assert_eq!(told.header("content-type"), Some("application/vnd.schemaregistry.v1+json"), "{method} {path}");
        told
    }

    /// What is answered to what must succeed.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let told = self.told(method, path, body);
        assert_eq!(told.status(), 200, "{method} {path}: {}", told.text());
        told.json()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "")
    }

    /// Refusals: a method, a path, a body, the status and the number.
    #[track_caller]
    fn refuses(&self, rows: &[(&str, &str, &str, u16, u32)]) {
        for (method, path, body, status, number) in rows {
            let told = self.told(method, path, body);
            let error = told.json();
            let expected = (*status, json!(number));
            assert_eq!((told.status(), error["error_code"].clone()), expected, "{method} {path}: {error}");
            assert!(!error["message"].as_str().unwrap().is_empty(), "{method} {path}");
        }
    }
}

#[test]
fn every_route_answers_as_its_clients_know_it() {
    for (_broker, registry) in Registry::both() {
        assert_eq!(registry.get("/"), json!({}));
        assert_eq!(registry.get(""), json!({}));
        assert_eq!(registry.get("/schemas/types"), json!(["JSON", "PROTOBUF", "AVRO"]));
        assert_eq!(registry.get("/contexts"), json!(["."]));
        assert_eq!(registry.get("/subjects"), json!([]));
        assert_eq!(registry.ask("POST", "/subjects/a/versions", INT), json!({"id": 1}));
        assert_eq!(registry.ask("POST", "/subjects/a/versions", LONG), json!({"id": 2}));
        assert_eq!(registry.ask("POST", "/subjects/b/versions?normalize=true", INT), json!({"id": 1}));
        assert_eq!(registry.ask("POST", "/subjects/j/versions", JSON), json!({"id": 3}));
        assert_eq!(registry.get("/subjects/"), json!(["a", "b", "j"]));
        assert_eq!(registry.get("/subjects?subjectPrefix=a"), json!(["a"]));
        assert_eq!(registry.get("/subjects?subjectPrefix=:*:b"), json!(["b"]));
        assert_eq!(registry.get("/subjects?offset=1&limit=1"), json!(["b"]));
        assert_eq!(registry.get("/subjects/a/versions"), json!([1, 2]));
        assert_eq!(registry.get("/subjects/a/versions?offset=1&limit=-1"), json!([2]));

        let first = json!({"subject": "a", "version": 1, "id": 1, "schema": "\"int\""});
        let second = json!({"subject": "a", "version": 2, "id": 2, "schema": "\"long\""});
        let of_json =
            json!({"subject": "j", "version": 1, "id": 3, "schemaType": "JSON", "schema": "{\"type\":\"object\"}"});
        assert_eq!(registry.get("/subjects/a/versions/1"), first);
        for newest in ["2", "latest", "LATEST", "-1"] {
            assert_eq!(registry.get(&format!("/subjects/a/versions/{newest}")), second, "{newest}");
        }
        assert_eq!(registry.get("/subjects/a/versions/1/schema"), json!("int"));
        assert_eq!(registry.told("GET", "/subjects/j/versions/latest/schema", "").text(), "{\"type\":\"object\"}");
        assert_eq!(registry.ask("POST", "/subjects/a", INT), first);
        assert_eq!(registry.ask("POST", "/subjects/j?normalize=False&deleted=False", JSON), of_json);

        assert_eq!(registry.get("/schemas/ids/1"), json!({"schema": "\"int\""}));
        let by_id = json!({"schema": "{\"type\":\"object\"}", "schemaType": "JSON"});
        assert_eq!(registry.get("/schemas/ids/3?subject=j&fetchMaxId=false"), by_id);
        assert_eq!(registry.get("/schemas/ids/1?fetchMaxId=true"), json!({"schema": "\"int\"", "maxId": 3}));
        assert_eq!(registry.get("/schemas/ids/2/schema"), json!("long"));
        assert_eq!(registry.get("/schemas/ids/1/subjects"), json!(["a", "b"]));
        assert_eq!(registry.get("/schemas/ids/1/subjects?subject=b"), json!(["b"]));
        let versions = json!([{"subject": "a", "version": 1}, {"subject": "b", "version": 1}]);
        assert_eq!(registry.get("/schemas/ids/1/versions"), versions);
        let of_b = json!({"subject": "b", "version": 1, "id": 1, "schema": "\"int\""});
        assert_eq!(registry.get("/schemas"), json!([first, second, of_b, of_json]));
        assert_eq!(registry.get("/schemas?latestOnly=true"), json!([second, of_b, of_json]));
        assert_eq!(registry.get("/schemas?latestOnly=true&offset=1&limit=1"), json!([of_b]));
        assert_eq!(registry.get("/schemas?subjectPrefix=a"), json!([first, second]));
    }
}

#[test]
fn rules_are_those_of_the_subject_or_of_all() {
    for (_broker, registry) in Registry::both() {
        let put = |path: &str, body: &str| registry.ask("PUT", path, body);
        assert_eq!(registry.get("/config"), json!({"compatibilityLevel": "BACKWARD"}));
        assert_eq!(put("/config", r#"{"compatibility":"full"}"#), json!({"compatibility": "FULL"}));
        assert_eq!(registry.get("/config"), json!({"compatibilityLevel": "FULL"}));
        assert_eq!(registry.get("/config/a?defaultToGlobal=TRUE"), json!({"compatibilityLevel": "FULL"}));
        for level in
            ["NONE", "BACKWARD", "FORWARD", "FULL", "BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE", "FULL_TRANSITIVE"]
        {
            let body = json!({"compatibility": level}).to_string();
            assert_eq!(put("/config/a", &body), json!({"compatibility": level}));
            assert_eq!(registry.get("/config/a"), json!({"compatibilityLevel": level}));
        }
        assert_eq!(registry.get("/mode"), json!({"mode": "READWRITE"}));
        // One of the two is the subject's own, the other that of all.
        assert_eq!(put("/mode", r#"{"mode":"READONLY"}"#), json!({"mode": "READONLY"}));
        registry.refuses(&[
            ("GET", "/mode/a", "", 404, 40409),
            ("POST", "/subjects/a/versions", INT, 422, 42205),
            ("POST", "/subjects/c/versions", INT, 422, 42205),
        ]);
        assert_eq!(registry.get("/mode/a?defaultToGlobal=true"), json!({"mode": "READONLY"}));
        assert_eq!(put("/mode/a?force=false", r#"{"mode":"READWRITE"}"#), json!({"mode": "READWRITE"}));
        assert_eq!(registry.ask("POST", "/subjects/a/versions", INT), json!({"id": 1}));
        assert_eq!(registry.ask("DELETE", "/config/a", ""), json!({"compatibilityLevel": "FULL_TRANSITIVE"}));
        registry.refuses(&[("GET", "/config/a", "", 404, 40408), ("DELETE", "/config/a", "", 404, 40401)]);
        assert_eq!(registry.get("/mode/a"), json!({"mode": "READWRITE"}));
        assert_eq!(registry.ask("DELETE", "/mode/a", ""), json!({"mode": "READWRITE"}));
        registry.refuses(&[("DELETE", "/mode/a", "", 404, 40401), ("DELETE", "/subjects/a", "", 422, 42205)]);
        assert_eq!(registry.ask("DELETE", "/mode", ""), json!({"mode": "READONLY"}));
        assert_eq!(registry.get("/mode"), json!({"mode": "READWRITE"}));
        assert_eq!(registry.ask("DELETE", "/config", ""), json!({"compatibilityLevel": "FULL"}));
        assert_eq!(registry.get("/config"), json!({"compatibilityLevel": "BACKWARD"}));
        // Rules go with their subject.
        put("/config/a", r#"{"compatibility":"NONE"}"#);
        assert_eq!(registry.ask("DELETE", "/subjects/a", ""), json!([1]));
        registry.refuses(&[("GET", "/config/a", "", 404, 40408)]);
    }
}

#[test]
fn compatibility_is_told_before_anything_is_registered() {
    for (_broker, registry) in Registry::both() {
        let check = |path: &str, body: &str| registry.ask("POST", &format!("/compatibility/subjects/{path}"), body);
        let (yes, no) = (json!({"is_compatible": true}), json!({"is_compatible": false}));
        assert_eq!(check("a/versions/latest", INT), yes, "anything may be the first");
        assert_eq!(check("a/versions", INT), yes);
        registry.ask("POST", "/subjects/a/versions", INT);
        registry.ask("POST", "/subjects/a/versions", LONG);
        assert_eq!(check("a/versions/latest", STRING), no);
        assert_eq!(check("a/versions/latest", INT), no);
        assert_eq!(check("a/versions/1", INT), yes);
        assert_eq!(check("a/versions/1?verbose=true", INT), json!({"is_compatible": true, "messages": []}));
        let told = check("a/versions?verbose=True", STRING);
        assert!(told["messages"][0].as_str().is_some_and(|message| message.contains("version 2")), "{told}");
        registry.refuses(&[
            ("POST", "/compatibility/subjects/a/versions/7", INT, 404, 40402),
            ("POST", "/compatibility/subjects/nobody/versions/1", INT, 404, 40401),
            ("POST", "/compatibility/subjects/a/versions/0", INT, 422, 42202),
            ("POST", "/compatibility/subjects/a/versions/latest", r#"{"schema":"{"}"#, 422, 42201),
            ("POST", "/compatibility/subjects/nobody/versions/latest", r#"{"schema":"{"}"#, 422, 42201),
            ("POST", "/subjects/a/versions", STRING, 409, 409),
        ]);
        assert_eq!(registry.get("/subjects/a/versions"), json!([1, 2]));
        registry.ask("PUT", "/config/a", r#"{"compatibility":"NONE"}"#);
        assert_eq!(check("a/versions/latest", STRING), yes);
    }
}

#[test]
fn what_is_deleted_goes_in_two_steps() {
    for (_broker, registry) in Registry::both() {
        for body in [INT, LONG] {
            registry.ask("POST", "/subjects/a/versions", body);
        }
        registry.refuses(&[
            ("DELETE", "/subjects/a?permanent=true", "", 404, 40405),
            ("DELETE", "/subjects/a/versions/2?permanent=true", "", 404, 40407),
            ("DELETE", "/subjects/a/versions/7", "", 404, 40402),
            ("DELETE", "/subjects/a/versions/0", "", 422, 42202),
            ("DELETE", "/subjects/nobody", "", 404, 40401),
            ("DELETE", "/subjects/nobody?permanent=true", "", 404, 40401),
            ("DELETE", "/subjects/nobody/versions/latest", "", 404, 40401),
        ]);
        assert_eq!(registry.ask("DELETE", "/subjects/a/versions/latest", ""), json!(2));
        registry.refuses(&[
            ("DELETE", "/subjects/a/versions/2", "", 404, 40406),
            ("GET", "/subjects/a/versions/2", "", 404, 40402),
            ("POST", "/subjects/a", LONG, 404, 40403),
        ]);
        assert_eq!(registry.get("/subjects/a/versions"), json!([1]));
        assert_eq!(registry.get("/subjects/a/versions?deleted=true"), json!([1, 2]));
        assert_eq!(registry.get("/subjects/a/versions?deletedOnly=true"), json!([2]));
        assert_eq!(registry.get("/subjects/a/versions/2?deleted=true")["id"], 2);
        assert_eq!(registry.ask("POST", "/subjects/a?deleted=true", LONG)["version"], 2);
        assert_eq!(registry.get("/schemas/ids/2/versions"), json!([]));
        assert_eq!(registry.get("/schemas/ids/2/subjects?deleted=true"), json!(["a"]));
        assert_eq!(registry.ask("DELETE", "/subjects/a/versions/latest?permanent=true", ""), json!(2));
        assert_eq!(registry.get("/subjects/a/versions?deleted=true"), json!([1]));
        assert_eq!(registry.ask("DELETE", "/subjects/a", ""), json!([1]));
        registry.refuses(&[
            ("DELETE", "/subjects/a", "", 404, 40404),
            ("GET", "/subjects/a/versions", "", 404, 40401),
            ("GET", "/subjects/a/versions/latest", "", 404, 40401),
            ("POST", "/subjects/a", INT, 404, 40401),
        ]);
        assert_eq!((registry.get("/subjects"), registry.get("/subjects?deleted=true")), (json!([]), json!(["a"])));
        assert_eq!(registry.get("/subjects?deletedOnly=true"), json!(["a"]));
        assert_eq!(registry.get("/schemas/ids/1"), json!({"schema": "\"int\""}), "payloads still name it");
        assert_eq!(registry.ask("DELETE", "/subjects/a?permanent=true", ""), json!([1]));
        assert_eq!(registry.get("/subjects?deleted=true"), json!([]));
        assert_eq!(registry.get("/schemas/ids/1"), json!({"schema": "\"int\""}));
    }
}

#[test]
fn two_rules_that_are_changed_at_the_same_time_are_both_changed() {
    for (_broker, registry) in Registry::both() {
        for n in 0..20 {
            let put = |path: &str, body: &str| drop(registry.ask("PUT", &format!("/{path}/s{n}"), body));
            std::thread::scope(|scope| {
                scope.spawn(|| put("config", r#"{"compatibility":"FULL"}"#));
                scope.spawn(|| put("mode", r#"{"mode":"READONLY"}"#));
            });
            assert_eq!(registry.get(&format!("/config/s{n}")), json!({"compatibilityLevel": "FULL"}));
            assert_eq!(registry.get(&format!("/mode/s{n}")), json!({"mode": "READONLY"}));
            let delete = |path: &str| drop(registry.ask("DELETE", &format!("/{path}/s{n}"), ""));
            delete("config");
            assert_eq!(registry.get(&format!("/mode/s{n}")), json!({"mode": "READONLY"}));
            delete("mode");
            registry.refuses(&[("GET", &format!("/mode/s{n}"), "", 404, 40409)]);
        }
    }
}

#[test]
fn what_refers_to_another_is_told_with_it() {
    for (_broker, registry) in Registry::both() {
        let money = r#"{"schema":"{\"type\":\"record\",\"name\":\"Money\",\"fields\":[{\"name\":\"cents\",\"type\":\"long\"}]}"}"#;
        let order = json!({
            "schema": r#"{"type":"record","name":"Order","fields":[{"name":"price","type":"Money"}]}"#,
            "schemaType": "AVRO",
            "references": [{"name": "Money", "subject": "money", "version": -1}],
        });
        registry.refuses(&[("POST", "/subjects/order/versions", &order.to_string(), 422, 42201)]);
        registry.ask("POST", "/subjects/money/versions", money);
        assert_eq!(registry.get("/subjects/money/versions/1/referencedby"), json!([]));
        assert_eq!(registry.ask("POST", "/subjects/order/versions", &order.to_string()), json!({"id": 2}));
        let references = json!([{"name": "Money", "subject": "money", "version": 1}]);
        for path in ["/subjects/order/versions/latest", "/schemas/ids/2"] {
            assert_eq!(registry.get(path)["references"], references, "the newest is named by its number: {path}");
        }
        assert_eq!(registry.ask("POST", "/subjects/order", &order.to_string())["references"], references);
        assert_eq!(registry.get("/subjects/money/versions/latest/referencedby"), json!([2]));
        registry.refuses(&[
            ("DELETE", "/subjects/money", "", 422, 42206),
            ("DELETE", "/subjects/money/versions/1", "", 422, 42206),
            ("GET", "/subjects/money/versions/2/referencedby", "", 404, 40402),
        ]);
        registry.ask("DELETE", "/subjects/order", "");
        assert_eq!(registry.ask("DELETE", "/subjects/money", ""), json!([1]));
    }
}

#[test]
fn what_makes_no_sense_has_a_number() {
    for (broker, registry) in Registry::both() {
        registry.ask("POST", "/subjects/a/versions", INT);
        let large = format!(r#"{{"schema":"{}"}}"#, "x".repeat(600 << 10));
        let huge = "x".repeat(5 << 20);
        registry.refuses(&[
            ("GET", "/associations/resources/-/orders?resourceType=topic", "", 404, 404),
            ("POST", "/associations", "{}", 404, 404),
            ("GET", "/nothing", "", 404, 404),
            ("GET", "/subjects/a/metadata", "", 404, 404),
            ("GET", "/schemas/ids/x", "", 404, 404),
            ("GET", "/subjects/%ff/versions", "", 404, 404),
            ("PUT", "/subjects/a", "", 405, 405),
            ("GET", "/subjects/nobody/versions", "", 404, 40401),
            ("GET", "/subjects/a/versions/7", "", 404, 40402),
            ("GET", "/schemas/ids/7", "", 404, 40403),
            ("GET", "/schemas/ids/7/subjects", "", 404, 40403),
            ("GET", "/schemas/ids/7/versions", "", 404, 40403),
            ("GET", "/config/a", "", 404, 40408),
            ("GET", "/config/nobody", "", 404, 40408),
            ("GET", "/mode/a", "", 404, 40409),
            ("POST", "/subjects/a/versions", "", 400, 400),
            ("POST", "/subjects/a/versions", "[1]", 400, 400),
            ("POST", "/subjects/a/versions", "{}", 422, 42201),
            ("POST", "/subjects/a/versions", r#"{"schema":"{"}"#, 422, 42201),
            ("POST", "/subjects/a/versions", r#"{"schema":"\"int\"","schemaType":"XML"}"#, 422, 42201),
            ("POST", "/subjects/a/versions", r#"{"schema":"\"int\"","ruleSet":{"domainRules":[]}}"#, 422, 42201),
            ("POST", "/subjects/a/versions", r#"{"schema":"\"int\"","metadata":{"tags":{}}}"#, 422, 42201),
            ("POST", "/subjects/a/versions", r#"{"schema":"\"int\"","id":7}"#, 422, 42205),
            ("POST", "/subjects/a/versions", r#"{"schema":"\"int\"","version":7}"#, 422, 42205),
            ("POST", "/subjects/a/versions", &large, 422, 42201),
            ("POST", "/subjects/a/versions", &huge, 413, 413),
            ("POST", "/subjects/a%0A/versions", INT, 422, 42208),
            ("GET", "/subjects/a/versions/0", "", 422, 42202),
            ("GET", "/subjects/a/versions/first", "", 422, 42202),
            ("GET", "/subjects/a/versions/2147483648", "", 422, 42202),
            ("PUT", "/config", r#"{"compatibility":"SIDEWAYS"}"#, 422, 42203),
            ("PUT", "/config", r#"{"compatibility":"UNSPECIFIED"}"#, 422, 42203),
            ("PUT", "/config", "{}", 422, 42203),
            ("PUT", "/config/a", r#"{"compatibility":"FULL","defaultRuleSet":{}}"#, 422, 42203),
            ("PUT", "/mode", r#"{"mode":"IMPORT"}"#, 422, 42204),
            ("PUT", "/mode/a", r#"{"mode":"FORWARD"}"#, 422, 42204),
            ("PUT", "/mode/a", "{}", 422, 42204),
        ]);
        // Nothing of it has changed anything.
        assert_eq!(registry.get("/schemas").as_array().map(Vec::len), Some(1));
        assert_eq!(registry.get("/config"), json!({"compatibilityLevel": "BACKWARD"}));
        assert!(!broker.logged().contains("panicked"), "{}", broker.logged());
    }
}

#[test]
fn subjects_have_any_name_and_bodies_any_type() {
    for (_broker, registry) in Registry::both() {
        for (path, subject) in [
            ("a%2Fb%3Ac%20d", "a/b:c d"),
            ("topic-value", "topic-value"),
            ("%3A.ctx%3Aorders", ":.ctx:orders"),
            ("Gr%C3%BC%C3%9Fe%25", "Gr\u{fc}\u{df}e%"),
            ("versions", "versions"),
            ("com.shop.Order+Line", "com.shop.Order+Line"),
        ] {
            for kind in ["application/json", "application/vnd.schemaregistry.v1+json", "application/octet-stream"] {
                let url = format!("{}/subjects/{path}/versions", registry.0);
                let told = ask("POST", &url, &[("content-type", kind)], INT.as_bytes());
                assert_eq!((told.status(), told.json()), (200, json!({"id": 1})), "{kind}");
            }
            assert_eq!(registry.get(&format!("/subjects/{path}/versions/1"))["subject"], subject);
            registry.ask("PUT", &format!("/config/{path}"), r#"{"compatibility":"FULL"}"#);
            assert_eq!(registry.get(&format!("/config/{path}")), json!({"compatibilityLevel": "FULL"}));
        }
        assert_eq!(registry.get("/subjects").as_array().map(Vec::len), Some(6));
    }
}

/// What the client in Java sends, header by header; it is not to be had from the repository that Maven asks by itself.
#[test]
fn the_calls_of_the_client_in_java_are_answered() {
    for (_broker, registry) in Registry::both() {
        let call = |method: &str, path: &str, body: &str| {
            let headers = [
                ("content-type", "application/vnd.schemaregistry.v1+json"),
                ("accept", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
                ("user-agent", "Java/17.0.9"),
            ];
            let told = ask(method, &format!("{}{path}", registry.0), &headers, body.as_bytes());
            assert_eq!(told.status(), 200, "{method} {path}: {}", told.text());
            told.json()
        };
        let order = json!({
            "schema": r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"}]}"#,
            "schemaType": "AVRO", "references": [], "metadata": null, "ruleSet": null,
        })
        .to_string();
        // KafkaAvroSerializer registers, or looks up.
        assert_eq!(call("POST", "/subjects/orders-value/versions?normalize=false", &order), json!({"id": 1}));
        let found = call("POST", "/subjects/orders-value?normalize=false&deleted=false", &order);
        assert_eq!(
            (&found["id"], &found["version"], &found["subject"]),
            (&json!(1), &json!(1), &json!("orders-value"))
        );
        // With use.latest.version it takes the newest.
        assert_eq!(call("GET", "/subjects/orders-value/versions/latest", "")["id"], 1);
        // KafkaAvroDeserializer, and the check of what a payload was written with.
        let text = call("GET", "/schemas/ids/1?fetchMaxId=false&subject=orders-value", "");
        assert!(text["schema"].as_str().unwrap().contains("shop") && text.get("maxId").is_none(), "{text}");
        assert_eq!(call("GET", "/schemas/ids/1/versions?subject=orders-value", "")[0]["version"], 1);
        assert_eq!(
            call("GET", "/schemas/ids/1/subjects?subject=orders-value&deleted=true", ""),
            json!(["orders-value"])
        );
        assert_eq!(call("GET", "/subjects?subjectPrefix=&deleted=false", ""), json!(["orders-value"]));
        assert_eq!(call("GET", "/subjects/orders-value/versions?deleted=false", ""), json!([1]));
        let check = "/compatibility/subjects/orders-value/versions/latest?normalize=false&verbose=true";
        assert_eq!(call("POST", check, &order), json!({"is_compatible": true, "messages": []}));
        assert_eq!(
            call("PUT", "/config/orders-value", r#"{"compatibility":"FULL"}"#),
            json!({"compatibility": "FULL"})
        );
        assert_eq!(call("GET", "/config/orders-value?defaultToGlobal=true", ""), json!({"compatibilityLevel": "FULL"}));
        assert_eq!(call("GET", "/mode/orders-value?defaultToGlobal=true", ""), json!({"mode": "READWRITE"}));
        assert_eq!(call("GET", "/schemas/types", ""), json!(["JSON", "PROTOBUF", "AVRO"]));
        assert_eq!(call("DELETE", "/subjects/orders-value/versions/1?permanent=false", ""), json!(1));
        assert_eq!(call("DELETE", "/subjects/orders-value?permanent=true", ""), json!([1]));
    }
}

#[test]
fn who_takes_more_than_it_knows_is_told_the_version_too() {
    let broker = Tilde::in_memory();
    let url = format!("{}/schema-registry/subjects/a/versions", broker.url);
    let takes_more = [("confluent-accept-unknown-properties", "true")];
    assert_eq!(ask("POST", &url, &takes_more, INT.as_bytes()).json(), json!({"id": 1, "version": 1}));
}

#[test]
fn a_profile_has_the_subjects_of_its_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[profiles.schema-registry]\nlisten = \"127.0.0.1:0\"\nnamespace = \"team\"\n";
    std::fs::write(directory.path().join("tilde.toml"), config).unwrap();
    let broker = Tilde::start_in(directory.path(), &[]);
    let (team, all) = (Registry(broker.profile(NAME)), Registry(format!("{}/schema-registry", broker.url)));
    team.refuses(&[("GET", "/subjects", "", 404, 404)]);
    broker.run(&["namespace", "create", "team"]).ok();
    all.ask("POST", "/subjects/a/versions", INT);
    team.ask("POST", "/subjects/b/versions", LONG);
    assert_eq!((team.get("/subjects"), all.get("/subjects")), (json!(["b"]), json!(["a"])));
    // Each namespace counts by itself.
    assert_eq!(team.get("/schemas/ids/1"), json!({"schema": "\"long\""}));
    engine::forget(directory.path());
}

#[test]
fn a_header_says_in_which_namespace() {
    for (broker, registry) in Registry::both() {
        broker.run(&["namespace", "create", "team"]).ok();
        let ask = |method: &str, path: &str, namespace: &str, body: &str| {
            let header = ("tilde-namespace", namespace);
            ask(method, &format!("{}{path}", registry.0), &[header], body.as_bytes())
        };
        let put = |path: &str, body: &str| assert_eq!(ask("PUT", path, "team", body).status(), 200, "{path}");
        registry.ask("POST", "/subjects/a/versions", INT);
        assert_eq!(ask("POST", "/subjects/b/versions", "team", LONG).json(), json!({"id": 1}));
        put("/config", r#"{"compatibility":"FULL"}"#);
        put("/mode/b", r#"{"mode":"READONLY"}"#);
        for (path, there, here) in [
            ("/subjects", json!(["b"]), json!(["a"])),
            ("/schemas/ids/1", json!({"schema": "\"long\""}), json!({"schema": "\"int\""})),
            ("/schemas/ids/1/subjects", json!(["b"]), json!(["a"])),
            ("/config", json!({"compatibilityLevel": "FULL"}), json!({"compatibilityLevel": "BACKWARD"})),
            ("/mode/b?defaultToGlobal=true", json!({"mode": "READONLY"}), json!({"mode": "READWRITE"})),
        ] {
            assert_eq!((ask("GET", path, "team", "").json(), registry.get(path)), (there, here), "{path}");
            assert_eq!(ask("GET", path, "default", "").json(), registry.get(path), "{path}");
        }
        let compatible = "/compatibility/subjects/b/versions/latest";
        assert_eq!(ask("POST", compatible, "team", STRING).json(), json!({"is_compatible": false}));
        assert_eq!(registry.ask("POST", compatible, STRING), json!({"is_compatible": true}));
        assert_eq!(ask("DELETE", "/subjects/b", "team", "").json()["error_code"], 42205);
        put("/mode/b", r#"{"mode":"READWRITE"}"#);
        assert_eq!(ask("DELETE", "/subjects/b", "team", "").json(), json!([1]));
        for (namespace, status, number) in [("nobody", 404, 404), ("No!", 400, 400), ("\u{e9}", 400, 400)] {
            let told = ask("GET", "/subjects", namespace, "");
            assert_eq!((told.status(), told.json()["error_code"].clone()), (status, json!(number)), "{namespace}");
        }
    }
}

#[test]
fn a_protobuf_file_is_told_as_its_descriptor_to_who_asks() {
    let broker = Tilde::in_memory();
    let registry = Registry(format!("{}/schema-registry", broker.url));
    let text = "syntax = \"proto3\"; message M { int32 a = 1; }";
    let body = json!({"schema": text, "schemaType": "PROTOBUF"}).to_string();
    registry.ask("POST", "/subjects/a/versions", &body);
    let descriptor = registry.get("/schemas/ids/1?format=serialized")["schema"].clone();
    assert_eq!(registry.get("/subjects/a/versions/latest?format=serialized")["schema"], descriptor);
    assert_eq!(registry.get("/schemas/ids/1")["schema"], text);
    let described = json!({"schema": descriptor, "schemaType": "PROTOBUF"}).to_string();
    assert_eq!(registry.ask("POST", "/subjects/b/versions", &described), json!({"id": 1}), "it is the same");
    registry.ask("POST", "/subjects/c/versions", INT);
    assert_eq!(registry.get("/subjects/c/versions/1?format=serialized")["schema"], "\"int\"");
}

#[test]
fn a_page_of_another_site_registers_nothing() {
    for (_broker, registry) in Registry::both() {
        let url = format!("{}/subjects/a/versions", registry.0);
        for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
            assert_eq!(ask("POST", &url, &[header], INT.as_bytes()).status(), 403, "{header:?}");
        }
        assert_eq!(registry.get("/subjects"), json!([]));
    }
}

#[test]
fn everything_is_there_after_a_stop_and_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Tilde::start_in(directory.path(), &PROFILE);
    let registry = Registry(broker.profile(NAME));
    for (subject, body) in [("a", INT), ("a", LONG), ("b%2Fc", INT), ("j", JSON)] {
        registry.ask("POST", &format!("/subjects/{subject}/versions"), body);
    }
    registry.ask("DELETE", "/subjects/j", "");
    registry.ask("PUT", "/config/a", r#"{"compatibility":"NONE"}"#);
    registry.ask("PUT", "/mode/b%2Fc", r#"{"mode":"READONLY"}"#);
    registry.ask("PUT", "/config", r#"{"compatibility":"FULL_TRANSITIVE"}"#);
    let all = |registry: &Registry| {
        ["/schemas?deleted=true", "/subjects", "/config", "/config/a", "/mode", "/mode/b%2Fc", "/schemas/ids/3"]
            .map(|path| registry.get(path))
    };
    let before = all(&registry);
    for is_crash in [false, true] {
        if is_crash {
            broker.kill()
        } else {
            broker.stop()
        }
        broker = Tilde::start_in(directory.path(), &PROFILE);
        let registry = Registry(broker.profile(NAME));
        assert_eq!(all(&registry), before);
        registry.refuses(&[("POST", "/subjects/b%2Fc/versions", LONG, 422, 42205)]);
        assert_eq!(registry.ask("POST", "/subjects/a/versions", INT), json!({"id": 1}));
    }
    engine::forget(directory.path());
}

#[test]
fn a_store_that_fails_is_a_backend_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nats = Nats::start_in(tempfile::tempdir().unwrap().keep());
    let network = runtime.block_on(proxy::Proxy::to(&nats.urls()[0]));
    let broker = Tilde::start(&["--engine", "jetstream", "--nats", &network.url]);
    let registry = Registry(format!("{}/schema-registry", broker.url));
    registry.ask("POST", "/subjects/a/versions", INT);
    network.down(true);
    network.hush();
    registry.refuses(&[("POST", "/subjects/a/versions", LONG, 500, 50001)]);
    assert!(broker.logged().contains("schema-registry: a call failed"), "{}", broker.logged());
}
