"""An MCP server over stdio whose tools run as tasks, of either era, well behaved or not.

`python task_server.py handshake|stateless [--misbehave WORD]`. A task of `work` is done when it is looked at for the
second time; one of `ask` asks its client's user first. Written against the specification alone.
"""

from __future__ import annotations

import json
import os
import sys

META = "io.modelcontextprotocol/"
EXTENSION = META + "tasks"
QUESTION = {
    "method": "elicitation/create",
    "params": {
        "message": "who?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
NO_ARGS = {"type": "object", "properties": {"n": {"type": "integer"}}}


class FaultError(Exception):
    pass


class Server:
    def __init__(self, era: str, misbehave: str) -> None:
        self.is_stateless = era == "stateless"
        self.misbehave = misbehave
        self.tasks: dict[str, dict] = {}
        self.waiting: dict[str, tuple[object, dict]] = {}  # what was asked: the `tasks/result` beside it, and its task
        self.looks = 0

    # --- the wire ---

    def write(self, message: dict) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "method" not in message:
                self.take_answer(message)
            elif "id" in message:
                self.take_request(message)

    def take_request(self, message: dict) -> None:
        if self.misbehave == "flood":
            status = {"taskId": next(iter(self.tasks), "t0"), "status": "completed", "ttl": 1, "result": {}}
            for _ in range(2_000):
                self.write({"method": "notifications/tasks/status", "params": status})
                self.write({"method": "notifications/tasks", "params": status})
        params = message.get("params", {})
        meta = params.get("_meta", {})
        try:
            if message["method"] == "subscriptions/listen":
                return
            self.check_era(meta)
            result = getattr(self, "on_" + message["method"].replace("/", "_"))(params, message["id"])
        except (FaultError, AttributeError, KeyError) as error:
            code = -32602 if message["method"].startswith("tasks/") else -32601
            self.write({"id": message["id"], "error": {"code": code, "message": str(error)}})
            return
        if result is not None:
            if self.is_stateless:
                result.setdefault("resultType", "complete")
            self.write({"id": message["id"], "result": result})

    def check_era(self, meta: dict) -> None:
        if self.is_stateless != (META + "protocolVersion" in meta):
            raise FaultError("another era")

    def take_answer(self, message: dict) -> None:
        request_id, task = self.waiting.pop(message["id"])
        task["answer"] = message.get("result", {})
        self.write({"id": request_id, "result": self.result_of(task)})

    # --- what it is ---

    def on_server_discover(self, params: dict, _id: object) -> dict:
        return {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "extensions": {EXTENSION: {}}}}

    def on_initialize(self, params: dict, _id: object) -> dict:
        tasks = {"cancel": {}, "requests": {"tools": {"call": {}}}}
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "tasks": tasks},
            "serverInfo": {"name": "tasks", "version": "1"},
        }

    def on_tools_list(self, params: dict, _id: object) -> dict:
        support = {"work": "optional", "ask": "optional", "only": "required", "plain": None}
        return {
            "tools": [
                {"name": name, "inputSchema": NO_ARGS, **({"execution": {"taskSupport": word}} if word else {})}
                for name, word in support.items()
            ]
        }

    # --- calls ---

    def on_tools_call(self, params: dict, _id: object) -> dict:
        declared = params.get("_meta", {}).get(META + "clientCapabilities", {}).get("extensions", {})
        wanted = EXTENSION in declared if self.is_stateless else "task" in params
        if self.misbehave == "unasked":
            return {"resultType": "task", "content": [], "taskId": "fx.forged", "status": "working", "ttlMs": None}
        if not wanted or params["name"] == "plain":
            return {"content": [{"type": "text", "text": f"at once, as process {os.getpid()}"}]}
        task_id = "t1" if self.misbehave == "clash" else f"t{len(self.tasks) + 1}"
        self.tasks[task_id] = {"id": task_id, "name": params["name"], "looks": 0, "answer": None, "cancelled": False}
        told = self.told(self.tasks[task_id], "working", (params.get("task") or {}).get("ttl", 60_000))
        return {"resultType": "task", **told} if self.is_stateless else {"task": told}

    def told(self, task: dict, status: str, ttl: int | None = 60_000) -> dict:
        names = ("ttlMs", "pollIntervalMs") if self.is_stateless else ("ttl", "pollInterval")
        task_id = "another" if self.misbehave == "other" and task["looks"] else task["id"]
        times = {"createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"}
        return {"taskId": task_id, "status": status, **times, names[0]: ttl, names[1]: 200}

    def status_of(self, task: dict) -> str:
        if task["cancelled"] and self.misbehave != "late":
            return "cancelled"
        if task["name"] == "ask" and task["answer"] is None:
            return "input_required"
        return "working" if task["looks"] < 2 or self.misbehave == "never" else "completed"

    def result_of(self, task: dict) -> dict:
        said = task["answer"].get("content", {}).get("name", "nobody") if task["answer"] else "done"
        meta = {META + "related-task": {"taskId": task["id"]}, "provenance": {"receipt_id": 1}}
        failed = {"isError": True} if self.misbehave == "fails" else {}
        return {"content": [{"type": "text", "text": f"{task['name']}: {said}"}], "_meta": meta, **failed}

    def on_tasks_get(self, params: dict, _id: object) -> dict:
        task = self.tasks[params["taskId"]]
        task["looks"] += 1
        status = self.status_of(task)
        told = self.told(task, status)
        if self.is_stateless and status == "completed":
            told["result"] = self.result_of(task)
        if self.is_stateless and status == "input_required":
            told["inputRequests"] = {"name": self.question()}
        return told

    def question(self) -> dict:
        self.looks += 1
        if self.misbehave != "swap":
            return QUESTION
        return {**QUESTION, "params": {**QUESTION["params"], "message": f"who, for the {self.looks}th time?"}}

    def on_tasks_result(self, params: dict, request_id: object) -> dict | None:
        task = self.tasks[params["taskId"]]
        if self.status_of(task) != "input_required":
            return self.result_of(task)
        asked_id = f"q-{request_id}"
        self.waiting[asked_id] = (request_id, task)
        question = self.question()
        meta = {"_meta": {META + "related-task": {"taskId": task["id"]}}}
        self.write({"id": asked_id, "method": question["method"], "params": {**question["params"], **meta}})
        return None

    def on_tasks_update(self, params: dict, _id: object) -> dict:
        self.tasks[params["taskId"]]["answer"] = params["inputResponses"]["name"]
        return {}

    def on_tasks_cancel(self, params: dict, _id: object) -> dict:
        task = self.tasks[params["taskId"]]
        if self.status_of(task) in {"completed", "cancelled"}:
            raise FaultError("it has ended")
        task["cancelled"] = True
        return {} if self.is_stateless else self.told(task, "cancelled")


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else "").serve()
