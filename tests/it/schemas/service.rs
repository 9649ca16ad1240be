//! The registry: versions, ids, compatibility, deletion, and what refers to what.

use prost_types::FieldMask;
use tilde::pb::v1::{
    CheckCompatibilityRequest, Compatibility, DeleteSchemaRequest, GetSchemaRequest, GetSchemaRulesRequest,
    ListSchemasRequest, LookupSchemaRequest, SchemaReference, SchemaRules, UpdateSchemaRulesRequest,
    ValidatePayloadRequest,
};
use tonic::Code;

use super::*;

fn get(subject: &str, version: u32) -> GetSchemaRequest {
    GetSchemaRequest { subject: subject.to_owned(), version, ..Default::default() }
}

fn delete(subject: &str, version: u32, permanent: bool) -> DeleteSchemaRequest {
    DeleteSchemaRequest { subject: subject.to_owned(), version, permanent, ..Default::default() }
}

fn rules(subject: &str, compatibility: Compatibility, read_only: bool) -> UpdateSchemaRulesRequest {
    let rules = Some(SchemaRules { compatibility: compatibility.into(), read_only: Some(read_only) });
    UpdateSchemaRulesRequest { subject: subject.to_owned(), rules, ..Default::default() }
}

#[tokio::test]
async fn the_same_is_registered_once_and_has_one_id() {
    let broker = Tilde::start(&[]);
    let mut schemas = schemas(&broker).await;
    assert_eq!(register(&mut schemas, "a", record(ID)).await.unwrap(), (1, 1, true));
    assert_eq!(register(&mut schemas, "a", record(ID)).await.unwrap(), (1, 1, false));
    let spaced = record(&ID.replace(',', " ,\n "));
    assert_eq!(register(&mut schemas, "a", spaced.clone()).await.unwrap(), (1, 1, false));
    assert_eq!(register(&mut schemas, "b", spaced).await.unwrap(), (1, 1, true));
    let both = || record(&format!("{ID},{NOTE}"));
    assert_eq!(register(&mut schemas, "a", both()).await.unwrap(), (2, 2, true));
    let newest = schemas.get_schema(get("a", 0)).await.unwrap().into_inner().schema.unwrap();
    assert_eq!((newest.version, newest.id, &newest.text), (2, 2, &both().unwrap().text));
    let by_id = GetSchemaRequest { id: 1, ..Default::default() };
    assert_eq!(schemas.get_schema(by_id).await.unwrap().into_inner().schema.unwrap().text, record(ID).unwrap().text);
    let lookup = |schema| LookupSchemaRequest { subject: "a".into(), schema, ..Default::default() };
    let found = schemas.lookup_schema(lookup(both())).await.unwrap().into_inner().schema.unwrap();
    assert_eq!((found.version, found.id), (2, 2));
    for (status, missing) in [
        (schemas.lookup_schema(lookup(record(COUNT))).await.unwrap_err(), "schema"),
        (schemas.get_schema(get("a", 7)).await.unwrap_err(), "version"),
        (schemas.get_schema(get("nobody", 0)).await.unwrap_err(), "subject"),
        (schemas.get_schema(GetSchemaRequest { id: 77, ..Default::default() }).await.unwrap_err(), "schema"),
    ] {
        assert_eq!(refusal(&status, "missing"), ("SCHEMA_NOT_FOUND".into(), missing.into()), "{status:?}");
    }
}

#[tokio::test]
async fn a_mask_says_which_rules_are_changed() {
    let broker = Tilde::in_memory();
    let mut schemas = schemas(&broker).await;
    let update = |mask: &[&str], rules| {
        let paths = mask.iter().map(|path| (*path).to_owned()).collect();
        UpdateSchemaRulesRequest { update_mask: Some(FieldMask { paths }), ..rules }
    };
    let told =
        |compatibility: Compatibility, read_only| Some(SchemaRules { compatibility: compatibility.into(), read_only });
    let full = || rules("a", Compatibility::Full, true);
    let nothing = || UpdateSchemaRulesRequest { subject: "a".into(), ..Default::default() };
    for (request, now) in [
        (update(&["compatibility"], full()), told(Compatibility::Full, None)),
        (update(&["read_only"], full()), told(Compatibility::Full, Some(true))),
        (update(&["compatibility"], nothing()), told(Compatibility::Unspecified, Some(true))),
        (update(&["read_only"], nothing()), None),
        (update(&["read_only", "compatibility"], full()), told(Compatibility::Full, Some(true))),
        (update(&[], rules("a", Compatibility::None, false)), told(Compatibility::None, Some(false))),
        (nothing(), None),
    ] {
        let answer = schemas.update_schema_rules(request).await.unwrap().into_inner();
        let get = GetSchemaRulesRequest { subject: "a".into(), ..Default::default() };
        let kept = schemas.get_schema_rules(get).await.unwrap().into_inner();
        assert_eq!((answer.rules, kept.rules), (now, now));
    }
    let refused = schemas.update_schema_rules(update(&["normalize"], full())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("it takes compatibility, read_only"), "{refused}");
}

