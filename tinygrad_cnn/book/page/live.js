// A small engine, so that a figure can be computed again when a number in it is changed.
//
// A program is a list of panels (arrays) and of steps. Every argument of a step is gathered by index from a panel: all
// that rearranges, repeats or cuts out is such an index, made by the Python package. So nothing here knows of windows,
// axes or broadcasting. Backwards, what was gathered is added up over the same indices.

// ---- the operations: value(args, step) and rule(g, out, args, step), which gives a gradient for each argument

const zip = (a, b, f) => Float64Array.from(a, (x, i) => f(x, b[i]));
const each = (value, slope) => ({
  value: ([x]) => Float64Array.from(x, value),
  rule: (g, out, [x]) => [Float64Array.from(g, (g, i) => g * slope(x[i], out[i]))],
});

const OPS = {
  gather: each((x) => x, () => 1),
  relu: each((x) => Math.max(x, 0), (x) => (x > 0 ? 1 : 0)),
  exp: each(Math.exp, (x, out) => out),
  log: each(Math.log, (x) => 1 / x),
  sqrt: each(Math.sqrt, (x, out) => 1 / (2 * out)),
  tanh: each(Math.tanh, (x, out) => 1 - out * out),
  sigmoid: each((x) => 1 / (1 + Math.exp(-x)), (x, out) => out * (1 - out)),
  add: {
    value: ([a, b]) => zip(a, b, (a, b) => a + b),
    rule: (g) => [g, g],
  },
  sub: {
    value: ([a, b]) => zip(a, b, (a, b) => a - b),
    rule: (g) => [g, g.map((g) => -g)],
  },
  div: {
    value: ([a, b]) => zip(a, b, (a, b) => a / b),
    rule: (g, out, [a, b]) => [zip(g, b, (g, b) => g / b), zip(zip(g, out, (g, out) => -g * out), b, (x, b) => x / b)],
  },
  mul: {
    value: ([a, b]) => zip(a, b, (a, b) => a * b),
    rule: (g, out, [a, b]) => [zip(g, b, (g, b) => g * b), zip(g, a, (g, a) => g * a)],
  },
  sum: {  // `into` says for each element to which sum it belongs
    value: ([x], { into, size }) => scattered(x, into, size),
    rule: (g, out, [x], { into }) => [gathered(g, into)],
  },
  max: {
    value: ([x], { into, size }) => {
      const out = new Float64Array(size).fill(-Infinity);
      x.forEach((x, i) => { if (x > out[into[i]]) out[into[i]] = x; });
      return out;
    },
    rule: (g, out, [x], { into }) => {  // of equal ones the first
      const taken = new Set();
      return [Float64Array.from(x, (x, i) => {
        if (x !== out[into[i]] || taken.has(into[i])) return 0;
        taken.add(into[i]);
        return g[into[i]];
      })];
    },
  },
  log_softmax: {
    value: ([x], { into, groups }) => {
      const top = OPS.max.value([x], { into, size: groups });
      const sums = scattered(x.map((x, i) => Math.exp(x - top[into[i]])), into, groups);
      return x.map((x, i) => x - top[into[i]] - Math.log(sums[into[i]]));
    },
    rule: (g, out, [x], { into, groups }) => {
      const sums = scattered(g, into, groups);
      return [g.map((g, i) => g - Math.exp(out[i]) * sums[into[i]])];
    },
  },
  matmul: {  // as many products of (M, K) and (K, N) as there are
    value: ([a, b], { m, k, n }) => {
      const out = new Float64Array(a.length / k * n);
      for (let row = 0; row < a.length / k; row++) {
        const from = Math.floor(row / m) * k * n;
        for (let l = 0; l < k; l++) {
          const factor = a[row * k + l];
          if (factor) for (let j = 0; j < n; j++) out[row * n + j] += factor * b[from + l * n + j];
        }
      }
      return out;
    },
    rule: (g, out, [a, b], { m, k, n }) => {
      const ofA = new Float64Array(a.length), ofB = new Float64Array(b.length);
      for (let row = 0; row < a.length / k; row++) {
        const from = Math.floor(row / m) * k * n;
        for (let l = 0; l < k; l++) {
          let sum = 0;
          for (let j = 0; j < n; j++) {
            sum += g[row * n + j] * b[from + l * n + j];
            ofB[from + l * n + j] += a[row * k + l] * g[row * n + j];
          }
          ofA[row * k + l] = sum;
        }
      }
      return [ofA, ofB];
    },
  },
};

