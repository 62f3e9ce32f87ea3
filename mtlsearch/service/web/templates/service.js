"use strict";
// Fetches the cards of searches that change, and the log that is shown; the server draws all of them.
(() => {
  const due = new Set();
  const shown = [...document.querySelectorAll(".card")].map((card) => Number(card.id.replace("search-", "")));
  const newest = Math.max(0, ...shown);
  let busy = false;

  async function text(url) {
    const answer = await fetch(url, { headers: { accept: "text/html" } });
    return answer.ok ? answer.text() : null;
  }

  async function renew() {
    if (busy || due.size === 0) return;
    busy = true;
    const ids = [...due];
    due.clear();
    for (const id of ids) {
      const card = document.getElementById(`search-${id}`);
      if (card) {
        const now = await text(`/searches/${id}/card${document.body.querySelector("#log") ? "?whole=1" : ""}`);
        const holds = card.contains(document.activeElement) ? document.activeElement.dataset.key : null;
        if (now !== null) card.outerHTML = now;
        if (holds) document.querySelector(`#search-${id} [data-key="${holds}"]`)?.focus();
        const log = document.getElementById("log");
        const lines = log && (await text(`/api/v1/searches/${id}/log?lines=40`));
        if (log && lines !== null) {
          log.textContent = lines;
          log.scrollTop = log.scrollHeight;
        }
      } else if (document.getElementById("news") && id > newest && !location.search) {
        document.getElementById("news").hidden = false;
      }
    }
    busy = false;
  }

  const log = document.getElementById("log");
  if (log) log.scrollTop = log.scrollHeight;
  const stream = new EventSource("/events");
  stream.addEventListener("changed", (event) => due.add(JSON.parse(event.data)));
  setInterval(renew, 1000);
})();
