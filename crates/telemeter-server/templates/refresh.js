// Refreshes the numbers of a page in place. The server makes the page again; what differs is taken over. Without this
// script, everything works, and is as old as the page.
"use strict";
(() => {
  const EVERY_MS = 15000;
  const stamp = document.getElementById("stamp");
  const main = document.getElementById("main");
  if (!stamp || !main) return;
  let busy = false;

  // Makes `old` like `made`, and leaves alone what is equal: focus, selection and open details stay.
  const takeOver = (old, made) => {
    if (old.nodeType !== made.nodeType || old.nodeName !== made.nodeName) {
      old.replaceWith(document.importNode(made, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== made.nodeValue) old.nodeValue = made.nodeValue;
      return;
    }
    // What is being typed is not ours.
    if (old.nodeName === "FORM") return;
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !made.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of made.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const before = [...old.childNodes];
    const after = [...made.childNodes];
    before.slice(after.length).forEach((node) => node.remove());
    after.forEach((node, at) => {
      if (at < before.length) takeOver(before[at], node);
      else old.append(document.importNode(node, true));
    });
  };

  const refresh = async () => {
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, {
        headers: { accept: "text/html" },
        cache: "no-store",
        signal: AbortSignal.timeout(EVERY_MS),
      });
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [newMain, newStamp] = [made.getElementById("main"), made.getElementById("stamp")];
      if (!newMain || !newStamp) throw new Error("not a page of ours");
      takeOver(main, newMain);
      takeOver(stamp, newStamp);
    } catch {
      stamp.classList.add("failed");
      stamp.title = "The server did not answer when this page was to be refreshed. It is tried again.";
    } finally {
      busy = false;
    }
  };

  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
})();
