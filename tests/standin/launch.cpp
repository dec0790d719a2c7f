#include "launch.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "settings.h"

namespace standin {

Failure launch(const Grid& grid, u64 seed) {
    const unsigned clusters = grid.blocks.x * grid.blocks.y * grid.blocks.z / grid.cluster;
    const int at_once = atoi(setting("ICPO_STANDIN_THREADS", "2").c_str());
    std::atomic<unsigned> next{0};
    std::mutex mutex;
    Failure failure;
    const auto work = [&] {
        for (unsigned i = next++; i < clusters; i = next++) {
            const Failure one = Cluster(grid, i, seed).run();
            if (!one.code) continue;
            std::lock_guard<std::mutex> lock(mutex);
            if (!failure.code) failure = one;
            next = clusters;
        }
    };
    std::vector<std::thread> others;
    for (int i = 1; i < at_once && (unsigned)i < clusters; i++) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    return failure;
}

}  // namespace standin
