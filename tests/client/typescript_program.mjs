// What the TypeScript client does at a real daemon; each line of its output is read by test_client_typescript.py.
import { ApprovalPending, Boundary, Denied, nextStepOf } from "./boundary.js";

const tell = (seen) => process.stdout.write(JSON.stringify(seen) + "\n");
const caught = async (promise) => promise.then(() => null, (error) => error);

const boundary = new Boundary({ waitMs: 0 });
const ran = [];
const lookUp = boundary.tool("look_up", ({ word }) => {
  ran.push(word);
  return `${word} is a word`;
});
tell({ allowed: await lookUp({ word: "ox" }), ran });

const denied = await caught(boundary.call("nobodys_tool", {}, () => ran.push("denied")));
tell({ denied: denied instanceof Denied, reason: denied.reason, receipt: denied.receiptId, next: denied.nextStep });
tell({ same: nextStepOf("unknown_tool") === denied.nextStep, none: nextStepOf("constructor") });

const failed = await caught(
  boundary.call("look_up", { word: "cow" }, () => {
    throw new RangeError("a secret");
  }),
);
tell({ failed: failed.constructor.name });

const args = { to: "ann", parts: ["as shown"] };
const sent = [];
const pending = await caught(boundary.call("send_mail", args, (given) => sent.push(given)));
tell({ pending: pending instanceof ApprovalPending, approval: pending.approvalId, sent: sent.length });
await new Promise((resolve) => process.stdin.once("data", resolve)); // the test has approved it
const options = { requestId: pending.requestId, waitMs: 50_000 };
const going = boundary.call("send_mail", args, (given) => sent.push(given), options);
args.parts.push("slipped in");
await going;
tell({ sent });

const echoed = await boundary.run("echo", { text: "hi" });
const operator = new Boundary({ token: process.env.SCENE_OPERATOR_TOKEN });
const away = new Boundary({ socketPath: "/nowhere/d.sock" });
const faults = [
  await caught(operator.decide("echo", {})),
  await caught(away.call("look_up", {}, () => ran.push("away"))),
  await caught(boundary.decide("look_up", { word: Number.NaN })),
  await caught(boundary.decide("look_up", { word: 10n })),
];
tell({ echoed, faults: faults.map((fault) => fault.code), ran });
process.exit(0);
