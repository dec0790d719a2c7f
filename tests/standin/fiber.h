// A stack of its own that a thread of the operating system runs on for a while: cheap enough to have
// a thousand of, and to change between them at every barrier.
#pragma once
#include <cstddef>

// STANDIN_PORTABLE: the way of other machines, for a look at it on this one.
#if defined(__x86_64__) && !defined(STANDIN_PORTABLE)
#define STANDIN_SWITCH 1
#else
#include <ucontext.h>
#endif

namespace standin {

class Fiber {
  public:
    // `body` must not return: it calls `leave` for good.
    void start(void* stack, size_t bytes, void (*body)());
    // From the scheduler into the fiber, until it leaves.
    void enter();
    // From the fiber back to whoever entered it.
    void leave(bool for_good);

  private:
    void began();
    static void first();

    void (*body_)();
    void* stack_;
    size_t bytes_;
    // What the address sanitizer needs to know of either side.
    void* own_shadow_;
    void* other_shadow_;
    const void* other_stack_;
    size_t other_bytes_;
#ifdef STANDIN_SWITCH
    void* here_;
    void* there_;
#else
    ucontext_t here_, there_;
#endif
};

// Stacks with a page below them that ends the process when a kernel's variables do not fit. They are
// kept for the launches to come.
void* take_stack();
void give_stack(void* stack);
size_t stack_bytes();

// Whether the process runs under the address sanitizer.
bool sanitized();

}  // namespace standin
