/* Opens one page of ours, /patrol or /report as this worker's scope says, where there is no network.

The service writes RELEASE before this: {mark, files, pages, headers}. Pages are those that nobody in particular sees. The
files of a release have addresses of their own, so no page runs with the scripts of another. Nothing else is kept: every
other request goes its way. */
const PATIENCE_MS = 4000, NO_ANSWER = [502, 503, 504];
const {pathname} = new URL(registration.scope);
const KEPT = `gis-grid ${pathname} `, RELEASED = KEPT + RELEASE.mark;

/* All files or none: without them the worker is not installed, and the one before goes on. */
const keep = async () => {
  await (await caches.open(RELEASED)).addAll(RELEASE.files);
  await skipWaiting();
};

/* The release before this one stays, for a page of it that is loading. */
const forget = async () => {
  const before = (await caches.keys()).filter((name) => name.startsWith(KEPT) && name !== RELEASED);
  await Promise.all(before.slice(0, -1).map((name) => caches.delete(name)));
};

const keptPage = () => new Response(RELEASE.pages[pathname], {headers: RELEASE.headers});

const openPage = async (request) => {
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  try {
    const response = await Promise.race([fetch(request), patience]);
    return !response || NO_ANSWER.includes(response.status) ? keptPage() : response;
  } catch {
    return keptPage();
  }
};

const fileOf = async (request) => (await caches.match(request, {ignoreVary: true})) ?? fetch(request);

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(forget()));
addEventListener("fetch", (event) => {
  const {request} = event, url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (request.mode === "navigate" && url.pathname === pathname) event.respondWith(openPage(request));
  else if (url.pathname.startsWith("/static/@")) event.respondWith(fileOf(request));
});
