"""Stored document -> JSON object, one plain function a resource; nothing else shapes answers.

Plain functions, because a thousand instances through marshmallow's `dump` take three times as long.
"""

from typing import Any

from service.drift import Drift, Orphan, Resolved
from service.model.documents import (
    AuditEntry,
    Image,
    Instance,
    Key,
    Node,
    Operation,
    User,
    Variable,
)
from service.model.lifecycle import OPEN, InstanceState, OperationStatus
from service.model.node_warnings import list_warnings
from service.model.ports import PortMapping, print_map

Json = dict[str, Any]

_DEPLOYED = {
    InstanceState.READY: "The instance is deployed.",
    InstanceState.FAILED: "The deployment failed.",
}

_NOT_RECORDED = frozenset(
    {"Env", "Variables", "Node", "PortBindings", "ExposedPorts", "steps", "lastUsedAt", "updatedAt"}
)
"""What may bear a secret, is said by something else, or moves by itself."""


def user(document: User) -> Json:
    """Shape a user. The password's hash stays here."""
    return {
        **created_user(document),
        "accessTo": document["access_to"],
        "createdAt": document["created_at"],
    }


def created_user(document: User) -> Json:
    """Shape a user that was just added."""
    return {
        "userId": document["_id"],
        "username": document["username"],
        "email": document["email"],
        "admin": document["admin"],
    }


def verified(document: User | None) -> Json:
    """Shape whether a password was right."""
    return {"valid": document is not None, "user": None if document is None else user(document)}


def instance(document: Instance, node: Node | None) -> Json:
    """Shape an instance with a summary of its node."""
    ports = [PortMapping(**pair) for pair in document["port_map"]]
    bindings: Json = {
        f"{mapping.container}/{protocol}": [{"HostPort": str(mapping.host)}]
        for mapping in ports
        for protocol in ("tcp", "udp")
    }
    secret = document["secret_variables"]
    shaped: Json = {
        "Id": document["_id"],
        "VolumeId": document["_id"],
        "ContainerId": document["container_id"],
        "Name": document["name"],
        "User": document["user_id"],
        "Node": _summary(document, node),
        "Image": document["image"],
        "ImageName": document["image_name"],
        "AltImages": document["alt_images"],
        "StopCommand": document["stop_command"],
        "Memory": document["memory_mib"],
        "Cpu": cores(document["cpu_milli"]),
        "Ports": print_map(document["port_map"]),
        "Primary": document["primary"],
        "ExposedPorts": {port: {} for port in bindings},
        "PortBindings": bindings,
        "Env": [entry for entry in document["env"] if entry.partition("=")[0] not in secret],
        "Variables": {
            name: value for name, value in document["variables"].items() if name not in secret
        },
        "secretVariables": secret,
        "InternalState": document["state"],
        "suspended": document["suspended"],
        "power": document["power"],
        "error": document["error"],
        "createdAt": document["created_at"],
        "updatedAt": document["updated_at"],
    }
    if document["disk_gb"] is not None:
        shaped["Disk"] = document["disk_gb"]
    return shaped


def deployed(document: Instance, operation: Operation) -> Json:
    """Shape the answer to a deploy."""
    message = _DEPLOYED.get(document["state"], "The instance is being deployed.")
    return {
        "message": message,
        "Message": message,
        "Id": document["_id"],
        "volumeId": document["_id"],
        "VolumeId": document["_id"],
        "ContainerId": document["container_id"],
        "state": document["state"],
        "error": document["error"],
        "operationId": operation["_id"],
    }


def deleted(operation: Operation) -> Json:
    """Shape the answer to a delete: gone, or soon to be."""
    gone = operation["status"] == OperationStatus.SUCCEEDED
    return {
        "message": "The instance is deleted." if gone else "The instance is being deleted.",
        "Id": operation["instance_id"],
        "state": "DELETED" if gone else InstanceState.DELETING,
        "operationId": operation["_id"],
    }


