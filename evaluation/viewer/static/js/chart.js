// Line charts as SVG: a few series, intervals as bands, exact numbers under the pointer and in a
// table that can be opened.

import { h, isNumber, s, short } from "./dom.js";
import { spelled } from "./text.js";

const LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 30;
const COLORS = 6, DASHES = 4; // together 24 lines that can be told apart, without colours too
const FEW = 4; // lines that have room for bands, and for all their numbers under the pointer

/**
 * series: [{name, points: [{x, y, low?, high?}]}]; options: {title, xName, format, min, max, log,
 * broad, named}. `log` spaces x by its logarithm (k = 1, 2, 4, 8), `broad` has room for many lines,
 * `named` names a single line too.
 */
export function chart(series, options = {}) {
  const drawn = series
    .map((one, i) => ({
      name: spelled(String(one.name)),
      look: `c${i % COLORS} d${Math.floor(i / COLORS) % DASHES}`,
      points: one.points.filter((p) => isNumber(p.y)),
    }))
    .filter((one) => one.points.length);
  const broad = options.broad && !matchMedia("(max-width: 760px)").matches; // on a phone, letters would be dust
  const [W, H] = broad ? [1000, 340] : [360, options.broad ? 260 : 190];
  const format = options.format ?? short;
  const box = h("figure", { class: options.broad ? "chart broad" : "chart" }, h("figcaption", {}, options.title));
  if (!drawn.length) return append(box, h("p", { class: "quiet" }, "nothing yet"));
  const all = drawn.flatMap((one) => one.points);
  const along = (x) => (options.log ? Math.log2(x) : x);
  const xs = scale(all.map((p) => along(p.x)), LEFT, W - RIGHT);
  const values = all.flatMap((p) => [p.y, p.low, p.high]).filter(isNumber);
  const ys = scale([...values, options.min, options.max].filter(isNumber), H - BOTTOM, TOP, 0.06);
  const picture = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": summary(options, drawn, format) });
  for (const y of ticks(ys.min, ys.max)) {
    picture.append(
      s("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: ys(y), y2: ys(y) }),
      s("text", { x: LEFT - 6, y: ys(y) + 3.5, "text-anchor": "end" }, format(y)));
  }
  const marks = options.log ? [...new Set(all.map((p) => p.x))].sort((a, b) => a - b) : ticks(xs.min, xs.max, true);
  for (const x of marks) {
    picture.append(s("text", { x: xs(along(x)), y: H - BOTTOM + 15, "text-anchor": "middle" }, String(x)));
  }
  picture.append(s("text", { class: "axis", x: (LEFT + W - RIGHT) / 2, y: H - 3, "text-anchor": "middle" }, options.xName ?? "step"));
  const groups = drawn.map((one) => s("g", {}, lines(one, (p) => xs(along(p.x)), ys, drawn.length <= FEW)));
  picture.append(...groups);
  const stress = (shown) => groups.forEach((group, i) => group.classList.toggle("faded", shown >= 0 && shown !== i));
  const note = h("div", { class: "readout quiet", "aria-hidden": "true" });
  const told = (one, p) => p && `${drawn.length > 1 ? `${one.name} ` : ""}${withInterval(p, format)}`;
  follow(picture, drawn, { x: (p) => xs(along(p.x)), y: ys, W, H }, (near) => {
    const x = near && `${options.xName ?? "step"} ${near.p.x}`;
    if (!near) note.textContent = "";
    else if (drawn.length > FEW) note.textContent = `${x} · ${told(near.one, near.p)}`;
    else note.textContent = [x, ...drawn.map((one) => told(one, one.points.find((q) => q.x === near.p.x)))].filter(Boolean).join(" · ");
    if (drawn.length > FEW) stress(near ? drawn.indexOf(near.one) : -1);
  });
  append(box, picture, note, (drawn.length > 1 || options.named) && legend(drawn, stress), table(drawn, options, format));
  return box;
}

function append(box, ...children) {
  box.append(...children.filter(Boolean));
  return box;
}

function lines(one, x, y, banded) {
  const parts = [];
  const known = banded ? one.points.filter((p) => isNumber(p.low) && isNumber(p.high)) : [];
  if (known.length > 1) {
    const up = known.map((p) => `${x(p)},${y(p.high)}`);
    const down = known.map((p) => `${x(p)},${y(p.low)}`).reverse();
    parts.push(s("polygon", { class: `band ${one.look}`, points: [...up, ...down].join(" ") }));
  }
  const path = one.points.map((p) => `${x(p).toFixed(1)},${y(p.y).toFixed(1)}`);
  parts.push(s("polyline", { class: `line ${one.look}`, points: path.join(" ") }));
  if (one.points.length <= 12) {
    for (const p of one.points) parts.push(s("circle", { class: `dot ${one.look}`, cx: x(p), cy: y(p.y), r: 3 }));
  }
  return parts;
}

/** The names of the lines; one under the pointer or in focus makes the others fade. */
function legend(drawn, stress) {
  return h("div", { class: "legend" }, drawn.map((one, i) =>
    h("span", {
      dir: "auto", tabindex: drawn.length > 2 ? "0" : null,
      onpointerenter: () => stress(i), onpointerleave: () => stress(-1), onfocus: () => stress(i), onblur: () => stress(-1),
    }, s("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" },
      s("line", { class: `line ${one.look}`, x1: 1, x2: 27, y1: 4, y2: 4 })), one.name)));
}

