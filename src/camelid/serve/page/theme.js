// Runs before the first paint (no module), so that a chosen theme does not flash.
(() => {
  try {
    const theme = localStorage.getItem("camelid.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is blocked: the system's colours
  }
})();
