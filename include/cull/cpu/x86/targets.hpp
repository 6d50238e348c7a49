// SPDX-License-Identifier: Apache-2.0
// Attributes of functions that use more than the baseline's instructions. A targeted function holds no lambda and no vector
// operator: neither takes the target over. AVX-512 intrinsics are called in their zeroing form with a full mask where the plain
// one has an undefined operand inside, which g++ 12 warns of (GCC bug 105593); both compile to the same instruction.
#pragma once

#include <cull/cpu/isa.hpp>

#if CULL_X86

#include <immintrin.h>

// Tiles have to be unrolled to stay in registers; nvcc hands the pragma on to the host compiler, with a warning.
#if defined(__NVCC__)
#pragma nv_diag_suppress 1675
#endif
#define CULL_PRAGMA(text) _Pragma(#text)
#define CULL_UNROLL(count) CULL_PRAGMA(GCC unroll count)

// Keeps vectors where they are.
#define CULL_IN_REGISTERS(a, b, c) asm("" : "+x"(a), "+x"(b), "+x"(c))

#define CULL_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define CULL_TARGET_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#define CULL_TARGET_AVX512_VBMI __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")))
#define CULL_TARGET_AVX512_VNNI __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")))
#define CULL_TARGET_AVX512_BF16 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

#endif
