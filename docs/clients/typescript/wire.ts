// Written by `make docs` from openapi.json and the table of reasons: change those.

/** One approval; `approval_token` is there once it is approved. */
export interface ApprovalRecord {
  id: string;
  status: "approved" | "consumed" | "expired" | "pending" | "rejected";
  created_at: string;
  expires_at: string;
  principal: string;
  tool_id: string;
  reason: string;
  kind: "local" | "mobile_signer";
  summary: string;
  stands_in?: "signer" | null;
  approval_token?: string | null;
  decided_at?: string | null;
  decided_by?: string | null;
  decision_reason?: string | null;
  approvers?: number | null;
  approvals_given?: number | null;
  approved_by?: Array<string> | null;
  approvers_exclude?: string | null;
}

/** Who calls, in the caller's own words; `request_id` (a UUID) makes a retry the same call. */
export interface CallContext {
  request_id: string;
  agent_id?: string | null;
  session_id?: string | null;
}

/** It did not run; `reason` is a stable word. Of a refusal that is counted, `receipt_id` is the first one's. */
export interface CallDenied {
  status: "denied";
  reason: string;
  receipt_id?: number | null;
  policy_ids?: Array<string> | null;
  advice?: string | null;
}

/** It ran, or may have, and there is no result; `rpc_error` is an MCP server's own error, where it answered one. */
export interface CallFailed {
  status: "error";
  message: string;
  rpc_error?: ServerError | null;
}

/** A person must say yes first. */
export interface CallNeedsApproval {
  status: "approval_required";
  approval: ApprovalRecord;
}

/** It ran. */
export interface CallOk {
  status: "ok";
  result: CallResult;
}

/** One tool call; `approval_token` attaches a person's approval of exactly this call. */
export interface CallRecord {
  tool_id: string;
  args: Record<string, unknown>;
  context: CallContext;
  approval_token?: string | null;
}

/** The body of a call and of a decision. */
export interface CallRequest {
  call: CallRecord;
}

/** What the tool answered, after the output firewall; `is_error` says that the tool itself failed. */
export interface CallResult {
  content: unknown;
  provenance: Provenance;
  is_error?: boolean | null;
}

/** It may run now; `POST /v1/outcomes` with `receipt_id` closes it. */
export interface DecisionAllowed {
  status: "allowed";
  call_id: string;
  receipt_id: number;
  tool_digest_hex: string;
  args_digest_hex: string;
}

/** Every answer that is no success. `code` is a stable word; `request_id` finds it in the daemon's log. */
export interface ErrorBody {
  code: string;
  message: string;
  request_id: string;
  hint?: string | null;
}

/** The daemon's name: the did:key of its signing key; the version that runs; and the name and role of the asker. */
export interface IdentityAnswer {
  did: string;
  profile_mode: string;
  compatibility_profile: string;
  version: string;
  principal: string;
  role: "agent" | "approver" | "auditor" | "operator";
  identity_key: string;
  proof_keys: string;
}

/** The decided call is closed; `receipt_id` is the outcome's. */
export interface OutcomeRecorded {
  status: "recorded";
  receipt_id: number;
}

/** What a gateway reports of a call it executed itself; `tool_error`: it ran, and the tool says that it failed. */
export interface OutcomeReport {
  receipt_id: number;
  status: "error" | "ok";
  cost_microusd?: number | null;
  output_digest?: string;
  output_bytes?: number;
  error?: string;
  tool_error?: boolean;
}

/** Where a result came from, and the receipt that says so. */
export interface Provenance {
  source: string;
  cost_usd: number;
  timestamp: string;
  receipt_id: number;
}

/** The JSON-RPC error that an MCP server answered. */
export interface ServerError {
  code: number;
  message: string;
  data?: Record<string, unknown> | null;
}

export const NEXT_STEPS: Readonly<Record<string, string>> = {
  "unknown_tool": "No tool has this name here. List the tools again, and call one that is listed.",
  "unknown_subject": "The token may not ask for this agent. Ask for the agent that the token belongs to.",
  "unknown_action": "Only calls of tools are decided here. Ask with the action `tools/call`.",
  "unknown_resource": "Only tools are decided here. Ask with a resource of type `tool`.",
  "invalid_args": "The arguments do not fit the tool's schema. Correct them as the detail says, and call once more.",
  "policy_denied": "A rule of the operator forbids this call. Do not try it in another form. Tell the user, and go on without this call.",
  "policy_error": "A rule of the operator cannot be evaluated, so the call is refused. Tell the user, and go on without this call: the operator must mend it.",
  "risk": "The call looks dangerous, for the signals named here. Leave out what they name, or tell the user.",
  "frozen": "The operator has stopped all such calls for now. Stop working on this, and tell the user.",
  "disabled": "The operator has switched this tool off. Tell the user, and go on without this call.",
  "tightened": "The operator allows less than usual for now. Tell the user, and go on without this call, or try again later.",
  "rate_limited": "Too many calls came in a short time. Wait some seconds, then call again, less often.",
  "too_many_open_decisions": "Too many of your decided calls have no outcome yet. Report theirs, then ask again.",
  "budget_exceeded": "The budget for such calls is spent. Use a cheaper way, or tell the user that the operator must raise it.",
  "invalid_or_expired_approval": "This approval does not serve this call. If a person said no, stop; else send the call again without a token.",
  "too_large_to_show": "A person must be able to read the whole call before they approve it. Send shorter arguments, or more calls.",
  "replay_detected": "This request was answered before. If you mean a new call, send it under a new request id.",
  "conflict": "Something else changed meanwhile. Look at the present state, then decide whether to call again.",
  "sandbox_violation": "The call reaches outside of what this tool may touch. Stay inside, or stop here. Tell the user, and go on without this call.",
  "remote_mcp_incompatible": "The tool's server is not admitted here. Tell the user, and go on without this call.",
  "vc_status_unknown": "Whether the credential still holds cannot be found out now. Try again later, once.",
  "payment_due": "The provider wants to be paid, which a person must approve. Tell the user, and wait.",
  "payment_in_doubt": "Whether the last payment was made is not known. Do not call again. Tell the user.",
  "capability_revoked": "The provider took the access back. Tell the user, and go on without this call.",
  "outcome_unknown": "The call may have taken effect. Look whether it did before you call again.",
  "approval_rejected": "A person read this call and said no. Do not send it again. Do what they say, or ask them.",
  "approval_declined": "The user does not want to wait for this call. Go on without it, or ask them what to do.",
  "unauthorized": "The token is not known any more. Stop, and tell the user that the operator must give a new one.",
  "forbidden": "This token may not do that. Tell the user, and go on without this call.",
  "loopback_only": "The daemon answers programs of its own machine only. Tell the user.",
  "receipts_unavailable": "Nothing can be recorded now, so nothing is allowed. Stop for now, and tell the user.",
  "not_ready": "The boundary is starting or repairing itself. Wait a minute, then call again.",
  "daemon_unreachable": "The boundary does not answer, so nothing is allowed. Stop for now, and tell the user.",
  "secret_unavailable": "A credential this tool needs is missing. Tell the user, and go on without this call: the operator must set it.",
  "upstream_failed": "The service behind the tool failed. Look whether a write took effect before you repeat it.",
  "upstream_refused": "The service behind the tool refused the call. Correct what it names, or tell the user.",
  "upstream_timeout": "The service did not answer in time. Look whether a write took effect before you repeat it."
};
