// The number on the bell, while the page is visible. Without this script it is that of the time the page was loaded.
const bell = document.querySelector(".bell[data-unread]");
if (bell) {
  const every = 20_000;
  const count = bell.querySelector(".count");
  const update = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(bell.dataset.unread, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const { unread } = await answer.json();
      if (count.textContent !== String(unread)) count.textContent = unread;
      count.hidden = unread === 0;
    } catch {
      // Offline: the next interval tries again.
    }
  };
  setInterval(update, every);
  document.addEventListener("visibilitychange", update);
}
// A menu closes when something else is clicked, or with Escape.
for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
  });
}
// On a small screen lists of filters and lessons start closed.
if (matchMedia("(max-width: 52rem)").matches) {
  for (const list of document.querySelectorAll("details.filters, details.lesson-list")) list.open = false;
}
