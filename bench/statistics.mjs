/**
 * What is made of samples: medians with their range, ratios of samples taken in pairs, tables.
 */

/** Of numbers in any order; NaN of none. */
export function median(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** @returns {{ median: number, min: number, max: number, count: number }} */
export function summarize(samples) {
  return { median: median(samples), min: Math.min(...samples), max: Math.max(...samples), count: samples.length };
}

/**
 * The ratio of two things measured in turns: the median of the ratios of neighbours. A machine that
 * becomes slower for a while makes both slower.
 */
export function ratioOfPairs(samples, references) {
  return summarize(samples.map((sample, index) => sample / references[index]));
}

/** Three significant digits, plain. */
export function digits(value) {
  if (!Number.isFinite(value)) return '-';
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 0.1))));
  return value.toFixed(Math.min(places, 3));
}

/** `12.3 (11.9-14.0)` */
export function withRange(summary, unit = 1) {
  if (summary === undefined || summary.count === 0) return '-';
  const { median: middle, min, max, count } = summary;
  return count === 1 ? digits(middle / unit) : `${digits(middle / unit)} (${digits(min / unit)}-${digits(max / unit)})`;
}

/** Rows of cells as a Markdown table, which reads as plain text too. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}
