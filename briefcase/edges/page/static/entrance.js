// A link that names no session goes on to the one that this browser has, if it has one.
"use strict";

try {
  const base = localStorage.getItem("briefcase-base");
  if (base && /^\/ui\/[\w-]{22}$/.test(base)) {
    localStorage.removeItem("briefcase-base"); // the page that it leads to keeps it again
    location.replace(base + (location.pathname.slice("/ui".length) || "/approvals"));
  }
} catch {
  // a browser that keeps nothing for this page
}
