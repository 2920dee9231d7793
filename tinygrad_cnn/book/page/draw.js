// ---- draw a digit: the network runs while one draws, forward and backward

const SIDE = 28;

class Drawing {
  constructor(root) {
    const { network, examples } = JSON.parse(root.querySelector("script").textContent);
    this.network = prepared(network);
    this.pixels = new Float64Array(SIDE * SIDE);
    this.named = 3;
    this.wanted = "score";
    this.cursor = [14, 14];
    this.sheet = make("canvas", { width: SIDE, height: SIDE, tabindex: 0, class: "sheet", role: "img",
      "aria-label": "Sheet to draw on. With the keyboard: arrow keys move the pen, hold shift to draw, delete clears." });
    this.slope = make("canvas", { width: SIDE, height: SIDE, class: "sheet", role: "img", "aria-label": "gradient of the pixels" });
    this.guesses = make("div", { class: "guesses" });
    this.said = make("p", { role: "status" });
    this.layers = make("div", { class: "layers" });
    const press = (text, act, attributes) => make("button", { type: "button", ...attributes, click: act }, text);
    const choice = (wanted, text) => press(text, () => { this.wanted = wanted; this.run(); }, { "data-wanted": wanted });
    this.examples = examples;
    root.append(
      make("div", { class: "controls" },
        make("span", { role: "group", "aria-label": "an example" }, make("span", { class: "label" }, "an example"),
          examples.map((_, digit) => press(String(digit), () => this.show(digit)))),
        make("span", null, press("clear", () => { this.pixels.fill(0); this.run(); })),
        make("span", { role: "group", "aria-label": "gradient of" }, make("span", { class: "label" }, "gradient of"),
          choice("score", "the guess's score"), choice("loss", "the loss"))),
      make("div", { class: "desk" },
        make("div", null, make("p", { class: "label" }, "draw here"), this.sheet),
        make("div", null, make("p", { class: "label" }, "gradient of the pixels"), this.slope),
        make("div", null, make("p", { class: "label" }, "scores: choose the digit that it is meant to be"), this.guesses)),
      this.said, this.layers);
    this.root = root;
    this.listen();
    this.show(3);
  }

  show(digit) {
    this.pixels = Float64Array.from(new Uint8Array(bytes(this.examples[digit])), (x) => x / 255);
    this.named = digit;
    this.run();
  }

  // -- the pen: it leaves ink on the pixels around it

  ink(x, y) {
    for (let row = Math.floor(y) - 2; row <= y + 2; row++) {
      for (let column = Math.floor(x) - 2; column <= x + 2; column++) {
        if (row < 0 || column < 0 || row >= SIDE || column >= SIDE) continue;
        const away = Math.hypot(row + .5 - y, column + .5 - x), at = row * SIDE + column;
        this.pixels[at] = Math.min(1, Math.max(this.pixels[at], 1.75 - away));
      }
    }
  }

  stroke([x1, y1], [x2, y2]) {
    const steps = Math.ceil(2 * Math.hypot(x2 - x1, y2 - y1)) || 1;
    for (let i = 0; i <= steps; i++) this.ink(x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps);
    this.soon();
  }

