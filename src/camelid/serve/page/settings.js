// What a person has chosen, kept from visit to visit.
const STORED = "camelid.settings";

const DEFAULTS = {
  theme: "auto",
  modelA: "",
  modelB: "",
  compare: false,
  blind: true,
  system: "",
  sampling: { a: {}, b: {} },
  sidebar: true,
};

export const settings = { ...DEFAULTS, ...read() };

function read() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    const known = Object.entries(stored).filter(([name, value]) => name in DEFAULTS && typeof value === typeof DEFAULTS[name]);
    return Object.fromEntries(known);
  } catch {
    return {}; // blocked, or not ours any more
  }
}

export function keep(changes) {
  Object.assign(settings, changes);
  try {
    localStorage.setItem(STORED, JSON.stringify(settings));
    localStorage.setItem("camelid.theme", settings.theme); // theme.js reads it before the first paint
  } catch {
    // blocked or full: the choice holds until the page is left
  }
}

/** The fields of a request that a side's sampling sets; "auto" sends nothing. */
export function samplingFields(side) {
  const { stop, ...numbers } = settings.sampling[side] ?? {};
  const fields = Object.fromEntries(Object.entries(numbers).filter(([, value]) => Number.isFinite(value)));
  const stops = (stop ?? "").split("\n").filter((line) => line !== "").slice(0, 16);
  return stops.length ? { ...fields, stop: stops } : fields;
}
