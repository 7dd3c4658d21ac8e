// Elements from plain calls, and bringing what is on the page in line with what should be there.
//
// Views build the whole page anew from the state, and `patch` changes only what differs: focus,
// scroll positions, selections and open details stay.

const SVG = "http://www.w3.org/2000/svg";
const KEPT = new Set(["open"]); // what the user changes by hand

export const h = (tag, attributes, ...children) =>
  filled(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

// Make the children of `parent` what `children` are. Those with the same `data-key` are the same.
export function patch(parent, ...children) {
  const wanted = nodes(children);
  const keyed = new Map();
  for (const child of parent.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  wanted.forEach((next, index) => {
    const here = parent.childNodes[index];
    const key = keyOf(next);
    const before = key ? keyed.get(key) : here && !keyOf(here) ? here : undefined;
    if (before && before.nodeName === next.nodeName) {
      if (before !== here) parent.insertBefore(before, here ?? null);
      update(before, next);
    } else {
      parent.insertBefore(next, here ?? null);
    }
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

const keyOf = (node) => node.dataset?.key;

function update(before, next) {
  if (before.nodeType !== Node.ELEMENT_NODE) {
    if (before.nodeValue !== next.nodeValue) before.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...before.attributes]) {
    if (!next.hasAttribute(name) && !KEPT.has(name)) before.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (before.getAttribute(name) !== value && !KEPT.has(name)) before.setAttribute(name, value);
  }
  patch(before, ...next.childNodes);
  setValue(before);
}

// Fields show `data-value`, unless somebody is at work in them.
function setValue(field) {
  const value = field.dataset.value;
  if (value !== undefined && field.value !== value && document.activeElement !== field) {
    field.value = value;
  }
}

export function setValues(root) {
  for (const field of root.querySelectorAll("[data-value]")) setValue(field);
}
