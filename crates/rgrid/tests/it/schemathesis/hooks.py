"""What bounds the waits of a run, lets it reach what exists, and keeps it from sawing off its own branch."""

import itertools
import json
import os
import urllib.error
import urllib.request

import schemathesis

API = os.environ["RGRID_URL"] + "/api/v1"
ADMIN = os.environ["RGRID_ADMIN_KEY"]
WORKER = os.environ["RGRID_WORKER_KEY"]
AS_WORKER = os.environ["RGRID_ROLE"] == "worker"
ENDED = ("completed", "failed", "timed_out", "cancelled")
MODULE = {
    "program": {"kind": "module", "name": "this"},
    "cwd": "/home/me",
    "project_root": "/home/me",
    "runtime": "python:3.12",
}
FREE = {"cpu_millis": 1000000, "memory_bytes": 1 << 40, "disk_bytes": 1 << 40}
# Polls wait at most this long.
WAIT_MS = 20

counter = itertools.count()
lease = None
protected = set()


def ask(method, path, key, body=None):
    """One request beside the tool's: the status, and the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data=data, method=method)
    request.add_header("authorization", "Bearer " + key)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def submitted():
    return ask("POST", "/executions", ADMIN, MODULE)[1]["execution"]["id"]


def held():
    """An attempt that the worker holds."""
    global lease
    if lease is None:
        submitted()
        poll = {"slots": 1, "free": FREE, "holding": [], "wait_ms": WAIT_MS}
        leases = ask("POST", "/leases", WORKER, poll)[1]["leases"]
        lease = leases[0] if leases else None
    return lease


def ended(name):
    """The execution `name`, when a follow of it comes to an end, else one of which it does."""
    for name in (name, submitted()):
        path = "/executions/" + urllib.request.quote(str(name), safe="")
        status, execution = ask("GET", path, ADMIN)
        if status == 200 and execution["status"] not in ENDED:
            status, execution = ask("POST", path + "/cancel", ADMIN)
        if status != 200 or execution["status"] in ENDED:
            break
    return name


def whole(value):
    """JSON knows one kind of number; serde reads 3.0 as no integer, and says so."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value


def is_positive(case):
    return case.meta is None or case.meta.generation.mode.is_positive


def reach(case, path):
    """Half of what is well formed is asked of things that exist."""
    global lease
    if path.startswith("/executions/{id}") and next(counter) % 2:
        case.path_parameters["id"] = submitted()
    elif AS_WORKER and path.startswith("/attempts/") and next(counter) % 2 and held():
        case.path_parameters["execution"] = lease["execution_id"]
        case.path_parameters["attempt"] = lease["attempt"]
        case.headers["x-rgrid-attempt-token"] = lease["token"]
        if path.endswith(("/finish", "/return")):
            lease = None


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path.removeprefix("/api/v1")
    if is_positive(case):
        case.body = whole(case.body)
        reach(case, path)
    if path == "/leases" and isinstance(case.body, dict):
        wait = case.body.get("wait_ms")
        if isinstance(wait, int) and not isinstance(wait, bool):
            case.body["wait_ms"] = min(wait, WAIT_MS)
    if path == "/executions/{id}/logs/stream":
        case.path_parameters["id"] = ended(case.path_parameters.get("id"))
    if path == "/keys/{id}":
        if not protected:
            # Those of the roles have these names.
            keys = ask("GET", "/keys", ADMIN)[1]["keys"]
            protected.update(key["id"] for key in keys if key["name"] in ("admin", "member", "helper"))
        if case.path_parameters.get("id") in protected:
            case.path_parameters["id"] = "key_00000000000000000000000000"
