// Clicks through the pages of a server in Chromium, as a person does who looks for what is wrong: wide and narrow, light
// and dark, with scripts and without. Prints a line a check, and ends with 1 at the first that fails.
//   node tests/browser/click.mjs URL [CLUSTER=REASON...]
// URL is that of the internal listener; each CLUSTER=REASON has to stand on the page of refused senders.
import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const [base, ...expected] = process.argv.slice(2);
if (!base) throw new Error("usage: node click.mjs URL [CLUSTER=REASON...]");
const origin = new URL(base).origin;

const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
const VISITS = [
  { viewport: WIDE, colorScheme: "light", javaScriptEnabled: true },
  { viewport: WIDE, colorScheme: "dark", javaScriptEnabled: false },
  { viewport: NARROW, colorScheme: "light", javaScriptEnabled: false },
  { viewport: NARROW, colorScheme: "dark", javaScriptEnabled: true },
];
const UNKNOWN = "/no/such/page";
// Beginnings of what made-up clusters say of themselves.
const SEARCHES = ["4.16", "AWS"];
// The server is at work while it is looked at: a number may change between two looks.
const LOOKS = 20;

function program() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const folders = ["/usr/bin", ...(process.env.PATH ?? "").split(delimiter)];
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  assert(found, `none of ${names.join(", ")} is installed; scripts/install-tools installs it`);
  return found;
}

async function api(path) {
  const answer = await fetch(new URL(path, origin), { headers: { accept: "application/json" } });
  assert.equal(answer.status, 200, path);
  return answer.json();
}

// Looks until what the page shows is what the API says both before and after it was shown.
async function agrees(page, shown, said) {
  let last;
  for (let look = 0; look < LOOKS; look++) {
    const before = await said();
    await page.reload();
    last = [await shown(), before, await said()];
    try {
      last.slice(1).forEach((one) => assert.deepEqual(last[0], one));
      return last[0];
    } catch {
      await new Promise((wake) => setTimeout(wake, 250));
    }
  }
  assert.fail(`the page and the API differ (page, API before, API after): ${JSON.stringify(last)}`);
}

