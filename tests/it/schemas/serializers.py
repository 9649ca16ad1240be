"""What the client of confluent-kafka and its serializers do with a registry, at the URL that is given. What they write goes out
as a JSON object a line: of which case, for which subject, under which id, and the bytes."""

import base64
import importlib
import json
import pathlib
import sys
import tempfile

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry import avro, json_schema, protobuf
from confluent_kafka.serialization import MessageField, SerializationContext
from grpc_tools import protoc

URL = sys.argv[1]

# How a serializer comes by the schema: it registers it, it looks it up, or it takes the newest there is.
REGISTERS = {"auto.register.schemas": True}
LOOKS_UP = {"auto.register.schemas": False}
TAKES_NEWEST = {"auto.register.schemas": False, "use.latest.version": True}
WAYS = {"registers": REGISTERS, "looks up": LOOKS_UP, "takes the newest": TAKES_NEWEST}


def record(name, *fields):
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


MONEY = record("Money", {"name": "cents", "type": "long"})
ORDER = record("Order", {"name": "id", "type": "string"}, {"name": "count", "type": "int", "default": 1})
NOTED = record("Order", {"name": "id", "type": "string"}, {"name": "note", "type": "string", "default": "none"})
PRICED = record("Order", {"name": "id", "type": "string"}, {"name": "price", "type": "shop.Money"})

