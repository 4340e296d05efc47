// A program's boundary for Node: each call is decided by the daemon before it runs, and reported after.
//
//   const boundary = new Boundary();
//   await boundary.call("send_mail", { to: "ann" }, async ({ to }) => send(to));
//
// Nothing runs where no daemon answers, or where its answer is not understood. The daemon is reached over its Unix
// socket, whose owner must be this user or root: before the token leaves, that is what tells whose daemon it is.

import { createHash, randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import { request } from "node:http";

import {
  NEXT_STEPS,
  type CallDenied,
  type CallFailed,
  type CallNeedsApproval,
  type CallOk,
  type DecisionAllowed,
  type ErrorBody,
  type IdentityAnswer,
  type OutcomeRecorded,
  type OutcomeReport,
} from "./wire.js";

export type Args = Record<string, unknown>;
export type Decision = DecisionAllowed | CallNeedsApproval | CallDenied;

export interface Options {
  socketPath?: string; // where the environment names none
  token?: string; // the agent's; `BRIEFCASE_AUTH_TOKEN` without it
  waitMs?: number; // how long a call waits for a person
  sessionId?: string;
}

export interface CallOptions {
  waitMs?: number;
  requestId?: string; // a UUID that makes a retry the same call
}

const MAX_WAIT_MS = 55_000;
const ANSWER_WITHIN_MS = 30_000;
const RUN_WITHIN_MS = 660_000;
const PAUSE_MS = 200;
const MAX_ANSWER_BYTES = 16 << 20;

/** What to do about a reason, for the agent; empty for a word that is not known here. */
export function nextStepOf(reason: string): string {
  const word = reason.split(":", 1)[0] ?? "";
  return Object.hasOwn(NEXT_STEPS, word) ? (NEXT_STEPS[word] ?? "") : "";
}

export class BoundaryError extends Error {}

/** The call did not run. */
export class Denied extends BoundaryError {
  readonly reason: string;
  readonly receiptId: number | null;
  readonly policyIds: readonly string[];
  readonly nextStep: string;

  constructor(told: CallDenied) {
    super([told.reason, told.advice, nextStepOf(told.reason)].filter(Boolean).join(": "));
    this.reason = told.reason;
    this.receiptId = told.receipt_id ?? null;
    this.policyIds = told.policy_ids ?? [];
    this.nextStep = nextStepOf(told.reason);
  }
}

/** Nobody has decided in time, and the call did not run; under `requestId` the same call goes on once they have. */
export class ApprovalPending extends BoundaryError {
  constructor(
    readonly approvalId: string,
    readonly expiresAt: string,
    readonly requestId: string,
  ) {
    super(`approval_required: a person must approve this exact call (${approvalId}) before ${expiresAt}`);
  }
}

/** There is no verdict, and the call did not run; only after `run` it may have. */
export class BoundaryFault extends BoundaryError {
  constructor(
    readonly code: string,
    message: string,
    readonly mayHaveRun = false,
  ) {
    super(`${code}: ${message}`);
  }
}

/** The daemon ran the tool, or may have, and there is no result. */
export class ToolFailed extends BoundaryError {}

export class Boundary {
  readonly #socketPath: string;
  readonly #token: string;
  readonly #waitMs: number;
  readonly #sessionId: string | undefined;
  #introduced: Promise<void> | undefined;

  constructor(options: Options = {}) {
    const { env } = process;
    const socketPath = options.socketPath ?? env.BRIEFCASE_AGENT_SOCKET ?? env.BRIEFCASE_DAEMON_UNIX_SOCKET;
    const token = options.token ?? env.BRIEFCASE_AUTH_TOKEN;
    if (!socketPath) throw new BoundaryFault("configuration", "expected the path of the daemon's socket");
    if (!token || !/^[\x21-\x7e]{1,512}$/.test(token)) {
      throw new BoundaryFault("unauthorized", "expected an agent's token, as `briefcase agents add NAME` prints it");
    }
    this.#socketPath = socketPath;
    this.#token = token;
    this.#waitMs = options.waitMs ?? MAX_WAIT_MS;
    this.#sessionId = options.sessionId;
  }

  /** Have a call decided; one that is allowed is to be reported. */
  async decide(toolId: string, args: Args, options: CallOptions = {}): Promise<Decision> {
    return this.#decide(toolId, textOf(args), options.requestId ?? randomUUID(), options.waitMs ?? this.#waitMs);
  }

  /** Decide a call, run it with the very arguments that were decided on, and report what became of it. */
  async call<A extends Args, R>(
    toolId: string,
    args: A,
    run: (args: A) => R | Promise<R>,
    options: CallOptions = {},
  ): Promise<R> {
    const text = textOf(args);
    const requestId = options.requestId ?? randomUUID();
    const decision = await this.#decide(toolId, text, requestId, options.waitMs ?? this.#waitMs);
    if (decision.status === "denied") throw new Denied(decision);
    if (decision.status === "approval_required") {
      throw new ApprovalPending(decision.approval.id, decision.approval.expires_at, requestId);
    }
    let result: R;
    try {
      result = await run(JSON.parse(text) as A);
    } catch (error) {
      const name = error instanceof Error ? error.constructor.name : "error"; // its text may hold a secret
      await this.report(decision.receipt_id, { status: "error", error: name }).catch(() => undefined);
      throw error;
    }
    const output = typeof result === "string" ? Buffer.from(result) : undefined;
    await this.report(decision.receipt_id, {
      status: "ok",
      ...(output && { output_digest: createHash("sha256").update(output).digest("hex"), output_bytes: output.length }),
    });
    return result;
  }

  /** Make a function a tool: each call of it is decided, run and reported. The operator registers the tool. */
  tool<A extends Args, R>(toolId: string, run: (args: A) => R | Promise<R>, options: CallOptions = {}) {
    return (args: A): Promise<R> => this.call(toolId, args, run, options);
  }

  /** Have the daemon run one of its own tools. */
  async run(toolId: string, args: Args, options: CallOptions = {}): Promise<unknown> {
    const requestId = options.requestId ?? randomUUID();
    const told = await this.#waited("/v1/tools/call", toolId, textOf(args), requestId, options.waitMs ?? this.#waitMs);
    switch (told.status) {
      case "ok":
        return (told as unknown as CallOk).result.content;
      case "denied":
        throw new Denied(deniedIn(told));
      case "error":
        throw new ToolFailed(String((told as unknown as CallFailed).message));
      case "approval_required": {
        const { approval } = waitingIn(told);
        throw new ApprovalPending(approval.id, approval.expires_at, requestId);
      }
      default:
        throw unexpected("`status`", true);
    }
  }

  /** Close a decided call; gives the outcome's receipt. */
  async report(receiptId: number, outcome: Omit<OutcomeReport, "receipt_id">): Promise<number> {
    await this.#introduce();
    const told = await this.#ask("POST", "/v1/outcomes", { ...outcome, receipt_id: receiptId });
    return (told as unknown as OutcomeRecorded).receipt_id;
  }

  async #decide(toolId: string, args: string, requestId: string, waitMs: number): Promise<Decision> {
    const told = await this.#waited("/v1/decide", toolId, args, requestId, waitMs);
    switch (told.status) {
      case "allowed":
        if (!Number.isSafeInteger(told.receipt_id)) throw unexpected("`receipt_id`");
        return told as unknown as DecisionAllowed;
      case "denied":
        return deniedIn(told);
      case "approval_required":
        return waitingIn(told);
      default:
        throw unexpected("`status`");
    }
  }

  /** One call, asked for again under the same request id until somebody has decided or the time is over. */
  async #waited(path: string, toolId: string, args: string, requestId: string, waitMs: number): Promise<Args> {
    await this.#introduce();
    const context = { request_id: requestId, ...(this.#sessionId && { session_id: this.#sessionId }) };
    const body = `{"call":{"tool_id":${JSON.stringify(toolId)},"args":${args},"context":${JSON.stringify(context)}}}`;
    const until = Date.now() + waitMs;
    const runs = path === "/v1/tools/call";
    for (;;) {
      const began = Date.now();
      const wait = Math.max(0, Math.min(MAX_WAIT_MS, until - began));
      const told = await this.#ask("POST", wait ? `${path}?wait_ms=${wait}` : path, body, wait, runs);
      if (told.status !== "approval_required" || wait === 0 || Date.now() >= until) return told;
      if ((Date.now() - began) * 2 < wait) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Check once that the token is an agent's: the operator's could approve what a program asks for. */
  #introduce(): Promise<void> {
    this.#introduced ??= this.#ask("GET", "/v1/identity").then(
      (told) => {
        if ((told as unknown as IdentityAnswer).role === "agent") return;
        throw new BoundaryFault("forbidden", "expected an agent's token, got another one");
      },
    );
    this.#introduced.catch(() => (this.#introduced = undefined));
    return this.#introduced;
  }

  async #ask(method: string, path: string, body?: object | string, waitMs = 0, runs = false): Promise<Args> {
    this.#checkOwner();
    const sent = typeof body === "object" ? JSON.stringify(body) : body;
    const [status, text] = await new Promise<[number, string]>((resolve, reject) => {
      const fail = (error: Error) => reject(new BoundaryFault("daemon_unreachable", error.message, runs));
      const asked = request(
        {
          socketPath: this.#socketPath,
          path,
          method,
          timeout: (runs ? RUN_WITHIN_MS : ANSWER_WITHIN_MS) + waitMs,
          headers: {
            host: "briefcase",
            authorization: `Bearer ${this.#token}`,
            "content-type": "application/json",
            "content-length": Buffer.byteLength(sent ?? ""),
          },
        },
        (answer) => {
          const pieces: Buffer[] = [];
          let size = 0;
          answer.on("data", (piece: Buffer) => {
            size += piece.length;
            if (size > MAX_ANSWER_BYTES) answer.destroy(new Error("the answer is too large"));
            pieces.push(piece);
          });
          answer.on("end", () => resolve([answer.statusCode ?? 0, Buffer.concat(pieces).toString("utf8")]));
          answer.on("error", fail);
        },
      );
      asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
      asked.on("error", fail);
      asked.end(sent);
    });
    let told: unknown;
    try {
      told = JSON.parse(text);
    } catch {
      throw unexpected("no JSON", runs);
    }
    if (typeof told !== "object" || told === null || Array.isArray(told)) throw unexpected("no object", runs);
    if (status === 200) return told as Args;
    const { code, message } = told as Partial<ErrorBody>;
    throw new BoundaryFault(code ?? "internal", message ?? `the daemon said ${status}`);
  }

  #checkOwner(): void {
    let owner: number;
    try {
      owner = statSync(this.#socketPath).uid;
    } catch {
      throw new BoundaryFault("daemon_unreachable", `no daemon listens at \`${this.#socketPath}\``);
    }
    if (owner !== 0 && owner !== process.getuid?.()) {
      throw new BoundaryFault("untrusted_daemon", `expected this user's socket or root's, got uid ${owner}'s`);
    }
  }
}

/** Arguments as JSON; what JSON cannot hold exactly is refused before anything is asked. */
function textOf(args: Args): string {
  try {
    return JSON.stringify(args, (_, value: unknown) => {
      if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError("a number that is none");
      return value;
    });
  } catch {
    throw new BoundaryFault("invalid_args", "expected arguments that JSON can hold, got others");
  }
}

function deniedIn(told: Args): CallDenied {
  if (typeof told.reason !== "string") throw unexpected("`reason`");
  return told as unknown as CallDenied;
}

function waitingIn(told: Args): CallNeedsApproval {
  const { approval } = told as Partial<CallNeedsApproval>;
  if (typeof approval?.id !== "string" || typeof approval.expires_at !== "string") throw unexpected("`approval`");
  return told as unknown as CallNeedsApproval;
}

function unexpected(what: string, mayHaveRun = false): BoundaryFault {
  return new BoundaryFault("unexpected_answer", `the answer is not as a daemon answers: ${what}`, mayHaveRun);
}
