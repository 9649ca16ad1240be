//! The document says what is served.

use super::*;

#[test]
fn every_operation_is_there_and_answers_as_it_says() {
    let rest = Rest::start();
    rest.say("x", "x");
    let document = rest.get("/openapi.json");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    let mut asked = 0;
    // The last stops the broker.
    let (last, others): (Vec<_>, Vec<_>) = paths.iter().partition(|(path, _)| path.ends_with("/drain"));
    for (template, operations) in others.into_iter().chain(last) {
        for (method, operation) in operations.as_object().unwrap() {
            let mut path = template.replace("{sequence}", "1");
            while let Some((front, rest)) = path.split_once('{') {
                path = format!("{front}x{}", rest.split_once('}').unwrap().1);
            }
            if operation["responses"]["200"]["content"].get("text/event-stream").is_some() {
                path += if template == "/v1/messages" { "?topic=~&stop_at_end" } else { "?stop_at_end" };
            }
            let body = operation.get("requestBody").map_or(Value::Null, |_| json!({}));
            let told = rest.ask(&method.to_uppercase(), &path, body);
            let status = told.status();
            asked += 1;
            assert!(status != 405 && status < 500, "{method} {path}: {}", told.text());
            if status >= 400 {
                let problem = assert_problem(&told, status, told.json()["reason"].as_str().unwrap_or_default());
                assert!(!problem["reason"].is_null(), "no route: {method} {path}: {problem}");
                continue;
            }
            let documented = &operation["responses"][status.to_string()];
            assert!(documented.is_object(), "{method} {path} answers {status}, which is not documented");
            match (documented.get("content"), told.header("content-type")) {
                (None, None) => assert!(told.body.is_empty()),
                (Some(content), Some(kind)) => assert!(content.get(kind).is_some(), "{method} {path} is {kind}"),
                (documented, kind) => panic!("{method} {path}: {documented:?} is documented, and {kind:?} came"),
            }
        }
    }
    assert!(asked > 25, "{asked} were asked");
    rest.tilde.wait().ok();
}
