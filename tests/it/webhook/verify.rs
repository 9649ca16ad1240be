//! Receivers verify with their own library: the one for Python, from its package index.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::support::{run, tool::tool};

const OTHER: &str = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY";

/// A secret, what came, headers that were changed so, and the body.
type Claim<'a> = (&'a str, &'a Received, &'a [(&'a str, &'a str)], &'a [u8]);

/// What the library says of each.
fn verify(all: &[Claim<'_>]) -> Vec<String> {
    let lines = all.iter().map(|(secret, came, changed, body)| {
        let mut headers = json!({});
        for (name, value) in &came.headers {
            headers[name.as_str()] = value.to_str().unwrap().into();
        }
        for (name, value) in *changed {
            headers[*name] = (*value).into();
        }
        json!({"secret": secret, "headers": headers, "body": STANDARD.encode(body)}).to_string()
    });
    let input = lines.collect::<Vec<_>>().join("\n");
    let mut command = std::process::Command::new(tool("python-webhooks"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/webhook/verify.py"));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    run(command, Some(input.as_bytes())).text().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_takes_ours_and_refuses_what_was_tampered_with_or_is_old() {
    let mut target = Receiver::start(|_| Reply::of(200)).await;
    let rig = Rig::start();
    rig.create(&target.url, &["--push-secret", SECRET, "--push-secret", OTHER]);
    rig.publish(["Gr\u{fc}\u{df}e"]);
    let came = target.soon().await;
    let tampered = [&came.body[..], b" "].concat();
    let now: i64 = came.header("webhook-timestamp").parse().unwrap();
    let (old, late) = ((now - 600).to_string(), (now + 1).to_string());
    let stranger = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let said = verify(&[
        (SECRET, &came, &[], &came.body),
        (OTHER, &came, &[], &came.body),
        (SECRET, &came, &[], &tampered),
        (SECRET, &came, &[("webhook-id", "msg_other")], &came.body),
        (SECRET, &came, &[("webhook-timestamp", &late)], &came.body),
        (SECRET, &came, &[("webhook-timestamp", &old)], &came.body),
        (stranger, &came, &[], &came.body),
    ]);
    assert_eq!(said[..2], ["taken", "taken"]);
    let unsigned = "refused: No matching signature found";
    assert_eq!(said[2..5], [unsigned; 3]);
    assert_eq!(said[5], "refused: Message timestamp too old");
    assert_eq!(said[6], unsigned);
}
