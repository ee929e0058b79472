
const ROW = 28; // pixels, as in the style sheet
const SPARE = 12; // rows drawn above and below those on the screen
const DEEPEST_INDENT = 24;
const MAX_PRINTED = 3000;
const FIRST_ROWS = 40; // about one screen: the tree opens unfolded to at most this many rows

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
let cursor = -1; // the current hit
let before = null; // the state of the tree when the search began
let waiting = 0;
let printing = false;

/** An element; all text of the tree enters the page here, as text. */
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

/** The text with every match of the search marked. */
function marked(element, text) {
  const wanted = model.filter ? model.wanted : "";
  const lower = text.toLowerCase().replaceAll(/[_-]/g, " ");
  // A letter whose lower case is longer would shift the marks.
  let from = wanted && lower.length === text.length ? lower.indexOf(wanted) : -1;
  let done = 0;
  for (; from >= 0; from = lower.indexOf(wanted, done)) {
    element.append(text.slice(done, from), make("mark", "", text.slice(from, from + wanted.length)));
    done = from + wanted.length;
  }
  element.append(text.slice(done));
  return element;
}

/** A definition from shortly before the match, so that the match fits in a row. */
function excerpt(definition) {
  const from = TreeModel.plain(definition).indexOf(model.wanted) - 30;
  return from > 0 ? `\u2026${definition.slice(definition.indexOf(" ", from))}` : definition;
}

/* The list: only the rows on the screen have elements. */

function draw() {
  const height = tree.clientHeight;
  const first = printing ? 0 : Math.max(0, Math.floor(tree.scrollTop / ROW) - SPARE);
  const end = printing ? MAX_PRINTED : Math.ceil((tree.scrollTop + height) / ROW) + SPARE;
  const last = Math.min(model.count, end);
  sheet.style.height = `${model.count * ROW}px`;
  rows.style.transform = `translateY(${first * ROW}px)`;
  const drawn = document.createDocumentFragment();
  for (let row = first; row < last; row++) drawn.append(drawRow(model.rows[row]));
  if (printing && last < model.count) {
    drawn.append(make("p", "nothing", `and ${number(model.count - last)} more rows`));
  }
  if (!model.count) drawn.append(make("p", "nothing", "No class contains this text."));
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

/** Scroll to a row; to the middle if it is far away. */
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
    // The id does not fit in an address, or the browser forbids it: the page works without.
  }
}

function toggle(at, open = !model.open[at]) {
  if (model.isLeaf(at)) return;
  model.open[at] = open ? 1 : 0;
  model.list();
  draw();
}

/** Open or close many nodes at once; the selected one stays in view if it still has a row. */
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

/** Restore the tree as before the search, with a new selection in view. */
function restore() {
  const { selected: previous, scroll } = before;
  before = null;
  sheet.style.height = `${model.count * ROW}px`;
  tree.scrollTop = scroll;
  if (selected !== previous) {
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
