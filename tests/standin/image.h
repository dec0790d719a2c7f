// Images: shared objects that the stand-in compiler made, which a program takes for cubins.
#pragma once
#include "interface.h"

namespace standin {

struct LoadedImage {
    void* library = nullptr;
    int file = -1;
    const Image* image = nullptr;
};

// Loads the ELF file at `bytes`, which tells its own size; 0 or the driver's error.
int load_image(const void* bytes, LoadedImage& loaded);
void unload_image(LoadedImage& loaded);
const Kernel* find_kernel(const LoadedImage& loaded, const char* name);

}  // namespace standin
