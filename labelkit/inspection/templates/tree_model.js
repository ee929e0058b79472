
"use strict";

/** The forest of the page: nodes in the order of the unfolded tree, each before its children. */
class TreeModel {
  constructor(data) {
    const n = data.ids.length;
    this.n = n;
    this.ids = data.ids;
    this.names = data.names;
    this.definitions = data.definitions;
    this.index = data.index;
    this.parent = Int32Array.from(data.parent);
    this.inner = new Uint8Array(n);
    for (const at of data.inner) this.inner[at] = 1;
    this.depth = new Int32Array(n);
    this.below = new Int32Array(n); // classes anywhere below, without inner nodes
    for (let at = 0; at < n; at++) {
      if (this.parent[at] >= 0) this.depth[at] = this.depth[this.parent[at]] + 1;
    }
    for (let at = n - 1; at >= 0; at--) {
      if (this.parent[at] >= 0) this.below[this.parent[at]] += this.below[at] + 1 - this.inner[at];
    }
    this.level = data.level.length ? Int32Array.from(data.level) : this.depth;
    this.ranks = data.ranks; // the names of the levels, or none
    this.start = new Int32Array(n + 2); // node k's children: kids[start[k]] to kids[start[k + 1] - 1]
    for (const above of this.parent) this.start[(above < 0 ? n : above) + 1]++;
    for (let at = 0; at <= n; at++) this.start[at + 1] += this.start[at];
    this.kids = new Int32Array(n);
    this.arrange(true);

    this.unfolded = new Uint8Array(n); // the open nodes when there is no search
    this.open = this.unfolded;
    this.filter = null;
    this.hits = [];
    this.rows = new Int32Array(n);
    this.row = new Int32Array(n); // a node's position in rows, or -1
    this.position = new Int32Array(n); // a node's position among its siblings in rows, from 1
    this.siblings = new Int32Array(n + 1); // the number of a node's children in rows; the last entry is for the roots
    this.count = 0;
    this.stack = new Int32Array(n);
    this.list();
  }

  /** Sort siblings by name, or those with the most classes below first. */
  arrange(bySize) {
    const n = this.n;
    const free = this.start.slice();
    const add = (at) => { this.kids[free[this.parent[at] < 0 ? n : this.parent[at]]++] = at; };
    if (!bySize) {
      for (let at = 0; at < n; at++) add(at);
      return;
    }
    // One number holds both keys: sorting numbers is many times faster than using a comparator.
    const keys = Float64Array.from(this.below, (below, at) => (n - below) * n + at).sort();
    for (const key of keys) add(key % n);
  }

  isLeaf(at) { return this.start[at] === this.start[at + 1]; }

  children(at) { return this.start[at + 1] - this.start[at]; }

  /** Open as many levels from the top as fit in this many rows. */
  openLevels(most) {
    const perDepth = [];
    for (const depth of this.depth) perDepth[depth] = (perDepth[depth] ?? 0) + 1;
    let shown = perDepth[0];
    let deepest = 0; // the deepest nodes that get a row
    // A single root says little: the level below it is always shown.
    while (deepest + 1 < perDepth.length) {
      shown += perDepth[deepest + 1];
      if (shown > most && (deepest > 0 || perDepth[0] > 1)) break;
      deepest++;
    }
    for (let at = 0; at < this.n; at++) this.open[at] = this.depth[at] < deepest ? 1 : 0;
    this.list();
  }

  /** List the rows of the open part of the tree. */
  list() {
    this.count = 0;
    this.row.fill(-1);
    this.walk((at) => {
      this.row[at] = this.count;
      this.rows[this.count++] = at;
      return this.open[at];
    });
  }

  /** Visit nodes from the top down; below a node only if the visitor returns true. */
  walk(visit) {
    const { stack, n } = this;
    let top = this.push(n, 0);
    while (top) {
      const at = stack[--top];
      if (visit(at)) top = this.push(at, top);
    }
  }

  /** Push a node's children on the stack, the first on top; during a search, those that lead to hits. */
  push(at, top) {
    const { filter, kids, stack, start } = this;
    const all = !filter || (at < this.n && !filter.leads[at]);
    let left = 0;
    for (let k = start[at + 1] - 1; k >= start[at]; k--) {
      if (all || filter.shown[kids[k]]) stack[top + left++] = kids[k];
    }
    this.siblings[at] = left;
    for (let k = 0; k < left; k++) this.position[stack[top + k]] = left - k;
    return top + left;
  }

  /** Show only nodes that contain a text, and those above them; an empty text shows all again. */
  search(text) {
    const wanted = TreeModel.plain(text);
    this.wanted = wanted;
    this.filter = null;
    this.hits = [];
    this.open = this.unfolded;
    if (wanted) {
      const { n, parent } = this;
      const filter = { hit: new Uint8Array(n), shown: new Uint8Array(n), leads: new Uint8Array(n) };
      const texts = this.texts();
      for (let at = n - 1; at >= 0; at--) {
        if (texts[at].includes(wanted)) filter.hit[at] = filter.shown[at] = 1;
        if (filter.shown[at] && parent[at] >= 0) filter.shown[parent[at]] = filter.leads[parent[at]] = 1;
      }
      this.filter = filter;
      this.open = filter.leads.slice();
      this.orderHits();
    }
    this.list();
  }

  /** The hits from the top down, including those in closed nodes. */
  orderHits() {
    this.hits = [];
    this.walk((at) => {
      if (this.filter.hit[at]) this.hits.push(at);
      return this.filter.leads[at];
    });
  }

  /** The searched texts: each node's name, id and definition, built on first use. */
  texts() {
    this.searched ??= this.ids.map((id, at) =>
      TreeModel.plain(`${this.names[at]}\n${id}\n${this.definitions[at] ?? ""}`));
    return this.searched;
  }

  /** The hit to start with: a class with exactly this name or id, or else the first. */
  bestHit() {
    const called = (text) => TreeModel.plain(text) === this.wanted;
    const exact = this.hits.findIndex((at) => called(this.names[at]) || called(this.ids[at]));
    return Math.max(exact, 0);
  }

  /** Open everything above a node, so that it has a row. */
  reveal(at) {
    for (let above = this.parent[at]; above >= 0; above = this.parent[above]) this.open[above] = 1;
    this.list();
  }

  /** The node and everything above it, from the top down. */
  chain(at) {
    const chain = [];
    for (; at >= 0; at = this.parent[at]) chain.push(at);
    return chain.reverse();
  }

  /** A level's number and name. */
  levelName(level) {
    return this.ranks.length ? `${level} (${this.ranks[level]})` : `${level}`;
  }

  /** How many classes and inner nodes each level has. */
  levels() {
    const levels = [];
    this.level.forEach((level, at) => {
      while (levels.length <= level) levels.push({ classes: 0, inner: 0 });
      levels[level][this.inner[at] ? "inner" : "classes"]++;
    });
    return levels;
  }

  /** A text for comparison: lower case, with spaces for underscores and hyphens. */
  static plain(text) { return text.toLowerCase().replaceAll(/[_-]/g, " ").trim(); }
}
