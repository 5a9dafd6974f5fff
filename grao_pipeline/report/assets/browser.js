// The sample browser: a list of groups on the left, one group on the right. Where the groups come from is a source.

import { el, number, svg, visible } from "./dom.js";
import { groupView } from "./group_view.js";
import { VirtualList } from "./list.js";

const MOST_ROWS = 200000; // of one list: browsers do not scroll through more
const SORTS = [["", "as in the table"], ["spread", "largest spread first"], ["best", "highest mean reward first"], ["worst", "lowest mean reward first"]];
const STATUSES = ["", "error", "unparsable", "truncated", "not_applicable", "length", "abort", "no variance"];
const STATUS_NAMES = { "": "any", not_applicable: "not applicable", length: "cut off at the token limit", abort: "aborted", "no variance": "all rewards equal" };
const KEYBOARD = [
  ["j  ↓", "next group"],
  ["k  ↑", "previous group"],
  ["/", "search"],
  ["d", "compare with the round before"],
  ["r", "unfold reasoning"],
  ["[  ]", "the round before, the round after"],
  ["Esc", "back to the list"],
];

function strip(row, domain) {
  const [low, high] = domain;
  const x = (value) => 3 + (74 * (value - low)) / (high - low || 1);
  return svg(
    "svg",
    { width: 80, height: 12, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 80, y1: 6, y2: 6, stroke: "var(--line)" }),
    row.reference !== null && svg("line", { x1: x(row.reference), x2: x(row.reference), y1: 0, y2: 12, stroke: "var(--muted)", "stroke-width": 1.5 }),
    row.rewards.map((value) => svg("circle", { cx: x(value), cy: 6, r: 2.6, fill: "var(--accent)", "fill-opacity": 0.55 })),
  );
}

function option(value, text, isSelected) {
  return el("option", { value, selected: isSelected }, visible(text));
}

export class SampleBrowser {
  /** onMove(set, at) is told which group is shown. */
  constructor(source, onMove = () => {}) {
    this.source = source;
    this.onMove = onMove;
    this.query = { set: source.sets[0]?.key ?? null, sort: "", text: "", reward: "", status: "", low: null, high: null };
    this.window = 0;
    this.domain = [0, 1];
    this.group = null;
    this.isComparing = false;
    this.isReasoningOpen = false;
    this.loading = 0;
    this.build();
    document.addEventListener("keydown", (event) => this.key(event));
  }

  build() {
    const input = (attributes) => el("input", { ...attributes, input: () => this.changed() });
    this.setSelect = el("select", { change: () => this.openSet(this.setSelect.value) });
    this.search = input({ type: "search", placeholder: "in prompts, answers and reasoning" });
    this.sort = el("select", { change: () => this.changed() }, SORTS.map(([value, text]) => option(value, text)));
    this.reward = el("select", { change: () => this.changed() });
    this.status = el("select", { change: () => this.changed() }, STATUSES.map((name) => option(name, STATUS_NAMES[name] ?? name)));
    this.low = input({ type: "number", step: "any" });
    this.high = input({ type: "number", step: "any" });
    this.state = el("div", { class: "state", role: "status" });
    this.list = new VirtualList({
      label: "Groups that meet the search",
      load: (offset, limit) => this.loadRows(offset, limit),
      draw: (row) => this.drawRow(row),
      choose: (index) => this.show(index),
    });
    this.pager = el("div", { class: "pager", hidden: true });
    this.detail = el("div", { class: "detail", tabindex: -1, role: "region", "aria-label": "Group" });
    const field = (text, control) => {
      control.id = `field-${text.toLowerCase().replaceAll(" ", "-")}`;
      return el("div", { class: "field" }, el("label", { for: control.id }, text), control);
    };
    this.element = el(
      "div",
      { class: "browser" },
      el(
        "div",
        { class: "side" },
        el(
          "div",
          { class: "controls" },
          field("Groups", this.setSelect),
          field("Search", this.search),
          el("div", { class: "pair" }, field("Order", this.sort), field("Reward", this.reward)),
          el(
            "details",
            {},
            el("summary", {}, "Filter by reward and status"),
            el("div", {}, el("div", { class: "pair" }, field("Mean reward from", this.low), field("Mean reward to", this.high)), field("With a sample that is", this.status)),
          ),
          this.state,
        ),
        this.list.element,
        this.pager,
      ),
      this.detail,
    );
    this.help = el(
      "dialog",
      { "aria-label": "Keyboard" },
      el("h2", {}, "Keyboard"),
      el("dl", {}, KEYBOARD.map(([keys, text]) => [el("dt", {}, keys.split("  ").map((key) => [el("kbd", {}, key), " "])), el("dd", {}, text)])),
      el("button", { click: () => this.help.close() }, "Close"),
    );
    this.element.append(this.help);
    this.element.source = this.source; // for those who look into the page
    this.listSets();
  }

