// Express and MongoDB's own driver: the same documents and routes, and nothing else.
const cluster = require("cluster");
const crypto = require("crypto");
const express = require("express");
const { Binary, MongoClient } = require("mongodb");

if (cluster.isPrimary) {
  for (let i = 0; i < +process.env.WORKERS; i++) cluster.fork();
  process.on("SIGTERM", () => process.exit());
  return;
}

const app = express();
const db = new MongoClient(process.env.PEER_MONGODB_URI).db(process.env.PEER_DB);
const seen = new Map();
const withoutId = { projection: { _id: 0 } };

app.use(express.json());
app.use(async (request, response, next) => {
  const key = request.headers["x-api-key"];
  if (!key) return response.status(401).json({ error: "key" });
  const digest = crypto.createHash("sha256").update(key).digest("hex");
  if (!(seen.get(digest) > Date.now())) {
    const found = await db.collection("keys").findOne({ _id: new Binary(Buffer.from(digest, "hex")) });
    if (!found) return response.status(401).json({ error: "key" });
    seen.set(digest, Date.now() + 5000);
  }
  next();
});
app.get("/api/name", async (request, response) => response.json({ name: "peer" }));
app.post("/api/getInstance", async (request, response) =>
  response.json(await db.collection("instances").findOne({ Id: request.body.id }, withoutId)));
app.post("/api/getUserInstance", async (request, response) =>
  response.json(await db.collection("instances").find({ User: request.body.userId }, withoutId).toArray()));
app.get("/api/instances", async (request, response) =>
  response.json(await db.collection("instances").find({}, withoutId).toArray()));
app.listen(+process.env.PORT, "127.0.0.1");
