// The state of an instance, a node or an operation, as a small coloured word.
import { make, setText } from "./dom.js";

const TONES = {
  running: "good", Online: "good", succeeded: "good", failed: "bad", Offline: "bad", "drain blocked": "bad",
  installing: "busy", deleting: "busy", starting: "busy", pending: "busy", "in progress": "busy", draining: "busy", "drain being undone": "busy",
};

export function makePill() {
  const pill = make("span", { class: "pill" });
  pill.show = (state, title = "") => {
    pill.dataset.tone = TONES[state] ?? "calm";
    pill.title = title ?? "";
    setText(pill, state);
  };
  return pill;
}

// One word for what an instance is in: its life first, then what is wanted, then what was seen.
export function stateOf(instance) {
  if (instance.InternalState !== "READY") return instance.InternalState.toLowerCase();
  if (instance.suspended) return "suspended";
  return instance.power === "running" && instance.phase === "starting" ? "starting" : instance.power;
}
