// Resumes a video where it stopped, and reports the position every ten seconds, at a pause and when the page is left.
const video = document.querySelector("video.video");
if (video) {
  const { start, positionUrl, formToken } = video.dataset;
  if (start) video.addEventListener("loadedmetadata", () => { video.currentTime = Number(start); }, { once: true });
  if (positionUrl) {
    let reported = Number(start || 0);
    const report = () => {
      const seconds = Math.floor(video.currentTime);
      if (seconds === reported) return;
      reported = seconds;
      const body = new URLSearchParams({ seconds, form_token: formToken });
      fetch(positionUrl, { method: "POST", body, keepalive: true }).catch(() => {});
    };
    video.addEventListener("timeupdate", () => { if (Math.abs(video.currentTime - reported) >= 10) report(); });
    video.addEventListener("pause", report);
    document.addEventListener("visibilitychange", () => { if (document.hidden) report(); });
  }
}
