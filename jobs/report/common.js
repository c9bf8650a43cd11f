"use strict";
// What every page of results is drawn with.
const common = (() => {
  // Above the limit an axis goes on by the logarithm, unless the reader wants it linear throughout.
  const scale = { linear: false, limit: 10 };
  const redraws = [];

  function read(id) {
    return JSON.parse(document.getElementById(id).textContent);
  }

  function bytes(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }

  function typed(text, Kind) {
    return new Kind(bytes(text).buffer);
  }

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // ---- numbers ----------------------------------------------------------------------------------------

  const whole = (value) => value.toLocaleString("en-US");

  function pText(y) {
    if (y < 3) return (10 ** -y).toPrecision(2);
    let exponent = Math.ceil(y);
    let mantissa = (10 ** (exponent - y)).toFixed(1);
    if (mantissa === "10.0") [mantissa, exponent] = ["1.0", exponent - 1];
    const digits = [...String(exponent)].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("");
    return `${mantissa} × 10⁻${digits}`;
  }

  function effect(value) {
    if (value === null) return "";
    const size = Math.abs(value);
    return (size !== 0 && size < 0.001) || size >= 1e5 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  // Wald's interval. With the test "logistic" it excludes 1 where p is below 0.05: standard errors are those of the p-values.
  const oddsRatio = (beta, error) => {
    if (beta === null || error === null) return "";
    const at = (z) => {
      const value = Math.exp(beta + z * error);
      return value >= 1000 || value < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
    };
    return `${at(0)} (${at(-1.96)} to ${at(1.96)})`;
  };

  const scaled = (y) => (scale.linear || y <= scale.limit ? y : scale.limit * (1 + Math.log10(y / scale.limit)));
  const unscaled = (h) => (h <= scale.limit ? h : scale.limit * 10 ** (h / scale.limit - 1));

  function ticks(top) {
    const found = [];
    const straight = scale.linear ? top : Math.min(top, scale.limit);
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((s) => straight / s <= 8) || 5000;
    for (let k = 0; k * step <= straight + 1e-9; k++) found.push(Number((k * step).toFixed(1)));
    if (!scale.linear) {
      for (let decade = scale.limit; decade <= top; decade *= 10) {
        for (const m of [2, 5, 10]) if (decade * m <= top) found.push(decade * m);
      }
    }
    return found;
  }

  // ---- drawing ----------------------------------------------------------------------------------------

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const names = ["page", "text", "muted", "line", "strong", "even", "odd", "lead", "limit", "suggest", "band",
      "bin0", "bin1", "bin2", "bin3"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  function prepare(canvas, height) {
    const width = Math.max(canvas.clientWidth, 220);
    const ratio = Math.max(window.devicePixelRatio || 1, 2);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const colours = palette();
    pen.fillStyle = colours.page;
    pen.fillRect(0, 0, width, height);
    pen.font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
    return { pen, width, height, colours };
  }

  function verticalAxis(draw, box, top, title) {
    const { pen, colours } = draw;
    const place = (y) => box.bottom - (scaled(y) / scaled(top)) * (box.bottom - box.top);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of ticks(top)) {
      const y = place(tick);
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      line(pen, box.left, y, box.right, y);
      pen.fillStyle = colours.muted;
      pen.fillText(String(tick), box.left - 7, y);
    }
    if (!scale.linear && top > scale.limit) {
      // Where the scale changes, the axis says so.
      pen.strokeStyle = colours.muted;
      const y = place(scale.limit);
      line(pen, box.left - 4, y + 3, box.left + 4, y - 1);
      line(pen, box.left - 4, y + 6, box.left + 4, y + 2);
    }
    pen.save();
    pen.translate(12, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    logLabel(pen, title, 0, 0, colours.text);
    pen.restore();
    return place;
  }

  // Canvas text has no subscripts: the 10 of log10 is drawn smaller and lower.
  function logLabel(pen, words, x, y, colour) {
    const font = pen.font;
    const small = font.replace("12px", "9px");
    const parts = [[`${words} −log`, font, 0], ["10", small, 3], [" p", font, 0]];
    let width = 0;
    for (const [text, face] of parts) {
      pen.font = face;
      width += pen.measureText(text).width;
    }
    let at = x - width / 2;
    pen.textAlign = "left";
    pen.fillStyle = colour;
    for (const [text, face, drop] of parts) {
      pen.font = face;
      pen.fillText(text, at, y + drop);
      at += pen.measureText(text).width;
    }
    pen.font = font;
  }

  function line(pen, x1, y1, x2, y2) {
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
    pen.stroke();
  }

  function dots(pen, xs, ys, radius) {
    pen.beginPath();
    for (let i = 0; i < xs.length; i++) {
      pen.moveTo(xs[i] + radius, ys[i]);
      pen.arc(xs[i], ys[i], radius, 0, 2 * Math.PI);
    }
    pen.fill();
  }

  // The two axes of a plot.
  function edges(draw, box) {
    draw.pen.strokeStyle = draw.colours.strong;
    line(draw.pen, box.left, box.bottom, box.right, box.bottom);
    line(draw.pen, box.left, box.top, box.left, box.bottom);
  }

  // A quantile–quantile plot around its curves: axes, the band of so many tests without any effect, and the diagonal.
  // `curves(draw, across, place)` draws within the frame.
  function quantilePlot(canvas, tall, { tested, most, band }, curves) {
    const draw = prepare(canvas, tall);
    const { pen, width, height, colours } = draw;
    const box = { left: 52, right: width - 10, top: 12, bottom: height - 42 };
    const right = -Math.log10(1 / (tested + 1)) * 1.04;
    const top = Math.max(right, most * (most > scale.limit && !scale.linear ? 1.25 : 1.08));
    const place = verticalAxis(draw, box, top, "Observed");
    const across = (e) => box.left + (e / right) * (box.right - box.left);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    pen.clip();
    pen.fillStyle = colours.band;
    pen.beginPath();
    for (let i = 0; i < band.high.length; i++) pen.lineTo(across(band.expected[i]), place(band.high[i]));
    for (let i = band.low.length - 1; i >= 0; i--) pen.lineTo(across(band.expected[i]), place(band.low[i]));
    pen.fill();
    pen.strokeStyle = colours.muted;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let k = 0; k <= 100; k++) pen.lineTo(across((right * k) / 100), place((right * k) / 100));
    pen.stroke();
    curves(draw, across, place);
    pen.restore();
    pen.fillStyle = colours.muted;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const step = right > 6 ? 2 : right > 1.5 ? 1 : 0.5;
    for (let k = 0; k * step <= right; k++) pen.fillText(String(k * step), across(k * step), box.bottom + 6);
    logLabel(pen, "Expected", (box.left + box.right) / 2, box.bottom + 22, colours.text);
    edges(draw, box);
  }

  // Shares of the axis become pixels a little inside the frame, so that no dot sits on it.
  const inside = (box) => (share) => box.left + 5 + share * (box.right - box.left - 10);

  const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

  function nearest(px, py, x, y, reach) {
    let best = reach * reach;
    let found = -1;
    for (let i = 0; i < px.length; i++) {
      const d = (px[i] - x) ** 2 + (py[i] - y) ** 2;
      if (d <= best) [best, found] = [d, i];
    }
    return found;
  }

  function figure(canvas, caption) {
    const tip = element("div", { class: "tip screen", hidden: "" });
    const made = element("figure", {}, canvas, tip, element("figcaption", {}, caption));
    canvas.addEventListener("mousemove", (event) => {
      const at = canvas.getBoundingClientRect();
      const found = canvas.hit ? canvas.hit(event.clientX - at.left, event.clientY - at.top) : null;
      tip.hidden = !found;
      if (!found) return;
      tip.textContent = found.text;
      const left = Math.min(found.x + 12, canvas.clientWidth - tip.offsetWidth - 2);
      tip.style.left = `${Math.max(left, 0)}px`;
      tip.style.top = `${Math.max(found.y - tip.offsetHeight - 10, 0)}px`;
    });
    canvas.addEventListener("mouseleave", () => (tip.hidden = true));
    return made;
  }

  function cell(value, kind = "number", sortBy = null) {
    const made = element("td", { class: kind }, String(value));
    if (sortBy !== null) made.dataset.value = sortBy;
    if (kind !== "number") made.title = String(value);
    return made;
  }

  function plainTable(heads, rows) {
    const head = element("tr", {}, ...heads.map((text, k) => element("th", { scope: "col", class: k ? "number" : "" }, text)));
    return element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }

  // ---- tables -----------------------------------------------------------------------------------------

  function sortable(table) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = element("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sortBy(table, head, column));
    });
  }

  function sortBy(table, head, column) {
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numeric;
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const number = (row) => (key(row) === "" || key(row) === "null" ? NaN : Number(key(row)));
    const rows = [...body.rows].map((row, place) => ({ row, place, value: numeric ? number(row) : key(row) }));
    rows.sort((a, b) => {
      if (numeric) {
        // Rows without a number stay at the end either way.
        if (Number.isNaN(a.value) || Number.isNaN(b.value)) return Number.isNaN(a.value) - Number.isNaN(b.value) || a.place - b.place;
        return (down ? b.value - a.value : a.value - b.value) || a.place - b.place;
      }
      const order = a.value.localeCompare(b.value, "en", { numeric: true });
      return (down ? -order : order) || a.place - b.place;
    });
    body.append(...rows.map((item) => item.row));
  }

  // Only the rows that hold what is typed are shown, and of a `choice` those whose `data-choice` it is.
  function filtered(table, input, told, choice = null) {
    const update = () => {
      const wanted = input.value.trim().toLowerCase();
      const chosen = choice === null ? "" : choice.value;
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        row.hidden = (wanted !== "" && !row.textContent.toLowerCase().includes(wanted)) || (chosen !== "" && row.dataset.choice !== chosen);
      }
      const shown = rows.filter((row) => !row.hidden).length;
      told.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    };
    input.addEventListener("input", update);
    choice?.addEventListener("change", update);
    if (choice !== null) update();
  }

  // ---- start ------------------------------------------------------------------------------------------

  function redraw() {
    for (const again of redraws) again();
  }

  // Panels that the rows of a table open, one below the other. `make(number, close)` gives the panel's article, which
  // holds the button `close`, its title, and how it is drawn (again).
  function panels({ index, places, key, anchor, data, make, changed = () => {} }) {
    const open = new Map();

    function mark(number, on) {
      index.querySelector(`tr[data-${key}="${number}"]`).classList.toggle("open", on);
      changed(open.size);
    }

    function hide(number) {
      open.get(number).article.remove();
      open.delete(number);
      mark(number, false);
    }

    function show(number, scroll) {
      if (!open.has(number)) {
        const close = element("button", { type: "button", class: "screen" }, "Close");
        close.addEventListener("click", () => hide(number));
        const panel = make(number, close);
        close.setAttribute("aria-label", `Close ${panel.title}`);
        places.append(panel.article);
        open.set(number, panel);
        panel.redraw();
        mark(number, true);
      }
      if (scroll) open.get(number).article.scrollIntoView({ block: "start" });
    }

    redraws.push(() => open.forEach((panel) => panel.redraw()));
    sortable(index);
    index.tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      event.preventDefault();
      if (row) show(Number(row.dataset[key]), true);
    });

    // Those to begin with, and the one that the address names.
    function begin(numbers) {
      for (const number of numbers) show(number, false);
      const asked = new RegExp(`^#${anchor}-(\\d+)$`).exec(location.hash);
      if (asked && document.getElementById(data(asked[1]))) show(Number(asked[1]), true);
    }

    return { begin, show, closeAll: () => [...open.keys()].forEach(hide) };
  }

  document.getElementById("scale")?.addEventListener("change", (event) => {
    scale.linear = event.target.value === "linear";
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) {
      width = window.innerWidth;
      redraw();
    }
  });
  // Paper is light; the class changes the colours before the medium does.
  const printing = (on) => {
    document.documentElement.classList.toggle("printing", on);
    redraw();
  };
  window.addEventListener("beforeprint", () => printing(true));
  window.addEventListener("afterprint", () => printing(false));
  return {
    scale, redraws, read, bytes, typed, element, whole, pText, effect, oddsRatio, scaled, unscaled, palette, prepare,
    verticalAxis, logLabel, line, dots, edges, quantilePlot, inside, shorten, nearest, figure, cell, plainTable,
    sortable, filtered, panels,
  };
})();
