
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

/** Open the class whose id follows the # of the address. */
function openAddress() {
  let wanted;
  try {
    wanted = decodeURIComponent(location.hash.slice(1));
  } catch {
    return;
  }
  document.getElementById("unknown")?.remove();
  if (!wanted) return;
  const at = model.ids.indexOf(wanted);
  if (at < 0) showUnknown(wanted);
  else if (at !== selected) select(at);
  // On a small screen, the details are below the tree.
  if (matchMedia("(max-width: 600px)").matches) detail.scrollIntoView();
}

introduce();
explain();
model.openLevels(FIRST_ROWS);
draw();
openAddress();
