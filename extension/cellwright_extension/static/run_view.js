// The live view of a run. Python (messages.py) says what changed; this page appends it.
//
// Every message from the kernel has a number. The first page that misses one asks for a snapshot, which is a list of
// the same changes from the beginning. All views of one run share one log, so that a second view, or one that is
// opened again, is drawn from it. Markup in messages was made harmless by Python; all else goes in as text.

/** @typedef {{op: string, step?: number, [key: string]: any}} Change */
/** @typedef {{number: number, changes?: Change[], snapshot?: Change[]}} Batch */

const FENCE = /^(`{3,}|~{3,})[^\n]*\n/m;
const UNFINISHED_FENCE = /\n?^(`{1,}|~{3,})[^\n]*$/m;

/** @param {string} tag @param {string} [name] @param {string} [text] */
function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text != null) node.textContent = text;
  return node;
}

/** @param {string} text @param {() => void} onclick */
function button(text, onclick) {
  const node = make("button", "", text);
  node.type = "button";
  node.onclick = onclick;
  return node;
}

/** @param {HTMLElement} node @param {string} text */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** The reply as far as it is written, as thought and code. @param {string} reply */
function parts(reply) {
  const fence = FENCE.exec(reply);
  if (!fence) return { thought: reply.replace(UNFINISHED_FENCE, ""), code: "" };
  const rest = reply.slice(fence.index + fence[0].length);
  const end = rest.indexOf("\n" + fence[1]);
  return { thought: reply.slice(0, fence.index), code: end < 0 ? rest : rest.slice(0, end) };
}

/** One drawn view. @param {HTMLElement} root @param {(message: object) => void} send */
function drawing(root, send) {
  root.classList.add("cw");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Agent run");

  const pill = make("span", "cw-pill");
  pill.setAttribute("role", "status");
  const task = make("div", "cw-task");
  const stop = button("Stop", () => {
    send({ op: "stop" });
    stop.disabled = true;
    setText(stop, "Stopping…");
  });
  stop.className = "cw-stop";
  const fold = button("Collapse all", () => {
    const open = fold.textContent === "Expand all";
    for (const step of steps.values()) step.details.open = open;
    setText(fold, open ? "Collapse all" : "Expand all");
  });
  const buttons = make("div", "cw-buttons");
  buttons.append(fold, stop);
  const clock = make("span", "cw-clock");
  const facts = make("div", "cw-facts");
  const reason = make("div", "cw-reason");
  const head = make("header", "cw-head");
  const top = make("div", "cw-top");
  top.append(pill, task, buttons);
  head.append(top, facts, reason);

  const list = make("ol", "cw-steps");
  list.tabIndex = 0; // scrolls: the keyboard must reach it
  list.setAttribute("aria-label", "Steps");
  const live = make("li", "cw-live");
  const phase = make("div", "cw-phase");
  const liveThought = make("div", "cw-live-thought");
  const liveCode = make("pre", "cw-live-code");
  live.append(phase, liveThought, liveCode);
  list.append(live);
  const answer = make("section", "cw-answer");
  answer.setAttribute("aria-label", "Answer");
  root.replaceChildren(head, list, answer);

  /** @type {Map<number, any>} */
  const steps = new Map();
  let facing = { running: false, seconds: 0 };
  let since = 0;
  let reply = "";

  /** @param {number} number */
  function step(number) {
    let it = steps.get(number);
    if (it) return it;
    const item = make("li", "cw-step");
    const details = make("details");
    details.open = true;
    const summary = make("summary");
    const title = make("span", "cw-title");
    const word = make("span", "cw-word");
    summary.append(make("span", "cw-number", `Step ${number}`), title, word);
    const body = make("div", "cw-body");
    it = { item, details, title, word };
    for (const part of ["thought", "code", "calls", "outputs", "notes"]) {
      it[part] = make("div", `cw-${part}`);
      body.append(it[part]);
    }
    details.append(summary, body);
    item.append(details);
    list.insertBefore(item, live);
    steps.set(number, it);
    return it;
  }

  /** Output number `index` of a step, made anew when it is of another kind. */
  function output(change, name) {
    const outputs = step(change.step).outputs;
    let node = outputs.children[change.index];
    if (node && node.className === name) return node;
    const fresh = make(name.includes("cw-text") ? "pre" : "div", name);
    if (node) node.replaceWith(fresh);
    else outputs.append(fresh);
    return fresh;
  }

  /** One function for each `op`. */
  const apply = {
    head({ head: facts_, at }) {
      facing = facts_;
      since = at - facts_.seconds * 1000;
      if (!facts_.running) reply = "";
      setText(pill, facts_.status);
      pill.dataset.tone = facts_.tone;
      setText(task, facts_.task);
      setText(reason, facts_.reason);
      const words = [make("span", "cw-model", facts_.model), make("span", "", facts_.steps), clock];
      for (const text of facts_.spent) words.push(make("span", "", text));
      for (const mark of facts_.marks) {
        const node = make("span", `cw-mark cw-${mark.tone}`, mark.text);
        node.title = mark.title;
        words.push(node);
      }
      facts.replaceChildren(...words.filter((node) => node === clock || node.textContent));
      stop.hidden = !facts_.running;
      tick();
    },
    delta(change) {
      reply += change.text;
    },
    step(change) {
      const it = step(change.step);
      reply = "";
      it.item.dataset.state = change.state;
      it.at = change.at;
      it.running = change.state === "running";
      setText(it.title, change.title);
      setText(it.word, change.word);
    },
    part(change) {
      step(change.step)[change.part].innerHTML = change.html;
    },
    line(change) {
      step(change.step)[change.part].append(make("div", "", change.text));
    },
    output(change) {
      output(change, `cw-output cw-${change.kind}`).innerHTML = change.html;
    },
    text(change) {
      const node = output(change, `cw-output cw-text cw-${change.stream}`);
      if (!node.firstChild) node.append("");
      const text = /** @type {Text} */ (node.firstChild);
      if (change.drop) text.deleteData(Math.max(0, text.length - change.drop), change.drop);
      const atEnd = node.scrollHeight - node.scrollTop - node.clientHeight < 40;
      text.appendData(change.text);
      if (atEnd) node.scrollTop = node.scrollHeight;
    },
    clear(change) {
      step(change.step).outputs.replaceChildren();
    },
    answer(change) {
      const body = make("div", "cw-rich");
      body.innerHTML = change.html;
      answer.replaceChildren(make("div", "cw-label", change.label), body);
    },
  };

  function drawReply() {
    const busy = [...steps.values()].some((it) => it.running);
    live.hidden = !facing.running || busy;
    if (live.hidden) return;
    const { thought, code } = parts(reply);
    setText(phase, !reply ? "Waiting for the model" : code ? "Writing code" : "Thinking");
    setText(liveThought, thought.trim());
    setText(liveCode, code);
    liveCode.scrollTop = liveCode.scrollHeight;
  }

  function tick() {
    const now = performance.now();
    setText(clock, duration(facing.running ? (now - since) / 1000 : facing.seconds));
    for (const it of steps.values()) if (it.running) setText(it.word, `running · ${duration((now - it.at) / 1000)}`);
  }

  // Follow the end while the person is at the end, also when a picture has just got its size.
  let atEnd = true;
  const follow = () => atEnd && (list.scrollTop = list.scrollHeight);
  list.addEventListener("scroll", () => (atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40));
  list.addEventListener("load", follow, true);

  /** @type {Change[]} */
  let waiting = [];
  let frame = 0;
  function draw() {
    frame = 0;
    const changes = waiting;
    waiting = [];
    for (const change of changes) apply[change.op]?.(change);
    drawReply();
    follow();
  }
  const timer = setInterval(() => facing.running && tick(), 200);

  return {
    /** @param {Change[]} changes */
    add(changes) {
      waiting.push(...changes);
      frame ||= requestAnimationFrame(draw);
    },
    /** @param {Change[]} changes */
    restart(changes) {
      for (const it of steps.values()) it.item.remove();
      steps.clear();
      answer.replaceChildren();
      reply = "";
      waiting = [...changes];
      draw();
    },
    close() {
      clearInterval(timer);
      cancelAnimationFrame(frame);
    },
  };
}

