/* Messages of the scripts: written in Chinese, told in the language of the page. */
const english = JSON.parse(document.getElementById("messages").textContent);

export const t = (message, values = {}) =>
  (english[message] ?? message).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

export const dayAndTime = (at) => new Date(at).toLocaleString(document.documentElement.lang, {month: "numeric", day: "numeric", hour: "2-digit", minute: "2-digit"});

/* An element with text and children; text never becomes HTML. */
export const make = (tag, {className, text, ...rest} = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), rest);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
};

/* randomUUID exists over https only; this page also serves plain http inside an office. */
export const newId = () => {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
};
