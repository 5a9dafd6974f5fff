// Groups that lie in memory: those that the page brings. The same answers as `server_source.js`.

/** The text of everything in a group, in lower case, for searches. */
function searchable(group) {
  const texts = [];
  const add = (part) => part && texts.push(part.text);
  for (const message of group.messages) add(message.content);
  for (const one of [group.reference, ...group.samples]) {
    if (!one) continue;
    add(one.answer);
    add(one.reasoning);
  }
  return texts.join("\n").toLowerCase();
}

/** What differs only by the rounding of floats is a tie. */
function sixDigits(value) {
  return Math.round(value * 1e6) / 1e6;
}

/** What a list shows of a group, by one reward. */
export function rowOf(group, reward) {
  const scored = group.samples.map((sample) => sample.rewards[reward]).filter((value) => value !== null && value !== undefined);
  const user = group.messages.filter((message) => message.role === "user").at(-1) ?? group.messages.at(-1);
  const flags = [];
  if (group.samples.some((sample) => sample.finish === "length")) flags.push("cut off");
  if (group.samples.some((sample) => sample.finish === "abort")) flags.push("aborted");
  const odd = group.samples.flatMap((sample) => Object.values(sample.statuses)).filter((status) => status !== "ok");
  flags.push(...new Set(odd));
  return {
    at: group.at,
    excerpt: (user.content?.text ?? "").slice(0, 160),
    rewards: scored,
    reference: group.reference?.rewards[reward] ?? null,
    mean: scored.length ? sixDigits(scored.reduce((sum, value) => sum + value, 0) / scored.length) : null,
    spread: scored.length ? sixDigits(Math.max(...scored) - Math.min(...scored)) : null,
    flags,
  };
}

/** Whether a group has a sample with this status or end. */
export function hasStatus(group, status) {
  if (status === "no variance") {
    return Object.keys(group.samples[0]?.rewards ?? {}).some((name) => rowOf(group, name).spread === 0);
  }
  return group.samples.some((sample) => sample.finish === status || Object.values(sample.statuses).includes(status));
}

const KEYS = {
  spread: (row) => -(row.spread ?? -Infinity),
  best: (row) => -(row.mean ?? -Infinity),
  worst: (row) => row.mean ?? Infinity,
};

export class MemorySource {
  constructor(sets, groups) {
    this.sets = sets;
    this.isLive = false;
    this.bySet = new Map(sets.map((set) => [set.key, []]));
    for (const group of groups) this.bySet.get(group.set)?.push(group);
    this.texts = new Map();
    this.answers = new Map();
  }

  /** The rows that meet a query, in its order, from `offset` on. */
  async page(query, offset, limit) {
    const rows = this.rows(query);
    return { total: this.bySet.get(query.set).length, matched: rows.length, scanned: 1, rows: rows.slice(offset, offset + limit) };
  }

  rows(query) {
    const name = JSON.stringify(query);
    if (this.answers.has(name)) return this.answers.get(name);
    let groups = this.bySet.get(query.set);
    if (query.text) groups = groups.filter((group) => this.text(group).includes(query.text.toLowerCase()));
    if (query.status) groups = groups.filter((group) => hasStatus(group, query.status));
    let rows = groups.map((group) => rowOf(group, query.reward));
    if (query.low !== null) rows = rows.filter((row) => row.mean !== null && row.mean >= query.low);
    if (query.high !== null) rows = rows.filter((row) => row.mean !== null && row.mean <= query.high);
    const key = KEYS[query.sort];
    if (key) rows.sort((a, b) => key(a) - key(b) || a.at - b.at);
    this.answers = new Map([[name, rows]]); // the newest alone
    return rows;
  }

  text(group) {
    if (!this.texts.has(group)) this.texts.set(group, searchable(group));
    return this.texts.get(group);
  }

  async group(set, at) {
    return this.bySet.get(set).find((group) => group.at === at) ?? null;
  }

  /** The group of the same prompt in another set. */
  async counterpart(set, group) {
    return this.bySet.get(set)?.find((other) => other.prompt_id === group.prompt_id) ?? null;
  }
}
