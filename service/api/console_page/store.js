// What has been seen: nodes, operations, and the instances that are shown. Events keep it true.
const MAX_OPERATIONS = 200;
const idOf = { instance: (each) => each.Id, node: (each) => each.id, operation: (each) => each.id };

export const store = new (class extends EventTarget {
  instance = new Map();
  node = new Map();
  operation = new Map();
  names = new Map(); // of instances, also of those that are not shown

  // Puts what a request answered; of two that know when they changed the newer one stays.
  put(kind, resources) {
    for (const resource of resources) {
      const id = idOf[kind](resource);
      const known = this[kind].get(id);
      if (!known?.updatedAt || known.updatedAt <= resource.updatedAt) this[kind].set(id, resource);
    }
    this.#tell(kind, null);
  }

  take(event) {
    const [kind, what] = event.type.split(".");
    if (!idOf[kind]) return;
    if (what === "deleted") this[kind].delete(event.resourceId);
    else if (event.resource && (kind !== "instance" || this.instance.has(event.resourceId))) this[kind].set(event.resourceId, event.resource);
    if (kind === "instance" && event.resource) this.names.set(event.resourceId, event.resource.Name);
    this.#tell(kind, event);
  }

  clear() { for (const kind of [...Object.keys(idOf), "names"]) this[kind].clear(); }

  listOperations(instanceId = null) {
    return [...this.operation.values()]
      .filter((each) => instanceId === null || each.instanceId === instanceId)
      .sort((one, other) => (one.createdAt < other.createdAt ? 1 : -1));
  }

  #tell(kind, event) {
    for (const { Id, Name } of this.instance.values()) this.names.set(Id, Name);
    for (const { id } of this.listOperations().slice(MAX_OPERATIONS)) this.operation.delete(id);
    this.dispatchEvent(new CustomEvent(kind, { detail: event }));
  }
})();
