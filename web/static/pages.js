// The number on the bell. The notification stream says when it changes; without the stream it is asked for now and then,
// and without this script it is that of the time the page was loaded.
const bell = document.querySelector(".bell[data-unread]");
if (bell) {
  const count = bell.querySelector(".count");
  const every = 60_000;
  const later = () => setTimeout(listen, 10_000 + Math.random() * 20_000); // not all browsers at once after a restart
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
  const listen = async () => {
    try {
      const headers = { "X-Form-Token": bell.dataset.formToken };
      const answer = await fetch(bell.dataset.ticket, { method: "POST", headers });
      if (!answer.ok) return;
      const { url } = await answer.json();
      const stream = new EventSource(url);
      stream.addEventListener("notification", update);
      stream.addEventListener("error", () => { stream.close(); later(); }); // a ticket opens one stream
    } catch {
      later();
    }
  };
  setInterval(update, every);
  document.addEventListener("visibilitychange", update);
  setTimeout(listen, 2_000); // a page that is left at once needs no stream
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
