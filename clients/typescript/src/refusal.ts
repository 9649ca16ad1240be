// What a status of the broker says: for a program the reason, the field at fault, facts, and the time to wait.

import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { Code } from "./gen/google/rpc/code_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

export class Refusal {
  readonly code: Code;
  readonly reason: string;
  readonly field: string;
  readonly metadata: Record<string, string>;
  readonly retryDelayMs: number;

  constructor(error: unknown) {
    const status = ConnectError.from(error);
    const [info] = status.findDetails(ErrorInfoSchema);
    const [bad] = status.findDetails(BadRequestSchema);
    const [retry] = status.findDetails(RetryInfoSchema);
    this.code = status.code as number;
    this.reason = info?.reason ?? "";
    this.field = bad?.fieldViolations[0]?.field ?? "";
    this.metadata = info?.metadata ?? {};
    // A broker that cannot be reached says nothing of when to try again.
    this.retryDelayMs = retry?.retryDelay ? Math.ceil(durationMs(retry.retryDelay)) : 1000;
  }

  toString(): string {
    return `${Code[this.code]} (${this.reason})`;
  }
}

/** The refusal of a call that must be refused. */
export async function refusalOf(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    return new Refusal(error);
  }
  throw new Error("it was not refused");
}