  soon() {  // one run for each frame of the screen
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.run(); });
  }

  listen() {
    const at = (event) => {
      const box = this.sheet.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
    };
    this.sheet.addEventListener("pointerdown", (event) => {
      this.sheet.setPointerCapture(event.pointerId);
      this.pen = at(event);
      this.stroke(this.pen, this.pen);
    });
    this.sheet.addEventListener("pointermove", (event) => {
      if (this.pen) { const to = at(event); this.stroke(this.pen, to); this.pen = to; }
    });
    for (const end of ["pointerup", "pointercancel"]) this.sheet.addEventListener(end, () => { this.pen = null; });
    this.sheet.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key in moves) {
        const before = this.cursor, inside = (x) => Math.max(0, Math.min(SIDE, x));
        this.cursor = before.map((x, i) => inside(x + moves[event.key][i]));
        if (event.shiftKey) this.stroke(before, this.cursor);
        else this.soon();
      } else if (event.key === "Delete" || event.key === "Backspace") { this.pixels.fill(0); this.soon(); }
      else return;
      event.preventDefault();
    });
    for (const event of ["focus", "blur"]) this.sheet.addEventListener(event, () => this.soon());
  }

  // -- forward, backward, and what is drawn of it

  run() {
    const panel = (name) => this.network.panels.find((panel) => panel.name === name);
    const begun = performance.now();
    panel("image").value = this.pixels;
    const scores = [...forward(this.network)], largest = Math.max(...scores), guess = scores.indexOf(largest);
    const powers = scores.map((score) => Math.exp(score - largest)), sum = total(powers);
    const p = powers.map((power) => power / sum);
    const seed = this.wanted === "loss" ? p.map((p, i) => p - (i === this.named)) : p.map((_, i) => Number(i === guess));
    backward(this.network, seed);
    const time = performance.now() - begun;
    this.result = { scores, p, guess, gradient: panel("image").gradient };

    paint(this.sheet, this.pixels, SIDE);
    if (document.activeElement === this.sheet) {
      const brush = this.sheet.getContext("2d");
      brush.fillStyle = "#888";
      brush.fillRect(Math.round(this.cursor[0]), Math.round(this.cursor[1]), 1, 1);
    }
    paint(this.slope, panel("image").gradient, SIDE, true);
    this.guesses.replaceChildren(...p.map((p, digit) => make("button", {
      type: "button", "aria-pressed": digit === this.named, "aria-label": `digit ${digit}, ${digits(100 * p, true)} percent`,
      click: () => { this.named = digit; this.run(); },
    }, make("b", null, String(digit)), make("i", { style: `--share:${p}` }), make("span", null, digits(scores[digit])))));
    const loss = Math.log(sum) + largest - scores[this.named];
    this.said.textContent = `It is taken for a ${guess}, with ${digits(Number((100 * p[guess]).toFixed(1)), true)} %. `
      + `The loss, if it is meant to be a ${this.named}, is ${digits(Number(loss.toFixed(4)), true)}. `
      + `Forward and backward took ${Math.round(time)} ms.`;
    for (const button of this.root.querySelectorAll("[data-wanted]")) {
      button.setAttribute("aria-pressed", button.dataset.wanted === this.wanted);
    }
    this.drawLayers();
  }

  drawLayers() {
    const shapes = { conv1: [6, 28], pool1: [6, 14], conv2: [16, 10], pool2: [16, 5], dense1: [1, 120, 8], dense2: [1, 84, 7] };
    if (!this.tiles) {
      this.tiles = {};
      for (const [name, [count, width, height]] of Object.entries(shapes)) {
        const tile = () => range(count).map(() => make("canvas", {
          width: height ? width / (height === 8 ? 4 : 4) : width, height: height ? 4 : width, class: height ? "wide" : "tile",
        }));
        this.tiles[name] = [tile(), tile()];
        this.layers.append(make("div", { class: "layer", "aria-hidden": "true" },
          make("p", null, name, make("small", null, height ? `${width}` : `${count} × ${width}×${width}`)),
          make("div", { class: "tiles" }, this.tiles[name][0]), make("p", { class: "label" }, `d${name}`),
          make("div", { class: "tiles" }, this.tiles[name][1])));
      }
    }
    for (const [name, [values, gradients]] of Object.entries(this.tiles)) {
      const panel = this.network.panels.find((panel) => panel.name === name);
      const order = channelsFirst(panel), size = panel.value.length / values.length;
      const most = Math.max(...panel.value.map(Math.abs), 1e-12), slope = Math.max(...panel.gradient.map(Math.abs), 1e-12);
      values.forEach((canvas, i) => paint(canvas, order(panel.value, i, size), canvas.width, false, most));
      gradients.forEach((canvas, i) => paint(canvas, order(panel.gradient, i, size), canvas.width, true, slope));
    }
  }
}

// What pooling gives lies in memory as (H, C, W, 1); one channel of it
function channelsFirst({ shape }) {
  if (shape.length !== 4 || shape[3] !== 1 || shape[0] !== shape[2]) return (numbers, i, size) => numbers.slice(i * size, (i + 1) * size);
  const [rows, channels, columns] = shape;
  return (numbers, i) => range(rows * columns).map((at) =>
    numbers[(Math.floor(at / columns) * channels + i) * columns + at % columns]);
}

function paint(canvas, numbers, width, isSigned, most) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const paper = dark ? [33, 36, 40] : [245, 244, 241], ink = dark ? [233, 231, 226] : [28, 30, 33];
  const signs = dark ? [[79, 143, 214], [221, 132, 52]] : [[61, 127, 196], [224, 123, 26]];
  const largest = most ?? (isSigned ? Math.max(...numbers.map(Math.abs), 1e-12) : 1);
  const image = new ImageData(width, numbers.length / width);
  numbers.forEach((x, i) => {
    const to = isSigned ? signs[Number(x > 0)] : ink, share = Math.min(1, Math.abs(x) / largest) ** (isSigned ? .7 : 1);
    for (let j = 0; j < 3; j++) image.data[4 * i + j] = paper[j] + (to[j] - paper[j]) * share;
    image.data[4 * i + 3] = 255;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure.draw")) figure.drawing = new Drawing(figure);
});
