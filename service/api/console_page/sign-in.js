// Asks for the key.
import { make, mark, put, session, showError } from "./kit.js";

export function showSignIn(problem, onSignedIn) {
  const input = make("input", { id: "key", type: "password", autocomplete: "off", placeholder: "sq_…", "aria-describedby": "key-hint" });
  const [place, button] = [make("div"), make("button", { class: "primary" }, "Sign in")];

  function say(error) {
    put(place, showError(typeof error === "string" ? new Error(error) : error));
    mark(input, "aria-invalid", "true");
  }

  async function submit(event) {
    event.preventDefault();
    const key = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) return say("Enter an API key.");
    button.disabled = true;
    await session.signIn(key).then(onSignedIn).catch((error) => (say(error), input.focus()));
    button.disabled = false;
  }

  if (problem) say(problem);
  requestAnimationFrame(() => input.focus());
  return make("main", { class: "sign-in" },
    make("img", { src: "/console/icon.svg", alt: "", width: 56, height: 56 }),
    make("h1", {}, "Skyquay"),
    make("form", { class: "card", novalidate: true, onsubmit: submit },
      make("label", { for: "key" }, "API key"), input,
      make("p", { id: "key-hint", class: "hint" },
        make("code", {}, "skyquay up"), " prints the first one; ", make("code", {}, "skyquay keys create"),
        " makes more. It is kept in this tab, until you sign out or close it."),
      place, button),
    make("p", { class: "quiet" }, make("a", { href: "/docs/" }, "The API is documented here")),
  );
}
