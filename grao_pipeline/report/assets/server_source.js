// Groups that a server of this machine reads from tables: `grao view`. The same answers as `memory_source.js`.

async function ask(path, values = {}) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== "");
  const response = await fetch(`/api/${path}?${new URLSearchParams(given)}`);
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(answer?.error ?? `The server answered ${response.status}.`);
  return answer;
}

export class ServerSource {
  constructor() {
    this.sets = [];
    this.problems = [];
    this.isLive = true;
  }

  /** Ask which sets there are; whether anything changed. */
  async look() {
    const answer = await ask("sets");
    const isChanged = JSON.stringify(answer.sets) !== JSON.stringify(this.sets);
    [this.sets, this.problems] = [answer.sets, answer.problems];
    return isChanged;
  }

  page(query, offset, limit) {
    return ask("page", { ...query, offset, limit });
  }

  group(set, at) {
    return ask("group", { set, at });
  }

  counterpart(set, group) {
    return ask("counterpart", { set, prompt: group.prompt_id, at: group.at });
  }
}
