// Which thread of a cluster runs next, and when copies are made.
#include "cluster.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace standin {

static thread_local Cluster* running;

// Looks at barriers that tell nothing new, before a cluster counts as stuck.
static const unsigned MOST_IN_VAIN = 10000;
// And before the latest copies are late enough.
static const unsigned LONG_IN_VAIN = 8;
static const unsigned char CANARY = 0xa5, POISON = 0xff;  // floats and doubles of ones are NaN

// Bytes behind the shared memory of a block: none where the address sanitizer watches, which must
// see memory of the size that kernels may use.
static unsigned canary_bytes() { return sanitized() ? 0 : 256; }

static Schedule schedule_of(u64 seed) {
    Schedule schedule;
    schedule.order = (Schedule::Order)(seed % 4);
    schedule.copies = (Schedule::Copies)(seed % 3);
    schedule.by_warp = seed / 12 % 2;
    return schedule;
}

Cluster::Cluster(const Grid& grid, unsigned index, u64 seed)
    : grid_(grid), random_((seed << 32) + index), schedule_(schedule_of(seed + index)) {
    const unsigned threads = grid.threads.x * grid.threads.y * grid.threads.z;
    blocks_ = std::vector<Block>(grid.cluster);
    threads_ = std::vector<CudaThread>((size_t)grid.cluster * threads);
    const unsigned clusters = grid.blocks.x * grid.blocks.y * grid.blocks.z / grid.cluster;
    for (unsigned rank = 0; rank < grid.cluster; rank++) {
        Block& block = blocks_[rank];
        const unsigned id = index * grid.cluster + rank;
        block.coordinates = Thread{
            Dim{0, 0, 0},
            Dim{id % grid.blocks.x, id / grid.blocks.x % grid.blocks.y,
                id / grid.blocks.x / grid.blocks.y},
            grid.threads,
            grid.blocks,
            rank,
            index,
            clusters,
            nullptr,
        };
        block.threads = threads;
        void* memory = nullptr;
        if (posix_memalign(&memory, 128, grid.shared_bytes + canary_bytes())) abort();
        block.shared = (unsigned char*)memory;
        memset(block.shared, POISON, grid.shared_bytes);
        memset(block.shared + grid.shared_bytes, CANARY, canary_bytes());
        block.coordinates.shared = block.shared;
        block.warps.resize((threads + 31) / 32);
        for (Warp& warp : block.warps) {
            const u64 priority = random_.next();
            const unsigned first = (unsigned)(&warp - &block.warps[0]) * 32;
            for (unsigned i = first; i < first + 32 && i < threads; i++) {
                CudaThread& thread = threads_[(size_t)rank * threads + i];
                thread.self = block.coordinates;
                thread.self.index = Dim{i % grid.threads.x, i / grid.threads.x % grid.threads.y,
                                        i / grid.threads.x / grid.threads.y};
                thread.block = &block;
                thread.warp = &warp;
                thread.priority = schedule_.by_warp ? priority : random_.next();
                thread.stack = take_stack();
                thread.fiber.start(thread.stack, stack_bytes(), body);
                warp.lanes++;
                make_ready(&thread);
            }
        }
    }
    alive_ = (unsigned)threads_.size();
    self_ = grid.image->self();
}

Cluster::~Cluster() {
    for (CudaThread& thread : threads_) give_stack(thread.stack);
    for (Block& block : blocks_) free(block.shared);
}

void Cluster::body() {
    Cluster& cluster = *running;
    CudaThread& thread = *cluster.now_;
    thread.block->started++;
    cluster.grid_.kernel->run(cluster.grid_.arguments);
    thread.left = true;
    thread.block->left++;
    cluster.alive_--;
    cluster.in_vain_ = 0;
    thread.fiber.leave(true);
}

Failure Cluster::run() {
    running = this;
    while (alive_ && !failure_.code) {
        const bool idle = ready_.empty() || in_vain_ > LONG_IN_VAIN;
        const bool copy_now =
            schedule_.copies == Schedule::AT_ONCE || (idle && random_.one_in(2)) ||
            (schedule_.copies == Schedule::ANY_TIME && random_.one_in(8));
        const bool poll = !polling_.empty() && (ready_.empty() || random_.one_in(16));
        if (!copies_.empty() && copy_now) {
            make_copy();
        } else if (poll && in_vain_ < MOST_IN_VAIN) {
            CudaThread* const thread = polling_.front();
            polling_.pop_front();
            resume(thread);
        } else if (!ready_.empty()) {
            std::pop_heap(ready_.begin(), ready_.end());
            CudaThread* const thread = ready_.back().second;
            ready_.pop_back();
            resume(thread);
        } else if (!copies_.empty()) {
            make_copy();
        } else {
            fault(LAUNCH_TIMEOUT, "deadlock: " + who_waits());
        }
    }
    if (!failure_.code && !copies_.empty()) {
        fault(ILLEGAL_ADDRESS, "a CTA left while a copy into its shared memory was under way");
    }
    for (const Block& block : blocks_) check_canary(block);
    running = nullptr;
    return failure_;
}

void Cluster::resume(CudaThread* thread) {
    now_ = thread;
    *self_ = &thread->self;
    thread->fiber.enter();
    *self_ = nullptr;
    now_ = nullptr;
}

void Cluster::fault(int code, const std::string& what) {
    if (!failure_.code) {
        failure_.code = code;
        failure_.what = what;
        if (now_) {
            const Thread& self = now_->self;
            failure_.what += " (block " + std::to_string(self.block.x) + ", thread " +
                             std::to_string(self.index.x) + ")";
        }
    }
    if (now_) now_->fiber.leave(true);
}

