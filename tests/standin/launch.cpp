#include "launch.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

#include "settings.h"

namespace standin {

// While it lives, a CUDA thread that touches memory it must not ends the launch, not the process. A
// sanitizer, which says more about it, is left to do so.
class Trap {
  public:
    Trap() {
        if (sanitized()) return;
        struct sigaction action = {};
        action.sa_sigaction = caught;
        // The handler leaves for the scheduler's stack and does not come back.
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &action, &before_segv());
        sigaction(SIGBUS, &action, &before_bus());
    }
    ~Trap() {
        if (sanitized()) return;
        sigaction(SIGSEGV, &before_segv(), nullptr);
        sigaction(SIGBUS, &before_bus(), nullptr);
    }

  private:
    static struct sigaction& before_segv() {
        static struct sigaction action;
        return action;
    }
    static struct sigaction& before_bus() {
        static struct sigaction action;
        return action;
    }
    static void caught(int number, siginfo_t* info, void*) {
        Cluster::trap(info->si_addr);
        // It was not a kernel: the instruction is tried again, under whatever held before.
        sigaction(number, number == SIGBUS ? &before_bus() : &before_segv(), nullptr);
    }
};

// A stack for the handler: that of the CUDA thread may be what overflowed.
class TrapStack {
  public:
    TrapStack() : memory_(new char[BYTES]) {
        stack_t own = {};
        own.ss_sp = memory_.get();
        own.ss_size = BYTES;
        sigaltstack(&own, &before_);
    }
    ~TrapStack() { sigaltstack(&before_, nullptr); }

  private:
    static const size_t BYTES = 64 << 10;
    std::unique_ptr<char[]> memory_;
    stack_t before_;
};

Failure launch(const Grid& grid, u64 seed) {
    const unsigned clusters = grid.blocks.x * grid.blocks.y * grid.blocks.z / grid.cluster;
    const int at_once = atoi(setting("ICPO_STANDIN_THREADS", "2").c_str());
    std::atomic<unsigned> next{0};
    std::mutex mutex;
    Failure failure;
    const auto work = [&] {
        const TrapStack stack;
        for (unsigned i = next++; i < clusters; i = next++) {
            const Failure one = Cluster(grid, i, seed).run();
            if (!one.code) continue;
            std::lock_guard<std::mutex> lock(mutex);
            if (!failure.code) failure = one;
            next = clusters;
        }
    };
    const Trap trap;
    std::vector<std::thread> others;
    for (int i = 1; i < at_once && (unsigned)i < clusters; i++) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    return failure;
}

}  // namespace standin
