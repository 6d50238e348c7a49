// SPDX-License-Identifier: Apache-2.0
#include "counted_heap.hpp"

// clang's ThreadSanitizer has an operator new that cannot be replaced.
#ifdef __has_feature
#define CULL_HEAP_IS_TAKEN __has_feature(thread_sanitizer)
#else
#define CULL_HEAP_IS_TAKEN 0
#endif

#if defined(__linux__) && !CULL_HEAP_IS_TAKEN
#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace program {
namespace {

constinit engine::heap_counter counter;
constinit thread_local std::int64_t kept_back = 0;

void count(std::int64_t bytes) noexcept {
  kept_back += bytes;
  if (kept_back > -heap_slack && kept_back < heap_slack) return;
  counter.change(kept_back);
  kept_back = 0;
}

void* take(std::size_t size, std::size_t alignment) noexcept {
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size > 0 ? size : 1);
  if (size > SIZE_MAX - alignment) return nullptr;
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
void* allocate(std::size_t size, std::size_t alignment) noexcept {
  void* const out = take(size, alignment);
  if (out != nullptr) count(static_cast<std::int64_t>(::malloc_usable_size(out)));
  return out;
}

/// As the standard's own: the new handler is asked before there is an exception.
void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  for (;;) {
    if (void* const out = allocate(size, alignment)) return out;
    auto const handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc{};
    handler();
  }
}

void release(void* p) noexcept {
  if (p != nullptr) count(-static_cast<std::int64_t>(::malloc_usable_size(p)));
  std::free(p);
}

}  // namespace

engine::heap_counter* heap() { return &counter; }

}  // namespace program

// All other forms call these by default.
void* operator new(std::size_t size) { return program::allocate_or_throw(size, 0); }
void* operator new(std::size_t size, std::align_val_t to) {
  return program::allocate_or_throw(size, static_cast<std::size_t>(to));
}
void operator delete(void* p) noexcept { program::release(p); }
void operator delete(void* p, std::size_t) noexcept { program::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { program::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { program::release(p); }

#else

engine::heap_counter* program::heap() { return nullptr; }

#endif