#[tokio::test]
async fn many_who_register_at_the_same_time_give_each_schema_one_id() {
    let broker = Tilde::start(&[]);
    let mut one = schemas(&broker).await;
    one.update_schema_rules(rules("", Compatibility::None, false)).await.unwrap();
    let many = (0..40).map(|n| {
        let mut schemas = one.clone();
        let field = format!(r#"{{"name":"f{}","type":"int"}}"#, n % 4);
        tokio::spawn(async move { register(&mut schemas, &format!("s{}", n % 10), record(&field)).await })
    });
    let mut added = 0;
    let mut of_schema = [0; 4];
    for (n, done) in many.collect::<Vec<_>>().into_iter().enumerate() {
        let (_, id, created) = done.await.unwrap().unwrap();
        added += usize::from(created);
        assert!(of_schema[n % 4] == 0 || of_schema[n % 4] == id, "one id a schema");
        of_schema[n % 4] = id;
    }
    of_schema.sort_unstable();
    // Each of ten subjects was brought two of them, twice.
    assert_eq!((added, of_schema), (20, [1, 2, 3, 4]));
}

#[tokio::test]
async fn a_next_version_gets_on_with_the_one_before() {
    let broker = Tilde::start(&[]);
    let mut schemas = schemas(&broker).await;
    register(&mut schemas, "a", record(ID)).await.unwrap();
    let wider = || record(&format!("{ID},{COUNT}"));
    let refused = register(&mut schemas, "a", wider()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refusal(&refused, "compatibility"), ("SCHEMA_INCOMPATIBLE".into(), "BACKWARD".into()));
    assert!(refused.message().contains("version 1") && refused.message().contains("$.count"), "{refused:?}");
    let check = CheckCompatibilityRequest { subject: "a".into(), schema: wider(), ..Default::default() };
    let verdict = schemas.check_compatibility(check.clone()).await.unwrap().into_inner();
    assert!(!verdict.compatible && verdict.problems.len() == 1, "{verdict:?}");
    // What reads the old one may follow if that is all that is asked for, or nothing is.
    schemas.update_schema_rules(rules("a", Compatibility::Forward, false)).await.unwrap();
    assert!(schemas.check_compatibility(check).await.unwrap().into_inner().compatible);
    assert_eq!(register(&mut schemas, "a", wider()).await.unwrap(), (2, 2, true));
    schemas.update_schema_rules(rules("", Compatibility::None, false)).await.unwrap();
    let other = || schema(SchemaType::Json, r#"{"type":"object"}"#);
    assert!(register(&mut schemas, "a", other()).await.is_err(), "a rule of its own goes before that of all");
    register(&mut schemas, "b", record(ID)).await.unwrap();
    register(&mut schemas, "b", other()).await.unwrap();
    schemas.update_schema_rules(rules("b", Compatibility::None, true)).await.unwrap();
    let refused = register(&mut schemas, "b", record(NOTE)).await.unwrap_err();
    assert_eq!(refusal(&refused, "").0, "SCHEMA_READ_ONLY");
    assert_eq!(refusal(&schemas.delete_schema(delete("b", 0, false)).await.unwrap_err(), "").0, "SCHEMA_READ_ONLY");
}

#[tokio::test]
async fn what_was_deleted_is_out_of_the_way_and_what_is_referred_to_stays() {
    let broker = Tilde::start(&[]);
    let mut schemas = schemas(&broker).await;
    let money =
        schema(SchemaType::Avro, r#"{"type":"record","name":"shop.Money","fields":[{"name":"cents","type":"long"}]}"#);
    register(&mut schemas, "money", money).await.unwrap();
    let reference = SchemaReference { name: "shop.Money".into(), subject: "money".into(), version: 0 };
    let mut order = record(r#"{"name":"price","type":"shop.Money"}"#).unwrap();
    let refused = register(&mut schemas, "order", Some(order.clone())).await.unwrap_err();
    assert_eq!(refusal(&refused, "").0, "SCHEMA_INVALID");
    order.references = vec![reference.clone()];
    register(&mut schemas, "order", Some(order.clone())).await.unwrap();
    let found = schemas.get_schema(get("order", 0)).await.unwrap().into_inner().schema.unwrap();
    assert_eq!(found.references, [SchemaReference { version: 1, ..reference }], "the newest is named by its number");
    let valid = |payload: &[u8]| ValidatePayloadRequest {
        subject: "order".into(),
        payload: payload.to_vec(),
        ..Default::default()
    };
    schemas.validate_payload(valid(&[8])).await.unwrap();
    schemas.validate_payload(valid(&[0, 0, 0, 0, 2, 8])).await.unwrap();
    let status = schemas.validate_payload(valid(&[0x80])).await.unwrap_err();
    assert_eq!(refusal(&status, "path"), ("SCHEMA_VIOLATION".into(), "$.price.cents".into()));

    assert_eq!(
        refusal(&schemas.delete_schema(delete("money", 0, false)).await.unwrap_err(), "").0,
        "SCHEMA_REFERENCED"
    );
    let status = schemas.delete_schema(delete("order", 0, true)).await.unwrap_err();
    assert_eq!(refusal(&status, "").0, "SCHEMA_NOT_DELETED");
    assert_eq!(schemas.delete_schema(delete("order", 0, false)).await.unwrap().into_inner().versions, [1]);
    assert_eq!(refusal(&schemas.get_schema(get("order", 0)).await.unwrap_err(), "missing").1, "subject");
    let deleted = GetSchemaRequest { deleted: true, ..get("order", 1) };
    assert!(schemas.get_schema(deleted.clone()).await.unwrap().into_inner().schema.unwrap().deleted);
    // What comes again is another version, under the same id.
    assert_eq!(register(&mut schemas, "order", Some(order)).await.unwrap(), (2, 2, true));
    assert_eq!(schemas.delete_schema(delete("order", 1, true)).await.unwrap().into_inner().versions, [1]);
    assert!(schemas.get_schema(deleted).await.is_err());
    let by_id = GetSchemaRequest { id: 2, ..Default::default() };
    assert!(schemas.get_schema(by_id).await.is_ok(), "payloads still name it");
}

#[tokio::test]
async fn everything_is_there_after_a_crash_and_gone_with_its_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Tilde::start_in(directory.path(), &[]);
    broker.run(&["namespace", "create", "team"]).ok();
    let mut client = schemas(&broker).await;
    for n in 0..25 {
        let field = format!(r#"{{"name":"f{n}","type":"int","default":0}}"#);
        register(&mut client, &format!("s/{}", n % 3), record(&field)).await.unwrap();
    }
    let of_team = RegisterSchemaRequest { namespace: "team".into(), subject: "s".into(), schema: record(ID) };
    client.register_schema(of_team.clone()).await.unwrap();
    client.update_schema_rules(rules("s/1", Compatibility::Full, false)).await.unwrap();
    let list = |namespace: &str, page_token| ListSchemasRequest {
        namespace: namespace.into(),
        page_size: 7,
        page_token,
        ..Default::default()
    };
    let before = listed(&mut client, list).await;
    assert_eq!(before.len(), 25);
    broker.kill();
    broker = Tilde::start_in(directory.path(), &[]);
    let mut client = schemas(&broker).await;
    assert_eq!(listed(&mut client, list).await, before);
    broker.run(&["namespace", "delete", "team", "--yes"]).ok();
    broker.run(&["namespace", "create", "team"]).ok();
    let page = client.list_schemas(list("team", String::new())).await.unwrap().into_inner();
    assert!(page.schemas.is_empty());
    let again = client.register_schema(of_team).await.unwrap().into_inner().schema.unwrap();
    assert_eq!((again.version, again.id), (1, 1));
}

/// All pages of the default namespace.
async fn listed(client: &mut Schemas, list: impl Fn(&str, String) -> ListSchemasRequest) -> Vec<Schema> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let page = client.list_schemas(list("", token)).await.unwrap().into_inner();
        all.extend(page.schemas);
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_place() {
    let broker = Tilde::start(&[]);
    let mut schemas = schemas(&broker).await;
    let huge = format!(r#"{{"type":"enum","name":"E","symbols":["A"],"doc":"{}"}}"#, "x".repeat(600 << 10));
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(500), "}".repeat(500));
    for (subject, brought, place) in [
        ("", record(ID), ""),
        ("a\n", record(ID), ""),
        ("a", schema(SchemaType::Avro, "{"), "1:1"),
        ("a", record(r#"{"name":"f","type":"nothing"}"#), "$.fields[0].type"),
        ("a", schema(SchemaType::Avro, &huge), ""),
        ("a", schema(SchemaType::Avro, &deep), "$"),
        ("a", schema(SchemaType::Json, r#"{"$ref":"http://127.0.0.1:1/x.json"}"#), "$"),
        ("a", schema(SchemaType::Protobuf, "message M { int32 a = 1; int32 b = 1; }"), ""),
        ("a", schema(SchemaType::Protobuf, "import \"etc/passwd\"; message M {}"), ""),
    ] {
        let status = register(&mut schemas, subject, brought).await.unwrap_err();
        let (reason, path) = refusal(&status, "path");
        assert_eq!(reason, "SCHEMA_INVALID", "{status:?}");
        assert!(path.starts_with(place), "{path}: {status:?}");
    }
    assert_eq!(register(&mut schemas, "a", None).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_payload_is_validated_by_the_version_that_it_names() {
    let broker = Tilde::in_memory();
    let mut schemas = schemas(&broker).await;
    let field = r#"{"name":"n","type":"int"}"#;
    register(&mut schemas, "o", record(field)).await.unwrap();
    let more = format!(r#"{field},{{"name":"more","type":"int","default":0}}"#);
    register(&mut schemas, "o", record(&more)).await.unwrap();
    for (payload, version) in [(&[0, 0, 0, 0, 1, 2][..], 1), (&[0, 0, 0, 0, 2, 2, 4], 2), (&[2, 4], 2)] {
        let request = ValidatePayloadRequest { subject: "o".into(), payload: payload.to_vec(), ..Default::default() };
        let found = schemas.validate_payload(request).await.unwrap().into_inner().schema.unwrap();
        assert_eq!(found.version, version, "{payload:?}");
    }
}