function gathered(x, index) {  // -1 is a zero
  return index ? Float64Array.from(index, (i) => (i < 0 ? 0 : x[i])) : x;
}

function scattered(g, index, size) {
  const out = new Float64Array(size);
  index.forEach((to, i) => { if (to >= 0) out[to] += g[i]; });
  return out;
}

// ---- forward, backward, and the links between elements

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

function decoded(numbers) {  // an index is a list, or the bytes of 16-bit integers in base64
  return typeof numbers === "string" ? new Int16Array(bytes(numbers)) : numbers;
}

function prepared(program) {
  for (const panel of program.panels) {
    if (panel.int8) panel.value = Float64Array.from(new Int8Array(bytes(panel.int8)), (x) => x * panel.scale);
  }
  for (const step of program.steps) {
    step.into = step.into && decoded(step.into);
    for (const input of step.inputs) input.index = input.index && decoded(input.index);
  }
  return program;
}

const argsOf = (program, step) =>
  step.inputs.map(({ panel, index }) => gathered(program.panels[panel].value, index));

function forward(program) {
  for (const step of program.steps) {
    program.panels[step.panel].value = OPS[step.op].value(argsOf(program, step), step);
  }
  return program.panels[program.output].value;
}

function backward(program, seed) {
  for (const panel of program.panels) panel.gradient = new Float64Array(panel.value.length);
  program.panels[program.output].gradient = Float64Array.from(seed);
  for (const step of [...program.steps].reverse()) {
    const { value, gradient } = program.panels[step.panel];
    const gradients = OPS[step.op].rule(gradient, value, argsOf(program, step), step);
    step.inputs.forEach(({ panel, index }, i) => {
      const total = program.panels[panel].gradient;
      if (index) index.forEach((to, j) => { if (to >= 0) total[to] += gradients[i][j]; });
      else gradients[i].forEach((g, j) => { total[j] += g; });
    });
  }
}

// As the Python package finds them: each rule is run on cotangents that are 1 for one element and 0 for all others.
function linked(program) {
  return program.steps.flatMap((step) => {
    const args = argsOf(program, step), value = program.panels[step.panel].value;
    const marked = args.map((arg) => arg.map((x, i) => i + 2.5));  // all different, to see which one a weight is
    return step.inputs.map(({ panel, index }, i) => {
      const wires = { source: panel, target: step.panel, s: [], t: [], w: [], factorPanel: null, f: [] };
      const other = step.inputs[1 - i], others = args.map((arg, j) => (j === i ? arg : marked[j]));
      const oneHot = new Float64Array(value.length);
      for (let target = 0; target < value.length; target++) {
        oneHot[target] = 1;
        const row = OPS[step.op].rule(oneHot, value, args, step)[i];
        const again = other ? OPS[step.op].rule(oneHot, value, others, step)[i] : row;
        row.forEach((weight, element) => {
          const mark = again[element] - 2.5, source = index ? index[element] : element;
          const isFactor = other && mark >= 0 && args[1 - i][mark] === weight;
          if (source < 0 || !(weight || isFactor)) return;
          if (isFactor) wires.factorPanel = other.panel;
          wires.s.push(source); wires.t.push(target); wires.w.push(weight);
          wires.f.push(isFactor ? (other.index ? other.index[mark] : mark) : -1);
        });
        oneHot[target] = 0;
      }
      return wires;
    });
  });
}

if (typeof module !== "undefined") module.exports = { prepared, forward, backward, linked };
