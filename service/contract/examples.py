"""Examples for the OpenAPI document. A test loads and checks each of them against its schema."""

from typing import Any

_WHEN = "2026-01-31T12:00:00.000Z"

USER: dict[str, Any] = {
    "userId": "318924857203654657",
    "username": "ada",
    "email": "ada@example.org",
    "admin": False,
    "accessTo": [],
    "createdAt": _WHEN,
}
LOOK_UP_USER = {"type": "email", "value": USER["email"]}
CREATED_USER = {name: USER[name] for name in ("userId", "username", "email", "admin")}
CREATE_USER = {
    "username": USER["username"],
    "email": USER["email"],
    "password": "correct horse battery staple",
    "userId": USER["userId"],
}
VERIFY_PASSWORD = {name: CREATE_USER[name] for name in ("email", "password")}
VERIFIED = {"valid": True, "user": USER}

NODE: dict[str, Any] = {
    "id": "5f2b8a90c1d4e7f3",
    "name": "local",
    "tags": "home",
    "ram": "32",
    "disk": "500",
    "processor": "Ryzen 7",
    "address": "unix:///var/run/docker.sock",
    "port": None,
    "driver": "docker",
    "tls": False,
    "status": "Online",
    "error": None,
    "version": "27.3.1",
    "engine": "docker 27.3.1",
    "engineId": "b8a3f2d1-7c64-4e0b-9a51-2f6f0d3c9e17",
    "cores": 16,
    "instances": 1,
    "memoryMib": 32768,
    "memoryOverallocate": None,
    "allocatedMemoryMib": 128,
    "cpu": None,
    "cpuOverallocate": None,
    "allocatedCpu": 0.5,
    "warnings": [],
    "lastSeenAt": _WHEN,
    "createdAt": _WHEN,
}
CREATE_NODE = {
    "name": "helsinki-1",
    "tags": "eu",
    "ram": "32",
    "disk": "500",
    "processor": "Ryzen 7",
    "address": "node1.example.org",
    "port": "3002",
}
_NEW_NODE = {
    **NODE,
    **CREATE_NODE,
    "port": 3002,
    "driver": "skyportd",
    "status": "Unconfigured",
    "version": None,
    "engine": None,
    "engineId": None,
    "cores": None,
    "instances": 0,
    "allocatedMemoryMib": 0,
    "allocatedCpu": 0,
    "lastSeenAt": None,
}
TLS = {
    "ca": """-----BEGIN CERTIFICATE-----
MIIBgDCCASegAwIBAgIUXLyQMdkj42u4p7r5tWqLFJbHGjwwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKRXhhbXBsZSBDQTAgFw0yNjExMjUxMTI1MTdaGA8yMTI2MTEw
MTExMjUxN1owFTETMBEGA1UEAwwKRXhhbXBsZSBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABFxkdn2cbLYS3rRlq9DkNhVLoxwxjtvSXn2xxqYN7sB1n6YR3KKC
gk52x9+pJzkQM5rOFD2axpyTm6nbn2Eo0SajUzBRMB0GA1UdDgQWBBSsy3ODcixQ
UWVjegKrAcyEv7PGoDAfBgNVHSMEGDAWgBSsy3ODcixQUWVjegKrAcyEv7PGoDAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIEmb1h6BbfE7j4hTURNP
I64jI8/5iooK7zF5bX271m8TAiAMmN/E9IwaP1qnLKoCwH+ngQCZbJwtZI315gzU
tBoCUw==
-----END CERTIFICATE-----
"""
}
CONFIGURE_KEY = {
    "configureKey": "9f2c...",
    "configureCommand": "npm run configure -- --panel https://skyquay.example.org --key 9f2c...",
}
CREATED_NODE = {**_NEW_NODE, "Message": _NEW_NODE, **CONFIGURE_KEY}

IMAGE: dict[str, Any] = {
    "Id": "0c7d1e2f3a4b5c6d",
    "Name": "Static web server",
    "Image": "python:3.13-alpine",
    "AltImages": ["python:3.13-alpine"],
    "Env": [],
    "Cmd": 'exec python3 -m http.server "$PRIMARY_PORT"',
    "Scripts": {"Install": []},
    "Variables": {},
    "StopCommand": None,
    "Description": "Serves the instance's own folder over HTTP.",
    "Author": "",
    "AuthorName": "Skyquay",
    "Meta": {},
    "features": [],
    "process": True,
}

