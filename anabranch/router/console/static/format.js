// Numbers as people read them; what is not known is a dash.

export const NONE = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function digits(value) {
  const size = Math.abs(value);
  return size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2;
}

export const plain = (value) => (known(value) ? value.toFixed(digits(value)) : NONE);

export const short = (value) => (known(value) ? String(Number(value.toPrecision(4))) : NONE);

export function rate(value) {
  if (!known(value)) return NONE;
  return value >= 1000 ? `${plain(value / 1000)}k/s` : `${plain(value)}/s`;
}

export function duration(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds === 0) return "0 ms";
  if (Math.abs(seconds) < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return Math.abs(seconds) < 1 ? `${plain(seconds * 1000)} ms` : `${plain(seconds)} s`;
}

export function percent(share) {
  if (!known(share)) return NONE;
  const value = share * 100;
  return `${value === 0 || value === 100 ? value : value < 1 ? value.toPrecision(2) : plain(value)} %`;
}

export const percents = (value) => (known(value) ? `${Number(value.toPrecision(4))} %` : NONE);

// How long something lasts: 12 s, 3 min, 2 h.
export function span(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

// A time of day, with its date where it is not of today; `at` is a Date.
export const when = (at) =>
  (at.toDateString() === new Date().toDateString() ? TIME : DAY).format(at);
// The time of day of a chart's axis; `at` is in milliseconds.
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
export const clock = (at, withSeconds = false) => (withSeconds ? TIME : MINUTE).format(at);

export const whole = (at) => DAY.format(at);
