// Fields of forms: a label, a control, a hint, and what the API says is wrong with it.
import { make, mark, setText } from "./dom.js";

// `options`, pairs of value and title, make it a list to choose from.
export function makeField(name, label, { hint = "", options, value = "", ...attributes } = {}) {
  const common = { id: `field-${name}`, name, "aria-describedby": `hint-${name} error-${name}`, autocomplete: "off", ...attributes };
  const option = ([each, title]) => make("option", { value: each, selected: String(each) === String(value) }, title);
  const control = options ? make("select", common, options.map(option)) : make("input", { ...common, value });
  const explained = make("p", { class: "hint", id: `hint-${name}` }, hint);
  const said = make("p", { class: "wrong", id: `error-${name}` });
  const title = make("label", { for: common.id }, label, attributes.required && make("span", { class: "quiet" }, " (required)"));
  return Object.assign(make("div", { class: "field" }, title, control, explained, said), {
    control, name,
    explain: (words) => setText(explained, words),
    complain: (words) => {
      mark(control, "aria-invalid", words && "true");
      setText(said, words ?? "");
    },
  });
}

// A variable of an image, as its JSON Schema says. The API alone checks what is entered.
export function makeVariable(name, declared, value) {
  const { default: standard, description, required, secret, editableBy } = declared;
  const { type, enum: list, minimum, maximum, maxLength, pattern, format } = declared.schema ?? {};
  const choices = list ?? (type === "boolean" ? ["true", "false"] : null);
  const rules = [
    minimum !== undefined && `at least ${minimum}`, maximum !== undefined && `at most ${maximum}`,
    maxLength !== undefined && `${maxLength} characters at most`, pattern && `like ${pattern}`, format && `of the format ${format}`,
    standard !== null && standard !== "" && `${standard} by default`, editableBy === "admin" && "set by administrators",
  ];
  return makeField(`variables.${name}`, name, {
    hint: [description, rules.filter(Boolean).join(", ")].filter(Boolean).join(" · "),
    required, value: value ?? standard ?? "", type: secret ? "password" : "text",
    inputmode: ["integer", "number"].includes(type) && "decimal",
    options: choices && [...(required && standard ? [] : [["", "—"]]), ...choices.map((each) => [each, each])],
  });
}

// Shows each sentence at its field; returns the rest. The first wrong field gets the focus.
export function complain(fields, details) {
  const byName = new Map(details);
  fields.forEach((field) => field.complain(byName.get(field.name)));
  fields.find(({ name }) => byName.has(name))?.control.focus();
  const names = new Set(fields.map(({ name }) => name));
  return details.filter(([name]) => !names.has(name));
}
