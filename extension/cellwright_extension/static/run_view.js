// The live view of a run. Python (messages.py) says what changed; this page appends it.
//
// Every message from the kernel has a number. The first page that misses one asks for a snapshot, which is a list of
// the same changes from the beginning. All views of one run share one log, so that a second view, or one that is
// opened again, is drawn from it. Markup in messages was made harmless by Python; all else goes in as text.

/** @typedef {{op: string, run?: string, step?: number, [key: string]: any}} Change */

const FENCE = /^(`{3,}|~{3,})[^\n]*\n/m;
const UNFINISHED_FENCE = /\n?^(`{1,}|~{3,})[^\n]*$/m;

/** @param {string} tag @param {string} [name] @param {string} [text] */
function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text != null) node.textContent = text;
  return node;
}

/** @param {string} text @param {(event: MouseEvent) => void} onclick */
function button(text, onclick) {
  return Object.assign(make("button", "", text), { type: "button", onclick });
}

/** Have Enter press `go`; in a text of many lines with Ctrl. @param {any} field @param {HTMLElement} go */
function onEnter(field, go) {
  field.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes keys that are pressed here
  field.onkeydown = (event) => {
    if (event.key !== "Enter" || !(field.type === "text" || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    go.click();
  };
}

/** Put text on the clipboard, where the page may. @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard but that of a selection.
    const field = Object.assign(make("textarea"), { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
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

/** Have `node` follow its end while the person is there. To ask where that is, is slow: the page is laid out for it. */
function follows(node) {
  node.follows = true;
  node.onscroll = () => (node.follows = node.scrollHeight - node.scrollTop - node.clientHeight < 40);
  return node;
}

function toEnd(node) {
  if (node.follows) node.scrollTop = node.scrollHeight;
}

/** What shows one run: the whole one, or that of an agent which it called. @param {string} label */
function frame(label) {
  const it = {
    clock: make("span", "cw-clock"),
    list: follows(make("ol", "cw-steps")),
    live: make("li", "cw-live"),
    code: follows(make("pre", "cw-live-code")),
    answer: make("section", "cw-answer"),
    /** @type {Map<number, any>} */
    steps: new Map(),
    reply: "",
    running: false,
    follow: () => toEnd(it.list), // also when a picture has just got its size
  };
  for (const part of ["pill", "task", "facts", "reason", "said", "phase", "thought"]) it[part] = make("div", `cw-${part}`);
  it.list.ariaLabel = label;
  it.list.addEventListener("load", it.follow, true);
  it.answer.ariaLabel = "Answer";
  it.live.append(it.phase, it.thought, it.code);
  it.list.append(it.live);
  return it;
}

/** One drawn view. @param {HTMLElement} root @param {(message: object) => void} send
 * @param {{[op: string]: string}} can what a person may ask for, and what a cell for it begins with */
function drawing(root, send, can) {
  root.classList.add("cw");
  Object.assign(root, { role: "group", ariaLabel: "Agent run" });

  const whole = frame("Steps");
  whole.pill.role = "status";
  whole.list.tabIndex = 0; // scrolls: the keyboard must reach it
  const stop = button("Stop", () => {
    send({ op: "stop" });
    stop.disabled = true;
    setText(stop, "Stopping…");
  });
  stop.className = "cw-stop";
  const fold = button("Collapse all", () => {
    const open = fold.textContent === "Expand all";
    for (const step of whole.steps.values()) step.details.open = open;
    setText(fold, open ? "Collapse all" : "Expand all");
  });
  const buttons = make("div", "cw-buttons");
  buttons.append(fold, stop);
  const head = make("header", "cw-head");
  const top = make("div", "cw-top");
  top.append(whole.pill, whole.task, buttons);
  head.append(top, whole.facts, whole.reason);
  const label = "Tell the agent something before its next step";
  const field = Object.assign(make("input"), { ariaLabel: label, placeholder: label, maxLength: 1e4 });
  const told = Object.assign(make("div", "cw-said"), { role: "status" });
  const tell = button("Tell", () => {
    if (!field.value.trim()) return;
    send({ op: "tell", text: field.value });
    setText(told, `Before its next step the agent reads: ${field.value}`);
    field.value = "";
  });
  const word = Object.assign(make("div", "cw-tell"), { hidden: true });
  onEnter(field, tell);
  word.append(field, tell, told);
  root.replaceChildren(head, whole.list, word, whole.answer);

  /** Every run that is shown, by its key. @type {Map<string | undefined, any>} */
  const runs = new Map([[undefined, whole]]);
  /** What the changes that are being drawn have filled. @type {Set<HTMLElement>} */
  const drawn = new Set();
  /** What shows seconds that go by: since when, and the words before. @type {Map<HTMLElement, [number, string]>} */
  const clocks = new Map();

  /** Show `text`, or seconds that go by. @param {HTMLElement} node @param {string} text @param {number} [since] */
  function say(node, text, since) {
    clocks.delete(node);
    if (since == null) setText(node, text);
    else clocks.set(node, [since, text]);
  }

  function step(it, number) {
    let made = it.steps.get(number);
    if (made) return made;
    const item = make("li", "cw-step");
    const details = make("details");
    details.open = true;
    const summary = make("summary");
    const body = make("div", "cw-body");
    made = { item, details, title: make("span", "cw-title"), word: make("span", "cw-word") };
    summary.append(make("span", "cw-number", `Step ${number}`), made.title, made.word);
    for (const part of ["tools", "told", "thought", "code", "calls", "agents", "outputs", "notes"]) {
      made[part] = make("div", `cw-${part}`);
      body.append(made[part]);
    }
    details.append(summary, body);
    item.append(details);
    it.list.insertBefore(item, it.live);
    it.steps.set(number, made);
    return made;
  }

  /** The buttons of a step with code. */
  function tools(it, made, number) {
    if (made.tools.firstChild) return;
    Object.assign(made.tools, { role: "toolbar", ariaLabel: `Step ${number}` });
    const code = () => made.code.querySelector("pre").textContent.trimEnd();
    /** `sure`: what the button says until it is pressed again. */
    const add = (text, act, sure) => {
      let asked = false;
      const node = button(text, () => {
        const ask = sure && it.running && !asked;
        setText(node, ask ? sure : act());
        asked = ask;
        setTimeout(() => (setText(node, text), (asked = false)), 4000);
      });
      made.tools.append(node);
    };
    /** Ask for a cell that begins with `head`: now by the clipboard, in a run also when the cell has ended. */
    const cell = (op, head) => {
      copy(head + code());
      send({ op, step: number });
      return it.running ? "Copied, and comes below" : "Copied: paste it as a cell";
    };
    add("Copy", () => (copy(code()), "Copied"));
    if (it === whole && "insert" in can) {
      add("Insert below", () => cell("insert", can.insert));
      add("Edit and go on", () => cell("edit", `${can.edit}${number}\n`), "Stop and edit?");
      add("Undo to here", () => (send({ op: "undo", step: number }), "Going back…"), "Stop and go back?");
    }
    add("Expand", () => (made.item.classList.toggle("cw-wide") ? "Whole" : "Folded"));
  }

  /** Output number `index` of a step, made anew when it is of another kind. */
  function output(it, change, name) {
    const outputs = step(it, change.step).outputs;
    let node = outputs.children[change.index];
    if (node?.className !== name) {
      const fresh = name.includes("cw-text") ? follows(make("pre", name)) : make("div", name);
      if (node) node.replaceWith(fresh);
      else outputs.append(fresh);
      node = fresh;
    }
    drawn.add(node);
    return node;
  }

  /** One function for each `op`; `it` is the run that is meant. */
  const apply = {
    head(it, { head, at }) {
      it.running = head.running;
      if (!head.running) it.reply = "";
      setText(it.pill, head.status);
      it.pill.dataset.tone = head.tone;
      setText(it.task, head.task);
      setText(it.reason, head.reason);
      const [model, count, ...spent] = [head.model, head.steps, ...head.spent].map((text) => make("span", "", text));
      const marks = head.marks.map((mark) =>
        Object.assign(make("span", `cw-mark cw-${mark.tone}`, mark.text), { title: mark.title }),
      );
      it.facts.replaceChildren(...(head.model ? [model] : []), count, it.clock, ...spent, ...marks);
      if (head.running) say(it.clock, "", at - head.seconds * 1000);
      else say(it.clock, duration(head.seconds));
      if (it === whole) {
        stop.hidden = !head.running;
        word.hidden = !head.running || !("tell" in can);
      } else {
        it.box.dataset.tone = head.tone;
        // What went well folds by itself, unless somebody is reading there.
        if (head.tone === "good" && !it.touched) it.box.open = false;
      }
    },
    agent(it, change) {
      let inner = runs.get(change.key);
      if (!inner) {
        inner = frame(`Steps of ${change.name}`);
        inner.box = make("details", "cw-agent");
        Object.assign(inner.box, { open: true, ariaLabel: `Agent ${change.name}`, onclick: () => (inner.touched = true) });
        const summary = make("summary");
        summary.append(inner.pill, make("b", "", change.name), inner.task, inner.facts, inner.reason, inner.said);
        inner.box.append(summary, inner.list, inner.answer);
        step(it, change.step).agents.append(inner.box);
        runs.set(change.key, inner);
      }
      setText(inner.said, change.said && `→ ${change.said}`);
    },
    call(it, change) {
      const calls = step(it, change.step).calls;
      let row = calls.children[change.index];
      if (!row) {
        calls.role = "list";
        row = Object.assign(make("div"), { role: "listitem" });
        row.append(make("span"), make("span", "cw-said"), make("span", "cw-word"));
        calls.append(row);
      }
      const [call, said, word] = row.children;
      row.dataset.state = change.state;
      setText(call, change.call);
      setText(said, change.said);
      if (change.state === "running") say(word, "", change.at - change.seconds * 1000);
      else say(word, change.state === "warn" ? "" : duration(change.seconds));
    },
    // Shown until `asked`. Only a page that has said `seen` is waited for.
    ask(it, change) {
      const made = step(it, change.step);
      const box = Object.assign(make("div", "cw-ask"), { role: "group", ariaLabel: `Run step ${change.step}?`, tabIndex: -1 });
      box.dataset.lmSuppressShortcuts = "true";
      const row = make("div", "cw-buttons");
      const since = performance.now();
      const answer = (what, text, event) => {
        if (event && !event.detail && performance.now() - since < 400) return; // a key that was meant for something else
        box.inert = true;
        send({ op: "said", id: change.id, what, text });
      };
      const choice = (text, what) => button(text, (event) => answer(what, "", event));
      /** Ask for a text first; `verb` stands on the button that sends it. */
      const form = (text, verb, what, label, tag, value) =>
        button(text, () => {
          const field = Object.assign(make(tag), { value, ariaLabel: label, placeholder: label, spellcheck: false });
          if (tag === "textarea") field.rows = Math.min(20, value.split("\n").length + 1);
          const go = button(verb, () => answer(what, field.value));
          onEnter(field, go);
          row.replaceChildren(field, go, button("Back", () => (choices(), first())));
          field.focus();
        });
      const choices = () => {
        row.replaceChildren(choice("Run", "run"));
        if (change.edit) row.append(form("Edit", "Run edited", "edit", "Code to run (Ctrl+Enter runs it)", "textarea", change.code));
        row.append(form("Deny", "Deny", "deny", "Why? A word to the model", "input", ""));
        if (change.alike) row.append(choice("Run all like this", "alike"));
        if (change.all) row.append(choice("Run all that follow", "all"));
      };
      const first = () => row.firstChild.focus({ preventScroll: true });
      box.onkeydown = (event) => {
        if (event.key !== "Escape") return;
        choices();
        first();
      };
      box.append(make("b", "", "Run this?"), make("span", "", change.why), row);
      made.ask?.remove();
      made.ask = box;
      made.code.after(box);
      made.details.open = true;
      say(made.word, "waits for you");
      setText(whole.pill, "waits for you");
      whole.pill.dataset.tone = "warn";
      choices();
      // Whoever is typing elsewhere goes on typing.
      if (!document.activeElement?.closest("input, textarea, [contenteditable=true]")) first();
      box.scrollIntoView({ block: "nearest" });
      send({ op: "seen", id: change.id });
    },
    asked(it, change) {
      step(it, change.step).ask?.remove();
    },
    delta(it, change) {
      it.reply += change.text;
    },
    step(it, change) {
      const made = step(it, change.step);
      it.reply = "";
      made.item.dataset.state = change.state;
      setText(made.title, change.title);
      if (change.state === "running") say(made.word, "running · ", change.at);
      else say(made.word, change.word);
    },
    part(it, change) {
      const made = step(it, change.step);
      made[change.part].innerHTML = change.html;
      drawn.add(made[change.part]);
      if (change.part === "code") tools(it, made, change.step);
    },
    line(it, change) {
      step(it, change.step)[change.part].append(make("div", "", change.text));
      if (change.part === "told") setText(told, "");
    },
    output(it, change) {
      output(it, change, `cw-output cw-${change.kind}`).innerHTML = change.html;
    },
    text(it, change) {
      const node = output(it, change, `cw-output cw-text cw-${change.stream}`);
      if (!node.firstChild) node.append("");
      const text = /** @type {Text} */ (node.firstChild);
      if (change.drop) text.deleteData(Math.max(0, text.length - change.drop), change.drop);
      text.appendData(change.text);
    },
    clear(it, change) {
      step(it, change.step).outputs.replaceChildren();
    },
    answer(it, change) {
      const html = Object.assign(make("div", "cw-rich"), { innerHTML: change.html });
      it.answer.replaceChildren(make("div", "cw-label", change.label), html);
      drawn.add(html);
    },
  };

  function drawReply(it) {
    const busy = it.running && [...it.steps.values()].some((made) => clocks.has(made.word) || made.ask?.isConnected);
    it.live.hidden = !it.running || !whole.running || busy;
    if (it.live.hidden) return;
    const { thought, code } = parts(it.reply);
    setText(it.phase, !it.reply ? "Waiting for the model" : code ? "Writing code" : "Thinking");
    setText(it.thought, thought.trim());
    setText(it.code, code);
    drawn.add(it.code);
  }

  function tick() {
    const now = performance.now();
    for (const [node, [since, words]] of clocks) setText(node, words + duration((now - since) / 1000));
  }

  /** @type {Change[]} */
  let waiting = [];
  let frames = 0;
  function draw() {
    frames = 0;
    const changes = waiting;
    waiting = [];
    for (const change of changes) {
      const it = runs.get(change.run);
      if (it) apply[change.op]?.(it, change);
    }
    tick();
    for (const it of runs.values()) {
      drawReply(it);
      it.follow();
    }
    // What scrolls must be within the keyboard's reach.
    for (const node of drawn) {
      if (node.scrollHeight > node.clientHeight || node.scrollWidth > node.clientWidth) node.tabIndex = 0;
      toEnd(node);
    }
    drawn.clear();
  }
  const timer = setInterval(() => whole.running && tick(), 200);

  return {
    /** @param {Change[]} changes */
    add(changes) {
      waiting.push(...changes);
      frames ||= requestAnimationFrame(draw);
    },
    /** @param {Change[]} changes */
    restart(changes) {
      for (const made of whole.steps.values()) made.item.remove();
      whole.steps.clear();
      whole.answer.replaceChildren();
      whole.reply = "";
      runs.clear();
      runs.set(undefined, whole);
      clocks.clear();
      waiting = [...changes];
      draw();
    },
    close() {
      clearInterval(timer);
      cancelAnimationFrame(frames);
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
    /** @param {{number: number, changes?: Change[], snapshot?: Change[]}} batch */
    const take = (batch) => {
      const { snapshot, changes } = batch ?? {};
      if (!(batch?.number > number)) return;
      for (const change of snapshot ?? changes) change.at = performance.now();
      if (snapshot) {
        log = snapshot;
        for (const view of views) view.restart(log);
      } else if (batch.number === number + 1) {
        // A reply that has become a step need not be kept as it was written.
        const stepped = new Set(changes.filter((change) => change.op === "step").map((change) => change.run));
        if (stepped.size) log = log.filter((change) => change.op !== "delta" || !stepped.has(change.run));
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
    const view = drawing(el, (message) => model.send(message), model.get("can"));
    views.add(view);
    view.restart(log);
    return () => {
      view.close();
      views.delete(view);
    };
  }

  return { initialize, render };
};
