"""FastAPI that does the same work: with the usual parts for limits, metrics and a JSON log line."""

import hashlib
import os
import time
import uuid
from pathlib import Path

import orjson
import structlog
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel
from pymongo import AsyncMongoClient
from slowapi import Limiter
from slowapi.middleware import SlowAPIMiddleware

db = AsyncMongoClient(os.environ["PEER_MONGODB_URI"])[os.environ["PEER_DB"]]
output = Path(os.environ["PEER_LOG"]).open("a", encoding="utf-8")  # noqa: SIM115 - for ever
log = structlog.wrap_logger(
    structlog.PrintLogger(output),
    processors=[
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(
            serializer=lambda value, **_: orjson.dumps(value).decode()
        ),
    ],
)
seen: dict[bytes, float] = {}
app = FastAPI()
app.state.limiter = Limiter(
    key_func=lambda request: request.headers.get("x-api-key", ""),
    application_limits=["100000000/minute"],
    headers_enabled=True,
)
app.add_middleware(SlowAPIMiddleware)
Instrumentator().instrument(app)


class ById(BaseModel):
    id: str


class ByUser(BaseModel):
    userId: str


@app.middleware("http")
async def log_request(request: Request, call_next):
    began = time.perf_counter()
    request_id = request.headers.get("x-request-id") or uuid.uuid4().hex[:16]
    answer = await call_next(request)
    answer.headers["x-request-id"] = request_id
    log.info(
        "request",
        request_id=request_id,
        method=request.method,
        route=request.url.path,
        status=answer.status_code,
        ms=round((time.perf_counter() - began) * 1000, 1),
    )
    return answer


async def check(x_api_key: str = Header(None)):
    if not x_api_key:
        raise HTTPException(401)
    digest = hashlib.sha256(x_api_key.encode()).digest()
    if seen.get(digest, 0) < time.monotonic():
        if not await db.keys.find_one({"_id": digest}):
            raise HTTPException(401)
        seen[digest] = time.monotonic() + 5


def reply(value):
    return Response(orjson.dumps(value), media_type="application/json")


@app.get("/api/name", dependencies=[Depends(check)])
async def name():
    return {"name": "peer"}


@app.post("/api/getInstance", dependencies=[Depends(check)])
async def get_instance(body: ById):
    return reply(await db.instances.find_one({"Id": body.id}, {"_id": 0}))


@app.post("/api/getUserInstance", dependencies=[Depends(check)])
async def get_user_instances(body: ByUser):
    return reply(await db.instances.find({"User": body.userId}, {"_id": 0}).to_list())


@app.get("/api/instances", dependencies=[Depends(check)])
async def list_instances():
    return reply(await db.instances.find({}, {"_id": 0}).to_list())
