"use strict";
// Light or dark: as the system says, until the button is pressed; the choice is kept if it may be.

const KEY = "semaim-leaderboard-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const toggle = document.getElementById("theme");

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // a page opened from a file may have no storage
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : system.matches;
}

function themeChanged() {
  toggle.textContent = isDark() ? "Light theme" : "Dark theme";
  document.dispatchEvent(new Event("theme"));
}

if (["light", "dark"].includes(stored())) document.documentElement.dataset.theme = stored();
toggle.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(KEY, document.documentElement.dataset.theme);
  } catch {
    // see stored
  }
  themeChanged();
});
system.addEventListener("change", themeChanged);
themeChanged();
