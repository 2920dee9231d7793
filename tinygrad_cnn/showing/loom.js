// ---- the figure: its panels, and what lights up. Stepping through it (player.js) and its matrices (matrices.js) are added

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
    this.caption = make("figcaption");
    root.append(...[this.controls(), body, player, this.matrixView, this.caption].filter(Boolean));
    this.choose();
    this.listen();
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
    this.caption.textContent = best.note ?? this.data.caption ?? "";
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
    this.stage.addEventListener("click", (event) => {
      if (!this.dragged) { this.pinned = at(event) ?? null; this.light(); }  // the end of a drag is no click
    });
    this.stage.addEventListener("keydown", (event) => this.key(event, at(event)));
    this.stage.addEventListener("pointerdown", (event) => {
      const cell = at(event);
      this.dragged = false;
      if (cell && event.isPrimary && event.button === 0 && this.editable(cell)) this.drag = { cell, y: event.clientY };
    });
    addEventListener("pointermove", (event) => {
      const by = this.drag ? Math.trunc((this.drag.y - event.clientY) / 14) : 0;
      if (by) { this.drag.y -= by * 14; this.dragged = true; this.pinned = this.drag.cell; this.edit(this.drag.cell, by); }
    });
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { this.drag = null; });
  }

  editable({ panel, kind }) { return this.live && kind === "value" && !this.weave.panels[panel].op; }

  key(event, cell) {
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const block = event.target.parentElement, columns = Number(block.style.getPropertyValue("--columns"));
    const cells = [...block.parentElement.querySelectorAll(".cell")], i = cells.indexOf(event.target);
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const changes = { "+": 1, "=": 1, PageUp: 1, "-": -1, PageDown: -1 };
    if (event.key in moves && cells[i + moves[event.key]]) {
      cells[i].tabIndex = -1;
      cells[i + moves[event.key]].tabIndex = 0;
      cells[i + moves[event.key]].focus();
    } else if (event.key in changes && this.editable(cell)) this.edit(cell, changes[event.key]);
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
            if (cell.textContent.replace(".", "").length > 3) cell.classList.add("long");
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
}
