// A CUDA driver without a device: the entries of libcuda.so.1 that src/cuda/ calls. Kernels run on
// the CPU, during the call that launches them, and device memory is the memory of the process. What
// a real driver refuses is refused here too.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "devices.h"
#include "errors.h"
#include "image.h"
#include "launch.h"
#include "settings.h"

using namespace standin;

#define ENTRY extern "C" __attribute__((visibility("default"))) int
// What every entry starts with.
#define BEGIN                                              \
    if (const int code = called(__func__)) return code;    \
    std::lock_guard<std::recursive_mutex> lock(state().mutex); \
    if (!state().initialised) return NOT_INITIALIZED;

// ---- handles

struct CUctx_st {
    int device;
};
struct CUmod_st {
    CUctx_st* context;
    LoadedImage loaded;
};
struct CUfunc_st {
    CUmod_st* module;
    std::string name;
    const Kernel* kernel;
    int shared_allowed = SHARED_WITHOUT_OPT_IN;
    bool large_clusters = false;
};
struct CUstream_st {
    CUctx_st* context;
};

// A launch into a stream that captures: kept until the graph is replayed.
struct Captured {
    CUstream_st* stream;
    CUfunc_st* function;
    Grid grid;
    std::vector<char> arguments;
};

// Never destroyed: threads may call in while the process ends.
struct State {
    std::recursive_mutex mutex;
    bool initialised = false;
    std::vector<std::unique_ptr<CUctx_st>> contexts;  // by device
    std::set<CUmod_st*> modules;
    std::set<CUfunc_st*> functions;
    std::set<CUstream_st*> streams;
    std::vector<Captured> captured;
};
static State& state() {
    static State* const all = new State;
    return *all;
}
static thread_local std::vector<CUctx_st*> context_stack;

static CUctx_st* current() { return context_stack.empty() ? nullptr : context_stack.back(); }

static bool known(CUfunc_st* function) { return state().functions.count(function) != 0; }

// The default streams, of each context, have the numbers 0 to 2.
static bool known(CUstream_st* stream) {
    return (uintptr_t)stream <= 2 || state().streams.count(stream) != 0;
}

// ICPO_STANDIN_CAPTURING is the handle of a stream, as a decimal number.
static bool captures(CUstream_st* stream) {
    const std::string which = setting("ICPO_STANDIN_CAPTURING", "");
    return !which.empty() && strtoull(which.c_str(), nullptr, 10) == (uintptr_t)stream;
}

static int refuse(int code, const std::string& why) {
    fprintf(stderr, "stand-in driver: %s\n", why.c_str());
    return code;
}

// ---- what there is

ENTRY cuInit(unsigned) {
    if (const int code = called(__func__)) return code;
    state().initialised = true;
    return SUCCESS;
}

ENTRY cuDriverGetVersion(int* version) {
    BEGIN
    *version = atoi(setting("ICPO_STANDIN_DRIVER", "13000").c_str());
    return SUCCESS;
}

ENTRY cuDeviceGetCount(int* count) {
    BEGIN
    *count = (int)devices().size();
    return SUCCESS;
}

