// Forest plots: the same effect by several analyses, one below the other.
const forest = (() => {
  const { effect, oddsRatio, prepare, line, shorten } = common;
  const ROW = 22;

  // Round numbers on an axis of betas; of odds ratios, round odds.
  function ticks(low, high, odds, across) {
    const found = [];
    if (odds) {
      for (const value of [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 10]) {
        const at = Math.log(value);
        if (at >= low && at <= high) found.push({ at, text: String(value), first: value === 1 });
      }
    } else {
      const step = [1, 2, 5, 10].map((m) => m * 10 ** Math.floor(Math.log10((high - low) / 5))).find((s) => (high - low) / s <= 6);
      for (let k = Math.ceil(low / step); k * step <= high; k++) found.push({ at: k * step, text: String(Number((k * step).toPrecision(6))), first: k === 0 });
    }
    // Where they would touch, the one of no effect stays.
    const kept = [];
    for (const tick of [...found].sort((a, b) => b.first - a.first)) {
      if (!kept.some((other) => Math.abs(across(other.at) - across(tick.at)) < 34)) kept.push(tick);
    }
    return kept;
  }

  const interval = (beta, se, odds) => (odds ? oddsRatio(beta, se) : `${effect(Number(beta.toPrecision(3)))} (${effect(Number((beta - 1.96 * se).toPrecision(3)))} to ${effect(Number((beta + 1.96 * se).toPrecision(3)))})`);

  // rows: {name, beta, se, weight (share, of squares), kind: "group", "summary" or "other", told, without: {beta, se}}; a
  // row without a result has no beta, and `told` says why. `odds`: betas are log odds ratios.
  function draw(canvas, rows, { odds = false, unit = "Effect per allele (95 % CI)", label = "" } = {}) {
    const withOthers = rows.some((row) => row.without);
    const made = prepare(canvas, ROW * rows.length + 66);
    const { pen, width, height, colours } = made;
    const style = getComputedStyle(document.documentElement);
    const lead = style.getPropertyValue("--lead").trim();
    const names = rows.map((row) => shorten(row.name, width < 620 ? 16 : 32));
    const told = rows.map((row) => (row.beta === null ? row.told || "no result" : interval(row.beta, row.se, odds)));
    const widest = (texts) => Math.max(...texts.map((text) => pen.measureText(text).width));
    const room = width - widest(names) - widest(told) - 44;
    const narrow = room < 150;
    const box = { left: widest(names) + 16, right: narrow ? width - 10 : width - widest(told) - 20, top: 26, bottom: height - 38 };
    const split = withOthers && !narrow && room > 380 ? box.left + (box.right - box.left) * 0.62 : box.right;
    const plots = [{ left: box.left, right: split - (split < box.right ? 14 : 0), of: (row) => row, title: "" }];
    if (split < box.right) plots.push({ left: split + 8, right: box.right, of: (row) => row.without, title: "without this group" });

    // An interval that would flatten the others is cut, with an arrow.
    const all = rows.flatMap((row) => [row, row.without]).filter((one) => one && one.beta !== null && one.beta !== undefined);
    const reach = 2.5 * Math.max(...all.map((one) => Math.abs(one.beta)), 1e-9);
    const ends = all.flatMap((one) => [one.beta - 1.96 * one.se, one.beta + 1.96 * one.se]);
    const low = Math.max(Math.min(0, ...ends), -reach);
    const high = Math.min(Math.max(0, ...ends), reach);
    const margin = (high - low) * 0.04;

    for (const plot of plots) {
      const across = (beta) => plot.left + ((beta - low + margin) / (high - low + 2 * margin)) * (plot.right - plot.left);
      pen.lineWidth = 1;
      pen.textAlign = "center";
      pen.textBaseline = "top";
      for (const tick of ticks(low, high, odds, across)) {
        pen.strokeStyle = tick.first ? colours.muted : colours.line;
        line(pen, across(tick.at), box.top - 6, across(tick.at), box.bottom);
        pen.fillStyle = colours.muted;
        pen.fillText(tick.text, across(tick.at), box.bottom + 5);
      }
      pen.fillStyle = colours.muted;
      if (plot.title) pen.fillText(plot.title, (plot.left + plot.right) / 2, 4);
      rows.forEach((row, k) => {
        const one = plot.of(row);
        if (!one || one.beta === null) return;
        const y = box.top + ROW * k + 9;
        const from = Math.max(one.beta - 1.96 * one.se, low - margin);
        const to = Math.min(one.beta + 1.96 * one.se, high + margin);
        const colour = row.kind === "summary" ? lead : row.kind === "other" ? colours.text : colours.even;
        pen.strokeStyle = colour;
        pen.fillStyle = colour;
        pen.lineWidth = 1.5;
        const x = across(Math.min(Math.max(one.beta, low - margin), high + margin));
        if (one === row && row.kind === "summary") {
          shape(pen, [[across(from), y], [x, y - 6], [across(to), y], [x, y + 6]]);
          pen.fill();
          return;
        }
        line(pen, across(from), y, across(to), y);
        if (one.beta - 1.96 * one.se < from) arrow(pen, across(from), y, -1);
        if (one.beta + 1.96 * one.se > to) arrow(pen, across(to), y, 1);
        const half = one === row ? 2.5 + 5 * Math.sqrt(row.weight ?? 0.2) : 3;
        if (one === row) pen.fillRect(x - half, y - half, 2 * half, 2 * half);
        else {
          pen.fillStyle = colours.page;
          pen.fillRect(x - half, y - half, 2 * half, 2 * half);
          pen.strokeRect(x - half, y - half, 2 * half, 2 * half);
        }
      });
    }
    pen.textBaseline = "middle";
    rows.forEach((row, k) => {
      const y = box.top + ROW * k + 9;
      pen.fillStyle = row.beta === null ? colours.muted : colours.text;
      pen.textAlign = "right";
      pen.fillText(names[k], box.left - 9, y);
      pen.textAlign = "left";
      if (!narrow || row.beta === null) pen.fillText(told[k], narrow ? box.left + 4 : box.right + 10, y);
    });
    pen.fillStyle = colours.text;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    pen.fillText(odds ? "Odds ratio per allele (95 % CI)" : unit, (box.left + box.right) / 2, box.bottom + 21);
    canvas.setAttribute("aria-label", `Forest plot${label ? ` of ${label}` : ""}: ${rows.map((row, k) => `${row.name} ${told[k]}`).join("; ")}`);
    canvas.hit = (x, y) => {
      const k = Math.floor((y - box.top + 2) / ROW);
      const row = rows[k];
      if (!row || row.beta === null) return null;
      const lines = [row.name, `${odds ? "odds ratio" : "effect"} ${told[k]}`];
      if (row.p !== undefined && row.p !== null) lines.push(`−log10 p ${row.p.toFixed(2)}`);
      if (row.weight !== undefined) lines.push(`weight ${(100 * row.weight).toFixed(1)} %`);
      if (row.without) lines.push(`without it ${interval(row.without.beta, row.without.se, odds)}`);
      return { x, y, text: lines.join("\n") };
    };
  }

  function shape(pen, corners) {
    pen.beginPath();
    corners.forEach(([x, y]) => pen.lineTo(x, y));
    pen.closePath();
  }

  function arrow(pen, x, y, way) {
    shape(pen, [[x, y], [x - 6 * way, y - 3.5], [x - 6 * way, y + 3.5]]);
    pen.fill();
  }

  return { draw };
})();
