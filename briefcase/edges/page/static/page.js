// What the page does beyond its forms: it stays live, and takes keys. Nothing here decides anything by itself.
"use strict";

const base = document.body.dataset.base;
const article = document.querySelector("[data-approval]");
const ARMED_AFTER_MS = 400; // a key that was meant for the page before this one does nothing here

try {
  localStorage.setItem("briefcase-base", base); // this origin's alone: a link without the session's place finds it
} catch {
  // a browser that keeps nothing for this page: such links ask for a log-in
}

// --- live: what waits, and whether the call that is shown is still what it was ------------------------------------

let events = null;

function follow() {
  events?.close();
  events = null;
  if (document.hidden || !(document.getElementById("list") || article)) {
    return; // a browser has six connections to one server: those of tabs that nobody looks at are given back
  }
  events = new EventSource(`${base}/events`);
  events.addEventListener("changed", (event) => {
    const list = document.getElementById("list");
    if (list && list.dataset.state !== event.data) {
      htmx.trigger(list, "changed");
    } else if (article) {
      checkShown();
    }
  });
  events.addEventListener("over", () => {
    events.close();
    location.reload();
  });
}

document.addEventListener("visibilitychange", follow);
follow();

async function checkShown() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  const digest = (page) => page.querySelector("[name=shown_digest_hex]")?.value;
  const changed = document.getElementById("changed");
  if (answer.ok && digest(now) !== digest(document) && changed) {
    changed.hidden = false;
    document.getElementById("approve")?.setAttribute("disabled", "");
  }
}

document.addEventListener("htmx:after:swap", () => {
  const list = document.getElementById("list");
  if (list) {
    document.title = list.dataset.title;
  }
});

// --- keys: j k through what waits, a yes, d no ---------------------------------------------------------------------

let hasReadAll = false;
const end = document.getElementById("end");
if (end) {
  new IntersectionObserver((entries) => {
    hasReadAll ||= entries.some((entry) => entry.isIntersecting);
  }).observe(end);
}

function step(by) {
  const cards = [...document.querySelectorAll("#list .card")];
  if (cards.length) {
    const at = cards.indexOf(document.activeElement);
    cards[Math.min(Math.max(at + by, 0), cards.length - 1)].focus();
  } else if (article && by > 0 && article.dataset.next) {
    location.assign(article.dataset.next);
  } else if (article && by < 0) {
    location.assign(`${base}/approvals`);
  }
}

function press(id) {
  const button = document.getElementById(id);
  if (button && !button.disabled && !button.hidden && performance.now() > ARMED_AFTER_MS) {
    button.click();
  }
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping) {
    return;
  }
  if (event.key === "j") {
    step(1);
  } else if (event.key === "k") {
    step(-1);
  } else if (event.key === "d") {
    press("deny");
  } else if (event.key === "a") {
    if (hasReadAll) {
      press(document.getElementById("approve") ? "approve" : "passkey-yes");
    } else if (end) {
      scrollBy({ top: innerHeight * 0.9 });
    }
  }
});