ENTRY cuDeviceGet(int* device, int ordinal) {
    BEGIN
    if (ordinal < 0 || ordinal >= (int)devices().size()) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

ENTRY cuDeviceGetName(char* name, int length, int device) {
    BEGIN
    if (device < 0 || device >= (int)devices().size()) return INVALID_DEVICE;
    snprintf(name, (size_t)length, "Stand-in %d", device);
    return SUCCESS;
}

ENTRY cuDeviceTotalMem_v2(size_t* bytes, int device) {
    BEGIN
    if (device < 0 || device >= (int)devices().size()) return INVALID_DEVICE;
    *bytes = (size_t)8 << 30;
    return SUCCESS;
}

ENTRY cuDeviceGetAttribute(int* value, unsigned attribute, int number) {
    BEGIN
    const std::vector<Device> all = devices();
    if (number < 0 || number >= (int)all.size()) return INVALID_DEVICE;
    const Device& device = all[(size_t)number];
    switch (attribute) {
        case 1: *value = MOST_THREADS; break;
        case 8: *value = SHARED_WITHOUT_OPT_IN; break;
        case 10: *value = 32; break;  // threads of a warp
        case 16: *value = device.sms; break;
        case 39: *value = device.limits.threads_per_sm; break;
        case 75: *value = device.limits.capability / 10; break;
        case 76: *value = device.limits.capability % 10; break;
        case 81: *value = device.limits.shared_per_sm; break;
        case 82: *value = REGISTERS_PER_SM; break;
        case 97: *value = device.shared_per_block(); break;
        case 106: *value = device.limits.blocks_per_sm; break;
        case 111: *value = RESERVED_SHARED; break;
        case 120: *value = device.has_clusters(); break;
        default: return refuse(INVALID_VALUE, "a device attribute that it does not know: " +
                                                  std::to_string(attribute));
    }
    return SUCCESS;
}

ENTRY cuGetErrorName(int code, const char** name) {
    *name = nullptr;
    for (const ErrorText& error : ERRORS) {
        if (error.code == code) *name = error.name;
    }
    return *name ? SUCCESS : INVALID_VALUE;
}

ENTRY cuGetErrorString(int code, const char** text) {
    *text = nullptr;
    for (const ErrorText& error : ERRORS) {
        if (error.code == code) *text = error.text;
    }
    return *text ? SUCCESS : INVALID_VALUE;
}

// ---- contexts and streams

ENTRY cuDevicePrimaryCtxRetain(CUctx_st** context, int device) {
    BEGIN
    const size_t count = devices().size();
    if (device < 0 || (size_t)device >= count) return INVALID_DEVICE;
    if (state().contexts.size() < count) state().contexts.resize(count);
    std::unique_ptr<CUctx_st>& slot = state().contexts[(size_t)device];
    if (!slot) slot.reset(new CUctx_st{device});
    *context = slot.get();
    return SUCCESS;
}

static bool known(CUctx_st* context) {
    for (const auto& one : state().contexts) {
        if (one && one.get() == context) return true;
    }
    return false;
}

ENTRY cuCtxPushCurrent_v2(CUctx_st* context) {
    BEGIN
    if (!known(context)) return refuse(INVALID_CONTEXT, "a context that it did not make");
    context_stack.push_back(context);
    return SUCCESS;
}

ENTRY cuCtxPopCurrent_v2(CUctx_st** context) {
    BEGIN
    if (context_stack.empty()) return refuse(INVALID_CONTEXT, "no context to pop");
    if (context) *context = context_stack.back();
    context_stack.pop_back();
    return SUCCESS;
}

ENTRY cuCtxGetCurrent(CUctx_st** context) {
    BEGIN
    *context = current();
    return SUCCESS;
}

ENTRY cuStreamCreate(CUstream_st** stream, unsigned) {
    BEGIN
    if (!current()) return INVALID_CONTEXT;
    *stream = new CUstream_st{current()};
    state().streams.insert(*stream);
    return SUCCESS;
}

ENTRY cuStreamDestroy_v2(CUstream_st* stream) {
    BEGIN
    if (!state().streams.erase(stream)) return INVALID_HANDLE;
    delete stream;
    return SUCCESS;
}

ENTRY cuStreamIsCapturing(CUstream_st* stream, int* status) {
    BEGIN
    if (!current()) return INVALID_CONTEXT;
    if (!known(stream)) return refuse(INVALID_HANDLE, "a stream that it did not make");
    *status = captures(stream);
    return SUCCESS;
}

// ---- modules and functions

ENTRY cuModuleLoadData(CUmod_st** module, const void* bytes) {
    BEGIN
    if (!current()) return INVALID_CONTEXT;
    if (!setting("ICPO_STANDIN_CAPTURING", "").empty()) {
        return refuse(CAPTURE_UNSUPPORTED, "a module is loaded while a stream captures");
    }
    std::unique_ptr<CUmod_st> made(new CUmod_st{current(), {}});
    if (const int code = load_image(bytes, made->loaded)) return code;
    const Device device = devices()[(size_t)current()->device];
    const unsigned architecture = made->loaded.image->architecture;
    if (!device.runs(architecture / 10)) {
        unload_image(made->loaded);
        return refuse(NO_BINARY_FOR_GPU, "an image for sm_" + std::to_string(architecture / 10));
    }
    *module = made.release();
    state().modules.insert(*module);
    return SUCCESS;
}

ENTRY cuModuleUnload(CUmod_st* module) {
    BEGIN
    if (!state().modules.erase(module)) return INVALID_HANDLE;
    std::set<CUfunc_st*> others;
    for (CUfunc_st* function : state().functions) {
        if (function->module == module) delete function;
        else others.insert(function);
    }
    state().functions = others;
    unload_image(module->loaded);
    delete module;
    return SUCCESS;
}

ENTRY cuModuleGetFunction(CUfunc_st** function, CUmod_st* module, const char* name) {
    BEGIN
    if (!state().modules.count(module)) return INVALID_HANDLE;
    const Kernel* const kernel = find_kernel(module->loaded, name);
    if (!kernel) return NOT_FOUND;
    *function = new CUfunc_st{module, name, kernel};
    state().functions.insert(*function);
    return SUCCESS;
}

static Device device_of(const CUfunc_st* function) {
    return devices()[(size_t)function->module->context->device];
}

// A guess: as many as the launch bounds leave to each thread, in steps of 8.
static int registers(const CUfunc_st* function) {
    const int threads = (int)(function->kernel->threads * function->kernel->blocks_per_sm);
    return std::min(255, REGISTERS_PER_SM / threads / 8 * 8);
}

ENTRY cuFuncSetAttribute(CUfunc_st* function, unsigned attribute, int value) {
    BEGIN
    if (!known(function)) return INVALID_HANDLE;
    if (attribute == 8) {
        const int most = device_of(function).shared_per_block();
        if (value < 0 || value > most) {
            return refuse(INVALID_VALUE, std::to_string(value) + " bytes of shared memory; " +
                                             std::to_string(most) + " are the most");
        }
        function->shared_allowed = value;
    } else if (attribute == 14) {
        function->large_clusters = value != 0;
    } else {
        return refuse(INVALID_VALUE, "a function attribute that it can not set: " +
                                         std::to_string(attribute));
    }
    return SUCCESS;
}

ENTRY cuFuncGetAttribute(int* value, unsigned attribute, CUfunc_st* function) {
    BEGIN
    if (!known(function)) return INVALID_HANDLE;
    switch (attribute) {
        case 0: *value = (int)function->kernel->threads; break;
        case 1: *value = 0; break;  // static shared memory
        case 3: *value = 0; break;  // local memory
        case 4: *value = registers(function); break;
        case 6: *value = (int)function->module->loaded.image->architecture / 10; break;
        case 8: *value = function->shared_allowed; break;
        default: return refuse(INVALID_VALUE, "a function attribute that it does not know: " +
                                                  std::to_string(attribute));
    }
    return SUCCESS;
}

// ---- launches

// As the driver's CUlaunchAttribute and CUlaunchConfig lie in memory.
struct LaunchAttribute {
    unsigned id;
    char pad[4];
    unsigned value[16];
};
struct LaunchConfig {
    unsigned grid[3];
    unsigned block[3];
    unsigned shared;
    CUstream_st* stream;
    LaunchAttribute* attributes;
    unsigned attribute_count;
};
static const unsigned CLUSTER_DIMENSION = 4;
static const unsigned PORTABLE_CLUSTER = 8, LARGEST_CLUSTER = 16;

static int blocks_per_sm(const CUfunc_st* function, unsigned threads, unsigned shared) {
    const Device device = device_of(function);
    const int warps = ((int)threads + 31) / 32;
    int most = device.limits.blocks_per_sm;
    most = std::min(most, device.limits.threads_per_sm / (warps * 32));
    most = std::min(most, device.limits.shared_per_sm / ((int)shared + RESERVED_SHARED));
    return std::min(most, REGISTERS_PER_SM / (registers(function) * warps * 32));
}

// What a real driver refuses in a launch, or in a question about one.
static int check(const LaunchConfig& config, const CUfunc_st* function, unsigned& cluster) {
    const Device device = device_of(function);
    const unsigned blocks = config.grid[0], threads = config.block[0];
    cluster = 1;
    for (unsigned i = 0; i < config.attribute_count; i++) {
        const LaunchAttribute& attribute = config.attributes[i];
        if (attribute.id != CLUSTER_DIMENSION) {
            return refuse(INVALID_VALUE, "a launch attribute that it does not know: " +
                                             std::to_string(attribute.id));
        }
        if (!device.has_clusters()) return refuse(NOT_SUPPORTED, "clusters before sm_90");
        if (attribute.value[1] != 1 || attribute.value[2] != 1) {
            return refuse(INVALID_VALUE, "clusters of more than one dimension");
        }
        cluster = attribute.value[0];
    }
    const unsigned largest = function->large_clusters ? LARGEST_CLUSTER : PORTABLE_CLUSTER;
    if (cluster == 0 || cluster > largest) {
        return refuse(INVALID_CLUSTER_SIZE, std::to_string(cluster) + " blocks in a cluster; " +
                                                std::to_string(largest) + " are the most");
    }
    if (config.grid[1] != 1 || config.grid[2] != 1 || config.block[1] != 1 ||
        config.block[2] != 1) {
        return refuse(INVALID_VALUE, "a grid or block of more than one dimension");
    }
    if (blocks == 0 || blocks > 0x7fffffffu || blocks % cluster) {
        return refuse(INVALID_VALUE, std::to_string(blocks) + " blocks in clusters of " +
                                         std::to_string(cluster));
    }
    if (threads == 0 || threads > (unsigned)MOST_THREADS || threads > function->kernel->threads) {
        return refuse(INVALID_VALUE, std::to_string(threads) + " threads; the kernel is made for " +
                                         std::to_string(function->kernel->threads));
    }
    if (config.shared > (unsigned)function->shared_allowed) {
        return refuse(INVALID_VALUE, std::to_string(config.shared) + " bytes of shared memory; " +
                                         std::to_string(function->shared_allowed) +
                                         " are allowed");
    }
    if (blocks_per_sm(function, threads, config.shared) < 1) {
        return refuse(LAUNCH_OUT_OF_RESOURCES, "no block fits a multiprocessor");
    }
    return SUCCESS;
}

ENTRY cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunc_st* function, int threads,
                                                  size_t shared) {
    BEGIN
    if (!known(function)) return INVALID_HANDLE;
    if (threads < 1 || threads > (int)function->kernel->threads) return INVALID_VALUE;
    const bool fits = shared <= (size_t)function->shared_allowed;
    *blocks = fits ? blocks_per_sm(function, (unsigned)threads, (unsigned)shared) : 0;
    return SUCCESS;
}

