// Chromium as the page's tests and measurements start it: Debian's, without any traffic of its own.

import { chromium } from 'playwright-core';

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS });

// Collects everything that the page complains about: errors, and violations of its policy, which the console shows as errors.
export function complaints(page) {
  const found = [];
  page.on('pageerror', error => found.push(`${error}`));
  page.on('console', message => ['error', 'warning'].includes(message.type()) && found.push(`${message.text()} (${message.location().url})`));
  page.on('requestfailed', () => {});
  return found;
}
