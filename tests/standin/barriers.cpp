// What a thread does with the other threads of its warp, block and cluster, and with the copy engine.
#include <cstdint>
#include <cstring>

#include "cluster.h"

namespace standin {

// ---- meetings

// Whether the caller was the last to come.
bool Cluster::meet(Meeting& meeting, unsigned threads, const char* what) {
    if (++meeting.arrived == threads) {
        meeting.arrived = 0;
        wake(meeting.waiting);
        maybe_pause();
        return true;
    }
    wait(meeting.waiting, what);
    return false;
}

u64 Cluster::shuffle(u64 bits, unsigned bytes, unsigned from) {
    Warp& warp = *now_->warp;
    if (warp.lanes != 32) fault(ILLEGAL_INSTRUCTION, "a warp without 32 lanes shuffles");
    if (warp.meeting.arrived == 0) warp.bytes = bytes;
    if (warp.bytes != bytes) {
        fault(ILLEGAL_INSTRUCTION, "lanes of a warp meet in different shuffles or barriers");
    }
    const unsigned turn = warp.turn;
    warp.brought[turn][now_->self.index.x % 32] = bits;
    if (warp.meeting.arrived + 1 == warp.lanes) warp.turn ^= 1;
    meet(warp.meeting, warp.lanes, "wait in a shuffle");
    return warp.brought[turn][from % 32];
}

void Cluster::sync_warp() {
    Warp& warp = *now_->warp;
    if (warp.meeting.arrived == 0) warp.bytes = 0;
    if (warp.bytes != 0) {
        fault(ILLEGAL_INSTRUCTION, "lanes of a warp meet in different shuffles or barriers");
    }
    meet(warp.meeting, warp.lanes, "wait at sync_warp");
}

// Threads that have left are missed, though the device would do without them: whether the others
// rely on that is not to be seen here.
void Cluster::sync_block() {
    if (meet(now_->block->meeting, now_->block->threads, "wait at sync_block")) in_vain_ = 0;
}

void Cluster::sync_cluster() {
    if (meet(meeting_, (unsigned)threads_.size(), "wait at sync_cluster")) in_vain_ = 0;
}

// ---- mbarriers

// What an initialised barrier looks like in memory. Whoever overwrites it is found out.
static u64 stamp(unsigned place) { return 0xb1ab1ab000000000ull | place; }

unsigned Cluster::place_in_shared(const void* p, unsigned bytes, unsigned alignment,
                                  const char* what) {
    const Block& block = *now_->block;
    const uintptr_t start = (uintptr_t)block.shared, at = (uintptr_t)p;
    if (at < start || at + bytes > start + grid_.shared_bytes) {
        fault(ILLEGAL_ADDRESS, std::string(what) + " outside the CTA's shared memory");
    }
    if (at % alignment) {
        fault(MISALIGNED_ADDRESS, std::string(what) + " at an address that is no multiple of " +
                                      std::to_string(alignment));
    }
    return (unsigned)(at - start);
}

Mbarrier& Cluster::barrier_at(Block& block, unsigned place, const char* what) {
    static Mbarrier none;
    const auto found = block.barriers.find(place);
    if (found == block.barriers.end()) {
        fault(ILLEGAL_INSTRUCTION, std::string(what) + " meets an mbarrier that is not initialised");
        return none;
    }
    u64 word;
    memcpy(&word, block.shared + place, 8);
    if (word != stamp(place)) {
        fault(ILLEGAL_INSTRUCTION, std::string(what) + " meets an mbarrier that was overwritten");
        return none;
    }
    return found->second;
}

void Cluster::arrive(Mbarrier& barrier, unsigned arrivals, long long bytes) {
    in_vain_ = 0;
    if (failure_.code) return;
    if (arrivals > barrier.pending) {
        fault(ILLEGAL_INSTRUCTION, "an mbarrier has more arrivals than it was initialised for");
        return;
    }
    barrier.bytes += bytes;
    barrier.pending -= arrivals;
    if (barrier.bytes >= 1 << 20 || barrier.bytes <= -(1 << 20)) {
        fault(ILLEGAL_INSTRUCTION, "an mbarrier counts 2^20 bytes or more");
        return;
    }
    if (barrier.pending == 0 && barrier.bytes == 0) {
        barrier.phase++;
        barrier.pending = barrier.arrivals;
        wake(barrier.waiting);
    }
}

void Cluster::barrier_init(void* at, unsigned arrivals) {
    const unsigned place = place_in_shared(at, 8, 8, "barrier_init");
    Block& block = *now_->block;
    u64 word;
    memcpy(&word, at, 8);
    if (block.barriers.count(place) && word == stamp(place)) {
        fault(ILLEGAL_INSTRUCTION, "an mbarrier is initialised again");
    }
    if (arrivals == 0 || arrivals >= 1 << 20) {
        fault(ILLEGAL_INSTRUCTION, "an mbarrier for 0 arrivals, or 2^20 or more");
    }
    Mbarrier barrier;
    barrier.arrivals = barrier.pending = arrivals;
    block.barriers[place] = barrier;
    word = stamp(place);
    memcpy(at, &word, 8);
    maybe_pause();
}

void Cluster::barrier_init_done() {
    for (auto& entry : now_->block->barriers) entry.second.known = true;
}

void Cluster::barrier_arrive(void* at, unsigned expected_bytes) {
    const unsigned place = place_in_shared(at, 8, 8, "an arrival");
    Block& block = *now_->block;
    arrive(barrier_at(block, place, "an arrival"), 1, expected_bytes);
    maybe_pause();
}

bool Cluster::barrier_ended(void* at, unsigned parity) {
    const unsigned place = place_in_shared(at, 8, 8, "a look");
    const Mbarrier& barrier = barrier_at(*now_->block, place, "a look");
    if (barrier.phase % 2 != parity) {
        maybe_pause();
        return true;
    }
    in_vain_++;
    polling_.push_back(now_);
    now_->fiber.leave(false);
    return false;
}

// Looks again when it is woken: if the next phase has ended by then as well, it was missed.
void Cluster::barrier_wait(void* at, unsigned parity) {
    const unsigned place = place_in_shared(at, 8, 8, "a wait");
    Mbarrier& barrier = barrier_at(*now_->block, place, "a wait");
    while (barrier.phase % 2 == parity) wait(barrier.waiting, "wait at an mbarrier");
    maybe_pause();
}

// ---- copies

void Cluster::order_copy(Copy copy) {
    Mbarrier& barrier = barrier_at(*copy.block, copy.barrier, "a copy");
    if (!barrier.known) {
        fault(ILLEGAL_INSTRUCTION, "a copy needs an mbarrier before barrier_init_done");
    }
    copies_.push_back(copy);
    if (schedule_.copies == Schedule::AT_ONCE) {
        make_ready(now_);
        now_->fiber.leave(false);
    } else {
        maybe_pause();
    }
}

void Cluster::bulk_load(void* to, const void* from, unsigned bytes, void* barrier) {
    Copy copy = {};
    copy.block = now_->block;
    copy.to = place_in_shared(to, bytes, 16, "bulk_load");
    copy.barrier = place_in_shared(barrier, 8, 8, "the mbarrier of a bulk_load");
    copy.bytes = bytes;
    copy.from = (const unsigned char*)from;
    if ((uintptr_t)from % 16 || bytes % 16 || bytes == 0) {
        fault(MISALIGNED_ADDRESS, "bulk_load of " + std::to_string(bytes) +
                                      " bytes: source and size must be multiples of 16");
    }
    order_copy(copy);
}

void Cluster::send(void* to, void* barrier, unsigned rank, const void* bytes, unsigned count) {
    Copy copy = {};
    if (rank >= blocks_.size()) fault(ILLEGAL_ADDRESS, "a send to a CTA outside the cluster");
    copy.block = &blocks_[rank];
    if (copy.block->started == 0) {
        fault(ILLEGAL_ADDRESS, "a send to a CTA that may not have started");
    }
    copy.to = place_in_shared(to, count, count, "a send");
    copy.barrier = place_in_shared(barrier, 8, 8, "the mbarrier of a send");
    copy.bytes = count;
    memcpy(copy.sent, bytes, count);
    order_copy(copy);
}

}  // namespace standin
