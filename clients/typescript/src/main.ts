// Runs the five scenarios against a broker: npm start [HOST:PORT]
//
// The fifth drains the broker, and waits for it to come back on the same port with the same data.

import { randomUUID } from "node:crypto";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { batch } from "./batch.js";
import { drain } from "./drain.js";
import { errors } from "./errors.js";
import { publish } from "./publish.js";
import { subscribe } from "./subscribe.js";

const address = process.argv[2] ?? "127.0.0.1:7126";
const baseUrl = `http://${address}`;
const sessionManager = new Http2SessionManager(baseUrl);
const transport = createGrpcTransport({ baseUrl, sessionManager });
// Topics of this run only, so that nothing that is there already gets in the way.
const prefix = `scenarios/${randomUUID()}/`;

for (const scenario of [publish, subscribe, batch, errors, drain]) {
  await scenario(transport, prefix);
}
// The open connection would keep the process alive.
sessionManager.abort();
