// Completes the expression in each textarea with data-complete="PATH"; Enter runs the form, Shift+Enter is a new line.
(() => {
  for (const area of document.querySelectorAll("textarea[data-complete]")) {
    const list = document.createElement("ul");
    list.className = "completions";
    list.hidden = true;
    list.id = `${area.id}-list`;
    list.setAttribute("role", "listbox");
    area.after(list);
    area.setAttribute("aria-controls", list.id);
    area.setAttribute("aria-autocomplete", "list");
    let answer = null, chosen = -1, asked = 0, timer = 0;
    const hide = () => { list.hidden = true; chosen = -1; answer = null; area.removeAttribute("aria-activedescendant"); };
    const mark = (index) => {
      chosen = index;
      [...list.children].forEach((item, at) => item.setAttribute("aria-selected", at === index));
      if (index >= 0) { list.children[index].scrollIntoView({ block: "nearest" }); area.setAttribute("aria-activedescendant", list.children[index].id); }
    };
    const take = (index) => {
      const { from, to, proposals } = answer, { text, kind } = proposals[index];
      const inserted = kind === "function" || kind === "aggregation" ? `${text}(` : text;
      area.setRangeText(inserted, from, to, "end");
      area.focus();
      hide();
      size();
    };
    const size = () => { area.style.height = "auto"; area.style.height = `${area.scrollHeight + 2}px`; };
    const ask = async () => {
      const mine = ++asked, at = area.selectionStart;
      try {
        const reply = await fetch(`${area.dataset.complete}?${new URLSearchParams({ expr: area.value, at })}`);
        if (!reply.ok) return;
        const found = await reply.json();
        if (mine !== asked || document.activeElement !== area) return;
        answer = found;
        list.replaceChildren(...found.proposals.map(({ text, kind, detail }, index) => {
          const item = document.createElement("li");
          item.id = `${list.id}-${index}`;
          item.setAttribute("role", "option");
          const name = document.createElement("code"), note = document.createElement("span");
          name.textContent = text;
          note.textContent = `${kind} ${detail}`;
          item.append(name, note);
          item.addEventListener("mousedown", (event) => { event.preventDefault(); take(index); });
          return item;
        }));
        list.hidden = found.proposals.length === 0;
        mark(-1);
      } catch { hide(); }
    };
    area.addEventListener("input", () => { size(); clearTimeout(timer); timer = setTimeout(ask, 120); });
    area.addEventListener("blur", hide);
    area.addEventListener("keydown", (event) => {
      const open = !list.hidden, count = list.children.length;
      if (event.key === " " && event.ctrlKey) { event.preventDefault(); ask(); }
      else if (open && event.key === "ArrowDown") { event.preventDefault(); mark((chosen + 1) % count); }
      else if (open && event.key === "ArrowUp") { event.preventDefault(); mark((chosen + count - 1) % count); }
      else if (open && event.key === "Escape") { event.preventDefault(); hide(); }
      else if (open && event.key === "Tab" && !event.shiftKey) { event.preventDefault(); take(Math.max(chosen, 0)); }
      else if (open && event.key === "Enter" && chosen >= 0) { event.preventDefault(); take(chosen); }
      else if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); area.form.requestSubmit(); }
    });
    size();
  }
})();