function table(drawn, options, format) {
  const xs = [...new Set(drawn.flatMap((one) => one.points.map((p) => p.x)))].sort((a, b) => a - b);
  const fold = h("details", { class: "numbers" }, h("summary", {}, "numbers"));
  fold.addEventListener("toggle", () => { // made when it is asked for: there may be many charts
    if (fold.querySelector("table")) return;
    fold.append(h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, options.xName ?? "step"), drawn.map((one) => h("th", {}, one.name)))),
      h("tbody", {}, xs.map((x) => h("tr", {}, h("td", {}, x), drawn.map((one) => {
        const p = one.points.find((q) => q.x === x);
        return h("td", {}, p ? withInterval(p, format) : "");
      })))))));
  });
  return fold;
}

/** Calls `show({one, p})` with the point nearest to the pointer: first by x, then by y. */
function follow(picture, drawn, { x, y, W, H }, show) {
  const line = s("line", { class: "pointer", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  picture.append(line);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * W, height = ((event.clientY - box.top) / box.height) * H;
    const nearest = drawn.map((one) => ({ one, p: one.points.reduce((best, p) => (Math.abs(x(p) - at) < Math.abs(x(best) - at) ? p : best)) }));
    const across = ({ p }) => Math.abs(x(p) - at);
    const closest = Math.min(...nearest.map(across));
    const near = nearest.filter((n) => across(n) < closest + 3) // runs of other lengths have other steps
      .reduce((best, n) => (Math.abs(y(n.p.y) - height) < Math.abs(y(best.p.y) - height) ? n : best));
    line.setAttribute("x1", x(near.p));
    line.setAttribute("x2", x(near.p));
    line.setAttribute("visibility", "visible");
    show(near);
  });
  picture.addEventListener("pointerleave", () => {
    line.setAttribute("visibility", "hidden");
    show(null);
  });
}

function withInterval(p, format) {
  return isNumber(p.low) && isNumber(p.high) ? `${format(p.y)} [${format(p.low)}, ${format(p.high)}]` : format(p.y);
}

function summary(options, drawn, format) {
  const ends = drawn.map((one) => {
    const [a, b] = [one.points[0], one.points.at(-1)];
    return `${one.name} from ${format(a.y)} to ${format(b.y)}`;
  });
  return `${options.title ?? "chart"}: ${ends.join("; ")}`;
}

function scale(values, from, to, margin = 0) {
  let min = Math.min(...values), max = Math.max(...values);
  if (min === max) [min, max] = [min - (Math.abs(min) || 1) * 0.5, max + (Math.abs(max) || 1) * 0.5];
  const pad = (max - min) * margin;
  if (min !== 0) min -= pad;
  if (max !== 1) max += pad;
  const at = (v) => from + ((v - min) / (max - min)) * (to - from);
  return Object.assign(at, { min, max });
}

function ticks(min, max, wholeNumbers = false) {
  const rough = (max - min) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((x) => x >= rough);
  if (wholeNumbers) step = Math.max(1, Math.ceil(step));
  const found = [];
  for (let v = Math.ceil(min / step) * step; v <= max + step * 1e-9; v += step) found.push(Number(v.toPrecision(12)));
  return found;
}
