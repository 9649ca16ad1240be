// What the broker refuses, and what its details tell a program: the reason, the field, facts, when to try again.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { Namespaces } from "./gen/tilde/v1/admin_pb.js";
import { Broker, type PublishRequestSchema } from "./gen/tilde/v1/broker_pb.js";
import { Refusal, refusalOf } from "./refusal.js";

export async function errors(transport: Transport, prefix: string): Promise<void> {
  const broker = createClient(Broker, transport);
  console.log("errors with their details");

  // A topic holds no ~.
  const badTopic = await refusalOf(broker.publish({ topic: prefix + "a~" }));
  console.log(`  a bad topic: ${badTopic}, field ${badTopic.field}`);

  const unknown = await refusalOf(broker.publish({ topic: prefix + "a", namespace: "no-such-namespace" }));
  console.log(`  an unknown namespace: ${unknown}`);

  // Publish only if nobody was faster: the topic's last sequence is still the one that was read.
  const ifEmpty = { topic: prefix + "config", expectedLastSequence: 0n };
  const first = await broker.publish(ifEmpty);
  const conflict = await refusalOf(broker.publish(ifEmpty));
  assert.equal(conflict.metadata["actual"], String(first.sequence));
  console.log(`  somebody was faster: ${conflict}, and the actual sequence`);

  // A namespace of its own, which takes one message a second.
  const namespaces = createClient(Namespaces, transport);
  const name = `scenarios-${randomUUID()}`;
  await namespaces.createNamespace({ namespace: { name, maxMessagesPerSecond: 1n } });
  await tooFast(broker, { topic: "a", namespace: name });
  await namespaces.deleteNamespace({ name });
}

async function tooFast(
  broker: Client<typeof Broker>,
  request: MessageInitShape<typeof PublishRequestSchema>,
): Promise<void> {
  const refusal = await untilRefused(() => broker.publish(request));
  console.log(`  too fast: ${refusal}, and when to try again`);
  await sleep(refusal.retryDelayMs);
  await broker.publish(request);
  console.log("  after that time: published");
}

async function untilRefused(call: () => Promise<unknown>): Promise<Refusal> {
  for (;;) {
    try {
      await call();
    } catch (error) {
      return new Refusal(error);
    }
  }
}
