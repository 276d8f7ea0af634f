/* Opening a page where there is no network: the worker that does it, and whose page it was. */
const KEPT = "gis-grid-patrol", SIGN_IN = /(?:^|; )gis_grid_sign_in=([^;]+)/;

/* Whether the workers that open these pages without a network, in this page's language, are there; the first is this page's. */
export const keepPages = async (...scopes) => {
  const worker = `/worker.js?lang=${document.documentElement.lang.slice(0, 2)}`;
  try {
    const found = await Promise.all(scopes.map((scope) => navigator.serviceWorker.register(worker, {scope})));
    for (const one of found) if (one.active) one.update().catch(() => {});  // at once, rather than when the browser sees fit
    return await isActive(found[0]);
  } catch {
    return false;  // plain http, a private window, a certificate that is not trusted
  }
};

const isActive = ({active, installing, waiting}) => Boolean(active) || new Promise((resolve) => {
  const worker = installing ?? waiting;
  worker.addEventListener("statechange", () => {
    if (worker.state === "activated") resolve(true);
    else if (worker.state === "redundant") resolve(false);
  });
});

/* The setup that a page was served with is kept for as long as this sign-in lasts in this browser: signing out, or in as
   somebody else, changes the mark. A page opened without a network, which knows nobody, takes it from there, with `keptAt`.
   `isKept` tells whether it can. */
export const setupOf = (served) => {
  const mark = SIGN_IN.exec(document.cookie)?.[1];
  try {
    if (served.who) {
      if (mark) localStorage.setItem(KEPT, JSON.stringify({mark, setup: {...served, keptAt: Date.now()}}));
      else localStorage.removeItem(KEPT);
      return {...served, isKept: Boolean(mark)};
    }
    const kept = JSON.parse(localStorage.getItem(KEPT));
    if (mark && kept?.mark === mark) return {...kept.setup, isKept: true};
    localStorage.removeItem(KEPT);
  } catch {
    // no storage, or no room in it: then it is not kept
  }
  return {...served, isKept: false};
};
