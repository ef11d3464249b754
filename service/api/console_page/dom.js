// Elements, made without markup: no text is ever read as HTML.
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Shows an item in each child, and keeps the children of items that stay: focus is not lost.
export function keep(parent, items, keyOf, create) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const key = keyOf(item);
    const child = before.get(key) ?? create(item);
    before.delete(key);
    child.dataset.key = key;
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
    child.show(item);
  });
  for (const gone of before.values()) gone.remove();
}

export function setText(element, text) { if (element.textContent !== text) element.textContent = text; }

// Shows an element, or nothing.
export const put = (place, element) => place.replaceChildren(...(element ? [element] : []));

export function mark(element, name, value) {
  if (value) element.setAttribute(name, value);
  else element.removeAttribute(name);
}
