// A list that has elements only for the rows that are seen, and asks for rows as they come into sight.

import { el } from "./dom.js";

const HEIGHT = 64;
const CHUNK = 100;
const AROUND = 6;

export class VirtualList {
  /** load(offset, limit) → rows; draw(row) → nodes; choose(index, row) is called for a click. */
  constructor({ label, load, draw, choose }) {
    Object.assign(this, { load, draw, choose });
    this.track = el("div", { class: "track", role: "presentation" });
    this.element = el("div", { class: "list", role: "listbox", tabindex: 0, "aria-label": label, scroll: () => this.render() }, this.track);
    this.count = 0;
    this.selected = -1;
    this.chunks = new Map();
    this.version = 0;
    this.rows = new Map();
    new ResizeObserver(() => this.render()).observe(this.element);
  }

  /** Start again with this many rows; with `keep`, what was loaded stays until it is loaded anew. */
  reset(count, keep = false) {
    this.version += 1;
    this.count = count;
    this.chunks = new Map();
    if (!keep) {
      this.element.scrollTop = 0;
      this.selected = -1;
    }
    this.track.style.height = `${count * HEIGHT}px`;
    this.clear();
    this.render();
  }

  clear() {
    this.track.replaceChildren();
    this.rows = new Map();
  }

  /** The row at an index, loaded if need be. */
  async row(index) {
    const chunk = Math.floor(index / CHUNK);
    if (!this.chunks.has(chunk)) this.chunks.set(chunk, this.load(chunk * CHUNK, CHUNK));
    return (await this.chunks.get(chunk))[index - chunk * CHUNK];
  }

  select(index) {
    this.selected = index;
    const top = index * HEIGHT;
    const view = this.element;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + HEIGHT > view.scrollTop + view.clientHeight) view.scrollTop = top + HEIGHT - view.clientHeight;
    for (const [at, element] of this.rows) element.setAttribute("aria-selected", String(at === index));
    this.render();
  }

  render() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / HEIGHT) - AROUND);
    const last = Math.min(this.count, Math.ceil((this.element.scrollTop + this.element.clientHeight) / HEIGHT) + AROUND);
    for (const [index, element] of this.rows) {
      if (index < first || index >= last) {
        element.remove();
        this.rows.delete(index);
      }
    }
    for (let index = first; index < last; index += 1) if (!this.rows.has(index)) this.place(index);
    const selected = this.rows.get(this.selected);
    if (selected) this.element.setAttribute("aria-activedescendant", selected.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  place(index) {
    const element = el("div", {
      class: "row",
      id: `row-${index}`,
      role: "option",
      "aria-selected": String(index === this.selected),
      "aria-posinset": index + 1,
      "aria-setsize": this.count,
      "aria-label": "loading",
    });
    element.style.top = `${index * HEIGHT}px`;
    this.rows.set(index, element);
    this.track.append(element);
    const version = this.version;
    const fill = (row) => {
      if (version !== this.version || !row) return;
      element.removeAttribute("aria-label");
      element.replaceChildren(...this.draw(row));
      element.addEventListener("click", () => this.choose(index, row));
    };
    this.row(index).then(fill, () => element.setAttribute("aria-label", "cannot be read"));
  }
}
