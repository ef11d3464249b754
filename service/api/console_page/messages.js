// What the page says and asks: empty places, errors in words, announcements to screen readers, questions.
import { make } from "./dom.js";

export function announce(text) {
  const place = document.getElementById("status");
  place.textContent = text;
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => (place.textContent = ""), 6000);
}

export function showEmpty(title, ...words) {
  return make("div", { class: "empty" }, make("h2", {}, title), make("p", {}, ...words));
}

// An error in the API's words, with what it says of each field, and the id to find it by in the log.
export function showError(error, details = listDetails(error.details)) {
  const isOffline = error instanceof TypeError;
  return make("div", { class: "error", role: "alert" },
    make("p", {}, isOffline ? "Skyquay cannot be reached. Is it running, and is this device online?" : error.message),
    make("ul", {}, details.map(([name, words]) => make("li", {}, make("b", {}, name), ` ${words}`))),
    error.code && make("p", { class: "quiet" },
      make("a", { href: `/docs/errors#${error.code}`, target: "_blank", rel: "noopener" }, "What to do about it"),
      " · request ", make("code", {}, error.requestId)),
  );
}

// Asks a question; returns the value of what is chosen, "" for none. `choices` are [value, title, class].
export function ask(question, words, choices, ...content) {
  return new Promise((resolve) => {
    const button = ([value, title, style]) => make("button", { type: "button", class: style, autofocus: !value, onclick: () => dialog.close(value) }, title);
    const dialog = make("dialog", { "aria-labelledby": "question", onclose: () => (dialog.remove(), resolve(dialog.returnValue)) },
      make("h2", { id: "question" }, question), make("p", {}, words), content, make("div", { class: "actions" }, [["", "Cancel"], ...choices].map(button)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

// The sentences of an error's details, by the name of their field: `variables.EULA` for nested ones.
export function listDetails(details = {}, before = "") {
  return Object.entries(details).flatMap(([name, said]) => {
    if (Array.isArray(said)) return [[before + name, said.join(" ")]];
    return said && typeof said === "object" ? listDetails(said, `${before}${name}.`) : [[before + name, String(said)]];
  });
}
