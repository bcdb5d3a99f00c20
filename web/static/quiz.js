// Counts down the time of an attempt, and submits the answers when it is over. The server decides by its own clock.
const timer = document.querySelector("[data-seconds-left]");
if (timer) {
  const shown = timer.querySelector("b");
  const end = performance.now() + Number(timer.dataset.secondsLeft) * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    shown.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (left > 0) { setTimeout(tick, 500); return; }
    timer.closest("form").submit(); // without a check of the fields: what is answered by now counts
  };
  tick();
}
