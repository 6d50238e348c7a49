// expected: .e2m1x2
// compiles for: sm_100a
// fails for: sm_90a
// SPDX-License-Identifier: Apache-2.0
__global__ void convert(unsigned* out, unsigned char code) {
  asm("{ .reg .b8 c; cvt.u8.u16 c, %1; cvt.rn.f16x2.e2m1x2 %0, c; }" : "=r"(*out) : "h"(static_cast<unsigned short>(code)));
}
