// ---- the player of a loom: forward and backward step by step

class PlayedLoom extends Loom {
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
}
