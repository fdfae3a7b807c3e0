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

let context = null, page = null, complaints = [], requests = [];

const steps = {
	open: async function({ url, width = 1200, height = 900, dark = false, timeout = 20000 }) {
		if (context)
			await context.close();

		complaints = [];
		requests = [];
		context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', acceptDownloads: true });
		page = await context.newPage();
		page.on('pageerror', (error) => complaints.push(String(error.stack || error)));
		page.on('console', (message) => message.type() == 'error' && complaints.push(message.text()));
		page.on('request', (request) => requests.push(request.url()));
		page.on('dialog', (dialog) => { complaints.push('dialog: ' + dialog.message()); return dialog.dismiss(); });
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
