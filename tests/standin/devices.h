// The devices that the stand-in driver shows, with the limits of real ones.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "settings.h"

namespace standin {

// From the table of technical specifications in NVIDIA's programming guide.
struct Limits {
    int capability;  // 90 for 9.0
    int shared_per_sm;
    int threads_per_sm;
    int blocks_per_sm;
};
static const Limits LIMITS[] = {
    {80, 164 << 10, 2048, 32},  {86, 100 << 10, 1536, 16},  {89, 100 << 10, 1536, 24},
    {90, 228 << 10, 2048, 32},  {100, 228 << 10, 2048, 32}, {103, 228 << 10, 2048, 32},
    {120, 100 << 10, 1536, 24}, {75, 64 << 10, 1024, 16},
};
static const int RESERVED_SHARED = 1 << 10;  // of each block's shared memory, by the system
static const int SHARED_WITHOUT_OPT_IN = 48 << 10;
static const int REGISTERS_PER_SM = 64 << 10;
static const int MOST_THREADS = 1024;

struct Device {
    Limits limits;
    int sms;

    int shared_per_block() const { return limits.shared_per_sm - RESERVED_SHARED; }
    bool has_clusters() const { return limits.capability >= 90; }
    // An image for the same major version and no greater minor one: 90 stands for sm_90.
    bool runs(unsigned image) const {
        const unsigned own = (unsigned)limits.capability;
        return image / 10 == own / 10 && image % 10 <= own % 10;
    }
};

// ICPO_STANDIN_CAPABILITY is one version or one a device, separated by commas; the last holds for
// all further devices. A capability that the table lacks has the limits of its major version.
inline std::vector<Device> devices() {
    std::vector<int> capabilities;
    std::istringstream list(setting("ICPO_STANDIN_CAPABILITY", "9.0"));
    for (std::string one; std::getline(list, one, ',');) {
        const size_t dot = one.find('.');
        const int minor = dot == std::string::npos ? 0 : atoi(one.c_str() + dot + 1);
        capabilities.push_back(atoi(one.c_str()) * 10 + minor);
    }
    if (capabilities.empty()) capabilities.push_back(90);
    const std::string count = setting("ICPO_STANDIN_DEVICES", "");
    const size_t number = count.empty() ? capabilities.size() : (size_t)atol(count.c_str());
    std::vector<Device> all;
    for (size_t i = 0; i < number; i++) {
        const int capability = capabilities[std::min(i, capabilities.size() - 1)];
        Device device = {LIMITS[0], atoi(setting("ICPO_STANDIN_SMS", "3").c_str())};
        for (const Limits& limits : LIMITS) {
            const bool same = limits.capability == capability;
            if (same || limits.capability == capability / 10 * 10) device.limits = limits;
            if (same) break;
        }
        device.limits.capability = capability;
        all.push_back(device);
    }
    return all;
}

}  // namespace standin
