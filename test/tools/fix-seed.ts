/**
 * Loaded into each test file by run-tests: with SLUICE_DIFF_SEED the property tests draw the same
 * values in every run, so that red means a regression; without it they draw new ones.
 */
import fc from 'fast-check';

const seed = process.env['SLUICE_DIFF_SEED'];
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });
