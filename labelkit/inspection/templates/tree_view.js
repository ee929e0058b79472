
const ROW = 28; // pixels, as in the style sheet
const SPARE = 12; // rows drawn above and below those on the screen
const DEEPEST_INDENT = 24;
const MOST_BARS = 40;
const MOST_PRINTED = 3000;
const LONGEST_PATH = 40;
const MOST_ROOTS = 8;

const about = JSON.parse(document.getElementById("data").textContent);
const model = new TreeModel(about);
const tree = document.getElementById("tree");
const sheet = document.getElementById("sheet");
const rows = document.getElementById("rows");
const detail = document.getElementById("detail");
const field = document.getElementById("search");
const hitCount = document.getElementById("hits");
const button = (id) => document.getElementById(id);

let selected = -1;
let cursor = -1; // which of the hits was last jumped to
let before = null; // where the tree stood when the search began
let waiting = 0;
let printing = false;

/** An element; every text of the tree enters the page here, as text. */
function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

function pressable(text, action, className = "") {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

const number = (value) => value.toLocaleString("en");
const called = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;
const title = (at) => model.names[at] || model.ids[at];
const named = (at) => TreeModel.plain(title(at)) !== TreeModel.plain(model.ids[at]);

/** The text with what was searched marked, if it is in there. */
function marked(element, text) {
  const wanted = model.filter ? model.wanted : "";
  const lower = text.toLowerCase().replaceAll("_", " ");
  // A letter whose small form is longer would shift the marks.
  let from = wanted && lower.length === text.length ? lower.indexOf(wanted) : -1;
  let done = 0;
  for (; from >= 0; from = lower.indexOf(wanted, done)) {
    element.append(text.slice(done, from), make("mark", "", text.slice(from, from + wanted.length)));
    done = from + wanted.length;
  }
  element.append(text.slice(done));
  return element;
}

/** A definition from shortly before what was searched, so that a row has place for it. */
function excerpt(definition) {
  const from = TreeModel.plain(definition).indexOf(model.wanted) - 30;
  return from > 0 ? `\u2026${definition.slice(definition.indexOf(" ", from))}` : definition;
}

/* The list: only the rows on the screen are elements. */

function draw() {
  const height = tree.clientHeight;
  const first = printing ? 0 : Math.max(0, Math.floor(tree.scrollTop / ROW) - SPARE);
  const end = printing ? MOST_PRINTED : Math.ceil((tree.scrollTop + height) / ROW) + SPARE;
  const last = Math.min(model.count, end);
  sheet.style.height = `${model.count * ROW}px`;
  rows.style.transform = `translateY(${first * ROW}px)`;
  const drawn = document.createDocumentFragment();
  for (let row = first; row < last; row++) drawn.append(drawRow(model.rows[row]));
  if (printing && last < model.count) {
    drawn.append(make("p", "nothing", `and ${number(model.count - last)} more rows`));
  }
  if (!model.count) drawn.append(make("p", "nothing", "Nothing contains this text."));
  rows.replaceChildren(drawn);
  const at = selected < 0 ? -1 : model.row[selected];
  if (at >= first && at < last) {
    tree.setAttribute("aria-activedescendant", `row-${selected}`);
  } else {
    tree.removeAttribute("aria-activedescendant");
  }
}

function drawRow(at) {
  const row = make("div", model.inner[at] ? "row inner-node" : "row");
  row.id = `row-${at}`;
  row.dataset.at = at;
  const above = model.parent[at] < 0 ? model.n : model.parent[at];
  const facts = {
    level: model.depth[at] + 1, setsize: model.siblings[above], posinset: model.position[at],
    selected: at === selected,
  };
  row.setAttribute("role", "treeitem");
  for (const [name, value] of Object.entries(facts)) row.setAttribute(`aria-${name}`, value);
  if (!model.isLeaf(at)) row.setAttribute("aria-expanded", model.open[at] === 1);
  const indent = make("span", "indent");
  indent.style.width = `calc(${Math.min(model.depth[at], DEEPEST_INDENT)} * var(--step))`;
  const text = make("span", "text");
  text.append(indent, make("span", "twisty"), marked(make("span", "name"), title(at)));
  if (named(at)) text.append(marked(make("span", "id"), model.ids[at]));
  if (model.inner[at]) text.append(make("span", "badge", "inner"));
  if (model.filter?.hit[at] && !text.querySelector("mark")) {
    text.append(marked(make("span", "hint"), excerpt(model.definitions[at] ?? "")));
  }
  const below = model.below[at] ? number(model.below[at]) : "";
  row.append(text, make("span", "below", below), make("span", "level", `${model.level[at]}`));
  return row;
}

/** Scroll so that a row is seen, in the middle if it was far away. */
function show(at) {
  const top = model.row[at] * ROW;
  const height = tree.clientHeight;
  sheet.style.height = `${model.count * ROW}px`;
  if (top < tree.scrollTop - ROW || top > tree.scrollTop + height) {
    tree.scrollTop = top - height / 2;
  } else {
    tree.scrollTop = Math.min(Math.max(tree.scrollTop, top + ROW - height), top);
  }
}

function select(at) {
  selected = at;
  if (model.row[at] < 0) model.reveal(at);
  if (model.row[at] < 0) clearSearch();
  show(at);
  draw();
  describe(at);
  try {
    history.replaceState(null, "", `#${encodeURIComponent(model.ids[at])}`);
  } catch {
    // An id that no address can hold, or a browser that forbids it: the page works without.
  }
}

function toggle(at, open = !model.open[at]) {
  if (model.isLeaf(at)) return;
  model.open[at] = open ? 1 : 0;
  model.list();
  draw();
}

/** Open or close many nodes at once, keeping the selected one in sight if it still has a row. */
function unfold(isOpen) {
  for (let at = 0; at < model.n; at++) model.open[at] = isOpen(at) ? 1 : 0;
  refresh();
}

function refresh() {
  model.list();
  sheet.style.height = `${model.count * ROW}px`;
  if (selected >= 0 && model.row[selected] >= 0) show(selected);
  else tree.scrollTop = 0;
  draw();
}

function arrange(bySize) {
  model.arrange(bySize);
  if (model.filter) model.orderHits();
  cursor = -1;
  button("by-name").setAttribute("aria-pressed", !bySize);
  button("by-size").setAttribute("aria-pressed", bySize);
  countHits();
  refresh();
}

/* Search. */

function search() {
  clearTimeout(waiting);
  waiting = 0;
  const text = field.value;
  before ??= { selected, scroll: tree.scrollTop };
  model.search(text);
  cursor = -1;
  countHits();
  if (model.filter) tree.scrollTop = 0;
  else restore();
  draw();
}

/** The tree as it was before the search; with what was chosen meanwhile in sight. */
function restore() {
  const { selected: chosen, scroll } = before;
  before = null;
  sheet.style.height = `${model.count * ROW}px`;
  tree.scrollTop = scroll;
  if (selected !== chosen) {
    model.reveal(selected);
    show(selected);
  }
}

function clearSearch() {
  field.value = "";
  search();
}

function countHits() {
  const count = model.hits.length;
  const where = cursor < 0 ? "" : `${number(cursor + 1)} of `;
  hitCount.textContent = model.filter ? where + called(count, "class", "classes") : "";
  button("next").disabled = button("previous").disabled = !count;
}

function jump(step) {
  if (waiting) search();
  const count = model.hits.length;
  if (!count) return;
  cursor = cursor < 0 ? model.bestHit() : (cursor + step + count) % count;
  countHits();
  select(model.hits[cursor]);
}

/* The pane of the selected class. */

function describe(at) {
  const identity = make("p", "identity");
  identity.append(make("code", "", model.ids[at]), copyButton(model.ids[at]));
  if (model.inner[at]) identity.append(make("span", "badge", "inner node, no class of the data"));
  const parts = [make("h2", "", title(at)), identity];
  if (model.definitions[at]) parts.push(make("p", "", model.definitions[at]));
  parts.push(make("h3", "", "Path from the root"), pathList(at), factList(at));
  detail.replaceChildren(...parts);
  detail.scrollTop = 0;
}

function factList(at) {
  const facts = [
    ["level", number(model.level[at])],
    ...(model.level[at] === model.depth[at] ? [] : [["depth", number(model.depth[at])]]),
    ["classes below", number(model.below[at])],
    ["directly below", number(model.children(at))],
    ["index in the class list", number(model.index[at])],
  ];
  const list = make("dl");
  for (const [what, value] of facts) list.append(make("dt", "", what), make("dd", "", value));
  return list;
}

function pathList(at) {
  const list = make("ul", "path");
  const chain = model.chain(at);
  const hidden = chain.length - LONGEST_PATH;
  chain.forEach((step, depth) => {
    if (hidden > 0 && depth > 5 && depth < 6 + hidden) {
      if (depth === 6) list.append(make("li", "gap", `${number(hidden)} more`));
      return;
    }
    const item = make("li");
    item.append(pressable(title(step), () => select(step)));
    item.style.paddingLeft = `${Math.min(depth, 12) * 9}px`;
    list.append(item);
  });
  return list;
}

function copyButton(id) {
  const copy = pressable("copy", async () => {
    try {
      await navigator.clipboard.writeText(id);
    } catch {
      copyBySelection(id);
    }
    copy.textContent = "copied";
  }, "copy");
  copy.setAttribute("aria-label", "Copy the id");
  return copy;
}

/** For pages without access to the clipboard, as those opened from a file may be. */
function copyBySelection(text) {
  const area = make("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function explain() {
  const keys = make("div", "keys");
  for (const [key, use] of [
    ["/", "search"], ["n  N", "next, previous hit"], ["\u2191  \u2193", "move"],
    ["\u2190  \u2192", "close, open"], ["Enter", "open or close"], ["Esc", "end the search"],
  ]) {
    const cell = make("span");
    for (const each of key.split("  ")) cell.append(make("kbd", "", each), " ");
    keys.append(cell, make("span", "", use));
  }
  const parts = [make("p", "", "Choose a class to see what it is and where it lies."), keys];
  const roots = Array.from(model.kids.slice(model.start[model.n]));
  if (roots.length > 1) {
    roots.sort((one, other) => model.below[other] - model.below[one] || one - other);
    parts.push(make("h3", "", "Largest roots"), largest(roots.slice(0, MOST_ROOTS)));
  }
  detail.replaceChildren(...parts);
}

function largest(nodes) {
  const list = make("ul", "path");
  for (const at of nodes) {
    const item = make("li", "counted");
    item.append(pressable(title(at), () => select(at)), make("span", "", number(model.below[at])));
    list.append(item);
  }
  return list;
}

/* The heading. */

function introduce() {
  const inner = about.inner.length;
  const facts = [
    called(model.n - inner, "class", "classes"), ...(inner ? [called(inner, "inner node", "inner nodes")] : []),
    called(model.children(model.n), "root", "roots"),
  ];
  const lead = document.getElementById("lead");
  for (const fact of facts) lead.append(make("span", "", fact));
  const digest = make("span", "", "digest ");
  digest.append(make("code", "", about.digest.slice(0, 6)));
  digest.title = [["digest", about.digest], ...about.source].map((pair) => pair.join(": ")).join("\n");
  lead.append(digest);
  drawLevels(model.levels());
}

/** A bar for each level, or for several neighbouring ones if there are too many. */
function drawLevels(levels) {
  const each = Math.ceil(levels.length / MOST_BARS);
  const bars = [];
  levels.forEach((level, k) => {
    if (k % each === 0) bars.push({ first: k, last: k, classes: 0, inner: 0 });
    const bar = bars[bars.length - 1];
    bar.last = k;
    bar.classes += level.classes;
    bar.inner += level.inner;
  });
  const most = Math.max(...bars.map((bar) => bar.classes + bar.inner));
  const chart = document.getElementById("levels");
  chart.classList.toggle("many", bars.length > 20);
  for (const bar of bars) chart.append(drawBar(bar, most, bars.length > 20));
}

function drawBar(bar, most, narrow) {
  const range = bar.first === bar.last ? `${bar.first}` : `${bar.first} to ${bar.last}`;
  const column = pressable("", () => unfold((at) => model.level[at] < bar.last));
  const inner = bar.inner ? `, ${called(bar.inner, "inner node", "inner nodes")}` : "";
  column.title = `level ${range}: ${called(bar.classes, "class", "classes")}${inner}. Click to open the tree down to it.`;
  column.setAttribute("aria-label", column.title);
  const stack = make("span", "bar");
  for (const [kind, count] of [["inner", bar.inner], ["", bar.classes]]) {
    if (!count) continue;
    const part = make("i", kind);
    part.style.height = `${Math.max((44 * count) / most, 1.5)}px`;
    stack.append(part);
  }
  if (!narrow) column.append(make("span", "count", number(bar.classes + bar.inner)));
  column.append(stack);
  if (!narrow) column.append(make("span", "number", range));
  return column;
}

/* Keys and clicks. */

const moves = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  PageDown: () => step(pageRows()),
  PageUp: () => step(-pageRows()),
  Home: () => step(-model.count),
  End: () => step(model.count),
  ArrowRight: () => {
    if (selected < 0 || model.isLeaf(selected)) return;
    if (model.open[selected]) step(1);
    else toggle(selected, true);
  },
  ArrowLeft: () => {
    if (selected < 0) return;
    if (!model.isLeaf(selected) && model.open[selected]) toggle(selected, false);
    else if (model.parent[selected] >= 0) select(model.parent[selected]);
  },
  Enter: () => selected >= 0 && toggle(selected),
  " ": () => selected >= 0 && toggle(selected),
  n: () => jump(1),
  N: () => jump(-1),
  Escape: () => clearSearch(),
};

const pageRows = () => Math.max(1, Math.floor(tree.clientHeight / ROW) - 1);

function step(count) {
  if (!model.count) return;
  const from = selected < 0 || model.row[selected] < 0 ? (count > 0 ? -1 : 0) : model.row[selected];
  select(model.rows[Math.min(Math.max(from + count, 0), model.count - 1)]);
}

tree.addEventListener("keydown", (event) => {
  const move = moves[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  move();
});
tree.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  const at = Number(row.dataset.at);
  if (event.target.closest(".twisty") && !model.isLeaf(at)) toggle(at);
  else select(at);
});
tree.addEventListener("dblclick", (event) => {
  const row = event.target.closest(".row");
  if (row && !event.target.closest(".twisty")) toggle(Number(row.dataset.at));
});
let framed = false;
tree.addEventListener("scroll", () => {
  if (framed) return;
  framed = true;
  requestAnimationFrame(() => { framed = false; draw(); });
});