def forgotten(operation: Operation) -> Json:
    """Shape the answer to a delete by force."""
    return {
        "message": "The instance is forgotten. What is left on the node goes when it answers.",
        "Id": operation["instance_id"],
        "state": "DELETED",
        "operationId": operation["_id"],
    }


def logs(document: Instance, text: str) -> Json:
    """Shape what an instance's program printed."""
    return {"Id": document["_id"], "lines": text.splitlines()}


def operation(document: Operation) -> Json:
    """Shape an operation. Its lease is the workers' own affair."""
    return {
        "id": document["_id"],
        "kind": document["kind"],
        "instanceId": document["instance_id"],
        "nodeId": document["node_id"],
        "status": document["status"],
        "steps": [
            {
                "name": step["name"],
                "startedAt": step["started_at"],
                "endedAt": step["ended_at"],
                "error": step["error"],
                "progress": step.get("progress"),
            }
            for step in document["steps"]
        ],
        "attempts": document["attempts"],
        "nextAttemptAt": document["next_attempt_at"] if document["status"] in OPEN else None,
        "cancelRequested": document["cancel_requested"],
        "error": document["error"],
        "leftovers": document.get("leftovers"),
        "requestedBy": document["requested_by"],
        "requestId": document["request_id"],
        "createdAt": document["created_at"],
        "updatedAt": document["updated_at"],
        "endedAt": document.get("ended_at"),
    }


def image(document: Image) -> Json:
    """Shape an image of the catalogue."""
    return {
        "Id": document["_id"],
        "Name": document["name"],
        "Image": document["image"],
        "AltImages": document["alt_images"],
        "Env": document["env"],
        "Cmd": document["cmd"],
        "Scripts": document["scripts"],
        "Variables": {
            name: _image_variable(variable) for name, variable in document["variables"].items()
        },
        "StopCommand": document["stop_command"],
        "Description": document["description"],
        "Author": document["author"],
        "AuthorName": document["author_name"],
        "Meta": document["meta"],
        "features": document["features"],
        "process": document["process"],
    }


def node(document: Node) -> Json:
    """Shape a node. Its keys and certificates stay here."""
    report = document["report"]
    cpu_milli = document["capacity"]["cpu_milli"]
    has_milli = report["cpu_milli"] if report else None
    return {
        "id": document["_id"],
        "name": document["name"],
        "tags": document["tags"],
        "ram": document["ram"],
        "disk": document["disk"],
        "processor": document["processor"],
        "address": document["address"],
        "port": document["port"],
        "driver": document["driver"],
        "tls": document["tls"] is not None,
        "status": document["status"],
        "error": document["probe_error"],
        "version": report["version"] if report else None,
        "engine": report["engine"] if report else None,
        "engineId": report.get("engine_id") if report else None,
        "cores": None if has_milli is None else cores(has_milli),
        "instances": document["allocated"]["instances"],
        "memoryMib": document["capacity"]["memory_mib"],
        "memoryOverallocate": document["memory_overallocate"],
        "allocatedMemoryMib": document["allocated"]["memory_mib"],
        "cpu": None if cpu_milli is None else cores(cpu_milli),
        "cpuOverallocate": document["cpu_overallocate"],
        "allocatedCpu": cores(document["allocated"]["cpu_milli"]),
        "warnings": list_warnings(document),
        "lastSeenAt": document["last_seen_at"],
        "createdAt": document["created_at"],
    }


def created_node(document: Node) -> Json:
    """Shape a node that was just added. The older panel put it under `Message`."""
    shaped = node(document)
    return {**shaped, "Message": shaped}


def deleted_node(forgotten: int) -> Json:
    """Shape the answer to a node's deletion."""
    also = f", with {forgotten} instances" if forgotten else ""
    return {"message": f"The node is deleted{also}.", "instances": forgotten}


