// The buttons that start, stop, move and delete an instance, and the questions before what cannot be undone.
import { announce, ask, call, make, mark, newIdempotencyKey, path, session, showError, store } from "./kit.js";
import { loadNodes, nameNode } from "./nodes.js";

const ACTIONS = {
  start: { title: "Start", fits: (each) => !each.suspended && each.power !== "running" },
  stop: { title: "Stop", fits: (each) => !each.suspended && each.power !== "stopped" },
  restart: { title: "Restart", fits: (each) => !each.suspended && each.power === "running" },
  kill: { title: "Kill", fits: (each) => each.power !== "stopped", words: "Its program gets no time to save.", choices: [["yes", "Kill", "danger"]] },
  suspend: { title: "Suspend", fits: (each) => !each.suspended },
  unsuspend: { title: "Unsuspend", fits: (each) => each.suspended },
  transfer: { title: "Move", fits: () => session.may("nodes:write"), choices: [["yes", "Move", "primary"]], makeContent: makeNodeChoice,
    words: "It goes there with its files, and its program stands still meanwhile. Where that fails it stays where it is." },
  delete: { title: "Delete", choices: [["24h", "Keep for a day"], ["0", "Delete for good", "danger"]],
    words: "Its ports are free at once. Kept for a day, it can be restored with its files." },
  restore: { title: "Restore", state: "DELETED", fits: () => true },
};

// `names` are those of ACTIONS. `onProblem` is handed an element, or null.
export function makePower(names, onProblem) {
  let instance;
  const makeButton = (name) => make("button", { type: "button", class: name === "delete" && "danger", onclick: () => act(name) }, ACTIONS[name].title);
  const buttons = names.map((name) => [ACTIONS[name], makeButton(name)]);
  const group = make("div", { class: "actions", role: "group", hidden: !session.may("instances:write") }, buttons.map(([, button]) => button));

  async function act(name) {
    const { title, words, choices, makeContent } = ACTIONS[name];
    const content = await makeContent?.(instance);
    const choice = choices && (await ask(`${title} ${instance.Name}?`, words, choices, content));
    if (choice === "") return;
    mark(group, "aria-busy", "true");
    onProblem(null);
    onProblem(await change(name, instance, content?.value ?? choice).then(() => null, showError));
    mark(group, "aria-busy", null);
  }

  group.show = (shown) => {
    instance = shown;
    for (const [{ title, fits, state = "READY" }, button] of buttons) {
      button.hidden = fits && (shown.InternalState !== state || !fits(shown));
      button.setAttribute("aria-label", `${title} ${shown.Name}`);
    }
  };
  return group;
}

// `choice`: for how long what is deleted is kept, or the node to move to.
async function change(name, { Id, Name }, choice) {
  const headers = { "Idempotency-Key": newIdempotencyKey() };
  const isOld = name.endsWith("suspend"); // in the older panel's order
  const [method, target] = name === "delete" ? ["DELETE", path`/api/instances/${Id}`]
    : ["POST", isOld ? path`/api/instances/${name}/${Id}` : path`/api/instances/${Id}/${name}`];
  announce(`${ACTIONS[name].title}: ${Name}`);
  const options = name === "transfer" ? { body: { nodeId: choice } } : { query: { wait: 0, ...(name === "delete" && { keep: choice }) } };
  const { data } = await call(method, target, { headers, ...options });
  if (data?.kind || data?.InternalState) store.put(data.kind ? "operation" : "instance", [data]);
}

async function makeNodeChoice({ Node: own }) {
  await loadNodes().catch(() => {}); // then it goes to whichever
  const others = [...store.node.values()].filter(({ id }) => id !== own.id);
  return make("select", { "aria-label": "To the node", autofocus: true },
    make("option", { value: "auto" }, "Whichever fits best"), others.map((node) => make("option", { value: node.id }, nameNode(node))));
}
