"use strict";
// The loom: a figure of panels (arrays, each with its gradient) and of links between their elements.
// It knows no operation: what it draws and says is computed from the values, the gradients and the links' weights.

// ---- small tools

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

function svg(tag, attributes, ...children) {  // the parser knows the namespace
  const { namespaceURI } = Object.assign(document.createElement("div"), { innerHTML: "<svg></svg>" }).firstChild;
  const element = document.createElementNS(namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function digits(x, long) {  // as short as a cell wants it, or as long as a sentence
  const size = Math.abs(x);
  let text;
  if (Number.isInteger(x)) text = String(Object.is(x, -0) ? 0 : x);
  else if (!Number.isFinite(x)) text = Number.isNaN(x) ? "NaN" : x > 0 ? "∞" : "-∞";
  else if (!long && size < 1e-12) text = "≈0";
  else if (long) text = size < 1e-3 || size >= 1e6 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
  else if (size < 0.005) text = x.toExponential(0);
  else text = size >= 99.95 ? x.toFixed(0) : size >= 9.995 ? x.toFixed(1) : x.toFixed(2);
  return text.replace("e+", "e").replace(/-/g, "−");
}

const signed = (x) => (x < 0 ? `(${digits(x, true)})` : digits(x, true));
const close = (a, b) => Math.abs(a - b) <= 1e-5 * (1e-3 + Math.abs(a) + Math.abs(b)) || Object.is(a, b);
const total = (numbers) => numbers.reduce((sum, x) => sum + x, 0);
const range = (n) => Array.from({ length: n }, (_, i) => i);

// ---- what is said of one element

class Weave {
  constructor(figure) {
    Object.assign(this, figure);
    this.into = this.panels.map(() => new Map());
    this.from = this.panels.map(() => new Map());
    const put = (map, key, link) => (map.has(key) ? map.get(key).push(link) : map.set(key, [link]));
    for (const wires of this.wires) {
      wires.s.forEach((s, i) => {
        const link = {
          wires, weight: wires.w[i], source: [wires.source, s], target: [wires.target, wires.t[i]],
          factor: wires.f[i] < 0 ? null : [wires.factorPanel, wires.f[i]],
        };
        put(this.into[wires.target], wires.t[i], link);
        put(this.from[wires.source], s, link);
      });
    }
  }

  sources(panel, element) { return this.into[panel].get(element) ?? []; }
  uses(panel, element) { return this.from[panel].get(element) ?? []; }
  value([panel, element]) { return this.panels[panel].value[element]; }
  gradient([panel, element]) { return this.panels[panel].gradient?.[element]; }

  all(start, next) {  // all that can be reached from an element
    const found = new Map(), waiting = [start];
    while (waiting.length) {
      for (const at of next(...waiting.pop())) {
        if (!found.has(String(at))) { found.set(String(at), at); waiting.push(at); }
      }
    }
    return [...found.values()];
  }

  name([panel, element], d = "") {
    const { name, forms: [form] } = this.panels[panel];
    let at = form.order ? form.order.indexOf(element) : element;
    const index = [...form.shape].reverse().map((n) => { const i = at % n; at = (at - i) / n; return i; }).reverse();
    return `${d}${name}` + (index.length ? `[${index.join(", ")}]` : "");
  }

  // which links add up to a value: of a product those of one factor, of a sum all; none if it is neither
  addends(panel, element) {
    const links = this.sources(panel, element), value = this.value([panel, element]);
    const sum = (links) => total(links.map((link) => link.weight * this.value(link.source)));
    const groups = [...new Set(links.map((link) => link.wires))].map((one) => links.filter((l) => l.wires === one));
    const isProduct = groups.length > 1 && links.some((link) => link.factor);
    if (isProduct && groups.every((group) => close(sum(group), value))) return groups[0];
    return links.length && close(sum(links), value) ? links : [];
  }

  valueSentence(panel, element) {
    const { op } = this.panels[panel], value = this.value([panel, element]), links = this.addends(panel, element);
    const name = this.name([panel, element]), result = digits(value, true);
    if (!op) return [name, ` = ${result}`, ", given"];
    if (links.length === 1 && links[0].weight === 1) return [name, ` = ${this.name(links[0].source)} = ${result}`];
    if (links.length) {
      return [name, ` = ${sumText(links.map((l) => [l.weight, this.value(l.source), l.factor]))} = ${result}`];
    }
    const given = this.sources(panel, element).map((link) => link.source);
    const unique = [...new Map(given.map((at) => [String(at), at])).values()];
    const shown = unique.slice(0, 4).map((at) => digits(this.value(at), true)).join(", ");
    return [name, unique.length ? ` = ${op}(${shown}${unique.length > 4 ? ", …" : ""}) = ${result}` : ` = ${result}`];
  }

  gradientSentence(panel, element) {
    const gradient = this.gradient([panel, element]), name = this.name([panel, element], "d");
    if (gradient == null) return [this.name([panel, element]), " is a constant, nothing asks for its gradient"];
    if (panel === this.output) return [name, ` = ${digits(gradient, true)}`, ", what arrives from behind"];
    const links = this.uses(panel, element);
    if (!links.length) return [name, " = 0", ", as nothing that it reaches depends on it"];
    const sum = total(links.map((link) => link.weight * this.gradient(link.target)));
    const terms = sumText(links.map((link) => [link.weight, this.gradient(link.target), link.factor]));
    const used = new Set(links.map((link) => String(link.target))).size;
    const many = used > 1 ? `, added up over ${used} uses` : "", written = links.length > 1 || links[0].weight !== 1;
    if (!close(sum, gradient)) {
      return [name, ` = ${digits(gradient, true)}`, `, which is wrong: ${terms}${written ? ` = ${digits(sum, true)}` : ""}`];
    }
    return [name, ` = ${terms}${written ? ` = ${digits(gradient, true)}` : ""}`, many];
  }
}

function sumText(terms) {  // [[weight, number, whether the weight is a number of the figure]]: 2·3 + 1 − 4
  const text = terms.slice(0, 16).map(([weight, x, factor], i) => {
    if (factor || (weight !== 1 && weight !== -1)) return `${i ? " + " : ""}${signed(weight)}·${signed(x)}`;
    const value = weight * x;
    return i ? `${value < 0 ? " − " : " + "}${digits(Math.abs(value), true)}` : digits(value, true);
  });
  return text.join("") + (terms.length > 16 ? ` + … (${terms.length} terms)` : "");
}

// ---- the steps of the animation: a group of elements is computed, or reports to its sources

function shapeOf(form) { return form.shape.length ? form.shape : [1]; }

function groups(panel) {  // the columns of a matrix; else single elements
  const size = panel.value.length, form = [{ shape: panel.shape.filter((n) => n !== 1) }, ...panel.forms.slice(-1)]
    .find(({ shape }) => shape.length === 2);
  if (!form) return range(size).map((i) => ({ elements: [i], what: size > 1 ? `element ${i}` : "" }));
  const [rows, columns] = form.shape;
  return range(columns).map((j) => ({
    elements: range(rows).map((i) => (form.order ? form.order[i * columns + j] : i * columns + j)), what: `column ${j}`,
  }));
}

function steps(weave, visit) {  // backwards each panel after all that use it, or in an order that was given
  const computed = range(weave.panels.length).filter((i) => weave.panels[i].op);
  const steps = [];
  for (const panel of computed) {
    const product = weave.wires.some((wires) => wires.target === panel && wires.factorPanel != null);
    for (const { elements, what } of groups(weave.panels[panel])) {
      if (product) for (const element of elements) steps.push({ panel, elements: [element], what: null });
      else steps.push({ panel, elements, what });
    }
  }
  const given = visit?.map((name) => weave.panels.findIndex((panel) => panel.name === name));
  for (const panel of given ?? computed.reverse()) {
    if (!weave.panels[panel].gradient) continue;
    for (const { elements, what } of groups(weave.panels[panel])) steps.push({ panel, elements, what, back: true });
  }
  return steps;
}

// ---- the figure

class Loom {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.variants = this.data.variants ?? [{ figure: this.data }];
    this.settings = { ...(this.variants[0].settings ?? {}) };
    this.pinned = this.pointed = null;
    this.stage = make("div", { class: "stage" });
    this.read = make("div", { class: "read", role: "status", "aria-live": "polite" });
    this.extra = make("div", { class: "extra" });
    this.matrixView = make("div", { class: "matrices", hidden: "" });
    const foot = make("div", { class: "foot" }, this.read, this.extra);
    const player = this.player();
    player.hidden = this.data.player === false;
    const body = make("div", null, this.stage, foot);
    root.append(...[this.controls(), body, player, this.matrixView].filter(Boolean));
    this.choose();
    this.listen();
    if (this.data.caption) root.append(make("figcaption", null, this.data.caption));
    addEventListener("resize", () => this.light());
  }

  // -- which variant

  controls() {
    if (!this.data.controls) return null;
    const box = make("div", { class: "controls" });
    for (const { name, label, options } of this.data.controls) {
      const group = make("span", { role: "group", "aria-label": label }, make("span", { class: "label" }, label));
      for (const [value, text] of options) {
        const choose = () => { this.settings = { ...this.settings, [name]: value }; this.choose(name); };
        group.append(make("button", { type: "button", "data-name": name, "data-value": value, click: choose }, text));
      }
      box.append(group);
    }
    return box;
  }

  choose(changed) {  // the variant that has the settings; else the nearest that has what was changed
    const agreement = ({ settings = {} }) => total(Object.entries(this.settings).map(([name, value]) =>
      (settings[name] === value ? (name === changed ? 100 : 1) : 0)));
    const best = this.variants.reduce((best, one) => (agreement(one) > agreement(best) ? one : best));
    this.settings = { ...(best.settings ?? {}) };
    for (const button of this.root.querySelectorAll(".controls button")) {
      button.setAttribute("aria-pressed", String(this.settings[button.dataset.name]) === button.dataset.value);
    }
    this.stop();
    this.variant = best;
    this.live = best.program ? prepared(structuredClone(best.program)) : null;
    this.compute();
    this.build();
    this.at = this.steps.length;
    this.pinned = this.starting(best.point ?? this.data.point);
    this.pointed = null;
    this.light();
  }

  starting(point) {
    if (!point) return null;
    const panel = this.weave.panels.findIndex((panel) => panel.name === point.panel);
    return panel < 0 || point.element >= this.weave.panels[panel].value.length ? null
      : { panel, element: point.element, kind: point.kind ?? "value" };
  }

  compute() {
    if (this.live) {
      forward(this.live);
      backward(this.live, this.variant.seed);
      for (const panel of this.live.panels) if (panel.constant) panel.gradient = null;
    }
    this.weave = new Weave(this.live ? { ...this.live, wires: linked(this.live) } : this.variant.figure);
    const { visit } = this.variant;
    this.steps = steps(this.weave, visit);
    if (visit) {  // what comes out of another order
      this.at = this.steps.length;
      this.shown().forEach(({ gradient }, i) => {
        if (this.weave.panels[i].gradient) this.weave.panels[i].gradient = range(gradient.length).map((e) => gradient[e] ?? 0);
      });
    }
    this.onCompute?.();
  }

  edit({ panel, element }, by) {
    this.live.panels[panel].value = this.live.panels[panel].value.slice();
    const before = this.live.panels[panel].value[element], step = this.data.step ?? 1;
    this.live.panels[panel].value[element] = Number((before + by * step).toFixed(6));
    this.at = Infinity;
    this.compute();
    this.at = this.steps.length;
    this.light();
  }

  difference({ panel, element }) {  // of the sum of gradient times output, when one number is moved to both sides
    const h = 1e-4, values = this.live.panels[panel].value.slice();
    const loss = (x) => {
      this.live.panels[panel].value = values.with ? values.with(element, x) : Object.assign([...values], { [element]: x });
      return total([...forward(this.live)].map((out, i) => out * this.variant.seed[i]));
    };
    const slope = (loss(values[element] + h) - loss(values[element] - h)) / (2 * h);
    this.live.panels[panel].value = values;
    forward(this.live);
    return slope;
  }

  // -- the panels

  build() {
    this.cells = this.weave.panels.map(() => ({ value: new Map(), gradient: new Map(), difference: new Map() }));
    const panels = this.weave.panels.map((panel, number) => (this.isNumber(panel) ? [] : this.panel(panel, number)));
    this.lines = svg("svg", { class: "lines", "aria-hidden": "true" });
    this.stage.replaceChildren(this.lines, ...panels.flat());
    this.buildMatrices();
  }

  isNumber(panel) { return panel.constant && panel.value.length === 1; }  // it is written beside the operation

  panel(panel, number) {
    const numbers = this.weave.wires.filter((wires) => wires.target === number)
      .map((wires) => this.weave.panels[wires.source]).filter((from) => this.isNumber(from)).map((from) => digits(from.value[0], true));
    const kinds = ["value", "gradient", "difference"].filter((kind) => panel[kind]);
    const labels = { value: "", gradient: `d${panel.name}`, difference: "by differences" };
    const sizes = panel.forms[0].shape.join("×");
    return make("section", { class: "panel" },
      make("h4", null, panel.name, make("small", null, [[panel.op !== panel.name && panel.op, ...numbers].filter(Boolean).join(" "), sizes]
        .filter(Boolean).join(" · "))),
      kinds.map((kind) => make("div", { class: `kind ${kind}` },
        make("span", { class: "label" }, labels[kind]),
        panel.forms.map((form) => this.form(panel, number, kind, form)))));
  }

  form(panel, number, kind, form) {
    const shape = shapeOf(form), columns = shape[shape.length - 1], rows = shape[shape.length - 2] ?? 1;
    const blocks = panel.value.length / (rows * columns);
    const label = `${kind === "value" ? "" : "gradient of "}${panel.name}, ${shape.join(" by ")}`;
    return make("div", { class: "blocks", role: "group", "aria-label": label }, range(blocks).map((block) =>
      make("div", { class: "block", style: `--columns:${columns}` }, range(rows * columns).map((i) => {
        const at = block * rows * columns + i, element = form.order ? form.order[at] : at;
        const first = at === 0 ? 0 : -1;
        const cell = make("span", { class: "cell", role: "button", tabindex: first });
        cell.at = { panel: number, kind, element, row: Math.floor(i / columns), column: i % columns };
        const map = this.cells[number][kind];
        map.set(element, [...(map.get(element) ?? []), cell]);
        return cell;
      }))));
  }

  // -- pointing, by mouse, touch and keyboard

  listen() {
    const at = (event) => event.target.closest?.(".cell")?.at;
    this.stage.addEventListener("pointerover", (event) => {
      if (event.pointerType === "mouse" && !this.drag) { this.pointed = at(event) ?? null; this.light(); }
    });
    this.stage.addEventListener("pointerleave", () => { this.pointed = null; this.light(); });
    this.stage.addEventListener("focusin", (event) => {
      if (at(event)) { this.pinned = at(event); this.pointed = null; this.light(); }
    });
    this.stage.addEventListener("click", (event) => { this.pinned = at(event) ?? null; this.light(); });
    this.stage.addEventListener("keydown", (event) => this.key(event, at(event)));
    this.stage.addEventListener("pointerdown", (event) => {
      const cell = at(event);
      if (cell && event.pointerType === "mouse" && this.editable(cell)) this.drag = { cell, y: event.clientY };
    });
    addEventListener("pointermove", (event) => {
      const by = this.drag ? Math.trunc((this.drag.y - event.clientY) / 14) : 0;
      if (by) { this.drag.y -= by * 14; this.pinned = this.drag.cell; this.edit(this.drag.cell, by); }
    });
    addEventListener("pointerup", () => { this.drag = null; });
  }

  editable({ panel, kind }) { return this.live && kind === "value" && !this.weave.panels[panel].op; }

  key(event, cell) {
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const block = event.target.parentElement, columns = Number(block.style.getPropertyValue("--columns"));
    const cells = [...block.parentElement.querySelectorAll(".cell")], i = cells.indexOf(event.target);
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (event.key in moves && cells[i + moves[event.key]]) {
      cells[i].tabIndex = -1;
      cells[i + moves[event.key]].tabIndex = 0;
      cells[i + moves[event.key]].focus();
    } else if ((event.key === "+" || event.key === "-") && this.editable(cell)) this.edit(cell, event.key === "+" ? 1 : -1);
    else if (event.key === "Escape") { this.pinned = this.pointed = null; this.light(); }
    else if (!(event.key in moves)) return;
    event.preventDefault();
  }

  // -- light: numbers, colours, and what belongs to what is pointed at

  light() {
    const shown = this.shown(), playing = this.at < this.steps.length;
    this.weave.panels.forEach((panel, number) => {
      for (const kind of ["value", "gradient", "difference"]) {
        const numbers = kind === "difference" ? panel.difference ?? [] : shown[number][kind];
        const most = Math.max(...(panel.gradient ?? []).map(Math.abs), 1e-30);
        for (const [element, cells] of this.cells[number][kind]) {
          const x = numbers[element];
          for (const cell of cells) {
            cell.className = "cell";
            cell.textContent = x == null ? "" : digits(x);
            if (cell.textContent.length > 4) cell.classList.add("long");
            cell.dataset.count = shown[number].counts[element] > 1 && kind === "gradient" && playing
              ? shown[number].counts[element] : "";
            const name = this.weave.name([number, element], kind === "value" ? "" : "d");
            const said = kind === "difference" ? `${name} by differences` : name;
            cell.setAttribute("aria-label", `${said} ${x == null ? "not yet" : digits(x, true)}`);
            if (kind === "difference" && !close(x, panel.gradient[element])) cell.classList.add("wrong");
            if (kind !== "value" && x != null) {
              cell.classList.add(x > 0 ? "positive" : x < 0 ? "negative" : "zero");
              cell.style.setProperty("--strength", `${Math.round(12 + 78 * Math.min(1, Math.abs(x) / most))}%`);
            } else if (kind === "value" && this.editable({ panel: number, kind })) cell.classList.add("editable");
          }
        }
      }
    });
    this.lines.replaceChildren();
    const focus = this.pointed ?? (playing ? null : this.pinned);
    this.stage.classList.toggle("pointing", Boolean(focus) || playing);
    if (focus) this.point(focus);
    else if (playing) this.lightStep(this.steps[this.at - 1]);
    else this.say([[this.data.hint ?? "Point at a number, or tab to one and move with the arrow keys."]]);
    this.showPlayer();
    this.markMatrices(focus);
  }

  mark([panel, element], kind, name) {
    for (const cell of this.cells[panel]?.[kind]?.get(element) ?? []) cell.classList.add(name);
  }

  point({ panel, element, kind: pointed }) {
    const kind = pointed === "difference" ? "gradient" : pointed;
    const here = [panel, element], sources = this.weave.sources(...here), uses = this.weave.uses(...here);
    const far = [
      ...this.weave.all(here, (...at) => this.weave.sources(...at).map((link) => link.source)),
      ...this.weave.all(here, (...at) => this.weave.uses(...at).map((link) => link.target)),
    ];
    for (const at of far) this.mark(at, "value", "far");
    for (const at of this.weave.all(here, (...at) => this.weave.uses(...at).map((link) => link.target))) {
      this.mark(at, "gradient", "far");
    }
    for (const link of sources) this.mark(link.source, "value", "source");
    for (const link of uses) {
      this.mark(link.target, kind, "use");
      this.mark(link.target, kind === "value" ? "gradient" : "value", "far");
      if (kind === "gradient" && link.factor) this.mark(link.factor, "value", "factor");
    }
    this.mark(here, "value", kind === "value" ? "pointed" : "twin");
    this.mark(here, "gradient", kind === "gradient" ? "pointed" : "twin");
    this.mark(here, "difference", "twin");
    if (kind === "value") for (const { source } of sources) this.line(source, here, "value", "in");
    for (const { target } of uses) this.line(here, target, kind, kind === "value" ? "out" : "back");
    const value = this.weave.valueSentence(...here), gradient = this.weave.gradientSentence(...here);
    const lines = kind === "value" ? [value, gradient] : [gradient, value];
    this.say(lines, this.editable({ panel, kind }) ? { panel, element } : null);
  }

  line(from, to, kind, name) {
    if (this.lines.childElementCount >= 48) return;
    const nearest = (at) => [...(this.cells[at[0]][kind].get(at[1]) ?? [])].at(-1);
    const start = nearest(from), end = nearest(to);
    if (!start || !end) return;
    const base = this.stage.getBoundingClientRect(), a = start.getBoundingClientRect(), b = end.getBoundingClientRect();
    const beside = b.left > a.right;
    const [x1, y1] = beside ? [a.right, (a.top + a.bottom) / 2] : [(a.left + a.right) / 2, a.bottom];
    const [x2, y2] = beside ? [b.left, (b.top + b.bottom) / 2] : [(b.left + b.right) / 2, b.top];
    const [dx, dy] = beside ? [(x2 - x1) / 2, 0] : [0, (y2 - y1) / 2];
    const points = [x1, y1, x1 + dx, y1 + dy, x2 - dx, y2 - dy, x2, y2].map((x, i) => x - (i % 2 ? base.top : base.left));
    const [p, q, ...rest] = points.map((x) => x.toFixed(1));
    this.lines.append(svg("path", { class: name, d: `M${p} ${q}C${rest.join(" ")}` }));
  }

  say(lines, edited) {
    this.read.replaceChildren(...lines.map(([name, text, rest]) =>
      make("p", null, make("b", null, name), text ?? "", make("span", { class: "soft" }, rest ?? ""))));
    this.extra.replaceChildren();
    if (!edited) return;
    const slope = this.difference(edited), gradient = this.weave.gradient([edited.panel, edited.element]);
    const change = (by) => make("button", {
      type: "button", "aria-label": by > 0 ? "larger" : "smaller", click: () => this.edit(edited, by),
    }, by > 0 ? "+" : "−");
    this.extra.append(change(-1), change(1), make("span", { class: "soft" },
      gradient == null ? "" : `moved by ±0.0001, Σ d${this.weave.panels[this.weave.output].name} · `
        + `${this.weave.panels[this.weave.output].name} changes at the rate ${digits(Number(slope.toFixed(4)), true)}`));
  }

  // -- the player

  player() {
    const button = (label, text, move) => make("button", { type: "button", "aria-label": label, title: label, click: () => {
      this.stop(); move();
    } }, text);
    this.playButton = make("button", { type: "button", class: "play", click: () => (this.timer ? this.stop() : this.play()) }, "Play");
    this.slider = make("input", { type: "range", min: 0, value: 0, "aria-label": "Step", input: () => {
      const at = Number(this.slider.value);
      this.stop();
      this.go(at);
    } });
    this.position = make("span", { class: "position", "aria-live": "off" });
    return make("div", { class: "player" }, this.playButton,
      button("Back one step", "‹", () => this.go(this.at - 1)), button("On one step", "›", () => this.go(this.at + 1)),
      this.slider, this.position);
  }

  go(at) {
    this.at = Math.max(0, Math.min(this.steps.length, at));
    this.pinned = this.pointed = null;
    this.light();
  }

  play() {
    if (this.at >= this.steps.length) this.go(0);
    const pace = Math.max(60, Math.min(700, 22000 / this.steps.length));
    this.timer = setInterval(() => {
      this.go(this.at + 1);
      if (this.at >= this.steps.length) this.stop();
    }, matchMedia("(prefers-reduced-motion: reduce)").matches ? 2 * pace : pace);
    this.showPlayer();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    if (this.steps) this.showPlayer();
  }

  showPlayer() {
    this.playButton.textContent = this.timer ? "Pause" : this.at >= this.steps.length ? "Play" : "Go on";
    this.slider.max = this.steps.length;
    this.slider.value = Math.min(this.at, this.steps.length);
    const step = this.steps[this.at - 1], done = this.at >= this.steps.length;
    this.position.textContent = done ? "forward and backward" : !step ? "nothing computed yet"
      : `${step.back ? "backward" : "forward"} · ${this.stepName(step)}`;
  }

  stepName({ panel, elements, what, back }) {
    const { name } = this.weave.panels[panel], d = back ? "d" : "";
    return what == null ? this.weave.name([panel, elements[0]], d) : `${d}${name} ${what}`;
  }

  shown() {  // the numbers that are known at this step; gradients as far as they have been added up
    const { panels } = this.weave;
    if (this.at >= this.steps.length && !this.variant.visit) {
      return panels.map(({ value, gradient }) => ({ value, gradient: gradient ?? [], counts: [] }));
    }
    const shown = panels.map(({ op, value }) => ({ value: op ? [] : value, gradient: [], counts: [] }));
    for (const { panel, elements, back } of this.steps.slice(0, this.at)) {
      if (!back) for (const element of elements) shown[panel].value[element] = panels[panel].value[element];
      else {
        shown[this.weave.output].gradient = [...panels[this.weave.output].gradient];
        const reached = new Set();
        for (const { weight, source: [to, at], target } of elements.flatMap((e) => this.weave.sources(panel, e))) {
          if (!panels[to].gradient) continue;
          shown[to].gradient[at] = (shown[to].gradient[at] ?? 0) + weight * (shown[panel].gradient[target[1]] ?? 0);
          reached.add(`${to},${at}`);
        }
        for (const key of reached) {
          const [to, at] = key.split(",");
          shown[to].counts[at] = (shown[to].counts[at] ?? 0) + 1;
        }
      }
    }
    if (this.steps[this.at]?.back) shown[this.weave.output].gradient = panels[this.weave.output].gradient;
    return shown;
  }

  lightStep(step) {
    if (!step) { this.say([["Step on, or play."]]); return; }
    const { panel, elements, back } = step, kind = back ? "gradient" : "value";
    for (const element of elements) {
      this.mark([panel, element], kind, "pointed");
      for (const { source, factor } of this.weave.sources(panel, element)) {
        this.mark(source, kind, back ? "use" : "source");
        if (back && factor) this.mark(factor, "value", "factor");
        if (elements.length < 30) this.line(source, [panel, element], kind, back ? "back" : "in");
      }
    }
    const one = elements[0];
    if (!back) this.say([elements.length === 1 ? this.weave.valueSentence(panel, one) : [this.stepName(step), " is computed"]]);
    else {
      const reached = [...new Set(elements.flatMap((e) => this.weave.sources(panel, e)).map(({ source }) => source[0]))]
        .filter((to) => this.weave.panels[to].gradient).map((to) => `d${this.weave.panels[to].name}`);
      this.say([[this.stepName(step), ` reports to ${reached.join(" and ") || "no one"}`]]);
    }
  }

  // -- the matrices of the steps: of what only copies M and its transpose, or all Jacobians

  buildMatrices() {
    const only = (wires) => wires.w.every((w) => w === 1) && new Set(wires.t).size === wires.t.length && wires.s.length > 9;
    const drawn = this.data.matrix === "jacobians" ? this.weave.wires : this.weave.wires.filter(only).slice(0, 1);
    this.matrices = (this.data.matrix ? drawn : []).flatMap((wires) => this.matricesOf(wires));
    if (!this.matrices.length) { this.matrixView.hidden = true; return; }
    const open = this.matrixBox ? !this.matrixBox.hidden : this.data.matrix === "jacobians";
    const toggle = make("button", { type: "button", "aria-pressed": open, click: () => {
      this.matrixBox.hidden = !this.matrixBox.hidden;
      toggle.setAttribute("aria-pressed", !this.matrixBox.hidden);
    } }, this.data.matrix === "jacobians" ? "the Jacobians" : "the matrix M and Mᵀ");
    this.matrixBox = make("div", { class: "pair" }, this.matrices.map(({ box }) => box));
    this.matrixBox.hidden = !open;
    this.matrixView.hidden = false;
    this.matrixView.replaceChildren(toggle, this.matrixBox);
  }

  matricesOf({ source, target, s, t, w }) {
    const from = this.weave.panels[source], to = this.weave.panels[target];
    const place = (panel, element) => (panel.forms[0].order ? panel.forms[0].order.indexOf(element) : element);
    const entries = s.map((s, i) => [place(to, t[i]), place(from, s), w[i]]);
    const [rows, columns] = [to.value.length, from.value.length];
    const draw = (title, entries, [rows, columns], rowsOf, columnsOf) => {
      const unit = rows * columns > 400 ? 6 : 26, most = Math.max(...w.map(Math.abs));
      const band = svg("rect", { class: "band" });
      const box = make("div", null, make("p", { class: "label" }, title), svg("svg", {
        viewBox: `0 0 ${columns * unit} ${rows * unit}`, width: columns * unit, height: rows * unit, role: "img",
        "aria-label": title,
      }, ...entries.flatMap(([i, j, w]) => this.entry(i, j, w, unit, most)), band));
      return { box, band, unit, rowsOf, columnsOf, width: columns * unit, height: rows * unit, place };
    };
    if (this.data.matrix === "jacobians") {
      const title = `d${to.name} / d${from.name}, ${rows}×${columns}`;
      return [draw(title, entries, [rows, columns], target, source)];
    }
    return [
      draw(`${to.name} = M · ${from.name}: M is ${rows}×${columns}`, entries, [rows, columns], target, source),
      draw(`d${from.name} = Mᵀ · d${to.name}: Mᵀ is ${columns}×${rows}`, entries.map(([i, j, w]) => [j, i, w]),
        [columns, rows], source, target),
    ];
  }

  entry(i, j, weight, unit, most) {
    const inset = unit > 8 ? 1.5 : 1, size = unit - 2 * inset;
    const box = svg("rect", { x: j * unit + inset, y: i * unit + inset, width: size, height: size });
    if (unit < 9) return [box];
    box.setAttribute("class", weight < 0 ? "negative" : "positive");
    box.setAttribute("style", `--strength:${Math.round(12 + 78 * Math.abs(weight) / most)}%`);
    return [box, svg("text", { x: (j + .5) * unit, y: (i + .5) * unit + 4 }, digits(weight))];
  }

  markMatrices(focus) {
    for (const { band, unit, rowsOf, columnsOf, width, height, place } of this.matrices) {
      const at = focus ? place(this.weave.panels[focus.panel], focus.element) * unit : 0;
      const box = focus?.panel === rowsOf ? [0, at, width, unit] : focus?.panel === columnsOf ? [at, 0, unit, height] : [0, 0, 0, 0];
      ["x", "y", "width", "height"].forEach((name, i) => band.setAttribute(name, box[i]));
    }
  }
}

if (typeof document !== "undefined") {
  globalThis.weaveLoom = (figure) => { figure.loom = new Loom(figure); };  // for a page that makes figures later
  addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure.loom:not([class*=' '])")) figure.loom = new Loom(figure);
  });
}
if (typeof module !== "undefined") module.exports = { Weave, steps, digits, sumText };
