/* Numbers for everybody, made new when cases go on; not at each step, and not by all open pages at one moment. */
import {follow} from "./stream.js";

const AFTER_MS = 8000, SPREAD_MS = 4000;
let timer;

const renew = async () => {
  timer = undefined;
  try {
    const answer = await fetch(location.pathname + location.search, {headers: {Accept: "text/html"}, cache: "no-store"});
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll(".live")) {
      const made = page.getElementById(part.id);
      // Whoever is choosing just now is not disturbed.
      if (made && !part.contains(document.activeElement)) part.replaceChildren(...made.childNodes);
    }
  } catch {
    // The next step of a case asks again.
  }
};

const soon = () => {
  timer ??= setTimeout(renew, AFTER_MS + Math.random() * SPREAD_MS);
};

follow({onCase: soon, onReload: soon});
