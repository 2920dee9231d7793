// ---- the questions

for (const form of document.querySelectorAll(".question form")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [answer, within] = [form.dataset.answer, form.dataset.within].map((text) => JSON.parse(text));
    let text = form.querySelector("input").value.replace(/[−–]/g, "-");
    if (answer.length === 1) text = text.replace(",", ".");
    const typed = (text.match(/-?\.?\d[\d.]*(e[-+]?\d+)?/gi) ?? []).map(Number);
    const status = form.querySelector("[role=status]");
    if (typed.length !== answer.length) {
      status.textContent = answer.length > 1 ? `${answer.length} numbers, please.` : "A number, please.";
      return;
    }
    const right = answer.every((x, i) => Math.abs(typed[i] - x) <= within[i]);
    status.textContent = right ? "Yes." : "Not that. Try again, or look at the answer.";
    form.parentElement.classList.toggle("right", right);
    if (right) form.parentElement.querySelector("details").open = true;
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