  get set() {
    return this.source.sets.find((set) => set.key === this.query.set);
  }

  listSets() {
    this.setSelect.replaceChildren(...this.source.sets.map((set) => option(set.key, `${set.label}${set.is_complete ? "" : " (being written)"}`, set.key === this.query.set)));
  }

  /** Show a set of groups, and where given the group at this row of its table. */
  async openSet(key, at = null) {
    const set = this.source.sets.find((one) => one.key === key) ?? this.source.sets[0];
    if (!set) {
      this.detail.replaceChildren(el("p", { class: "empty" }, "There are no groups here yet."));
      return;
    }
    const isOther = set.key !== this.query.set || !this.reward.childElementCount;
    this.query.set = set.key;
    this.setSelect.value = set.key;
    if (isOther) {
      const reward = set.rewards.includes(this.reward.value) ? this.reward.value : set.rewards[0];
      this.reward.replaceChildren(...(set.rewards.length ? set.rewards.map((name) => option(name, name, name === reward)) : [option("", "none yet")]));
      this.domain = [0, 1];
    }
    await this.refresh();
    if (at !== null) await this.showGroup(at);
    else if (this.matched > 0 && !matchMedia("(max-width: 760px)").matches) await this.show(0);
    else if (this.matched === 0) this.nothing();
  }

  /** The tables of this set have more rows, or rewards, than before: look again, and stay where the reader is. */
  async grown() {
    const reward = this.reward.value;
    const { rewards } = this.set;
    this.reward.replaceChildren(...(rewards.length ? rewards.map((name) => option(name, name, name === reward)) : [option("", "none yet")]));
    await this.refresh(true);
    if (this.group === null && this.matched > 0) await this.show(0);
  }

