// Elements and texts. Texts of models are hostile: they only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that are functions become listeners; null and false are left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// What a terminal obeys, or what hides or turns around text: shown by its number.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** A text as nodes: control characters written out, and where a search has hits, these marked. */
export function visible(text, search = "") {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(CONTROL)) {
    nodes.push(...marked(text.slice(end, match.index), search));
    const number = match[0].codePointAt(0).toString(16).padStart(4, "0");
    nodes.push(el("span", { class: "control" }, `\\u${number}`));
    end = match.index + match[0].length;
  }
  nodes.push(...marked(text.slice(end), search));
  return nodes;
}

function marked(text, search) {
  if (!search || !text) return text ? [text] : [];
  const lower = text.toLowerCase();
  if (lower.length !== text.length) return [text]; // positions would not match
  const nodes = [];
  let end = 0;
  for (let at = lower.indexOf(search); at >= 0; at = lower.indexOf(search, end)) {
    if (at > end) nodes.push(text.slice(end, at));
    end = at + search.length;
    nodes.push(el("mark", {}, text.slice(at, end)));
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

/** A number for people: three decimals where it is small, thousands separated where it is large. */
export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return size >= 1000 ? Math.round(value).toLocaleString("en-US") : value.toFixed(digits);
}

/** A share as percents. */
export function percent(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
}

/** With its sign, for what may be negative. */
export function signed(value, digits = 3) {
  return value > 0 ? `+${number(value, digits)}` : number(value, digits).replace("-", "−");
}

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** A table: columns are names, rows are arrays of texts and numbers. */
export function table(columns, rows) {
  const isNumber = columns.map((_, index) => rows.every((row) => row[index] === null || typeof row[index] === "number"));
  const cell = (value, index) => {
    if (value instanceof Node) return el("td", { class: "long" }, value);
    if (isNumber[index]) return el("td", { class: "number" }, number(value, 4));
    const text = value === null || value === undefined ? "–" : String(value);
    return el("td", { class: text.length > 60 ? "long" : null }, visible(text));
  };
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table: ${columns.join(", ")}` },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, columns.map((name, index) => el("th", { scope: "col", class: isNumber[index] ? "number" : null }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
    ),
  );
}
