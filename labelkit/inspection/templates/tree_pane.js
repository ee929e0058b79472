
const MAX_BARS = 40;
const LONGEST_PATH = 40;
const MAX_ROOTS = 8;
const MAX_ID_LENGTH = 60;
const INNER_NODES = "Inner nodes were added above the classes to give them levels; no image is labelled with one.";

/* The pane of the selected class. */

function describe(at) {
  const identity = make("p", "identity");
  identity.append(make("code", "", model.ids[at]), copyButton(model.ids[at]));
  if (model.inner[at]) identity.append(make("span", "badge", "inner node, not a class of the data"));
  const parts = [make("h2", "", title(at)), identity];
  if (model.definitions[at]) parts.push(make("p", "", model.definitions[at]));
  parts.push(make("h3", "", "Path from the root"), pathList(at), factList(at));
  detail.replaceChildren(...parts);
  detail.scrollTop = 0;
}

/** A message for an address with an unknown class. */
function showUnknown(id) {
  const shown = id.length > MAX_ID_LENGTH ? `${id.slice(0, MAX_ID_LENGTH)}\u2026` : id;
  const line = make("p", "nothing", `No class ${shown} in this tree.`);
  line.id = "unknown";
  detail.prepend(line);
}

function factList(at) {
  const facts = [
    ["level", model.levelName(model.level[at])],
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

/** For pages without access to the clipboard, such as some opened from a file. */
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
    ["\u2190  \u2192", "close, open"], ["Enter", "open or close"], ["Esc", "clear the search"],
  ]) {
    const cell = make("span");
    for (const each of key.split("  ")) cell.append(make("kbd", "", each), " ");
    keys.append(cell, make("span", "", use));
  }
  const parts = [make("p", "", "Select a class to see its definition and its place in the tree."), keys];
  if (about.inner.length) parts.push(make("p", "nothing", INNER_NODES));
  const roots = Array.from(model.kids.slice(model.start[model.n]));
  if (roots.length > 1 && roots.some((at) => model.below[at])) {
    roots.sort((one, other) => model.below[other] - model.below[one] || one - other);
    const heading = make("h3", "counted", "Largest roots");
    heading.append(make("span", "", "classes below"));
    parts.push(heading, largest(roots.slice(0, MAX_ROOTS)));
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
  lead.lastChild.title = "A root has no class above it.";
  const digest = make("span", "", "digest ");
  digest.append(make("code", "", about.digest.slice(0, 6)));
  digest.title = [["digest", about.digest], ...about.source].map((pair) => pair.join(": ")).join("\n");
  lead.append(digest);
  if (inner) document.getElementById("levels-title").textContent = "Classes and inner nodes (striped) by level, 0 at the top";
  drawLevels(model.levels());
}

/** A bar for each level, or for several adjacent ones if there are too many. */
function drawLevels(levels) {
  const each = Math.ceil(levels.length / MAX_BARS);
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
  const name = bar.first === bar.last ? model.levelName(bar.first) : range;
  const column = pressable("", () => unfold((at) => model.level[at] < bar.last));
  const inner = bar.inner ? `, ${called(bar.inner, "inner node", "inner nodes")}` : "";
  column.title = `level ${name}: ${called(bar.classes, "class", "classes")}${inner}. Click to open the tree down to it.`;
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
