// Keeps an open page true: takes the sections that have changed and puts them into their places.
"use strict";

(() => {
  const page = document.body.dataset.live;
  if (!page || !window.EventSource) return;
  const lost = document.getElementById("lost");
  let source = null;
  let timer = 0;

  // Makes `now` equal to `next` by changing as little as possible: focus, selection and a bar that
  // is moving stay what they are.
  function adapt(now, next) {
    if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) {
      now.replaceWith(next.cloneNode(true));
      return;
    }
    if (now.nodeType === Node.TEXT_NODE) {
      if (now.data !== next.data) now.data = next.data;
      return;
    }
    for (const { name } of [...now.attributes]) {
      if (!next.hasAttribute(name)) now.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    }
    const wanted = [...next.childNodes];
    wanted.forEach((child, at) => {
      const there = now.childNodes[at];
      if (!there) {
        now.append(child.cloneNode(true));
        return;
      }
      // a row that has gone from the front must not turn all others into something else
      if (child.id && there.id !== child.id) {
        const moved = [...now.children].find((one) => one.id === child.id);
        if (moved) now.insertBefore(moved, there);
        else now.insertBefore(child.cloneNode(true), there);
        if (moved) adapt(moved, child);
        return;
      }
      adapt(there, child);
    });
    while (now.childNodes.length > wanted.length) now.lastChild.remove();
  }

  function take(event) {
    lost.hidden = true;
    clearTimeout(timer);
    timer = 0;
    const sections = JSON.parse(event.data);
    for (const [name, html] of Object.entries(sections)) {
      const there = document.getElementById(name);
      const made = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
      if (there && made) adapt(there, made);
    }
  }

  function begin() {
    if (source) return;
    source = new EventSource(`/live?page=${encodeURIComponent(page)}`);
    source.addEventListener("sections", take);
    source.addEventListener("error", () => {
      timer ||= setTimeout(() => { lost.hidden = false; }, 3000);
      if (source && source.readyState === EventSource.CLOSED) {
        end();
        setTimeout(() => { if (!document.hidden) begin(); }, 10000);
      }
    });
  }

  function end() {
    if (source) source.close();
    source = null;
  }

  // a browser opens only so many connections to one host: hidden tabs leave theirs to others
  document.addEventListener("visibilitychange", () => { if (document.hidden) end(); else begin(); });
  window.addEventListener("pagehide", end);
  window.addEventListener("pageshow", () => { if (!document.hidden) begin(); });
  begin();
})();
