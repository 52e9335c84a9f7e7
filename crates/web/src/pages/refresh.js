// Replaces each element with data-refresh="PATH" by what PATH answers, every data-every milliseconds, and says
// when the server has gone. Waits while the page is hidden or the pointer rests on a marker.
(() => {
  const state = document.getElementById("refresh-state");
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const every = Number(part.dataset.every) || 2000;
    let lost = 0;
    const refresh = async () => {
      if (!document.hidden && !part.querySelector("svg g:hover")) {
        try {
          const answer = await fetch(part.dataset.refresh, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(10000) });
          if (!answer.ok) throw new Error(answer.status);
          part.innerHTML = await answer.text();
          lost = 0;
          state.textContent = "";
          state.classList.remove("lost");
        } catch (error) {
          lost += 1;
          if (lost > 1) {
            state.textContent = "no answer from the server: what you see is old";
            state.classList.add("lost");
          }
        }
      }
      setTimeout(refresh, every);
    };
    setTimeout(refresh, every);
  }
})();
