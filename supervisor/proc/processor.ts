/**
 * What the processor can do, as far as programs see it: a program has chosen its code by
 * it when it started, and would meet SIGILL where a feature is missing.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** Flags of /proc/cpuinfo that stand for instructions or register state of user mode. */
const USER_FEATURES = new Set(
  ('fpu tsc cx8 cmov mmx fxsr sse sse2 rdtscp lm pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand ' +
    'lahf_lm abm sse4a misalignsse 3dnowprefetch xop fma4 tbm fsgsbase bmi1 avx2 bmi2 erms rtm mpx avx512f avx512dq rdseed adx avx512ifma ' +
    'clflushopt clwb avx512pf avx512er avx512cd sha_ni avx512bw avx512vl xsaveopt xsavec xgetbv1 avx_vnni avx512_bf16 clzero avx512vbmi ' +
    'waitpkg avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq rdpid movdiri movdir64b fsrm avx512_vp2intersect ' +
    'serialize amx_bf16 avx512_fp16 amx_tile amx_int8 pku ospke user_shstk').split(' '),
);

/** The features of the first processor, in the order of /proc/cpuinfo. */
export function processorFeatures(): string[] {
  const fd = openSync('/proc/cpuinfo', 'r');
  try {
    const head = Buffer.alloc(16 * 1024);
    const text = head.toString('latin1', 0, readSync(fd, head));
    const line = /^flags\s*:(.*)$/m.exec(text)?.[1] ?? '';
    return line.trim().split(/\s+/).filter((flag) => USER_FEATURES.has(flag));
  } finally {
    closeSync(fd);
  }
}
