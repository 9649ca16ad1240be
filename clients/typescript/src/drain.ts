// The broker is stopped and started again under a live subscriber, which goes on at its cursor and misses nothing.

import { setTimeout as sleep } from "node:timers/promises";
import { type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { Code } from "./gen/google/rpc/code_pb.js";
import { Operations } from "./gen/tilde/v1/admin_pb.js";
import { Broker, type SubscribeResponse } from "./gen/tilde/v1/broker_pb.js";
import {
  Closing_Reason,
  Gap_Reason,
  StartPosition_Preset,
  type StartPositionSchema,
} from "./gen/tilde/v1/message_pb.js";
import { Refusal } from "./refusal.js";

export async function drain(transport: Transport, prefix: string): Promise<void> {
  const broker = createClient(Broker, transport);
  const topic = prefix + "tickets";
  console.log("drain and reconnect");

  for (const text of ["1", "2", "3"]) await publish(broker, topic, text);
  const received: string[] = [];
  for await (const response of follow(broker, topic)) {
    // What retention removed before it was read.
    if (response.gap) console.log(`  Gap: REASON_${Gap_Reason[response.gap.reason]}`);
    if (response.closing) {
      console.log(`  Closing: REASON_${Closing_Reason[response.closing.reason]}`);
      // Refused until the broker is back.
      for (const text of ["5", "6"]) await publish(broker, topic, text);
    }
    for (const { payload } of response.messages) {
      if (payload.case === "text") received.push(payload.value);
      if (received.length === 3) {
        console.log(`  before: ${received.join(", ")}`);
        await publish(broker, topic, "4");
        await createClient(Operations, transport).drain({});
      }
    }
    if (received.length === 6) break;
  }
  console.log(`  after: ${received.slice(3).join(", ")}`);
}

/** All that matches, from the earliest on, across any stop of the broker. */
async function* follow(broker: Client<typeof Broker>, pattern: string): AsyncGenerator<SubscribeResponse> {
  let start: MessageInitShape<typeof StartPositionSchema> = {
    position: { case: "preset", value: StartPosition_Preset.EARLIEST },
  };
  for (;;) {
    try {
      for await (const response of broker.subscribe({ topics: [pattern], start })) {
        start = { position: { case: "afterCursor", value: response.cursor } };
        yield response;
      }
    } catch (error) {
      console.log(`  ended: ${new Refusal(error)}`);
      await waitForTheBroker(error);
    }
  }
}

/** Publishes once, however often it has to be tried: the messageId makes that safe. */
async function publish(broker: Client<typeof Broker>, topic: string, text: string): Promise<void> {
  for (;;) {
    try {
      await broker.publish({ topic, payload: { case: "text", value: text }, messageId: text });
      return;
    } catch (error) {
      await waitForTheBroker(error);
    }
  }
}

async function waitForTheBroker(error: unknown): Promise<void> {
  const refusal = new Refusal(error);
  // Node.js has several codes for a connection that breaks; the broker never says them without a reason.
  const broken = [Code.CANCELLED, Code.ABORTED, Code.INTERNAL].includes(refusal.code) && !refusal.reason;
  if (refusal.code !== Code.UNAVAILABLE && !broken) throw error;
  await sleep(refusal.retryDelayMs);
}