void Cluster::trap(const void* address) {
    if (!running || !running->now_) return;
    char text[64];
    snprintf(text, sizeof text, "an access to address %p", address);
    running->fault(ILLEGAL_ADDRESS, text);
}

// ---- who runs next

void Cluster::make_ready(CudaThread* thread) {
    u64 rank = 0;
    clock_++;
    switch (schedule_.order) {
        case Schedule::SHUFFLED: rank = random_.next(); break;
        case Schedule::NEWEST_FIRST: rank = 1ull << 32 | clock_; break;
        case Schedule::OLDEST_FIRST: rank = ~clock_; break;
        case Schedule::BY_PRIORITY:
            if (random_.one_in(64)) thread->priority = random_.next();
            rank = thread->priority;
            break;
    }
    // Now and then a thread falls behind all others.
    if (random_.one_in(64)) rank = random_.next() >> 40;
    ready_.emplace_back(rank, thread);
    std::push_heap(ready_.begin(), ready_.end());
}

void Cluster::wake(std::vector<CudaThread*>& waiting) {
    for (CudaThread* thread : waiting) make_ready(thread);
    waiting.clear();
}

void Cluster::wait(std::vector<CudaThread*>& waiting, const char* what) {
    waiting.push_back(now_);
    now_->waits_for = what;
    CudaThread* const self = now_;
    self->fiber.leave(false);
    self->waits_for = nullptr;
}

// Others may run between any two instructions; here they sometimes do.
void Cluster::maybe_pause() {
    if (!random_.one_in(4)) return;
    make_ready(now_);
    now_->fiber.leave(false);
}

std::string Cluster::who_waits() const {
    std::map<std::string, unsigned> reasons;
    for (const CudaThread& thread : threads_) {
        if (thread.left) continue;
        const std::string block = "block " + std::to_string(thread.self.block.x) + " ";
        reasons[block + (thread.waits_for ? thread.waits_for : "looks at a barrier again and again")]++;
    }
    std::string text;
    for (const auto& reason : reasons) {
        text += (text.empty() ? "" : "; ") + std::to_string(reason.second) + " threads of " +
                reason.first;
    }
    for (const Block& block : blocks_) {
        for (const auto& entry : block.barriers) {
            const Mbarrier& barrier = entry.second;
            if (barrier.waiting.empty()) continue;
            text += "; the mbarrier at byte " + std::to_string(entry.first) + " of block " +
                    std::to_string(block.coordinates.block.x) + " lacks " +
                    std::to_string(barrier.pending) + " arrivals and " +
                    std::to_string(barrier.bytes) + " bytes of phase " +
                    std::to_string(barrier.phase);
        }
        if (block.left && block.left < block.threads) {
            text += "; " + std::to_string(block.left) + " threads of block " +
                    std::to_string(block.coordinates.block.x) + " have left";
        }
    }
    return text;
}

// ---- copies

void Cluster::make_copy() {
    const size_t which = random_.below(copies_.size());
    Copy& copy = copies_[which];
    Block& block = *copy.block;
    if (block.left == block.threads) {
        fault(ILLEGAL_ADDRESS, "a CTA left while a copy into its shared memory was under way");
        return;
    }
    // The engine moves as much as it likes at a time.
    unsigned bytes = copy.bytes;
    if (copy.from && bytes >= 32 && random_.one_in(4)) {
        bytes = 16 * (1 + (unsigned)random_.below(bytes / 16 - 1));
    }
    memcpy(block.shared + copy.to, copy.from ? copy.from : copy.sent, bytes);
    const unsigned barrier = copy.barrier;
    copy.to += bytes;
    copy.bytes -= bytes;
    if (copy.from) copy.from += bytes;
    if (copy.bytes == 0) {
        copies_[which] = copies_.back();
        copies_.pop_back();
    }
    arrive(barrier_at(block, barrier, "a copy that arrives"), 0, -(long long)bytes);
}

void Cluster::check_canary(const Block& block) {
    const unsigned char* const end = block.shared + grid_.shared_bytes;
    for (unsigned i = 0; i < canary_bytes(); i++) {
        if (end[i] != CANARY) {
            fault(ILLEGAL_ADDRESS, "a write " + std::to_string(i) + " bytes behind the " +
                                       std::to_string(grid_.shared_bytes) +
                                       " bytes of shared memory");
            return;
        }
    }
}

// ---- what kernels call

const Machine machine = {
    [](int code, const char* what) { running->fault(code, what); },
    [](u64 bits, unsigned bytes, unsigned from) { return running->shuffle(bits, bytes, from); },
    [] { running->sync_warp(); },
    [] { running->sync_block(); },
    [] { running->sync_cluster(); },
    [](void* b, unsigned arrivals) { running->barrier_init(b, arrivals); },
    [] { running->barrier_init_done(); },
    [](void* b, unsigned bytes) { running->barrier_arrive(b, bytes); },
    [](void* b, unsigned parity) { return running->barrier_ended(b, parity); },
    [](void* b, unsigned parity) { running->barrier_wait(b, parity); },
    [](void* to, const void* from, unsigned bytes, void* b) {
        running->bulk_load(to, from, bytes, b);
    },
    [](void* to, void* b, unsigned rank, const void* bytes, unsigned count) {
        running->send(to, b, rank, bytes, count);
    },
};

}  // namespace standin
