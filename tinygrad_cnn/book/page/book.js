// ---- the questions

for (const form of document.querySelectorAll("form.question")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = form.querySelector("input").value.trim().replace(/[−–]/g, "-").replace(",", ".");
    const status = form.querySelector("[role=status]"), answer = Number(form.dataset.answer);
    if (typed === "" || Number.isNaN(Number(typed))) { status.textContent = "A number, please."; return; }
    const right = Math.abs(Number(typed) - answer) <= 0.01 * Math.max(Math.abs(answer), 0.1) * (Number.isInteger(answer) ? 0 : 1);
    status.textContent = right ? "Yes." : "Not that. Look at the figure, and try again.";
    form.classList.toggle("right", right);
    if (right) form.querySelector("details").open = true;
  });
}
