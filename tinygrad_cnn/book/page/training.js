// ---- a training that was kept step by step: the loss, the filters, and the zeros behind each ReLU

class Training {
  constructor(root) {
    this.runs = JSON.parse(root.querySelector("script").textContent).runs;
    this.run = this.runs[0];
    this.buttons = this.runs.map((run) => make("button", {
      type: "button", click: () => { this.run = run; this.show(); },
    }, String(run.lr)));
    this.slider = make("input", { type: "range", min: 0, max: this.run.filters.length - 1, value: 0, "aria-label": "step",
      input: () => this.show() });
    this.said = make("span", { class: "position", role: "status" });
    this.curve = svg("svg", { viewBox: "0 0 400 130", class: "curve", role: "img", "aria-label": "the loss, step by step" });
    this.tiles = range(6).map(() => make("canvas", { width: 5, height: 5 }));
    this.zeros = make("div", { class: "zeros" });
    root.append(
      make("div", { class: "controls" }, make("span", { role: "group", "aria-label": "learning rate" },
        make("span", { class: "label" }, "lr"), this.buttons)),
      make("div", { class: "desk" },
        make("div", null, make("p", { class: "label" }, "loss"), this.curve),
        make("div", { class: "layer" }, make("p", { class: "label" }, "filters of the first layer"),
          make("div", { class: "tiles" }, this.tiles)),
        make("div", null, make("p", { class: "label" }, "zeros behind each ReLU"), this.zeros)),
      make("div", { class: "player" }, this.slider, this.said));
    this.show();
  }

  show() {
    this.slider.max = this.run.filters.length - 1;
    const at = Number(this.slider.value), { losses, filters, zeros, every, lr } = this.run, step = at * every;
    const most = 4, place = (i, loss) => `${(i / (losses.length - 1) * 392 + 4).toFixed(1)},${(124 - Math.min(loss, most) / most * 118).toFixed(1)}`;
    this.curve.replaceChildren(
      svg("polyline", { points: losses.map((loss, i) => place(i, loss)).join(" ") }),
      svg("circle", { cx: place(step, losses[step]).split(",")[0], cy: place(step, losses[step]).split(",")[1], r: 4.5 }));
    const largest = Math.max(...filters.flat(2).map(Math.abs));
    this.tiles.forEach((tile, i) => paint(tile, filters[at][i], 5, true, largest));
    this.zeros.replaceChildren(...zeros[at].map((share, i) => make("p", { class: "bar" }, make("span", null, String(i + 1)),
      make("i", { style: `--share:${share}` }), make("span", null, `${Math.round(100 * share)} %`))));
    this.said.textContent = `step ${step}: loss ${digits(losses[step], true)}`;
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", this.runs[i].lr === lr));
  }
}

addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure.training")) figure.training = new Training(figure);
});
