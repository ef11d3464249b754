// Fields of forms: a label, a control, a hint, and what the API says is wrong with it.

import { make, setText } from "./dom.js";

// `options`, pairs of value and title, make it a list to choose from.
export function makeField(name, label, { hint = "", options, value = "", ...attributes } = {}) {
  const common = { id: `field-${name}`, name, "aria-describedby": `hint-${name} error-${name}`, ...attributes };
  const control = options
    ? make("select", common, options.map(([each, title]) => make("option", { value: each, selected: String(each) === String(value) }, title)))
    : make("input", { autocomplete: "off", ...common, value });
  const said = make("p", { class: "wrong", id: `error-${name}` });
  const field = make("div", { class: "field" },
    make("label", { for: common.id }, label, attributes.required && make("span", { class: "quiet" }, " (required)")),
    control, make("p", { class: "hint", id: `hint-${name}` }, hint), said);
  field.complain = (words) => {
    control.toggleAttribute("aria-invalid", Boolean(words));
    setText(said, words ?? "");
  };
  return Object.assign(field, { control, name });
}

// A variable of an image, as its JSON Schema says. The API alone checks what is entered.
export function makeVariable(name, { default: standard, description, required, secret, schema = {}, editableBy }, value) {
  const choices = schema?.enum ?? (schema?.type === "boolean" ? ["true", "false"] : null);
  const isNumber = ["integer", "number"].includes(schema?.type);
  const bounds = [
    schema?.minimum !== undefined && `at least ${schema.minimum}`, schema?.maximum !== undefined && `at most ${schema.maximum}`,
    schema?.maxLength !== undefined && `${schema.maxLength} characters at most`, schema?.pattern && `like ${schema.pattern}`,
    schema?.format && `of the format ${schema.format}`, standard !== null && standard !== "" && !choices && `${standard} by default`,
    editableBy === "admin" && "set by administrators",
  ].filter(Boolean);
  return makeField(`variables.${name}`, name, {
    hint: [description, bounds.join(", ")].filter(Boolean).join(" · "),
    required,
    value: value ?? standard ?? "",
    type: secret ? "password" : "text",
    inputmode: isNumber ? "decimal" : null,
    placeholder: secret && value === undefined ? "secret" : null,
    options: choices && [...(required && standard ? [] : [["", "—"]]), ...choices.map((each) => [each, each])],
  });
}

// Shows each sentence at its field, and the rest in `place`. The first wrong field gets the focus.
export function complain(fields, details) {
  const byName = new Map(details);
  for (const field of fields) {
    field.complain(byName.get(field.name));
    byName.delete(field.name);
  }
  fields.find(({ control }) => control.hasAttribute("aria-invalid"))?.control.focus();
  return [...byName];
}
