// The drain of a node: how far its instances are moved elsewhere, what is stuck, and what can be done.
import { ask, call, count, keep, make, mark, newIdempotencyKey, path, put, session, setText, showError, store } from "./kit.js";

const WORDS = { running: "draining", blocked: "drain blocked", paused: "drain paused", done: "drained", undoing: "drain being undone" };
const WAITS = { node_offline: "waits for the node to answer", operations: "waits for its operations", kept_instances: "waits until deleted instances are restored or purged" };
const ACTIONS = [
  { title: "Drain", question: "Drain", method: "POST", at: "", fits: ["", "undone", "undoing"], choices: [["yes", "Drain", "primary"]],
    words: "Its instances are moved to other nodes, two at a time; each stands still meanwhile. It gets no more of them." },
  { title: "Pause", method: "POST", at: "/pause", fits: ["running", "blocked"] },
  { title: "Resume", method: "POST", at: "/resume", fits: ["paused", "blocked"] },
  { title: "Undo", question: "Undo the drain of", method: "DELETE", at: "", fits: ["running", "blocked", "paused", "done"],
    words: "It gets instances as before. What was moved stays where it is, or returns where it fits.",
    choices: [["true", "Move back"], ["false", "Leave there", "primary"]] },
];

// One word for whether a node gets instances; nothing for one that does.
export const stateOfDrain = ({ drain, schedulable }) => WORDS[drain] ?? (schedulable ? "" : "cordoned");
export const isDraining = ({ drain }) => drain in WORDS && drain !== "done";

// `onChange` is called when something else is wanted of the drain.
export function makeDrain(onChange) {
  const [said, problem, bar] = [make("p"), make("div"), make("progress", { "aria-label": "Moved" })];
  const [summary, list] = [make("summary"), make("ul", { class: "stuck" })];
  const stuck = make("details", {}, summary, list);
  const buttons = ACTIONS.map((action) => make("button", { type: "button", onclick: () => act(action) }, action.title));
  const actions = make("div", { class: "actions", role: "group" }, buttons);
  const place = make("div", { class: "charts" }, said, bar, stuck, problem, actions);
  let node;

  async function act({ question, words, choices, method, at }) {
    const choice = choices && (await ask(`${question} ${node.name}?`, words, choices));
    if (choice === "") return;
    mark(place, "aria-busy", "true");
    const [headers, query] = [{ "Idempotency-Key": newIdempotencyKey() }, method === "DELETE" && { moveBack: choice }];
    put(problem, await call(method, path`/api/nodes/${node.id}/drain` + at, { headers, query: query || {} }).then(onChange, showError));
    mark(place, "aria-busy", null);
  }

  // `progress` is known while the drain is under way.
  place.show = (shown, progress) => {
    node = shown;
    ACTIONS.forEach(({ title, question = `${title} the drain of`, fits }, each) => {
      buttons[each].hidden = !fits.includes(node.drain ?? "");
      buttons[each].setAttribute("aria-label", `${question} ${node.name}`);
    });
    actions.hidden = !session.may("nodes:write");
    said.hidden = bar.hidden = !progress;
    stuck.hidden = !progress?.stuckCount;
    if (!progress) return;
    const { moved, total, moving, stuckCount, waitingFor } = progress;
    setText(said, [`${moved} of ${count(total, "instance")} moved`, moving.length && `${moving.length} on the way`, WAITS[waitingFor]].filter(Boolean).join(" · "));
    Object.assign(bar, { max: total || 1, value: moved });
    setText(summary, `${count(stuckCount, "instance")} cannot be moved`);
    keep(list, progress.stuck, ({ instanceId }) => instanceId, makeStuck);
  };
  return place;
}

function makeStuck({ instanceId }) {
  const [link, why] = [make("a", { href: path`#/instances/${instanceId}` }), make("span")];
  return Object.assign(make("li", {}, link, ": ", why), { show({ reason }) {
    setText(link, store.names.get(instanceId) ?? instanceId);
    setText(why, reason);
  } });
}
