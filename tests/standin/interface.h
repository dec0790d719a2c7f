// What a compiled kernel and the machine that runs it know of each other. The machine is the
// stand-in driver; a kernel is a symbol of an image that the driver has loaded.
#pragma once

namespace standin {

struct Dim {
    unsigned x, y, z;
};

// What a CUDA thread may ask about itself at no cost.
struct Thread {
    Dim index;
    Dim block, block_size, grid;
    unsigned cluster_rank, cluster_index, cluster_count;
    void* shared;
};

// What a kernel asks of the machine. These calls may run other threads before they come back.
struct Machine {
    // Ends the launch with an error of the driver. Does not return.
    void (*fault)(int code, const char* what);
    // The bits that lane `from` of the warp brought; all 32 lanes come.
    unsigned long long (*shuffle)(unsigned long long bits, unsigned bytes, unsigned from);
    void (*sync_warp)();
    void (*sync_block)();
    void (*sync_cluster)();
    void (*barrier_init)(void* barrier, unsigned arrivals);
    void (*barrier_init_done)();
    void (*barrier_arrive)(void* barrier, unsigned expected_bytes);
    bool (*barrier_ended)(void* barrier, unsigned parity);
    void (*barrier_wait)(void* barrier, unsigned parity);
    void (*bulk_load)(void* to, const void* from, unsigned bytes, void* barrier);
    void (*send)(void* to, void* barrier, unsigned rank, const void* bytes, unsigned count);
};

// One in each image, under the name standin_image.
struct Image {
    const char* sources;  // identifies the stand-in that compiled it: another one refuses it
    unsigned architecture;  // 900 for sm_90; 1200 for sm_120
    void (*connect)(const Machine*);
    const Thread** (*self)();  // where the calling OS thread keeps which CUDA thread it runs
};

// One for each kernel, under the name standin_kernel_<name>.
struct Kernel {
    void (*run)(const void* arguments);
    unsigned argument_bytes;
    unsigned threads;        // at most, in a block
    unsigned blocks_per_sm;  // at least
};

// Error codes of the driver that kernels can run into.
enum Fault {
    ILLEGAL_ADDRESS = 700,
    LAUNCH_TIMEOUT = 702,
    ILLEGAL_INSTRUCTION = 715,
    MISALIGNED_ADDRESS = 716,
    LAUNCH_FAILED = 719,
};

}  // namespace standin
