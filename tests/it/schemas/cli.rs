//! `tilde schema` as a person uses it.

use std::fs;

use super::*;

#[test]
fn a_schema_is_registered_listed_shown_checked_and_deleted() {
    let broker = Tilde::start(&[]);
    let write = |name: &str, text: &str| fs::write(broker.directory().join(name), text).unwrap();
    write("order.avsc", &record(ID).unwrap().text);
    write("wider.json", &record(&format!("{ID},{COUNT}")).unwrap().text);
    let schema = |args: &[&str]| broker.run(&[&["schema"], args].concat());
    assert_eq!(schema(&["register", "orders-value", "order.avsc"]).text(), "orders-value version 1 registered, id 1\n");
    assert_eq!(schema(&["register", "orders-value", "order.avsc"]).text(), "orders-value version 1 was there, id 1\n");
    let check = schema(&["check", "orders-value", "wider.json", "--type", "avro"]);
    assert!(check.stdout.starts_with(b"it cannot read what version 1 wrote, at $.count: "));
    assert!(check.told(3).contains("cannot be the next version"));
    let told = schema(&["register", "orders-value", "wider.json", "--type", "avro"]).told(1);
    assert!(told.contains("SCHEMA_INCOMPATIBLE") && told.contains("$.count"), "{told}");
    assert_eq!(schema(&["compatibility", "orders-value", "none"]).text(), "none\n");
    schema(&["register", "orders-value", "wider.json", "--type", "avro"]).ok();
    assert_eq!(schema(&["compatibility", "orders-value"]).text(), "none\n");
    assert_eq!(schema(&["compatibility", "orders-value", "default"]).text(), "default\n");
    let list = schema(&["list"]).text();
    assert_eq!(
        list,
        "SUBJECT       VERSION  ID  TYPE\norders-value        1   1  avro\norders-value        2   2  avro\n"
    );
    assert_eq!(schema(&["show", "orders-value", "--version", "1"]).text(), record(ID).unwrap().text + "\n");
    assert_eq!(schema(&["show", "--id", "2", "--format", "json"]).json()[0]["type"], "avro");
    let validate = |payload: &[u8]| broker.run_with(&["schema", "validate", "orders-value"], payload);
    assert_eq!(validate(b"\x02a\x02").text(), "valid\n");
    let told = validate(b"\x02a").told(1);
    assert!(told.contains("$.count") && told.contains("SCHEMA_VIOLATION"), "{told}");
    assert_eq!(schema(&["delete", "orders-value", "--yes"]).text(), "2 versions deleted\n");
    assert!(schema(&["show", "orders-value"]).told(1).contains("SCHEMA_NOT_FOUND"));
    assert_eq!(schema(&["list", "--deleted", "--format", "json"]).json().len(), 2);
    assert!(schema(&["register", "x", "Makefile"]).told(1).contains("Makefile"));
    write("Makefile", "{}");
    assert!(schema(&["register", "x", "Makefile"]).told(2).contains("--type"));
}