class Visit {
  static async start(browser, options) {
    const context = await browser.newContext({ ...options, locale: "en-GB" });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const visit = new Visit(context, page, options);
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
        console.error(`content security policy: ${violatedDirective}: ${blockedURI}`);
      });
    });
    page.on("console", (message) => {
      if (message.type() !== "error" && message.type() !== "warning") return;
      // The browser itself reports the status of the page that does not exist.
      if (message.location().url === origin + UNKNOWN && message.text().includes("status of 404")) return;
      visit.flaws.push(`console: ${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => visit.flaws.push(`page error: ${error}`));
    context.on("request", (request) => {
      const { protocol, origin: asked } = new URL(request.url());
      if (protocol !== "data:" && asked !== origin) visit.flaws.push(`a request to another host: ${request.url()}`);
    });
    page.on("response", (response) => {
      const { pathname } = new URL(response.url());
      if (response.status() >= 400 && pathname !== UNKNOWN) visit.flaws.push(`${response.status()}: ${response.url()}`);
    });
    return visit;
  }

  constructor(context, page, { viewport, colorScheme, javaScriptEnabled }) {
    Object.assign(this, { context, page, viewport, hasScripts: javaScriptEnabled, flaws: [] });
    this.name = `${viewport.width} px, ${colorScheme}, scripts ${javaScriptEnabled ? "on" : "off"}`;
  }

  // One check: what it does, then what holds for each page.
  async check(what, act) {
    try {
      await act();
      await this.fits();
      assert.deepEqual(this.flaws, []);
    } catch (error) {
      console.log(`FAILED  ${this.name}: ${what}, at ${this.page.url()}`);
      throw error;
    }
    console.log(`ok      ${this.name}: ${what}`);
  }

  async fits() {
    const { needed, width, beyond } = await this.page.evaluate(() => {
      const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const beyond = [];
      while (text.nextNode()) {
        if (!text.currentNode.nodeValue.trim()) continue;
        const range = document.createRange();
        range.selectNodeContents(text.currentNode);
        if (range.getBoundingClientRect().right > innerWidth + 0.5) beyond.push(text.currentNode.nodeValue.trim());
      }
      return { needed: document.scrollingElement.scrollWidth, width: innerWidth, beyond };
    });
    assert.equal(width, this.viewport.width, "the browser widened the page");
    assert(needed <= width, `the page is ${needed} px wide, the screen ${width} px`);
    if (width === NARROW.width) assert.deepEqual(beyond, [], "text beyond the edge of the screen");
  }

  async click(selector, path) {
    await Promise.all([
      this.page.waitForURL((url) => url.origin === origin && url.pathname === path),
      this.page.locator(selector).first().click(),
    ]);
    await this.page.waitForLoadState("load");
  }

  nav(text, path) {
    return this.click(`nav[aria-label=Pages] a:text-is("${text}")`, path);
  }

  async heading(text) {
    assert.equal(await this.page.locator("h1").innerText(), text);
  }

  async number(selector) {
    return Number((await this.page.locator(selector).innerText()).replace(/\D/g, ""));
  }

  async visit() {
    const { page } = this;
    await this.check("the numbers of the overview are those of the API", async () => {
      assert.equal((await page.goto(origin + "/")).status(), 200);
      const statuses = ["silent", "refused", "new", "reporting", "total"];
      const shown = () => Promise.all(statuses.map((status) => this.number(`#clusters-${status} strong`)));
      const said = async () => {
        const { clusters } = await api("/api/v1/summary");
        return statuses.map((status) => clusters[status]);
      };
      const numbers = await agrees(page, shown, said);
      assert(numbers[1] > 0 && numbers[4] > numbers[1], `refused and not refused clusters are needed: ${numbers}`);
    });
    this.background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    if (this.hasScripts) {
      await this.check("the page refreshes itself in place", async () => {
        const answer = page.waitForResponse((response) => response.request().resourceType() === "fetch");
        await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
        assert.equal((await answer).status(), 200);
        await (await answer).finished();
        assert.equal(await page.locator("#stamp.failed").count(), 0, "the refresh failed");
      });
    }

    let id;
    let reason;
    await this.check("a click on the number of refused clusters lists them", async () => {
      await this.click("#clusters-refused", "/clusters");
      const rows = page.locator("#clusters tbody tr");
      const shown = async () => (await rows.evaluateAll((all) => all.map((row) => row.dataset.cluster))).sort();
      const said = async () => (await api("/api/v1/clusters?status=refused")).items.map((item) => item.id).sort();
      await agrees(page, shown, said);
      assert.equal(await page.locator("#clusters tbody tr:not([data-status=refused])").count(), 0);
      id = await rows.first().getAttribute("data-cluster");
      reason = (await api(`/api/v1/clusters/${id}`)).last_refusal.reason;
      assert.equal(await rows.first().locator(".refusal a").innerText(), reason);
    });
    await this.check("a click on a refused cluster says why", async () => {
      await this.click(`#clusters tr[data-cluster="${id}"] a.id`, `/clusters/${id}`);
      await this.heading(id);
      assert.equal(await page.locator("#state").getAttribute("data-status"), "refused");
      assert((await page.locator("#refusals").innerText()).includes(reason), `${reason} is not on the page`);
    });
    await this.check("the page of refused senders names cause and cluster", async () => {
      await this.nav("Refused", "/refused");
      await this.heading("Refused");
      for (const one of [`${id}=${reason}`, ...expected]) {
        const [cluster, cause] = one.split("=");
        await this.nav("Refused", "/refused");
        await this.click(`#reasons tr[data-reason="${cause}"] a.name`, "/refused");
        await this.heading(`Refused: ${cause}`);
        const row = page.locator(`#refused tr[data-reason="${cause}"]`).filter({ hasText: cluster });
        assert((await row.count()) > 0, `no row with ${cluster} and ${cause}`);
      }
    });
    await this.check("a metric tells which rule lets it in", async () => {
      await this.nav("Metrics", "/families");
      await this.heading("Metrics");
      const name = await page.locator("#families tr[data-metric]").first().getAttribute("data-metric");
      await this.click("#families tr[data-metric] a.name", `/families/${encodeURIComponent(name)}`);
      await this.heading(name);
      assert((await this.number("#clusters")) > 0, "no cluster sends it");
      const rules = await page.locator("section[aria-labelledby=rules-title] :is(#rules, .none)").innerText();
      assert(rules.trim() !== "", "it does not say which rule");
    });
    for (const search of SEARCHES) {
      await this.check(`the search for ${search} finds what the API finds`, async () => {
        await this.nav("Clusters", "/clusters");
        await page.locator("#search").fill(search);
        await this.click('form[role=search] button:text-is("Search")', "/clusters");
        assert.equal(new URL(page.url()).searchParams.get("search"), search);
        const said = async () => (await api(`/api/v1/clusters?search=${search}`)).total;
        const found = await agrees(page, () => this.number("#clusters [data-total]"), said);
        const { total } = (await api("/api/v1/summary")).clusters;
        assert(found > 0 && found < total, `${found} of ${total} are found`);
      });
    }
    await this.check("a page that does not exist leads home", async () => {
      assert.equal((await page.goto(origin + UNKNOWN)).status(), 404);
      await this.heading("No such page");
      await this.click('main a[href="/"]', "/");
      await this.heading("Fleet");
    });
    await this.context.close();
  }
}

// Ours may run as root, where Chromium's sandbox refuses to.
const browser = await chromium.launch({ executablePath: program(), args: ["--no-sandbox", "--no-proxy-server"] });
try {
  const backgrounds = { light: new Set(), dark: new Set() };
  for (const options of VISITS) {
    const visit = await Visit.start(browser, options);
    await visit.visit();
    backgrounds[options.colorScheme].add(visit.background);
  }
  const [light, dark] = [[...backgrounds.light], [...backgrounds.dark]];
  assert(light.length === 1 && dark.length === 1 && light[0] !== dark[0], `backgrounds: ${light} and ${dark}`);
  console.log(`ok      light and dark differ: ${light} and ${dark}`);
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
