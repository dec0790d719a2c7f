// A cluster of blocks at work: its threads, what they wait for, and the copies that are under way.
// One thread of the operating system runs all of a cluster, one CUDA thread at a time.
#pragma once
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "fiber.h"
#include "interface.h"

namespace standin {

typedef unsigned long long u64;

class Random {
  public:
    explicit Random(u64 seed) : state_(seed) {}
    u64 next() {
        u64 x = state_ += 0x9e3779b97f4a7c15ull;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ x >> 27) * 0x94d049bb133111ebull;
        return x ^ x >> 31;
    }
    u64 below(u64 n) { return next() % n; }
    bool one_in(u64 n) { return below(n) == 0; }

  private:
    u64 state_;
};

// In what order threads run, and when copies arrive. A seed draws both, so that a few seeds see very
// different machines: even ones, and ones where a warp is rows ahead of another.
struct Schedule {
    enum Order { SHUFFLED, NEWEST_FIRST, OLDEST_FIRST, BY_PRIORITY } order;
    enum Copies { LATEST, AT_ONCE, ANY_TIME } copies;
    bool by_warp;  // whether a warp shares a priority
};

struct Block;

// A place where a number of threads wait for each other.
struct Meeting {
    unsigned arrived = 0;
    std::vector<struct CudaThread*> waiting;
};

struct Warp {
    Meeting meeting;
    unsigned lanes = 0;
    unsigned bytes = 0;  // of the values that lanes bring; 0 if they only meet
    unsigned turn = 0;
    // Two, so that a fast lane does not overwrite what a slow one has not yet read.
    u64 brought[2][32];
};

struct CudaThread {
    Thread self;
    Fiber fiber;
    void* stack = nullptr;
    Block* block = nullptr;
    Warp* warp = nullptr;
    const char* waits_for = nullptr;
    u64 priority = 0;
    bool left = false;
};

// A phase ends when all arrivals and all expected bytes are in. Bytes may come before they are
// expected: the count is then negative.
struct Mbarrier {
    unsigned arrivals;
    unsigned pending;
    long long bytes = 0;
    unsigned phase = 0;
    bool known = false;  // to the copy engine and to the other CTAs
    std::vector<CudaThread*> waiting;
};

struct Block {
    Thread coordinates;
    unsigned threads = 0;
    unsigned started = 0;
    unsigned left = 0;
    unsigned char* shared = nullptr;
    Meeting meeting;
    std::vector<Warp> warps;
    std::unordered_map<unsigned, Mbarrier> barriers;  // by their place in shared memory
};

// A copy into shared memory that has been ordered: from global memory, which is read when the copy
// is made, or of bytes that another CTA has sent.
struct Copy {
    Block* block;
    unsigned to;
    unsigned barrier;
    unsigned bytes;
    const unsigned char* from;
    unsigned char sent[16];
};

struct Grid {
    const Kernel* kernel;
    const Image* image;
    const void* arguments;
    Dim blocks;
    Dim threads;
    unsigned cluster;
    unsigned shared_bytes;
};

struct Failure {
    int code = 0;
    std::string what;
};

class Cluster {
  public:
    Cluster(const Grid& grid, unsigned index, u64 seed);
    ~Cluster();
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    // Runs all threads to their end, or to the first fault.
    Failure run();

    // ---- on behalf of the thread that runs now; barriers.cpp
    u64 shuffle(u64 bits, unsigned bytes, unsigned from);
    void sync_warp();
    void sync_block();
    void sync_cluster();
    void barrier_init(void* at, unsigned arrivals);
    void barrier_init_done();
    void barrier_arrive(void* at, unsigned expected_bytes);
    bool barrier_ended(void* at, unsigned parity);
    void barrier_wait(void* at, unsigned parity);
    void bulk_load(void* to, const void* from, unsigned bytes, void* barrier);
    void send(void* to, void* barrier, unsigned rank, const void* bytes, unsigned count);
    // Ends the launch. Comes back only where no CUDA thread was running.
    void fault(int code, const std::string& what);

    // From a signal handler: the CUDA thread that runs, if one does, touched this address.
    static void trap(const void* address);

  private:
    // ---- scheduling; cluster.cpp
    void make_ready(CudaThread* thread);
    void wake(std::vector<CudaThread*>& waiting);
    void wait(std::vector<CudaThread*>& waiting, const char* what);
    void maybe_pause();
    void resume(CudaThread* thread);
    void make_copy();
    std::string who_waits() const;
    static void body();

    // ---- barriers.cpp
    bool meet(Meeting& meeting, unsigned threads, const char* what);
    unsigned place_in_shared(const void* p, unsigned bytes, unsigned alignment, const char* what);
    Mbarrier& barrier_at(Block& block, unsigned place, const char* what);
    void arrive(Mbarrier& barrier, unsigned arrivals, long long bytes);
    void order_copy(Copy copy);
    void check_canary(const Block& block);

    const Grid& grid_;
    Random random_;
    Schedule schedule_;
    const Thread** self_;  // the image's idea of which thread runs
    std::vector<Block> blocks_;
    std::vector<CudaThread> threads_;
    std::vector<std::pair<u64, CudaThread*>> ready_;  // a heap: the greatest number runs first
    std::deque<CudaThread*> polling_;                 // threads that looked in vain, oldest first
    std::vector<Copy> copies_;
    Meeting meeting_;
    CudaThread* now_ = nullptr;
    u64 clock_ = 0;
    unsigned alive_ = 0;
    unsigned in_vain_ = 0;  // looks at barriers since anything last happened
    Failure failure_;
};

extern const Machine machine;

}  // namespace standin