// In this form `initialize` and `render` share a scope; the `model` objects that they get are different.
export default () => {
  /** @type {Set<ReturnType<typeof drawing>>} */
  const views = new Set();
  /** @type {Change[]} */
  let log = [];
  let number = -1;
  let asked = 0;

  /** @param {{model: any}} context */
  function initialize({ model }) {
    const ask = () => {
      if (performance.now() - asked < 300) return;
      asked = performance.now();
      model.send({ op: "sync" });
    };
    /** @param {Batch} batch */
    const take = (batch) => {
      const { snapshot, changes } = batch ?? {};
      if (!(batch?.number > number)) return;
      for (const change of snapshot ?? changes) change.at = performance.now();
      if (snapshot) {
        log = snapshot;
        for (const view of views) view.restart(log);
      } else if (batch.number === number + 1) {
        // A reply that has become a step need not be kept as it was written.
        if (changes.some((change) => change.op === "step")) log = log.filter((change) => change.op !== "delta");
        log.push(...changes);
        for (const view of views) view.add(changes);
      } else {
        ask();
        return;
      }
      number = batch.number;
    };
    take(model.get("start"));
    model.on("change:start", () => take(model.get("start")));
    model.on("msg:custom", take);
    ask(); // what was sent before this module had loaded is lost
  }

  /** @param {{model: any, el: HTMLElement}} context */
  function render({ model, el }) {
    const view = drawing(el, (message) => model.send(message));
    views.add(view);
    view.restart(log);
    return () => {
      view.close();
      views.delete(view);
    };
  }

  return { initialize, render };
};
