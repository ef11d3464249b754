// The buttons that start, stop and delete an instance, and the question before what cannot be undone.

import { call, newIdempotencyKey, path, session } from "./api.js";
import { make, mark } from "./dom.js";
import { announce, showError } from "./messages.js";
import { store } from "./store.js";

const ACTIONS = {
  start: { title: "Start", fits: (each) => !each.suspended && each.power !== "running" },
  stop: { title: "Stop", fits: (each) => !each.suspended && each.power !== "stopped" },
  restart: { title: "Restart", fits: (each) => !each.suspended && each.power === "running" },
  kill: { title: "Kill", fits: (each) => each.power !== "stopped", ask: "Its program gets no time to save." },
  suspend: { title: "Suspend", fits: (each) => !each.suspended },
  unsuspend: { title: "Unsuspend", fits: (each) => each.suspended },
  delete: { title: "Delete", ask: "Its container, its files and its ports go with it. This cannot be undone." },
};

// `names` are those of ACTIONS. `onProblem` is handed an element, or null.
export function makePower(names, onProblem) {
  let instance;
  const buttons = names.map((name) => {
    const button = make("button", { type: "button", class: name === "delete" && "danger", onclick: () => act(name) }, ACTIONS[name].title);
    return [ACTIONS[name], button];
  });
  const group = make("div", { class: "actions", role: "group", hidden: !session.may("instances:write") }, buttons.map(([, button]) => button));

  async function act(name) {
    const { title, ask } = ACTIONS[name];
    if (ask && !(await confirm(`${title} ${instance.Name}?`, ask, title))) return;
    mark(group, "aria-busy", "true");
    onProblem(null);
    try {
      await change(name, instance);
    } catch (error) {
      onProblem(showError(error));
    } finally {
      mark(group, "aria-busy", null);
    }
  }

  group.show = (shown) => {
    instance = shown;
    for (const [{ title, fits }, button] of buttons) {
      button.hidden = fits && (shown.InternalState !== "READY" || !fits(shown));
      button.setAttribute("aria-label", `${title} ${shown.Name}`);
    }
  };
  return group;
}

async function change(name, { Id, Name }) {
  const headers = { "Idempotency-Key": newIdempotencyKey() };
  const isOld = name.endsWith("suspend"); // in the older panel's order
  const [method, target] = name === "delete" ? ["DELETE", path`/api/instances/${Id}`]
    : ["POST", isOld ? path`/api/instances/${name}/${Id}` : path`/api/instances/${Id}/${name}`];
  announce(`${ACTIONS[name].title}: ${Name}`);
  const { data } = await call(method, target, { headers, query: { wait: 0 } });
  if (data?.Id) store.put("instance", [data]);
}

function confirm(question, words, yes) {
  return new Promise((resolve) => {
    const close = (answer) => () => dialog.close(answer);
    const dialog = make("dialog", { "aria-labelledby": "question", onclose: () => (dialog.remove(), resolve(dialog.returnValue === "yes")) },
      make("h2", { id: "question" }, question), make("p", {}, words),
      make("div", { class: "actions" },
        make("button", { type: "button", autofocus: true, onclick: close("no") }, "Cancel"),
        make("button", { type: "button", class: "danger", onclick: close("yes") }, yes)));
    document.body.append(dialog);
    dialog.showModal();
  });
}
