// The form that deploys an instance, and with `data-id` the one that changes it.

import { call, newIdempotencyKey, path, session } from "./api.js";
import { make } from "./dom.js";
import { complain, makeField, makeVariable } from "./fields.js";
import { cores, mib } from "./format.js";
import { listDetails, showEmpty, showError } from "./messages.js";
import { go } from "./router.js";
import { store } from "./store.js";
import { View } from "./view.js";

class DeployForm extends View {
  // One for all that this form sends: whatever is repeated, one instance is deployed.
  idempotencyKey = newIdempotencyKey();

  async open() {
    this.problem = make("div");
    this.append(make("h1", {}, this.dataset.id ? "Change an instance" : "Deploy an instance"), this.problem);
    const list = async (target, scope) => (session.may(scope) ? (await call("GET", target, { query: { limit: 1000 }, signal: this.signal })).data : []);
    try {
      const [images, nodes, users, current] = await Promise.all([
        list("/api/images", "images:read"), list("/api/nodes", "nodes:read"), list("/api/users", "users:read"),
        this.dataset.id && call("GET", path`/api/instances/${this.dataset.id}`, { signal: this.signal }),
      ]);
      this.images = images;
      if (!images.length || !nodes.length) return this.append(explainMissing(images.length ? "node" : "image"));
      this.show(nodes, users, current);
    } catch (error) {
      if (!this.signal.aborted) this.problem.replaceChildren(showError(error));
    }
  }

  show(nodes, users, current) {
    const instance = current?.data;
    this.etag = current?.etag;
    const owners = users.length ? users.map(({ userId, username }) => [userId, `${username} (${userId})`]) : null;
    const room = (node) => [node.status === "Online" ? "" : node.status, node.memoryMib && `${mib(Math.max(0, node.memoryMib - node.allocatedMemoryMib))} left`, node.cores && cores(node.cores)].filter(Boolean).join(", ");
    const field = {
      name: makeField("name", "Name", { required: true, maxlength: 255, value: instance?.Name }),
      image: makeField("image", "Image", { required: true, options: this.images.map(({ Name }) => [Name, Name]), value: instance?.ImageName }),
      nodeId: makeField("nodeId", "Node", { required: true, options: nodes.map((node) => [node.id, `${node.name} (${room(node)})`]), disabled: Boolean(instance), value: instance?.Node.id }),
      user: makeField("user", "Owner", { required: true, options: owners, value: instance?.User ?? session.me.key.user ?? owners?.[0][0] }),
      memory: makeField("memory", "Memory", { required: true, value: instance?.Memory ?? 512, hint: "MiB, or with a unit: 512M, 2G" }),
      cpu: makeField("cpu", "Cores", { required: true, value: instance?.Cpu ?? 1, inputmode: "decimal", hint: "1, or a part such as 0.5" }),
      disk: makeField("disk", "Disk", { value: instance?.Disk ?? "", inputmode: "numeric", hint: "GB, shown and not enforced" }),
      ports: makeField("ports", "Ports", { required: true, value: instance?.Ports ?? "8080:8080", hint: "container:host, several with commas. Players connect to the first, on the host." }),
    };
    if (instance) delete field.nodeId, delete field.disk;
    this.fields = field;
    this.about = make("p", { class: "hint wide" });
    this.variables = make("fieldset", { class: "fields" });
    field.image.control.addEventListener("change", () => this.listVariables());
    this.button = make("button", { class: "primary" }, instance ? "Save" : "Deploy");
    this.append(make("form", { class: "card", novalidate: true, onsubmit: (event) => (event.preventDefault(), this.submit()) },
      make("div", { class: "fields" }, Object.values(field), this.about), this.variables, this.button));
    this.listVariables(instance?.Variables);
    field.name.control.focus();
  }

  listVariables(values = {}) {
    const image = this.images.find(({ Name }) => Name === this.fields.image.control.value);
    this.about.textContent = image?.Description ?? "";
    this.declared = Object.entries(image?.Variables ?? {}).map(([name, declared]) => makeVariable(name, declared, values[name]));
    this.variables.replaceChildren(make("legend", {}, "Variables"), ...this.declared);
    this.variables.hidden = this.declared.length === 0;
  }

  read() {
    const given = Object.entries(this.fields).map(([name, { control }]) => [name, control.value.trim()]).filter(([, value]) => value !== "");
    const body = Object.fromEntries(given);
    body.variables = Object.fromEntries(this.declared.filter(({ control }) => control.value !== "").map(({ name, control }) => [name.slice("variables.".length), control.value]));
    const first = body.ports?.split(",")[0].split(":").at(-1).trim();
    return first ? { ...body, primary: first } : body;
  }

  async submit() {
    if (this.button.disabled) return;
    this.button.disabled = true;
    this.setAttribute("aria-busy", "true");
    const [method, target, headers] = this.dataset.id
      ? ["PATCH", path`/api/instances/${this.dataset.id}`, { "If-Match": this.etag }]
      : ["POST", "/api/instances", { "Idempotency-Key": this.idempotencyKey }];
    try {
      const { data } = await call(method, target, { body: this.read(), headers });
      store.put("instance", [data]);
      go(path`#/instances/${data.Id}`);
    } catch (error) {
      this.complain(error);
    } finally {
      this.button.disabled = false;
      this.removeAttribute("aria-busy");
    }
  }

  complain(error) {
    this.problem.replaceChildren(showError(error, { fields: false }));
    const rest = complain([...Object.values(this.fields), ...this.declared], listDetails(error.details));
    this.problem.append(...rest.map(([name, words]) => make("p", { class: "wrong" }, `${name}: ${words}`)));
  }
}

function explainMissing(what) {
  return showEmpty(`No ${what} to deploy ${what === "node" ? "on" : ""}.`, `The key sees no ${what}s. Add one, or use a key that may read them (`, make("code", {}, `${what}s:read`), ").");
}

customElements.define("deploy-form", DeployForm);
