// Keeps the page current: when the server says that something changed, the main part is fetched again and put in place.
// The page says all it has to say without me.
"use strict";

const EVERY_MS = 10000; // Endpoints change in the cluster, of which the server does not tell.
const SOONEST_MS = 300;
let waiting = false;

// Addresses that the kfp SDK prints, such as /#/runs/details/ID.
const details = location.hash.match(/^#\/runs\/details\/([\w-]+)/);
if (location.pathname === "/" && details) {
  location.replace("/runs/" + details[1]);
}

function say(text) {
  const live = document.getElementById("live");
  if (live.textContent !== text) {
    live.textContent = text;
  }
}

async function refresh() {
  waiting = false;
  if (document.hidden) {
    return;
  }
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) {
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
    const shown = document.getElementById("main");
    if (fresh && fresh.innerHTML !== shown.innerHTML) {
      const focused = shown.contains(document.activeElement) ? document.activeElement.href : "";
      shown.replaceWith(fresh);
      [...fresh.querySelectorAll("a")].find((link) => link.href === focused)?.focus();
    }
    say("");
  } catch {
    say("Lightship does not answer. This page goes on when it is back.");
  }
}

function soon() {
  if (!waiting) {
    waiting = true;
    setTimeout(refresh, SOONEST_MS);
  }
}

const events = new EventSource("/events");
events.addEventListener("changed", soon);
events.addEventListener("open", soon);
document.addEventListener("visibilitychange", soon);
setInterval(soon, EVERY_MS);