// At least one: the multiprocessors are few here so that persistent kernels do loop, and a cluster
// of eight would not fit. ICPO_STANDIN_CLUSTERS gives another number.
ENTRY cuOccupancyMaxActiveClusters(int* clusters, CUfunc_st* function, const LaunchConfig* config) {
    BEGIN
    if (!known(function)) return INVALID_HANDLE;
    unsigned cluster;
    if (const int code = check(*config, function, cluster)) return code;
    const int blocks = blocks_per_sm(function, config->block[0], config->shared);
    *clusters = std::max(1, blocks * device_of(function).sms / (int)cluster);
    const std::string forced = setting("ICPO_STANDIN_CLUSTERS", "");
    if (!forced.empty()) *clusters = atoi(forced.c_str());
    return SUCCESS;
}

static void log(const CUfunc_st* function, const Grid& grid, CUstream_st* stream) {
    const std::string path = setting("ICPO_STANDIN_LOG", "");
    if (path.empty()) return;
    FILE* const file = fopen(path.c_str(), "a");
    if (!file) {
        perror("stand-in driver: ICPO_STANDIN_LOG");
        return;
    }
    fprintf(file,
            "{\"kernel\": \"%s\", \"grid\": %u, \"block\": %u, \"cluster\": %u, \"shared\": %u, "
            "\"stream\": %llu, \"device\": %d}\n",
            function->name.c_str(), grid.blocks.x, grid.threads.x, grid.cluster, grid.shared_bytes,
            (unsigned long long)(uintptr_t)stream, function->module->context->device);
    fclose(file);
}