  nothing() {
    this.group = null;
    this.detail.replaceChildren(el("p", { class: "empty" }, this.total ? "No group meets this search. Clear the search or the filters to see all." : "This table has no groups yet."));
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      await this.refresh();
      if (this.matched > 0 && !matchMedia("(max-width: 760px)").matches) await this.show(0);
      else if (this.matched === 0) this.nothing();
    }, 150);
  }

  readQuery() {
    const limit = (control) => (control.value === "" ? null : Number(control.value));
    Object.assign(this.query, {
      sort: this.sort.value,
      text: this.search.value.trim(),
      reward: this.reward.value,
      status: this.status.value,
      low: limit(this.low),
      high: limit(this.high),
    });
  }

  /** Ask the source anew, and wait until it has looked through everything. */
  async refresh(keep = false) {
    this.readQuery();
    const run = (this.loading += 1);
    if (!keep) this.window = 0;
    let answer;
    let isFirst = true;
    do {
      try {
        answer = await this.source.page({ ...this.query }, this.window * MOST_ROWS, 1);
      } catch (error) {
        this.failed(error);
        return;
      }
      if (run !== this.loading) return;
      [this.total, this.matched] = [answer.total, answer.matched];
      this.list.reset(Math.max(0, Math.min(MOST_ROWS, this.matched - this.window * MOST_ROWS)), keep || !isFirst);
      isFirst = false;
      this.drawState(answer);
      if (answer.scanned < 1) await new Promise((resolve) => setTimeout(resolve, 250));
    } while (answer.scanned < 1 && run === this.loading);
  }

  drawState(answer) {
    const set = this.set;
    const all = set.shown !== undefined && set.shown < set.total ? `${number(answer.total)} of ${number(set.total)} groups are in this page` : `${number(answer.total)} groups`;
    const text = answer.matched === answer.total ? all : `${number(answer.matched)} of ${number(answer.total)} groups`;
    const isSearching = answer.scanned < 1;
    this.state.replaceChildren(text);
    if (isSearching) this.state.append(el("progress", { value: answer.scanned, max: 1, "aria-label": "searched" }), `${Math.floor(100 * answer.scanned)} %`);
    const windows = Math.ceil(answer.matched / MOST_ROWS);
    this.pager.hidden = windows < 2;
    const step = (change) => async () => {
      this.window += change;
      await this.refresh(true);
      this.list.element.scrollTop = 0;
    };
    const first = this.window * MOST_ROWS;
    this.pager.replaceChildren(
      el("button", { click: step(-1), disabled: this.window === 0 }, "Earlier"),
      `${number(first + 1)} – ${number(Math.min(answer.matched, first + MOST_ROWS))}`,
      el("button", { click: step(1), disabled: this.window + 1 >= windows }, "Later"),
    );
  }

  /** Say what cannot be read. */
  failed(error) {
    this.state.replaceChildren(el("span", {}, visible(error.message)));
  }

  async loadRows(offset, limit) {
    const answer = await this.source.page({ ...this.query }, this.window * MOST_ROWS + offset, limit);
    const values = answer.rows.flatMap((row) => [...row.rewards, row.reference ?? 0]);
    this.domain = [Math.min(this.domain[0], ...values), Math.max(this.domain[1], ...values)];
    return answer.rows;
  }

  drawRow(row) {
    return [
      el("div", { class: "title" }, visible(row.excerpt.replace(/\s+/g, " "), this.query.text.toLowerCase())),
      el(
        "div",
        { class: "facts" },
        row.rewards.length > 0 && strip(row, this.domain),
        row.mean !== null && el("span", {}, `mean ${number(row.mean, 2)}`),
        row.spread !== null && el("span", {}, `spread ${number(row.spread, 2)}`),
        el("span", {}, row.flags.map((flag) => flag.replace("_", " ")).join(", ")),
      ),
    ];
  }

  /** Show the group at an index of the list. */
  async show(index) {
    const row = await this.list.row(index).catch((error) => this.failed(error));
    if (!row) return;
    this.list.select(index);
    await this.showGroup(row.at);
  }

  async showGroup(at) {
    const group = await this.source.group(this.query.set, at).catch((error) => this.failed(error));
    if (!group) return;
    this.group = group;
    this.element.classList.add("open");
    await this.drawGroup();
    this.detail.scrollTop = 0;
    this.onMove(this.query.set, at);
  }

  async drawGroup() {
    const { group, set } = this;
    if (!group) return;
    const previous = this.source.sets.find((one) => one.key === set.previous);
    const isWanted = this.isComparing && previous;
    const counterpart = isWanted ? await this.source.counterpart(previous.key, group).catch((error) => this.failed(error)) : null;
    if (group !== this.group) return; // another one was chosen meanwhile
    const toggle = (text, isOn, run) => el("button", { "aria-pressed": String(isOn), click: run }, visible(text));
    const bar = el(
      "div",
      { class: "bar" },
      el("button", { class: "back", click: () => this.back() }, "← Groups"),
      el("span", { class: "where" }, visible(set.label)),
      el("button", { click: () => this.step(-1), "aria-label": "Previous group" }, "↑"),
      el("button", { click: () => this.step(1), "aria-label": "Next group" }, "↓"),
      previous && toggle(`Compare with ${previous.label.replace(` · ${set.purpose}`, "")}`, this.isComparing, () => this.compare()),
      group.samples.some((sample) => sample.reasoning) && toggle("Reasoning", this.isReasoningOpen, () => this.unfold()),
      el("button", { click: () => this.help.showModal(), "aria-label": "Keyboard" }, "?"),
    );
    const missing = this.isComparing && previous && !counterpart;
    const state = {
      set,
      reward: this.query.reward,
      search: this.query.text.toLowerCase(),
      isReasoningOpen: this.isReasoningOpen,
      counterpart,
      counterpartLabel: previous?.label,
    };
    this.detail.replaceChildren(
      bar,
      ...(missing ? [el("p", { class: "muted" }, visible(`${previous.label} has no answers to this prompt${set.shown === undefined ? "" : " in this page"}.`))] : []),
      ...groupView(group, state).flat(Infinity).filter(Boolean),
    );
  }

  step(change) {
    const index = this.list.selected + change;
    if (index >= 0 && index < this.list.count) this.show(index);
  }

  compare() {
    this.isComparing = !this.isComparing;
    this.drawGroup();
  }

  unfold() {
    this.isReasoningOpen = !this.isReasoningOpen;
    this.drawGroup();
  }

  back() {
    this.element.classList.remove("open");
    this.list.element.focus();
  }

  /** The same prompt in the set before or after. */
  async turn(change) {
    const next = change < 0 ? this.set.previous : this.source.sets.find((one) => one.previous === this.query.set)?.key;
    const other = next && this.group ? await this.source.counterpart(next, this.group) : null;
    if (next) await this.openSet(next, other ? other.at : null);
  }

  key(event) {
    if (!this.element.checkVisibility() || event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    const isTyping = event.target instanceof Element && event.target.matches("input, select, textarea");
    if (event.key === "Escape") {
      if (isTyping) event.target.blur();
      else this.back();
      return;
    }
    if (isTyping) return;
    const keys = {
      j: () => this.step(1),
      ArrowDown: () => this.step(1),
      k: () => this.step(-1),
      ArrowUp: () => this.step(-1),
      "/": () => this.search.focus(),
      d: () => this.compare(),
      r: () => this.unfold(),
      "[": () => this.turn(-1),
      "]": () => this.turn(1),
      "?": () => this.help.showModal(),
    };
    const run = keys[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  }
}
