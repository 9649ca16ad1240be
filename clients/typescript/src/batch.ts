// Publish many messages at once: in one call, all or none, and on a stream that may be sent again.

import assert from "node:assert/strict";
import { type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { Code } from "./gen/google/rpc/code_pb.js";
import { Topics } from "./gen/tilde/v1/admin_pb.js";
import { Broker, type PublishResult, type PublishStreamRequestSchema } from "./gen/tilde/v1/broker_pb.js";
import { refusalOf } from "./refusal.js";

const REQUESTS = 1000;
const REQUESTS_A_FRAME = 100;

export async function batch(transport: Transport, prefix: string): Promise<void> {
  const broker = createClient(Broker, transport);
  console.log("batch and stream publish");

  // Each request of a batch has a result of its own.
  const { results } = await broker.batchPublish({ requests: withABadOne(prefix + "batch") });
  console.log(`  batch: ${results.map(outcome).join(", ")}`);

  // An atomic batch is taken or refused as a whole.
  const atomic = broker.batchPublish({ requests: withABadOne(prefix + "atomic"), atomic: true });
  const refusal = await refusalOf(atomic);
  console.log(`  atomic: ${refusal}, field ${refusal.field}`);
  const topic = createClient(Topics, transport).getTopic({ name: prefix + "atomic" });
  console.log(`  its topic: ${await refusalOf(topic)}`);

  // A stream has many requests in flight. Numbered by a producer, they may be sent again.
  for (const attempt of ["stream", "sent again"]) {
    console.log(`  ${attempt}: ${await publishStream(broker, prefix + "stream", prefix + "producer")}`);
  }
}

const text = (value: string) => ({ case: "text" as const, value });

const withABadOne = (topic: string) => [
  { topic, payload: text("good") },
  { topic: topic + "~", payload: text("a topic holds no ~") },
  { topic, payload: text("good too") },
];

function outcome({ result }: PublishResult): string {
  return result.case === "error" ? `${Code[result.value.code]} (${result.value.reason})` : "published";
}

/** Sends all requests, and reads the answers until the broker has given every one. */
async function publishStream(broker: Client<typeof Broker>, topic: string, producer: string): Promise<string> {
  const answered: number[] = Array(REQUESTS).fill(0);
  let nextNumber = 0n;
  let duplicates = 0;
  for await (const response of broker.publishStream(frames(topic, producer))) {
    nextNumber = response.nextNumber ?? nextNumber; // in the first response, alone
    assert.deepEqual(response.failures, []);
    for (const run of response.published) {
      const first = Number(run.firstRequest);
      for (let request = first; request < first + run.requests; request++) answered[request]! += 1;
      if (run.duplicate) duplicates += run.requests;
    }
  }
  assert(answered.every((times) => times === 1));
  return `next number ${nextNumber}, ${REQUESTS} requests answered once each, ${duplicates} of them duplicates`;
}

async function* frames(
  topic: string,
  producerId: string,
): AsyncGenerator<MessageInitShape<typeof PublishStreamRequestSchema>> {
  for (let first = 1; first <= REQUESTS; first += REQUESTS_A_FRAME) {
    const numbers = Array.from({ length: REQUESTS_A_FRAME }, (_, at) => first + at);
    const requests = numbers.map((number) => ({ topic, payload: text(String(number)) }));
    yield first === 1 ? { producerId, firstNumber: 1n, requests } : { requests };
  }
}
