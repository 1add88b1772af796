// Case studies: which problems are listed, and where two answers first differ. What models wrote is
// set as text and never as markup.
"use strict";
(() => {
  const STEP = 5; // problems that are listed at once
  const WORD = /[\p{L}\p{N}_.,]/u;

  const element = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  // Where b first differs from a, moved to the beginning of the word or number it is in.
  const divergence = (a, b) => {
    let at = 0;
    while (at < a.length && at < b.length && a[at] === b[at]) at += 1;
    if (at === a.length && at === b.length) return -1;
    while (at > 0 && WORD.test(a[at - 1]) && (WORD.test(a[at] ?? "") || WORD.test(b[at] ?? ""))) at -= 1;
    return at;
  };

  const marked = (text, at) => {
    const body = element("pre", "text");
    if (at < 0) {
      body.append(text);
      return body;
    }
    let end = at;
    while (end < text.length && WORD.test(text[end])) end += 1;
    if (end === at && end < text.length) end += text.codePointAt(end) > 0xffff ? 2 : 1;
    const mark = element("mark", "", text.slice(at, end) || "ends here");
    if (at === text.length) mark.classList.add("end");
    body.append(element("span", "same", text.slice(0, at)), mark, text.slice(end));
    return body;
  };

  const answerBox = (row, answer, other) => {
    const verdict = element("span", answer.correct ? "right" : "wrong", answer.correct ? "right" : "wrong");
    const said = answer.said ? `, read as ${answer.said}` : answer.reason ? "" : ", no answer found";
    const head = element("h5", "", element("b", "", row), " ", verdict, element("span", "said", said));
    const at = other === null ? -1 : divergence(other.text, answer.text);
    const box = element("article", "answer", head, marked(answer.text, at));
    if (answer.left_out) box.append(element("p", "note", `${answer.left_out} more characters`));
    if (answer.reason) box.append(element("p", "note", `not asked: ${answer.reason}`));
    if (other !== null && at < 0) box.append(element("p", "note", "the same text"));
    return box;
  };

  const card = (data, found, first, second) => {
    const item = element("li", "case");
    item.append(element("h4", "", `${data.sets[found.task]}, problem ${found.index}`));
    if (found.question) item.append(element("p", "question", found.question));
    item.append(element("p", "gold", element("span", "", "Answer "), element("b", "", found.gold)));
    const [a, b] = [found.answers[first], found.answers[second]];
    const pair = element("div", "pair", answerBox(data.rows[first], a, first === second ? null : b));
    if (first !== second) pair.append(answerBox(data.rows[second], b, a));
    item.append(pair);
    const others = data.rows.map((_, row) => row).filter((row) => row !== first && row !== second);
    if (others.length) {
      const right = others.filter((row) => found.answers[row].correct).length;
      const more = element("details", "");
      const title = `The other ${others.length} rows (${right} right), vs. ${data.rows[first]}`;
      more.append(element("summary", "", title));
      more.addEventListener("toggle", () => {
        if (more.querySelector(".pair")) return;
        const boxes = others.map((row) => answerBox(data.rows[row], found.answers[row], a));
        more.append(element("div", "pair", ...boxes));
      });
      item.append(more);
    }
    return item;
  };

  const sum = (values) => values.reduce((total, value) => total + value, 0);

  const start = (section) => {
    const data = JSON.parse(document.getElementById(section.dataset.cases).textContent);
    const form = section.querySelector("form");
    const list = section.querySelector(".list");
    const more = section.querySelector(".more");
    const status = section.querySelector(".count");
    const texts = data.cases.map((found) => [
      found.question, found.gold, ...found.answers.map((answer) => answer.text),
    ].join("\n").toLowerCase());
    let chosen = [];
    let shown = 0;

    const state = () => ({
      first: Number(form.elements.first.value),
      second: Number(form.elements.second.value),
      task: form.elements.task.value,
      which: form.elements.which.value,
      text: form.elements.text.value.trim().toLowerCase(),
    });
    const kinds = {
      gained: ([a, b]) => !a.correct && b.correct,
      lost: ([a, b]) => a.correct && !b.correct,
      right: ([a, b]) => a.correct && b.correct,
      wrong: ([a, b]) => !a.correct && !b.correct,
      all: () => true,
    };
    // Of all problems, also those that are not on this page.
    const counts = ({ first, second, task }) => {
      const tasks = task ? [task] : Object.keys(data.sets);
      const gained = sum(tasks.map((key) => data.split[key][first][second]));
      const lost = sum(tasks.map((key) => data.split[key][second][first]));
      const right = sum(tasks.map((key) => data.right[key][first])) - lost;
      const all = sum(tasks.map((key) => data.totals[key]));
      return { gained, lost, right, wrong: all - gained - lost - right, all };
    };
    const add = () => {
      const { first, second } = state();
      const next = chosen.slice(shown, shown + STEP);
      list.append(...next.map((found) => card(data, found, first, second)));
      shown += next.length;
      more.hidden = shown >= chosen.length;
      more.textContent = `Show ${Math.min(STEP, chosen.length - shown)} more`;
    };
    const update = () => {
      const now = state();
      const total = counts(now);
      const [a, b] = [data.rows[now.first], data.rows[now.second]];
      const words = {
        gained: `${a} wrong, ${b} right`, lost: `${a} right, ${b} wrong`, right: "both right",
        wrong: "both wrong", all: "all",
      };
      for (const radio of form.elements.which) {
        const label = radio.nextElementSibling;
        label.replaceChildren(`${words[radio.value]} `, element("b", "", String(total[radio.value])));
      }
      const here = data.cases.filter((found) => (
        (!now.task || found.task === now.task)
        && kinds[now.which]([found.answers[now.first], found.answers[now.second]])
      ));
      chosen = now.text ? here.filter((found) => texts[data.cases.indexOf(found)].includes(now.text)) : here;
      const problems = total[now.which] === 1 ? "problem" : "problems";
      const parts = [`${total[now.which]} ${problems}`];
      if (here.length < total[now.which]) parts.push(`${here.length} of them on this page`);
      if (now.text) parts.push(`${chosen.length} with “${form.elements.text.value.trim()}”`);
      status.textContent = `${parts.join(", ")}.`;
      list.replaceChildren();
      shown = 0;
      add();
    };

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    // What is listed first is the first that there is any of.
    const found = counts(state());
    form.elements.which.value = Object.keys(found).find((which) => found[which] > 0) ?? "all";
    more.addEventListener("click", () => {
      const before = shown;
      add();
      list.children[before]?.querySelector("summary")?.focus({ preventScroll: true });
    });
    update();
  };

  for (const section of document.querySelectorAll(".cases")) start(section);
})();
