#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

// There if the process runs under the address sanitizer, which must be told of other stacks.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void**, const void*, size_t);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void*, size_t);
}

#ifdef STANDIN_SWITCH
// standin_switch(&from, to): pushes what a function must preserve, exchanges stacks, pops.
extern "C" void standin_switch(void** from, void* to);
asm(R"(
.text
.hidden standin_switch
.globl standin_switch
.type standin_switch, @function
standin_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size standin_switch, .-standin_switch
)");
#endif

namespace standin {

static thread_local Fiber* entered;

void Fiber::began() {
    if (__sanitizer_finish_switch_fiber) {
        __sanitizer_finish_switch_fiber(own_shadow_, &other_stack_, &other_bytes_);
    }
}

void Fiber::first() {
    Fiber* const fiber = entered;
    fiber->began();
    fiber->body_();
    abort();  // a body does not return
}

void Fiber::start(void* stack, size_t bytes, void (*body)()) {
    body_ = body;
    stack_ = stack;
    bytes_ = bytes;
    own_shadow_ = nullptr;
    // A fiber of an aborted launch has left marks of its variables here.
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(stack, bytes);
#ifdef STANDIN_SWITCH
    // As if `first` had been called: its frame starts 8 bytes below a multiple of 16.
    void** top = (void**)((uintptr_t)stack + bytes) - 1;
    *top = nullptr;
    *--top = (void*)first;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    here_ = top;
#else
    getcontext(&here_);
    here_.uc_stack.ss_sp = stack;
    here_.uc_stack.ss_size = bytes;
    here_.uc_link = nullptr;
    makecontext(&here_, first, 0);
#endif
}

void Fiber::enter() {
    entered = this;
    if (__sanitizer_start_switch_fiber) {
        __sanitizer_start_switch_fiber(&other_shadow_, stack_, bytes_);
    }
#ifdef STANDIN_SWITCH
    standin_switch(&there_, here_);
#else
    swapcontext(&there_, &here_);
#endif
    if (__sanitizer_finish_switch_fiber) {
        __sanitizer_finish_switch_fiber(other_shadow_, nullptr, nullptr);
    }
}

void Fiber::leave(bool for_good) {
    if (__sanitizer_start_switch_fiber) {
        __sanitizer_start_switch_fiber(for_good ? nullptr : &own_shadow_, other_stack_,
                                       other_bytes_);
    }
#ifdef STANDIN_SWITCH
    standin_switch(&here_, there_);
#else
    swapcontext(&here_, &there_);
#endif
    began();
}

// ---- stacks

static std::mutex stacks_mutex;
static std::vector<void*> stacks;

// Frames are several times larger under the address sanitizer.
size_t stack_bytes() { return sanitized() ? 256 << 10 : 64 << 10; }

bool sanitized() { return __sanitizer_start_switch_fiber != nullptr; }

void* take_stack() {
    std::lock_guard<std::mutex> lock(stacks_mutex);
    if (stacks.empty()) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE), each = page + stack_bytes(), count = 64;
        char* const memory = (char*)mmap(nullptr, each * count, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            perror("stand-in driver: no memory for the stacks of CUDA threads");
            abort();
        }
        for (size_t i = 0; i < count; i++) {
            mprotect(memory + i * each, page, PROT_NONE);
            stacks.push_back(memory + i * each + page);
        }
    }
    void* const stack = stacks.back();
    stacks.pop_back();
    return stack;
}

void give_stack(void* stack) {
    std::lock_guard<std::mutex> lock(stacks_mutex);
    stacks.push_back(stack);
}

}  // namespace standin