def drift(found: Drift) -> Json:
    """Shape how a node differs from the documents."""
    shaped: Json = {
        "unknown": [_orphan(item) for item in found.unknown],
        "unclaimed": [_orphan(item) for item in found.unclaimed],
        "missing": [{"id": item["_id"], "name": item["name"]} for item in found.missing],
        "power": [
            {
                "id": item.instance["_id"],
                "name": item.instance["name"],
                "suspended": item.instance["suspended"],
                "recorded": item.instance["power"],
                "seen": item.status.power,
            }
            for item in found.changed
        ],
    }
    if found.leftovers:
        shaped["leftovers"] = [
            {
                "id": left["_id"],
                "path": left["path"],
                "names": left["names"],
                "reason": left["reason"],
                "since": left["created_at"],
            }
            for left in found.leftovers
        ]
    return shaped


def resolved(done: Resolved) -> Json:
    """Shape what became of one difference."""
    return {
        "id": done.instance_id,
        "action": done.action,
        "operationId": done.operation_id,
    }


def enrolment(key: str, url: str) -> Json:
    """Shape what an operator needs to enrol a node's daemon, shown this once."""
    return {
        "configureKey": key,
        "configureCommand": f"npm run configure -- --panel {url} --key {key}",
    }


def key(document: Key) -> Json:
    """Shape a key. Its digest stays here."""
    retiring = document["retiring"]
    return {
        "id": document["_id"],
        "name": document["name"],
        "prefix": document["prefix"],
        "scopes": document["scopes"],
        "user": document["user_id"],
        "instances": document["instance_ids"],
        "nodes": document["node_ids"],
        "networks": document["networks"],
        "compatibility": document["compatibility"],
        "expiresAt": document["expires_at"],
        "oldValueExpiresAt": retiring["until"] if retiring else None,
        "lastUsedAt": document["last_used_at"],
        "createdBy": document["created_by"],
        "createdAt": document["created_at"],
    }


def new_key(document: Key, value: str) -> Json:
    """Shape a key with its value, for its holder, this once."""
    return {**key(document), "key": value}


def audit(entries: list[AuditEntry], *, more: bool) -> Json:
    """Shape a page of the audit log."""
    return {
        "entries": [
            {
                "id": entry["_id"],
                "at": entry["at"],
                "action": entry["action"],
                "targetKind": entry["target_kind"],
                "target": entry["target_id"],
                "key": entry["key_id"],
                "address": entry["address"],
                "requestId": entry["request_id"],
                "count": entry.get("count", 1),
                "lastRequestId": entry.get("last_request_id", entry["request_id"]),
                "lastAt": entry.get("last_at", entry["at"]),
                "before": entry["before"],
                "after": entry["after"],
                "outcome": entry["outcome"],
                "status": entry["status"],
                "code": entry["code"],
            }
            for entry in entries
        ],
        "next": entries[-1]["_id"] if more else None,
    }


def recorded(shaped: Json) -> Json:
    """Leave out of an answer what does not belong into the audit log."""
    return {name: value for name, value in shaped.items() if name not in _NOT_RECORDED}


def cores(milli: int) -> int | float:
    """Print thousandths of a core as cores, whole where they are."""
    return milli // 1000 if milli % 1000 == 0 else milli / 1000


def _orphan(item: Orphan) -> Json:
    return {
        "id": item.instance_id,
        "containerId": item.status.container_id,
        "power": item.status.power,
    }


def _image_variable(variable: Variable) -> Json:
    return {**variable, "default": None} if variable.get("secret") else dict(variable)


def _summary(document: Instance, node: Node | None) -> Json:
    if node is None:
        # The node was forgotten between two reads of a list.
        return {"id": document["node_id"], "name": "", "address": "", "port": None,
                "status": "Offline"}  # fmt: skip
    return {
        "id": node["_id"],
        "name": node["name"],
        "address": node["address"],
        "port": node["port"],
        "status": node["status"],
    }
