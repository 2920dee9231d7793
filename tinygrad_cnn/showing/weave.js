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
    if (!links.length) return [name, " = 0", ", as nothing leads from it to the result"];
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

if (typeof module !== "undefined") module.exports = { Weave, steps, digits, sumText };