field.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 90);
});
field.addEventListener("keydown", (event) => {
  const actions = {
    Enter: () => jump(event.shiftKey ? -1 : 1),
    Escape: () => { clearSearch(); tree.focus(); },
    ArrowDown: () => { tree.focus(); if (selected < 0 || model.row[selected] < 0) step(1); },
  };
  if (!actions[event.key] || event.isComposing) return;
  event.preventDefault();
  actions[event.key]();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === field || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  field.select();
});
button("next").addEventListener("click", () => jump(1));
button("previous").addEventListener("click", () => jump(-1));
button("by-name").addEventListener("click", () => arrange(false));
button("by-size").addEventListener("click", () => arrange(true));
button("expand").addEventListener("click", () => unfold((at) => !model.filter || model.filter.leads[at]));
button("collapse").addEventListener("click", () => unfold(() => false));
addEventListener("resize", draw);
addEventListener("beforeprint", () => { printing = true; draw(); });
addEventListener("afterprint", () => { printing = false; draw(); });
addEventListener("hashchange", openAddress);

/** Open the class whose id stands behind the # of the address. */
function openAddress() {
  let wanted;
  try {
    wanted = decodeURIComponent(location.hash.slice(1));
  } catch {
    return;
  }
  const at = model.ids.indexOf(wanted);
  if (at >= 0 && at !== selected) select(at);
}

introduce();
explain();
if (model.children(model.n) === 1) toggle(model.kids[model.start[model.n]], true);
draw();
openAddress();
