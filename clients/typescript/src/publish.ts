// Publish text and bytes, and publish again what may or may not have arrived.

import assert from "node:assert/strict";
import { createClient, type Transport } from "@connectrpc/connect";
import { Broker, type PublishResponse } from "./gen/tilde/v1/broker_pb.js";
import { Durability } from "./gen/tilde/v1/message_pb.js";

export async function publish(transport: Transport, prefix: string): Promise<void> {
  const broker = createClient(Broker, transport);
  console.log("publish");

  const text = await broker.publish({
    topic: prefix + "orders/eu",
    payload: { case: "text", value: '{"id":7}' },
    attributes: { tenant: "acme", important: "true" },
  });
  checkComplete(text);
  console.log("  text: SYNCED, with a sequence, a time and a cursor");

  const data = await broker.publish({
    topic: prefix + "images/7",
    payload: { case: "data", value: Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0) },
    contentType: "image/png",
    attributes: { tenant: "acme" },
  });
  checkComplete(data);
  assert(data.sequence > text.sequence);
  console.log("  bytes: SYNCED, with a sequence, a time and a cursor");

  // Whoever does not know whether a publish arrived sends it again: with a messageId it counts once.
  const payment = {
    topic: prefix + "payments",
    payload: { case: "text" as const, value: "paid" },
    messageId: "payment-7",
  };
  const first = await broker.publish(payment);
  const again = await broker.publish(payment);
  assert(!first.duplicate && again.duplicate && again.sequence === first.sequence);
  console.log("  again with its message_id: a duplicate, with the sequence of the first");
}

function checkComplete(answer: PublishResponse): void {
  assert(answer.durability === Durability.SYNCED && !answer.duplicate);
  assert(answer.sequence > 0n && answer.publishTime && answer.cursor);
}