ITEM_JSON = json.dumps({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
ORDER_JSON = json.dumps(
    {
        "type": "object",
        "title": "Order",
        "properties": {"id": {"type": "string"}, "item": {"$ref": "https://shop.example/item.json"}},
        "required": ["id"],
        "additionalProperties": False,
    }
)

ITEM_PROTO = 'syntax = "proto3"; package shop; message Item { string name = 1; }'
ORDER_PROTO = """
syntax = "proto3";
package shop;
import "item.proto";
import "google/protobuf/timestamp.proto";
message Order {
  string id = 1;
  repeated Item items = 2;
  google.protobuf.Timestamp at = 3;
  optional int32 count = 4;
  map<string, int64> parts = 5;
  oneof paid { bool cash = 6; string card = 7; }
  message Note { string text = 1; }
}
message Refund { string id = 1; Order.Note note = 2; }
"""


def main():
    speak()
    write_avro()
    write_json()
    write_protobuf()


def client():
    """One that remembers nothing."""
    return SchemaRegistryClient({"url": URL})


def context(topic):
    return SerializationContext(topic, MessageField.VALUE)


def tell(case, topic, payload):
    row = {"case": case, "subject": f"{topic}-value", "id": int.from_bytes(payload[1:5], "big")}
    print(json.dumps({**row, "payload": base64.b64encode(payload).decode()}), flush=True)


def refused(status, number, call):
    try:
        told = call()
    except SchemaRegistryError as error:
        assert (error.http_status_code, error.error_code) == (status, number), error
        assert error.error_message, error
    else:
        raise AssertionError(f"{number} was expected, and not {told}")


def speak():
    """All that the client can ask for."""
    registry, subject = client(), "talk/a:b c%-value"
    assert registry.get_subjects() == []
    assert sorted(registry.get_schema_types()) == ["AVRO", "JSON", "PROTOBUF"]
    assert registry.get_contexts() == ["."]
    first = registry.register_schema(subject, Schema(ORDER, "AVRO"))
    assert registry.register_schema(subject, Schema(ORDER.replace(",", " , "), "AVRO")) == first
    whole = client().register_schema_full_response(subject, Schema(NOTED, "AVRO"))
    second = whole.schema_id
    assert second != first and whole.version == 2

    registry = client()
    assert registry.get_subjects() == [subject]
    assert registry.get_subjects(subject_prefix="talk/") == [subject]
    assert registry.get_subjects(subject_prefix="other") == []
    assert registry.get_subjects(deleted_only=True) == []
    assert registry.get_schema(second).schema_str == NOTED
    assert registry.get_schema(first, subject_name=subject).schema_str == ORDER
    found = registry.lookup_schema(subject, Schema(ORDER, "AVRO"))
    assert (found.schema_id, found.version, found.subject) == (first, 1, subject)
    newest = registry.get_latest_version(subject)
    assert (newest.schema_id, newest.version, newest.schema.schema_str) == (second, 2, NOTED)
    assert newest.schema.schema_type == "AVRO" and newest.schema.references == []
    assert registry.get_version(subject, 1).schema_id == first
    assert registry.get_versions(subject) == [1, 2]
    assert registry.get_versions(subject, offset=1, limit=1) == [2]
    assert registry.get_subjects_by_schema_id(first) == [subject]
    assert [(row.subject, row.version) for row in registry.get_schema_versions(second)] == [(subject, 2)]

    stricter = Schema(record("Order", {"name": "count", "type": "int"}), "AVRO")
    assert not registry.test_compatibility(subject, stricter)
    assert not registry.test_compatibility_all_versions(subject, stricter)
    assert registry.test_compatibility("nobody", stricter)
    refused(409, 409, lambda: registry.register_schema(subject, stricter))
    assert registry.get_compatibility() == "BACKWARD"
    refused(404, 40408, lambda: registry.get_compatibility(subject))
    assert registry.set_compatibility(subject, "none") == {"compatibility": "NONE"}
    assert registry.get_compatibility(subject) == "NONE"
    third = registry.register_schema(subject, stricter)
    registry.delete_config(subject)
    refused(404, 40408, lambda: registry.get_compatibility(subject))
    refused(422, 42203, lambda: registry.set_compatibility(subject, "sideways"))
    assert registry.get_config().compatibility_level.value == "BACKWARD"
    assert registry.set_compatibility(level="full") == {"compatibility": "FULL"}
    assert registry.get_compatibility() == "FULL"
    registry.delete_config()
    assert registry.get_compatibility() == "BACKWARD"

    assert registry.get_global_mode() == "READWRITE"
    refused(404, 40409, lambda: registry.get_mode(subject))
    assert registry.update_mode(subject, "READONLY") == "READONLY"
    assert registry.get_mode(subject) == "READONLY"
    refused(422, 42205, lambda: registry.delete_version(subject, 3))
    refused(422, 42204, lambda: registry.update_mode(subject, "IMPORT"))
    assert registry.delete_mode(subject) == "READONLY"

    refused(404, 40401, lambda: registry.get_latest_version("nobody"))
    refused(404, 40402, lambda: registry.get_version(subject, 9))
    refused(404, 40403, lambda: registry.get_schema(999))
    refused(422, 42202, lambda: registry.get_version(subject, "first"))
    refused(422, 42201, lambda: registry.register_schema(subject, Schema("{", "AVRO")))
    refused(404, 40407, lambda: registry.delete_version(subject, 3, permanent=True))
    assert registry.delete_version(subject, 3) == 3
    refused(404, 40406, lambda: registry.delete_version(subject, 3))
    assert client().get_versions(subject) == [1, 2]
    assert client().get_versions(subject, deleted=True) == [1, 2, 3]
    assert client().get_schema(third).schema_str == stricter.schema_str
    assert registry.delete_version(subject, 3, permanent=True) == 3
    refused(404, 40405, lambda: registry.delete_subject(subject, permanent=True))
    assert registry.delete_subject(subject) == [1, 2]
    refused(404, 40404, lambda: registry.delete_subject(subject))
    assert registry.get_subjects() == [] and registry.get_subjects(deleted=True) == [subject]
    assert registry.delete_subject(subject, permanent=True) == [1, 2]
    assert registry.get_subjects(deleted=True) == []


def write_avro():
    for way, conf in WAYS.items():
        registry, order = client(), {"id": "o1", "count": 3}
        payload = avro.AvroSerializer(registry, ORDER, conf=conf)(order, context("avro"))
        assert avro.AvroDeserializer(client())(payload, context("avro")) == order
        reader = avro.AvroDeserializer(client(), NOTED)
        assert reader(payload, context("avro")) == {"id": "o1", "note": "none"}
        tell(f"avro {way}", "avro", payload)
    registry = client()
    registry.register_schema("money", Schema(MONEY, "AVRO"))
    priced = Schema(PRICED, "AVRO", [SchemaReference("shop.Money", "money", 1)])
    for way, conf in WAYS.items():
        order = {"id": "o1", "price": {"cents": 799}}
        payload = avro.AvroSerializer(client(), priced, conf=conf)(order, context("avro-referring"))
        assert avro.AvroDeserializer(client())(payload, context("avro-referring")) == order
        tell(f"avro with a reference {way}", "avro-referring", payload)
    assert len(registry.get_referenced_by("money", 1)) == 1
    refused(422, 42206, lambda: registry.delete_subject("money"))


def write_json():
    client().register_schema("item", Schema(ITEM_JSON, "JSON"))
    schema = Schema(ORDER_JSON, "JSON", [SchemaReference("https://shop.example/item.json", "item", 1)])
    for way, conf in WAYS.items():
        order = {"id": "o1", "item": {"name": "Gr\u00fc\u00dfe"}}
        payload = json_schema.JSONSerializer(schema, client(), conf=conf)(order, context("json"))
        reader = json_schema.JSONDeserializer(None, schema_registry_client=client())
        assert reader(payload, context("json")) == order
        tell(f"json {way}", "json", payload)


def write_protobuf():
    item, order = generated(("item", ITEM_PROTO), ("order", ORDER_PROTO))
    ordered = order.Order(id="o1", items=[item.Item(name="a"), item.Item(name="b")], count=0, parts={"x": 1}, card="c")
    ordered.at.FromSeconds(1_700_000_000)
    refund = order.Refund(id="o1", note=order.Order.Note(text="late"))
    for message in [ordered, refund, refund.note]:
        topic = f"protobuf-{message.DESCRIPTOR.name.lower()}"
        for way, conf in WAYS.items():
            if conf is TAKES_NEWEST and message is refund.note:
                continue  # The serializer looks for its message on the outermost level only.
            payload = protobuf.ProtobufSerializer(type(message), client(), conf)(message, context(topic))
            reader = protobuf.ProtobufDeserializer(type(message), {}, client())
            assert reader(payload, context(topic)) == message
            tell(f"protobuf {message.DESCRIPTOR.name} {way}", topic, payload)
    # Registered by somebody who has the text, and is the same.
    registry = client()
    registry.register_schema("text.proto", Schema(ITEM_PROTO, "PROTOBUF"))
    reference = SchemaReference("item.proto", "item.proto", 1)
    text = registry.register_schema("protobuf-text-value", Schema(ORDER_PROTO, "PROTOBUF", [reference]))
    assert text == client().get_latest_version("protobuf-order-value").schema_id
    assert client().get_latest_version("text.proto").schema_id == client().get_latest_version("item.proto").schema_id
    client().register_schema("item-value", Schema(ITEM_PROTO.replace("name", "title"), "PROTOBUF"))
    payload = protobuf.ProtobufSerializer(item.Item, client(), TAKES_NEWEST)(item.Item(name="a"), context("item"))
    assert protobuf.ProtobufDeserializer(item.Item, {}, client())(payload, context("item")) == item.Item(name="a")
    tell("protobuf of a text takes the newest", "item", payload)


def generated(*files):
    """The modules that are generated of these files."""
    directory = pathlib.Path(tempfile.mkdtemp())
    for name, text in files:
        (directory / f"{name}.proto").write_text(text)
    names = [f"{name}.proto" for name, _ in files]
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    assert protoc.main(["protoc", f"-I{directory}", f"-I{well_known}", f"--python_out={directory}", *names]) == 0
    sys.path.insert(0, str(directory))
    return [importlib.import_module(f"{name}_pb2") for name, _ in files]


main()
