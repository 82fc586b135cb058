"use strict";
(function () {
  const root = document.documentElement;
  const source = document.getElementById("curves-data");
  const ready = () => root.setAttribute("data-ready", "");
  if (!source) return ready();

  const { arms, grids, panels } = JSON.parse(source.textContent);
  // Later curves lie on top: the means go last.
  for (const panel of panels) panel.curves.sort((a, b) => (a.s === null) - (b.s === null));
  const hosts = [...document.querySelectorAll(".chart")];
  const boxes = [...document.querySelectorAll("input[data-arm]")];
  const singles = document.getElementById("singles");
  const LABELS = 104;
  let charts = [];
  let waiting = hosts.length;

  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const short = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
  const said = (value, unit) =>
    unit === "%" ? (100 * value).toFixed(1) + "%" : Number(value.toPrecision(3)).toString();

  // Losses that span orders of magnitude are read on a logarithmic axis.
  function logarithmic(panel) {
    if (panel.unit === "%") return false;
    let low = Infinity, high = 0;
    for (const curve of panel.curves)
      for (const y of curve.y)
        if (y !== null) { low = Math.min(low, y); high = Math.max(high, y); }
    return low > 0 && high / low > 30;
  }

  // A curve's value at an index of the joined data, or the last one before it.
  function valueAt(ys, index) {
    for (let i = index; i >= 0; i--) if (ys[i] != null) return ys[i];
    return null;
  }

  // Names at the ends of the mean lines, pushed apart where they would overlap.
  function label(u, curves) {
    const ratio = devicePixelRatio;
    const names = [];
    curves.forEach((curve, i) => {
      if (curve.s !== null || !u.series[i + 1].show) return;
      const value = valueAt(u.data[i + 1], u.data[i + 1].length - 1);
      if (value !== null) names.push({ curve, y: u.valToPos(value, "y", true) });
    });
    names.sort((a, b) => a.y - b.y);
    const gap = 13 * ratio, floor = u.bbox.top + u.bbox.height;
    names.forEach((n, i) => { if (i) n.y = Math.max(n.y, names[i - 1].y + gap); });
    for (let i = names.length - 1, low = floor; i >= 0; i--, low -= gap)
      names[i].y = Math.min(names[i].y, low);
    u.ctx.save();
    u.ctx.font = "500 " + 12 * ratio + "px system-ui, sans-serif";
    u.ctx.textAlign = "left";
    u.ctx.textBaseline = "middle";
    for (const n of names) {
      u.ctx.fillStyle = colour("c" + arms[n.curve.a].colour);
      u.ctx.fillText(short(arms[n.curve.a].name, 14), u.bbox.left + u.bbox.width + 6 * ratio, n.y);
    }
    u.ctx.restore();
  }

  function read(u, panel, out) {
    const i = u.cursor.idx;
    if (i == null) { out.textContent = ""; return; }
    const parts = panel.curves.flatMap((curve, k) => {
      if (curve.s !== null || !u.series[k + 1].show) return [];
      const value = valueAt(u.data[k + 1], i);
      return value === null ? [] : [short(arms[curve.a].name, 24) + " " + said(value, panel.unit)];
    });
    out.textContent = "step " + u.data[0][i] + ": " + parts.join(", ");
  }

  const shown = (curve) => boxes[curve.a].checked && (curve.s === null || singles.checked);

  function series(curve, alone) {
    const arm = arms[curve.a];
    const mean = curve.s === null;
    return {
      show: shown(curve),
      stroke: colour("c" + arm.colour),
      width: mean ? 2 : 1,
      alpha: mean ? 1 : 0.22,
      dash: arm.dashed && mean ? [6, 4] : undefined,
      points: { show: mean && alone },
    };
  }

  function draw(host) {
    const panel = panels[+host.dataset.panel];
    const out = host.parentElement.querySelector(".readout");
    const tables = panel.curves.map((curve) => [grids[curve.g], curve.y]);
    const data = uPlot.join(tables);
    const width = host.clientWidth;
    const labelled = width > 400 && arms.length > 1;
    const axis = {
      stroke: colour("soft"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 },
      ticks: { show: false },
    };
    const log = logarithmic(panel);
    // Of the ten lines of a decade only the first is drawn.
    const decades = (_, splits) => splits.map((t) => (Number.isInteger(+Math.log10(t).toFixed(9)) ? t : null));
    const u = new uPlot({
      width, height: 240,
      padding: [10, labelled ? LABELS : 22, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false } },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [
        { ...axis, label: "step", labelFont: axis.font, labelSize: 18, labelGap: 0, size: 28 },
        { ...axis, size: 54, grid: log ? { ...axis.grid, filter: decades } : axis.grid,
          values: (_, ticks) => ticks.map((t) => (t === null ? "" : panel.unit === "%" ? +(100 * t).toPrecision(4) + "%" : +t.toPrecision(4))) },
      ],
      series: [{}, ...panel.curves.map((curve) => series(curve, data[0].length === 1))],
      hooks: {
        draw: [(self) => labelled && label(self, panel.curves)],
        setCursor: [(self) => read(self, panel, out)],
        ready: [() => { if (--waiting === 0) ready(); }],
      },
    }, data, host);
    return { u, host, panel };
  }

  function redraw() {
    charts.forEach((chart) => chart.u.destroy());
    charts = hosts.map(draw);
  }

  function select() {
    for (const { u, panel } of charts)
      u.batch(() => panel.curves.forEach((curve, i) => u.setSeries(i + 1, { show: shown(curve) })));
  }

  redraw();
  [...boxes, singles].forEach((box) => box && box.addEventListener("change", select));
  for (const query of ["(prefers-color-scheme: dark)", "print"])
    matchMedia(query).addEventListener("change", redraw);
  let pending = 0;
  addEventListener("resize", () => { clearTimeout(pending); pending = setTimeout(redraw, 120); });
})();
