// ---- beside a loom the matrices of its steps: of what only copies M and its transpose, or all Jacobians

class MatrixLoom extends PlayedLoom {
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
  globalThis.weaveLoom = (figure) => { figure.loom = new MatrixLoom(figure); };  // for a page that makes figures later
  addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure.loom:not([class*=' '])")) figure.loom = new MatrixLoom(figure);
  });
}
