//! The client and the serializers of confluent-kafka, from its package index: the registry is as they know it, and what they
//! write is valid to the broker.

use std::process::{Command, Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tilde::pb::v1::ValidatePayloadRequest;

use super::{registry, *};
use crate::support::{run, tool::tool};

/// What they wrote, of all cases, with the registry at this URL.
fn written(url: &str) -> Vec<Value> {
    let mut command = Command::new(tool("python-confluent"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/schemas/serializers.py")).arg(url);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    run(command, None).json()
}

#[tokio::test]
async fn what_serializers_write_is_valid() {
    let broker = Tilde::start(&registry::PROFILE);
    let mut schemas = schemas(&broker).await;
    let rows = written(&broker.profile(registry::NAME));
    assert_eq!(rows.len(), 18);
    for row in rows {
        let (subject, payload) = (row["subject"].as_str().unwrap(), STANDARD.decode(row["payload"].as_str().unwrap()));
        let payload = payload.unwrap();
        let validate = |subject: &str, payload: &[u8]| ValidatePayloadRequest {
            subject: subject.to_owned(),
            payload: payload.to_vec(),
            ..Default::default()
        };
        // The payload names its schema itself; and it is of its topic's subject.
        for subject in ["", subject] {
            let valid = schemas.validate_payload(validate(subject, &payload)).await;
            let found = valid.unwrap_or_else(|status| panic!("{row}: {status}")).into_inner().schema.unwrap();
            assert_eq!(found.id, row["id"], "{row}");
        }
        let cut = &payload[..payload.len() - 1];
        let status = schemas.validate_payload(validate("", cut)).await.expect_err("it was cut short");
        assert_eq!(refusal(&status, "path").0, "SCHEMA_VIOLATION", "{row}");
    }
    assert!(!broker.logged().contains("a call failed"), "{}", broker.logged());
}

#[test]
fn they_find_the_registry_on_the_brokers_own_port_too() {
    let broker = Tilde::in_memory();
    assert_eq!(written(&format!("{}/schema-registry", broker.url)).len(), 18);
    assert_eq!(broker.run(&["schema", "show", "item.proto"]).text().lines().count(), 1);
}
