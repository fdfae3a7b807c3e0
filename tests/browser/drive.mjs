// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives Chromium for the tests: reads steps as lines of JSON, answers each with one.
 * { do: 'open', url, width, height, dark, touch } and so on; see the table below.
 */
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
	args: [ '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--disable-background-networking',
		'--disable-component-update', '--disable-sync', '--no-first-run' ]
});

const context = await browser.newContext({ acceptDownloads: true });
const page = await context.newPage();
let complaints = [], requests = [];

page.on('pageerror', (error) => complaints.push(String(error.stack || error)));
page.on('console', (message) => message.type() == 'error' && complaints.push(message.text()));
page.on('request', (request) => requests.push(request.url()));
page.on('dialog', (dialog) => { complaints.push('dialog: ' + dialog.message()); return dialog.dismiss(); });

const steps = {
	/* A new context would cost a new process each time. */
	open: async function({ url, width = 1200, height = 900, dark = false, timeout = 20000 }) {
		await page.evaluate(() => location.protocol == 'http:' && (localStorage.clear(), sessionStorage.clear()));
		await page.goto('about:blank');
		await context.clearCookies();
		await page.setViewportSize({ width, height });
		await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
		complaints = [];
		requests = [];
		await page.goto(url);
		await page.waitForFunction(() => window.harnessReady || window.harnessFailed
			|| document.querySelector('#view h2, #view .cbi-map, #view .cbi-section, #maincontent > pre.error'), null, { timeout });

		return await page.evaluate(() => window.harnessFailed || null);
	},
	evaluate: ({ script, argument = null }) => page.evaluate(`(async (argument) => { ${script} })(${JSON.stringify(argument)})`),
	wait: async ({ script, timeout = 10000 }) => (await page.waitForFunction(script, null, { timeout, polling: 50 })).jsonValue(),
	text: ({ selector }) => page.textContent(selector),
	click: async ({ selector }) => (await page.click(selector), null),
	fill: async function({ selector, value }) {
		await page.fill(selector, value);
		await page.locator(selector).first().blur();
	},
	select: async ({ selector, value }) => (await page.selectOption(selector, value), null),
	download: async function({ selector }) {
		const [ file ] = await Promise.all([ page.waitForEvent('download'), page.click(selector) ]);
		const chunks = [];

		for await (const chunk of await file.createReadStream())
			chunks.push(chunk);

		return { name: file.suggestedFilename(), text: Buffer.concat(chunks).toString() };
	},
	screenshot: async ({ path, full }) => (await page.screenshot({ path, fullPage: full }), null),
	complaints: () => complaints,
	requests: () => requests
};

for await (const line of createInterface({ input: process.stdin })) {
	const step = JSON.parse(line);

	try {
		console.log(JSON.stringify({ value: await steps[step.do](step) ?? null }));
	}
	catch (error) {
		console.log(JSON.stringify({ error: String(error && error.message || error) }));
	}
}

await browser.close();
