// The life of an instance, with the types that openapi-typescript makes. Takes URL, key and port.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Instance = components["schemas"]["InstanceAnswer"];

const [url, key, port] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { "x-api-key": key } });

function good<Data>(answer: { data?: Data; error?: components["schemas"]["ErrorAnswer"] }): Data {
  if (answer.error !== undefined || answer.data === undefined) {
    throw new Error(`This is no success: ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

function check(instance: Instance, suspended: boolean, power: components["schemas"]["Power"]): void {
  const found = [instance.InternalState, instance.suspended, instance.power];
  if (found.join() !== ["READY", suspended, power].join()) {
    throw new Error(`The instance is ${found}.`);
  }
}

const user = good(await client.POST("/api/auth/create-user", {
  body: { username: "ts", email: "ts@example.org", password: "correct horse" },
}));
const same = good(await client.POST("/api/getUser", { body: { type: "email", value: user.email } }));
if (same.userId !== user.userId) throw new Error("The user is another.");

const [node] = good(await client.GET("/api/nodes"));
if (node === undefined) throw new Error("There is no node.");
const order: components["schemas"]["Deploy"] = {
  image: "Static web server",
  memory: 64,
  cpu: "0.1",
  ports: `${port}:${port}`,
  primary: Number(port),
  nodeId: node.id,
  name: "from TypeScript",
  user: user.userId,
  variables: {},
};
const query = { wait: 60 };
const dry = { params: { query: { dryRun: true } }, body: order };
const plan = good(await client.POST("/api/instances/deploy", dry)).plan;
if (plan?.Node.id !== node.id) throw new Error(`It would be elsewhere: ${plan?.Node.id}`);
const deployed = good(await client.POST("/api/instances/deploy", { params: { query }, body: order }));
if (deployed.state !== "READY") throw new Error(`It is not READY: ${deployed.error}`);
const again = await client.POST("/api/instances/deploy", { body: order });
if (again.error?.code !== "port_taken") throw new Error("The port is taken, but not for this.");

check(good(await client.POST("/api/getInstance", { body: { id: deployed.Id } })), false, "running");
const mine = good(await client.POST("/api/getUserInstance", { body: { userId: user.userId } }));
if (mine.map(({ Id }) => Id).join() !== deployed.Id) throw new Error("The user has others.");

const params = { path: { instance_id: deployed.Id }, query: { wait: 30 } };
check(good(await client.POST("/api/instances/suspend/{instance_id}", { params })), true, "stopped");
check(good(await client.POST("/api/instances/unsuspend/{instance_id}", { params })), false, "running");
const gone = good(await client.DELETE("/api/instance/delete", {
  params: { query: { wait: 30 } },
  body: { id: deployed.Id },
}));
console.log(gone.state);
