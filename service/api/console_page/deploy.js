// The form that deploys an instance, and with `data-id` the one that changes it.
import { call, listDetails, make, mark, newIdempotencyKey, path, put, session, share, showEmpty, showError, View } from "./kit.js";
import { complain, makeField, makeVariable } from "./fields.js";
import { nameNode } from "./nodes.js";
import { readUsage } from "./usage.js";

const MOST = 1000; // of what is to choose from: with more users the owner is typed

class DeployForm extends View {
  // One for all that this form sends: whatever is repeated, one instance is deployed.
  idempotencyKey = newIdempotencyKey();

  open() {
    const { id } = this.dataset;
    this.append(make("h1", {}, id ? "Change an instance" : "Deploy an instance"), this.problem);
    const list = async (target, scope) => session.may(scope) ? (await call("GET", target, { query: { limit: MOST }, signal: this.signal })).data : [];
    this.attempt(async () => {
      const [images, nodes, users, current] = await Promise.all([
        list("/api/images", "images:read"), list("/api/nodes", "nodes:read"), list("/api/users", "users:read"),
        id && call("GET", path`/api/instances/${id}`, { signal: this.signal }),
      ]);
      const missing = images.length ? "node" : "image";
      if (images.length && nodes.length) this.show(images, nodes, users, current);
      else this.append(showEmpty(`There is no ${missing}.`, `Add one first, or use a key that may read them: it needs ${missing}s:read.`));
    });
  }

  show(images, nodes, users, current) {
    const instance = current?.data;
    this.etag = current?.etag;
    this.images = images;
    const owners = users.length && users.length < MOST ? users.map(({ userId, username }) => [userId, username]) : null;
    const field = {
      name: makeField("name", "Name", { required: true, value: instance?.Name }),
      image: makeField("image", "Image", { required: true, options: images.map(({ Name }) => [Name, Name]), value: instance?.ImageName, hint: " " }),
      nodeId: makeField("nodeId", "Node", { required: true, options: nodes.map((node) => [node.id, nameNode(node)]) }),
      user: makeField("user", "Owner", { required: true, options: owners, value: instance?.User ?? session.me.key.user ?? owners?.[0][0], hint: " " }),
      memory: makeField("memory", "Memory", { required: true, value: instance?.Memory ?? 512, hint: "MiB, or with a unit: 512M, 2G" }),
      cpu: makeField("cpu", "Cores", { required: true, value: instance?.Cpu ?? 1, inputmode: "decimal", hint: "1, or a part such as 0.5" }),
      ports: makeField("ports", "Ports", { required: true, value: instance?.Ports ?? "8080:auto", hint: "container:host, several with commas. With auto a free host port is found. The first is the one to connect to." }),
      disk: makeField("disk", "Disk", { inputmode: "numeric", hint: "GB: shown, not enforced" }),
    };
    if (instance) [field.nodeId, field.disk].forEach(({ name }) => delete field[name]);
    this.fields = field;
    this.variables = make("fieldset", { class: "fields" });
    field.image.control.addEventListener("change", () => this.listVariables());
    field.user.control.addEventListener("change", () => this.explainOwner());
    if (session.may("users:read")) this.explainOwner();
    this.button = make("button", { class: "primary" }, instance ? "Save" : "Deploy");
    this.append(make("form", { class: "card", novalidate: true, onsubmit: (event) => this.submit(event) },
      make("div", { class: "fields" }, Object.values(field)), this.variables, this.button));
    this.listVariables(instance?.Variables);
    this.before = instance && this.read();
    field.name.control.focus();
  }

  // What the owner has of the quota; nothing of one who is not limited, or that is typed and not known.
  async explainOwner() {
    const { control, explain } = this.fields.user;
    const limits = (await readUsage(control.value, this.signal).catch(() => [])).filter(({ isLimited }) => isLimited);
    explain(limits.map(({ title, format, used, all }) => `${title}: ${share(used, all, format)}`).join(" · "));
  }

  listVariables(values = {}) {
    const image = this.images.find(({ Name }) => Name === this.fields.image.control.value);
    this.fields.image.explain(image.Description);
    this.declared = Object.entries(image.Variables).map(([name, declared]) => makeVariable(name, declared, values[name]));
    this.variables.replaceChildren(make("legend", {}, "Variables"), ...this.declared);
    this.variables.hidden = this.declared.length === 0;
  }

  // What is entered, or of a change what is different. A variable that was emptied has its default again.
  read() {
    const enter = (fields) => Object.fromEntries(fields.map(({ name, control }) => [name.replace(/^variables\./, ""), control.value.trim()]));
    const differ = (now, before) => Object.fromEntries(Object.entries(now).filter(([name, value]) => value !== (before?.[name] ?? "")));
    const fields = enter(Object.values(this.fields));
    fields.primary = fields.ports.split(",")[0].trim().replace(/^\d+:(?!auto$)|-\d+(?=:auto$)/, "").trim();
    const variables = enter(this.declared);
    if (!this.before) return { ...differ(fields), variables: differ(variables) };
    const changed = Object.entries(differ(variables, this.before.variables)).map(([name, value]) => [name, value || null]);
    return { ...differ(fields, this.before), ...(changed.length && { variables: Object.fromEntries(changed) }) };
  }

  async submit(event) {
    event.preventDefault();
    if (this.button.disabled) return;
    this.button.disabled = true;
    mark(this, "aria-busy", "true");
    try {
      const { id } = this.dataset;
      const { data } = id
        ? await call("PATCH", path`/api/instances/${id}`, { body: this.read(), headers: { "If-Match": this.etag } })
        : await call("POST", "/api/instances", { body: this.read(), headers: { "Idempotency-Key": this.idempotencyKey } });
      location.hash = path`#/instances/${data.Id}`;
    } catch (error) {
      const elsewhere = complain([...Object.values(this.fields), ...this.declared], listDetails(error.details));
      put(this.problem, showError(error, elsewhere));
    } finally {
      this.button.disabled = false;
      mark(this, "aria-busy", null);
    }
  }
}

customElements.define("deploy-form", DeployForm);
