"use strict";
// The reader's questions to the trials: requirements, a choice, weights, and a point that is picked. Nothing is fetched.
(() => {
  const section = document.getElementById("front");
  if (!section) return;
  const { tasks, trials, ...words } = JSON.parse(document.getElementById("trials").textContent);
  const plot = section.querySelector(".plot");
  const inputs = (kind) => [...section.querySelectorAll(`input[data-${kind}]`)];
  const choice = section.querySelector("#choice");
  const axes = [...section.querySelectorAll("select[data-axis]")];
  const answer = section.querySelector("#answer");
  const command = section.querySelector("#export");
  const better = (task, value) => (tasks[task].higher ? value : -value);
  const shown = (task, value) => `${(value * tasks[task].scale).toFixed(tasks[task].scale === 100 ? 2 : 4)}${tasks[task].unit}`;
  let picked = null;

  // Whether a trial is as good as another everywhere and better somewhere.
  function beats(one, other) {
    const pairs = tasks.map((_, t) => [better(t, one.values[t]), better(t, other.values[t])]);
    return pairs.every(([a, b]) => a >= b) && pairs.some(([a, b]) => a > b);
  }

  // The same as mtlsearch/study/front.py, `nearest`.
  function nearest(meeting, weights) {
    const front = meeting.filter((trial) => !meeting.some((other) => beats(other, trial)));
    const ends = tasks.map((_, t) => front.map((trial) => better(t, trial.values[t])));
    const low = ends.map((values) => Math.min(...values)), high = ends.map((values) => Math.max(...values));
    const far = (trial) => {
      const short = tasks.map((_, t) => {
        const value = better(t, trial.values[t]);
        const share = high[t] > low[t] ? (value - low[t]) / (high[t] - low[t]) : Number(value >= high[t]);
        return (1 - share) * weights[t];
      });
      return Math.max(...short) + 1e-3 * short.reduce((a, b) => a + b) / short.length;
    };
    return meeting.reduce((best, trial) => (far(trial) < far(best) ? trial : best));
  }

  function chosen(meeting) {
    if (choice.value === "score") return meeting.reduce((best, t) => (t.score > best.score ? t : best));
    if (choice.value === "prefer") {
      const given = inputs("weight").map((input) => Number(input.value)), total = given.reduce((a, b) => a + b);
      return nearest(meeting, given.map((weight) => (total ? weight / total : 1)));
    }
    const task = Number(choice.value);
    return meeting.reduce((best, t) => (better(task, t.values[task]) > better(task, best.values[task]) ? t : best));
  }

  function nobody(due) {
    const unmet = tasks.flatMap((task, t) => {
      if (trials.some((trial) => better(t, trial.values[t]) >= better(t, due[t]))) return [];
      return [`nobody reaches ${task.name} ${task.higher ? "≥" : "≤"} ${shown(t, due[t])}`];
    });
    return `No trial of ${trials.length} meets the requirements: ${unmet.join("; ") || "each is met by some trial, but by none all together"}.`;
  }

  function tell() {
    const due = inputs("least").map((input, t) => tasks[t].higher ? Number(input.value) : -Number(input.value));
    inputs("least").forEach((input, t) => {
      const free = input.value === input.min;
      input.nextElementSibling.value = free ? "any" : `${tasks[t].higher ? "≥" : "≤"} ${shown(t, due[t])}`;
    });
    inputs("weight").forEach((input) => (input.nextElementSibling.value = input.value));
    section.classList.toggle("prefers", choice.value === "prefer");
    // A slider has steps; a value within half a step of its least is met by every trial.
    const meets = (trial) => inputs("least").every((input, t) =>
      input.value === input.min || better(t, trial.values[t]) >= better(t, due[t]));
    const meeting = trials.filter(meets);
    const found = picked ?? (meeting.length ? chosen(meeting) : null);
    if (found) {
      const reached = tasks.map((task, t) => `${task.name} ${shown(t, found.values[t])}`).join(", ");
      const why = picked ? "picked" : `of ${meeting.length} of ${trials.length} trials that meet the requirements`;
      answer.textContent = `Trial ${found.number}: ${reached} (${why}; one seed, on validation)`;
      command.textContent = `${words.confirm} --trial ${found.number}\n${words.export} --trial ${found.number} -o trial-${found.number}.json`;
    } else {
      answer.textContent = nobody(due);
      command.textContent = "";
    }
    draw(meets, found);
  }

  function draw(meets, found) {
    if (!plot.dataset.drawn) return;
    const [x, y] = axes.length ? axes.map((axis) => Number(axis.value)) : [0, 1];
    const at = (list, t) => list.map((trial) => trial.values[t] * tasks[t].scale);
    const front = trials.filter((trial) => trial.front).sort((a, b) => a.values[x] - b.values[x]);
    const star = found ? [found] : [];
    Plotly.restyle(plot, { "marker.opacity": [trials.map((trial) => (meets(trial) ? 0.85 : 0.15))] }, [0]);
    Plotly.restyle(plot, { x: [at(trials, x), at(front, x), at(star, x)], y: [at(trials, y), at(front, y), at(star, y)] }, [0, 1, 2]);
    if (axes.length) Plotly.relayout(plot, { "xaxis.title.text": tasks[x].title, "yaxis.title.text": tasks[y].title, "xaxis.autorange": true, "yaxis.autorange": true });
  }

  function listen() {
    if (!plot.dataset.drawn) return setTimeout(listen, 50); // page.js draws it
    plot.on("plotly_click", ({ points: [point] }) => {
      const number = point.customdata;
      picked = trials.find((trial) => trial.number === number) ?? null;
      tell();
    });
    tell();
  }

  for (const each of section.querySelectorAll("input, select")) {
    each.addEventListener("input", () => {
      if (each !== axes[0] && each !== axes[1]) picked = null;
      tell();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(tell, 500));
  tell();
  listen();
})();
