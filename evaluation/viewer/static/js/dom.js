// Making elements. Text always becomes a text node and attributes come from this program alone:
// nothing that a model wrote is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p", {class: "x", onclick: f}, "text", child, ...). */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** As `h`, for SVG. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) {
      if (typeof value !== "function") throw new TypeError(`${name} must be a function`);
      element.addEventListener(name.slice(2), value);
    } else if (name === "href" && !String(value).startsWith("#")) {
      throw new TypeError("links stay on this page");
    } else if (name === "width%") {
      element.style.width = `${value}%`; // through the object model, which the policy allows
    } else if (name === "value" || name === "checked" || name === "disabled") {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** As `rounded` in evaluation/text.py: half away from zero, of twelve significant digits. */
export function rounded(x, digits) {
  const units = Math.round(Number((Math.abs(x) * 10 ** digits).toPrecision(12)));
  return `${x < 0 ? "-" : ""}${(units / 10 ** digits).toFixed(digits)}`;
}

export const percent = (x, digits = 0) => (isNumber(x) ? `${rounded(100 * x, digits)} %` : "–");
export const whole = (x) => (isNumber(x) ? Math.round(x).toLocaleString("en") : "–");
export const decimal = (x, digits = 2) => (isNumber(x) ? rounded(x, digits) : "–");
export const isNumber = (x) => typeof x === "number" && Number.isFinite(x);

/** A number of unknown size, short: 0.000012 -> 1.2e-5. */
export function short(x) {
  if (!isNumber(x)) return "–";
  if (x !== 0 && (Math.abs(x) < 0.001 || Math.abs(x) >= 1e6)) return x.toExponential(1);
  return String(Number(x.toPrecision(3)));
}

export function signed(x, digits = 0) {
  if (!isNumber(x)) return "–";
  const text = rounded(Math.abs(100 * x), digits);
  return `${x > 0 ? "+" : x < 0 ? "−" : "±"}${text}`;
}

export const plural = (n, word) => `${whole(n)} ${word}${n === 1 ? "" : "s"}`;