static int run(const CUfunc_st* function, const Grid& grid) {
    const u64 seed = strtoull(setting("ICPO_STANDIN_SEED", "0").c_str(), nullptr, 10);
    const Failure failure = launch(grid, seed);
    if (!failure.code) return SUCCESS;
    return refuse(failure.code, function->name + " failed: " + failure.what);
}

// Failures of a kernel come back at once here; a real device tells of them later.
ENTRY cuLaunchKernelEx(const LaunchConfig* config, CUfunc_st* function, void** parameters, void**) {
    BEGIN
    if (!known(function)) return refuse(INVALID_HANDLE, "a function of no loaded module");
    if (!current()) return refuse(INVALID_CONTEXT, "a launch without a context");
    if (current() != function->module->context) {
        return refuse(INVALID_HANDLE, "a function of another context");
    }
    if (!known(config->stream)) return refuse(INVALID_HANDLE, "a stream that it did not make");
    if ((uintptr_t)config->stream > 2 && config->stream->context != current()) {
        return refuse(INVALID_HANDLE, "a stream of another context");
    }
    if (!parameters) return INVALID_VALUE;
    unsigned cluster;
    if (const int code = check(*config, function, cluster)) return code;
    const char* const given = (const char*)parameters[0];
    std::vector<char> arguments(given, given + function->kernel->argument_bytes);
    const Grid grid = {
        function->kernel,           function->module->loaded.image, arguments.data(),
        Dim{config->grid[0], 1, 1}, Dim{config->block[0], 1, 1},    cluster,
        config->shared,
    };
    log(function, grid, config->stream);
    if (captures(config->stream)) {
        state().captured.push_back(Captured{config->stream, function, grid, arguments});
        return SUCCESS;
    }
    return run(function, grid);
}

// ---- for tests alone

// Runs again, in order, what was launched into a stream while it captured.
ENTRY icpo_standin_replay(CUstream_st* stream) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    for (Captured& captured : state().captured) {
        if (captured.stream != stream) continue;
        if (!known(captured.function)) return INVALID_HANDLE;
        captured.grid.arguments = captured.arguments.data();
        if (const int code = run(captured.function, captured.grid)) return code;
    }
    return SUCCESS;
}

// Forgets what was captured.
extern "C" __attribute__((visibility("default"))) void icpo_standin_forget() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    state().captured.clear();
}
