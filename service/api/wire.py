"""Stored document -> JSON object, one plain function a resource; nothing else shapes answers.

Plain functions, because a thousand instances through marshmallow's `dump` take three times as long.
"""

from typing import Any

from service.documents import Image, Instance, Node, Operation, User
from service.lifecycle import InstanceState, OperationStatus
from service.ports import PortMapping, print_map

Json = dict[str, Any]


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


def instance(document: Instance, node: Node | None) -> Json:
    """Shape an instance with a summary of its node."""
    ports = [PortMapping(**pair) for pair in document["port_map"]]
    bindings: Json = {
        f"{mapping.container}/{protocol}": [{"HostPort": str(mapping.host)}]
        for mapping in ports
        for protocol in ("tcp", "udp")
    }
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
        "Ports": print_map(tuple(ports)),
        "Primary": document["primary"],
        "ExposedPorts": {port: {} for port in bindings},
        "PortBindings": bindings,
        "Env": document["env"],
        "Variables": document["variables"],
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
    message = "The instance is being deployed."
    return {
        "message": message,
        "Message": message,
        "Id": document["_id"],
        "volumeId": document["_id"],
        "VolumeId": document["_id"],
        "ContainerId": document["container_id"],
        "state": document["state"],
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
        "Variables": document["variables"],
        "StopCommand": document["stop_command"],
        "Description": document["description"],
        "Author": document["author"],
        "AuthorName": document["author_name"],
        "Meta": document["meta"],
        "features": document["features"],
        "process": document["process"],
    }


def node(document: Node) -> Json:
    """Shape a node. Its key stays here."""
    report = document["report"]
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
        "status": document["status"],
        "error": document["probe_error"],
        "version": report["version"] if report else None,
        "engine": report["engine"] if report else None,
        "instances": document["allocated"]["instances"],
        "memoryMib": document["capacity"]["memory_mib"],
        "allocatedMemoryMib": document["allocated"]["memory_mib"],
        "allocatedCpu": cores(document["allocated"]["cpu_milli"]),
        "lastSeenAt": document["last_seen_at"],
        "createdAt": document["created_at"],
    }


def created_node(document: Node) -> Json:
    """Shape a node that was just added. The older panel put it under `Message`."""
    shaped = node(document)
    return {**shaped, "Message": shaped}


def cores(milli: int) -> int | float:
    """Print thousandths of a core as cores, whole where they are."""
    return milli // 1000 if milli % 1000 == 0 else milli / 1000


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
