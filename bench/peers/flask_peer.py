"""The limit of the shape: bare Flask and one query.

`granian --interface wsgi --workers 2 --blocking-threads 4 flask_peer:app`
"""

import hashlib
import os
import time

import orjson
import pymongo
from flask import Flask, Response, request

app = Flask(__name__)
db = pymongo.MongoClient(os.environ["PEER_MONGODB_URI"])[os.environ["PEER_DB"]]
seen: dict[bytes, float] = {}


def check():
    digest = hashlib.sha256(request.headers.get("x-api-key", "").encode()).digest()
    if seen.get(digest, 0) < time.monotonic():
        assert db.keys.find_one({"_id": digest})
        seen[digest] = time.monotonic() + 5


def reply(value):
    return Response(orjson.dumps(value), mimetype="application/json")


@app.get("/api/name")
def name():
    check()
    return reply({"name": "peer"})


@app.post("/api/getInstance")
def get_instance():
    check()
    return reply(db.instances.find_one({"Id": request.get_json()["id"]}, {"_id": 0}))


@app.post("/api/getUserInstance")
def get_user_instances():
    check()
    return reply(list(db.instances.find({"User": request.get_json()["userId"]}, {"_id": 0})))


@app.get("/api/instances")
def list_instances():
    check()
    return reply(list(db.instances.find({}, {"_id": 0})))
