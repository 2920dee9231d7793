// ---- the questions

for (const form of document.querySelectorAll("form.question")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = form.querySelector("input").value.trim().replace(/[−–]/g, "-").replace(",", ".");
    const status = form.querySelector("[role=status]"), answer = Number(form.dataset.answer);
    if (typed === "" || Number.isNaN(Number(typed))) { status.textContent = "A number, please."; return; }
    const right = Math.abs(Number(typed) - answer) <= Number(form.dataset.within);
    status.textContent = right ? "Yes." : "Not that. Look at the figure, and try again.";
    form.classList.toggle("right", right);
    if (right) form.querySelector("details").open = true;
  });
}

// ---- bars beside a loom: the numbers of some of its panels

addEventListener("DOMContentLoaded", () => {
  for (const { loom } of document.querySelectorAll("figure.loom")) {
    if (!loom?.data.bars) continue;
    const box = make("div", { class: "bars", "aria-hidden": "true" });
    loom.stage.after(box);
    loom.onCompute = () => box.replaceChildren(...loom.data.bars.map(([name, kind, label, through]) => {
      const numbers = [...loom.weave.panels.find((panel) => panel.name === name)[kind]]
        .map((x) => (through === "exp" ? Math.exp(x) : x));
      return make("div", null, make("p", { class: "label" }, label), numbers.map((x, i) => make("p", { class: "bar" },
        make("span", null, String(i)), make("i", { class: x < 0 ? "negative" : "positive", style: `--share:${Math.abs(x)}` }),
        make("span", null, digits(x)))));
    }));
    loom.onCompute();
  }
});

// ---- the page says when all its figures are made

addEventListener("load", () => { document.documentElement.dataset.ready = "yes"; });
