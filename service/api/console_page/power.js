// The buttons that start, stop and delete an instance, and the question before what cannot be undone.

import { call, newIdempotencyKey, path, session } from "./api.js";
import { make } from "./dom.js";
import { announce, showError } from "./messages.js";
import { store } from "./store.js";

const isUp = (each) => each.power !== "stopped";
const ACTIONS = {
  start: { title: "Start", fits: (each) => !each.suspended && each.power !== "running" },
  stop: { title: "Stop", fits: (each) => !each.suspended && isUp(each) },
  restart: { title: "Restart", fits: (each) => !each.suspended && each.power === "running" },
  kill: { title: "Kill", fits: isUp, ask: "Its program gets no time to save." },
  suspend: { title: "Suspend", fits: (each) => !each.suspended },
  unsuspend: { title: "Unsuspend", fits: (each) => each.suspended },
};

// `names` are those of ACTIONS, and "delete". `onProblem` is handed an element, or null.
export function makePower(names, onProblem) {
  const group = make("div", { class: "actions", role: "group" });
  const buttons = names.map((name) => [name, make("button", { type: "button", class: name === "delete" && "danger", onclick: () => act(name) })]);
  let instance;

  async function act(name) {
    const { title, ask } = ACTIONS[name] ?? { title: "Delete", ask: "Its container, its files and its ports go with it. This cannot be undone." };
    if (ask && !(await confirm(`${title} ${instance.Name}?`, ask, title))) return;
    group.toggleAttribute("aria-busy", true);
    onProblem(null);
    try {
      await (name === "delete" ? remove(instance) : change(name, instance));
    } catch (error) {
      onProblem(showError(error));
    } finally {
      group.toggleAttribute("aria-busy", false);
    }
  }

  group.append(...buttons.map(([, button]) => button));
  group.hidden = !session.may("instances:write");
  group.show = (shown) => {
    instance = shown;
    group.setAttribute("aria-label", `Power of ${shown.Name}`);
    for (const [name, button] of buttons) {
      const action = ACTIONS[name];
      button.hidden = action && (shown.InternalState !== "READY" || !action.fits(shown));
      button.textContent = action?.title ?? "Delete";
      button.setAttribute("aria-label", `${button.textContent} ${shown.Name}`);
    }
  };
  return group;
}

async function change(name, { Id, Name }) {
  const target = ["suspend", "unsuspend"].includes(name) ? path`/api/instances/` + path`${name}/${Id}` : path`/api/instances/${Id}/${name}`;
  const headers = { "Idempotency-Key": newIdempotencyKey() };
  announce(`${ACTIONS[name].title}: ${Name}`);
  store.put("instance", [(await call("POST", target, { headers, body: {}, query: { wait: 0 } })).data]);
}

async function remove({ Id, Name }) {
  const { data } = await call("DELETE", path`/api/instances/${Id}`, { query: { wait: 0 } });
  announce(`${Name} is being deleted.`);
  if (data?.Id) store.put("instance", [data]);
}

function confirm(question, words, yes) {
  return new Promise((resolve) => {
    const dialog = make("dialog", { "aria-labelledby": "question", onclose: () => (dialog.remove(), resolve(dialog.returnValue === "yes")) },
      make("h2", { id: "question" }, question),
      make("p", {}, words),
      make("div", { class: "actions" },
        make("button", { type: "button", autofocus: true, onclick: () => dialog.close("no") }, "Cancel"),
        make("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, yes)));
    document.body.append(dialog);
    dialog.showModal();
  });
}