DEPLOY = {
    "name": "my first",
    "user": "admin",  # whom `skyquay up` makes
    "nodeId": NODE["id"],
    "image": IMAGE["Name"],
    "memory": 128,
    "cpu": "0.5",
    "ports": "8080:25565",
    "primary": "25565",
}
INSTANCE: dict[str, Any] = {
    "Id": "iq3kz7ab2mxwe",
    "VolumeId": "iq3kz7ab2mxwe",
    "ContainerId": "8c01a793747241c018a10df916561f803b0ef65380604bd388bafc7a0e4b78c4",
    "Name": DEPLOY["name"],
    "User": USER["userId"],
    "Node": {name: NODE[name] for name in ("id", "name", "address", "port", "status")},
    "Image": IMAGE["Image"],
    "ImageName": IMAGE["Name"],
    "AltImages": IMAGE["AltImages"],
    "StopCommand": None,
    "Memory": 128,
    "Cpu": 0.5,
    "Ports": DEPLOY["ports"],
    "Primary": DEPLOY["primary"],
    "ExposedPorts": {"8080/tcp": {}, "8080/udp": {}},
    "PortBindings": {
        "8080/tcp": [{"HostPort": "25565"}],
        "8080/udp": [{"HostPort": "25565"}],
    },
    "Env": [],
    "Variables": {},
    "secretVariables": [],
    "InternalState": "READY",
    "suspended": False,
    "power": "running",
    "error": None,
    "createdAt": _WHEN,
    "updatedAt": _WHEN,
}
_OPERATION_ID = "9a1b2c3d4e5f60718293"
SUSPENDED = {
    **INSTANCE,
    "suspended": True,
    "power": "stopped",
    "operationId": _OPERATION_ID,
}
UNSUSPENDED = {**INSTANCE, "operationId": _OPERATION_ID}
STARTED = UNSUSPENDED
LOGS = {"Id": INSTANCE["Id"], "lines": ["Serving HTTP on 0.0.0.0 port 8080 ..."]}
DEPLOYED = {
    "message": "The instance is being deployed.",
    "Message": "The instance is being deployed.",
    "Id": INSTANCE["Id"],
    "volumeId": INSTANCE["Id"],
    "VolumeId": INSTANCE["Id"],
    "ContainerId": None,
    "state": "INSTALLING",
    "error": None,
    "operationId": _OPERATION_ID,
}
DELETED = {
    "message": "The instance is deleted.",
    "Id": INSTANCE["Id"],
    "state": "DELETED",
    "operationId": _OPERATION_ID,
}

OPERATION: dict[str, Any] = {
    "id": _OPERATION_ID,
    "kind": "deploy",
    "instanceId": INSTANCE["Id"],
    "nodeId": NODE["id"],
    "status": "pending",
    "steps": [
        {
            "name": "pull",
            "startedAt": _WHEN,
            "endedAt": _WHEN,
            "error": "The Docker Engine does not answer.",
            "progress": "2 of 5 layers, 34.1 of 120.0 MB",
        }
    ],
    "attempts": 1,
    "nextAttemptAt": _WHEN,
    "cancelRequested": False,
    "error": "The Docker Engine does not answer.",
    "leftovers": None,
    "requestedBy": "3f6c2b1a09d8e7f5",
    "requestId": "b0c1d2e3f4a59687",
    "createdAt": _WHEN,
    "updatedAt": _WHEN,
    "endedAt": None,
}
CANCELLED = {
    **OPERATION,
    "status": "cancelled",
    "nextAttemptAt": None,
    "endedAt": _WHEN,
}

DELETED_NODE = {"message": "The node is deleted, with 3 instances.", "instances": 3}
_ORPHAN = "izzy4qk2mhw7d"
_LOST = "ib5c6d7efgh2j"
_GONE = "ik3l4m5nopq6r"
DRIFT = {
    "unknown": [{"id": _ORPHAN, "containerId": INSTANCE["ContainerId"], "power": "running"}],
    "unclaimed": [],
    "missing": [{"id": _LOST, "name": "lost"}],
    "power": [
        {
            "id": INSTANCE["Id"],
            "name": INSTANCE["Name"],
            "suspended": False,
            "recorded": "running",
            "seen": "stopped",
        }
    ],
    "leftovers": [
        {
            "id": _GONE,
            "path": f"/opt/skyportd/volumes/{_GONE}",
            "names": ["world"],
            "reason": "EPERM: operation not permitted, unlink "
            f"'/opt/skyportd/volumes/{_GONE}/world/level.dat'",
            "since": _WHEN,
        }
    ],
}
RESOLVE_DRIFT = {
    "adopt": [{"id": _ORPHAN, "user": USER["userId"], "name": "found again"}],
    "recreate": [_LOST],
}
RESOLVED = [
    {"id": _ORPHAN, "action": "adopt", "operationId": None},
    {"id": _LOST, "action": "recreate", "operationId": _OPERATION_ID},
]

HOME = {
    "name": "Skyquay",
    "version": "0.1.0",
    "links": {"docs": "/docs/", "openapi": "/openapi.json", "health": "/healthz"},
}

KEY: dict[str, Any] = {
    "id": "a1b2c3d4e5f6",
    "name": "Ada's bot",
    "prefix": "sq_Xk3v9Q",
    "scopes": ["instances:*", "images:read", "nodes:read"],
    "user": USER["userId"],
    "instances": None,
    "nodes": None,
    "networks": ["203.0.113.0/24"],
    "compatibility": None,
    "expiresAt": "2126-01-31T12:00:00.000Z",
    "oldValueExpiresAt": None,
    "lastUsedAt": _WHEN,
    "createdBy": "3f6c2b1a09d8",
    "createdAt": _WHEN,
}
CREATE_KEY = {name: KEY[name] for name in ("name", "scopes", "user", "networks", "expiresAt")}
NEW_KEY = {**KEY, "key": "sq_Xk3v9Q..."}
ROTATE_KEY = {"overlap": 3600}
REVOKED_KEY = {"id": KEY["id"], "message": "The key is revoked."}

AUDIT = {
    "entries": [
        {
            "id": "019bf2a4d8001f2e3d4c5b6a",
            "at": _WHEN,
            "action": "instances.suspend",
            "targetKind": "instance",
            "target": INSTANCE["Id"],
            "key": KEY["id"],
            "address": "203.0.113.7",
            "requestId": OPERATION["requestId"],
            "count": 1,
            "lastRequestId": OPERATION["requestId"],
            "lastAt": _WHEN,
            "before": {"suspended": False, "power": "running"},
            "after": {"suspended": True, "power": "stopped"},
            "outcome": "done",
            "status": 200,
            "code": None,
        }
    ],
    "next": "019bf2a4d8001f2e3d4c5b6a",
}
