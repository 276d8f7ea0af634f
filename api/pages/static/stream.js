/* Changes of cases as they happen. A page nobody looks at holds no connection: browsers have only a few for one server. */
const AGAIN_MS = 3000;

export const follow = ({onCase, onReload, onState}) => {
  let source, timer, wasLost = false;
  const open = () => {
    source = new EventSource("/api/v1/events");
    source.addEventListener("case", (event) => onCase(JSON.parse(event.data)));
    source.addEventListener("reload", () => onReload());
    source.addEventListener("open", () => {
      onState?.(true);
      if (wasLost) onReload();
      wasLost = false;
    });
    source.addEventListener("error", () => {
      wasLost = true;
      onState?.(false);
      // The browser tries again by itself unless it was refused.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    });
  };
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = undefined;
    wasLost = true;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") close();
    else if (!source) open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && !source && open());
  if (document.visibilityState !== "hidden") open();
};
