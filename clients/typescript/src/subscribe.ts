// Read what matches a pattern, stop, and go on at the cursor: nothing is missed, and nothing comes twice.

import { type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { Broker, type SubscribeRequestSchema } from "./gen/tilde/v1/broker_pb.js";
import { StartPosition_Preset } from "./gen/tilde/v1/message_pb.js";

export async function subscribe(transport: Transport, prefix: string): Promise<void> {
  const broker = createClient(Broker, transport);
  const topics = [prefix + "shop/orders/~"];
  const earliest = { position: { case: "preset" as const, value: StartPosition_Preset.EARLIEST } };
  console.log("subscribe");

  const publish = (topic: string, text: string) =>
    broker.publish({ topic: prefix + topic, payload: { case: "text", value: text } });
  await publish("shop/orders/eu", "first");
  await publish("shop/orders/us", "second");
  await publish("shop/refunds/eu", "does not match");
  await publish("shop/orders/eu", "third");

  const all = await read(broker, { topics, start: earliest, stopAtEnd: true });
  console.log(`  all from the earliest: ${all.texts.join(", ")}`);

  const firstTwo = await read(broker, { topics, start: earliest, maxMessages: 2n });
  console.log(`  the first two: ${firstTwo.texts.join(", ")}`);

  await publish("shop/orders/us", "fourth");
  const after = { position: { case: "afterCursor" as const, value: firstTwo.cursor } };
  const rest = await read(broker, { topics, start: after, stopAtEnd: true });
  console.log(`  resumed at the cursor: ${rest.texts.join(", ")}`);
}

/** Reads a stream to its end: the texts, and the cursor after them. */
async function read(broker: Client<typeof Broker>, request: MessageInitShape<typeof SubscribeRequestSchema>) {
  const texts: string[] = [];
  let cursor = "";
  for await (const response of broker.subscribe(request)) {
    for (const { payload } of response.messages) {
      if (payload.case === "text") texts.push(payload.value);
    }
    cursor = response.cursor; // every response has one
  }
  return { texts, cursor };
}
