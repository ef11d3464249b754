"""FastAPI, PyMongo's async client and uvicorn: the same documents and routes, and nothing else."""

import hashlib
import os
import time

import orjson
from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel
from pymongo import AsyncMongoClient

app = FastAPI()
db = AsyncMongoClient(os.environ["PEER_MONGODB_URI"])[os.environ["PEER_DB"]]
seen: dict[bytes, float] = {}


class ById(BaseModel):
    id: str


class ByUser(BaseModel):
    userId: str


async def check(key):
    if not key:
        raise HTTPException(401)
    digest = hashlib.sha256(key.encode()).digest()
    if seen.get(digest, 0) > time.monotonic():
        return
    if not await db.keys.find_one({"_id": digest}):
        raise HTTPException(401)
    seen[digest] = time.monotonic() + 5


def reply(value):
    return Response(orjson.dumps(value), media_type="application/json")


@app.get("/api/name")
async def name(x_api_key: str = Header(None)):
    await check(x_api_key)
    return {"name": "peer"}


@app.post("/api/getInstance")
async def get_instance(body: ById, x_api_key: str = Header(None)):
    await check(x_api_key)
    return reply(await db.instances.find_one({"Id": body.id}, {"_id": 0}))


@app.post("/api/getUserInstance")
async def get_user_instances(body: ByUser, x_api_key: str = Header(None)):
    await check(x_api_key)
    return reply(await db.instances.find({"User": body.userId}, {"_id": 0}).to_list())


@app.get("/api/instances")
async def list_instances(x_api_key: str = Header(None)):
    await check(x_api_key)
    return reply(await db.instances.find({}, {"_id": 0}).to_list())
