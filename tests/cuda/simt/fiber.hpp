// SPDX-License-Identifier: Apache-2.0
// Switching between stacks within one OS thread, told to the sanitizers. x86-64 in a dozen instructions; elsewhere, and with
// CULL_SIMT_PORTABLE, by ucontext, which asks the kernel at every switch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <sys/mman.h>

#if !defined(__x86_64__) || defined(CULL_SIMT_PORTABLE)
#define SIMT_UCONTEXT 1
#include <ucontext.h>
#else
#define SIMT_UCONTEXT 0
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define SIMT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define SIMT_TSAN 1
#endif
#if defined(SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(SIMT_TSAN)
#include <sanitizer/tsan_interface.h>
// The executor's own bookkeeping is shared by fibers on purpose: only the bodies are watched.
#define SIMT_UNWATCHED __attribute__((noinline, no_sanitize("thread")))
#else
#define SIMT_UNWATCHED
#endif

namespace simt_test {

#if !SIMT_UCONTEXT
extern "C" void cull_simt_switch(void** save, void* to);
asm(R"(.text
.weak cull_simt_switch
.type cull_simt_switch,@function
cull_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cull_simt_switch,.-cull_simt_switch
)");
#endif

inline void memory_order_before_switch([[maybe_unused]] void* address) {
#if defined(SIMT_TSAN)
  __tsan_release(address);
#endif
}
inline void memory_order_after_switch([[maybe_unused]] void* address) {
#if defined(SIMT_TSAN)
  __tsan_acquire(address);
#endif
}

/// A stack to run on, or (default) the one that the OS thread has.
class fiber {
 public:
  fiber() = default;
  fiber(fiber const&) = delete;
  fiber& operator=(fiber const&) = delete;
  ~fiber() {
#if defined(SIMT_TSAN)
    if (bottom_ != nullptr && tsan_ != nullptr) __tsan_destroy_fiber(tsan_);
#endif
  }

  /// Starts `entry`, which must not return, at the first switch to this fiber.
  SIMT_UNWATCHED void prepare(void* stack, std::size_t size, void (*entry)()) {
    bottom_ = stack;
    size_ = size;
#if defined(SIMT_ASAN)
    __asan_unpoison_memory_region(stack, size);  // what an earlier fiber's frames have left
#endif
#if SIMT_UCONTEXT
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = size;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#else
    auto** top = reinterpret_cast<void**>(static_cast<char*>(stack) + size - 64);
    *--top = nullptr;  // the return address that `entry` never uses; keeps its stack aligned
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    pointer_ = top;
#endif
#if defined(SIMT_TSAN)
    if (tsan_ == nullptr) tsan_ = __tsan_create_fiber(0);
#endif
  }

  /// On the OS thread's own stack, before the first switch.
  SIMT_UNWATCHED void adopt_thread() {
#if defined(SIMT_TSAN)
    tsan_ = __tsan_get_current_fiber();
#endif
  }

  /// Leaves this fiber for `to`; returns when somebody switches back.
  SIMT_UNWATCHED void switch_to(fiber& to, bool for_good = false) {
    static_cast<void>(for_good);
#if defined(SIMT_ASAN)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, to.bottom_, to.size_);
#endif
#if defined(SIMT_TSAN)
    __tsan_switch_to_fiber(to.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#if SIMT_UCONTEXT
    swapcontext(&context_, &to.context_);
#else
    cull_simt_switch(&pointer_, to.pointer_);
#endif
#if defined(SIMT_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
  }

  /// First thing on a new stack: `from` is who switched here.
  SIMT_UNWATCHED static void arrived([[maybe_unused]] fiber& from) {
#if defined(SIMT_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, &from.bottom_, &from.size_);
#endif
  }

 private:
  void const* bottom_ = nullptr;
  std::size_t size_ = 0;
#if SIMT_UCONTEXT
  ucontext_t context_{};
#else
  void* pointer_ = nullptr;
#endif
#if defined(SIMT_ASAN)
  void* fake_stack_ = nullptr;
#endif
#if defined(SIMT_TSAN)
  void* tsan_ = nullptr;
#endif
};

/// Stacks for the fibers of a block.
class stack_pool {
 public:
  stack_pool(std::size_t count, std::size_t size) : count_(count), size_(size) {
    auto* const memory = mmap(nullptr, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memory_ = memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
    if (memory_ == nullptr) std::abort();
  }
  stack_pool(stack_pool const&) = delete;
  stack_pool& operator=(stack_pool const&) = delete;
  ~stack_pool() {
#if defined(SIMT_ASAN)
    __asan_unpoison_memory_region(memory_, count_ * size_);
#endif
    munmap(memory_, count_ * size_);
  }

  void* operator[](std::size_t i) const { return memory_ + i * size_; }
  std::size_t size() const { return size_; }

 private:
  std::size_t count_;
  std::size_t size_;
  char* memory_ = nullptr;
};

}  // namespace simt_test
