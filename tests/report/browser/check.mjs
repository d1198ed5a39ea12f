// node check.mjs CHROMIUM PAGE…: axe-core and a few trials of the script, in a real browser without a network.
// Prints one JSON object: {faults: [{page, mode, rule, impact, nodes}], messages: […], requests: […], index: {…}}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const modes = {
  light: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  narrow: { viewport: { width: 400, height: 800 }, colorScheme: "light" },
};
const [executablePath, ...pages] = process.argv.slice(2);
const found = { faults: [], messages: [], requests: [], wide: [], index: null };
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

async function open(path, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (message) => found.messages.push(`${basename(path)}: ${message.text()}`));
  page.on("pageerror", (error) => found.messages.push(`${basename(path)}: ${error}`));
  page.on("request", (request) => {
    if (!request.isNavigationRequest()) found.requests.push(request.url());
  });
  await page.goto(pathToFileURL(path).href);
  return page;
}

for (const path of pages) {
  for (const [mode, options] of Object.entries(modes)) {
    const page = await open(path, options);
    await page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
    // Outside of the page's own policy: the debugger's world may run what the page may not.
    await page.evaluate(source);
    const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    for (const fault of violations) {
      const nodes = fault.nodes.slice(0, 3).map((node) => node.html.slice(0, 160));
      found.faults.push({ page: basename(path), mode, rule: fault.id, impact: fault.impact, nodes });
    }
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (over > 0) found.wide.push(`${basename(path)} ${mode} ${over}`);
    await page.context().close();
  }
}

const index = pages.find((path) => basename(path) === "index.html");
if (index) {
  const rows = (page) => page.locator("table.index tbody tr:visible").count();
  const page = await open(index, modes.light);
  found.index = { all: await rows(page) };
  await page.uncheck("#f-INCONCLUSIVE");
  found.index.without = await rows(page);
  await page.check("#f-INCONCLUSIVE");
  await page.fill("#find", "needle");
  found.index.found = await rows(page);
  found.index.status = await page.textContent("#shown");
  await page.fill("#find", "");
  await page.click("th:nth-child(3) button");
  found.index.ps = await page.locator("table.index tbody tr td:nth-child(3)").allTextContents();
  found.index.sorted = await page.getAttribute("th:nth-child(3)", "aria-sort");
  await page.context().close();
  const plain = await open(index, { ...modes.light, javaScriptEnabled: false });
  await plain.uncheck("#f-INCONCLUSIVE");
  found.index.withoutScript = await rows(plain);
  found.index.searchWithoutScript = await plain.locator("#find").isVisible();
}

const report = pages.find((path) => basename(path) !== "index.html");
if (report) {
  const page = await open(report, modes.light);
  const visible = () => page.locator("table.artists tbody tr:visible").count();
  found.report = { few: await visible() };
  await page.check("#all");
  found.report.all = await visible();
  await page.focus("table.artists th:nth-child(2) button");
  await page.keyboard.press("Enter");
  found.report.names = await page.locator("table.artists tbody tr td:nth-child(2) > bdi").allTextContents();
  await page.locator("svg.map .datum").first().hover({ force: true });
  found.report.tip = await page.textContent(".tip");
  await page.context().close();
}

await browser.close();
process.stdout.write(JSON.stringify(found));
