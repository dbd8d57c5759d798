// Draws the charts and keeps the clock; everything else on the page is swapped in by htmx as the server sends it.
"use strict";
(() => {
  const KEEP = 600; // seconds
  const STALE = 5000; // milliseconds without a tick until the page says so
  const SERIES = {
    per_s: [["legacy_per_s", "monolith", "--legacy"], ["service_per_s", "service", "--service"]],
    latency: [
      ["legacy_p99", "monolith p99", "--legacy"], ["service_p99", "service p99", "--service"],
      ["legacy_p50", "monolith p50", "--legacy", [4, 4]], ["service_p50", "service p50", "--service", [4, 4]],
    ],
  };
  const state = { names: [], t: [], domains: {}, lastTick: 0, charts: [] };

  const css = (name) => {
    // light-dark() is resolved only on a real property.
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  };

  const clockOf = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

  function number(value) {
    if (value == null) return "–";
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/\.?0+$/, "");
  }

  function rows(element) {
    const values = state.domains[element.dataset.domain] || {};
    const empty = state.t.map(() => null);
    return [state.t, ...SERIES[element.dataset.kind].map(([name]) => values[name] || empty)];
  }

  function make(element) {
    const muted = css("--muted"), line = css("--line");
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const options = {
      width: Math.max(200, element.clientWidth), height: 150,
      padding: [8, 8, 0, 0],
      legend: { live: true },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: (_, min, max) => [Math.min(min, max - 120), max] },
        y: { range: (_, min, max) => [0, max == null || max <= 0 ? 1 : max * 1.1] },
      },
      axes: [
        { ...axis, size: 26, space: 70, values: (_, ticks) => ticks.map(clockOf) },
        { ...axis, size: 46, space: 32, values: (_, ticks) => ticks.map(number) },
      ],
      series: [
        { label: "", value: (_, at) => (at == null ? "" : clockOf(at)) },
        ...SERIES[element.dataset.kind].map(([, label, colour, dash]) => ({
          label, stroke: css(colour), width: dash ? 1.25 : 2, dash, points: { show: false }, value: (_, v) => number(v),
        })),
      ],
    };
    element.replaceChildren();
    return { element, plot: new uPlot(options, rows(element), element) };
  }

  function mount() {
    state.charts.forEach(({ plot }) => plot.destroy());
    state.charts = [...document.querySelectorAll(".chart")].map(make);
    const resize = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        const chart = state.charts.find(({ element }) => element === target);
        if (chart && contentRect.width > 0) chart.plot.setSize({ width: contentRect.width, height: 150 });
      }
    });
    state.charts.forEach(({ element }) => resize.observe(element));
  }

  function draw() {
    state.charts.forEach(({ element, plot }) => plot.setData(rows(element)));
  }

  async function load() {
    const answer = await fetch("/api/history");
    if (!answer.ok) return;
    const history = await answer.json();
    Object.assign(state, { names: history.series, t: history.t, domains: history.domains });
    if (state.charts.length) draw(); else mount();
  }

  function add({ t, domains }) {
    if (!state.names.length || t <= (state.t.at(-1) || 0)) return;
    const drop = state.t.length >= KEEP ? 1 : 0;
    for (const name of Object.keys(domains)) {
      if (!state.domains[name]) state.domains[name] = Object.fromEntries(state.names.map((s) => [s, state.t.map(() => null)]));
    }
    for (const [name, series] of Object.entries(state.domains)) {
      state.names.forEach((s, i) => { series[s] = [...series[s].slice(drop), domains[name] ? domains[name][i] : null]; });
    }
    state.t = [...state.t.slice(drop), t];
    draw();
  }

  function alive(yes) {
    const live = document.getElementById("live"), offline = document.getElementById("offline");
    live.dataset.state = yes ? "live" : "lost";
    const words = yes ? "live" : "not live";
    if (live.textContent !== words) live.textContent = words;
    offline.hidden = yes;
    if (!yes && !offline.textContent) {
      offline.textContent = `This page has heard nothing from the console since ${document.getElementById("clock").textContent} UTC. What you see is from then; it tries again by itself.`;
    }
    if (yes) offline.textContent = "";
  }

  document.addEventListener("htmx:sseBeforeMessage", ({ detail, target }) => {
    const event = target.getAttribute("sse-swap");
    if (event === "tick") {
      const tick = JSON.parse(detail.data);
      state.lastTick = performance.now();
      document.getElementById("clock").textContent = tick.at;
      alive(true);
      add(tick);
    } else if (event === "structure" && detail.data !== document.getElementById("domains").dataset.structure) {
      // Other domains than when the page was drawn: it takes new cards, without a reload.
      htmx.ajax("GET", "/", { target: "#domains", select: "#domains", swap: "outerHTML" }).then(mount);
    }
  });
  document.addEventListener("htmx:sseOpen", ({ target }) => { if (target === document.body) load(); });

  // The operator's dialog: a look, its confirmation, and the step as it goes on.
  const act = document.getElementById("act");
  function say(problem) {
    const line = document.getElementById("act-problem");
    line.textContent = problem;
    line.hidden = !problem;
    if (!act.open) act.showModal();
  }
  if (act) {
    document.addEventListener("htmx:afterSwap", ({ target }) => { if (target.id === "act-body") say(""); });
    document.addEventListener("htmx:responseError", ({ detail }) => {
      let problem = {};
      try { problem = JSON.parse(detail.xhr.responseText); } catch { /* no words of ours */ }
      say(problem.detail || problem.title || `The console answered ${detail.xhr.status}.`);
    });
    document.addEventListener("htmx:sendError", () => say("The console does not answer; whether the step began, the ledger says."));
    act.addEventListener("input", ({ target }) => {
      if (target.dataset.confirms) target.form.querySelector("[type=submit]").disabled = target.value.trim() !== target.dataset.confirms;
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", mount);
  setInterval(() => { if (performance.now() - state.lastTick > STALE) alive(false); }, 1000);
})();
